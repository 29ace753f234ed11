//! Dequantization to f32, in the operation order of ggml's reference functions.

use super::{QK, SparseBlock, TensorType, f16_at, whole_blocks};
use crate::{Error, Result};
use lampyris_isa::format::unpack_code;

/// Writes the elements of `data` to `out` as f32, bit-exact with ggml's reference.
///
/// `data` is any whole number of blocks; `out` has as many elements as they hold.
///
/// # Errors
/// [`Error::Block`] if the two lengths do not fit each other.
pub fn dequantize_row(ty: TensorType, data: &[u8], out: &mut [f32]) -> Result<()> {
    let blocks = whole_blocks(ty, data)?;
    if out.len() != blocks * ty.block_len() {
        return Err(Error::Block {
            ty: ty.name(),
            problem: format!(
                "{blocks} blocks hold {} elements, but the output has {}",
                blocks * ty.block_len(),
                out.len()
            ),
            hint: "size the output as blocks times block length",
        });
    }
    match ty {
        TensorType::F32 => each::<4>(data, out, |b| f32::from_le_bytes(*b)),
        TensorType::F16 => each::<2>(data, out, |b| half::f16::from_le_bytes(*b).to_f32()),
        TensorType::BF16 => {
            each::<2>(data, out, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)
            });
        }
        TensorType::Q4_0 => blocks_of(ty, data, out, q4_0),
        TensorType::Q4_1 => blocks_of(ty, data, out, q4_1),
        TensorType::Q5_0 => blocks_of(ty, data, out, q5_0),
        TensorType::Q5_1 => blocks_of(ty, data, out, q5_1),
        TensorType::Q8_0 => blocks_of(ty, data, out, q8_0),
        TensorType::Q4_K => blocks_of(ty, data, out, q4_k),
        TensorType::Q5_K => blocks_of(ty, data, out, q5_k),
        TensorType::Q6_K => blocks_of(ty, data, out, q6_k),
        TensorType::Q2_1 => blocks_of(ty, data, out, packed::<2>),
        TensorType::Q3_1 => blocks_of(ty, data, out, packed::<3>),
        TensorType::Q6_1 => blocks_of(ty, data, out, packed::<6>),
        TensorType::Q4_2OF4 | TensorType::Q4_4OF16 => {
            blocks_of(ty, data, out, |b, y| SparseBlock::read(ty, b).dequantize(y));
        }
    }
    Ok(())
}

fn each<const N: usize>(data: &[u8], out: &mut [f32], f: impl Fn(&[u8; N]) -> f32) {
    for (bytes, y) in data.as_chunks::<N>().0.iter().zip(out) {
        *y = f(bytes);
    }
}

fn blocks_of(ty: TensorType, data: &[u8], out: &mut [f32], f: impl Fn(&[u8], &mut [f32])) {
    let outs = out.chunks_exact_mut(ty.block_len());
    for (block, y) in data.chunks_exact(ty.block_bytes()).zip(outs) {
        f(block, y);
    }
}

/// Code `j` of a block of 32 nibbles: the low halves are elements 0..16, the high ones 16..32.
pub(super) fn nibble(qs: &[u8], j: usize) -> u8 {
    if j < QK / 2 {
        qs[j] & 0xf
    } else {
        qs[j - QK / 2] >> 4
    }
}

/// Code `j` of a block of 32 five-bit codes: bit 4 is bit `j` of the word `qh`.
pub(super) fn five_bit(qh: u32, qs: &[u8], j: usize) -> u8 {
    nibble(qs, j) | (((qh >> j) & 1) << 4) as u8
}

pub(super) fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn q4_0(b: &[u8], y: &mut [f32]) {
    let d = f16_at(b, 0);
    for (j, y) in y.iter_mut().enumerate() {
        *y = f32::from(nibble(&b[2..], j) as i8 - 8) * d;
    }
}

