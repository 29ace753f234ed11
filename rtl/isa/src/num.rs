//! Arithmetic, defined once: what the functional model computes and the RTL must reproduce
//! bit for bit.
//!
//! Scalars are IEEE binary32 with round-to-nearest-even, subnormals flushed to zero on input and
//! output (before rounding), and one NaN (`0x7fc00000`). Sums over many terms (matrix products,
//! reductions) are exact in wide fixed point and rounded once, so no result depends on the order
//! of additions or on the number of lanes.

use crate::poly_tables::{EXP2, RECIP, RSQRT, Segment};

/// The only NaN.
pub const NAN: u32 = 0x7fc0_0000;

const SIGN: u32 = 0x8000_0000;
const INF: u32 = 0x7f80_0000;

/// Flushes a subnormal to zero of the same sign and replaces any NaN by [`NAN`].
#[inline]
pub fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    if bits & INF == 0 {
        f32::from_bits(bits & SIGN)
    } else if x.is_nan() {
        f32::from_bits(NAN)
    } else {
        x
    }
}

/// Sum.
#[inline]
pub fn add(a: f32, b: f32) -> f32 {
    canonical(canonical(a) + canonical(b))
}

/// Product. A product whose magnitude is below 2^-126 before rounding is zero.
#[inline]
pub fn mul(a: f32, b: f32) -> f32 {
    let exact = f64::from(canonical(a)) * f64::from(canonical(b));
    if exact.abs() < f64::from(f32::MIN_POSITIVE) {
        return f32::from_bits(if exact.is_sign_negative() { SIGN } else { 0 });
    }
    canonical(exact as f32)
}

/// ReLU: x if its sign is clear, else +0; NaN stays NaN.
#[inline]
pub fn relu(x: f32) -> f32 {
    let x = canonical(x);
    if x.to_bits() & SIGN != 0 && !x.is_nan() {
        0.0
    } else {
        x
    }
}

/// A key whose unsigned order is the order of the values (-0 before +0, NaN above +infinity).
#[inline]
pub fn order_key(x: f32) -> u32 {
    let bits = canonical(x).to_bits();
    if bits & SIGN != 0 { !bits } else { bits | SIGN }
}

/// One segment: c0 + c1 t + c2 t^2 with t = df / 2^17, in units of 2^-27, truncating (towards
/// minus infinity) after each product.
fn evaluate(segment: Segment, df: u32) -> u32 {
    let df = i64::from(df);
    let square = (df * df) >> 17;
    let (c0, c1, c2) = segment;
    let y = i64::from(c0) + ((i64::from(c1) * df) >> 17) + ((i64::from(c2) * square) >> 17);
    y as u32
}

/// Packs a 24-bit significand that may have been rounded up to 2^24, with unbiased exponent.
fn pack(sign: u32, exponent: i32, significand: u32) -> f32 {
    let (exponent, significand) = if significand >> 24 != 0 {
        (exponent + 1, significand >> 1)
    } else {
        (exponent, significand)
    };
    if exponent < -126 {
        return f32::from_bits(sign);
    }
    if exponent > 127 {
        return f32::from_bits(sign | INF);
    }
    f32::from_bits(sign | ((exponent + 127) as u32) << 23 | (significand & 0x7f_ffff))
}

/// 2^x by a table of 128 quadratics, within 2 units in the last place: x is taken to 23
/// fractional bits (towards minus infinity). Below -126: zero; from 128: infinity.
pub fn exp2(x: f32) -> f32 {
    let x = canonical(x);
    if x.is_nan() {
        return x;
    }
    if x >= 128.0 {
        return f32::INFINITY;
    }
    if x < -126.0 {
        return 0.0;
    }
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let significand = if bits & INF == 0 {
        0
    } else {
        i64::from(bits & 0x7f_ffff | 0x80_0000)
    };
    let signed = if bits & SIGN != 0 {
        -significand
    } else {
        significand
    };
    // |x| < 128, so exponent <= 6 and the fixed-point value has 23 + 8 bits.
    let fixed = if exponent >= 0 {
        signed << exponent
    } else {
        signed >> (-exponent).min(31)
    };
    let fraction = (fixed & 0x7f_ffff) as u32;
    let y = evaluate(EXP2[(fraction >> 16) as usize], (fraction & 0xffff) << 1);
    pack(0, (fixed >> 23) as i32, (y + 8) >> 4)
}

