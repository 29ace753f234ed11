//! Blocks of 32 codes from every block format.

use crate::TensorType;
use crate::activations::BLOCK;
use crate::simd::f16_to_f32;

/// 32 weights: element `j` is `scale * halves[j / 16] * codes[j] + min`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coded {
    /// Without the format's implied offset.
    pub(crate) codes: [i8; BLOCK],
    pub(crate) scale: f32,
    /// Integer scales of elements 0..16 and 16..32; 1 except in Q6_K.
    pub(crate) halves: [i32; 2],
    /// `None` in formats that have no minimum.
    pub(crate) min: Option<f32>,
}

/// Block `index` (of 32 elements) of a row of a block format.
#[inline(always)]
pub(crate) fn coded(ty: TensorType, row: &[u8], index: usize) -> Coded {
    let per_block = ty.block_len() / BLOCK;
    let block = &row[index / per_block * ty.block_bytes()..][..ty.block_bytes()];
    let part = index % per_block;
    match ty {
        TensorType::Q4_0 => simple(block, false, minus(nibbles(&block[2..]), 8)),
        TensorType::Q4_1 => simple(block, true, nibbles(&block[4..])),
        TensorType::Q5_0 => simple(block, false, minus(five_bits(&block[2..]), 16)),
        TensorType::Q5_1 => simple(block, true, five_bits(&block[4..])),
        TensorType::Q8_0 => {
            let codes = block[2..].first_chunk().expect("32 bytes of codes");
            simple(block, false, codes.map(|code| code as i8))
        }
        TensorType::Q4_K => {
            let codes = half_bytes(&block[16..], part);
            with_six_bit_scales(block, part, codes)
        }
        TensorType::Q5_K => {
            let mut codes = half_bytes(&block[48..], part);
            for (code, high) in codes.iter_mut().zip(&block[16..]) {
                *code |= ((high >> part & 1) << 4) as i8;
            }
            with_six_bit_scales(block, part, codes)
        }
        TensorType::Q6_K => six_bit(block, part),
        TensorType::Q2_1 | TensorType::Q3_1 | TensorType::Q6_1 => {
            simple(block, true, packed_codes(&block[4..]))
        }
        TensorType::Q4_2OF4 => simple(block, false, kept_codes::<2, 4, 6>(&block[2..], part)),
        TensorType::Q4_4OF16 => simple(block, false, kept_codes::<4, 16, 8>(&block[2..], part)),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
            unreachable!("float formats have no codes")
        }
    }
}

/// The binary16 at `at`.
#[inline(always)]
pub(crate) fn half_at(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Elements 0..16 are low halves of sixteen bytes, 16..32 high ones.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [i8; BLOCK] {
    let mut codes = [0; BLOCK];
    let (low, high) = codes.split_at_mut(BLOCK / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = (byte & 0xf) as i8;
        *high = (byte >> 4) as i8;
    }
    codes
}

/// Four bytes of fifth bits, then nibbles.
#[inline(always)]
fn five_bits(bytes: &[u8]) -> [i8; BLOCK] {
    let mut codes = nibbles(&bytes[4..]);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= ((bytes[j / 8] >> (j % 8) & 1) << 4) as i8;
    }
    codes
}

/// Unsigned codes of fewer than eight bits, one after another.
#[inline(always)]
fn packed_codes(bytes: &[u8]) -> [i8; BLOCK] {
    let bits = bytes.len() * 8 / BLOCK;
    std::array::from_fn(|j| field(bytes, bits, j) as i8)
}

/// Bits `bits * j .. bits * (j + 1)`, little-endian; at most eight.
#[inline(always)]
fn field(bytes: &[u8], bits: usize, j: usize) -> u8 {
    let at = bits * j;
    let high = bytes
        .get(at / 8 + 1)
        .map_or(0, |&byte| u16::from(byte) << 8);
    let pair = u16::from(bytes[at / 8]) | high;
    (pair >> (at % 8)) as u8 & (0xff >> (8 - bits))
}

/// 32 columns of a sparse block, of which each `GROUP` keep `KEPT`: zeros where none is kept.
#[inline(always)]
fn kept_codes<const KEPT: usize, const GROUP: usize, const BITS: usize>(
    bytes: &[u8],
    part: usize,
) -> [i8; BLOCK] {
    let mut codes = [0; BLOCK];
    let fields = BLOCK / GROUP * KEPT;
    for j in 0..fields {
        let field = field(bytes, BITS, part * fields + j);
        codes[GROUP * (j / KEPT) + usize::from(field >> 4)] = (field << 4) as i8 >> 4;
    }
    codes
}

