//! AVX-512 with VNNI: sixteen lanes are one register.

use crate::activations::BLOCK;
use crate::backend::Backend;
use crate::float::float_backend;
use crate::ints::{GROUPS, Ints, Rows, int_backend};
use crate::simd::{LANES, Simd};
use crate::{Isa, TensorType};
use std::arch::x86_64::*;

/// The kernels; handed out only if [`detected`](Avx512::detected).
pub(crate) struct Avx512;

impl Avx512 {
    pub(crate) fn detected() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
    }
}

impl Backend for Avx512 {
    fn isa(&self) -> Isa {
        Isa::Avx512Vnni
    }

    float_backend!(
        // SAFETY: the macro calls it only inside functions with these features.
        unsafe { Zmm::new() },
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c"
    );
    int_backend!(
        // SAFETY: the macro calls it only inside functions with these features.
        unsafe { Zmm::new() },
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c"
    );
}

/// Proof that the instructions may run.
#[derive(Clone, Copy)]
struct Zmm(());

impl Zmm {
    /// # Safety
    /// The processor has AVX-512 F, BW, DQ, VL, VNNI.
    #[inline(always)]
    unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY (of all blocks below): a `Zmm` exists only where the instructions may run; pointers come
// from references to arrays of the size that is read or written, except where a comment says more.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all, above"
)]
impl Simd for Zmm {
    type V = __m512;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> __m512 {
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: __m512, to: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    fn max_bits(self, a: __m512, b: __m512) -> __m512 {
        unsafe {
            let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(_mm512_max_epu32(a, b))
        }
    }

    #[inline(always)]
    fn shl23(self, a: __m512) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
    }

    #[inline(always)]
    fn low_bytes(self, a: __m512, to: &mut [i8; LANES]) {
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_castps_si512(a));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn from_f16(self, x: &[u16; LANES]) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn to_f16(self, v: __m512, to: &mut [u16; LANES]) {
        unsafe {
            let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), half);
        }
    }

    #[inline(always)]
    fn from_bf16(self, x: &[u16; LANES]) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn from_i8(self, x: &[i8; LANES]) -> __m512 {
        unsafe {
            let bytes = _mm_loadu_si128(x.as_ptr().cast());
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
        }
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        unsafe {
            let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }
}

// SAFETY: as above.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all, above"
)]
impl Ints for Zmm {
    type I = __m512i;
    const SIGNED_OFFSET: f32 = 128.0;