/// 1/x by a table of 128 quadratics, within 2 units in the last place. 1/0 is infinity.
pub fn recip(x: f32) -> f32 {
    let x = canonical(x);
    let bits = x.to_bits();
    let sign = bits & SIGN;
    if x.is_nan() {
        return x;
    }
    if bits & INF == 0 {
        return f32::from_bits(sign | INF);
    }
    if bits & INF == INF {
        return f32::from_bits(sign);
    }
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let fraction = bits & 0x7f_ffff;
    let y = evaluate(RECIP[(fraction >> 16) as usize], (fraction & 0xffff) << 1);
    pack(sign, -exponent - 1, (y + 4) >> 3)
}

/// 1/sqrt(x) by a table of 128 quadratics, within 2 units in the last place. Negative x gives
/// NaN, zero of either sign gives +infinity.
pub fn rsqrt(x: f32) -> f32 {
    let x = canonical(x);
    let bits = x.to_bits();
    if x.is_nan() {
        return x;
    }
    if bits & INF == 0 {
        return f32::INFINITY;
    }
    if bits & SIGN != 0 {
        return f32::from_bits(NAN);
    }
    if bits == INF {
        return 0.0;
    }
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let fraction = bits & 0x7f_ffff;
    let odd = (exponent & 1) as u32;
    let y = evaluate(
        RSQRT[(odd << 6 | fraction >> 17) as usize],
        fraction & 0x1_ffff,
    );
    pack(0, -((exponent - odd as i32) / 2) - 1, (y + 4) >> 3)
}

/// Units in the last place of [`sum_term`]: terms are multiples of 2^-40.
pub const SUM_LSB_LOG2: i32 = -40;

/// Magnitude limit of one term of a sum; larger values (and infinities, NaN as positive) clamp.
pub const SUM_TERM_MAX: i128 = (1 << 79) - 1;

/// A term of a reduction as fixed point with 40 fractional bits, magnitude truncated.
#[inline]
pub fn sum_term(x: f32) -> i128 {
    let x = canonical(x);
    if x.is_nan() {
        return SUM_TERM_MAX;
    }
    let bits = x.to_bits();
    if bits & INF == 0 {
        return 0;
    }
    // value = significand * 2^(biased - 150)
    let shift = (bits >> 23 & 0xff) as i32 - 150 - SUM_LSB_LOG2;
    let significand = i128::from(bits & 0x7f_ffff | 0x80_0000);
    let magnitude = match shift {
        ..0 => significand >> (-shift).min(127),
        0..=55 => significand << shift,
        _ => SUM_TERM_MAX,
    };
    if bits & SIGN != 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// Rounds a fixed-point number with the given weight of its last bit to f32.
pub fn fixed_to_f32(value: i128, lsb_log2: i32) -> f32 {
    if value == 0 {
        return 0.0;
    }
    let sign = if value < 0 { SIGN } else { 0 };
    let magnitude = value.unsigned_abs();
    let top = 127 - magnitude.leading_zeros() as i32;
    let significand = if top <= 23 {
        (magnitude << (23 - top)) as u32
    } else {
        let drop = top - 23;
        let kept = (magnitude >> drop) as u32;
        let rest = magnitude & ((1 << drop) - 1);
        let half = 1u128 << (drop - 1);
        kept + u32::from(rest > half || (rest == half && kept & 1 == 1))
    };
    pack(sign, top + lsb_log2, significand)
}

/// Result of a sum reduction.
pub fn sum_to_f32(sum: i128) -> f32 {
    fixed_to_f32(sum, SUM_LSB_LOG2)
}

/// Scale of an activation block: significand 128..=255, value = significand * 2^(exponent - 38),
/// exponent 0..=47.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActScale {
    /// 8-bit significand with its leading one.
    pub significand: u8,
    /// Biased exponent.
    pub exponent: u8,
}

/// Exponent bias of [`ActScale`].
pub const ACT_SCALE_BIAS: i32 = 38;

