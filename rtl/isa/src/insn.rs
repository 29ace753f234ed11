//! The instruction set: 256-bit instructions for a sequencer and four units.
//!
//! Layout that all instructions share: opcode in bits 7:0. Unit instructions (LD, ST, MM, MISC)
//! carry a `wait` mask in bits 11:8 and a `post` mask in bits 15:12, and five register selectors
//! in bits 40:16. The sequencer reads the registers at dispatch and hands the values to the unit
//! beside the instruction, so units see absolute operands: `operand = R[selector] + immediate`.
//! Register 0 always reads as zero.
//!
//! Semaphores: for each ordered pair of units (P, C) there is one counter. Bit P of `wait` in an
//! instruction of unit C takes one from counter (P, C) before it starts, blocking while it is
//! zero; bit C of `post` in an instruction of unit P adds one to (P, C) when it retires. This is
//! the wait/release scheme of FlightLLM (arXiv 2401.03868) with counters.

use crate::spec::{FieldType, instructions};

/// An encoded instruction: 256 bits, least significant word first.
pub type Word = [u64; 4];

/// Bytes of one encoded instruction.
pub const INSN_BYTES: usize = 32;

/// Registers of the sequencer. Register 0 reads as zero and ignores writes.
pub const REGS: usize = 32;

/// Bits of a register: byte addresses up to 1 TiB.
pub const REG_BITS: u32 = 40;

/// Mask of the valid bits of a register.
pub const REG_MASK: u64 = (1 << REG_BITS) - 1;

/// Depth of the hardware loop stack and of the return stack.
pub const STACK_DEPTH: usize = 8;

/// Who executes an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Unit {
    /// Loads: DRAM to the weight stream or to vector memory.
    Ld = 0,
    /// Stores: vector memory or quantized blocks to DRAM.
    St = 1,
    /// The matrix unit.
    Mm = 2,
    /// The special-function unit.
    Sfu = 3,
    /// The sequencer itself.
    Sys = 4,
}

impl Unit {
    /// The four units that have a queue, in the order of the mask bits.
    pub const QUEUED: [Unit; 4] = [Unit::Ld, Unit::St, Unit::Mm, Unit::Sfu];

    /// The bit of this unit in `wait`, `post` and `units` masks.
    pub const fn mask(self) -> u8 {
        1 << self as u8
    }
}

/// A field of an instruction.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpec {
    /// Name in assembler text and in the SystemVerilog struct.
    pub name: &'static str,
    /// Lowest bit.
    pub lsb: u32,
    /// Number of bits.
    pub width: u32,
    /// Two's complement if true.
    pub signed: bool,
    /// Meaning.
    pub doc: &'static str,
}

/// An instruction as the table describes it.
#[derive(Clone, Copy, Debug)]
pub struct InsnSpec {
    /// Rust variant.
    pub name: &'static str,
    /// Assembler mnemonic.
    pub mnemonic: &'static str,
    /// Value of bits 7:0.
    pub opcode: u8,
    /// Executing unit.
    pub unit: Unit,
    /// Semantics.
    pub doc: &'static str,
    /// Fields other than the opcode.
    pub fields: &'static [FieldSpec],
}

