//! Why an engine cannot be opened or cannot go on.

use crate::SamplerError;

/// Failure to plan, load or run a model. Every message names the place and ends with a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The model cannot be read or is not supported.
    #[error(transparent)]
    Model(#[from] lampyris_pack::Error),
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] lampyris_io::Error),
    /// The instruction set asked for is not there.
    #[error(transparent)]
    Kernels(#[from] lampyris_kernels::Error),
    /// The logits could not be sampled.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// A token id beyond the model's vocabulary.
    #[error(
        "token id {token} is outside the model's vocabulary of {size} tokens\nhint: tokens and model must belong together"
    )]
    Token {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        size: usize,
    },
    /// The sequence would become longer than the context that was planned.
    #[error(
        "a sequence of {wanted} tokens exceeds the context of {limit}\nhint: shorten the prompt, generate fewer tokens, or open the model with a longer context"
    )]
    Context {
        /// Length asked for.
        wanted: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// There is nothing to evaluate.
    #[error(
        "there are no tokens to evaluate\nhint: give a prompt, or a model that begins with BOS"
    )]
    Empty,
    /// The budget does not hold what can neither be left out nor be streamed.
    #[error(transparent)]
    Budget(Box<Shortage>),
    /// An option that this model or build cannot honour.
    #[error("{what}\nhint: {hint}")]
    Unsupported {
        /// What cannot be done, and why.
        what: String,
        /// What can be done instead.
        hint: String,
    },
    /// Streamed bytes are not those that were read before.
    #[error(
        "`{file}`: the bytes at {offset} of `{tensor}` changed between two reads\nhint: the storage is failing or the file is being written to; check the device and copy the model again"
    )]
    Changed {
        /// File.
        file: String,
        /// First byte of the read.
        offset: u64,
        /// Matrix that the bytes belong to.
        tensor: String,
    },
    /// A read returned less than the file must hold.
    #[error(
        "`{file}` ended {missing} bytes early while `{tensor}` was read at {offset}\nhint: the file was truncated or replaced while it was in use; fetch it again"
    )]
    Truncated {
        /// File.
        file: String,
        /// First byte of the read.
        offset: u64,
        /// Bytes missing.
        missing: usize,
        /// Matrix that the bytes belong to.
        tensor: String,
    },
    /// Sparse mode cannot start or go on.
    #[error(transparent)]
    Sparse(#[from] crate::sparse::SparseError),
    /// Someone set the stop flag.
    #[error("the run was cancelled\nhint: run it again to continue")]
    Cancelled,
}

/// By how much a budget is too small.
#[derive(Debug, thiserror::Error)]
#[error(
    "a memory budget of {budget} is too small for `{model}`: {minimum} are needed ({needs})\nhint: {hint}"
)]
pub struct Shortage {
    /// The model.
    pub model: String,
    /// What was given, for people.
    pub budget: String,
    /// The least that works with these options, for people.
    pub minimum: String,
    /// The largest parts of the minimum.
    pub needs: String,
    /// The nearest setting that fits, or the budget to give.
    pub hint: String,
    /// The least that works with these options, in bytes.
    pub minimum_bytes: u64,
}
