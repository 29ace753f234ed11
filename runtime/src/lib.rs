//! Inference on this machine.
//!
//! [`engine`] runs models within a budget of memory, also those that are larger than it; [`sparse`]
//! and [`predictor`] are its sparse mode. [`reference`](mod@reference), the f32 executor, is the
//! arbiter of correctness for everything that computes a model: it is slow and plain on purpose.

mod atomic;
pub mod engine;
mod kernels;
mod observe;
mod parts;
pub mod predictor;
pub mod reference;
mod sampler;
pub mod sparse;

pub use kernels::{argmax, nll};
pub use reference::{Hook, Reference, ReferenceError, Session, WindowScore, perplexity};
pub use sampler::{Sampler, SamplerConfig, SamplerError};
