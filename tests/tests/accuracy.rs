//! The accelerator's arithmetic on the real model, against recorded results of llama.cpp and of
//! the f64 program (`tests/data`). The `accuracy` bench judges whole texts and runs llama.cpp
//! itself; this is the part of it that every test run can afford.

use lampyris_isa::HwConfig;
use lampyris_runtime::{WindowScore, perplexity};
use lampyris_tests::compile;
use lampyris_tests::scores::{agreement, on_model};
use lampyris_tests::smollm2::{model_path, recorded};
use serde::Deserialize;

/// Tokens scored, from the start of the recorded text.
const TOKENS: usize = 256;

#[derive(Deserialize)]
struct Exact {
    windows: Vec<ExactWindow>,
}

#[derive(Deserialize)]
struct ExactWindow {
    nll: Vec<f64>,
    top1: Vec<u32>,
}

fn cut(nll: &[f64], top1: &[u32]) -> Vec<WindowScore> {
    vec![WindowScore {
        nll: nll[..TOKENS - 1].to_vec(),
        top1: top1[..TOKENS].to_vec(),
    }]
}

/// Checks difference of perplexity and top-1 agreement.
fn check(
    name: &str,
    ours: &[WindowScore],
    theirs: &[WindowScore],
    perplexity_most: f64,
    least: usize,
) {
    let ratio = perplexity(ours) / perplexity(theirs);
    let (same, all) = agreement(ours, theirs);
    eprintln!("{name}: perplexity ratio {ratio:.4}, top-1 agrees at {same} of {all}");
    assert_eq!(all, TOKENS);
    assert!((ratio - 1.0).abs() <= perplexity_most, "{name}: {ratio}");
    assert!(same >= least, "{name}: {same} of {all}");
}

#[test]
fn model_keeps_the_quality_of_smollm2() {
    let path = match model_path() {
        Ok(path) => path,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            eprintln!("SKIPPED, nothing was checked: {error}");
            return;
        }
    };
    let recorded = recorded().perplexity;
    let exact: Exact = serde_json::from_str(include_str!("../data/smollm2_exact.json"))
        .expect("the checked-in file reads");
    let model = lampyris_import::open(path).expect("the model opens");
    let compiled = compile(&model, HwConfig::BASE, TOKENS);
    let ours = on_model(&compiled.bundle, &[&recorded.tokens[..TOKENS]], &|| ()).expect("runs");
    let llama = cut(&recorded.nll, &recorded.top1);
    let exact = cut(&exact.windows[0].nll, &exact.windows[0].top1);
    check("llama.cpp", &ours, &llama, 0.01, 240);
    check("f64 program", &ours, &exact, 0.015, 240);
    // What was recorded is llama.cpp's own distance from exact arithmetic: a broken comparison
    // would show here.
    check(
        "llama.cpp against the f64 program",
        &llama,
        &exact,
        0.02,
        240,
    );
}
