//! Attention with a KV cache of 8 or 4 bits.
//!
//! Keys are rows of a weight matrix with a scale per block of 32; values are columns of one,
//! whose scale (one per position and head) multiplies the attention weights before they are
//! quantized. The softmax is not normalized until after the product with the values. With 4 bits
//! heads are rotated before they are stored or compared (`rotate`), and the result back.

use super::rotate::Heads;
use super::{CacheMap, Emitter, Tokens, all, all_blocks, alu, reg, vop};
use crate::buffers::{Blocks, Softmax, Vector, group_rows};
use crate::image::Run;
use crate::program::Region;
use lampyris_import::arch::LayerSpec;
use lampyris_isa::format::{BLOCK, HEADER_NONE, HEADER_PAIRED};
use lampyris_isa::insn::{LdV, LdW, Mm, Quant, StK, StT, StV, Vop};

/// Groups of heads whose products with the queries' weights come before the first scores, where that
/// goes in parts; groups whose keys and values are stored before.
const PRODUCTS_AHEAD: usize = 10;
const STORES_AHEAD: usize = 3;

/// Heads that share keys and values, as many as one product takes.
#[derive(Clone, Copy)]
pub(super) struct Group {
    /// Key and value head.
    pub(super) kv_head: usize,
    /// First query head.
    pub(super) first: usize,
    /// Query heads.
    pub(super) rows: usize,
    /// Counts the groups of a layer; buffers alternate.
    pub(super) turn: usize,
}

