//! The error type of the crate.

use std::path::PathBuf;

/// Why a model could not be compressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The model is kept in a form from which no GGUF file can be made.
    #[error(
        "`{model}` is not a GGUF file, whose metadata the compressed file needs\nhint: convert the model to GGUF (F16 or BF16) first"
    )]
    NotGguf {
        /// Name of the model.
        model: String,
    },
    /// A format that does not exist or is not offered.
    #[error("{problem}\nhint: {hint}")]
    Options {
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// No choice of formats is small enough.
    #[error(
        "a budget of {budget} is impossible for `{model}` with these formats: the smallest that fits is {least}\nhint: {hint}"
    )]
    Budget {
        /// Name of the model.
        model: String,
        /// The budget as given.
        budget: String,
        /// The smallest feasible budget, in the same unit.
        least: String,
        /// What to do.
        hint: String,
    },
    /// Activations or weights overflowed.
    #[error(
        "the inputs of `{site}` are not finite on the calibration text\nhint: check the model with `lampyris run --reference`"
    )]
    NotFinite {
        /// The operation.
        site: String,
    },
    /// The caller asked to stop.
    #[error("stopped; nothing was written")]
    Stopped,
    /// The solver gave up.
    #[error("the allocation could not be solved: {problem}\nhint: {hint}")]
    Solver {
        /// What the solver says.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The reference executor refused.
    #[error(transparent)]
    Reference(#[from] lampyris_runtime::ReferenceError),
    /// The model cannot be read.
    #[error(transparent)]
    Import(#[from] lampyris_import::ImportError),
    /// The model file cannot be read or written.
    #[error(transparent)]
    File(#[from] lampyris_flash::Error),
    /// The operating system refused to write.
    #[error("cannot write `{}`: {source}\nhint: check that the folder exists and has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}