instructions! {
    /// Stops the program. The host sees `halted` and the code; RES0..RES7 show r1..r8.
    /// Waits until all units are idle first.
    Halt "halt" = 0x01 on Sys {
        /// Value for the HALT_CODE register.
        code: u16 @ 48 + 16,
    }
    /// Holds the sequencer until the queues of the named units are empty and the units idle.
    Fence "fence" = 0x02 on Sys {
        /// Mask of units: bit 0 LD, 1 ST, 2 MM, 3 SFU.
        units: u8 @ 48 + 4,
    }
    /// Register arithmetic, 40 bits, wrapping: R[rd] = R[rs] func (use_imm ? imm : R[rt]).
    Alu "alu" = 0x03 on Sys {
        /// Destination register.
        rd: u8 @ 16 + 5,
        /// First source register.
        rs: u8 @ 21 + 5,
        /// Second source register.
        rt: u8 @ 26 + 5,
        /// 0 add, 1 sub, 2 mul, 3 and, 4 shl, 5 shr (logical), 6 min (unsigned), 7 max (unsigned).
        func: u8 @ 48 + 3,
        /// 1: the second operand is `imm`.
        use_imm: u8 @ 51 + 1,
        /// Second operand, sign-extended to 40 bits; shift amounts use the low 6 bits.
        imm: i64 @ 64 + 40,
    }
    /// Counted loop over the next `body` instructions, R[rs] + imm times. Zero skips the body.
    /// Loops nest; a body must not end in the middle of an inner body, and control transfers
    /// other than call/ret pairs must not leave it.
    Loop "loop" = 0x04 on Sys {
        /// Register added to the count.
        rs: u8 @ 16 + 5,
        /// Number of instructions in the body (at least 1).
        body: u16 @ 48 + 16,
        /// Count; the low 24 bits of R[rs] + imm are used.
        imm: u32 @ 64 + 24,
    }
    /// Jumps if the condition holds.
    Jump "jump" = 0x05 on Sys {
        /// Register that is tested.
        rs: u8 @ 16 + 5,
        /// 0 always, 1 if R[rs] is zero, 2 if it is not.
        cond: u8 @ 48 + 2,
        /// Instructions from this one to the target.
        offset: i64 @ 64 + 24,
    }
    /// Pushes the address of the next instruction on the return stack and jumps.
    Call "call" = 0x06 on Sys {
        /// Instructions from this one to the target.
        offset: i64 @ 64 + 24,
    }
    /// Returns to the address on top of the return stack.
    Ret "ret" = 0x07 on Sys {}
    /// R[rd] = the 32-bit word of vector memory at R[rs] + addr. A fence must have drained the
    /// unit that wrote it.
    Rdv "rdv" = 0x08 on Sys {
        /// Destination register.
        rd: u8 @ 16 + 5,
        /// Register added to the address.
        rs: u8 @ 21 + 5,
        /// Word address.
        addr: u32 @ 64 + 18,
    }
    /// Appends bytes from DRAM to the weight stream that the matrix unit consumes:
    /// `rows` runs of R[rcount] + count chunks of 64 bytes, each run `stride` bytes after the
    /// one before. The address must be a multiple of 64. (With several memory channels, here and
    /// below, of 64 for each channel; see Formats.)
    LdW "ld.w" = 0x10 on Ld {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// First address register.
        rbase: u8 @ 16 + 5,
        /// Second address register.
        rindex: u8 @ 21 + 5,
        /// Register added to the chunk count of a run.
        rcount: u8 @ 26 + 5,
        /// Byte address added to R[rbase] + R[rindex].
        addr: u64 @ 64 + 40,
        /// Chunks of 64 bytes in a run.
        count: u32 @ 104 + 24,
        /// Runs.
        rows: u16 @ 128 + 12,
        /// Bytes from the start of a run to the next, a multiple of 64.
        stride: u32 @ 160 + 32,
    }
    /// Loads 32-bit words from DRAM to vector memory: `rows` runs of R[rcount] + count words,
    /// each `stride` bytes after the one before, stored densely from R[rdst] + dst.
    /// Addresses are multiples of 4 bytes.
    LdV "ld.v" = 0x11 on Ld {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// First address register.
        rbase: u8 @ 16 + 5,
        /// Second address register.
        rindex: u8 @ 21 + 5,
        /// Register added to the word count of a run.
        rcount: u8 @ 26 + 5,
        /// Register added to the destination.
        rdst: u8 @ 31 + 5,
        /// Byte address added to R[rbase] + R[rindex].
        addr: u64 @ 64 + 40,
        /// Words in a run.
        count: u32 @ 104 + 24,
        /// Runs.
        rows: u16 @ 128 + 12,
        /// Destination word in vector memory.
        dst: u32 @ 140 + 18,
        /// Bytes from the start of a run to the next, a multiple of 4.
        stride: u32 @ 160 + 32,
    }
    /// Stores R[rcount] + count words of vector memory from R[rsrc] + src to DRAM. The address
    /// is a multiple of 4 bytes.
    StV "st.v" = 0x18 on St {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// First address register.
        rbase: u8 @ 16 + 5,
        /// Second address register.
        rindex: u8 @ 21 + 5,
        /// Register added to the word count.
        rcount: u8 @ 26 + 5,
        /// Register added to the source.
        rsrc: u8 @ 31 + 5,
        /// Byte address added to R[rbase] + R[rindex].
        addr: u64 @ 64 + 40,
        /// Words.
        count: u32 @ 104 + 24,
        /// Source word in vector memory.
        src: u32 @ 140 + 18,
    }
    /// Stores `blocks` quantized blocks as one row of a weight tile with scale header (the key
    /// cache), where row = R[rrow] mod 16. Codes of 8 bits: block i goes to tile address
    /// A + 576 i, its scale (f16, minimum 0) to byte 4 row, its codes to byte 64 + 32 row. Codes
    /// of 4 bits: to A + 320 i, its scale and the minimum -8 x scale to byte 4 row, the low four
    /// bits of its codes, plus 8, to byte 64 + 16 row. With C channels tiles are C times as long,
    /// row = R[rrow] mod 16 C, and the codes are row `row mod 16` of part `row / 16`.
    StK "st.k" = 0x19 on St {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// First address register.
        rbase: u8 @ 16 + 5,
        /// Second address register.
        rindex: u8 @ 21 + 5,
        /// Register whose low 4 bits are the row in the tile.
        rrow: u8 @ 26 + 5,
        /// Register added to the source block.
        rsrc: u8 @ 31 + 5,
        /// Byte address of the first tile, added to R[rbase] + R[rindex]; a multiple of 64.
        addr: u64 @ 64 + 40,
        /// Blocks.
        blocks: u8 @ 104 + 8,
        /// 1: codes of 4 bits, if the configuration has a cache of 4 bits.
        nibbles: u8 @ 112 + 1,
        /// Source block in the activation buffer.
        src: u16 @ 140 + 14,
    }
    /// Stores `blocks` quantized blocks as one column of weight tiles without header (the value
    /// cache), where col = R[rrow] mod 32. Codes of 8 bits: element e of the 32 x blocks goes to
    /// byte A + stride (e / 16) + 32 (e mod 16) + col. Codes of 4 bits, plus 8: elements e (even)
    /// and e + 1 go to the low and the high half of byte
    /// A + stride (e / 16) + 16 (e mod 16) + col (a paired tile). With C channels tiles have 16 C
    /// elements, element r of a tile in row `r mod 16` of part `r / 16`.
    StT "st.t" = 0x1a on St {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// First address register.
        rbase: u8 @ 16 + 5,
        /// Second address register.
        rindex: u8 @ 21 + 5,
        /// Register whose low 5 bits are the column in the tile.
        rrow: u8 @ 26 + 5,
        /// Register added to the source block.
        rsrc: u8 @ 31 + 5,
        /// Byte address of the tile of the first 16 elements, added to R[rbase] + R[rindex];
        /// a multiple of 64.
        addr: u64 @ 64 + 40,
        /// Blocks.
        blocks: u8 @ 104 + 8,
        /// 1: codes of 4 bits, if the configuration has a cache of 4 bits.
        nibbles: u8 @ 112 + 1,
        /// Source block in the activation buffer.
        src: u16 @ 140 + 14,
        /// Bytes between the tiles of consecutive groups of 16 elements, a multiple of 64.
        stride: u32 @ 160 + 32,
    }
    /// Matrix times matrix (GEMM, prefill): consumes R[rgroups] + groups row groups of
    /// R[rk] + kblocks tiles each from the weight stream and multiplies every tile with the
    /// activation blocks of R[rtokens] + tokens vectors. Row r of vector t lands in vector
    /// memory at y + t ystride + r. Accumulation is exact; the sum is rounded to f32 once.
    /// A sparse tile stands for 2 or 4 blocks.
    Mm "mm" = 0x20 on Mm {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// Register added to x.
        rx: u8 @ 16 + 5,
        /// Register added to y.
        ry: u8 @ 21 + 5,
        /// Register added to kblocks.
        rk: u8 @ 26 + 5,
        /// Register added to groups.
        rgroups: u8 @ 31 + 5,
        /// Register added to tokens.
        rtokens: u8 @ 36 + 5,
        /// First activation block of vector 0.
        x: u16 @ 64 + 14,
        /// Activation blocks from one vector to the next.
        xstride: u16 @ 78 + 14,
        /// First output word of vector 0.
        y: u32 @ 92 + 18,
        /// Words from one vector's output to the next.
        ystride: u32 @ 110 + 18,
        /// Blocks of 32 along the reduction.
        kblocks: u16 @ 128 + 12,
        /// Groups of 16 rows (16 for each channel).
        groups: u16 @ 140 + 16,
        /// Vectors, 1 to the configuration's maximum.
        tokens: u8 @ 156 + 6,
        /// Bits of a weight code: 2, 3, 4, 5 or 6 (unsigned) or 8 (signed); signed if sparse.
        /// Code and index together have one of these widths, and one that the configuration has.
        bits: u8 @ 162 + 4,
        /// Tile header: 0 scale and minimum per row (f16), 1 none (scale 1, minimum 0), 2 none
        /// and paired rows (scale 1, minimum -8; only dense tiles of 4 bits, if the configuration
        /// has a cache of 4 bits). 3 is reserved.
        header: u8 @ 166 + 2,
        /// Sparsity: 0 dense, 1 2:4, 2 4:16, as far as the configuration has them. Then x,
        /// xstride and kblocks are multiples of the 2 or 4 blocks that a tile spans, and the
        /// scale of the first of them serves for all. 3 to 7 are reserved.
        sparsity: u8 @ 168 + 3,
    }
    /// Matrix times vector (GEMV, decode): `mm` for one vector.
    Mv "mv" = 0x21 on Mm {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// Register added to x.
        rx: u8 @ 16 + 5,
        /// Register added to y.
        ry: u8 @ 21 + 5,
        /// Register added to kblocks.
        rk: u8 @ 26 + 5,
        /// Register added to groups.
        rgroups: u8 @ 31 + 5,
        /// First activation block.
        x: u16 @ 64 + 14,
        /// First output word.
        y: u32 @ 92 + 18,
        /// Blocks of 32 along the reduction.
        kblocks: u16 @ 128 + 12,
        /// Groups of 16 rows (16 for each channel).
        groups: u16 @ 140 + 16,
        /// Bits of a weight code, as in `mm`.
        bits: u8 @ 162 + 4,
        /// Tile header, as in `mm`.
        header: u8 @ 166 + 2,
        /// Sparsity, as in `mm`.
        sparsity: u8 @ 168 + 3,
    }
    /// Element-wise chain on f32 vectors, per row: u = a' * M, v = u + A, w = func(v); a' is a,
    /// or a with the members of each pair (2i, 2i+1) exchanged. Optionally writes w to d and
    /// reduces the w of each row to one word at red + row (argmax: value, then index, at
    /// red + 2 row). Addresses and strides of a, b and d are multiples of 8 words. n = 0 or
    /// rows = 0 does nothing.
    Vop "vop" = 0x30 on Sfu {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// Register added to a.
        ra: u8 @ 16 + 5,
        /// Register added to b.
        rb: u8 @ 21 + 5,
        /// Register added to d.
        rd: u8 @ 26 + 5,
        /// Register added to n.
        rn: u8 @ 31 + 5,
        /// Register added to rows.
        rrows: u8 @ 36 + 5,
        /// Multiply by: 0 nothing, 1 b, 2 s1, 3 a' itself.
        mul: u8 @ 41 + 2,
        /// Add: 0 nothing, 1 b, 2 s1, 3 s2.
        add: u8 @ 43 + 2,
        /// Function: 0 none, 1 exp2, 2 reciprocal, 3 reciprocal square root, 4 ReLU.
        func: u8 @ 45 + 3,
        /// Reduction: 0 none, 1 sum, 2 maximum, 3 argmax.
        red: u8 @ 48 + 2,
        /// 1: exchange pairs of a.
        swap: u8 @ 50 + 1,
        /// 1: write w to d.
        write: u8 @ 51 + 1,
        /// 1: s1 is the word address of the scalar, 0: s1 is the f32 itself.
        s1_mem: u8 @ 52 + 1,
        /// 1: the address of s1 advances by one word a row.
        s1_row: u8 @ 53 + 1,
        /// 1: the address of s2 advances by one word a row.
        s2_row: u8 @ 54 + 1,
        /// First word of a.
        a: u32 @ 64 + 18,
        /// First word of b.
        b: u32 @ 82 + 18,
        /// First word of d.
        d: u32 @ 100 + 18,
        /// Elements in a row.
        n: u32 @ 118 + 18,
        /// Rows.
        rows: u16 @ 136 + 8,
        /// Words from a row of a to the next.
        astride: u32 @ 144 + 16,
        /// Words from a row of b to the next; 0 uses one row for all.
        bstride: u32 @ 160 + 16,
        /// Words from a row of d to the next.
        dstride: u32 @ 176 + 16,
        /// Scalar or its address.
        s1: u32 @ 192 + 32,
        /// Word address of the second scalar, used if add = 3.
        s2: u32 @ 224 + 16,
        /// Word address of the reduction's result.
        red_addr: u32 @ 240 + 16,
    }
    /// Quantizes f32 rows to INT8 blocks of 32 in the activation buffer. The scale is
    /// max|x| / 127 (max|x| / 7.5 with codes of 4 bits) rounded up to 8 significant bits, of each
    /// block, of some blocks or of the whole row; codes are rounded to nearest even, -127 to 127
    /// (-8 to 7). Elements beyond n in the last block, and
    /// blocks that complete the last two or four, are zero.
    Quant "quant" = 0x31 on Sfu {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// Register added to a.
        ra: u8 @ 16 + 5,
        /// Register added to x.
        rx: u8 @ 21 + 5,
        /// Register added to n.
        rn: u8 @ 31 + 5,
        /// Register added to rows.
        rrows: u8 @ 36 + 5,
        /// What shares a scale: 0 a block, 1 a row, 2 two blocks, 3 four blocks. 2 and 3 only if
        /// the configuration has the sparsity that needs them (2:4 and 4:16).
        group: u8 @ 48 + 2,
        /// 1: keep scales in the normal range of f16 (key cache), with codes of 4 bits also
        /// eight times the scale.
        f16_range: u8 @ 50 + 1,
        /// 1: also write the row's first scale as f32 to scale_addr + row.
        scale_out: u8 @ 51 + 1,
        /// 1: codes of 4 bits, if the configuration has a cache of 4 bits.
        nibbles: u8 @ 52 + 1,
        /// First word of the source.
        a: u32 @ 64 + 18,
        /// First activation block.
        x: u16 @ 82 + 14,
        /// Activation blocks from a row to the next.
        xstride: u16 @ 96 + 14,
        /// Elements in a row.
        n: u32 @ 118 + 18,
        /// Rows.
        rows: u16 @ 136 + 8,
        /// Words from a row of the source to the next.
        astride: u32 @ 144 + 16,
        /// Word address for the scale.
        scale_addr: u32 @ 192 + 18,
    }
    /// Dequantizes one row of packed weight codes (an embedding row): d[i] = scale * code + min
    /// with one (scale, min) pair of f16 in a word for each 32 codes.
    Deq "deq" = 0x32 on Sfu {
        /// Semaphores taken before the start.
        wait: u8 @ 8 + 4,
        /// Semaphores given at retirement.
        post: u8 @ 12 + 4,
        /// Register added to a.
        ra: u8 @ 16 + 5,
        /// Register added to d.
        rd: u8 @ 26 + 5,
        /// First word of the packed codes.
        a: u32 @ 64 + 18,
        /// First word of the scales.
        scales: u32 @ 82 + 18,
        /// First word of the result.
        d: u32 @ 100 + 18,
        /// Elements, a multiple of 32.
        n: u32 @ 118 + 18,
        /// Bits of a code: 2, 3, 4, 5 or 6 (unsigned) or 8 (signed), as the configuration has
        /// them.
        bits: u8 @ 162 + 4,
    }
}

