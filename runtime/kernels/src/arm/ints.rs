//! Lanes of 32 bits and of bytes.

use super::float::{Floats, widen};
use super::{Lanes, Products};
use crate::activations::BLOCK;
use crate::ints::{GROUPS, Ints, Rows};
use crate::simd::LANES;
use std::arch::aarch64::*;
use std::arch::asm;

/// Sixteen lanes of 32 bits.
pub(crate) type Words = [uint32x4_t; 4];

#[inline(always)]
fn both(a: Words, b: Words, f: impl Fn(uint32x4_t, uint32x4_t) -> uint32x4_t) -> Words {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

/// Each lane signed, as f32, after a shift to the left and one to the right.
#[inline(always)]
fn signed<const LEFT: i32, const RIGHT: i32>(a: Words) -> Floats {
    // SAFETY: as below.
    a.map(|a| unsafe {
        let a = vshlq_s32(vreinterpretq_s32_u32(a), vdupq_n_s32(LEFT));
        vcvtq_f32_s32(vshlq_s32(a, vdupq_n_s32(-RIGHT)))
    })
}

// SAFETY (of all blocks below): every ARM64 processor that runs this program has NEON; pointers
// come from references to arrays of the size that is read or written, except where a comment says
// more.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all, above"
)]
impl<P: Products> Ints for Lanes<P> {
    type I = Words;
    const SIGNED_OFFSET: f32 = 0.0;

    #[inline(always)]
    unsafe fn transposed(self, rows: &Rows, at: usize) -> [Words; 4] {
        // SAFETY: the caller promises sixteen bytes in each row.
        let four = |r: usize| unsafe {
            let row = |r: usize| vreinterpretq_u32_u8(vld1q_u8(rows[r].add(at)));
            let (a, b, c, d) = (row(r), row(r + 1), row(r + 2), row(r + 3));
            let pairs = |a, b| {
                (
                    vreinterpretq_u64_u32(vtrn1q_u32(a, b)),
                    vreinterpretq_u64_u32(vtrn2q_u32(a, b)),
                )
            };
            let ((ab0, ab1), (cd0, cd1)) = (pairs(a, b), pairs(c, d));
            [
                vreinterpretq_u32_u64(vtrn1q_u64(ab0, cd0)),
                vreinterpretq_u32_u64(vtrn1q_u64(ab1, cd1)),
                vreinterpretq_u32_u64(vtrn2q_u64(ab0, cd0)),
                vreinterpretq_u32_u64(vtrn2q_u64(ab1, cd1)),
            ]
        };
        let (a, b, c, d) = (four(0), four(4), four(8), four(12));
        std::array::from_fn(|g| [a[g], b[g], c[g], d[g]])
    }

    #[inline(always)]
    unsafe fn words(self, rows: &Rows, at: usize) -> Words {
        // SAFETY: the caller promises four bytes in each row.
        let four = |r: usize| unsafe {
            let word = |r: usize| rows[r].add(at).cast::<u32>().read_unaligned();
            let words = [word(r), word(r + 1), word(r + 2), word(r + 3)];
            vld1q_u32(words.as_ptr())
        };
        [four(0), four(4), four(8), four(12)]
    }

    #[inline(always)]
    fn load_int(self, x: &[u32; LANES]) -> Words {
        unsafe {
            let x = x.as_ptr();
            [
                vld1q_u32(x),
                vld1q_u32(x.add(4)),
                vld1q_u32(x.add(8)),
                vld1q_u32(x.add(12)),
            ]
        }
    }

    #[inline(always)]
    fn store_int(self, v: Words, to: &mut [u32; LANES]) {
        unsafe {
            let to = to.as_mut_ptr();
            vst1q_u32(to, v[0]);
            vst1q_u32(to.add(4), v[1]);
            vst1q_u32(to.add(8), v[2]);
            vst1q_u32(to.add(12), v[3]);
        }
    }

    #[inline(always)]
    fn int(self, x: u32) -> Words {
        unsafe { [vdupq_n_u32(x); 4] }
    }

    #[inline(always)]
    fn and(self, a: Words, b: Words) -> Words {
        both(a, b, |a, b| unsafe { vandq_u32(a, b) })
    }

    #[inline(always)]
    fn or(self, a: Words, b: Words) -> Words {
        both(a, b, |a, b| unsafe { vorrq_u32(a, b) })
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: Words) -> Words {
        a.map(|a| unsafe { vshlq_u32(a, vdupq_n_s32(-(N as i32))) })
    }

    #[inline(always)]
    fn shl<const N: u32>(self, a: Words) -> Words {
        a.map(|a| unsafe { vshlq_u32(a, vdupq_n_s32(N as i32)) })
    }

    #[inline(always)]
    fn to_float(self, a: Words) -> Floats {
        signed::<0, 0>(a)
    }

    #[inline(always)]
    fn byte<const N: usize>(self, a: Words) -> Floats {
        match N {
            0 => signed::<24, 24>(a),
            1 => signed::<16, 24>(a),
            2 => signed::<8, 24>(a),
            _ => signed::<0, 24>(a),
        }
    }

    #[inline(always)]
    fn low_half(self, a: Words) -> Floats {
        a.map(|a| unsafe { widen(vmovn_u32(a)) })
    }

    #[inline(always)]
    fn high_half(self, a: Words) -> Floats {
        a.map(|a| unsafe { widen(vshrn_n_u32::<16>(a)) })
    }

    #[inline(always)]
    fn bits_to_16(self, bits: Words, group: usize) -> Words {
        // The byte that holds the bits, four times in each lane.
        let byte = (group / 2) as u32 * 0x0101_0101;
        let places = match group % 2 {
            0 => 0x0804_0201,
            _ => 0x8040_2010,
        };
        bits.map(|bits| unsafe {
            let first = [0u32, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c];
            let pick = vaddq_u32(vld1q_u32(first.as_ptr()), vdupq_n_u32(byte));
            let bits = vqtbl1q_u8(vreinterpretq_u8_u32(bits), vreinterpretq_u8_u32(pick));
            let set = vtstq_u8(bits, vreinterpretq_u8_u32(vdupq_n_u32(places)));
            vreinterpretq_u32_u8(vandq_u8(set, vdupq_n_u8(0x10)))
        })
    }

    #[inline(always)]
    fn signed_codes(self, codes: Words) -> Words {
        codes
    }

    #[inline(always)]
    fn dot<const N: usize, const MAX: i32>(self, codes: &[Words], x: &[i8]) -> Words {
        // SAFETY: a `Lanes<P>` exists only where the instructions of `P` may run.
        unsafe { P::dot::<N, MAX>(codes, x) }
    }

    #[inline(always)]
    fn dot_signed(self, codes: &[Words; GROUPS], x: &[i8; BLOCK]) -> Words {
        // SAFETY: as above.
        unsafe { P::dot::<GROUPS, 128>(codes, x) }
    }

    const PAIRS: bool = P::PAIRS;

    #[inline(always)]
    fn packed(self, codes: [Words; GROUPS]) -> [Words; GROUPS] {
        super::products::pack(codes)
    }

    #[inline(always)]
    fn dots<const N: usize>(self, codes: &[Words], x: [&[i8]; 2]) -> [Words; 2] {
        // SAFETY: as above.
        unsafe { P::dots::<N>(codes, x) }
    }

    #[inline(always)]
    fn prefetch(self, x: *const u8) {
        // A prefetch of any address is harmless.
        unsafe {
            asm!("prfm pldl1keep, [{x}]", x = in(reg) x,
                 options(nostack, preserves_flags, readonly));
        }
    }
}