impl Emitter<'_> {
    /// Registers that depend on the position only; in decode once for all layers with heads of one
    /// size, in prefill for every token.
    pub(crate) fn cache_registers(&mut self, run: &Run) {
        let blocks = run.spec.head_dim_k / BLOCK;
        if self.tokens == Tokens::One && self.positions.replace(blocks) != Some(blocks) {
            self.position_registers(run);
        }
    }

    fn position_registers(&mut self, run: &Run) {
        let label = "position";
        let key_blocks = (run.spec.head_dim_k / BLOCK) as i64;
        if self.tokens == Tokens::Counted {
            self.alu_reg(alu::ADD, reg::TOKEN_POS, reg::POS, reg::INDEX, label);
        } else {
            self.alu_imm(alu::ADD, reg::TOKEN_POS, reg::POS, 0, label);
        }
        if self.mask_registers(run, label) {
            return self.own_registers(run);
        }
        let (slot, seen) = self.slot_registers(label);
        self.alu_imm(alu::ADD, reg::LEN, seen, 1, label);
        let hw = self.cx.hw;
        let shift = i64::from(hw.tile_rows().ilog2());
        self.alu_imm(alu::SHR, reg::KEY_TILE, slot, shift, label);
        let last = self.last_tile((reg::KEY_TILE, reg::KEY_GROUPS), shift, label);
        self.alu_imm(alu::ADD, reg::KEY_GROUPS, last, 1, label);
        let (bits, chunk) = (self.cx.kv.bits(), hw.chunk_bytes() as i64);
        let tile = hw.tile_bytes(bits, true) as i64;
        self.alu_imm(
            alu::MUL,
            reg::KEY_TILE,
            reg::KEY_TILE,
            key_blocks * tile,
            label,
        );
        self.alu_imm(
            alu::MUL,
            reg::KEY_CHUNKS,
            reg::KEY_GROUPS,
            key_blocks * tile / chunk,
            label,
        );
        self.alu_imm(alu::SHR, reg::VALUE_TILE, slot, 5, label);
        let last = self.last_tile((reg::VALUE_TILE, reg::VALUE_BLOCKS), 5, label);
        self.alu_imm(alu::ADD, reg::VALUE_BLOCKS, last, 1, label);
        let tile = hw.tile_bytes(bits, false) as i64;
        self.alu_imm(alu::MUL, reg::VALUE_TILE, reg::VALUE_TILE, tile, label);
        self.alu_imm(
            alu::MUL,
            reg::VALUE_CHUNKS,
            reg::VALUE_BLOCKS,
            tile / chunk,
            label,
        );
        self.alu_imm(alu::SHL, reg::VALUE_SCALE, slot, 2, label);
        if self.cx.ring.is_some() {
            return self.ring_rope(run);
        }
        self.alu_imm(
            alu::MUL,
            reg::TABLE,
            reg::TOKEN_POS,
            8 * run.spec.head_dim_k as i64,
            label,
        );
    }

    /// x += output(attention(norm(x))), for every token.
    pub(crate) fn attention(&mut self, run: &Run, cache: &CacheMap) {
        let b = self.cx.buffers;
        let d = self.cx.spec.d_model;
        let layer = &run.layer;
        self.norm(
            &layer.attn_norm,
            b.x,
            reg::ZERO,
            b.norm[0],
            false,
            "attn_norm",
        );
        let users = [&layer.k, &layer.v, &layer.q];
        self.quantize(b.h, b.xb_h, d, &users, "attn_norm");
        let (q, k, v) = (
            self.strided(b.q, run.spec.q_width()),
            self.strided(b.k, run.spec.k_width()),
            self.strided(b.v, run.spec.v_width()),
        );
        self.linear(&layer.k, b.xb_h, k, b.bias[1], "attn_k");
        self.linear(&layer.v, b.xb_h, v, b.bias[2], "attn_v");
        if self.tokens == Tokens::One {
            // Keys and values are stored while the matrix unit works on the queries.
            self.load_rope(run);
            let rows = self.cx.hw.tile_rows();
            if self.in_parts() && layer.q.bias.is_none() && run.spec.head_dim_k.is_multiple_of(rows)
            {
                self.quantize_kv(run, k, v);
                self.attend_in_parts(run, cache, q);
            } else {
                self.append(run, cache, k, v);
                self.linear(&layer.q, b.xb_h, q, b.bias[0], "attn_q");
                self.attend(run, cache, q);
            }
        } else {
            self.linear(&layer.q, b.xb_h, q, b.bias[0], "attn_q");
            self.for_each_token("attention", |e| {
                e.position_registers(run);
                e.token_offset(reg::Q, q.stride, "attention");
                e.token_offset(reg::K, k.stride, "attention");
                e.token_offset(reg::V, v.stride, "attention");
                e.token_offset(reg::ATTN, e.attn_vector(b.attn, run).stride, "attention");
                e.load_rope(run);
                e.append(run, cache, k, v);
                e.attend(run, cache, q);
            });
        }
        let attn = self.attn_vector(b.attn, run);
        let width = run.spec.attn_width();
        self.quantize(attn, b.xb_attn, width, &[&layer.o], "attn_output");
        let label = ["attn_output", "attn_residual"];
        self.residual(&layer.o, b.xb_attn, b.bias[3], label);
    }

    fn load_rope(&mut self, run: &Run) {
        let (Some(table), None) = (&self.cx.image.rope, self.cx.ring) else {
            return;
        };
        let words = 2 * run.spec.head_dim_k as u32;
        let rope = self.cx.buffers.rope;
        let insn = LdV {
            rbase: reg::TABLE,
            addr: table.addr,
            count: words,
            rows: 1,
            dst: rope.at,
            ..LdV::default()
        };
        self.unit(insn, vec![], vec![Region::vmem(rope.at, words)], "rope");
    }

    /// Rotates heads of the current token in place.
    fn rope(&mut self, heads: &Heads, label: &str) {
        self.rope_to(heads, heads, self.cx.buffers.rope, label);
    }

    /// Rotates heads of the current token by `factors`: x C + swap(x) S.
    pub(super) fn rope_to(&mut self, from: &Heads, to: &Heads, factors: Vector, label: &str) {
        if self.cx.image.rope.is_none() {
            return;
        }
        let scratch = self.cx.buffers.rotated;
        let dim = from.dim as u32;
        let base = Vop {
            rows: from.count as u16,
            n: dim,
            astride: dim,
            dstride: dim,
            write: 1,
            ..Vop::default()
        };
        let product = Vop {
            ra: from.register,
            a: from.of.at,
            mul: vop::MUL_B,
            ..base
        };
        let sines = Vop {
            b: factors.at + dim,
            d: scratch.at,
            swap: 1,
            ..product
        };
        let reads = || vec![all(from.of), all(factors)];
        self.unit(sines, reads(), vec![all(scratch)], label);
        let cosines = Vop {
            rd: to.register,
            b: factors.at,
            d: to.of.at,
            ..product
        };
        self.unit(cosines, reads(), vec![all(to.of)], label);
        let sum = Vop {
            ra: to.register,
            rd: to.register,
            a: to.of.at,
            b: scratch.at,
            bstride: dim,
            d: to.of.at,
            add: vop::ADD_B,
            ..base
        };
        self.unit(sum, vec![all(to.of), all(scratch)], vec![all(to.of)], label);
    }

    /// The buffer with the stride of this run's width, in whole row groups.
    fn strided(&self, v: Vector, width: usize) -> Vector {
        Vector {
            stride: width.next_multiple_of(self.cx.hw.tile_rows()) as u32,
            ..v
        }
    }

    pub(super) fn attn_vector(&self, v: Vector, run: &Run) -> Vector {
        self.strided(v, run.spec.attn_width())
    }

    /// Stores the current token's keys and values.
    fn append(&mut self, run: &Run, cache: &CacheMap, k: Vector, v: Vector) {
        self.quantize_kv(run, k, v);
        for head in 0..run.spec.n_kv_heads {
            self.store_kv(run, cache, head);
        }
    }

    /// Rotates the current token's keys, quantizes keys and values.
    fn quantize_kv(&mut self, run: &Run, k: Vector, v: Vector) {
        let b = self.cx.buffers;
        let spec = &run.spec;
        let nibbles = self.cx.kv.nibbles();
        let keys = Heads {
            of: k,
            register: reg::K,
            blocks: b.xb_k,
            count: spec.n_kv_heads,
            dim: spec.head_dim_k,
        };
        self.rope(&keys, "rope_k");
        self.rotate(&[
            keys,
            Heads {
                of: v,
                register: reg::V,
                blocks: b.xb_v,
                count: spec.n_kv_heads,
                dim: spec.head_dim_v,
            },
        ]);
        let heads = |register, from: Vector, to: Blocks, dim: usize| Quant {
            ra: register,
            rows: spec.n_kv_heads as u16,
            a: from.at,
            astride: dim as u32,
            x: to.at as u16,
            xstride: (dim / BLOCK) as u16,
            n: dim as u32,
            nibbles,
            ..Quant::default()
        };
        let keys = Quant {
            f16_range: 1,
            ..heads(reg::K, k, b.xb_k, spec.head_dim_k)
        };
        self.unit(keys, vec![all(k)], vec![all_blocks(b.xb_k)], "append_kv");
        let values = Quant {
            group: 1,
            scale_out: 1,
            scale_addr: b.value_scale.at,
            ..heads(reg::V, v, b.xb_v, spec.head_dim_v)
        };
        self.unit(
            values,
            vec![all(v)],
            vec![all_blocks(b.xb_v), all(b.value_scale)],
            "append_kv",
        );
    }

    /// Stores a head's quantized key and value.
    fn store_kv(&mut self, run: &Run, cache: &CacheMap, head: usize) {
        let b = self.cx.buffers;
        let spec = &run.spec;
        let (kblocks, vblocks) = (spec.head_dim_k / BLOCK, spec.head_dim_v / BLOCK);
        let nibbles = self.cx.kv.nibbles();
        let key = StK {
            rbase: self.cache,
            rindex: reg::KEY_TILE,
            rrow: self.slot_register(),
            addr: cache.keys(head),
            blocks: kblocks as u8,
            nibbles,
            src: (b.xb_k.at as usize + head * kblocks) as u16,
            ..StK::default()
        };
        self.unit(
            key,
            vec![all_blocks(b.xb_k)],
            vec![Region::dram(cache.keys(head), cache.key_bytes)],
            "append_kv",
        );
        let value = StT {
            rbase: self.cache,
            rindex: reg::VALUE_TILE,
            rrow: self.slot_register(),
            addr: cache.values(head),
            blocks: vblocks as u8,
            nibbles,
            src: (b.xb_v.at as usize + head * vblocks) as u16,
            stride: cache.value_stride as u32,
            ..StT::default()
        };
        self.unit(
            value,
            vec![all_blocks(b.xb_v)],
            vec![Region::dram(cache.values(head), cache.value_bytes)],
            "append_kv",
        );
        let scale = StV {
            rbase: self.cache,
            rindex: reg::VALUE_SCALE,
            addr: cache.scales(head),
            count: 1,
            src: b.value_scale.at + head as u32,
            ..StV::default()
        };
        self.unit(
            scale,
            vec![all(b.value_scale)],
            vec![Region::dram(cache.scales(head), cache.scale_bytes)],
            "append_kv",
        );
    }

    /// Attention of the current token over all positions up to its own.
    fn attend(&mut self, run: &Run, cache: &CacheMap, q: Vector) {
        let b = self.cx.buffers;
        let spec = &run.spec;
        self.quantize_queries(self.query_heads(run, q));
        let groups = self.groups(spec);
        // The matrix unit works on the next group's scores during the softmax of this one, and on
        // the values of this one during the softmax of the next.
        self.scores(run, cache, groups[0]);
        for (i, &group) in groups.iter().enumerate() {
            if let Some(&next) = groups.get(i + 1) {
                self.scores(run, cache, next);
            }
            self.softmax(run, cache, group);
            if i > 0 {
                self.normalize(run, groups[i - 1]);
            }
            self.weighted_values(run, cache, group);
        }
        self.normalize(run, groups[groups.len() - 1]);
        self.rotate(&[Heads {
            of: self.attn_vector(b.attn, run),
            register: reg::ATTN,
            blocks: b.xb_attn,
            count: spec.n_heads,
            dim: spec.head_dim_v,
        }]);
    }

    /// Stores keys and values of one token, computes its queries and attends, group by group: the
    /// matrix unit works on the queries of a later group during the softmax of this one.
    /// [`PRODUCTS_AHEAD`] groups lie between, because the first keys are loaded after this token's
    /// are stored: until then there must be something to load. Stores come a few heads at a time,
    /// or their queue would hold up the products behind them.
    fn attend_in_parts(&mut self, run: &Run, cache: &CacheMap, q: Vector) {
        let groups = self.groups(&run.spec);
        let share = run.spec.n_heads / run.spec.n_kv_heads;
        let begins = |group: &&Group| group.first.is_multiple_of(share);
        for &group in groups.iter().take(PRODUCTS_AHEAD) {
            self.queries_product(run, group, q);
        }
        for group in groups.iter().take(STORES_AHEAD).filter(begins) {
            self.store_kv(run, cache, group.kv_head);
        }
        let mut quantized = 0;
        self.queries(run, &groups, &mut quantized, 2, q);
        self.scores(run, cache, groups[0]);
        for (i, &group) in groups.iter().enumerate() {
            if let Some(&after) = groups.get(i + PRODUCTS_AHEAD) {
                self.queries_product(run, after, q);
            }
            if let Some(after) = groups.get(i + STORES_AHEAD).filter(begins) {
                self.store_kv(run, cache, after.kv_head);
            }
            self.softmax(run, cache, group);
            // Two in a turn, so that the last groups, which have no products beside them, find
            // their queries done.
            let known = (i + PRODUCTS_AHEAD).min(groups.len());
            let until = (quantized + 2).min(known).max(quantized);
            self.queries(run, &groups, &mut quantized, until, q);
            if let Some(&next) = groups.get(i + 1) {
                self.scores(run, cache, next);
            }
            if i > 0 {
                self.normalize(run, groups[i - 1]);
            }
            self.weighted_values(run, cache, group);
        }
        self.normalize(run, groups[groups.len() - 1]);
    }

    /// q = matrix h for the heads of a group.
    fn queries_product(&mut self, run: &Run, group: Group, q: Vector) {
        let dim = run.spec.head_dim_k;
        let rows = group.first * dim..(group.first + group.rows) * dim;
        let x = self.cx.buffers.xb_h;
        self.part(&run.layer.q.matrix, rows, x, q, "attn_q");
    }

    /// Rotates and quantizes the queries of the groups from `next` on before `until`.
    fn queries(&mut self, run: &Run, groups: &[Group], next: &mut usize, until: usize, q: Vector) {
        for group in groups.iter().take(until).skip(*next) {
            let queries = self.query_heads(run, q).part(group.first, group.rows);
            self.quantize_queries(queries);
        }
        *next = until.min(groups.len());
    }

    /// All heads' queries.
    fn query_heads(&self, run: &Run, q: Vector) -> Heads {
        Heads {
            of: q,
            register: reg::Q,
            blocks: self.cx.buffers.xb_q,
            count: run.spec.n_heads,
            dim: run.spec.head_dim_k,
        }
    }

    /// Rotates and quantizes queries, those that meet the sinks of a ring first.
    fn quantize_queries(&mut self, queries: Heads) {
        self.sink_queries(&queries);
        self.rope(&queries, "rope_q");
        self.rotate(&[queries]);
        self.quantize_heads(&queries, "attention");
    }

    /// The groups of a layer's heads, one after the other.
    fn groups(&self, spec: &LayerSpec) -> Vec<Group> {
        let share = spec.n_heads / spec.n_kv_heads;
        let step = group_rows(spec, self.cx.hw);
        let mut groups = Vec::new();
        for kv_head in 0..spec.n_kv_heads {
            for first in (0..share).step_by(step) {
                let rows = step.min(share - first);
                let (first, turn) = (kv_head * share + first, groups.len());
                groups.push(Group {
                    kv_head,
                    first,
                    rows,
                    turn,
                });
            }
        }
        groups
    }

    /// scores = keys q for the heads of a group.
    fn scores(&mut self, run: &Run, cache: &CacheMap, group: Group) {
        let b = self.cx.buffers;
        let scores = b.scores[group.turn % 2];
        let kblocks = run.spec.head_dim_k / BLOCK;
        let queries = if self.in_parts() {
            let heads = self.query_heads(run, b.q);
            heads.part(group.first, group.rows).blocks
        } else {
            b.xb_q
        };
        let keys = LdW {
            rbase: self.cache,
            rcount: reg::KEY_CHUNKS,
            addr: cache.keys(group.kv_head),
            rows: 1,
            ..LdW::default()
        };
        let stored = Region::dram(cache.keys(group.kv_head), cache.key_bytes);
        let keys = self.first_blocks(keys, stored, "attn_scores");
        self.unit(keys, vec![stored], vec![], "attn_scores");
        let product = Mm {
            rgroups: reg::KEY_GROUPS,
            x: (b.xb_q.at as usize + group.first * kblocks) as u16,
            xstride: kblocks as u16,
            y: scores.at,
            ystride: scores.stride,
            kblocks: kblocks as u16,
            tokens: group.rows as u8,
            bits: cache.bits as u8,
            ..Mm::default()
        };
        self.unit(
            product,
            vec![all_blocks(queries)],
            vec![all(scores)],
            "attn_scores",
        );
        self.sink_scores(run, cache, group);
    }

    /// Quantizes exp(scale (s - max)) times the value scales; keeps the sums' reciprocals.
    fn softmax(&mut self, run: &Run, cache: &CacheMap, group: Group) {
        let b = self.cx.buffers;
        let label = "softmax";
        let scores = b.scores[group.turn % 2];
        let value_scale = b.cache_scale[group.turn % b.cache_scale.len()];
        let blocks = b.xb_p[group.turn % 2];
        self.take_sink_scores(group);
        let load = LdV {
            rbase: self.cache,
            rcount: reg::LEN,
            addr: cache.scales(group.kv_head),
            rows: 1,
            dst: value_scale.at,
            ..LdV::default()
        };
        let stored = Region::dram(cache.scales(group.kv_head), cache.scale_bytes);
        let load = self.first_scales(load, stored, value_scale);
        self.unit(load, vec![stored], vec![all(value_scale)], label);
        let Softmax {
            max,
            shift,
            sum,
            inverse,
        } = b.softmax[group.turn % 2];
        let heads = Vop {
            rn: reg::LEN,
            rows: group.rows as u16,
            a: scores.at,
            astride: scores.stride,
            d: scores.at,
            dstride: scores.stride,
            ..Vop::default()
        };
        let scalars = |from: Vector, to: Vector| Vop {
            n: group.rows as u32,
            rows: 1,
            a: from.at,
            d: to.at,
            write: 1,
            ..Vop::default()
        };
        let factor =
            (f64::from(std::f32::consts::LOG2_E) / (run.spec.head_dim_k as f64).sqrt()) as f32;
        let reduce = Vop {
            red: vop::MAX,
            red_addr: max.at,
            ..heads
        };
        self.unit(reduce, vec![all(scores)], vec![all(max)], label);
        let negate = Vop {
            mul: vop::MUL_S1,
            s1: (-factor).to_bits(),
            ..scalars(max, shift)
        };
        self.unit(negate, vec![all(max)], vec![all(shift)], label);
        let exp = Vop {
            mul: vop::MUL_S1,
            s1: factor.to_bits(),
            add: vop::ADD_S2,
            s2: shift.at,
            s2_row: 1,
            func: vop::EXP2,
            write: 1,
            red: vop::SUM,
            red_addr: sum.at,
            ..heads
        };
        self.unit(
            exp,
            vec![all(scores), all(shift)],
            vec![all(scores), all(sum)],
            label,
        );
        let weigh = Vop {
            mul: vop::MUL_B,
            b: value_scale.at,
            write: 1,
            ..heads
        };
        self.unit(
            weigh,
            vec![all(scores), all(value_scale)],
            vec![all(scores)],
            label,
        );
        let quantize = Quant {
            rn: reg::LEN,
            rows: group.rows as u16,
            a: scores.at,
            astride: scores.stride,
            x: blocks.at as u16,
            xstride: blocks.stride as u16,
            ..Quant::default()
        };
        self.unit(quantize, vec![all(scores)], vec![all_blocks(blocks)], label);
        let recip = Vop {
            func: vop::RECIP,
            ..scalars(sum, inverse)
        };
        self.unit(recip, vec![all(sum)], vec![all(inverse)], label);
    }

    /// attn = values p for the heads of a group.
    fn weighted_values(&mut self, run: &Run, cache: &CacheMap, group: Group) {
        if self.cx.mask.is_some() {
            return self.masked_values(run, cache, group);
        }
        let b = self.cx.buffers;
        let dim = run.spec.head_dim_v;
        let attn = self.attn_vector(b.attn, run);
        let values = LdW {
            rbase: self.cache,
            rcount: reg::VALUE_CHUNKS,
            addr: cache.values(group.kv_head),
            rows: self.cx.hw.row_groups(dim) as u16,
            stride: cache.value_stride as u32,
            ..LdW::default()
        };
        self.unit(
            values,
            vec![Region::dram(cache.values(group.kv_head), cache.value_bytes)],
            vec![],
            "attn_values",
        );
        let blocks = b.xb_p[group.turn % 2];
        let at = attn.at + (group.first * dim) as u32;
        let product = Mm {
            rk: reg::VALUE_BLOCKS,
            ry: reg::ATTN,
            x: blocks.at as u16,
            xstride: blocks.stride as u16,
            y: at,
            ystride: dim as u32,
            groups: self.cx.hw.row_groups(dim) as u16,
            tokens: group.rows as u8,
            bits: cache.bits as u8,
            header: value_header(cache),
            ..Mm::default()
        };
        self.unit(
            product,
            vec![all_blocks(blocks)],
            vec![heads(attn, group, dim)],
            "attn_values",
        );
    }

    /// attn = attn / sum for the heads of a group.
    fn normalize(&mut self, run: &Run, group: Group) {
        let b = self.cx.buffers;
        let inverse = b.softmax[group.turn % 2].inverse;
        let dim = run.spec.head_dim_v;
        let attn = self.attn_vector(b.attn, run);
        let at = attn.at + (group.first * dim) as u32;
        let part = heads(attn, group, dim);
        let normalize = Vop {
            ra: reg::ATTN,
            rd: reg::ATTN,
            rows: group.rows as u16,
            n: dim as u32,
            a: at,
            astride: dim as u32,
            d: at,
            dstride: dim as u32,
            mul: vop::MUL_S1,
            s1_mem: 1,
            s1_row: 1,
            s1: inverse.at,
            write: 1,
            ..Vop::default()
        };
        self.unit(
            normalize,
            vec![part, all(inverse)],
            vec![part],
            "attn_values",
        );
    }
}

/// How the tiles of the values begin.
pub(super) fn value_header(cache: &CacheMap) -> u8 {
    if cache.bits == 4 {
        HEADER_PAIRED
    } else {
        HEADER_NONE
    }
}

/// The words of a group's heads in the attention result, of the token that the instructions
/// around are for.
pub(super) fn heads(attn: Vector, group: Group, dim: usize) -> Region {
    Region::vmem(
        attn.at + (group.first * dim) as u32,
        (group.rows * dim) as u32,
    )
}
