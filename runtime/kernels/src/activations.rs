//! Activations of some tokens in 8 bits, beside their f32 values.

use crate::Kernels;

/// Elements that share a scale.
pub(crate) const BLOCK: usize = 32;

/// What belongs to 32 quantized values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct BlockMeta {
    /// Value of one step: element `j` is about `scale * q[j]`.
    pub(crate) scale: f32,
    /// Sum of the 32 integers; products with it replace minima and offsets of the weights.
    pub(crate) sum: f32,
    /// Sums of integers 0..16 and 16..32 (Q6_K has two scales in a block).
    pub(crate) halves: [f32; 2],
}

/// Up to a given number of tokens times a width, quantized to signed 8-bit blocks of 32.
///
/// `scale = max|x| / 127`, integers are rounded to the nearest, ties to even. Blocks whose largest
/// magnitude is below 2^-100 become zeros. A block with an infinity or NaN has an infinite or NaN
/// scale, so results say so. The f32 values are kept for weights in F32, F16 and BF16.
#[derive(Debug, Default)]
pub struct Activations {
    width: usize,
    tokens: usize,
    q: Vec<i8>,
    meta: Vec<BlockMeta>,
    x: Vec<f32>,
}

/// Some consecutive tokens of [`Activations`].
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) count: usize,
    /// Elements of a token.
    pub(crate) width: usize,
    /// Blocks of a token.
    pub(crate) blocks: usize,
    /// `[count, blocks * 32]`, zero past the width.
    pub(crate) q: &'a [i8],
    /// `[count, blocks]`.
    pub(crate) meta: &'a [BlockMeta],
    /// `[count, width]`.
    pub(crate) x: &'a [f32],
}

impl Activations {
    /// Room for `tokens` tokens of `width` elements (or any shape that needs no more).
    pub fn with_capacity(tokens: usize, width: usize) -> Self {
        let blocks = tokens * width.div_ceil(BLOCK);
        Self {
            width: 0,
            tokens: 0,
            q: Vec::with_capacity(blocks * BLOCK),
            meta: Vec::with_capacity(blocks),
            x: Vec::with_capacity(tokens * width),
        }
    }

    /// Bytes of memory that [`with_capacity`](Self::with_capacity) takes.
    pub fn bytes(tokens: usize, width: usize) -> usize {
        let blocks = tokens * width.div_ceil(BLOCK);
        blocks * (BLOCK + size_of::<BlockMeta>()) + tokens * width * size_of::<f32>()
    }

    /// Replaces the content by `x`, `[tokens, width]`. Allocates only beyond the capacity.
    ///
    /// # Panics
    /// If `x` is not a whole number of tokens, or `width` is 0.
    pub fn quantize(&mut self, kernels: &Kernels, x: &[f32], width: usize) {
        self.shape(x, width);
        let blocks = width.div_ceil(BLOCK);
        let rows = x.chunks_exact(width);
        let outs = self.q.chunks_exact_mut(blocks * BLOCK);
        for ((x, q), meta) in rows.zip(outs).zip(self.meta.chunks_exact_mut(blocks)) {
            kernels.backend().quantize(x, q, meta);
        }
        self.x.copy_from_slice(x);
    }

    fn shape(&mut self, x: &[f32], width: usize) {
        assert!(width > 0, "activations of width 0");
        assert!(
            x.len().is_multiple_of(width),
            "{} values are not a whole number of tokens of {width}",
            x.len()
        );
        self.width = width;
        self.tokens = x.len() / width;
        let blocks = self.tokens * width.div_ceil(BLOCK);
        self.q.resize(blocks * BLOCK, 0);
        self.meta.resize(blocks, BlockMeta::default());
        self.x.resize(x.len(), 0.0);
    }

    /// Tokens held.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Elements of each token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The values before quantization, `[tokens, width]`.
    pub fn values(&self) -> &[f32] {
        &self.x
    }

    /// Tokens `first..first + count`.
    pub(crate) fn slice(&self, first: usize, count: usize) -> Tokens<'_> {
        let all = Tokens {
            count: self.tokens,
            width: self.width,
            blocks: self.width.div_ceil(BLOCK),
            q: &self.q,
            meta: &self.meta,
            x: &self.x,
        };
        all.part(first, count)
    }
}

impl<'a> Tokens<'a> {
    /// Tokens `first..first + count` of these.
    pub(crate) fn part(&self, first: usize, count: usize) -> Self {
        Self {
            count,
            q: &self.q[first * self.blocks * BLOCK..][..count * self.blocks * BLOCK],
            meta: &self.meta[first * self.blocks..][..count * self.blocks],
            x: &self.x[first * self.width..][..count * self.width],
            ..*self
        }
    }

    /// Integers of block `block` of token `token`.
    #[inline(always)]
    pub(crate) fn block(&self, token: usize, block: usize) -> &'a [i8; BLOCK] {
        self.q[(token * self.blocks + block) * BLOCK..]
            .first_chunk()
            .expect("the block exists")
    }
}