/// Largest exponent of [`ActScale`].
pub const ACT_EXP_MAX: u8 = 47;

/// Exponents for which a scale is a normal f16.
pub const ACT_EXP_F16: (u8, u8) = (17, 46);

/// Exponents for which a scale and eight times the scale are normal f16.
pub const ACT_EXP_F16_NIBBLES: (u8, u8) = (17, 43);

const INV_127: f32 = f32::from_bits(0x3c01_0204);

/// 1/7.5: codes of 4 bits reach from -8 to 7, so that half a code is the largest error.
const INV_7_5: f32 = f32::from_bits(0x3e08_8889);

impl ActScale {
    /// The scale for a group whose largest magnitude is `amax`: amax * (1/127) in f32, rounded
    /// up to 8 significant bits, clamped to the exponents `range` (from, to).
    pub fn for_amax(amax: f32, range: (u8, u8)) -> ActScale {
        Self::rounded_up(mul(amax, INV_127), range)
    }

    /// The same for codes of 4 bits: amax * (1/7.5).
    pub fn for_nibbles(amax: f32, range: (u8, u8)) -> ActScale {
        Self::rounded_up(mul(amax, INV_7_5), range)
    }

    fn rounded_up(scale: f32, range: (u8, u8)) -> ActScale {
        let t = scale.to_bits();
        let biased = (t >> 23) as i32;
        let kept = 128 + (t >> 16 & 0x7f) + u32::from(t & 0xffff != 0);
        let (biased, kept) = if kept == 256 {
            (biased + 1, 128)
        } else {
            (biased, kept)
        };
        let exponent = biased - 127 - 7 + ACT_SCALE_BIAS;
        if t & INF == 0 || exponent < i32::from(range.0) {
            ActScale {
                significand: 128,
                exponent: range.0,
            }
        } else if exponent > i32::from(range.1) {
            ActScale {
                significand: 255,
                exponent: range.1,
            }
        } else {
            ActScale {
                significand: kept as u8,
                exponent: exponent as u8,
            }
        }
    }

    /// The factor that takes values to codes: 2^7/significand rounded to f32 (a 128-entry ROM),
    /// times the power of two.
    pub fn inverse(self) -> f32 {
        let ratio = (128.0 / f64::from(self.significand)) as f32;
        let power = 127 - (i32::from(self.exponent) - ACT_SCALE_BIAS + 7);
        mul(ratio, f32::from_bits((power as u32) << 23))
    }

    /// The scale as f32 (exact).
    pub fn to_f32(self) -> f32 {
        let biased = i32::from(self.exponent) - ACT_SCALE_BIAS + 7 + 127;
        f32::from_bits((biased as u32) << 23 | u32::from(self.significand & 0x7f) << 16)
    }

    /// The scale as binary16, exact for exponents in [`ACT_EXP_F16`]. For others the exponent
    /// field holds the low 5 bits of what it should be.
    pub fn to_f16_bits(self) -> u16 {
        u16::from(self.exponent.wrapping_sub(16) & 31) << 10
            | u16::from(self.significand & 0x7f) << 3
    }
}

/// The word of a key's header in a tile of 4-bit codes: the scale and, above it, the minimum
/// -8 x scale, both exact for exponents in [`ACT_EXP_F16_NIBBLES`].
pub fn nibble_header(scale: ActScale) -> u32 {
    let eightfold = ActScale {
        exponent: scale.exponent + 3,
        ..scale
    };
    let minimum = 0x8000 | eightfold.to_f16_bits();
    u32::from(minimum) << 16 | u32::from(scale.to_f16_bits())
}

/// Magnitude used for the scale: infinities and NaN count as the largest finite number.
#[inline]
pub fn amax_magnitude(x: f32) -> f32 {
    let bits = canonical(x).to_bits() & !SIGN;
    f32::from_bits(bits.min(INF - 1))
}

/// The code of a value: x * inverse in f32, to nearest even, clamped to +-127; NaN gives 0.
#[inline]
pub fn quantize(x: f32, inverse: f32) -> i8 {
    let scaled = mul(x, inverse);
    if scaled.is_nan() {
        return 0;
    }
    scaled.clamp(-127.0, 127.0).round_ties_even() as i8
}

