//! Model files on storage: GGUF, safetensors, block formats.
//!
//! Files are memory-mapped and validated once when they are opened: afterwards every tensor is
//! known to lie inside its file, and reading it cannot fail. [`ModelFile`] unites both formats
//! behind [`TensorView`].

pub mod block;
mod bytes;
pub mod delta;
mod error;
pub mod gguf;
mod model_file;
pub mod safetensors;
mod tensor;

pub use block::TensorType;
pub use bytes::Bytes;
pub use delta::{Delta, DeltaError};
pub use error::{Error, Result};
pub use gguf::Gguf;
pub use model_file::ModelFile;
pub use safetensors::SafetensorsDir;
pub use tensor::TensorView;
