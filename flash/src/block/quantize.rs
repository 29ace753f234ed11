//! Quantization from f32, in the arithmetic of ggml's reference functions, so that codes are equal
//! to those of the `gguf` package.
//!
//! For weights that this project writes itself: packed files whose blocks run along another
//! dimension than the source's, and models that it makes. K-quants are read only; which elements
//! a sparse format keeps is a decision that needs more than the row.

use super::codes::{packed_bits, put_packed};
use super::{QK, TensorType};
use crate::{Error, Result};

/// Whether [`quantize_row`] can write the type.
pub fn can_quantize(ty: TensorType) -> bool {
    use TensorType::{Q4_2OF4, Q4_4OF16, Q4_K, Q5_K, Q6_K};
    !matches!(ty, Q4_K | Q5_K | Q6_K | Q4_2OF4 | Q4_4OF16)
}

/// What to do where [`can_quantize`] is false.
pub const CAN_QUANTIZE: &str =
    "choose F32, F16, BF16, Q8_0, Q6_1, Q5_0, Q5_1, Q4_0, Q4_1, Q3_1 or Q2_1";

/// Writes `values` to `out` as blocks of `ty`.
///
/// `values` is any whole number of blocks; `out` has as many bytes as they take.
///
/// # Errors
/// [`Error::Block`] if the two lengths do not fit each other, or for a type that [`can_quantize`] denies.
pub fn quantize_row(ty: TensorType, values: &[f32], out: &mut [u8]) -> Result<()> {
    let wrong = |problem: String, hint| Error::Block {
        ty: ty.name(),
        problem,
        hint,
    };
    if !can_quantize(ty) {
        let problem = "this format is read, not quantized to".into();
        return Err(wrong(problem, CAN_QUANTIZE));
    }
    if ty.row_bytes(values.len()) != Some(out.len()) {
        let problem = format!(
            "{} elements do not fill {} bytes of {}-element blocks",
            values.len(),
            out.len(),
            ty.block_len()
        );
        return Err(wrong(
            problem,
            "size the output as blocks times block bytes",
        ));
    }
    let blocks = values
        .chunks_exact(ty.block_len())
        .zip(out.chunks_exact_mut(ty.block_bytes()));
    for (x, b) in blocks {
        match ty {
            TensorType::F32 => b.copy_from_slice(&x[0].to_le_bytes()),
            TensorType::F16 => b.copy_from_slice(&half::f16::from_f32(x[0]).to_le_bytes()),
            TensorType::BF16 => b.copy_from_slice(&half::bf16::from_f32(x[0]).to_le_bytes()),
            TensorType::Q8_0 => q8_0(x, b),
            TensorType::Q4_0 => with_offset(x, b, 4),
            TensorType::Q5_0 => with_offset(x, b, 5),
            TensorType::Q4_1 => {
                let code = with_minimum(x, b, 4);
                put_codes(&mut b[4..], 4, code);
            }
            TensorType::Q5_1 => {
                let code = with_minimum(x, b, 5);
                put_codes(&mut b[4..], 5, code);
            }
            TensorType::Q2_1 | TensorType::Q3_1 | TensorType::Q6_1 => {
                let code = with_minimum(x, b, packed_bits(ty) as u32);
                put_packed(ty, b, |j| code(j).into());
            }
            TensorType::Q4_K
            | TensorType::Q5_K
            | TensorType::Q6_K
            | TensorType::Q4_2OF4
            | TensorType::Q4_4OF16 => unreachable!("refused above"),
        }
    }
    Ok(())
}

fn put_f16(b: &mut [u8], value: f32) {
    b[..2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}

/// `1 / d`, or 0 for a block of zeros.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(x: &[f32], b: &mut [u8]) {
    let most = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let d = most / 127.0;
    let id = inverse(d);
    put_f16(b, d);
    for (q, v) in b[2..].iter_mut().zip(x) {
        *q = (v * id).round() as i8 as u8;
    }
}

/// Q4_0 and Q5_0: the value of largest magnitude gets the lowest code.
fn with_offset(x: &[f32], b: &mut [u8], bits: u32) {
    let extreme = x
        .iter()
        .fold(0.0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let half = 1 << (bits - 1);
    let d = extreme / -(half as f32);
    let id = inverse(d);
    put_f16(b, d);
    let most = (1u8 << bits) - 1;
    // In f64: with or without a fused multiply-add the reference differs from itself.
    let code = |v: f32| ((f64::from(v) * f64::from(id) + (f64::from(half) + 0.5)) as u8).min(most);
    put_codes(&mut b[2..], bits, |j| code(x[j]));
}

/// Q4_1 and its like: writes scale and minimum; the codes go from minimum to maximum.
fn with_minimum<'x>(x: &'x [f32], b: &mut [u8], bits: u32) -> impl Fn(usize) -> u8 + use<'x> {
    let min = x.iter().fold(f32::INFINITY, |m, &v| m.min(v));
    let max = x.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
    let most = (1u8 << bits) - 1;
    let d = (max - min) / f32::from(most);
    let id = inverse(d);
    put_f16(b, d);
    put_f16(&mut b[2..], min);
    move |j| (((x[j] - min) * id + 0.5) as u8).min(most)
}

/// Nibbles (elements 0..16 low, 16..32 high), after the word of fifth bits if there are five.
pub(super) fn put_codes(b: &mut [u8], bits: u32, code: impl Fn(usize) -> u8) {
    let nibbles = if bits == 5 {
        let fifth = (0..QK).fold(0u32, |w, j| w | (u32::from(code(j) >> 4) << j));
        b[..4].copy_from_slice(&fifth.to_le_bytes());
        &mut b[4..]
    } else {
        b
    };
    for (j, byte) in nibbles.iter_mut().enumerate() {
        *byte = (code(j) & 0xf) | ((code(j + QK / 2) & 0xf) << 4);
    }
}
