//! Where a model's weights lie on storage.
//!
//! [`ModelIndex`] is what an engine needs that reads weights itself instead of mapping them: for
//! every matrix its file, offset, element format and shape, and the small vectors as f32. It is
//! the same for GGUF files, Hugging Face directories and the embedded model.

mod cache;
pub mod container;
mod error;
mod index;
pub mod pack;
mod read;

pub use container::{Checksums, Layout, Packed};
pub use error::{Error, Result};
pub use index::{Bundles, Ffn, LayerIndex, Linear, ModelIndex, Norm, Part, Stored};
pub use pack::{Forecast, Options, Plan, Report, Requantized, Statistics, free_bytes};
