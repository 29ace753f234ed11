//! Integer tiles: sixteen rows of a block format times some tokens, written once over [`Ints`].
//!
//! The sixteen lanes of a vector are sixteen rows. Weights of a block are loaded row by row and
//! transposed, so that a vector holds four consecutive codes of every row; four activations are
//! broadcast against it. So a block's dot products need no sum across lanes, and the f32 steps
//! that follow are one operation for sixteen rows, block after block, in the same order whatever
//! the number of tokens.

mod formats;
mod tile;

pub(crate) use formats::{Format, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
pub(crate) use tile::{buffered, direct};

use crate::activations::BLOCK;
use crate::backend::TILE_ROWS;
use crate::simd::{LANES, Simd};

/// Four-byte groups in a block.
pub(crate) const GROUPS: usize = BLOCK / 4;

/// Starts of sixteen rows that are equally long.
pub(crate) type Rows = [*const u8; TILE_ROWS];

/// Sixteen 32-bit lanes and products of bytes.
pub(crate) trait Ints: Simd {
    /// Sixteen lanes of 32 bits, or of four bytes.
    type I: Copy;
    /// What [`signed_codes`](Self::signed_codes) adds to each code.
    const SIGNED_OFFSET: f32;

    /// Sixteen bytes at `at` of each row: vector `g` holds bytes `4 g .. 4 g + 4`, lane `r` row `r`.
    ///
    /// # Safety
    /// Bytes `at..at + 16` of each row can be read.
    unsafe fn transposed(self, rows: &Rows, at: usize) -> [Self::I; 4];
    /// Four bytes at `at` of each row.
    ///
    /// # Safety
    /// Bytes `at..at + 4` of each row can be read.
    unsafe fn words(self, rows: &Rows, at: usize) -> Self::I;

    fn load_int(self, x: &[u32; LANES]) -> Self::I;
    fn store_int(self, v: Self::I, to: &mut [u32; LANES]);
    fn int(self, x: u32) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    fn shr<const N: u32>(self, a: Self::I) -> Self::I;
    fn shl<const N: u32>(self, a: Self::I) -> Self::I;
    /// Each lane, signed, as f32.
    fn to_float(self, a: Self::I) -> Self::V;
    /// Byte `N` of each lane, signed, as f32.
    fn byte<const N: usize>(self, a: Self::I) -> Self::V;
    /// The binary16 in the low half of each lane.
    fn low_half(self, a: Self::I) -> Self::V;
    /// The binary16 in the high half of each lane.
    fn high_half(self, a: Self::I) -> Self::V;
    /// Bit `4 group + j` of each lane as 0x10 or 0 in byte `j`.
    fn bits_to_16(self, bits: Self::I, group: usize) -> Self::I;

    /// What [`dot_signed`](Self::dot_signed) wants to be given for signed codes.
    fn signed_codes(self, codes: Self::I) -> Self::I;
    /// Dot product of `4 N` codes in `0..=MAX` of each row with `x`.
    fn dot<const N: usize, const MAX: i32>(self, codes: &[Self::I], x: &[i8]) -> Self::I;
    /// Dot product of a block of such codes, the offset left in, with `x`.
    fn dot_signed(self, codes: &[Self::I; GROUPS], x: &[i8; BLOCK]) -> Self::I;

    /// Whether [`dots`](Self::dots) is faster than [`dot`](Self::dot) twice.
    const PAIRS: bool = false;
    /// Codes of a block as [`dots`](Self::dots) wants them.
    fn packed(self, codes: [Self::I; GROUPS]) -> [Self::I; GROUPS] {
        codes
    }
    /// Dot products of `4 N` packed codes, signed or not, of each row with two rows of activations.
    fn dots<const N: usize>(self, codes: &[Self::I], x: [&[i8]; 2]) -> [Self::I; 2] {
        let _ = (codes, x);
        unreachable!("asked for where PAIRS is false")
    }

    /// Asks for the cache line at `x`, which need not exist.
    fn prefetch(self, x: *const u8);
}

/// The integer methods of [`Backend`](crate::backend::Backend) for a vector type; see
/// [`float_backend`](crate::float::float_backend).
macro_rules! int_backend {
    ($simd:expr, $feature:literal) => {
        fn tile(
            &self,
            tile: &crate::backend::Tile<'_>,
            x: crate::activations::Tokens<'_>,
            out: &mut [[f32; crate::backend::TILE_ROWS]],
        ) {
            use crate::activations::Tokens;
            use crate::backend::{TILE_ROWS, Tile};
            use crate::ints::{self, Format};

            type Out = [[f32; TILE_ROWS]];

            #[target_feature(enable = $feature)]
            fn direct<F: Format, const N: usize>(tile: &Tile<'_>, x: Tokens<'_>, out: &mut Out) {
                ints::direct::<_, F, N>($simd, tile, x, out);
            }

            #[target_feature(enable = $feature)]
            fn buffered<F: Format>(tile: &Tile<'_>, x: Tokens<'_>, out: &mut Out) {
                ints::buffered::<_, F>($simd, tile, x, out);
            }

            #[target_feature(enable = $feature)]
            fn float(tile: &Tile<'_>, x: Tokens<'_>, out: &mut Out) {
                crate::float::tile($simd, tile, x, out);
            }

            #[target_feature(enable = $feature)]
            fn plain(tile: &Tile<'_>, x: Tokens<'_>, out: &mut Out) {
                crate::scalar::code_tile(tile, x, out);
            }

            #[target_feature(enable = $feature)]
            fn by_count<F: Format>(tile: &Tile<'_>, x: Tokens<'_>, out: &mut Out) {
                match x.count {
                    1 => direct::<F, 1>(tile, x, out),
                    2 => direct::<F, 2>(tile, x, out),
                    3 => {
                        direct::<F, 2>(tile, x.part(0, 2), out);
                        direct::<F, 1>(tile, x.part(2, 1), &mut out[2..]);
                    }
                    4 => direct::<F, 4>(tile, x, out),
                    _ => buffered::<F>(tile, x, out),
                }
            }

            // SAFETY: this backend is handed out only after its features were detected.
            unsafe {
                match tile.ty {
                    TensorType::F32 | TensorType::F16 | TensorType::BF16 => float(tile, x, out),
                    TensorType::Q4_0 => by_count::<ints::Q4_0>(tile, x, out),
                    TensorType::Q4_1 => by_count::<ints::Q4_1>(tile, x, out),
                    TensorType::Q5_0 => by_count::<ints::Q5_0>(tile, x, out),
                    TensorType::Q5_1 => by_count::<ints::Q5_1>(tile, x, out),
                    TensorType::Q8_0 => by_count::<ints::Q8_0>(tile, x, out),
                    TensorType::Q4_K => by_count::<ints::Q4_K>(tile, x, out),
                    TensorType::Q5_K => by_count::<ints::Q5_K>(tile, x, out),
                    TensorType::Q6_K => by_count::<ints::Q6_K>(tile, x, out),
                    TensorType::Q2_1
                    | TensorType::Q3_1
                    | TensorType::Q6_1
                    | TensorType::Q4_2OF4
                    | TensorType::Q4_4OF16 => plain(tile, x, out),
                }
            }
        }

        fn dot_row(&self, ty: TensorType, row: &[u8], x: crate::activations::Tokens<'_>) -> f32 {
            #[target_feature(enable = $feature)]
            fn entry(ty: TensorType, row: &[u8], x: crate::activations::Tokens<'_>) -> f32 {
                crate::scalar::dot_row($simd, ty, row, x)
            }
            // SAFETY: as above.
            unsafe { entry(ty, row, x) }
        }

        fn axpy_row(&self, ty: TensorType, row: &[u8], a: f32, y: &mut [f32]) {
            #[target_feature(enable = $feature)]
            fn entry(ty: TensorType, row: &[u8], a: f32, y: &mut [f32]) {
                crate::scalar::axpy_row($simd, ty, row, a, y);
            }
            // SAFETY: as above.
            unsafe { entry(ty, row, a, y) }
        }

        fn dequantize(&self, ty: TensorType, row: &[u8], out: &mut [f32]) {
            crate::scalar::dequantize(ty, row, out);
        }
    };
}
pub(crate) use int_backend;
