//! Norms and softmax: sums over a vector, sixteen partial sums each.

use super::exp::exp;
use super::sixteens;
use crate::simd::{LANES, Simd, padded};

/// Sum of an expression of `x`; it must give 0 for the padding, where `exists` is 0 instead of 1.
/// (Macros here instead of closures: see `elementwise`.)
macro_rules! sum_of {
    ($s:ident, |$x:ident, $exists:ident| $f:expr) => {{
        let mut sum = $s.splat(0.0);
        sixteens!(
            $x.len(),
            |i| {
                let $exists = $s.splat(1.0);
                let $x = $s.load($x[i..].first_chunk().expect("sixteen remain"));
                sum = $s.add(sum, $s.mul($f, $exists));
            },
            |i| {
                let $exists = $s.load(&padded(&[1.0; LANES][..$x.len() - i]));
                let $x = $s.load(&padded(&$x[i..]));
                sum = $s.add(sum, $s.mul($f, $exists));
            }
        );
        $s.sum(sum)
    }};
}

/// `out =` an expression of elements of the slices named.
macro_rules! map_to {
    ($s:ident, $out:ident, |$x:ident $(, $more:ident)+| $f:expr) => {
        sixteens!(
            $x.len(),
            |i| {
                let $x = $s.load($x[i..].first_chunk().expect("sixteen remain"));
                $(let $more = $s.load($more[i..].first_chunk().expect("sixteen remain"));)+
                $s.store($f, $out[i..].first_chunk_mut().expect("sixteen remain"));
            },
            |i| {
                let count = $x.len() - i;
                let $x = $s.load(&padded(&$x[i..]));
                $(let $more = $s.load(&padded(&$more[i..]));)+
                let mut values = [0.0; LANES];
                $s.store($f, &mut values);
                $out[i..].copy_from_slice(&values[..count]);
            }
        )
    };
}

#[inline(always)]
pub(crate) fn rms_norm<S: Simd>(s: S, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let squares = sum_of!(s, |x, exists| s.mul(x, x));
    let scale = s.splat(1.0 / (squares / x.len() as f32 + eps).sqrt());
    map_to!(s, out, |x, weight| s.mul(s.mul(x, scale), weight));
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
    let mean = s.splat(sum_of!(s, |x, exists| x) / n);
    let squares = sum_of!(s, |x, exists| {
        let d = s.sub(x, mean);
        s.mul(d, d)
    });
    let scale = s.splat(1.0 / (squares / n + eps).sqrt());
    map_to!(s, out, |x, weight, bias| {
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
    sixteens!(
        x.len(),
        |i| {
            let x = x[i..].first_chunk_mut().expect("sixteen remain");
            let e = exp(s, s.sub(s.load(x), max));
            sum = s.add(sum, e);
            s.store(e, x);
        },
        |i| {
            let rest = &mut x[i..];
            let exists = s.load(&padded(&[1.0; LANES][..rest.len()]));
            let mut values = padded(rest);
            let e = s.mul(exp(s, s.sub(s.load(&values), max)), exists);
            sum = s.add(sum, e);
            s.store(e, &mut values);
            rest.copy_from_slice(&values[..rest.len()]);
        }
    );
    let scale = 1.0 / s.sum(sum);
    x.iter_mut().for_each(|x| *x *= scale);
}
