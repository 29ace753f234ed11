//! Portable kernels: the definition of all results.

mod codes;

use codes::{Coded, coded};

use crate::activations::{BLOCK, Tokens};
use crate::backend::{Backend, TILE_ROWS, Tile};
use crate::float::{self, float_backend};
use crate::simd::{Portable, Simd};
use crate::{Isa, TensorType};

/// Portable code, no vector instructions asked for.
pub(crate) struct Scalar;

impl Backend for Scalar {
    fn isa(&self) -> Isa {
        Isa::Scalar
    }

    fn tile(&self, tile: &Tile<'_>, x: Tokens<'_>, out: &mut [[f32; TILE_ROWS]]) {
        if is_float(tile.ty) {
            return float::tile(Portable, tile, x, out);
        }
        code_tile(tile, x, out);
    }

    fn dot_row(&self, ty: TensorType, row: &[u8], x: Tokens<'_>) -> f32 {
        dot_row(Portable, ty, row, x)
    }

    fn axpy_row(&self, ty: TensorType, row: &[u8], a: f32, y: &mut [f32]) {
        axpy_row(Portable, ty, row, a, y);
    }

    fn dequantize(&self, ty: TensorType, row: &[u8], out: &mut [f32]) {
        dequantize(ty, row, out);
    }

    float_backend!(Portable);
}

/// Whether products with this type use f32 activations.
pub(crate) fn is_float(ty: TensorType) -> bool {
    matches!(ty, TensorType::F32 | TensorType::F16 | TensorType::BF16)
}

/// A tile of a block format, block after block. Also what vector code uses for formats that have
/// no unpacking of their own there.
#[inline(always)]
pub(crate) fn code_tile(tile: &Tile<'_>, x: Tokens<'_>, out: &mut [[f32; TILE_ROWS]]) {
    for (r, row) in tile.rows.into_iter().enumerate() {
        if r > 0 && row.as_ptr() == tile.rows[r - 1].as_ptr() {
            // Rows past the end repeat the last one; nobody reads their results.
            break;
        }
        out.iter_mut().for_each(|out| out[r] = 0.0);
        for b in 0..x.blocks {
            let block = coded(tile.ty, row, b);
            for (t, out) in out[..x.count].iter_mut().enumerate() {
                out[r] += product(&block, x, t, b);
            }
        }
    }
}

/// One row times the only token of `x`.
#[inline(always)]
pub(crate) fn dot_row<S: Simd>(s: S, ty: TensorType, row: &[u8], x: Tokens<'_>) -> f32 {
    if is_float(ty) {
        return float::dot_row(s, ty, row, x);
    }
    let mut sum = 0.0;
    for b in 0..x.blocks {
        sum += product(&coded(ty, row, b), x, 0, b);
    }
    sum
}

/// `y += a * row`, elements as [`dequantize`] gives them.
#[inline(always)]
pub(crate) fn axpy_row<S: Simd>(s: S, ty: TensorType, row: &[u8], a: f32, y: &mut [f32]) {
    if is_float(ty) {
        return float::axpy_row(s, ty, row, a, y);
    }
    let a = s.splat(a);
    for (b, y) in y.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let block = coded(ty, row, b);
        let (codes, y) = (block.codes.as_chunks().0, y.as_chunks_mut().0);
        for (half, (codes, y)) in codes.iter().zip(y).enumerate() {
            // The scale of a half is exact: 11 times 7 bits.
            let scale = s.splat(block.scale * block.halves[half] as f32);
            let mut value = s.mul(s.from_i8(codes), scale);
            if let Some(min) = block.min {
                value = s.add(value, s.splat(min));
            }
            s.store(s.add(s.load(y), s.mul(a, value)), y);
        }
    }
}

/// Exactly as ggml's reference functions.
pub(crate) fn dequantize(ty: TensorType, row: &[u8], out: &mut [f32]) {
    lampyris_flash::block::dequantize_row(ty, row, out).expect("the caller has checked lengths");
}

/// What block `b` adds to the result of token `t`.
#[inline(always)]
fn product(w: &Coded, x: Tokens<'_>, t: usize, b: usize) -> f32 {
    let q = x.block(t, b);
    let meta = x.meta[t * x.blocks + b];
    let mut dots = [0i32; 2];
    for (half, dot) in dots.iter_mut().enumerate() {
        let range = half * 16..half * 16 + 16;
        for (&w, &q) in w.codes[range.clone()].iter().zip(&q[range]) {
            *dot += i32::from(w) * i32::from(q);
        }
    }
    // At most 2^24, so the sum of scaled halves is exact as f32.
    let dot = dots[0] * w.halves[0] + dots[1] * w.halves[1];
    let dot = w.scale * dot as f32;
    let dot = match w.min {
        Some(min) => dot + min * meta.sum,
        None => dot,
    };
    dot * meta.scale
}
