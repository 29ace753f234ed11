//! The state that instructions of the units read and write, and the notes taken on the way.

use super::stream::Stream;
use crate::effects::{ActBlock, Effects};
use crate::memory::Memory;
use lampyris_isa::HwConfig;
use lampyris_isa::insn::REG_MASK;

/// Error codes of the accelerator; see `lampyris_isa::csr::ERRORS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ErrorCode {
    /// Unknown opcode or reserved value.
    Illegal = 1,
    /// Loop or return stack.
    Stack = 2,
    /// Address out of range or misaligned.
    Address = 3,
    /// Error response on the memory port.
    Memory = 4,
    /// Count out of range.
    Operand = 5,
}

/// An instruction that cannot be executed.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The error that the hardware raises, or what to do about a program that the hardware would
    /// execute for ever, or the model for too long.
    pub(crate) kind: Result<ErrorCode, &'static str>,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Fault {
        Fault {
            kind: Ok(code),
            detail: detail.into(),
        }
    }

    pub(crate) fn refused(detail: impl Into<String>, hint: &'static str) -> Fault {
        Fault {
            kind: Err(hint),
            detail: detail.into(),
        }
    }
}

/// Most rows, and elements in all rows, that the model takes in one instruction: some times what
/// vector memory can hold, but no more than takes a moment.
const ROWS_MAX: u64 = 1 << 18;
const ELEMENTS_MAX: u64 = 1 << 24;

/// Fails if an instruction would keep the model busy for too long: strides of zero allow any
/// number of rows.
pub(crate) fn check_work(rows: u64, n: u64) -> Result<(), Fault> {
    if rows > ROWS_MAX || rows.saturating_mul(n) > ELEMENTS_MAX {
        let detail = format!("{rows} rows of {n} elements");
        let hint = "one instruction takes at most 2^18 rows and 2^24 elements in the model";
        return Err(Fault::refused(detail, hint));
    }
    Ok(())
}

/// A memory that units share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Space {
    /// Vector memory, words.
    Vmem,
    /// Activation buffer, blocks.
    Xbuf,
    /// DRAM, bytes.
    Dram,
}

/// A run of addresses that an instruction reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Which memory.
    pub space: Space,
    /// Write, else read.
    pub write: bool,
    /// First address.
    pub start: u64,
    /// Addresses.
    pub len: u64,
}

/// The registers of the sequencer as units see them.
pub(crate) struct Regs<'a>(pub(crate) &'a [u64; 32]);

impl Regs<'_> {
    /// `R[selector] + immediate` modulo 2^40.
    #[inline]
    pub(crate) fn add(&self, selector: u8, immediate: u64) -> u64 {
        (self.0[selector as usize & 31] + immediate) & REG_MASK
    }
}

/// Work counted for the report; the indices of the same name in `lampyris_isa::csr::COUNTERS`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Work {
    pub(crate) stream_bytes: u64,
    pub(crate) vector_bytes: u64,
    pub(crate) write_bytes: u64,
    pub(crate) macs: u64,
}

/// Memories, weight stream, and what is noted about the current instruction.
pub(crate) struct Machine {
    pub(crate) config: HwConfig,
    pub(crate) memory: Memory,
    pub(crate) vmem: Vec<u32>,
    pub(crate) xbuf: Vec<ActBlock>,
    pub(crate) stream: Stream,
    pub(crate) effects: Option<Effects>,
    pub(crate) accesses: Option<Vec<Access>>,
    pub(crate) work: Work,
    pub(crate) scratch: super::vector::Scratch,
}

impl Machine {
    pub(crate) fn new(config: HwConfig, memory: Memory) -> Machine {
        Machine {
            config,
            memory,
            vmem: vec![0; config.vmem_words as usize],
            xbuf: vec![ActBlock::default(); config.xbuf_blocks as usize],
            stream: Stream::default(),
            effects: None,
            accesses: None,
            work: Work::default(),
            scratch: super::vector::Scratch::default(),
        }
    }

