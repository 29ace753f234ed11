//! Host registers: 32 bits wide, byte offsets on the AXI4-Lite slave. 64-bit values take two
//! registers, low half first; counters are read low half first and hold while the program is
//! halted.

/// How the host may use a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read only.
    Ro,
    /// Read and write.
    Rw,
    /// Write only; reads as zero.
    Wo,
}

/// One register, or a run of them.
#[derive(Clone, Copy, Debug)]
pub struct Csr {
    /// Name.
    pub name: &'static str,
    /// Byte offset of the first.
    pub offset: u32,
    /// Number of consecutive 32-bit registers.
    pub count: u32,
    /// Access.
    pub access: Access,
    /// Meaning.
    pub doc: &'static str,
}

macro_rules! csrs {
    ($($name:ident @ $offset:literal * $count:literal $access:ident $doc:literal;)*) => {
        /// All registers.
        pub const CSRS: &[Csr] = &[ $( Csr { name: stringify!($name), offset: $offset, count: $count, access: Access::$access, doc: $doc } ),* ];
        $( #[doc = $doc] pub const $name: u32 = $offset; )*
    };
}

csrs! {
    ID @ 0x000 * 1 Ro "0x4c4d5059, the letters LMPY.";
    ISA_VERSION @ 0x004 * 1 Ro "Version of instruction set, registers and formats.";
    CONFIG_HASH @ 0x008 * 1 Ro "Hash of the elaborated parameters.";
    CTRL @ 0x00c * 1 Wo "Bit 0: start at PROG_BASE + 32 ENTRY; clears the counters; ignored while a program runs and, until a reset, after an error. Bit 1: reset everything but these registers.";
    STATUS @ 0x010 * 1 Ro "Bit 0: running. Bit 1: halted. Bits 15:8: error code, 0 if none.";
    HALT_CODE @ 0x014 * 1 Ro "Code of the halt instruction.";
    ERROR_PC @ 0x018 * 1 Ro "Instruction index that the sequencer was at when the error was raised.";
    PROG_BASE @ 0x020 * 2 Rw "Byte address of the program, a multiple of 128.";
    ENTRY @ 0x028 * 1 Rw "Index of the first instruction.";
    ARG @ 0x040 * 8 Rw "Loaded into r1..r8 at start, zero-extended.";
    RES @ 0x060 * 8 Ro "Low 32 bits of r1..r8 at halt.";
    COUNTER @ 0x100 * 48 Ro "Performance counters, 64 bits each, in the order of the counter table.";
}

/// Value of the ID register.
pub const ID_VALUE: u32 = 0x4c4d_5059;

/// Performance counters, each 64 bits, at COUNTER + 8 * index. They count while the program runs.
pub const COUNTERS: [(&str, &str); 24] = [
    ("cycles", "Cycles from start to halt."),
    ("insns", "Instructions that left the sequencer."),
    ("busy_ld", "Cycles in which LD executes an instruction."),
    ("busy_st", "Cycles in which ST executes an instruction."),
    ("busy_mm", "Cycles in which MM executes an instruction."),
    ("busy_sfu", "Cycles in which MISC executes an instruction."),
    (
        "read_beats",
        "Beats received on the read data channel of port 0.",
    ),
    ("write_beats", "Beats sent on the write data channels."),
    ("stream_beats", "Beats that entered the weight stream."),
    ("vector_beats", "Beats loaded to vector memory."),
    ("fetch_beats", "Beats of instructions."),
    (
        "port_beats",
        "Cycles in which a read or a write beat moved on port 0.",
    ),
    (
        "stall_queue",
        "Cycles in which the sequencer waits for a full unit queue.",
    ),
    (
        "stall_fence",
        "Cycles in which the sequencer waits at a fence or halt.",
    ),
    (
        "stall_fetch",
        "Cycles in which the sequencer waits for an instruction.",
    ),
    ("wait_ld", "Cycles in which LD waits for a semaphore."),
    ("wait_st", "Cycles in which ST waits for a semaphore."),
    ("wait_mm", "Cycles in which MM waits for a semaphore."),
    ("wait_sfu", "Cycles in which MISC waits for a semaphore."),
    (
        "mm_starved",
        "Cycles in which MM executes and waits for weights.",
    ),
    (
        "mm_drain",
        "Cycles in which MM executes and waits for outputs to drain.",
    ),
    (
        "stream_full",
        "Cycles in which a weight load waits for room in the stream buffer.",
    ),
    (
        "mac_steps",
        "Steps of the multiplier array (mac_rows x 32 products each).",
    ),
    (
        "port1_beats",
        "Cycles in which a read or a write beat moved on port 1.",
    ),
];

/// Errors that stop the accelerator, as in STATUS bits 15:8.
pub const ERRORS: [(u8, &str); 5] = [
    (1, "illegal instruction: unknown opcode or reserved value"),
    (
        2,
        "stack: loop or return stack overflow or underflow, or a bad loop body",
    ),
    (
        3,
        "address: outside vector memory or activation buffer, or misaligned",
    ),
    (4, "memory: error response on a memory port"),
    (5, "operand: count or token number out of range"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_do_not_overlap() {
        for (i, a) in CSRS.iter().enumerate() {
            assert!(a.offset % 4 == 0);
            for b in &CSRS[..i] {
                assert!(a.offset >= b.offset + 4 * b.count || b.offset >= a.offset + 4 * a.count);
            }
        }
        assert!(COUNTERS.len() * 2 <= 48);
    }
}
