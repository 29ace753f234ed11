//! The engine against numpy in f64, the reference executor and llama.cpp.
//!
//! It rounds activations to 8 bits before products with block formats, and keys and values to 16
//! (or 8) bits; the tolerances say what that costs. That budgets, threads and batches change
//! nothing is tested beside the engine.

use std::path::Path;

use lampyris_import::Model;
use lampyris_runtime::engine::{Engine, Options};
use lampyris_runtime::{Reference, WindowScore, argmax, nll, perplexity};
use lampyris_tests::decoders::cases;
use lampyris_tests::smollm2;

/// Weights are f32 there: what differs are keys and values in 16 bits.
const DECODER_TOLERANCE: f32 = 5e-3;
/// Largest difference of a logit of the real model. A program in f64 differs from llama.cpp, which
/// rounds the same way, by up to 0.7.
const LOGIT_TOLERANCE: f32 = 1.0;

fn open(path: impl AsRef<Path>, change: impl FnOnce(&mut Options)) -> Engine {
    let mut options = Options {
        threads: 1,
        ..Options::default()
    };
    change(&mut options);
    Engine::open(path, options).unwrap()
}

fn score(engine: &mut Engine, windows: &[&[u32]]) -> Vec<WindowScore> {
    let mut scores = Vec::new();
    for window in windows {
        let (mut losses, mut top1) = (Vec::new(), Vec::new());
        engine.reset();
        engine
            .logits(window, &mut |i, logits| {
                top1.push(argmax(logits).unwrap() as u32);
                if let Some(&next) = window.get(i + 1) {
                    losses.push(nll(logits, next as usize));
                }
            })
            .unwrap();
        scores.push(WindowScore { nll: losses, top1 });
    }
    scores
}

#[test]
fn every_kind_of_decoder_matches_numpy() {
    for case in &cases() {
        let folder = tempfile::tempdir().unwrap();
        let path = case.write(folder.path(), |_, _| ());
        for resident in [None, Some(0)] {
            let mut engine = open(&path, |o| o.resident = resident);
            assert_eq!(engine.plan().streamed_bytes > 0, resident.is_some());
            let mut seen = 0;
            engine
                .logits(&case.tokens, &mut |i, logits| {
                    for (a, b) in logits.iter().zip(&case.logits[i]) {
                        let off = (a - b).abs();
                        assert!(off <= DECODER_TOLERANCE, "{}: {i}: off by {off}", case.name);
                    }
                    seen += 1;
                })
                .unwrap();
            assert_eq!(seen, case.tokens.len(), "{}", case.name);
        }
    }
}

#[test]
fn tiny_is_as_good_as_in_the_reference() {
    let model = lampyris_import::open(lampyris_import::TINY).unwrap();
    let reference = Reference::new(&model).unwrap();
    let vocab = model.spec().vocab_size as u32;
    let window: Vec<u32> = (0..200u32).map(|i| (i * i * 7 + i) % vocab).collect();
    let expected = reference.score(&[&window]).unwrap();
    let found = score(&mut open("tiny", |_| ()), &[&window]);
    let (expected, found) = (perplexity(&expected), perplexity(&found));
    assert!(
        (found / expected - 1.0).abs() < 0.01,
        "{found}, not {expected}"
    );
}

#[test]
fn smollm2_agrees_with_llama_cpp_and_with_the_reference() {
    let Ok(path) = smollm2::model_path() else {
        assert!(std::env::var_os("CI").is_none(), "run `cargo xtask setup`");
        eprintln!("SKIPPED, nothing was checked: the model is missing");
        return;
    };
    let recorded = smollm2::recorded();
    let text = &recorded.perplexity;
    let windows: Vec<&[u32]> = text.tokens.chunks_exact(text.window).collect();
    let mut engine = open(&path, |o| o.threads = 0);
    let scores = score(&mut engine, &windows);
    let theirs = (text.nll.iter().sum::<f64>() / text.nll.len() as f64).exp();
    let ours = perplexity(&scores);
    eprintln!("perplexity {ours:.4}, llama.cpp {theirs:.4}");
    assert!((ours / theirs - 1.0).abs() < 0.01);
    let top1 = scores.iter().flat_map(|s| &s.top1);
    let agree = top1.zip(&text.top1).filter(|(a, b)| a == b).count();
    eprintln!("top-1 agrees at {agree} of {}", text.top1.len());
    assert!(agree as f64 >= 0.95 * text.top1.len() as f64);

    let model = Model::open(&path).unwrap();
    let reference = Reference::new(&model).unwrap();
    let prompt = &recorded.prompts[0].prompt_tokens;
    let expected = reference.session().prefill(prompt).unwrap();
    let mut last = Vec::new();
    engine.reset();
    engine
        .logits(prompt, &mut |_, row| last = row.to_vec())
        .unwrap();
    let off = last.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f32::max);
    eprintln!("logits differ by {off:.3} from the reference");
    assert!(off <= LOGIT_TOLERANCE, "{off}");
    assert_eq!(argmax(&last), argmax(&expected));
}
