//! Errors of the simulator. Errors that the accelerator itself raises (an illegal instruction, an
//! address out of range) are not here: they are an [`crate::Outcome`].

use thiserror::Error;

/// What can go wrong while a device is set up or simulated.
#[derive(Debug, Error)]
pub enum SimError {
    /// A file of the compiled directory cannot be used.
    #[error(transparent)]
    Bundle(#[from] lampyris_bundle::Error),
    /// A segment cannot be placed.
    #[error("memory segment `{name}` at {base:#x}, {len} bytes: {problem}\n\nhint: {hint}")]
    Segment {
        /// Name of the segment.
        name: String,
        /// First address.
        base: u64,
        /// Bytes.
        len: u64,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A host access touches bytes that no segment holds or that are read-only.
    #[error(
        "{access} of {len} bytes at {addr:#x}: {problem}\n\nhint: check the memory map of the bundle"
    )]
    Access {
        /// `read` or `write`.
        access: &'static str,
        /// First address.
        addr: u64,
        /// Bytes.
        len: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The configuration is not one that the hardware can have.
    #[error("hardware configuration: {0}\n\nhint: change the parameter in the board file")]
    Config(#[from] lampyris_isa::config::ConfigError),
    /// The DRAM's timing cannot be modelled like this.
    #[error(transparent)]
    Dram(#[from] crate::dram::Error),
    /// A host register does not exist or cannot be used like this.
    #[error("register at {offset:#x}: {problem}\n\nhint: the registers are listed in docs/isa.md")]
    Register {
        /// Byte offset.
        offset: u32,
        /// What is wrong.
        problem: &'static str,
    },
    /// The start parameters are wrong.
    #[error("start: {problem}\n\nhint: {hint}")]
    Start {
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The program breaks a rule that the hardware does not check.
    #[error("instruction {seq} (pc {pc}) `{text}`: {problem}\n\nhint: {hint}")]
    Program {
        /// Sequence number from the start of the program.
        seq: u32,
        /// Instruction index.
        pc: u32,
        /// Assembler text.
        text: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The run took more than it was allowed to.
    #[error(
        "no halt after {used} {unit}\n\nhint: raise the limit if the program is long, else look for an endless loop"
    )]
    Limit {
        /// What was used up.
        used: u64,
        /// `instructions` or `cycles`.
        unit: &'static str,
    },
    /// Nothing retires any more.
    #[error(
        "no progress for {cycles} cycles at cycle {cycle}: {state}\n\nhint: a semaphore is never posted, or the weight stream is short of or full of data"
    )]
    Stuck {
        /// Cycles without progress.
        cycles: u64,
        /// Cycle of the report.
        cycle: u64,
        /// What each unit waits for.
        state: String,
    },
    /// The RTL broke a rule of the memory port.
    #[error(
        "memory port at cycle {cycle}: {problem}\n\nhint: this is a bug in the RTL, not in the program"
    )]
    Protocol {
        /// Cycle.
        cycle: u64,
        /// The rule and the values.
        problem: String,
    },
    /// The Verilated model cannot be built or stopped by itself.
    #[error("{context}: {source}")]
    Verilator {
        /// What was being done.
        context: &'static str,
        /// The cause.
        source: verilator_sys::Error,
    },
    /// A board cannot be reached or used.
    #[error(transparent)]
    Link(#[from] lampyris_link::Error),
    /// Model and RTL differ.
    #[error(
        "{0}\n\nhint: the RTL and the model disagree, whatever the program: record waveforms around that cycle with --engine rtl --wave A..B"
    )]
    Mismatch(Box<crate::lockstep::Mismatch>),
    /// A file cannot be read or written.
    #[error("{path}: {source}\n\nhint: check that the file exists and may be used like this")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Result with [`SimError`].
pub type Result<T, E = SimError> = std::result::Result<T, E>;
