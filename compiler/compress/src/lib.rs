//! Mixed-precision and sparse weights within an exact budget of bytes.
//!
//! [`Plan`] knows the sizes that a model can have before anything is computed. [`survey`] runs
//! the f32 reference executor over calibration text, layer by layer, and finds what each storage
//! format of each matrix would cost; [`allocate`] chooses one for each within the budget, as an
//! integer program; [`write`](fn@write) quantizes again, each layer with the inputs that the
//! compressed layers before it give, and writes a GGUF file. The idea and its measured effect are
//! in `docs/compress.md`.

mod allocate;
mod calibrate;
mod error;
mod grid;
mod hessian;
mod mask;
mod output;
mod parallel;
mod plan;
mod quantize;
mod survey;
#[cfg(test)]
mod tests;

pub use allocate::{Allocation, allocate, check};
pub use error::CompressError;
pub use hessian::Hessian;
pub use output::{Written, restore, write};
pub use plan::{Budget, FORMATS, Matrix, Options, Plan, Pruning, Rounding, Sparse};
pub use quantize::{Method, Quantized, quantize};
pub use survey::{Survey, survey};

/// Result with this crate's error.
pub type Result<T, E = CompressError> = std::result::Result<T, E>;
