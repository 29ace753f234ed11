//! Inference on this machine: the f32 reference executor.
//!
//! The reference executor is the arbiter of correctness for everything else that computes a
//! model: it is slow and plain on purpose.

mod atomic;
pub mod engine;
mod kernels;
mod observe;
pub mod predictor;
pub mod reference;
mod sampler;
pub mod sparse;

pub use kernels::{argmax, nll};
pub use reference::{Hook, Reference, ReferenceError, Session, WindowScore, perplexity};
pub use sampler::{Sampler, SamplerConfig, SamplerError};
