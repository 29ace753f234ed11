//! Tensor element formats: plain floats, GGML's block formats and formats of this project.
//!
//! A row of a tensor is a sequence of blocks; each block holds [`TensorType::block_len`]
//! elements in [`TensorType::block_bytes`] bytes, little-endian. Layouts follow the block
//! structs of ggml (`ggml-common.h`); the arithmetic of [`dequantize_row`] follows the order of
//! its reference functions (`ggml-quants.c`), so results are equal bit for bit.
//!
//! ggml has no plain format of 2, 3 or 6 bits for blocks of 32 and none for N:M sparsity. This
//! project adds them, with numbers from [`OWN_IDS`] up, which other programs refuse:
//!
//! - `Q2_1`, `Q3_1`, `Q6_1`: as Q4_1, but code `j` of `b` bits lies at bit `b j` after the minimum.
//! - `Q4_2OF4`, `Q4_4OF16`: see [`SparseBlock`].

mod codes;
mod dequant;
mod quantize;
mod sparse;
#[cfg(test)]
mod tests;

pub use codes::{CodeBlock, CodeBlocks, code_blocks};
pub use dequant::dequantize_row;
pub use quantize::{CAN_QUANTIZE, can_quantize, quantize_row};
pub use sparse::{SparseBlock, SparseBlocks, first_disordered, sparse_blocks};

pub use lampyris_isa::format::Sparsity;

use crate::{Error, Result};
use std::fmt;

/// Elements in a K-quant super-block.
pub const QK_K: usize = 256;
/// Elements in a block of the simple formats.
pub const QK: usize = 32;
/// The number in GGUF files of the first format of this project's own, far above ggml's numbers.
pub const OWN_IDS: u32 = 0x4c50_0000;

/// Element format of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(
    non_camel_case_types,
    reason = "ggml's names are the terms of the field"
)]
pub enum TensorType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    BF16,
    /// 4-bit codes, offset 8, f16 scale.
    Q4_0,
    /// 4-bit codes, f16 scale and minimum.
    Q4_1,
    /// 5-bit codes, offset 16, f16 scale.
    Q5_0,
    /// 5-bit codes, f16 scale and minimum.
    Q5_1,
    /// Signed 8-bit codes, f16 scale.
    Q8_0,
    /// 4-bit codes in super-blocks of 256 with 6-bit scales and minima.
    Q4_K,
    /// 5-bit codes in super-blocks of 256 with 6-bit scales and minima.
    Q5_K,
    /// 6-bit codes in super-blocks of 256 with 8-bit scales.
    Q6_K,
    /// 2-bit codes, f16 scale and minimum.
    Q2_1,
    /// 3-bit codes, f16 scale and minimum.
    Q3_1,
    /// 6-bit codes, f16 scale and minimum.
    Q6_1,
    /// Signed 4-bit codes of two in four columns, f16 scale for 64 columns.
    Q4_2OF4,
    /// Signed 4-bit codes of four in sixteen columns, f16 scale for 128 columns.
    Q4_4OF16,
}

/// One row per type: number in GGUF files, name, elements per block, bytes per block.
const TABLE: [(TensorType, u32, &str, usize, usize); 16] = [
    (TensorType::F32, 0, "F32", 1, 4),
    (TensorType::F16, 1, "F16", 1, 2),
    (TensorType::BF16, 30, "BF16", 1, 2),
    (TensorType::Q4_0, 2, "Q4_0", QK, 2 + 16),
    (TensorType::Q4_1, 3, "Q4_1", QK, 2 + 2 + 16),
    (TensorType::Q5_0, 6, "Q5_0", QK, 2 + 4 + 16),
    (TensorType::Q5_1, 7, "Q5_1", QK, 2 + 2 + 4 + 16),
    (TensorType::Q8_0, 8, "Q8_0", QK, 2 + 32),
    (TensorType::Q4_K, 12, "Q4_K", QK_K, 2 + 2 + 12 + 128),
    (TensorType::Q5_K, 13, "Q5_K", QK_K, 2 + 2 + 12 + 32 + 128),
    (TensorType::Q6_K, 14, "Q6_K", QK_K, 128 + 64 + 16 + 2),
    (TensorType::Q2_1, OWN_IDS, "Q2_1", QK, 2 + 2 + 8),
    (TensorType::Q3_1, OWN_IDS + 1, "Q3_1", QK, 2 + 2 + 12),
    (TensorType::Q6_1, OWN_IDS + 2, "Q6_1", QK, 2 + 2 + 24),
    (TensorType::Q4_2OF4, OWN_IDS + 3, "Q4_2OF4", 64, 2 + 24),
    (TensorType::Q4_4OF16, OWN_IDS + 4, "Q4_4OF16", 128, 2 + 32),
];

