//! Norms and softmax: sums over a vector, sixteen partial sums each.

use super::exp::exp;
use super::sixteens;
use crate::simd::{LANES, Simd, padded};

/// Sum of `f(x)`; `f` must give 0 for the padding, which is told by the second argument being 0.
#[inline(always)]
fn sum_of<S: Simd>(s: S, x: &[f32], f: impl Fn(S::V, S::V) -> S::V) -> f32 {
    let mut sum = s.splat(0.0);
    let one = s.splat(1.0);
    sixteens!(
        x.len(),
        |i| {
            let x = x[i..].first_chunk().expect("sixteen remain");
            sum = s.add(sum, f(s.load(x), one));
        },
        |i| {
            let exists = padded(&[1.0; LANES][..x.len() - i]);
            sum = s.add(sum, f(s.load(&padded(&x[i..])), s.load(&exists)));
        }
    );
    s.sum(sum)
}

/// `out = f(x, index of the first of sixteen)`.
#[inline(always)]
fn map_to<S: Simd>(
    s: S,
    x: &[f32],
    operands: [&[f32]; 2],
    out: &mut [f32],
    f: impl Fn(S::V, [S::V; 2]) -> S::V,
) {
    sixteens!(
        x.len(),
        |i| {
            let get = |x: &[f32]| s.load(x[i..].first_chunk().expect("sixteen remain"));
            let y = f(get(x), [get(operands[0]), get(operands[1])]);
            s.store(y, out[i..].first_chunk_mut().expect("sixteen remain"));
        },
        |i| {
            let get = |x: &[f32]| s.load(&padded(&x[i..]));
            let mut values = [0.0; LANES];
            s.store(f(get(x), [get(operands[0]), get(operands[1])]), &mut values);
            out[i..].copy_from_slice(&values[..x.len() - i]);
        }
    );
}

#[inline(always)]
pub(crate) fn rms_norm<S: Simd>(s: S, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let squares = sum_of(s, x, |x, _| s.mul(x, x));
    let scale = s.splat(1.0 / (squares / x.len() as f32 + eps).sqrt());
    map_to(s, x, [weight, weight], out, |x, [weight, _]| {
        s.mul(s.mul(x, scale), weight)
    });
}

#[inline(always)]
pub(crate) fn layer_norm<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    let n = x.len() as f32;
    let mean = s.splat(sum_of(s, x, |x, _| x) / n);
    let squares = sum_of(s, x, |x, exists| {
        let d = s.mul(s.sub(x, mean), exists);
        s.mul(d, d)
    });
    let scale = s.splat(1.0 / (squares / n + eps).sqrt());
    map_to(s, x, [weight, bias], out, |x, [weight, bias]| {
        s.add(s.mul(s.mul(s.sub(x, mean), scale), weight), bias)
    });
}

/// The largest element; -inf for an empty slice.
#[inline(always)]
pub(super) fn maximum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] = if chunk[l] > lanes[l] {
                chunk[l]
            } else {
                lanes[l]
            };
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

#[inline(always)]
pub(crate) fn softmax<S: Simd>(s: S, x: &mut [f32]) {
    let max = s.splat(maximum(x));
    let mut sum = s.splat(0.0);
    let mut step = |x: &mut [f32; LANES], exists: S::V| {
        let e = s.mul(exp(s, s.sub(s.load(x), max)), exists);
        sum = s.add(sum, e);
        s.store(e, x);
    };
    sixteens!(
        x.len(),
        |i| step(
            x[i..].first_chunk_mut().expect("sixteen remain"),
            s.splat(1.0)
        ),
        |i| {
            let rest = &mut x[i..];
            let mut values = padded(rest);
            step(&mut values, s.load(&padded(&[1.0; LANES][..rest.len()])));
            rest.copy_from_slice(&values[..rest.len()]);
        }
    );
    let scale = 1.0 / s.sum(sum);
    x.iter_mut().for_each(|x| *x *= scale);
}
