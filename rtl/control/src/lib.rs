//! Control-plane hardware blocks, described in rust-hdl.
