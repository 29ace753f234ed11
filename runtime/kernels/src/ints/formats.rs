//! Unpacking of sixteen rows' blocks, for each block format.

use super::{GROUPS, Ints, Rows};
use crate::TensorType;

/// A block of 32 columns of sixteen rows.
#[derive(Clone, Copy)]
pub(crate) struct Block<S: Ints> {
    /// Codes with the format's offset left in (never negative), except for signed formats.
    pub(super) codes: [S::I; GROUPS],
    pub(super) scale: S::V,
    /// Used if the format has minima.
    pub(super) min: S::V,
    /// Integer scales of columns 0..16 and 16..32, used if the format has them.
    pub(super) halves: [S::V; 2],
}

/// Takes blocks in order.
pub(crate) trait Sink<S: Ints> {
    fn block(&mut self, s: S, index: usize, block: Block<S>);
}

/// A block format.
#[allow(
    non_camel_case_types,
    reason = "ggml's names are the terms of the field"
)]
pub(crate) trait Format {
    const TY: TensorType;
    /// Taken off every code.
    const OFFSET: f32 = 0.0;
    /// Largest code.
    const MAX: i32;
    const HAS_MIN: bool = false;
    const HAS_HALVES: bool = false;
    /// Codes are signed bytes.
    const SIGNED: bool = false;

    /// Unpacks ggml block `index`, which is one block of 32 columns or eight, and hands the blocks
    /// to `sink`.
    ///
    /// # Safety
    /// Each row has that block.
    unsafe fn unpack<S: Ints>(s: S, rows: &Rows, index: usize, sink: &mut impl Sink<S>);
}

/// Low and high halves of the bytes of four vectors: codes of a block with 16 bytes of nibbles.
#[inline(always)]
fn nibbles<S: Ints>(s: S, bytes: [S::I; 4]) -> [S::I; GROUPS] {
    let mask = s.int(0x0f0f_0f0f);
    let mut codes = [mask; GROUPS];
    for g in 0..4 {
        codes[g] = s.and(bytes[g], mask);
        codes[g + 4] = s.and(s.shr::<4>(bytes[g]), mask);
    }
    codes
}

#[inline(always)]
fn simple<S: Ints>(s: S, codes: [S::I; GROUPS], scale: S::V, min: S::V) -> Block<S> {
    Block {
        codes,
        scale,
        min,
        halves: [s.splat(1.0); 2],
    }
}

/// Declares a format whose ggml block is one block.
macro_rules! simple_format {
    ($name:ident, $max:literal, $offset:literal, $has_min:literal, $signed:literal, $codes:expr) => {
        #[allow(
            non_camel_case_types,
            reason = "ggml's names are the terms of the field"
        )]
        pub(crate) struct $name;

        impl Format for $name {
            const TY: TensorType = TensorType::$name;
            const OFFSET: f32 = $offset;
            const MAX: i32 = $max;
            const HAS_MIN: bool = $has_min;
            const SIGNED: bool = $signed;

            #[inline(always)]
            unsafe fn unpack<S: Ints>(s: S, rows: &Rows, index: usize, sink: &mut impl Sink<S>) {
                let at = index * const { TensorType::$name.block_bytes() };
                // SAFETY: the caller promises the block; all reads lie inside.
                let (header, codes) = unsafe { (s.words(rows, at), $codes(s, rows, at)) };
                let min = match $has_min {
                    true => s.high_half(header),
                    false => s.splat(0.0),
                };
                sink.block(s, index, simple(s, codes, s.low_half(header), min));
            }
        }
    };
}

simple_format!(Q4_0, 15, 8.0, false, false, four_bits::<S, 2>);
simple_format!(Q4_1, 15, 0.0, true, false, four_bits::<S, 4>);
simple_format!(Q5_0, 31, 16.0, false, false, five_bits::<S, 2>);
simple_format!(Q5_1, 31, 0.0, true, false, five_bits::<S, 4>);
simple_format!(Q8_0, 127, 0.0, false, true, eight_bits);

/// # Safety
/// Bytes up to `at + HEADER + 16` exist in each row.
#[inline(always)]
unsafe fn four_bits<S: Ints, const HEADER: usize>(s: S, rows: &Rows, at: usize) -> [S::I; GROUPS] {
    // SAFETY: promised by the caller.
    nibbles(s, unsafe { s.transposed(rows, at + HEADER) })
}