/// Why a word is not an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// No instruction has this opcode.
    UnknownOpcode(u8),
    /// A bit that belongs to no field is set.
    ReservedBits {
        /// The instruction.
        mnemonic: &'static str,
        /// The lowest such bit.
        bit: u32,
    },
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownOpcode(op) => write!(f, "unknown opcode {op:#04x}"),
            Self::ReservedBits { mnemonic, bit } => {
                write!(f, "reserved bit {bit} is set in `{mnemonic}`")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// The specification of an opcode.
pub fn spec(opcode: u8) -> Option<&'static InsnSpec> {
    INSNS.iter().find(|s| s.opcode == opcode)
}

fn get_bits(word: &Word, lsb: u32, width: u32) -> u64 {
    let (limb, shift) = ((lsb / 64) as usize, lsb % 64);
    let mut v = word[limb] >> shift;
    if shift + width > 64 {
        v |= word[limb + 1] << (64 - shift);
    }
    v & (u64::MAX >> (64 - width))
}

fn put_bits(word: &mut Word, lsb: u32, width: u32, value: u64) {
    let (limb, shift) = ((lsb / 64) as usize, lsb % 64);
    let value = value & (u64::MAX >> (64 - width));
    word[limb] |= value << shift;
    if shift + width > 64 {
        word[limb + 1] |= value >> (64 - shift);
    }
}

