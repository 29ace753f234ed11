//! Model files to a typed graph, tokenizer and chat template.

pub mod arch;
pub mod error;
pub mod graph;
pub mod source;
pub mod template;
pub mod tokenizer;

pub use error::ImportError;
pub use source::Model;
