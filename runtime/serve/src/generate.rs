//! What the server needs of an engine.

use lampyris_runtime::Sampler;
use std::ops::ControlFlow;

/// A failure of the engine, in its own words (which end with a hint).
pub type GenerateError = Box<dyn std::error::Error + Send + Sync>;

/// One generation.
pub struct Ask<'a> {
    /// Tokens of the prompt, at least one and fewer than the context has positions.
    pub prompt: &'a [u32],
    /// Most tokens to make, at least one.
    pub max_tokens: usize,
    /// Chooses the tokens.
    pub sampler: &'a mut Sampler,
    /// True for a token that ends the text; it is not shown to `on_token`.
    pub is_end: &'a dyn Fn(u32) -> bool,
    /// Sees every token as soon as it is made; `Break` ends the generation.
    pub on_token: &'a mut dyn FnMut(u32) -> ControlFlow<()>,
    /// True once nobody wants the result: an engine looks at it also while it evaluates the
    /// prompt, as often as it can.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model made a token that ends the text.
    Stop,
    /// `max_tokens` were made, or the context is full.
    Length,
    /// `on_token` said so, or `cancelled` did.
    Cancelled,
}

/// A generation that ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why.
    pub finish: Finish,
    /// Tokens of the prompt that the KV cache still held from earlier requests.
    pub reused: usize,
}

/// Totals of an engine since it was opened, for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Read requests to storage.
    pub reads: u64,
    /// Seconds in which computing waited for storage.
    pub wait_seconds: f64,
    /// Seconds of computing.
    pub compute_seconds: f64,
    /// Largest resident memory of the process, bytes; 0 if unknown.
    pub peak_rss_bytes: u64,
}

/// An engine with one sequence. Requests come one after another, from one thread.
pub trait Generate: Send {
    /// Evaluates the prompt and makes tokens.
    ///
    /// # Errors
    /// What the engine could not do. The next call must find the engine usable.
    fn generate(&mut self, ask: Ask<'_>) -> Result<Outcome, GenerateError>;

    /// Positions for prompt and answer together.
    fn context(&self) -> usize;

    /// Totals so far.
    fn counters(&self) -> Counters;
}
