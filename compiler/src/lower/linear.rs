//! Linear layers: quantized input blocks times streamed weights.

use super::{Emitter, Tokens, all, all_blocks, vop};
use crate::buffers::{Blocks, Vector};
use crate::image::{Linear, Matrix};
use crate::program::Region;
use lampyris_isa::format::Sparsity;
use lampyris_isa::insn::{LdW, Mm, Mv, Quant, Vop};
use std::ops::Range;

/// Field `group` of the `quant` that feeds these matrices: tiles need one scale for all blocks that
/// they span, and the widest of them decides.
pub(super) fn shared_scale<'m>(users: impl Iterator<Item = &'m Matrix>) -> u8 {
    match users.map(|matrix| matrix.format.sparsity).max() {
        None | Some(Sparsity::Dense) => 0,
        Some(Sparsity::S2Of4) => 2,
        Some(Sparsity::S4Of16) => 3,
    }
}

/// Parts of a product, at most.
pub(super) const PARTS: usize = 6;

impl Emitter<'_> {
    /// Streams a matrix of the current layer.
    pub(crate) fn stream(&mut self, matrix: &Matrix, label: &str) {
        let insn = LdW {
            rbase: self.layer,
            addr: matrix.addr,
            count: (matrix.bytes() / self.cx.hw.chunk_bytes() as u64) as u32,
            rows: 1,
            ..LdW::default()
        };
        self.unit(insn, vec![], vec![], label);
    }

    /// y = matrix x, for every token.
    pub(crate) fn product(&mut self, matrix: &Matrix, x: Blocks, y: Vector, label: &str) {
        self.stream(matrix, label);
        let (kblocks, groups) = (matrix.blocks() as u16, matrix.groups() as u16);
        let (bits, sparsity) = (matrix.format.bits as u8, matrix.format.sparsity as u8);
        let (reads, writes) = (vec![all_blocks(x)], vec![all(y)]);
        if self.tokens == Tokens::One {
            let insn = Mv {
                x: x.at as u16,
                y: y.at,
                kblocks,
                groups,
                bits,
                sparsity,
                ..Mv::default()
            };
            return self.unit(insn, reads, writes, label);
        }
        let insn = Mm {
            rtokens: self.tokens.register(),
            x: x.at as u16,
            xstride: x.stride as u16,
            y: y.at,
            ystride: y.stride,
            kblocks,
            groups,
            bits,
            sparsity,
            ..Mm::default()
        };
        self.unit(insn, reads, writes, label);
    }

    /// Whether products are cut into parts of rows, so that the special-function unit works on one
    /// while the matrix unit works on the next. With several channels a layer's products take so
    /// few cycles that what lies between them counts.
    pub(crate) fn in_parts(&self) -> bool {
        self.cx.hw.channels > 1 && self.tokens == Tokens::One
    }

    /// y = matrix x for the rows of a range that begins with a row group, of the only token.
    pub(crate) fn part(
        &mut self,
        matrix: &Matrix,
        rows: Range<usize>,
        x: Blocks,
        y: Vector,
        label: &str,
    ) {
        let hw = self.cx.hw;
        let (first, groups) = (rows.start / hw.tile_rows(), hw.row_groups(rows.len()));
        let group = matrix.bytes() / matrix.groups() as u64;
        let load = LdW {
            rbase: self.layer,
            addr: matrix.addr + first as u64 * group,
            count: (groups as u64 * group / hw.chunk_bytes() as u64) as u32,
            rows: 1,
            ..LdW::default()
        };
        self.unit(load, vec![], vec![], label);
        let product = Mv {
            x: x.at as u16,
            y: y.at + rows.start as u32,
            kblocks: matrix.blocks() as u16,
            groups: groups as u16,
            bits: matrix.format.bits as u8,
            sparsity: matrix.format.sparsity as u8,
            ..Mv::default()
        };
        let words = (groups * hw.tile_rows()) as u32;
        let writes = vec![Region::vmem(y.at + rows.start as u32, words)];
        self.unit(product, vec![all_blocks(x)], writes, label);
    }

    /// y = matrix x + bias, for every token. The bias is loaded to `buffer`.
    pub(crate) fn linear(
        &mut self,
        linear: &Linear,
        x: Blocks,
        y: Vector,
        buffer: Vector,
        label: &str,
    ) {
        if let Some(bias) = &linear.bias {
            self.load(bias, buffer.at, label);
        }
        self.product(&linear.matrix, x, y, label);
        if linear.bias.is_some() {
            let add = Vop {
                add: vop::ADD_B,
                b: buffer.at,
                ..self.per_token(y, y, linear.matrix.rows)
            };
            self.unit(add, vec![all(y), all(buffer)], vec![all(y)], label);
        }
    }

    /// Quantizes every token's vector of `n` elements for the matrices in `users`.
    pub(crate) fn quantize(
        &mut self,
        from: Vector,
        to: Blocks,
        n: usize,
        users: &[&Linear],
        label: &str,
    ) {
        let insn = Quant {
            rrows: self.tokens.register(),
            rows: u16::from(self.tokens.immediate()),
            a: from.at,
            astride: from.stride,
            x: to.at as u16,
            xstride: to.stride as u16,
            n: n as u32,
            group: shared_scale(users.iter().map(|user| &user.matrix)),
            ..Quant::default()
        };
        self.unit(insn, vec![all(from)], vec![all_blocks(to)], label);
    }

    /// x += linear(blocks), by way of `h`, for every token; in parts where that pays.
    pub(crate) fn residual(
        &mut self,
        linear: &Linear,
        blocks: Blocks,
        bias: Vector,
        label: [&str; 2],
    ) {
        let b = self.cx.buffers;
        let d = linear.matrix.rows;
        if !self.in_parts() || linear.bias.is_some() {
            self.linear(linear, blocks, b.h, bias, label[0]);
            return self.accumulate(b.x, b.h, d, label[1]);
        }
        let rows = self.cx.hw.tile_rows();
        let step = d.div_ceil(rows).div_ceil(PARTS) * rows;
        for first in (0..d).step_by(step) {
            let end = (first + step).min(d);
            self.part(&linear.matrix, first..end, blocks, b.h, label[0]);
            let of = |v: Vector| Vector {
                at: v.at + first as u32,
                words: (end - first) as u32,
                ..v
            };
            self.accumulate(of(b.x), of(b.h), end - first, label[1]);
        }
    }

    /// to += from, for every token.
    pub(crate) fn accumulate(&mut self, to: Vector, from: Vector, n: usize, label: &str) {
        let add = Vop {
            add: vop::ADD_B,
            b: from.at,
            bstride: from.stride,
            ..self.per_token(to, to, n)
        };
        self.unit(add, vec![all(to), all(from)], vec![all(to)], label);
    }
}
