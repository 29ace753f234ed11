//! The real model: tokens, chat template, logits, perplexity.
//!
//! Two independent judges, each made by the script beside its data in `tests/data`:
//! `smollm2_exact.json` is a numpy program in f64, with which the reference executor must agree
//! up to rounding; `smollm2_reference.json` is llama.cpp, which quantizes activations to 8 bits
//! and keeps its cache in f16, so that it agrees only within a tolerance.

use std::path::PathBuf;

use lampyris_import::Model;
use lampyris_import::template::{ChatTemplate, Message};
use lampyris_import::tokenizer::Tokenizer;
use lampyris_runtime::{Reference, Sampler, SamplerConfig, WindowScore, argmax, perplexity};
use serde::Deserialize;

/// Largest difference of a logit from the f64 program's: f32 rounding over 30 layers.
const EXACT_TOLERANCE: f32 = 0.0005;
/// Largest difference of a logit from llama.cpp's on plain prompts. The chat prompt is not held
/// to it: there the f64 program itself differs from llama.cpp by 1.41.
const LLAMA_CPP_TOLERANCE: f32 = 0.75;

#[derive(Deserialize)]
struct Expected {
    prompts: Vec<Prompt>,
    tokenize: Vec<Tokenized>,
    perplexity: Perplexity,
}

