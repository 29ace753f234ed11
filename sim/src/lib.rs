//! Runs programs of the accelerator: a functional model, the Verilated RTL, and both in lockstep.
//!
//! The [`Model`] is bit-exact and untimed; the RTL is the hardware's own description, clocked
//! against a simulated AXI memory. Both are a [`Device`].
//!
//! Invariants: the crate knows programs, not models or compilers; nothing is printed; memory
//! contents that only the host writes are shared between devices, never copied.
//!
//! ```
//! use lampyris_isa::{HwConfig, asm::parse_program};
//! use lampyris_sim::{Device, Limits, Memory, Model, Outcome, Start};
//! let program = parse_program("alu rd=1 rs=1 use_imm=1 imm=2\nhalt code=7").unwrap();
//! let mut memory = Memory::new();
//! memory.add_data("program", 0, program.iter().flat_map(|i| i.to_bytes()).collect()).unwrap();
//! let mut model = Model::new(HwConfig::SMALL, memory).unwrap();
//! let start = Start { args: [40, 0, 0, 0, 0, 0, 0, 0], ..Start::default() };
//! assert_eq!(model.run_to_halt(&start, &Limits::default()).unwrap(), Outcome::Halted(7));
//! assert_eq!(model.results().unwrap()[0], 42);
//! ```

pub mod board;
mod check;
mod device;
pub mod dram;
mod effects;
mod error;
pub mod estimate;
pub mod fuzz;
pub mod golden;
pub mod lockstep;
mod memory;
mod model;
mod rng;
pub mod rtl;
pub mod session;
pub mod smoke;
pub mod straight;
pub mod timeline;
pub mod traffic;

pub use check::Check;
pub use device::{CTRL_RESET, CTRL_START, Counters, Device, Limits, Outcome, Start};
pub use effects::{ActBlock, Difference, Effects, Place};
pub use error::{Result, SimError};
pub use memory::{Memory, PAGE, SPACE, SharedBytes, WRITABLE_MAX};
pub use model::{Access, End, ErrorCode, Model, Observe, Space, Step};
pub use rng::Rng;
