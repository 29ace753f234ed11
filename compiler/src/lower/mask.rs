//! Attention over the visible blocks of the cache: two runs of it, the first blocks and a window
//! that ends with the current token, lie behind each other in scores and weights.

use super::attention::{Group, heads};
use super::{CacheMap, Emitter, all, all_blocks, alu, reg};
use crate::buffers::Vector;
use crate::image::Run;
use crate::mask::MASK_BLOCK;
use crate::program::Region;
use lampyris_isa::HwConfig;
use lampyris_isa::format::BLOCK;
use lampyris_isa::insn::{LdV, LdW, Mm};

/// What a tile or a scale takes.
struct Units {
    /// Positions.
    positions: i64,
    /// Bytes.
    bytes: i64,
    /// Units in which loads count.
    count: i64,
}

impl Units {
    fn keys(run: &Run, hw: &HwConfig, bits: usize) -> Units {
        let bytes = run.spec.head_dim_k / BLOCK * hw.tile_bytes(bits, true);
        Units {
            positions: hw.tile_rows() as i64,
            bytes: bytes as i64,
            count: (bytes / hw.chunk_bytes()) as i64,
        }
    }

    fn values(hw: &HwConfig, bits: usize) -> Units {
        let bytes = hw.tile_bytes(bits, false);
        Units {
            positions: BLOCK as i64,
            bytes: bytes as i64,
            count: (bytes / hw.chunk_bytes()) as i64,
        }
    }

    fn scales() -> Units {
        Units {
            positions: 1,
            bytes: 4,
            count: 1,
        }
    }

    fn in_block(&self) -> i64 {
        MASK_BLOCK as i64 / self.positions
    }
}

