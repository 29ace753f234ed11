//! Graph to a compiled directory: plan buffers and constants, lower to instructions, schedule,
//! pack weights, write the bundle.
//!
//! The flow is straight: [`image::plan`] and [`buffers::plan`] decide where everything lies (in
//! tiles as [`format`] says),
//! [`lower`] emits a tree of instructions (`spill` makes the unfused form of it), [`schedule`] orders loads and adds semaphores,
//! [`program`] flattens, [`pack`] writes weights, and [`compile`] puts the parts together.

pub mod buckets;
pub mod buffers;
pub mod error;
pub mod format;
pub mod image;
pub mod kv;
pub mod lower;
pub mod mask;
pub mod pack;
pub mod program;
pub mod ring;
pub mod schedule;

mod contents;
mod output;
mod spill;

pub use error::{Error, Result};
pub use kv::KvFormat;
pub use lampyris_bundle::{Mask, Schedule};
pub use output::{Compiled, Options, Plan, Tokenization, Widened, compile, plan};
