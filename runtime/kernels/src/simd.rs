//! Sixteen f32 lanes, the unit in which all float kernels are written.
//!
//! A value of a type that implements [`Simd`] is the proof that its instructions may run: vector
//! types make it only after detection. Each operation is IEEE, lane by lane, so generic code gives
//! the same bits on every implementation; there is no fused multiply-add on purpose.

/// Lanes of a vector, whatever registers it takes.
pub(crate) const LANES: usize = 16;

/// Operations on sixteen f32 lanes.
#[allow(
    clippy::wrong_self_convention,
    reason = "the receiver is the proof, not the value"
)]
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen lanes.
    type V: Copy;
    /// Vectors that stay in registers in an inner loop, accumulators and operands together.
    const REGISTERS: usize;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, x: &[f32; LANES]) -> Self::V;
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a > b ? a : b` (so `b` if either is NaN, or both are zeros).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The bits of each lane without the sign.
    fn abs(self, a: Self::V) -> Self::V;
    /// The greater bit pattern, as unsigned numbers: keeps NaN if no lane is negative.
    fn max_bits(self, a: Self::V, b: Self::V) -> Self::V;
    /// The bits of each lane shifted left by 23: makes exponents of low integers.
    fn shl23(self, a: Self::V) -> Self::V;
    /// The low eight bits of each lane.
    fn low_bytes(self, a: Self::V, to: &mut [i8; LANES]);
    /// Exactly, denormals and infinities too.
    fn from_f16(self, x: &[u16; LANES]) -> Self::V;
    /// To the nearest, ties to even.
    fn to_f16(self, v: Self::V, to: &mut [u16; LANES]);
    fn from_bf16(self, x: &[u16; LANES]) -> Self::V;
    fn from_i8(self, x: &[i8; LANES]) -> Self::V;
    /// Adds lanes `l` and `l + 8`, then `l + 4`, `l + 2`, `l + 1`.
    fn sum(self, v: Self::V) -> f32;
}

/// Plain arrays; what the compiler makes of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

impl Simd for Portable {
    type V = [f32; LANES];
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::V {
        *x
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        *to = v;
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(|l| a[l] + b[l])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(|l| a[l] - b[l])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(|l| a[l] * b[l])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each(|l| a[l] / b[l])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each(|l| if a[l] < b[l] { a[l] } else { b[l] })
    }

    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        each(|l| f32::from_bits(a[l].to_bits() & 0x7fff_ffff))
    }

    #[inline(always)]
    fn max_bits(self, a: Self::V, b: Self::V) -> Self::V {
        each(|l| f32::from_bits(a[l].to_bits().max(b[l].to_bits())))
    }

    #[inline(always)]
    fn shl23(self, a: Self::V) -> Self::V {
        each(|l| f32::from_bits(a[l].to_bits() << 23))
    }

    #[inline(always)]
    fn low_bytes(self, a: Self::V, to: &mut [i8; LANES]) {
        *to = std::array::from_fn(|l| a[l].to_bits() as i8);
    }

    #[inline(always)]
    fn from_f16(self, x: &[u16; LANES]) -> Self::V {
        each(|l| f16_to_f32(x[l]))
    }

    #[inline(always)]
    fn to_f16(self, v: Self::V, to: &mut [u16; LANES]) {
        *to = std::array::from_fn(|l| half::f16::from_f32(v[l]).to_bits());
    }

    #[inline(always)]
    fn from_bf16(self, x: &[u16; LANES]) -> Self::V {
        each(|l| f32::from_bits(u32::from(x[l]) << 16))
    }

    #[inline(always)]
    fn from_i8(self, x: &[i8; LANES]) -> Self::V {
        each(|l| f32::from(x[l]))
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut v = v;
        for half in [8, 4, 2, 1] {
            for l in 0..half {
                v[l] += v[l + half];
            }
        }
        v[0]
    }
}

/// Binary16 to f32, exactly; the quiet bit of a NaN is set, as processors do.
///
/// Without a branch: the exponent is moved by a multiplication with a power of two, which also
/// normalizes denormals; what was infinite or NaN overflows the halves' range and is patched.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let scaled = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let quiet = if magnitude > 0x0f80_0000 {
        0x0040_0000
    } else {
        0
    };
    let special = magnitude | 0x7f80_0000 | quiet;
    let value = if magnitude >= 0x0f80_0000 {
        special
    } else {
        scaled.to_bits()
    };
    f32::from_bits(value | u32::from(bits & 0x8000) << 16)
}

/// The next sixteen values at `at`, zeros past the end.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(x: &[T]) -> [T; LANES] {
    let mut out = [T::default(); LANES];
    for (to, from) in out.iter_mut().zip(x) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_converts_exactly() {
        for bits in 0..=u16::MAX {
            let ours = f16_to_f32(bits);
            let theirs = half::f16::from_bits(bits).to_f32();
            let same = ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan());
            assert!(same, "{bits:#06x}: {ours} and {theirs}");
        }
    }
}
