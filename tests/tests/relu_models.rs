//! The ReLU models on the reference executor: answers, perplexity and zeros as PyTorch recorded
//! them from the same files. Beside each model lies the script that recorded them.

use lampyris_import::Model;
use lampyris_import::tokenizer::Tokenizer;
use lampyris_runtime::{Reference, Sampler, SamplerConfig, argmax};
use lampyris_tests::relu::{self, Window};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Largest relative difference of a perplexity: f32 against f64, or against f32 in another order.
const PERPLEXITY_TOLERANCE: f64 = 1e-4;
/// Largest difference of a layer's share of zeros: gates so near to zero that rounding decides.
const ZEROS_TOLERANCE: f64 = 1e-4;

fn check_hash(path: &Path, expected: &str) {
    let hash = Sha256::digest(std::fs::read(path).unwrap());
    let found: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        found,
        expected,
        "{} changed without its record",
        path.display()
    );
}

/// Evaluates the passage token by token and compares; returns the most likely tokens.
fn check_window(model: &Model, expected: &Window) -> Vec<u32> {
    let reference = Reference::new(model).unwrap();
    let mut session = reference.session();
    let mut zeros = vec![0usize; model.spec().layers.len()];
    let (mut nll, mut top1) = (0.0, Vec::new());
    for (i, &token) in expected.tokens.iter().enumerate() {
        let logits = session
            .trace(token, &mut |node, output| {
                let layer = node
                    .name
                    .strip_prefix("blk.")
                    .and_then(|rest| rest.strip_suffix(".ffn_act"));
                if let Some(layer) = layer {
                    zeros[layer.parse::<usize>().unwrap()] +=
                        output.iter().filter(|x| **x == 0.0).count();
                }
            })
            .unwrap();
        let best = argmax(&logits).unwrap();
        top1.push(best as u32);
        if let Some(&next) = expected.tokens.get(i + 1) {
            let most = f64::from(logits[best]);
            let sum: f64 = logits.iter().map(|&x| (f64::from(x) - most).exp()).sum();
            nll += sum.ln() + most - f64::from(logits[next as usize]);
        }
    }
    let found = (nll / (expected.tokens.len() - 1) as f64).exp();
    let off = (found / expected.perplexity - 1.0).abs();
    assert!(
        off < PERPLEXITY_TOLERANCE,
        "perplexity {found}, recorded {}",
        expected.perplexity
    );
    assert_eq!(zeros.len(), expected.zeros.len());
    for (layer, (count, recorded)) in zeros.iter().zip(&expected.zeros).enumerate() {
        let share =
            *count as f64 / (expected.tokens.len() * model.spec().layers[layer].ffn_dim) as f64;
        let off = (share - recorded).abs();
        assert!(
            off < ZEROS_TOLERANCE,
            "layer {layer}: {share} zeros, recorded {recorded}"
        );
    }
    top1
}

#[test]
fn small_answers_as_recorded() {
    let recorded = relu::small();
    check_hash(&relu::small_path(), &recorded.sha256);
    let model = Model::open(relu::small_path()).unwrap();
    let tokenizer = Tokenizer::from_model_file(model.file()).unwrap();
    let reference = Reference::new(&model).unwrap();
    let mut sampler = Sampler::new(SamplerConfig::default()).unwrap();
    for run in &recorded.greedy {
        assert_eq!(
            tokenizer.encode(&run.prompt, true).unwrap(),
            run.prompt_tokens
        );
        let made = reference
            .session()
            .generate(
                &run.prompt_tokens,
                run.generated.len(),
                &mut sampler,
                |_| false,
                |_| (),
            )
            .unwrap();
        assert_eq!(made, run.generated, "{}", run.prompt);
        assert_eq!(tokenizer.decode(&made).unwrap(), run.text);
    }
}

#[test]
fn small_is_as_sparse_as_recorded() {
    let recorded = relu::small();
    let model = Model::open(relu::small_path()).unwrap();
    check_window(&model, &recorded.window);
    let mean = recorded.window.zeros.iter().sum::<f64>() / recorded.window.zeros.len() as f64;
    assert!(mean > 0.94, "{mean}");
}

#[test]
fn smollm2_is_as_sparse_as_recorded() {
    let path = match relu::smollm2_path() {
        Ok(path) => path,
        Err(message) => {
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("SKIPPED, nothing was checked: {message}");
            return;
        }
    };
    let recorded = relu::smollm2();
    check_hash(&path, &recorded.sha256);
    let model = Model::open(&path).unwrap();
    let top1 = check_window(&model, &recorded.window);
    for (i, (found, expected)) in top1.iter().zip(&recorded.top1).enumerate() {
        // Where two tokens are as likely as each other, rounding decides.
        assert!(
            found == expected || recorded.margins[i] < 0.01,
            "token {i}: {found}, recorded {expected}"
        );
    }
    let mean = recorded.window.zeros.iter().sum::<f64>() / recorded.window.zeros.len() as f64;
    assert!(mean > 0.85, "{mean}");
}
