//! Pieces of random programs.

use super::footprint::footprint;
use crate::model::Space;
use crate::rng::Rng;
use lampyris_isa::format::{BLOCK, HEADER_PAIRED, Sparsity, quant_blocks};
use lampyris_isa::insn::{Alu, Deq, LdV, LdW, Mm, Mv, Quant, StK, StT, StV, Vop};
use lampyris_isa::{HwConfig, Insn};

/// A unit instruction with absolute operands; registers and semaphores are added later.
#[derive(Clone, Debug)]
pub struct Op {
    /// The instruction.
    pub insn: Insn,
    /// The enclosing loop's counter is added to its vector memory addresses.
    pub shifted: bool,
    /// Decides which operands come from registers.
    pub salt: u64,
}

/// How a loop is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoopStyle {
    /// `loop`, a fence first in the body.
    FenceFirst,
    /// `loop`, a fence last in the body.
    FenceLast,
    /// A counter and a backward jump.
    Jump,
}

/// A piece of a program that stays correct when any other piece is removed.
#[derive(Clone, Debug)]
pub enum Item {
    /// A load, store or SFU instruction.
    Op(Op),
    /// Loads of weights and the products that consume them.
    Product {
        /// `ld.w` instructions, with as many bytes as the products need.
        loads: Vec<Op>,
        /// `mm` and `mv` instructions.
        products: Vec<Op>,
    },
    /// Register arithmetic.
    Alu(Alu),
    /// A fence on the units of the mask.
    Fence(u8),
    /// A word of vector memory to a register.
    ReadWord {
        /// Destination.
        rd: u8,
        /// Word.
        addr: u32,
    },
    /// A loop.
    Loop {
        /// Rounds; zero is allowed except with [`LoopStyle::Jump`].
        count: u32,
        /// How it is written.
        style: LoopStyle,
        /// What is repeated.
        body: Vec<Item>,
    },
    /// A subroutine that is called at once.
    Call {
        /// Called a second time.
        twice: bool,
        /// The subroutine.
        body: Vec<Item>,
    },
    /// A forward jump over the body: condition, and whether it is taken.
    Skip {
        /// As in `jump`.
        cond: u8,
        /// Whether the body is skipped.
        taken: bool,
        /// What may be skipped.
        body: Vec<Item>,
    },
}

/// Where a program may put things. Everything in it is initialised before the program begins.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    /// First word of vector memory.
    pub vmem: u64,
    /// Words of vector memory.
    pub vmem_len: u64,
    /// First activation block.
    pub xbuf: u64,
    /// Activation blocks.
    pub xbuf_len: u64,
    /// Address of read-only data.
    pub data: u64,
    /// Bytes of read-only data.
    pub data_len: u64,
    /// Address of data that programs may change.
    pub store: u64,
    /// Bytes of data that programs may change.
    pub store_len: u64,
    /// Most vectors in one `mm`.
    pub tokens: u64,
    /// Most loads of weights before the product that consumes them: when the stream is full,
    /// they wait in LD's queue, and the product must still be dispatched.
    pub loads: usize,
}

/// Values that find mistakes: zeros, infinities, NaN, subnormals, limits; else ordinary or any
/// bits.
pub(super) fn special_f32(rng: &mut Rng) -> u32 {
    const SPECIAL: [u32; 14] = [
        0,
        0x8000_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc1_2345,
        0x7f80_0001,
        1,
        0x807f_ffff,
        0x0080_0000,
        0x7f7f_ffff,
        0xff7f_ffff,
        0x3f80_0000,
        0xc300_0000,
    ];
    match rng.below(20) {
        0 => rng.pick(&SPECIAL),
        1 => rng.bits() as u32,
        // Exponents from 2^-30 to 2^30.
        2..=5 => {
            let exponent = rng.range(97, 157) as u32;
            (rng.bits() as u32 & 0x807f_ffff) | exponent << 23
        }
        // Mostly numbers as in a model: magnitudes from 1/16 to 16.
        _ => {
            let exponent = rng.range(123, 130) as u32;
            (rng.bits() as u32 & 0x807f_ffff) | exponent << 23
        }
    }
}

/// Makes random pieces.
pub(super) struct Maker<'a> {
    pub(super) rng: &'a mut Rng,
    pub(super) config: HwConfig,
    pub(super) arena: Arena,
    /// Words that an enclosing loop may add to vector memory addresses.
    pub(super) slack: u64,
}

