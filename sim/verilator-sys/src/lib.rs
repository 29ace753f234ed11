//! Build and drive Verilated models from Rust.
//!
//! [`Build`] runs the pinned Verilator on SystemVerilog sources, compiles the C++ that it writes
//! together with a small C interface, and keeps the shared object in a cache whose key is the
//! hash of every input. [`Design`] is that object, loaded; [`Model`] is one instance of the
//! design, with [`Input`] and [`Output`] ports. Everything happens at run time: there is no build
//! script, so that a configuration (`-G` parameters) can be chosen by the program.
//!
//! ```no_run
//! use verilator_sys::{Build, Setup};
//!
//! # fn main() -> Result<(), verilator_sys::Error> {
//! let design = Build::new("counter")
//!     .source("rtl/counter.sv")
//!     .param("Width", 8)
//!     .build()?;
//! let mut model = design.instantiate(&Setup::default())?;
//! let clk = model.input("clk_i", 1)?;
//! let count = model.output("count_o", 8)?;
//! model.set(clk, 0);
//! model.eval()?; // the first evaluation with the clock low, or the first edge is lost
//! model.set(clk, 1);
//! model.eval()?;
//! println!("{}", model.get(count));
//! # Ok(())
//! # }
//! ```
//!
//! [`toolchain`] tells where the pinned tools and models are and what is missing; it installs
//! nothing.

mod build;
mod compile;
mod design;
mod error;
mod header;
mod model;
pub mod toolchain;

pub use build::{Build, InitialState, source_tree};
pub use design::{Design, Direction, PortInfo};
pub use error::{Error, Halt, HaltKind};
pub use model::{Input, Model, Output, Setup};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
