//! How sparse mode runs, and why it may fail.

use super::chunks::ReadCost;
use super::thresholds::{Rule, ThresholdError};
use crate::predictor::{Predictor, PredictorError};
use std::sync::Arc;

/// Which neurons of a layer are computed for a token.
#[derive(Clone, Debug, Default)]
pub enum Activity {
    /// All of them, read for every token: the baseline of the paper's ladder.
    All,
    /// Exactly those that a ReLU does not make zero. The gate rows (up rows, where there is no
    /// gate) stay in memory; the rest of a neuron is read when it is active. Lossless.
    #[default]
    Exact,
    /// Those that the predictor names. Nothing of a neuron need be in memory; active neurons that
    /// are not named are missing from the output.
    Predicted(Arc<Predictor>),
    /// Those above their layer's threshold. What the rule compares stays in memory. Lossy.
    Above(Rule, Vec<f32>),
}

/// Settings of sparse mode. Each technique can be switched off, so that a bench can add them one
/// by one.
#[derive(Clone, Debug)]
pub struct SparseOptions {
    /// Which neurons are computed.
    pub activity: Activity,
    /// Tokens whose neurons stay in memory before others; 0 keeps none from token to token.
    pub window: usize,
    /// Whether a neuron's rows and column are read together (or with a request each).
    pub bundle: bool,
    /// Whether neighbours are read together where one larger read is cheaper.
    pub chunks: bool,
    /// Share of the neuron cache whose rows are the first of the file, which stay: the hottest of
    /// a file that is ordered by frequency.
    pub pinned: f64,
    /// Whether the predictor also decides in prompts. They are streamed as a whole anyway, so
    /// that without this they are computed exactly.
    pub predict_prompts: bool,
    /// Most tokens of one call that are computed neuron by neuron; more stream the whole layer.
    pub together: usize,
    /// Cost of reads, from a probe of the storage.
    pub cost: ReadCost,
    /// Requests in flight.
    pub depth: usize,
    /// Largest read in bytes; raised to what one neuron needs.
    pub largest_read: usize,
}

impl Default for SparseOptions {
    fn default() -> Self {
        Self {
            activity: Activity::default(),
            window: 4,
            bundle: true,
            chunks: true,
            pinned: 0.0,
            predict_prompts: false,
            together: 8,
            cost: ReadCost::default(),
            depth: 32,
            largest_read: 64 << 10,
        }
    }
}

/// Why sparse mode cannot start or go on. Every message names the place and ends with a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparseError {
    /// The model's file does not hold bundles.
    #[error(
        "layer {layer} of `{model}` is stored as whole matrices; sparse mode reads single neurons\nhint: pack the model with `lampyris pack --layout bundled`"
    )]
    NotBundled {
        /// The model.
        model: String,
        /// Layer.
        layer: usize,
    },
    /// The model has no exact zeros.
    #[error(
        "`{model}` has no ReLU in layer {layer}: none of its neurons is exactly zero\nhint: run it in dense mode, or calibrate thresholds with `lampyris calibrate` and accept their loss"
    )]
    NoZeros {
        /// The model.
        model: String,
        /// Layer.
        layer: usize,
    },
    /// A bundle contradicts itself.
    #[error("`{name}`: {problem}\nhint: the file is damaged; pack the model again")]
    Bundle {
        /// The layer's name in the file.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// What must be in memory does not fit.
    #[error(
        "sparse mode needs at least {needed} bytes of memory for {what}; {available} are left for it\nhint: raise the budget, use a predictor instead of resident gates, or run in dense mode"
    )]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// What for.
        what: &'static str,
        /// Bytes there.
        available: u64,
    },
    /// A read failed.
    #[error("neurons of `{name}` could not be read: {source}")]
    Read {
        /// The layer's name in the file.
        name: String,
        /// Cause; it names the file and ends with a hint.
        source: lampyris_io::Error,
    },
    /// The storage layer failed.
    #[error(transparent)]
    Storage(#[from] lampyris_io::Error),
    /// A read returned less than the file must hold.
    #[error(
        "the file ended in the middle of `{name}`, {missing} bytes early\nhint: the file was truncated or replaced while it was in use; make or fetch it again"
    )]
    Truncated {
        /// The layer's name in the file.
        name: String,
        /// Bytes missing.
        missing: usize,
    },
    /// The predictor does not fit.
    #[error(transparent)]
    Predictor(#[from] PredictorError),
    /// The thresholds do not fit.
    #[error(transparent)]
    Thresholds(#[from] ThresholdError),
}