impl Emitter<'_> {
    /// Sets what depends on the visible blocks; `true` if there is a mask.
    pub(super) fn mask_registers(&mut self, run: &Run, label: &str) -> bool {
        let Some(mask) = self.cx.mask else {
            return false;
        };
        let block = MASK_BLOCK as i64;
        let (first, window) = (i64::from(mask.first), i64::from(mask.window));
        // Blocks of the first run, of which the token's own is never one; first block of the
        // window.
        let (blocks, from) = (reg::FIRST_SCALES, reg::WINDOW_SCALES);
        self.alu_imm(
            alu::SHR,
            from,
            reg::TOKEN_POS,
            i64::from(MASK_BLOCK.ilog2()),
            label,
        );
        self.alu_imm(alu::MIN, blocks, from, first, label);
        self.alu_imm(alu::MAX, from, from, window - 1, label);
        self.alu_imm(alu::SUB, from, from, window - 1, label);
        self.alu_reg(alu::MAX, from, from, blocks, label);
        // Positions in the window, and all.
        let (len, own) = (reg::WINDOW_LEN, reg::LEN);
        self.alu_imm(alu::MUL, len, from, -block, label);
        self.alu_reg(alu::ADD, len, len, reg::TOKEN_POS, label);
        let (hw, bits) = (self.cx.hw, self.cx.kv.bits());
        self.run_registers(&Units::keys(run, hw, bits), reg::KEYS, label);
        self.run_registers(&Units::values(hw, bits), reg::VALUES, label);
        self.alu_imm(alu::ADD, len, len, 1, label);
        let scales = Units::scales();
        self.alu_imm(alu::MUL, from, from, scales.bytes * block, label);
        self.alu_imm(alu::MUL, blocks, blocks, block, label);
        self.alu_reg(alu::ADD, own, len, blocks, label);
        true
    }

    /// Where the current token's own key, value, scale and angles lie.
    pub(super) fn own_registers(&mut self, run: &Run) {
        let label = "position";
        let (hw, bits) = (self.cx.hw, self.cx.kv.bits());
        for (to, units) in [
            (reg::KEY_TILE, Units::keys(run, hw, bits)),
            (reg::VALUE_TILE, Units::values(hw, bits)),
            (reg::VALUE_SCALE, Units::scales()),
        ] {
            let shift = i64::from(units.positions.ilog2());
            self.alu_imm(alu::SHR, to, reg::TOKEN_POS, shift, label);
            self.alu_imm(alu::MUL, to, to, units.bytes, label);
        }
        let row = 8 * run.spec.head_dim_k as i64;
        self.alu_imm(alu::MUL, reg::TABLE, reg::TOKEN_POS, row, label);
    }

    /// Chunks of the first run, offset and chunks of the window, and tiles of both, while
    /// WINDOW_LEN is less than itself by one and the others count blocks.
    fn run_registers(&mut self, units: &Units, of: reg::Runs, label: &str) {
        let (blocks, from) = (reg::FIRST_SCALES, reg::WINDOW_SCALES);
        let shift = i64::from(units.positions.ilog2());
        self.alu_imm(alu::SHR, of.tiles, reg::WINDOW_LEN, shift, label);
        self.alu_imm(alu::ADD, of.tiles, of.tiles, 1, label);
        self.alu_imm(alu::MUL, of.chunks, of.tiles, units.count, label);
        self.alu_imm(alu::MUL, of.first, blocks, units.in_block(), label);
        self.alu_reg(alu::ADD, of.tiles, of.tiles, of.first, label);
        self.alu_imm(alu::MUL, of.first, of.first, units.count, label);
        self.alu_imm(
            alu::MUL,
            of.from,
            from,
            units.in_block() * units.bytes,
            label,
        );
    }

    /// Loads the tiles of the first blocks, which come before those of the window.
    pub(super) fn first_blocks(&mut self, window: LdW, stored: Region, label: &str) -> LdW {
        let Some(mask) = self.cx.mask else {
            return window;
        };
        let of = if window.rcount == reg::KEYS.chunks {
            reg::KEYS
        } else {
            reg::VALUES
        };
        if mask.first > 0 {
            let first = LdW {
                rcount: of.first,
                ..window
            };
            self.unit(first, vec![stored], vec![], label);
        }
        LdW {
            rindex: of.from,
            ..window
        }
    }

    /// The same for the values' scales.
    pub(super) fn first_scales(&mut self, window: LdV, stored: Region, to: Vector) -> LdV {
        let Some(mask) = self.cx.mask else {
            return window;
        };
        if mask.first > 0 {
            let first = LdV {
                rcount: reg::FIRST_SCALES,
                ..window
            };
            self.unit(first, vec![stored], vec![all(to)], "softmax");
        }
        LdV {
            rindex: reg::WINDOW_SCALES,
            rcount: reg::WINDOW_LEN,
            rdst: reg::FIRST_SCALES,
            ..window
        }
    }

    /// attn = values p for the heads of a group, each row group of the values by itself: so the
    /// runs of a row group lie behind each other in the stream, and sums stay exact.
    pub(super) fn masked_values(&mut self, run: &Run, cache: &CacheMap, group: Group) {
        let b = self.cx.buffers;
        let dim = run.spec.head_dim_v;
        let attn = self.attn_vector(b.attn, run);
        let blocks = b.xb_p[group.turn % 2];
        let label = "attn_values";
        let rows = self.cx.hw.tile_rows();
        for part in 0..dim.div_ceil(rows) {
            let stored = Region::dram(cache.values(group.kv_head), cache.value_bytes);
            let window = LdW {
                rbase: self.cache,
                rcount: reg::VALUES.chunks,
                addr: cache.values(group.kv_head) + part as u64 * cache.value_stride,
                rows: 1,
                ..LdW::default()
            };
            let window = self.first_blocks(window, stored, label);
            self.unit(window, vec![stored], vec![], label);
            let product = Mm {
                rk: reg::VALUE_BLOCKS,
                ry: reg::ATTN,
                x: blocks.at as u16,
                xstride: blocks.stride as u16,
                y: attn.at + (group.first * dim + part * rows) as u32,
                ystride: dim as u32,
                groups: 1,
                tokens: group.rows as u8,
                bits: cache.bits as u8,
                header: super::attention::value_header(cache),
                ..Mm::default()
            };
            let to = heads(attn, group, dim);
            self.unit(product, vec![all_blocks(blocks)], vec![to], label);
        }
    }
}
