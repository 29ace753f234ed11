//! The ReLU models and what PyTorch computed for them, as `tests/models` keeps it.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use verilator_sys::toolchain::Cache;

/// Answers of the small model, computed in f64.
#[derive(Debug, Deserialize)]
pub struct Small {
    /// SHA-256 of the file that was judged.
    pub sha256: String,
    /// Greedy continuations.
    pub greedy: Vec<Greedy>,
    /// Scores of a held-out passage.
    pub window: Window,
}

/// A prompt and its greedy continuation.
#[derive(Debug, Deserialize)]
pub struct Greedy {
    /// The text.
    pub prompt: String,
    /// Its tokens.
    pub prompt_tokens: Vec<u32>,
    /// The continuation.
    pub generated: Vec<u32>,
    /// The continuation as text.
    pub text: String,
}

/// Teacher-forced scores of a passage.
#[derive(Debug, Deserialize)]
pub struct Window {
    /// All tokens; those from the second on are scored.
    pub tokens: Vec<u32>,
    /// Perplexity of the scored tokens.
    pub perplexity: f64,
    /// Share of FFN activations that are zero, by layer.
    pub zeros: Vec<f64>,
}

/// Answers of the ReLU SmolLM2, computed in f32.
#[derive(Debug, Deserialize)]
pub struct SmolLm2 {
    /// SHA-256 of the file that was judged.
    pub sha256: String,
    /// Scores of a held-out passage.
    #[serde(flatten)]
    pub window: Window,
    /// Most likely next token after each token.
    pub top1: Vec<u32>,
    /// How much the most likely token's logit is above the next.
    pub margins: Vec<f32>,
}

/// The folder of the ReLU models.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Path of the small model, which ships.
pub fn small_path() -> PathBuf {
    folder().join("relu-small/relu-small.gguf")
}

/// The checked-in answers of the small model.
///
/// # Panics
/// If the checked-in file is damaged.
pub fn small() -> Small {
    serde_json::from_str(include_str!("../models/relu-small/reference.json"))
        .expect("the checked-in file reads")
}

/// The checked-in answers of the ReLU SmolLM2.
///
/// # Panics
/// If the checked-in file is damaged.
pub fn smollm2() -> SmolLm2 {
    serde_json::from_str(include_str!("../models/relu-smollm2/reference.json"))
        .expect("the checked-in file reads")
}

/// Path of the ReLU SmolLM2: `LAMPYRIS_SMOLLM2_RELU`, or where `cargo xtask setup` builds it.
///
/// # Errors
/// Says where it was sought and how to get it.
pub fn smollm2_path() -> Result<PathBuf, String> {
    let path = match std::env::var_os("LAMPYRIS_SMOLLM2_RELU") {
        Some(path) => path.into(),
        None => Cache::locate()
            .map_err(|err| err.to_string())?
            .models()
            .join("SmolLM2-135M-ReLU.gguf"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "`{}` is missing\nhint: run `cargo xtask setup`, or set LAMPYRIS_SMOLLM2_RELU",
        path.display()
    ))
}