#[derive(Deserialize)]
struct Prompt {
    prompt: String,
    messages: Option<Vec<ChatMessage>>,
    prompt_tokens: Vec<u32>,
    generated: Vec<u32>,
    text: String,
    logits: Vec<(usize, f32)>,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Tokenized {
    text: String,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Perplexity {
    window: usize,
    window_ppl: Vec<f64>,
    tokens: Vec<u32>,
    top1: Vec<u32>,
    margins: Vec<f32>,
}

#[derive(Deserialize)]
struct Exact {
    prompt_logits: Vec<Vec<(usize, f32)>>,
    windows: Vec<ExactWindow>,
}

#[derive(Deserialize)]
struct ExactWindow {
    nll: Vec<f64>,
    top1: Vec<u32>,
    margins: Vec<f32>,
}

fn exact() -> Exact {
    serde_json::from_str(include_str!("../data/smollm2_exact.json")).unwrap()
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../data/smollm2_reference.json")).unwrap()
}

/// The model, where it is present. In CI its absence is a failure; elsewhere the test says that
/// it checked nothing.
fn model() -> Option<Model> {
    let from_env = |key: &str| {
        std::env::var_os(key)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let path = from_env("LAMPYRIS_SMOLLM2").or_else(|| {
        let cache = from_env("XDG_CACHE_HOME")
            .or_else(|| from_env("HOME").map(|home| home.join(".cache")))?;
        Some(cache.join("lampyris/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    });
    let path = path.expect("neither LAMPYRIS_SMOLLM2 nor XDG_CACHE_HOME nor HOME is set");
    if path.exists() {
        return Some(Model::open(&path).unwrap());
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing; run `cargo xtask setup`",
        path.display()
    );
    eprintln!(
        "SKIPPED, nothing was checked: {} is missing",
        path.display()
    );
    None
}

#[test]
fn tokens_equal_llama_cpp() {
    let Some(model) = model() else { return };
    let tokenizer = Tokenizer::from_model_file(model.file()).unwrap();
    let expected = expected();
    for case in &expected.tokenize {
        assert_eq!(
            tokenizer.encode(&case.text, true).unwrap(),
            case.tokens,
            "{:?}",
            case.text
        );
    }
    for prompt in &expected.prompts {
        assert_eq!(
            tokenizer.encode(&prompt.prompt, true).unwrap(),
            prompt.prompt_tokens
        );
        assert_eq!(tokenizer.decode(&prompt.generated).unwrap(), prompt.text);
        let mut stream = tokenizer.decode_stream();
        let parts: Vec<String> = prompt
            .generated
            .iter()
            .map(|&t| stream.push(t).unwrap())
            .collect();
        assert_eq!(parts.concat() + &stream.finish().unwrap(), prompt.text);
    }
    assert_eq!(tokenizer.eos_ids(), [2]);
    // A long text survives the way to text and back, also across windows.
    let tokens = &expected.perplexity.tokens;
    let text = tokenizer.decode(tokens).unwrap();
    assert_eq!(&tokenizer.encode(&text, false).unwrap(), tokens);
}

#[test]
fn chat_template_equals_jinja2() {
    let Some(model) = model() else { return };
    let template = ChatTemplate::from_model_file(model.file()).unwrap();
    let mut checked = 0;
    for prompt in expected().prompts {
        let Some(messages) = prompt.messages else {
            continue;
        };
        let messages: Vec<_> = messages
            .into_iter()
            .map(|m| Message::new(m.role, m.content))
            .collect();
        assert_eq!(template.render(&messages, true).unwrap(), prompt.prompt);
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn reference_executor_agrees_with_both_judges() {
    let Some(model) = model() else { return };
    let reference = Reference::new(&model).unwrap();
    let (theirs, exact) = (expected(), exact());
    check_prompts(&reference, &theirs.prompts, &exact.prompt_logits);
    check_generation(&reference, &theirs.prompts[0].prompt_tokens);
    let text = &theirs.perplexity;
    let windows: Vec<&[u32]> = text.tokens.chunks_exact(text.window).collect();
    let scores = reference.score(&windows).unwrap();
    assert_eq!(scores.len(), exact.windows.len());
    for (score, exact) in scores.iter().zip(&exact.windows) {
        check_exact(score, exact);
    }
    check_llama_cpp(&scores, text);
}

fn largest_difference(logits: &[f32], expected: &[(usize, f32)]) -> f32 {
    assert!(expected.len() > 1000);
    expected
        .iter()
        .map(|&(i, v)| (logits[i] - v).abs())
        .fold(0.0, f32::max)
}

fn check_prompts(reference: &Reference<'_>, prompts: &[Prompt], exact: &[Vec<(usize, f32)>]) {
    assert_eq!(prompts.len(), exact.len());
    for (prompt, exact) in prompts.iter().zip(exact) {
        let logits = reference.session().prefill(&prompt.prompt_tokens).unwrap();
        let from_exact = largest_difference(&logits, exact);
        let from_theirs = largest_difference(&logits, &prompt.logits);
        eprintln!("logits differ by {from_exact:.5} (f64), {from_theirs:.3} (llama.cpp)");
        assert!(
            from_exact <= EXACT_TOLERANCE,
            "{:?}: {from_exact}",
            prompt.prompt
        );
        if prompt.messages.is_none() {
            assert!(
                from_theirs <= LLAMA_CPP_TOLERANCE,
                "{:?}: {from_theirs}",
                prompt.prompt
            );
            assert_eq!(argmax(&logits), Some(prompt.generated[0] as usize));
        }
    }
}

/// Greedy generation is the same as choosing the largest logit step by step.
fn check_generation(reference: &Reference<'_>, prompt: &[u32]) {
    let mut greedy = Sampler::new(SamplerConfig::default()).unwrap();
    let mut shown = Vec::new();
    let made = reference
        .session()
        .generate(prompt, 8, &mut greedy, |_| false, |t| shown.push(t))
        .unwrap();
    assert_eq!(made, shown);
    assert_eq!(made.len(), 8);
    let mut session = reference.session();
    let mut logits = session.prefill(prompt).unwrap();
    for token in made {
        assert_eq!(argmax(&logits), Some(token as usize));
        logits = session.step(token).unwrap();
    }
}

fn check_exact(score: &WindowScore, exact: &ExactWindow) {
    assert_eq!(score.nll.len(), exact.nll.len());
    assert_eq!(score.top1.len(), exact.top1.len());
    let differences = score.nll.iter().zip(&exact.nll).map(|(a, b)| (a - b).abs());
    let worst = differences.fold(0.0, f64::max);
    eprintln!("nll differs from the f64 program by {worst:.5} at most");
    assert!(worst <= f64::from(2.0 * EXACT_TOLERANCE), "{worst}");
    for (i, margin) in exact.margins.iter().enumerate() {
        let same = score.top1[i] == exact.top1[i];
        assert!(
            same || *margin < 2.0 * EXACT_TOLERANCE,
            "position {i}: margin {margin}"
        );
    }
}

fn check_llama_cpp(scores: &[WindowScore], theirs: &Perplexity) {
    for (score, &theirs) in scores.iter().zip(&theirs.window_ppl) {
        let ours = perplexity(std::slice::from_ref(score));
        eprintln!("perplexity {ours:.4}, llama.cpp {theirs:.4}");
        assert!((ours / theirs - 1.0).abs() < 0.01, "{ours} is not {theirs}");
    }
    let top1: Vec<u32> = scores.iter().flat_map(|s| s.top1.iter().copied()).collect();
    assert_eq!(top1.len(), theirs.top1.len());
    let agree = top1
        .iter()
        .zip(&theirs.top1)
        .filter(|(a, b)| a == b)
        .count();
    eprintln!(
        "top-1 agrees with llama.cpp at {agree} of {} positions",
        top1.len()
    );
    assert!(agree as f64 >= 0.96 * top1.len() as f64, "{agree}");
    // Every disagreement is one that the tolerance of the logits explains.
    for (i, margin) in theirs.margins.iter().enumerate() {
        let same = top1[i] == theirs.top1[i];
        assert!(
            same || *margin < LLAMA_CPP_TOLERANCE,
            "position {i}: margin {margin}"
        );
    }
}
