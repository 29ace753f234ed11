//! f32 lanes: four registers of four.

use super::{Lanes, Products};
use crate::simd::{LANES, Simd};
use std::arch::aarch64::*;
use std::arch::asm;

/// Sixteen f32.
pub(crate) type Floats = [float32x4_t; 4];

#[inline(always)]
fn both(a: Floats, b: Floats, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Floats {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

/// Four binary16 to f32; the instruction has been there from the first ARM64 on.
#[inline(always)]
pub(super) fn widen(halves: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: touches nothing but its registers.
    unsafe {
        asm!("fcvtl {wide:v}.4s, {halves:v}.4h", wide = lateout(vreg) wide, halves = in(vreg) halves,
             options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

#[inline(always)]
fn narrow(wide: float32x4_t) -> uint16x4_t {
    let halves: uint16x4_t;
    // SAFETY: touches nothing but its registers.
    unsafe {
        asm!("fcvtn {halves:v}.4h, {wide:v}.4s", halves = lateout(vreg) halves, wide = in(vreg) wide,
             options(pure, nomem, nostack, preserves_flags));
    }
    halves
}

// SAFETY (of all blocks below): every ARM64 processor that runs this program has NEON; pointers
// come from references to arrays of the size that is read or written.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all, above"
)]
impl<P: Products> Simd for Lanes<P> {
    type V = Floats;
    // Of 32 registers, four for each.
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> Floats {
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Floats {
        unsafe {
            let x = x.as_ptr();
            [
                vld1q_f32(x),
                vld1q_f32(x.add(4)),
                vld1q_f32(x.add(8)),
                vld1q_f32(x.add(12)),
            ]
        }
    }

    #[inline(always)]
    fn store(self, v: Floats, to: &mut [f32; LANES]) {
        unsafe {
            let to = to.as_mut_ptr();
            vst1q_f32(to, v[0]);
            vst1q_f32(to.add(4), v[1]);
            vst1q_f32(to.add(8), v[2]);
            vst1q_f32(to.add(12), v[3]);
        }
    }

    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        both(a, b, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn sub(self, a: Floats, b: Floats) -> Floats {
        both(a, b, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        both(a, b, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn div(self, a: Floats, b: Floats) -> Floats {
        both(a, b, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    fn max(self, a: Floats, b: Floats) -> Floats {
        // Not `fmax`, which treats NaN and zeros in another way.
        both(a, b, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn min(self, a: Floats, b: Floats) -> Floats {
        both(a, b, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn abs(self, a: Floats) -> Floats {
        a.map(|a| unsafe { vabsq_f32(a) })
    }

    #[inline(always)]
    fn max_bits(self, a: Floats, b: Floats) -> Floats {
        both(a, b, |a, b| unsafe {
            let (a, b) = (vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b));
            vreinterpretq_f32_u32(vmaxq_u32(a, b))
        })
    }

    #[inline(always)]
    fn shl23(self, a: Floats) -> Floats {
        a.map(|a| unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a))) })
    }

    #[inline(always)]
    fn low_bytes(self, a: Floats, to: &mut [i8; LANES]) {
        unsafe {
            let narrow = |v: float32x4_t| vmovn_u32(vreinterpretq_u32_f32(v));
            let low = vmovn_u16(vcombine_u16(narrow(a[0]), narrow(a[1])));
            let high = vmovn_u16(vcombine_u16(narrow(a[2]), narrow(a[3])));
            vst1q_u8(to.as_mut_ptr().cast(), vcombine_u8(low, high));
        }
    }

    #[inline(always)]
    fn from_f16(self, x: &[u16; LANES]) -> Floats {
        unsafe {
            let x = x.as_ptr();
            [
                widen(vld1_u16(x)),
                widen(vld1_u16(x.add(4))),
                widen(vld1_u16(x.add(8))),
                widen(vld1_u16(x.add(12))),
            ]
        }
    }

    #[inline(always)]
    fn to_f16(self, v: Floats, to: &mut [u16; LANES]) {
        unsafe {
            let to = to.as_mut_ptr();
            vst1_u16(to, narrow(v[0]));
            vst1_u16(to.add(4), narrow(v[1]));
            vst1_u16(to.add(8), narrow(v[2]));
            vst1_u16(to.add(12), narrow(v[3]));
        }
    }

    #[inline(always)]
    fn from_bf16(self, x: &[u16; LANES]) -> Floats {
        unsafe {
            let part = |at: usize| {
                let bits = vshll_n_u16::<16>(vld1_u16(x.as_ptr().add(at)));
                vreinterpretq_f32_u32(bits)
            };
            [part(0), part(4), part(8), part(12)]
        }
    }

    #[inline(always)]
    fn from_i8(self, x: &[i8; LANES]) -> Floats {
        unsafe {
            let bytes = vld1q_s8(x.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ]
        }
    }

    #[inline(always)]
    fn sum(self, v: Floats) -> f32 {
        unsafe {
            let four = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
}
