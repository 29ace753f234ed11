//! The exponential function.

use crate::simd::Simd;

/// Below this the result is zero: 2^-126 is the smallest power of two with a full mantissa.
const LOWEST: f32 = -87.3;
/// Above this the result stays at about 2.4e38.
const HIGHEST: f32 = 88.37;
/// What the polynomial gives at `LOWEST`; taken off every result, so that -inf gives exactly 0.
/// Results above 2^-100 do not change.
const FLOOR: u32 = 0x0084_c38b;
/// 1.5 * 2^23: adding and subtracting it rounds to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;

/// `e^x` to about 2 units in the last place; 0 below -87.3, about 2.4e38 above 88.37.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    s.sub(exp_above_zero(s, x), s.splat(f32::from_bits(FLOOR)))
}

#[inline(always)]
fn exp_above_zero<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.max(x, s.splat(LOWEST)), s.splat(HIGHEST));
    // x = n ln 2 + r, |r| <= ln 2 / 2. The integer n is in the low bits of `shifted`.
    let shifted = s.add(
        s.mul(x, s.splat(std::f32::consts::LOG2_E)),
        s.splat(ROUND + 127.0),
    );
    let n = s.sub(shifted, s.splat(ROUND + 127.0));
    // ln 2 in two parts; the first has few bits, so that n times it is exact.
    let r = s.sub(x, s.mul(n, s.splat(0.693_359_4)));
    let r = s.sub(r, s.mul(n, s.splat(-2.121_944_4e-4)));
    let mut p = s.splat(1.987_569_1e-4);
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = s.add(s.mul(p, r), s.splat(c));
    }
    let p = s.add(s.add(s.mul(s.mul(r, r), p), r), s.splat(1.0));
    s.mul(p, s.shl23(shifted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;

    fn one(x: f32) -> f32 {
        exp(Portable, Portable.splat(x))[0]
    }

    #[test]
    fn it_is_close_to_the_exact_value() {
        for i in -87_000..=88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(one(x)) - exact).abs() / exact;
            assert!(error < 3e-7 || exact < 1e-30, "exp({x}) is off by {error}");
        }
    }

    #[test]
    fn its_ends_are_exact() {
        assert_eq!(one(0.0), 1.0);
        assert_eq!(one(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(one(-1000.0).to_bits(), 0);
        let floor = exp_above_zero(Portable, Portable.splat(LOWEST))[0];
        assert_eq!(floor.to_bits(), FLOOR, "{:#010x}", floor.to_bits());
        assert!(one(1000.0).is_finite());
    }
}
