//! The contract between compiler, simulator, RTL and host: one definition of the instruction
//! set, the number formats, the host registers and the hardware configuration.
//!
//! Everything that more than one side must agree on is here and nowhere else. From these tables
//! come the Rust types, the encoder, decoder, assembler and disassembler, the SystemVerilog
//! package and `docs/isa.md` (see [`generate`]).
//!
//! Invariants: no I/O, no dependencies, instruction width and field positions are the same for
//! every [`HwConfig`].
//!
//! ```
//! use lampyris_isa::Insn;
//! let insn = Insn::parse("fence units=12").unwrap();
//! assert_eq!(Insn::decode(insn.encode()), Ok(insn));
//! ```

pub mod asm;
pub mod config;
pub mod csr;
pub mod format;
pub mod generate;
pub mod insn;
pub mod link;
pub mod num;
mod poly_tables;
mod spec;

pub use config::HwConfig;
pub use insn::{DecodeError, FieldSpec, Insn, InsnSpec, Opcode, Unit, Word};

/// Version of the instruction set, the register map and the number formats. The host refuses a
/// program made for another version.
pub const ISA_VERSION: u32 = 2;
