//! AVX2: sixteen lanes are two registers, lanes 0..8 and 8..16.

use crate::activations::BLOCK;
use crate::backend::Backend;
use crate::float::float_backend;
use crate::ints::{GROUPS, Ints, Rows, int_backend};
use crate::simd::{LANES, Simd};
use crate::{Isa, TensorType};
use std::arch::x86_64::*;

/// The kernels; handed out only if [`detected`](Avx2::detected).
pub(crate) struct Avx2;

impl Avx2 {
    pub(crate) fn detected() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")
    }
}

impl Backend for Avx2 {
    fn isa(&self) -> Isa {
        Isa::Avx2
    }

    float_backend!(
        // SAFETY: the macro calls it only inside functions with these features.
        unsafe { Ymm::new() },
        "avx2,f16c"
    );
    int_backend!(
        // SAFETY: the macro calls it only inside functions with these features.
        unsafe { Ymm::new() },
        "avx2,f16c"
    );
}

/// Proof that the instructions may run.
#[derive(Clone, Copy)]
struct Ymm(());

impl Ymm {
    /// # Safety
    /// The processor has AVX2 and F16C.
    #[inline(always)]
    unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: a `Ymm` exists only where the instructions may run.
        unsafe { _mm256_setzero_si256() }
    }

    /// Four activations in every lane.
    ///
    /// # Safety
    /// `x` has four bytes at `4 * group`.
    #[inline(always)]
    unsafe fn four(self, x: &[i8], group: usize) -> __m256i {
        // SAFETY: promised by the caller; the instruction may run as above.
        unsafe {
            let four = x.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
            _mm256_set1_epi32(four)
        }
    }
}

/// Four bytes of 4: the distance of two lanes in a byte shuffle.
const WORD: i32 = 0x0404_0404;

/// The same for both registers. A macro, because the compiler does not inline vector
/// instructions into closures of functions that lack the target feature.
macro_rules! both {
    (|$($x:ident),+| $do:expr) => {{
        let low = {
            $(let $x = $x[0];)+
            unsafe { $do }
        };
        let high = {
            $(let $x = $x[1];)+
            unsafe { $do }
        };
        [low, high]
    }};
}

