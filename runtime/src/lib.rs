//! Inference on this machine: the f32 reference executor.
//!
//! The reference executor is the arbiter of correctness for everything else that computes a
//! model: it is slow and plain on purpose.

pub mod engine;
mod kernels;
pub mod reference;
mod sampler;

pub use kernels::{argmax, nll};
pub use reference::{Reference, ReferenceError, Session, WindowScore, perplexity};
pub use sampler::{Sampler, SamplerConfig, SamplerError};
