//! Products of bytes, the one thing in which ARM64 processors differ.

use super::ints::Words;
use crate::ints::GROUPS;
use std::arch::aarch64::*;
use std::arch::asm;

/// Instructions for integer dot products.
pub(crate) trait Products: Copy + Send + Sync + 'static {
    /// Dot product of `4 N` signed codes of each row, of magnitude at most `MAX`, with `x`. `N` is
    /// a multiple of four.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn dot<const N: usize, const MAX: i32>(codes: &[Words], x: &[i8]) -> Words;

    /// See [`Ints::PAIRS`](crate::ints::Ints::PAIRS).
    const PAIRS: bool = false;

    /// Dot products of `4 N` codes, rearranged by [`pack`], with two rows of activations.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn dots<const N: usize>(_codes: &[Words], _x: [&[i8]; 2]) -> [Words; 2] {
        unreachable!("asked for where PAIRS is false")
    }
}

/// Of two groups of four columns: the first vector gets all eight columns of rows 0 and 1 of each
/// register, the second those of rows 2 and 3.
#[inline(always)]
pub(super) fn pack(codes: [Words; GROUPS]) -> [Words; GROUPS] {
    std::array::from_fn(|g| {
        let (a, b) = (codes[g / 2 * 2], codes[g / 2 * 2 + 1]);
        std::array::from_fn(|r| {
            // SAFETY: every ARM64 processor that runs this program has NEON.
            unsafe {
                match g % 2 {
                    0 => vzip1q_u32(a[r], b[r]),
                    _ => vzip2q_u32(a[r], b[r]),
                }
            }
        })
    })
}

/// Multiplications that double the width.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

impl Products for Widening {
    #[inline(always)]
    unsafe fn dot<const N: usize, const MAX: i32>(codes: &[Words], x: &[i8]) -> Words {
        assert!(codes.len() >= N && x.len() >= 4 * N);
        // Products that a 16-bit lane holds: at most 127 * MAX each.
        let together = (32767 / (127 * MAX) as usize).clamp(1, N);
        // SAFETY: the lengths were checked; every ARM64 processor has NEON.
        unsafe {
            // Sums of pairs of columns: rows 0 and 1 of a register, then rows 2 and 3.
            let mut sums = [[vdupq_n_s32(0); 2]; 4];
            for first in (0..N).step_by(together) {
                let mut products = [[vdupq_n_s16(0); 2]; 4];
                for g in first..(first + together).min(N) {
                    let four = x.as_ptr().add(4 * g).cast::<i32>().read_unaligned();
                    let x = vreinterpretq_s8_s32(vdupq_n_s32(four));
                    for (products, codes) in products.iter_mut().zip(codes[g]) {
                        let codes = vreinterpretq_s8_u32(codes);
                        let low = (vget_low_s8(codes), vget_low_s8(x));
                        products[0] = vmlal_s8(products[0], low.0, low.1);
                        products[1] = vmlal_high_s8(products[1], codes, x);
                    }
                }
                for (sums, products) in sums.iter_mut().zip(products) {
                    sums[0] = vpadalq_s16(sums[0], products[0]);
                    sums[1] = vpadalq_s16(sums[1], products[1]);
                }
            }
            let row = |sums: [int32x4_t; 2]| vreinterpretq_u32_s32(vpaddq_s32(sums[0], sums[1]));
            [row(sums[0]), row(sums[1]), row(sums[2]), row(sums[3])]
        }
    }
}

/// `sdot`: four products and their sum in each lane.
#[derive(Clone, Copy)]
pub(crate) struct Quads;

