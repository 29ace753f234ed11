//! Build and drive Verilated models from Rust.