fn q4_1(b: &[u8], y: &mut [f32]) {
    let (d, m) = (f16_at(b, 0), f16_at(b, 2));
    for (j, y) in y.iter_mut().enumerate() {
        *y = f32::from(nibble(&b[4..], j)) * d + m;
    }
}

fn q5_0(b: &[u8], y: &mut [f32]) {
    let (d, qh) = (f16_at(b, 0), u32_at(b, 2));
    for (j, y) in y.iter_mut().enumerate() {
        *y = f32::from(five_bit(qh, &b[6..], j) as i8 - 16) * d;
    }
}

fn q5_1(b: &[u8], y: &mut [f32]) {
    let (d, m, qh) = (f16_at(b, 0), f16_at(b, 2), u32_at(b, 4));
    for (j, y) in y.iter_mut().enumerate() {
        *y = f32::from(five_bit(qh, &b[8..], j)) * d + m;
    }
}

fn q8_0(b: &[u8], y: &mut [f32]) {
    let d = f16_at(b, 0);
    for (y, &q) in y.iter_mut().zip(&b[2..]) {
        *y = f32::from(q as i8) * d;
    }
}

/// Q2_1, Q3_1, Q6_1: in the order of operations of Q4_1.
fn packed<const BITS: usize>(b: &[u8], y: &mut [f32]) {
    let (d, m) = (f16_at(b, 0), f16_at(b, 2));
    for (j, y) in y.iter_mut().enumerate() {
        *y = unpack_code(&b[4..], BITS, j) as f32 * d + m;
    }
}

/// The 6-bit scale and minimum of sub-block `j` of 8 (`get_scale_min_k4`): four of each lie in
/// the low six bits of bytes 0..8, the other four are split between bytes 8..12 and the top bits.
fn scale_min(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            (packed[j + 4] & 0xf) | ((packed[j - 4] >> 6) << 4),
            (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(min))
}

/// Q4_K and Q5_K: eight sub-blocks of 32; `code(sub_block, element)` gives the integer.
fn k_with_min(b: &[u8], y: &mut [f32], code: impl Fn(usize, usize) -> u8) {
    let (d, dmin) = (f16_at(b, 0), f16_at(b, 2));
    for (s, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min(&b[4..16], s);
        let (scale, min) = (d * scale, dmin * min);
        for (l, y) in y.iter_mut().enumerate() {
            *y = scale * f32::from(code(s, l)) - min;
        }
    }
}

/// Nibble of element `l` in sub-block `s`: two sub-blocks share 32 bytes, low halves first.
fn k_nibble(qs: &[u8], s: usize, l: usize) -> u8 {
    (qs[s / 2 * 32 + l] >> (s % 2 * 4)) & 0xf
}

fn q4_k(b: &[u8], y: &mut [f32]) {
    k_with_min(b, y, |s, l| k_nibble(&b[16..], s, l));
}

fn q5_k(b: &[u8], y: &mut [f32]) {
    let (qh, qs) = (&b[16..48], &b[48..]);
    k_with_min(b, y, |s, l| k_nibble(qs, s, l) | (((qh[l] >> s) & 1) << 4));
}

fn q6_k(b: &[u8], y: &mut [f32]) {
    let d = f16_at(b, 208);
    for (half, y) in y.chunks_exact_mut(128).enumerate() {
        let ql = &b[half * 64..][..64];
        let qh = &b[128 + half * 32..][..32];
        let scales = &b[192 + half * 8..][..8];
        for (e, y) in y.iter_mut().enumerate() {
            // Four groups of 32: groups 0 and 1 take low nibbles, 2 and 3 high ones.
            let (group, l) = (e / 32, e % 32);
            let low = (ql[group % 2 * 32 + l] >> (group / 2 * 4)) & 0xf;
            let high = (qh[l] >> (group * 2)) & 3;
            let q = (low | (high << 4)) as i8 - 32;
            *y = d * f32::from(scales[e / 16] as i8) * f32::from(q);
        }
    }
}