// SAFETY (of all blocks below): a `Ymm` exists only where the instructions may run; pointers come
// from references to arrays of the size that is read or written, except where a comment says more.
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all, above"
)]
impl Simd for Ymm {
    type V = [__m256; 2];
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::V {
        unsafe {
            [
                _mm256_loadu_ps(x.as_ptr()),
                _mm256_loadu_ps(x.as_ptr().add(8)),
            ]
        }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), v[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        both!(|a, b| _mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        both!(|a, b| _mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        both!(|a, b| _mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        both!(|a, b| _mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        both!(|a, b| _mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        both!(|a, b| _mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        let sign = self.splat(-0.0);
        both!(|sign, a| _mm256_andnot_ps(sign, a))
    }

    #[inline(always)]
    fn max_bits(self, a: Self::V, b: Self::V) -> Self::V {
        both!(|a, b| {
            let (a, b) = (_mm256_castps_si256(a), _mm256_castps_si256(b));
            _mm256_castsi256_ps(_mm256_max_epu32(a, b))
        })
    }

    #[inline(always)]
    fn shl23(self, a: Self::V) -> Self::V {
        both!(|a| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))))
    }

    #[inline(always)]
    fn low_bytes(self, a: Self::V, to: &mut [i8; LANES]) {
        unsafe {
            let mask = _mm256_set1_epi32(0xff);
            let (b, a) = (_mm256_castps_si256(a[1]), _mm256_castps_si256(a[0]));
            let (a, b) = (_mm256_and_si256(a, mask), _mm256_and_si256(b, mask));
            // Packing works inside 128-bit halves: 0..4, 8..12, 4..8, 12..16.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(a, b));
            let (low, high) = (
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
        }
    }

    #[inline(always)]
    fn from_f16(self, x: &[u16; LANES]) -> Self::V {
        let x = [&x[..8], &x[8..]];
        both!(|x| _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn to_f16(self, v: Self::V, to: &mut [u16; LANES]) {
        unsafe {
            for (i, v) in v.into_iter().enumerate() {
                let half = _mm256_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(v);
                _mm_storeu_si128(to.as_mut_ptr().add(8 * i).cast(), half);
            }
        }
    }

    #[inline(always)]
    fn from_bf16(self, x: &[u16; LANES]) -> Self::V {
        let x = [&x[..8], &x[8..]];
        both!(|x| {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        })
    }

    #[inline(always)]
    fn from_i8(self, x: &[i8; LANES]) -> Self::V {
        let x = [&x[..8], &x[8..]];
        both!(|x| {
            let bytes = _mm_loadl_epi64(x.as_ptr().cast());
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
        })
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        unsafe {
            let v = _mm256_add_ps(v[0], v[1]);
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
impl Ints for Ymm {
    type I = [__m256i; 2];
    const SIGNED_OFFSET: f32 = 0.0;

    #[inline(always)]
    unsafe fn transposed(self, rows: &Rows, at: usize) -> [Self::I; 4] {
        // SAFETY: the caller promises sixteen bytes in each row.
        let ([a, b, c, d], [e, f, g, h]) =
            unsafe { (transposed_eight(rows, 0, at), transposed_eight(rows, 8, at)) };
        [[a, e], [b, f], [c, g], [d, h]]
    }

    #[inline(always)]
    unsafe fn words(self, rows: &Rows, at: usize) -> Self::I {
        // SAFETY: the caller promises four bytes in each row.
        unsafe { [eight_words(rows, 0, at), eight_words(rows, 8, at)] }
    }

    #[inline(always)]
    fn load_int(self, x: &[u32; LANES]) -> Self::I {
        let x = [&x[..8], &x[8..]];
        both!(|x| _mm256_loadu_si256(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_int(self, v: Self::I, to: &mut [u32; LANES]) {
        unsafe {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), v[0]);
            _mm256_storeu_si256(to.as_mut_ptr().add(8).cast(), v[1]);
        }
    }

    #[inline(always)]
    fn int(self, x: u32) -> Self::I {
        unsafe { [_mm256_set1_epi32(x as i32); 2] }
    }

    #[inline(always)]
    fn and(self, a: Self::I, b: Self::I) -> Self::I {
        both!(|a, b| _mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn or(self, a: Self::I, b: Self::I) -> Self::I {
        both!(|a, b| _mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: Self::I) -> Self::I {
        let count = N as i32;
        both!(|a| _mm256_srl_epi32(a, _mm_cvtsi32_si128(count)))
    }

    #[inline(always)]
    fn shl<const N: u32>(self, a: Self::I) -> Self::I {
        let count = N as i32;
        both!(|a| _mm256_sll_epi32(a, _mm_cvtsi32_si128(count)))
    }

    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::V {
        both!(|a| _mm256_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn byte<const N: usize>(self, a: Self::I) -> Self::V {
        both!(|a| {
            let high = match N {
                0 => _mm256_slli_epi32::<24>(a),
                1 => _mm256_slli_epi32::<16>(a),
                2 => _mm256_slli_epi32::<8>(a),
                _ => a,
            };
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(high))
        })
    }

    #[inline(always)]
    fn low_half(self, a: Self::I) -> Self::V {
        both!(|a| {
            // Low halves to the low 64 bits of each 128, then together.
            let low = _mm256_set1_epi64x(0x0d0c_0908_0504_0100);
            let halves = _mm256_permute4x64_epi64::<0b00_00_10_00>(_mm256_shuffle_epi8(a, low));
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves))
        })
    }

    #[inline(always)]
    fn high_half(self, a: Self::I) -> Self::V {
        self.low_half(self.shr::<16>(a))
    }

    #[inline(always)]
    fn bits_to_16(self, bits: Self::I, group: usize) -> Self::I {
        let byte = (group / 2) as i32 * 0x0101_0101;
        let places = if group.is_multiple_of(2) {
            0x0804_0201
        } else {
            0x8040_2010_u32 as i32
        };
        both!(|bits| {
            let lane = _mm256_set1_epi32(byte);
            let first = _mm256_setr_epi32(0, WORD, 2 * WORD, 3 * WORD, 0, WORD, 2 * WORD, 3 * WORD);
            let pick = _mm256_add_epi32(first, lane);
            let places = _mm256_set1_epi32(places);
            let bits = _mm256_and_si256(_mm256_shuffle_epi8(bits, pick), places);
            _mm256_and_si256(_mm256_cmpeq_epi8(bits, places), _mm256_set1_epi8(0x10))
        })
    }

    #[inline(always)]
    fn signed_codes(self, codes: Self::I) -> Self::I {
        codes
    }

    #[inline(always)]
    fn dot<const N: usize, const MAX: i32>(self, codes: &[Self::I], x: &[i8]) -> Self::I {
        assert!(codes.len() >= N && x.len() >= 4 * N);
        // Products of pairs that a 16-bit lane holds: at most 2 * 127 * MAX each.
        let together = (32767 / (254 * MAX) as usize).clamp(1, N);
        let mut sum = [self.zero(); 2];
        for first in (0..N).step_by(together) {
            let mut pairs = [self.zero(); 2];
            for g in first..(first + together).min(N) {
                // SAFETY: the lengths were checked.
                let four = unsafe { self.four(x, g) };
                let codes = codes[g];
                pairs = both!(|pairs, codes| {
                    _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, four))
                });
            }
            sum = both!(|sum, pairs| {
                _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            });
        }
        sum
    }

    #[inline(always)]
    fn dot_signed(self, codes: &[Self::I; GROUPS], x: &[i8; BLOCK]) -> Self::I {
        let mut sum = [self.zero(); 2];
        for (g, &codes) in codes.iter().enumerate() {
            // SAFETY: a block has this group.
            let four = unsafe { self.four(x, g) };
            // |code| <= 128 as an unsigned byte, and |x| <= 127: a pair is at most 32512.
            sum = both!(|sum, codes| {
                let signed = _mm256_sign_epi8(four, codes);
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), signed);
                _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            });
        }
        sum
    }

    #[inline(always)]
    fn prefetch(self, x: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(x.cast()) }
    }
}

/// Sixteen bytes of rows `first..first + 8`, transposed as [`Ints::transposed`] says.
///
/// # Safety
/// The rows have sixteen bytes at `at`; the processor has AVX2.
#[inline(always)]
unsafe fn transposed_eight(rows: &Rows, first: usize, at: usize) -> [__m256i; 4] {
    // SAFETY: promised by the caller.
    unsafe {
        let (a, b) = (row_pair(rows, first, at), row_pair(rows, first + 1, at));
        let (c, d) = (row_pair(rows, first + 2, at), row_pair(rows, first + 3, at));
        let (ab0, ab1) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd0, cd1) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(ab0, cd0),
            _mm256_unpackhi_epi64(ab0, cd0),
            _mm256_unpacklo_epi64(ab1, cd1),
            _mm256_unpackhi_epi64(ab1, cd1),
        ]
    }
}

/// Sixteen bytes of rows `first` and `first + 4`.
///
/// # Safety
/// As [`transposed_eight`].
#[inline(always)]
unsafe fn row_pair(rows: &Rows, first: usize, at: usize) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let low = _mm256_castsi128_si256(_mm_loadu_si128(rows[first].add(at).cast()));
        _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(rows[first + 4].add(at).cast()))
    }
}

/// Four bytes of rows `first..first + 8`.
///
/// # Safety
/// The rows have four bytes at `at`; the processor has AVX2.
#[inline(always)]
unsafe fn eight_words(rows: &Rows, first: usize, at: usize) -> __m256i {
    let mut words = [0; 8];
    for (i, word) in words.iter_mut().enumerate() {
        // SAFETY: promised by the caller.
        *word = unsafe { rows[first + i].add(at).cast::<i32>().read_unaligned() };
    }
    let [a, b, c, d, e, f, g, h] = words;
    // SAFETY: promised by the caller.
    unsafe { _mm256_setr_epi32(a, b, c, d, e, f, g, h) }
}
