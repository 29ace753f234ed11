//! f32 to signed 8-bit blocks.

use crate::activations::{BLOCK, BlockMeta};
use crate::simd::{LANES, Simd, padded};

/// 1.5 * 2^23: adding it leaves the nearest integer (ties to even) in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Largest magnitudes below 2^-100 count as zero: their reciprocal would overflow.
const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// Quantizes one token; see [`Activations`](crate::Activations).
#[inline(always)]
pub(crate) fn quantize<S: Simd>(s: S, x: &[f32], q: &mut [i8], meta: &mut [BlockMeta]) {
    let (blocks, rest) = x.as_chunks::<BLOCK>();
    let (q, _) = q.as_chunks_mut::<BLOCK>();
    for ((x, q), meta) in blocks.iter().zip(q.iter_mut()).zip(meta.iter_mut()) {
        *meta = block(s, x, q);
    }
    if !rest.is_empty() {
        let mut x = [0.0; BLOCK];
        x[..rest.len()].copy_from_slice(rest);
        let last = blocks.len();
        meta[last] = block(s, &x, &mut q[last]);
    }
}

/// Largest magnitude of 32 values; NaN if one of them is.
#[inline(always)]
fn magnitude<S: Simd>(s: S, low: S::V, high: S::V) -> f32 {
    let mut lanes = [0.0; LANES];
    s.store(s.max_bits(s.abs(low), s.abs(high)), &mut lanes);
    f32::from_bits(lanes.iter().fold(0, |m, v| m.max(v.to_bits())))
}

/// `127 / magnitude`, or 0 where the block counts as zero or is not finite.
#[inline(always)]
pub(crate) fn steps_per_unit(magnitude: f32) -> f32 {
    if magnitude >= TINY && magnitude.is_finite() {
        127.0 / magnitude
    } else {
        0.0
    }
}

/// The value of one step.
#[inline(always)]
pub(crate) fn step(magnitude: f32) -> f32 {
    if magnitude < TINY {
        0.0
    } else {
        magnitude / 127.0
    }
}

#[inline(always)]
fn block<S: Simd>(s: S, x: &[f32; BLOCK], q: &mut [i8; BLOCK]) -> BlockMeta {
    let (low, high) = x.split_at(LANES);
    let halves = [s.load(&padded(low)), s.load(&padded(high))];
    let magnitude = magnitude(s, halves[0], halves[1]);
    let factor = s.splat(steps_per_unit(magnitude));
    let mut sums = [0.0; 2];
    let (q, _) = q.as_chunks_mut::<LANES>();
    for ((x, q), sum) in halves.into_iter().zip(q).zip(&mut sums) {
        s.low_bytes(s.add(s.mul(x, factor), s.splat(ROUND)), q);
        *sum = f32::from(q.iter().map(|&q| i16::from(q)).sum::<i16>());
    }
    BlockMeta {
        scale: step(magnitude),
        sum: sums[0] + sums[1],
        halves: sums,
    }
}