/// The code of 4 bits: as [`quantize`], clamped to -8..=7.
#[inline]
pub fn quantize_nibble(x: f32, inverse: f32) -> i8 {
    quantize(x, inverse).clamp(-8, 7)
}

/// A binary16 weight scale as integer significand and shift: value = significand *
/// 2^(shift - 24). Exponent 31 is an ordinary exponent (the hardware has no f16 infinities).
#[inline]
pub fn f16_parts(bits: u16) -> (i32, u32) {
    let exponent = u32::from(bits >> 10 & 31);
    let fraction = i32::from(bits & 0x3ff);
    let magnitude = if exponent == 0 {
        fraction
    } else {
        fraction | 0x400
    };
    (
        if bits >> 15 != 0 {
            -magnitude
        } else {
            magnitude
        },
        exponent.max(1) - 1,
    )
}

/// A binary16 number as f32 by the rule of [`f16_parts`] (exact).
pub fn f16_to_f32(bits: u16) -> f32 {
    let (significand, shift) = f16_parts(bits);
    // Both factors and the product are exact in f32; -0 keeps its sign only through the product.
    let sign = if bits >> 15 != 0 && significand == 0 {
        -0.0
    } else {
        significand as f32
    };
    sign * f32::from_bits((127 + shift - 24) << 23)
}

/// Weight of the last bit of a matrix accumulator.
pub const ACC_LSB_LOG2: i32 = -24 - ACT_SCALE_BIAS;

/// One block's contribution to an output of the matrix unit, in units of 2^-62:
/// (scale * dot + minimum * sum) * activation scale, exact. `dot` is the sum of code products,
/// `sum` the sum of activation codes. Accumulators have 128 bits; a row of 2^11 blocks fits.
#[inline]
pub fn block_term(scale_f16: u16, min_f16: u16, dot: i32, sum: i32, act: ActScale) -> i128 {
    let (d, dshift) = f16_parts(scale_f16);
    let (m, mshift) = f16_parts(min_f16);
    let significand = i64::from(act.significand);
    let dterm = i128::from(i64::from(d) * i64::from(dot) * significand) << dshift;
    let mterm = i128::from(i64::from(m) * i64::from(sum) * significand) << mshift;
    (dterm + mterm) << act.exponent
}

/// An output of the matrix unit.
pub fn acc_to_f32(acc: i128) -> f32 {
    fixed_to_f32(acc, ACC_LSB_LOG2)
}

/// Dequantized weight: scale * code + minimum, each step in f32.
#[inline]
pub fn dequantize(scale_f16: u16, min_f16: u16, code: i32) -> f32 {
    add(mul(f16_to_f32(scale_f16), code as f32), f16_to_f32(min_f16))
}