#[inline(always)]
fn minus(codes: [i8; BLOCK], offset: i8) -> [i8; BLOCK] {
    codes.map(|code| code - offset)
}

#[inline(always)]
fn simple(block: &[u8], has_min: bool, codes: [i8; BLOCK]) -> Coded {
    Coded {
        codes,
        scale: half_at(block, 0),
        halves: [1; 2],
        min: has_min.then(|| half_at(block, 2)),
    }
}

/// Two parts of 32 share 32 bytes: even ones the low halves, odd ones the high halves.
#[inline(always)]
fn half_bytes(bytes: &[u8], part: usize) -> [i8; BLOCK] {
    let bytes: &[u8; BLOCK] = bytes[part / 2 * BLOCK..].first_chunk().expect("32 bytes");
    bytes.map(|byte| (byte >> (part % 2 * 4) & 0xf) as i8)
}

/// The 6-bit scales and minima of the eight parts of a Q4_K or Q5_K super-block: four of each in
/// the low bits of bytes 0..8, the other four split between bytes 8..12 and the high bits.
#[inline(always)]
pub(crate) fn six_bit_scales(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|k| packed[4 * i + k]));
    let (a, b, c) = (word(0), word(1), word(2));
    let low = 0x3f3f_3f3f;
    let high = 0x0303_0303;
    let scales = [a & low, c & 0x0f0f_0f0f | (a >> 6 & high) << 4];
    let mins = [b & low, c >> 4 & 0x0f0f_0f0f | (b >> 6 & high) << 4];
    let bytes = |words: [u32; 2]| {
        let all = u64::from(words[0]) | u64::from(words[1]) << 32;
        all.to_le_bytes()
    };
    (bytes(scales), bytes(mins))
}

/// Q4_K and Q5_K: eight parts, each with a 6-bit scale and minimum.
#[inline(always)]
fn with_six_bit_scales(block: &[u8], part: usize, codes: [i8; BLOCK]) -> Coded {
    let packed = block[4..].first_chunk().expect("a super-block");
    let (scales, mins) = six_bit_scales(packed);
    Coded {
        codes,
        scale: half_at(block, 0) * f32::from(scales[part]),
        halves: [1; 2],
        min: Some(-(half_at(block, 2) * f32::from(mins[part]))),
    }
}

/// Q6_K: two halves of 128 elements, each four parts whose low bits share 64 bytes.
#[inline(always)]
fn six_bit(block: &[u8], part: usize) -> Coded {
    let (half, group) = (part / 4, part % 4);
    let low = &block[half * 64 + group % 2 * 32..][..BLOCK];
    let high = &block[128 + half * 32..][..BLOCK];
    let scale = |i: usize| i32::from(block[192 + part * 2 + i] as i8);
    Coded {
        codes: std::array::from_fn(|j| {
            let low = low[j] >> (group / 2 * 4) & 0xf;
            (low | (high[j] >> (group * 2) & 3) << 4) as i8 - 32
        }),
        scale: half_at(block, 208),
        halves: [scale(0), scale(1)],
        min: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::{dequantize, is_float};

    /// The codes give the elements that the reference gives, to the last rounding.
    #[test]
    fn codes_agree_with_the_reference() {
        let mut state = 1u32;
        for ty in TensorType::all().filter(|ty| !is_float(*ty)) {
            for _ in 0..50 {
                let mut block: Vec<u8> = (0..ty.block_bytes())
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    })
                    .collect();
                // Finite scales: clear an exponent bit of each half-precision field.
                for at in [1, 3, 209] {
                    if let Some(byte) = block.get_mut(at) {
                        *byte &= 0xbf;
                    }
                }
                let mut exact = vec![0.0; ty.block_len()];
                dequantize(ty, &block, &mut exact);
                for (i, exact) in exact.chunks(BLOCK).enumerate() {
                    let c = coded(ty, &block, i);
                    for (j, exact) in exact.iter().enumerate() {
                        let ours = c.scale * (c.halves[j / 16] * i32::from(c.codes[j])) as f32
                            + c.min.unwrap_or(0.0);
                        let close = (ours - exact).abs() <= exact.abs() * 1e-6;
                        assert!(close, "{ty} {i} {j}: {ours} and {exact}");
                    }
                }
            }
        }
    }
}