/// # Safety
/// Bytes up to `at + HEADER + 20` exist in each row.
#[inline(always)]
unsafe fn five_bits<S: Ints, const HEADER: usize>(s: S, rows: &Rows, at: usize) -> [S::I; GROUPS] {
    // SAFETY: promised by the caller.
    let (high, low) = unsafe {
        (
            s.words(rows, at + HEADER),
            s.transposed(rows, at + HEADER + 4),
        )
    };
    let mut codes = nibbles(s, low);
    for g in 0..GROUPS {
        codes[g] = s.or(codes[g], s.bits_to_16(high, g));
    }
    codes
}

/// # Safety
/// Bytes up to `at + 34` exist in each row.
#[inline(always)]
unsafe fn eight_bits<S: Ints>(s: S, rows: &Rows, at: usize) -> [S::I; GROUPS] {
    // SAFETY: promised by the caller.
    let mut codes = unsafe { wide(s, rows, at + 2) };
    for g in 0..GROUPS {
        codes[g] = s.signed_codes(codes[g]);
    }
    codes
}

/// 32 bytes at `at` of each row.
///
/// # Safety
/// They exist.
#[inline(always)]
unsafe fn wide<S: Ints>(s: S, rows: &Rows, at: usize) -> [S::I; GROUPS] {
    // SAFETY: promised by the caller.
    let (low, high) = unsafe { (s.transposed(rows, at), s.transposed(rows, at + 16)) };
    let ([a, b, c, d], [e, f, g, h]) = (low, high);
    [a, b, c, d, e, f, g, h]
}

/// Scales and minima of the eight blocks of a Q4_K or Q5_K super-block.
///
/// # Safety
/// Bytes `at..at + 16` exist in each row.
#[inline(always)]
unsafe fn six_bit_scales<S: Ints>(s: S, rows: &Rows, at: usize) -> [[S::V; 2]; 8] {
    // SAFETY: promised by the caller.
    let [header, a, b, c] = unsafe { s.transposed(rows, at) };
    let (d, min) = (s.low_half(header), s.high_half(header));
    let min = s.sub(s.splat(0.0), min);
    let (six, four, two) = (s.int(0x3f3f_3f3f), s.int(0x0f0f_0f0f), s.int(0x3030_3030));
    let scales = [
        s.and(a, six),
        s.or(s.and(c, four), s.and(s.shr::<2>(a), two)),
    ];
    let mins = [
        s.and(b, six),
        s.or(s.and(s.shr::<4>(c), four), s.and(s.shr::<2>(b), two)),
    ];
    let mut pairs = [[d; 2]; 8];
    for word in 0..2 {
        let (scale, offset) = (scales[word], mins[word]);
        let factors = [
            [s.byte::<0>(scale), s.byte::<0>(offset)],
            [s.byte::<1>(scale), s.byte::<1>(offset)],
            [s.byte::<2>(scale), s.byte::<2>(offset)],
            [s.byte::<3>(scale), s.byte::<3>(offset)],
        ];
        for (i, [scale, offset]) in factors.into_iter().enumerate() {
            pairs[4 * word + i] = [s.mul(d, scale), s.mul(min, offset)];
        }
    }
    pairs
}

/// 4-bit codes in super-blocks of 256.
#[allow(
    non_camel_case_types,
    reason = "ggml's names are the terms of the field"
)]
pub(crate) struct Q4_K;

impl Format for Q4_K {
    const TY: TensorType = TensorType::Q4_K;
    const MAX: i32 = 15;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Ints>(s: S, rows: &Rows, index: usize, sink: &mut impl Sink<S>) {
        let at = index * const { TensorType::Q4_K.block_bytes() };
        // SAFETY: promised by the caller, here and below.
        let scales = unsafe { six_bit_scales(s, rows, at) };
        let mask = s.int(0x0f0f_0f0f);
        for pair in 0..4 {
            // SAFETY: as above.
            let bytes = unsafe { wide(s, rows, at + 16 + 32 * pair) };
            let (mut low, mut high) = (bytes, bytes);
            for g in 0..GROUPS {
                low[g] = s.and(bytes[g], mask);
                high[g] = s.and(s.shr::<4>(bytes[g]), mask);
            }
            for (i, codes) in [low, high].into_iter().enumerate() {
                let [scale, min] = scales[2 * pair + i];
                sink.block(s, index * 8 + 2 * pair + i, simple(s, codes, scale, min));
            }
        }
    }
}

