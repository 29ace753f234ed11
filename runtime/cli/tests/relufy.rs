//! `lampyris relufy` as people and scripts see it where it refuses. What it builds is tested where
//! the real model is present, and beside the library's code.

mod program;

use std::path::Path;
use std::process::Output;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models");

fn relufy(folder: &Path, original: &str, delta: &str) -> Output {
    program::lampyris()
        .args(["relufy", original, "--delta", delta, "-o", "out.gguf"])
        .current_dir(folder)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the command starts")
}

fn refused(original: &str, delta: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output = relufy(folder.path(), original, delta);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(output.stdout.is_empty());
    for part in expected.iter().chain(&["error: ", "\nhint: "]) {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    let left = std::fs::read_dir(folder.path()).expect("lists").count();
    assert_eq!(left, 0, "something was left behind");
}

#[test]
fn another_model_is_refused() {
    refused(
        &format!("{MODELS}/relu-small/relu-small.gguf"),
        &format!("{MODELS}/relu-smollm2/delta"),
        &[
            "relu-small.gguf",
            "19202848 bytes",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "98362432 bytes",
        ],
    );
}

#[test]
fn a_missing_delta_or_original_is_named() {
    refused("model.gguf", "nowhere", &["delta.json"]);
    refused(
        "model.gguf",
        &format!("{MODELS}/relu-smollm2/delta"),
        &["model.gguf"],
    );
}
