//! Rotation of heads: a product with a constant matrix of signs, heads taking the place of tokens.

use super::{Emitter, all, all_blocks, reg};
use crate::buffers::{Blocks, Vector};
use lampyris_isa::format::{BLOCK, CHUNK_BYTES};
use lampyris_isa::insn::{LdW, Mm, Quant};

/// Heads of the current token that lie one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    /// Vector memory.
    pub(super) of: Vector,
    /// Register with the offset of the current token.
    pub(super) register: u8,
    /// Blocks that may be overwritten.
    pub(super) blocks: Blocks,
    /// Heads.
    pub(super) count: usize,
    /// Elements of a head.
    pub(super) dim: usize,
}

impl Heads {
    /// The `count` heads from number `first` on.
    pub(super) fn part(&self, first: usize, count: usize) -> Heads {
        let blocks = self.dim / BLOCK;
        Heads {
            of: Vector {
                at: self.of.at + (first * self.dim) as u32,
                words: (count * self.dim) as u32,
                ..self.of
            },
            blocks: Blocks {
                at: self.blocks.at + (first * blocks) as u32,
                blocks: (count * blocks) as u32,
                ..self.blocks
            },
            count,
            ..*self
        }
    }
}

impl Emitter<'_> {
    /// Rotates heads in place, if the cache holds rotated heads. All are quantized before the
    /// first product, so that the matrix unit works on some while others are quantized.
    pub(super) fn rotate(&mut self, groups: &[Heads]) {
        if !self.cx.kv.is_rotated() {
            return;
        }
        for heads in groups {
            self.quantize_heads(heads, "rotate");
        }
        for heads in groups {
            let most = self.cx.hw.max_tokens as usize;
            for first in (0..heads.count).step_by(most) {
                self.rotate_some(heads, first, most.min(heads.count - first));
            }
        }
    }

    /// Quantizes heads to their blocks.
    pub(super) fn quantize_heads(&mut self, heads: &Heads, label: &str) {
        let insn = Quant {
            ra: heads.register,
            rows: heads.count as u16,
            a: heads.of.at,
            astride: heads.dim as u32,
            x: heads.blocks.at as u16,
            xstride: (heads.dim / BLOCK) as u16,
            n: heads.dim as u32,
            ..Quant::default()
        };
        let (reads, writes) = (vec![all(heads.of)], vec![all_blocks(heads.blocks)]);
        self.unit(insn, reads, writes, label);
    }

    fn rotate_some(&mut self, heads: &Heads, first: usize, count: usize) {
        let Some(&matrix) = self.cx.image.rotation(heads.dim) else {
            return;
        };
        let load = LdW {
            rbase: reg::ZERO,
            addr: matrix.addr,
            count: (matrix.bytes() / CHUNK_BYTES as u64) as u32,
            rows: 1,
            ..LdW::default()
        };
        self.unit(load, vec![], vec![], "rotate");
        let product = Mm {
            ry: heads.register,
            x: (heads.blocks.at as usize + first * matrix.blocks()) as u16,
            xstride: matrix.blocks() as u16,
            y: heads.of.at + (first * heads.dim) as u32,
            ystride: heads.dim as u32,
            kblocks: matrix.blocks() as u16,
            groups: matrix.groups() as u16,
            tokens: count as u8,
            bits: matrix.bits as u8,
            ..Mm::default()
        };
        let (reads, writes) = (vec![all_blocks(heads.blocks)], vec![all(heads.of)]);
        self.unit(product, reads, writes, "rotate");
    }
}
