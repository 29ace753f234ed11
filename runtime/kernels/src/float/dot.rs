//! Products with weights in F32, F16 and BF16, and scaled sums of rows.

use super::sixteens;
use crate::TensorType;
use crate::activations::Tokens;
use crate::backend::{TILE_ROWS, Tile};
use crate::simd::{LANES, Simd, padded};

/// Weights `16 i .. 16 i + count` of a row in a float format.
#[inline(always)]
fn weights<S: Simd>(s: S, ty: TensorType, row: &[u8], i: usize, count: usize) -> S::V {
    match ty {
        TensorType::F32 => {
            let (bytes, _) = row[i * LANES * 4..][..count * 4].as_chunks::<4>();
            let mut values = [0.0; LANES];
            for (value, bytes) in values.iter_mut().zip(bytes) {
                *value = f32::from_le_bytes(*bytes);
            }
            s.load(&values)
        }
        _ => {
            let (bytes, _) = row[i * LANES * 2..][..count * 2].as_chunks::<2>();
            let mut bits = [0; LANES];
            for (bits, bytes) in bits.iter_mut().zip(bytes) {
                *bits = u16::from_le_bytes(*bytes);
            }
            match ty {
                TensorType::F16 => s.from_f16(&bits),
                _ => s.from_bf16(&bits),
            }
        }
    }
}

/// `R` rows times `T` tokens.
#[inline(always)]
fn group<S: Simd, const R: usize, const T: usize>(
    s: S,
    ty: TensorType,
    rows: [&[u8]; R],
    x: [&[f32]; T],
) -> [[f32; R]; T] {
    let mut sums = [[s.splat(0.0); R]; T];
    let mut xs = [s.splat(0.0); T];
    let width = x[0].len();
    for i in 0..width.div_ceil(LANES) {
        let count = LANES.min(width - i * LANES);
        for t in 0..T {
            xs[t] = match x[t][i * LANES..].first_chunk() {
                Some(x) => s.load(x),
                None => s.load(&padded(&x[t][i * LANES..])),
            };
        }
        for r in 0..R {
            let w = match count {
                LANES => weights(s, ty, rows[r], i, LANES),
                _ => weights(s, ty, rows[r], i, count),
            };
            for t in 0..T {
                sums[t][r] = s.add(sums[t][r], s.mul(w, xs[t]));
            }
        }
    }
    let mut out = [[0.0; R]; T];
    for t in 0..T {
        for r in 0..R {
            out[t][r] = s.sum(sums[t][r]);
        }
    }
    out
}

/// A tile of a float format.
#[inline(always)]
pub(crate) fn tile<S: Simd>(s: S, tile: &Tile<'_>, x: Tokens<'_>, out: &mut [[f32; TILE_ROWS]]) {
    let token = |t: usize| &x.x[t * x.width..][..x.width];
    let (quads, _) = tile.rows.as_chunks::<4>();
    for (q, &rows) in quads.iter().enumerate() {
        let mut t = 0;
        while S::REGISTERS >= 32 && t + 4 <= x.count {
            let sums = group(
                s,
                tile.ty,
                rows,
                [token(t), token(t + 1), token(t + 2), token(t + 3)],
            );
            for (i, sums) in sums.into_iter().enumerate() {
                out[t + i][q * 4..][..4].copy_from_slice(&sums);
            }
            t += 4;
        }
        while t < x.count {
            let [sums] = group(s, tile.ty, rows, [token(t)]);
            out[t][q * 4..][..4].copy_from_slice(&sums);
            t += 1;
        }
    }
}

/// One row of a float format times the only token of `x`.
#[inline(always)]
pub(crate) fn dot_row<S: Simd>(s: S, ty: TensorType, row: &[u8], x: Tokens<'_>) -> f32 {
    group(s, ty, [row], [x.x])[0][0]
}

/// `y += a * row` for a float format.
#[inline(always)]
pub(crate) fn axpy_row<S: Simd>(s: S, ty: TensorType, row: &[u8], a: f32, y: &mut [f32]) {
    let a = s.splat(a);
    let len = y.len();
    sixteens!(
        len,
        |at| {
            let y = y[at..].first_chunk_mut().expect("sixteen remain");
            let w = weights(s, ty, row, at / LANES, LANES);
            s.store(s.add(s.load(y), s.mul(a, w)), y);
        },
        |at| {
            let w = weights(s, ty, row, at / LANES, len - at);
            let rest = &mut y[at..];
            let mut values = padded(rest);
            s.store(s.add(s.load(&values), s.mul(a, w)), &mut values);
            rest.copy_from_slice(&values[..rest.len()]);
        }
    );
}
