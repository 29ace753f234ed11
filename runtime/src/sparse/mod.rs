//! Feed-forward networks whose neurons are read from storage as they become active
//! ("LLM in a flash: Efficient Large Language Model Inference with Limited Memory", sections
//! 3.1 to 3.3).

pub mod chunks;
mod fetch;
mod ffn;
mod geometry;
mod options;
pub mod slots;
pub mod thresholds;
pub mod usage;

pub use chunks::ReadCost;
pub use ffn::{Counters, Memory, WindowedFfn};
pub use options::{Activity, SparseError, SparseOptions};