impl Maker<'_> {
    /// The arena of a configuration.
    pub(super) fn arena(rng: &mut Rng, config: &HwConfig) -> Arena {
        // Tiles and their products are as many times larger as there are channels.
        let channels = u64::from(config.channels);
        let vmem_len = (2048 * channels).min(u64::from(config.vmem_words));
        let last = u64::from(config.vmem_words) - vmem_len;
        let xbuf_len = 64.min(u64::from(config.xbuf_blocks));
        let page = |rng: &mut Rng| rng.below(1 << 20) << 20;
        Arena {
            // The end of vector memory is as likely as anything else.
            vmem: if rng.chance(300) {
                last
            } else {
                rng.below(last / 8 + 1) * 8
            },
            vmem_len,
            xbuf: rng.below(u64::from(config.xbuf_blocks) - xbuf_len + 1),
            xbuf_len,
            data: page(rng) + (1 << 16),
            data_len: channels << 16,
            store: page(rng) + (1 << 18),
            store_len: channels << 14,
            tokens: u64::from(config.max_tokens).min(5),
            loads: config.queue_depth as usize - 1,
        }
    }

    /// A run of `len` words at a multiple of `align`.
    fn words(&mut self, len: u64, align: u64) -> u32 {
        let room = self.arena.vmem_len - len - self.slack;
        (self.arena.vmem + self.rng.below(room / align + 1) * align) as u32
    }

    /// Bytes of a chunk of the weight stream.
    fn chunk(&self) -> u64 {
        self.config.chunk_bytes() as u64
    }

    fn blocks(&mut self, len: u64) -> u16 {
        self.aligned_blocks(len, 1)
    }

    /// A run of `len` blocks at a multiple of `align` blocks. The buffer is larger than the arena's
    /// part of it, or as large.
    fn aligned_blocks(&mut self, len: u64, align: u64) -> u16 {
        let first = self.arena.xbuf.next_multiple_of(align);
        let room = self.arena.xbuf + self.arena.xbuf_len - len - first;
        (first + self.rng.below(room / align + 1) * align) as u16
    }

    /// Code width and sparsity of tiles that the configuration has; dense ones are more common.
    fn tile_format(&mut self) -> (u8, Sparsity) {
        let mut formats = Vec::new();
        for sparsity in Sparsity::ALL {
            let widths = (2..=8).filter(|&bits| self.config.has_tiles(sparsity, bits));
            formats.extend(widths.map(|bits| (bits as u8, sparsity)));
        }
        self.rng.pick(&formats)
    }

    /// `len` bytes in the data that programs may change, or (if not `store`) any data.
    fn bytes(&mut self, len: u64, align: u64, store: bool) -> u64 {
        let (base, size) = if store || (len <= self.arena.store_len && self.rng.chance(300)) {
            (self.arena.store, self.arena.store_len)
        } else {
            (self.arena.data, self.arena.data_len)
        };
        base + self.rng.below((size - len) / align + 1) * align
    }

    fn op(&mut self, insn: impl Into<Insn>) -> Op {
        let shifted = self.slack > 0 && self.rng.chance(600);
        Op {
            insn: insn.into(),
            shifted,
            salt: self.rng.bits(),
        }
    }

    /// An instruction of LD, ST or SFU.
    pub(super) fn any_op(&mut self) -> Op {
        // Operands are drawn until an instruction does not overwrite what it still reads.
        loop {
            let insn: Insn = match self.rng.below(12) {
                0 | 1 => self.ld_v().into(),
                2 => self.st_v().into(),
                3 => self.st_k().into(),
                4 => self.st_t().into(),
                5 | 6 => self.quant().into(),
                7 => self.deq().into(),
                _ => self.vop().into(),
            };
            let op = self.op(insn);
            if self.is_safe(&op) {
                return op;
            }
        }
    }

    fn ld_v(&mut self) -> LdV {
        let rows = self.rng.range(1, 4);
        let count = self.length() / rows.min(2);
        let stride = self.rng.below(200) * 4;
        let span = stride * (rows - 1) + 4 * count;
        LdV {
            addr: self.bytes(span, 4, false),
            count: count as u32,
            rows: rows as u16,
            dst: self.words(count * rows, 1),
            stride: stride as u32,
            ..LdV::default()
        }
    }

    fn st_v(&mut self) -> StV {
        let count = self.length();
        let (addr, src) = (self.bytes(4 * count, 4, true), self.words(count, 1));
        StV {
            addr,
            count: count as u32,
            src,
            ..StV::default()
        }
    }

    /// Whether an instruction handles codes of 4 bits.
    fn nibbles(&mut self) -> u8 {
        if self.config.has_kv4() {
            self.rng.below(2) as u8
        } else {
            0
        }
    }

    fn st_k(&mut self) -> StK {
        let blocks = self.rng.range(0, 3);
        let (tile, chunk) = (self.config.tile_bytes(8, true) as u64, self.chunk());
        StK {
            nibbles: self.nibbles(),
            addr: self.bytes(tile * blocks, chunk, true),
            blocks: blocks as u8,
            src: self.blocks(blocks),
            rrow: self.rng.below(32) as u8,
            ..StK::default()
        }
    }

    fn st_t(&mut self) -> StT {
        let blocks = self.rng.range(0, 3);
        let chunk = self.chunk();
        let stride = self.config.tile_bytes(8, false) as u64 + chunk * self.rng.below(9);
        let tiles = self.config.row_groups(BLOCK * blocks as usize) as u64;
        StT {
            nibbles: self.nibbles(),
            addr: self.bytes(stride * tiles, chunk, true),
            blocks: blocks as u8,
            src: self.blocks(blocks),
            rrow: self.rng.below(32) as u8,
            stride: stride as u32,
            ..StT::default()
        }
    }

    /// A vector length: short ones are common, and so are ends within a line.
    fn length(&mut self) -> u64 {
        match self.rng.below(10) {
            0..=3 => self.rng.range(1, 9),
            4..=7 => self.rng.range(1, 70),
            8 => 8 * self.rng.range(1, 12),
            _ => self.rng.range(100, 300),
        }
    }

    /// Words from a row of `n` words to the next such that rows do not overlap.
    fn stride(&mut self, n: u64) -> u64 {
        n.next_multiple_of(8) + 8 * self.rng.below(3)
    }

    fn vop(&mut self) -> Vop {
        let n = self.length();
        let rows = if n > 80 {
            self.rng.range(1, 2)
        } else {
            self.rng.range(1, 4)
        };
        let (stride, bstride) = (self.stride(n), self.stride(n));
        let len = |stride: u64| stride * (rows - 1) + n.next_multiple_of(8);
        let astride = if self.rng.chance(150) { 0 } else { stride };
        let bstride = self.rng.pick(&[0, bstride, stride]);
        let a = self.words(len(astride), 8);
        let b = if bstride <= astride && self.rng.chance(300) {
            a
        } else {
            self.words(len(bstride), 8)
        };
        let (d, dstride) = match self.rng.below(4) {
            0 if astride != 0 => (a, astride),
            1 if bstride != 0 => (b, bstride),
            _ => (self.words(len(stride), 8), stride),
        };
        let low = self.arena.vmem + self.arena.vmem_len <= 1 << 16;
        let s1_mem = self.rng.below(2) as u8;
        let s1 = if s1_mem == 1 {
            self.words(rows, 1)
        } else {
            special_f32(self.rng)
        };
        Vop {
            mul: self.rng.below(4) as u8,
            // Fields of 16 bits do not reach the upper half of the largest vector memory.
            add: self.rng.below(if low { 4 } else { 3 }) as u8,
            func: self.rng.pick(&[0, 0, 0, 1, 2, 3, 4]),
            red: if low {
                self.rng.pick(&[0, 0, 1, 2, 3])
            } else {
                0
            },
            swap: u8::from(self.rng.chance(250)),
            write: u8::from(self.rng.chance(800)),
            s1_mem,
            s1_row: self.rng.below(2) as u8,
            s2_row: self.rng.below(2) as u8,
            a,
            b,
            d,
            n: n as u32,
            rows: rows as u16,
            astride: astride as u32,
            bstride: bstride as u32,
            dstride: dstride as u32,
            s1,
            s2: if low { self.words(rows, 1) } else { 0 },
            red_addr: if low { self.words(2 * rows, 1) } else { 0 },
            ..Vop::default()
        }
    }

    fn quant(&mut self) -> Quant {
        let n = self.length().min(200);
        let rows = self.rng.range(1, 3);
        let group = self.rng.below(2 + u64::from(self.config.sparsity)) as u8;
        let xstride = quant_blocks(n as usize, group) as u64 + self.rng.below(3);
        let stride = self.stride(n);
        let astride = if self.rng.chance(150) { 0 } else { stride };
        Quant {
            group,
            nibbles: self.nibbles(),
            f16_range: self.rng.below(2) as u8,
            scale_out: self.rng.below(2) as u8,
            a: self.words(astride * (rows - 1) + n.next_multiple_of(8), 8),
            x: self.blocks(xstride * rows),
            xstride: xstride as u16,
            n: n as u32,
            rows: rows as u16,
            astride: astride as u32,
            scale_addr: self.words(rows, 1),
            ..Quant::default()
        }
    }

    fn deq(&mut self) -> Deq {
        let groups = self.rng.range(1, 5);
        let n = groups * BLOCK as u64;
        let widths: Vec<u8> = self.config.weight_widths().map(|b| b as u8).collect();
        let bits = self.rng.pick(&widths);
        Deq {
            a: self.words(n * u64::from(bits) / 32, 8),
            scales: self.words(groups, 1),
            d: self.words(n, 8),
            n: n as u32,
            bits,
            ..Deq::default()
        }
    }

    /// Whether no write of an instruction lies where it reads, unless it works in place: units
    /// overlap reading and writing, so that the result would depend on the pipeline.
    pub(super) fn is_safe(&self, op: &Op) -> bool {
        let slack = if op.shifted { self.slack } else { 0 };
        let list = footprint(&op.insn, slack, &self.config);
        let overlap = |a: &crate::Access, b: &crate::Access| {
            a.space == b.space && a.start < b.start + b.len && b.start < a.start + a.len
        };
        let in_place = |w: &crate::Access, r: &crate::Access| match &op.insn {
            Insn::Vop(i) => {
                let is_d = w.start == u64::from(i.d) && i.write == 1 && w.space == Space::Vmem;
                let same_a = r.start == u64::from(i.a) && i.astride == i.dstride;
                let same_b = r.start == u64::from(i.b) && i.bstride == i.dstride;
                is_d && (w.start, w.len) == (r.start, r.len) && (same_a || same_b)
            }
            _ => false,
        };
        for (at, write) in list.iter().enumerate().filter(|(_, a)| a.write) {
            for (other_at, other) in list.iter().enumerate() {
                if other_at != at
                    && overlap(write, other)
                    && (other.write || !in_place(write, other))
                {
                    return false;
                }
            }
        }
        true
    }

    /// Products with the loads that feed them.
    pub(super) fn product(&mut self) -> Item {
        let count = self.rng.range(1, 3);
        let mut products = Vec::new();
        let mut chunks = 0;
        for _ in 0..count {
            let (insn, need) = self.one_product();
            chunks += need;
            let op = self.op(insn);
            products.push(op);
        }
        let mut loads = Vec::new();
        while chunks > 0 {
            let last = loads.len() + 1 == self.arena.loads;
            let most = if self.rng.chance(600) {
                chunks
            } else {
                chunks.min(20)
            };
            let count = if last {
                chunks
            } else {
                self.rng.range(most.div_ceil(2), most)
            };
            let rows = if count * 3 <= chunks {
                self.rng.range(1, 3)
            } else {
                1
            };
            let chunk = self.chunk();
            let stride = chunk * self.rng.below(count + 5);
            let addr = self.bytes(stride * (rows - 1) + chunk * count, chunk, false);
            let insn = LdW {
                addr,
                count: count as u32,
                rows: rows as u16,
                stride: stride as u32,
                ..LdW::default()
            };
            loads.push(Op {
                insn: insn.into(),
                shifted: false,
                salt: self.rng.bits(),
            });
            chunks -= count * rows;
        }
        Item::Product { loads, products }
    }

    /// One `mm` or `mv` and the chunks that it consumes.
    fn one_product(&mut self) -> (Insn, u64) {
        let ((bits, sparsity), mut header) = (self.tile_format(), self.rng.below(2) as u8);
        if (bits, sparsity) == (4, Sparsity::Dense) && self.nibbles() == 1 {
            header = HEADER_PAIRED;
        }
        let (tiles, groups) = (self.rng.range(1, 5), self.rng.range(1, 3));
        let span = sparsity.span() as u64;
        let kblocks = tiles * span;
        let field_bits = usize::from(bits) + sparsity.index_bits();
        let tile = self.config.tile_bytes(field_bits, header == 0) as u64;
        let need = groups * tiles * tile / self.chunk();
        let sparsity = sparsity as u8;
        let rows = groups * self.config.tile_rows() as u64;
        if self.rng.chance(400) {
            let mv = Mv {
                x: self.aligned_blocks(kblocks, span),
                y: self.words(rows, 8),
                kblocks: kblocks as u16,
                groups: groups as u16,
                bits,
                header,
                sparsity,
                ..Mv::default()
            };
            return (mv.into(), need);
        }
        let tokens = self.rng.range(1, self.arena.tokens);
        // All vectors fit the arena, whatever it loses to alignment.
        let room = self.arena.xbuf_len - (span - 1) - kblocks;
        let most = room / span / (tokens - 1).max(1);
        let xstride = span * self.rng.below((tiles + 3).min(most + 1));
        let ystride = rows + 8 * self.rng.below(4);
        let mm = Mm {
            x: self.aligned_blocks(xstride * (tokens - 1) + kblocks, span),
            xstride: xstride as u16,
            y: self.words(ystride * (tokens - 1) + rows, 8),
            ystride: ystride as u32,
            kblocks: kblocks as u16,
            groups: groups as u16,
            tokens: tokens as u8,
            bits,
            header,
            sparsity,
            ..Mm::default()
        };
        (mm.into(), need)
    }
}
