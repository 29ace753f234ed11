//! Attention over a ring cache: slots in the place of positions, angles of positions beyond the
//! tables, and a second query that meets the sinks ([`crate::ring`] says why).

use super::attention::Group;
use super::rotate::Heads;
use super::{CacheMap, Emitter, Tokens, all, all_blocks, alu, reg, vop};
use crate::image::Run;
use crate::program::Region;
use lampyris_isa::format::BLOCK;
use lampyris_isa::insn::{LdV, LdW, Mm, Vop};

impl Emitter<'_> {
    /// Register with the slot of the current token.
    pub(super) fn slot_register(&self) -> u8 {
        match self.cx.ring {
            None => reg::TOKEN_POS,
            Some(_) if self.tokens == Tokens::One => reg::FIRST_SLOT,
            Some(_) => reg::SLOT,
        }
    }

    /// Sets and returns the registers with the slot of the current token and with the last slot
    /// that is in use.
    pub(super) fn slot_registers(&mut self, label: &str) -> (u8, u8) {
        let slot = self.slot_register();
        let Some(ring) = self.cx.ring else {
            return (slot, reg::TOKEN_POS);
        };
        let (context, sinks) = (ring.context as i64, ring.sinks as i64);
        if self.tokens == Tokens::Counted {
            // Slots of one call pass the end at most once: SEEN = whether this one has.
            self.alu_reg(alu::ADD, slot, reg::FIRST_SLOT, reg::INDEX, label);
            self.alu_imm(alu::MAX, reg::SEEN, slot, context - 1, label);
            self.alu_imm(alu::SUB, reg::SEEN, reg::SEEN, context - 1, label);
            self.alu_imm(alu::MIN, reg::SEEN, reg::SEEN, 1, label);
            self.alu_imm(alu::MUL, reg::SEEN, reg::SEEN, context - sinks, label);
            self.alu_reg(alu::SUB, slot, slot, reg::SEEN, label);
        }
        self.alu_imm(alu::MIN, reg::SEEN, reg::TOKEN_POS, context - 1, label);
        (slot, reg::SEEN)
    }

    /// Register with the last tile of 2^`shift` slots that is in use: that of the current token,
    /// `own`, without a ring; else it is put into `other`.
    pub(super) fn last_tile(&mut self, (own, other): (u8, u8), shift: i64, label: &str) -> u8 {
        if self.cx.ring.is_none() {
            return own;
        }
        self.alu_imm(alu::SHR, other, reg::SEEN, shift, label);
        other
    }

    /// Rotary factors of the current position, of the sum of two angles, and those for the sinks.
    pub(super) fn ring_rope(&mut self, run: &Run) {
        let image = self.cx.image;
        let (Some(ring), Some(low), Some(high)) = (self.cx.ring, &image.rope, &image.rope_high)
        else {
            return;
        };
        let label = "rope";
        let b = self.cx.buffers;
        let dim = run.spec.head_dim_k as u32;
        let row = 8 * i64::from(dim);
        let (low_bits, pos) = (i64::from(ring.low.ilog2()), reg::TOKEN_POS);
        self.alu_imm(alu::AND, reg::TABLE, pos, ring.low as i64 - 1, label);
        self.alu_imm(alu::MUL, reg::TABLE, reg::TABLE, row, label);
        self.alu_imm(alu::SHR, reg::TABLE_HIGH, pos, low_bits, label);
        self.alu_imm(alu::MUL, reg::TABLE_HIGH, reg::TABLE_HIGH, row, label);
        self.alu_imm(alu::MUL, reg::TABLE_SINKS, reg::SEEN, row, label);
        for (rbase, addr, to) in [
            (reg::TABLE, low.addr, b.rope),
            (reg::TABLE_HIGH, high.addr, b.ring.high),
            (reg::TABLE_SINKS, low.addr, b.ring.rope),
        ] {
            let load = LdV {
                rbase,
                addr,
                count: 2 * dim,
                rows: 1,
                dst: to.at,
                ..LdV::default()
            };
            self.unit(load, vec![], vec![Region::vmem(to.at, 2 * dim)], label);
        }
        self.add_angles(dim);
    }

    /// rope = rope + high, as angles. With signed sines `s` of both members of a pair, a product
    /// of two of them has the same sign for both: cos = c c' - s s', s of the sum = s c' + c s'.
    fn add_angles(&mut self, dim: u32) {
        let b = self.cx.buffers;
        let (rope, high, mixed) = (b.rope, b.ring.high, b.ring.mixed);
        for (part, to) in mixed.into_iter().enumerate() {
            let product = Vop {
                rows: 2,
                n: dim,
                a: high.at,
                astride: dim,
                b: rope.at + part as u32 * dim,
                d: to.at,
                dstride: dim,
                mul: vop::MUL_B,
                write: 1,
                ..Vop::default()
            };
            self.unit(product, vec![all(high), all(rope)], vec![all(to)], "rope");
        }
        let [by_cosines, by_sines] = mixed;
        let cosines = Vop {
            mul: vop::MUL_S1,
            s1: (-1f32).to_bits(),
            ..sum(dim, by_sines.at + dim, by_cosines.at, rope.at)
        };
        let sines = sum(dim, by_cosines.at + dim, by_sines.at, rope.at + dim);
        for insn in [cosines, sines] {
            let reads = mixed.map(all).to_vec();
            self.unit(insn, reads, vec![Region::vmem(insn.d, dim)], "rope");
        }
    }

    /// Rotates and quantizes the current token's queries for the sinks; they stay as they are.
    pub(super) fn sink_queries(&mut self, queries: &Heads) {
        if !self.has_sinks() {
            return;
        }
        let b = self.cx.buffers;
        let of_sinks = Heads {
            of: b.ring.q,
            register: reg::ZERO,
            blocks: b.ring.xb_q,
            ..*queries
        };
        let first = (queries.of.at - b.q.at) as usize / queries.dim;
        let to = of_sinks.part(first, queries.count);
        self.rope_to(queries, &to, b.ring.rope, "rope_q");
        // Cached keys may be rotated a second time, for their codes.
        self.rotate(&[to]);
        self.quantize_heads(&to, "attention");
    }

    /// Scores of a group's heads with the sinks, whole row groups of them.
    pub(super) fn sink_scores(&mut self, run: &Run, cache: &CacheMap, group: Group) {
        let Some(ring) = self.cx.ring.filter(|_| self.has_sinks()) else {
            return;
        };
        let label = "attn_scores";
        let b = self.cx.buffers;
        let to = b.ring.scores[group.turn % 2];
        let kblocks = run.spec.head_dim_k / BLOCK;
        let hw = self.cx.hw;
        let groups = ring.sinks.div_ceil(hw.tile_rows());
        let bytes = groups * kblocks * hw.tile_bytes(cache.bits, true);
        let keys = LdW {
            rbase: self.cache,
            addr: cache.keys(group.kv_head),
            count: (bytes / hw.chunk_bytes()) as u32,
            rows: 1,
            ..LdW::default()
        };
        let stored = Region::dram(cache.keys(group.kv_head), cache.key_bytes);
        self.unit(keys, vec![stored], vec![], label);
        let product = Mm {
            x: (b.ring.xb_q.at as usize + group.first * kblocks) as u16,
            xstride: kblocks as u16,
            y: to.at,
            ystride: to.stride,
            kblocks: kblocks as u16,
            groups: groups as u16,
            tokens: group.rows as u8,
            bits: cache.bits as u8,
            ..Mm::default()
        };
        self.unit(product, vec![all_blocks(b.ring.xb_q)], vec![all(to)], label);
    }

    /// Puts the scores of the sinks in the place of those by the query at its true position.
    pub(super) fn take_sink_scores(&mut self, group: Group) {
        let Some(ring) = self.cx.ring.filter(|_| self.has_sinks()) else {
            return;
        };
        let b = self.cx.buffers;
        let (from, to) = (b.ring.scores[group.turn % 2], b.scores[group.turn % 2]);
        let copy = Vop {
            rows: group.rows as u16,
            n: ring.sinks as u32,
            a: from.at,
            astride: from.stride,
            d: to.at,
            dstride: to.stride,
            write: 1,
            ..Vop::default()
        };
        self.unit(copy, vec![all(from)], vec![all(to)], "attn_scores");
    }

    fn has_sinks(&self) -> bool {
        self.cx.ring.is_some_and(|ring| ring.sinks > 0)
    }
}

/// d = a + b, one row.
fn sum(n: u32, a: u32, b: u32, d: u32) -> Vop {
    Vop {
        rows: 1,
        n,
        a,
        b,
        d,
        add: vop::ADD_B,
        write: 1,
        ..Vop::default()
    }
}
