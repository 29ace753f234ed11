//! Model files to a typed graph, tokenizer and chat template.

pub mod tokenizer;