impl Insn {
    /// The specification of this instruction.
    pub fn spec(&self) -> &'static InsnSpec {
        spec(self.opcode() as u8).expect("every variant is in the table")
    }

    /// The executing unit.
    pub fn unit(&self) -> Unit {
        self.spec().unit
    }

    /// The value of a field by name, as its bit pattern.
    pub fn field(&self, name: &str) -> Option<u64> {
        let at = self.spec().fields.iter().position(|f| f.name == name)?;
        Some(self.field_bits()[at])
    }

    /// The same instruction with one field replaced, or `None` if there is no such field.
    pub fn with_field(&self, name: &str, value: u64) -> Option<Insn> {
        let at = self.spec().fields.iter().position(|f| f.name == name)?;
        let mut bits = self.field_bits();
        bits[at] = value;
        Insn::from_field_bits(self.opcode() as u8, &bits)
    }

    /// The 256-bit encoding. Values that do not fit their field are truncated; see
    /// [`Insn::check_ranges`].
    pub fn encode(&self) -> Word {
        let mut word = [self.opcode() as u64, 0, 0, 0];
        for (field, value) in self.spec().fields.iter().zip(self.field_bits()) {
            put_bits(&mut word, field.lsb, field.width, value);
        }
        word
    }

    /// The instruction of an encoding.
    ///
    /// # Errors
    /// Unknown opcodes and set bits outside the fields.
    pub fn decode(word: Word) -> Result<Insn, DecodeError> {
        let opcode = word[0] as u8;
        let spec = spec(opcode).ok_or(DecodeError::UnknownOpcode(opcode))?;
        let bits: Vec<u64> = spec
            .fields
            .iter()
            .map(|f| get_bits(&word, f.lsb, f.width))
            .collect();
        let insn = Insn::from_field_bits(opcode, &bits).expect("opcode is in the table");
        let back = insn.encode();
        for bit in 0..256 {
            if get_bits(&word, bit, 1) != get_bits(&back, bit, 1) {
                return Err(DecodeError::ReservedBits {
                    mnemonic: spec.mnemonic,
                    bit,
                });
            }
        }
        Ok(insn)
    }

    /// Names the first field whose value does not fit its width.
    ///
    /// # Errors
    /// The field's specification and the value.
    pub fn check_ranges(&self) -> Result<(), (&'static FieldSpec, u64)> {
        for (field, value) in self.spec().fields.iter().zip(self.field_bits()) {
            if field.width < 64 && value >> field.width != 0 {
                return Err((field, value));
            }
        }
        Ok(())
    }

    /// Little-endian bytes of the encoding.
    pub fn to_bytes(&self) -> [u8; INSN_BYTES] {
        let mut out = [0; INSN_BYTES];
        for (chunk, limb) in out.chunks_exact_mut(8).zip(self.encode()) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        out
    }

    /// The instruction in 32 little-endian bytes.
    ///
    /// # Errors
    /// As [`Insn::decode`].
    pub fn from_bytes(bytes: &[u8; INSN_BYTES]) -> Result<Insn, DecodeError> {
        let mut word = [0; 4];
        for (limb, chunk) in word.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = u64::from_le_bytes(chunk.try_into().expect("chunks of 8"));
        }
        Insn::decode(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_opcodes_unique_and_fields_disjoint() {
        for (i, a) in INSNS.iter().enumerate() {
            assert!(
                INSNS[..i]
                    .iter()
                    .all(|b| b.opcode != a.opcode && b.mnemonic != a.mnemonic)
            );
            let mut used = [false; 256];
            used[..8].fill(true);
            for f in a.fields {
                assert!(
                    f.width >= 1 && f.width <= 64 && f.lsb + f.width <= 256,
                    "{} {}",
                    a.mnemonic,
                    f.name
                );
                for bit in f.lsb..f.lsb + f.width {
                    assert!(
                        !used[bit as usize],
                        "{}: bit {bit} of {} is taken",
                        a.mnemonic, f.name
                    );
                    used[bit as usize] = true;
                }
                assert!(!f.doc.trim().is_empty());
            }
        }
    }

    #[test]
    fn register_selectors_lie_in_the_shared_slots() {
        for insn in INSNS {
            for f in insn
                .fields
                .iter()
                .filter(|f| f.name.starts_with('r') && f.width == 5)
            {
                assert!(
                    (16..41).contains(&f.lsb) && (f.lsb - 16) % 5 == 0,
                    "{} {}",
                    insn.mnemonic,
                    f.name
                );
            }
        }
    }

    #[test]
    fn decode_reserved_bit_is_named() {
        let mut word = Insn::from(Ret {}).encode();
        word[3] |= 1 << 63;
        assert_eq!(
            Insn::decode(word),
            Err(DecodeError::ReservedBits {
                mnemonic: "ret",
                bit: 255
            })
        );
        assert_eq!(
            Insn::decode([0xff, 0, 0, 0]),
            Err(DecodeError::UnknownOpcode(0xff))
        );
    }
}