    #[inline(always)]
    unsafe fn transposed(self, rows: &Rows, at: usize) -> [__m512i; 4] {
        // SAFETY: the caller promises sixteen bytes in each row.
        unsafe {
            let (a, b) = (every_fourth(rows, 0, at), every_fourth(rows, 1, at));
            let (c, d) = (every_fourth(rows, 2, at), every_fourth(rows, 3, at));
            let (ab0, ab1) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd0, cd1) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab0, cd0),
                _mm512_unpackhi_epi64(ab0, cd0),
                _mm512_unpacklo_epi64(ab1, cd1),
                _mm512_unpackhi_epi64(ab1, cd1),
            ]
        }
    }

    #[inline(always)]
    unsafe fn words(self, rows: &Rows, at: usize) -> __m512i {
        // SAFETY: the caller promises four bytes in each row.
        unsafe {
            let v = _mm512_castsi128_si512(four_words(rows, 0, at));
            let v = _mm512_inserti32x4::<1>(v, four_words(rows, 4, at));
            let v = _mm512_inserti32x4::<2>(v, four_words(rows, 8, at));
            _mm512_inserti32x4::<3>(v, four_words(rows, 12, at))
        }
    }

    #[inline(always)]
    fn load_int(self, x: &[u32; LANES]) -> __m512i {
        unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_int(self, v: __m512i, to: &mut [u32; LANES]) {
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn int(self, x: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(x as i32) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_srli_epi32::<N>(a) }
    }

    #[inline(always)]
    fn shl<const N: u32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_slli_epi32::<N>(a) }
    }

    #[inline(always)]
    fn to_float(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn byte<const N: usize>(self, a: __m512i) -> __m512 {
        unsafe {
            let high = match N {
                0 => _mm512_slli_epi32::<24>(a),
                1 => _mm512_slli_epi32::<16>(a),
                2 => _mm512_slli_epi32::<8>(a),
                _ => a,
            };
            _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(high))
        }
    }

    #[inline(always)]
    fn low_half(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)) }
    }

    #[inline(always)]
    fn high_half(self, a: __m512i) -> __m512 {
        self.low_half(self.shr::<16>(a))
    }

    #[inline(always)]
    fn bits_to_16(self, bits: __m512i, group: usize) -> __m512i {
        let byte = (group / 2) as i32 * 0x0101_0101;
        let places = if group.is_multiple_of(2) {
            0x0804_0201
        } else {
            0x8040_2010_u32 as i32
        };
        unsafe {
            let lane = _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
            let pick = _mm512_add_epi32(lane, _mm512_set1_epi32(byte));
            let bits = _mm512_shuffle_epi8(bits, pick);
            let set = _mm512_test_epi8_mask(bits, _mm512_set1_epi32(places));
            _mm512_maskz_set1_epi8(set, 0x10)
        }
    }

    #[inline(always)]
    fn signed_codes(self, codes: __m512i) -> __m512i {
        // Adds 128: the multiplier takes unsigned bytes.
        unsafe { _mm512_xor_si512(codes, _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    fn dot<const N: usize, const MAX: i32>(self, codes: &[__m512i], x: &[i8]) -> __m512i {
        assert!(codes.len() >= N && x.len() >= 4 * N);
        let mut sum = unsafe { _mm512_setzero_si512() };
        for (g, &codes) in codes.iter().enumerate().take(N) {
            // SAFETY: the lengths were checked.
            unsafe {
                let four = x.as_ptr().add(4 * g).cast::<i32>().read_unaligned();
                sum = _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(four));
            }
        }
        sum
    }

    #[inline(always)]
    fn dot_signed(self, codes: &[__m512i; GROUPS], x: &[i8; BLOCK]) -> __m512i {
        self.dot::<GROUPS, 255>(codes, x)
    }

    #[inline(always)]
    fn prefetch(self, x: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(x.cast()) }
    }
}

/// Sixteen bytes of rows `first`, `first + 4`, `first + 8` and `first + 12`.
///
/// # Safety
/// The rows have sixteen bytes at `at`; the processor has AVX-512 F.
#[inline(always)]
unsafe fn every_fourth(rows: &Rows, first: usize, at: usize) -> __m512i {
    // SAFETY: promised by the caller.
    unsafe {
        let v = _mm512_castsi128_si512(_mm_loadu_si128(rows[first].add(at).cast()));
        let v = _mm512_inserti32x4::<1>(v, _mm_loadu_si128(rows[first + 4].add(at).cast()));
        let v = _mm512_inserti32x4::<2>(v, _mm_loadu_si128(rows[first + 8].add(at).cast()));
        _mm512_inserti32x4::<3>(v, _mm_loadu_si128(rows[first + 12].add(at).cast()))
    }
}

/// Four bytes of rows `first..first + 4`.
///
/// # Safety
/// The rows have four bytes at `at`.
#[inline(always)]
unsafe fn four_words(rows: &Rows, first: usize, at: usize) -> __m128i {
    let mut words = [0; 4];
    for (i, word) in words.iter_mut().enumerate() {
        // SAFETY: promised by the caller.
        *word = unsafe { rows[first + i].add(at).cast::<i32>().read_unaligned() };
    }
    let [a, b, c, d] = words;
    // SAFETY: every x86-64 has SSE2.
    unsafe { _mm_setr_epi32(a, b, c, d) }
}