/// Adds the products of one group of four columns, number `$lane` of those in `$x`.
macro_rules! sdot {
    ($sums:ident, $codes:expr, $x:ident, $lane:literal) => {{
        let [c0, c1, c2, c3] = $codes;
        asm!(
            // The function that this becomes part of has the feature; a closure may not.
            ".arch_extension dotprod",
            concat!("sdot {s0:v}.4s, {c0:v}.16b, {x:v}.4b[", $lane, "]"),
            concat!("sdot {s1:v}.4s, {c1:v}.16b, {x:v}.4b[", $lane, "]"),
            concat!("sdot {s2:v}.4s, {c2:v}.16b, {x:v}.4b[", $lane, "]"),
            concat!("sdot {s3:v}.4s, {c3:v}.16b, {x:v}.4b[", $lane, "]"),
            s0 = inout(vreg) $sums[0], s1 = inout(vreg) $sums[1],
            s2 = inout(vreg) $sums[2], s3 = inout(vreg) $sums[3],
            c0 = in(vreg) c0, c1 = in(vreg) c1, c2 = in(vreg) c2, c3 = in(vreg) c3,
            x = in(vreg) $x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }};
}

impl Products for Quads {
    #[inline(always)]
    unsafe fn dot<const N: usize, const MAX: i32>(codes: &[Words], x: &[i8]) -> Words {
        assert!(codes.len() >= N && x.len() >= 4 * N && N.is_multiple_of(4));
        // SAFETY: the lengths were checked; the instruction is promised by the caller.
        unsafe {
            let mut sums = [vdupq_n_u32(0); 4];
            for g in (0..N).step_by(4) {
                let x = vld1q_s8(x.as_ptr().add(4 * g));
                sdot!(sums, codes[g], x, 0);
                sdot!(sums, codes[g + 1], x, 1);
                sdot!(sums, codes[g + 2], x, 2);
                sdot!(sums, codes[g + 3], x, 3);
            }
            sums
        }
    }
}

/// Adds the products of two rows of each register with the two rows in `$x`.
macro_rules! smmla {
    ($sums:ident, $codes:expr, $x:ident) => {{
        let [c0, c1, c2, c3] = $codes;
        asm!(
            ".arch_extension i8mm",
            "smmla {s0:v}.4s, {c0:v}.16b, {x:v}.16b",
            "smmla {s1:v}.4s, {c1:v}.16b, {x:v}.16b",
            "smmla {s2:v}.4s, {c2:v}.16b, {x:v}.16b",
            "smmla {s3:v}.4s, {c3:v}.16b, {x:v}.16b",
            s0 = inout(vreg) $sums[0], s1 = inout(vreg) $sums[1],
            s2 = inout(vreg) $sums[2], s3 = inout(vreg) $sums[3],
            c0 = in(vreg) c0, c1 = in(vreg) c1, c2 = in(vreg) c2, c3 = in(vreg) c3,
            x = in(vreg) $x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }};
}

/// `smmla`: two rows of eight bytes times two columns of eight.
#[derive(Clone, Copy)]
pub(crate) struct Matrices;

impl Products for Matrices {
    #[inline(always)]
    unsafe fn dot<const N: usize, const MAX: i32>(codes: &[Words], x: &[i8]) -> Words {
        // SAFETY: the caller promises both extensions.
        unsafe { Quads::dot::<N, MAX>(codes, x) }
    }

    const PAIRS: bool = true;

    #[inline(always)]
    unsafe fn dots<const N: usize>(codes: &[Words], x: [&[i8]; 2]) -> [Words; 2] {
        assert!(codes.len() >= N && x.iter().all(|x| x.len() >= 4 * N) && N.is_multiple_of(2));
        // SAFETY: the lengths were checked; the instruction is promised by the caller.
        unsafe {
            // Of two rows: both products of the first, both of the second.
            let mut low = [vdupq_n_u32(0); 4];
            let mut high = low;
            for g in (0..N).step_by(2) {
                let [first, second] = x.map(|x| vld1_s8(x.as_ptr().add(4 * g)));
                let x = vcombine_s8(first, second);
                smmla!(low, codes[g], x);
                smmla!(high, codes[g + 1], x);
            }
            let first = |q: usize| vuzp1q_u32(low[q], high[q]);
            let second = |q: usize| vuzp2q_u32(low[q], high[q]);
            [
                [first(0), first(1), first(2), first(3)],
                [second(0), second(1), second(2), second(3)],
            ]
        }
    }
}