/// One function's ROM: c0, c1, c2 of each segment, for the generated SystemVerilog package.
pub(crate) fn rom(name: &str) -> &'static [Segment; 128] {
    match name {
        "Exp2" => &EXP2,
        "Recip" => &RECIP,
        "Rsqrt" => &RSQRT,
        _ => unreachable!("internal name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(got: f32, want: f64) -> f64 {
        let ulp = 2f64.powi(want.abs().log2().floor() as i32 - 23);
        ((f64::from(got) - want) / ulp).abs()
    }

    #[test]
    fn exp2_recip_rsqrt_within_two_ulps() {
        let mut worst = [0f64; 3];
        for i in 0..200_000u32 {
            let m = f32::from_bits(0x3f80_0000 | (i * 42 + i / 7) & 0x7f_ffff)
                * if i % 2 == 0 { 1.0 } else { 2.0 };
            worst[0] = worst[0].max(ulps(recip(m), 1.0 / f64::from(m)));
            worst[1] = worst[1].max(ulps(rsqrt(m), 1.0 / f64::from(m).sqrt()));
            let x = (i as f32 - 100_000.0) / 8192.0;
            worst[2] = worst[2].max(ulps(exp2(x), f64::from(x).exp2()));
        }
        assert!(worst.iter().all(|&w| w < 2.0), "{worst:?}");
        assert_eq!(
            (recip(1.0), recip(2.0), rsqrt(4.0), exp2(0.0), exp2(-3.0)),
            (1.0, 0.5, 0.5, 1.0, 0.125)
        );
    }

    #[test]
    fn special_values_follow_the_definition() {
        assert_eq!(add(f32::INFINITY, f32::NEG_INFINITY).to_bits(), NAN);
        assert_eq!(mul(f32::INFINITY, 0.0).to_bits(), NAN);
        assert_eq!(mul(f32::MIN_POSITIVE, 0.75), 0.0);
        assert_eq!(add(f32::from_bits(1), 0.0).to_bits(), 0);
        assert_eq!(recip(-0.0), f32::NEG_INFINITY);
        assert_eq!(rsqrt(-1.0).to_bits(), NAN);
        assert_eq!((exp2(-127.0), exp2(128.0)), (0.0, f32::INFINITY));
        assert_eq!(relu(-1.0).to_bits(), 0);
    }

    #[test]
    fn fixed_to_f32_rounds_like_f64_conversion() {
        let mut state = 7u64;
        for _ in 0..100_000 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let v = (state as i64) >> (state % 40 + 11);
            assert_eq!(fixed_to_f32(i128::from(v), 0), v as f64 as f32);
        }
        assert_eq!(fixed_to_f32(1 << 100, -62), 2f32.powi(38));
    }

    #[test]
    fn scale_covers_the_block_and_is_tight() {
        for amax in [1e-7f32, 1e-4, 0.3, 1.0, 126.99, 127.0, 127.01, 5e4] {
            let s = ActScale::for_amax(amax, (0, ACT_EXP_MAX));
            let ratio = f64::from(amax) / f64::from(s.to_f32());
            assert!(ratio <= 127.0 + 1e-4 && ratio > 125.9, "{amax}: {ratio}");
            assert_eq!(quantize(amax, s.inverse()), ratio.round() as i8);
        }
        let zero = ActScale::for_amax(0.0, ACT_EXP_F16);
        assert_eq!((zero.significand, zero.exponent), (128, 17));
        assert_eq!(
            f16_to_f32(
                ActScale {
                    significand: 200,
                    exponent: 30
                }
                .to_f16_bits()
            ),
            ActScale {
                significand: 200,
                exponent: 30
            }
            .to_f32()
        );
    }

    #[test]
    fn nibbles_err_by_half_a_code_at_most() {
        for amax in [1e-4f32, 0.3, 7.5, 7.51, 5e4] {
            let scale = ActScale::for_nibbles(amax, ACT_EXP_F16_NIBBLES);
            for i in -100i16..=100 {
                let x = amax * f32::from(i) / 100.0;
                let code = quantize_nibble(x, scale.inverse());
                let error = (f64::from(x) / f64::from(scale.to_f32()) - f64::from(code)).abs();
                assert!((-8..=7).contains(&code) && error < 0.5001, "{x}: {error}");
            }
            let header = nibble_header(scale);
            let (low, high) = (header as u16, (header >> 16) as u16);
            assert_eq!(f16_to_f32(low), scale.to_f32());
            assert_eq!(f16_to_f32(high), -8.0 * scale.to_f32());
        }
    }

    #[test]
    fn block_term_is_the_exact_product() {
        let act = ActScale {
            significand: 131,
            exponent: 36,
        };
        let got = acc_to_f32(block_term(0x2e66, 0xb000, 1234, -56, act));
        let d = f64::from(f16_to_f32(0x2e66));
        let m = f64::from(f16_to_f32(0xb000));
        let want = (d * 1234.0 + m * -56.0) * f64::from(act.to_f32());
        assert_eq!(got, want as f32);
    }

    #[test]
    fn sum_is_exact_within_its_range() {
        assert_eq!(sum_to_f32(sum_term(1.5) + sum_term(-0.25)), 1.25);
        assert_eq!(sum_term(2f32.powi(-41)), 0);
        assert_eq!(sum_term(f32::NEG_INFINITY), -SUM_TERM_MAX);
        assert_eq!(
            sum_term(2f32.powi(38) * 1.999),
            sum_term(2f32.powi(38) * 1.999)
        );
    }
}
