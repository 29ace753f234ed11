//! Operations on each element alone.

use super::exp::exp;
use super::sixteens;
use crate::RopeStyle;
use crate::simd::{LANES, Simd, padded};

#[inline(always)]
fn at<T>(x: &[T], i: usize) -> &[T; LANES] {
    x[i..].first_chunk().expect("sixteen remain")
}

#[inline(always)]
fn at_mut<T>(x: &mut [T], i: usize) -> &mut [T; LANES] {
    x[i..].first_chunk_mut().expect("sixteen remain")
}

/// `y = f(y)` or `y = f(y, x)` for each element. A macro, because the compiler does not inline
/// vector instructions into closures of functions that lack the target feature.
macro_rules! map {
    ($s:ident, |$y:ident $(, $x:ident)?| $f:expr) => {{
        let target: &mut [f32] = $y;
        sixteens!(
            target.len(),
            |i| {
                let to = at_mut(target, i);
                let $y = $s.load(to);
                $(let $x = $s.load(at($x, i));)?
                $s.store($f, to);
            },
            |i| {
                let rest = &mut target[i..];
                let mut values = padded(rest);
                let $y = $s.load(&values);
                $(let $x = $s.load(&padded(&$x[i..]));)?
                $s.store($f, &mut values);
                rest.copy_from_slice(&values[..rest.len()]);
            }
        );
    }};
}

#[inline(always)]
fn sigmoid_times<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(x, s.add(s.splat(1.0), e))
}

#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: &mut [f32]) {
    map!(s, |x| sigmoid_times(s, x));
}

#[inline(always)]
pub(crate) fn silu_mul<S: Simd>(s: S, gate: &mut [f32], up: &[f32]) {
    map!(s, |gate, up| s.mul(sigmoid_times(s, gate), up));
}

#[inline(always)]
pub(crate) fn relu<S: Simd>(s: S, x: &mut [f32]) {
    map!(s, |x| s.max(x, s.splat(0.0)));
}

#[inline(always)]
pub(crate) fn relu_mul<S: Simd>(s: S, gate: &mut [f32], up: &[f32]) {
    map!(s, |gate, up| s.mul(s.max(gate, s.splat(0.0)), up));
}

#[inline(always)]
pub(crate) fn add<S: Simd>(s: S, y: &mut [f32], x: &[f32]) {
    map!(s, |y, x| s.add(y, x));
}

#[inline(always)]
pub(crate) fn to_f16<S: Simd>(s: S, x: &[f32], out: &mut [u16]) {
    sixteens!(
        x.len(),
        |i| s.to_f16(s.load(at(x, i)), at_mut(out, i)),
        |i| {
            let mut values = [0; LANES];
            s.to_f16(s.load(&padded(&x[i..])), &mut values);
            out[i..].copy_from_slice(&values[..x.len() - i]);
        }
    );
}

/// Rotates pair `i` of `head` by the angle with cosine `cos[i]` and sine `sin[i]`. What lies past
/// the last pair stays (partial RoPE).
#[inline(always)]
pub(crate) fn rope<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle) {
    match style {
        RopeStyle::Interleaved => {
            // Two floats of a pair share a register anyway; the compiler shuffles them.
            let pairs = head.as_chunks_mut::<2>().0.iter_mut();
            for ((pair, cos), sin) in pairs.zip(cos).zip(sin) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, a * sin + b * cos];
            }
        }
        RopeStyle::Half => {
            let (first, second) = head[..2 * cos.len()].split_at_mut(cos.len());
            sixteens!(
                cos.len(),
                |i| {
                    let (cos, sin) = (s.load(at(cos, i)), s.load(at(sin, i)));
                    let (a, b) = (s.load(at(first, i)), s.load(at(second, i)));
                    s.store(s.sub(s.mul(a, cos), s.mul(b, sin)), at_mut(first, i));
                    s.store(s.add(s.mul(a, sin), s.mul(b, cos)), at_mut(second, i));
                },
                |from| for i in from..cos.len() {
                    let (a, b) = (first[i], second[i]);
                    first[i] = a * cos[i] - b * sin[i];
                    second[i] = a * sin[i] + b * cos[i];
                }
            );
        }
    }
}
