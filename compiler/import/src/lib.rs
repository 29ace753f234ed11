//! Model files to a typed graph, tokenizer and chat template.

pub mod template;
pub mod tokenizer;