// The table is indexed by the enum, and sizes must be those of ggml's structs
// and of the layouts above.
const _: () = {
    let bytes = [
        4, 2, 2, 18, 20, 22, 24, 34, 144, 176, 210, 12, 16, 28, 26, 34,
    ];
    let mut i = 0;
    while i < TABLE.len() {
        assert!(TABLE[i].0 as usize == i);
        assert!(TABLE[i].4 == bytes[i]);
        i += 1;
    }
};

impl TensorType {
    /// Every type, in declaration order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The type with this number in GGUF files, if it is one that this project reads.
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// The type's number in GGUF files.
    pub fn ggml_id(self) -> u32 {
        TABLE[self as usize].1
    }

    /// The name, for example `Q4_K`.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// Elements per block (1 for plain floats).
    pub const fn block_len(self) -> usize {
        TABLE[self as usize].3
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        TABLE[self as usize].4
    }

    /// Bytes of a row of `elements`; `None` if that is not a whole number of blocks or overflows.
    pub fn row_bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first block of `data` with a float (element, scale or minimum) that is NaN or infinite,
/// or, for the formats with an implied offset, whose minimum `-8 d` or `-16 d` leaves binary16.
///
/// # Errors
/// [`Error::Block`] if `data` is not a whole number of blocks.
pub fn first_non_finite(ty: TensorType, data: &[u8]) -> Result<Option<usize>> {
    whole_blocks(ty, data)?;
    let bad16 = |b: &[u8], at: usize| b[at + 1] & 0x7c == 0x7c;
    // -8 d and -16 d stay finite below 2^13 and 2^12.
    let too_big = |b: &[u8], limit: f32| f16_at(b, 0).abs() >= limit;
    let bad = |b: &[u8]| match ty {
        TensorType::F32 => b[3] & 0x7f == 0x7f && b[2] & 0x80 != 0,
        TensorType::BF16 => b[1] & 0x7f == 0x7f && b[0] & 0x80 != 0,
        TensorType::F16 | TensorType::Q8_0 | TensorType::Q4_2OF4 | TensorType::Q4_4OF16 => {
            bad16(b, 0)
        }
        TensorType::Q4_0 => bad16(b, 0) || too_big(b, 8192.0),
        TensorType::Q5_0 => bad16(b, 0) || too_big(b, 4096.0),
        TensorType::Q4_1
        | TensorType::Q5_1
        | TensorType::Q4_K
        | TensorType::Q5_K
        | TensorType::Q2_1
        | TensorType::Q3_1
        | TensorType::Q6_1 => bad16(b, 0) || bad16(b, 2),
        TensorType::Q6_K => bad16(b, 208),
    };
    Ok(data.chunks_exact(ty.block_bytes()).position(bad))
}

/// The binary16 at `at`, exactly, as f32.
fn f16_at(data: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([data[at], data[at + 1]]).to_f32()
}

/// Checks that `data` is a whole number of blocks and returns the number.
fn whole_blocks(ty: TensorType, data: &[u8]) -> Result<usize> {
    if !data.len().is_multiple_of(ty.block_bytes()) {
        return Err(Error::Block {
            ty: ty.name(),
            problem: format!(
                "{} bytes are not a whole number of {}-byte blocks",
                data.len(),
                ty.block_bytes()
            ),
            hint: "pass whole rows of a tensor",
        });
    }
    Ok(data.len() / ty.block_bytes())
}