/// 5-bit codes in super-blocks of 256.
#[allow(
    non_camel_case_types,
    reason = "ggml's names are the terms of the field"
)]
pub(crate) struct Q5_K;

impl Format for Q5_K {
    const TY: TensorType = TensorType::Q5_K;
    const MAX: i32 = 31;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Ints>(s: S, rows: &Rows, index: usize, sink: &mut impl Sink<S>) {
        let at = index * const { TensorType::Q5_K.block_bytes() };
        // SAFETY: promised by the caller, here and below.
        let scales = unsafe { six_bit_scales(s, rows, at) };
        // SAFETY: as above.
        let mut top = unsafe { wide(s, rows, at + 16) };
        let (mask, bit) = (s.int(0x0f0f_0f0f), s.int(0x1010_1010));
        for pair in 0..4 {
            // SAFETY: as above.
            let bytes = unsafe { wide(s, rows, at + 48 + 32 * pair) };
            // Bits 2 pair and 2 pair + 1 of each byte of `top` are now its lowest two.
            let (mut low, mut high) = (bytes, bytes);
            for g in 0..GROUPS {
                let fifth = s.and(s.shl::<4>(top[g]), bit);
                low[g] = s.or(s.and(bytes[g], mask), fifth);
                let fifth = s.and(s.shl::<3>(top[g]), bit);
                high[g] = s.or(s.and(s.shr::<4>(bytes[g]), mask), fifth);
                top[g] = s.shr::<2>(top[g]);
            }
            for (i, codes) in [low, high].into_iter().enumerate() {
                let [scale, min] = scales[2 * pair + i];
                sink.block(s, index * 8 + 2 * pair + i, simple(s, codes, scale, min));
            }
        }
    }
}

/// 6-bit codes in super-blocks of 256.
#[allow(
    non_camel_case_types,
    reason = "ggml's names are the terms of the field"
)]
pub(crate) struct Q6_K;

impl Format for Q6_K {
    const TY: TensorType = TensorType::Q6_K;
    const OFFSET: f32 = 32.0;
    const MAX: i32 = 63;
    const HAS_HALVES: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Ints>(s: S, rows: &Rows, index: usize, sink: &mut impl Sink<S>) {
        let at = index * const { TensorType::Q6_K.block_bytes() };
        // SAFETY: promised by the caller, here and below. The last word would leave the block, so
        // its two bytes before are read too.
        let scale = s.high_half(unsafe { s.words(rows, at + 206) });
        // SAFETY: as above.
        let scales = unsafe { s.transposed(rows, at + 192) };
        let (four, two) = (s.int(0x0f0f_0f0f), s.int(0x3030_3030));
        for part in 0..8 {
            let (half, group) = (part / 4, part % 4);
            // SAFETY: as above.
            let (low, high) = unsafe {
                (
                    wide(s, rows, at + half * 64 + group % 2 * 32),
                    wide(s, rows, at + 128 + half * 32),
                )
            };
            let mut codes = low;
            for g in 0..GROUPS {
                let low = match group / 2 {
                    0 => low[g],
                    _ => s.shr::<4>(low[g]),
                };
                let high = match group {
                    0 => s.shl::<4>(high[g]),
                    1 => s.shl::<2>(high[g]),
                    2 => high[g],
                    _ => s.shr::<2>(high[g]),
                };
                codes[g] = s.or(s.and(low, four), s.and(high, two));
            }
            let word = scales[part / 2];
            let halves = match part % 2 {
                0 => [s.byte::<0>(word), s.byte::<1>(word)],
                _ => [s.byte::<2>(word), s.byte::<3>(word)],
            };
            let block = Block {
                codes,
                scale,
                min: scale,
                halves,
            };
            sink.block(s, index * 8 + part, block);
        }
    }
}