    /// Notes an access for the race check.
    #[inline]
    pub(crate) fn note(&mut self, space: Space, write: bool, start: u64, len: u64) {
        if let Some(list) = &mut self.accesses
            && len > 0
        {
            list.push(Access {
                space,
                write,
                start,
                len,
            });
        }
    }

    /// Writes words to vector memory; the range has been checked.
    #[inline]
    pub(crate) fn put_words(&mut self, at: usize, words: &[u32]) {
        self.vmem[at..at + words.len()].copy_from_slice(words);
        if let Some(effects) = &mut self.effects {
            for (i, &word) in words.iter().enumerate() {
                effects.vmem_word((at + i) as u32, word);
            }
        }
        self.note(Space::Vmem, true, at as u64, words.len() as u64);
    }

    /// Writes a block of the activation buffer; the address has been checked.
    pub(crate) fn put_block(&mut self, at: usize, block: ActBlock) {
        self.xbuf[at] = block;
        if let Some(effects) = &mut self.effects {
            effects.xbuf_block(at as u32, &block);
        }
        self.note(Space::Xbuf, true, at as u64, 1);
    }

    /// Writes bytes to DRAM.
    pub(crate) fn put_bytes(&mut self, addr: u64, bytes: &[u8]) -> Result<(), Fault> {
        // Weights that were already ordered keep the value they had when LD read them.
        self.stream
            .keep_before_write(&self.memory, addr, bytes.len() as u64)?;
        if let Err(e) = self.memory.write(addr, bytes) {
            return Err(Fault::new(ErrorCode::Memory, e.to_string()));
        }
        if let Some(effects) = &mut self.effects {
            for (i, &byte) in bytes.iter().enumerate() {
                effects.dram_byte(addr + i as u64, byte);
            }
        }
        self.note(Space::Dram, true, addr, bytes.len() as u64);
        self.work.write_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Fails unless `start + (rows - 1) stride + len` words lie in vector memory.
    pub(crate) fn check_vmem(&self, what: &str, rect: Rect) -> Result<(), Fault> {
        rect.check(
            what,
            u64::from(self.config.vmem_words),
            "words of vector memory",
        )
    }

    /// Fails unless the blocks lie in the activation buffer.
    pub(crate) fn check_xbuf(&self, what: &str, rect: Rect) -> Result<(), Fault> {
        rect.check(
            what,
            u64::from(self.config.xbuf_blocks),
            "blocks of the activation buffer",
        )
    }
}

/// `rows` runs of `len` addresses, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Rect {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) rows: u64,
    pub(crate) stride: u64,
}

impl Rect {
    pub(crate) fn run(start: u64, len: u64) -> Rect {
        Rect {
            start,
            len,
            rows: 1,
            stride: 0,
        }
    }

    /// One past the last address; operands have 40 bits, so 128 do not overflow.
    fn end(&self) -> u128 {
        let skipped = u128::from(self.rows.saturating_sub(1)) * u128::from(self.stride);
        u128::from(self.start) + skipped + u128::from(self.len)
    }

    fn check(&self, what: &str, limit: u64, of: &str) -> Result<(), Fault> {
        if self.end() > u128::from(limit) {
            let detail = format!(
                "`{what}` from {} to {} is outside the {limit} {of}",
                self.start,
                self.end() - 1
            );
            return Err(Fault::new(ErrorCode::Address, detail));
        }
        Ok(())
    }
}

/// Fails unless `value` is a multiple of `granule`.
pub(crate) fn check_aligned(what: &str, value: u64, granule: u64) -> Result<(), Fault> {
    if !value.is_multiple_of(granule) {
        let detail = format!("`{what}` is {value}, not a multiple of {granule}");
        return Err(Fault::new(ErrorCode::Address, detail));
    }
    Ok(())
}
