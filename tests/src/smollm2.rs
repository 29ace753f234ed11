//! The real model and what llama.cpp computed for it, as `tests/data/smollm2_reference.json`
//! keeps it.

use serde::Deserialize;
use std::path::PathBuf;
use verilator_sys::toolchain::{self, Cache};

/// The checked-in results of llama.cpp.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// Program and version that made them.
    pub engine: String,
    /// Prompts with greedy continuations.
    pub prompts: Vec<Prompt>,
    /// Scores of a long text.
    pub perplexity: LongText,
}

/// A prompt and its greedy continuation.
#[derive(Debug, Deserialize)]
pub struct Prompt {
    /// The text, with the chat template applied.
    pub prompt: String,
    /// Its tokens.
    pub prompt_tokens: Vec<u32>,
    /// The continuation; an end-of-text token is its last.
    pub generated: Vec<u32>,
}

/// Teacher-forced scores of a text that is cut into windows, each a sequence of its own.
#[derive(Debug, Deserialize)]
pub struct LongText {
    /// Which text.
    pub text: String,
    /// Tokens of a window.
    pub window: usize,
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Negative log-likelihood of tokens `1..` of each window, windows joined.
    pub nll: Vec<f64>,
    /// Most likely next token after each token.
    pub top1: Vec<u32>,
}

/// The checked-in results.
///
/// # Panics
/// If the checked-in file is damaged.
pub fn recorded() -> Recorded {
    serde_json::from_str(include_str!("../data/smollm2_reference.json"))
        .expect("the checked-in file reads")
}

/// Path of the pinned model.
///
/// # Errors
/// Says that it is missing and how to get it.
pub fn model_path() -> Result<PathBuf, verilator_sys::Error> {
    toolchain::model(&Cache::locate()?, None)
}
