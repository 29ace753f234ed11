//! The lossless view of block formats that keep one scale and one minimum per 32 elements, and
//! its way back.

use super::dequant::{five_bit, nibble, u32_at};
use super::quantize::put_codes;
use super::{QK, TensorType, whole_blocks};
use crate::{Error, Result};
use half::f16;
use lampyris_isa::format::{pack_code, unpack_code};

/// 32 integer codes with their scale and minimum: element `j` is `scale * codes[j] + min`.
///
/// With exact arithmetic this equals the dequantized element before its final rounding, for
/// every format: nothing is lost. `min` is infinite if the format's implied minimum leaves
/// binary16, which [`first_non_finite`](super::first_non_finite) reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeBlock {
    /// Codes in element order; unsigned except for Q8_0.
    pub codes: [i16; QK],
    /// Scale, binary16 bits.
    pub scale: u16,
    /// Minimum, binary16 bits; zero for Q8_0.
    pub min: u16,
}

/// Iterator over the blocks of a tensor or row; see [`code_blocks`].
#[derive(Clone, Debug)]
pub struct CodeBlocks<'a> {
    ty: TensorType,
    blocks: std::slice::ChunksExact<'a, u8>,
}

/// The blocks of `data` as integer codes. Types: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_1, Q3_1, Q6_1.
///
/// # Errors
/// [`Error::Block`] for other types, or if `data` is not a whole number of blocks.
pub fn code_blocks(ty: TensorType, data: &[u8]) -> Result<CodeBlocks<'_>> {
    use TensorType::{Q2_1, Q3_1, Q4_0, Q4_1, Q5_0, Q5_1, Q6_1, Q8_0};
    if !matches!(ty, Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2_1 | Q3_1 | Q6_1) {
        return Err(Error::Block {
            ty: ty.name(),
            problem: "the format has no single scale and minimum per 32 elements".into(),
            hint: "dequantize it, or use Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_1, Q3_1 or Q6_1",
        });
    }
    whole_blocks(ty, data)?;
    Ok(CodeBlocks {
        ty,
        blocks: data.chunks_exact(ty.block_bytes()),
    })
}

impl Iterator for CodeBlocks<'_> {
    type Item = CodeBlock;

    fn next(&mut self) -> Option<CodeBlock> {
        let block = self.blocks.next()?;
        Some(unpack(self.ty, block))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.blocks.size_hint()
    }
}

impl ExactSizeIterator for CodeBlocks<'_> {}

fn unpack(ty: TensorType, b: &[u8]) -> CodeBlock {
    let scale = u16::from_le_bytes([b[0], b[1]]);
    // A power of two times a binary16 is exact unless it overflows.
    let times = |k: f32| f16::from_f32(k * f16::from_bits(scale).to_f32()).to_bits();
    let stored = || u16::from_le_bytes([b[2], b[3]]);
    let (codes, min): ([i16; QK], u16) = match ty {
        TensorType::Q4_0 => (
            std::array::from_fn(|j| nibble(&b[2..], j).into()),
            times(-8.0),
        ),
        TensorType::Q4_1 => (std::array::from_fn(|j| nibble(&b[4..], j).into()), stored()),
        TensorType::Q5_0 => {
            let qh = u32_at(b, 2);
            (
                std::array::from_fn(|j| five_bit(qh, &b[6..], j).into()),
                times(-16.0),
            )
        }
        TensorType::Q5_1 => {
            let qh = u32_at(b, 4);
            (
                std::array::from_fn(|j| five_bit(qh, &b[8..], j).into()),
                stored(),
            )
        }
        TensorType::Q8_0 => (std::array::from_fn(|j| (b[2 + j] as i8).into()), 0),
        TensorType::Q2_1 | TensorType::Q3_1 | TensorType::Q6_1 => {
            let bits = packed_bits(ty);
            (
                std::array::from_fn(|j| unpack_code(&b[4..], bits, j) as i16),
                stored(),
            )
        }
        _ => unreachable!("code_blocks admits only the formats above"),
    };
    CodeBlock { codes, scale, min }
}

/// Bits of a code of Q2_1, Q3_1 or Q6_1.
pub(super) fn packed_bits(ty: TensorType) -> usize {
    (ty.block_bytes() - 4) * 8 / QK
}

/// Writes codes of Q2_1, Q3_1 or Q6_1 behind scale and minimum.
pub(super) fn put_packed(ty: TensorType, out: &mut [u8], code: impl Fn(usize) -> i32) {
    out[4..].fill(0);
    for j in 0..QK {
        pack_code(&mut out[4..], packed_bits(ty), j, code(j));
    }
}

impl CodeBlock {
    /// Writes the block in format `ty`: the inverse of [`code_blocks`] for the formats that store
    /// the scale and the minimum as they are: Q4_1, Q5_1, Q8_0, Q2_1, Q3_1, Q6_1. Codes are cut to
    /// the format's bits; Q8_0 has no minimum.
    ///
    /// # Errors
    /// [`Error::Block`] for other types, or if `out` is not [`TensorType::block_bytes`] long.
    pub fn write(&self, ty: TensorType, out: &mut [u8]) -> Result<()> {
        if out.len() != ty.block_bytes() {
            return Err(Error::Block {
                ty: ty.name(),
                problem: format!("a block has {} bytes, not {}", ty.block_bytes(), out.len()),
                hint: "pass the place of one block",
            });
        }
        let (head, codes) = out.split_at_mut(2);
        head.copy_from_slice(&self.scale.to_le_bytes());
        if ty == TensorType::Q8_0 {
            for (byte, code) in codes.iter_mut().zip(self.codes) {
                *byte = code as u8;
            }
            return Ok(());
        }
        codes[..2].copy_from_slice(&self.min.to_le_bytes());
        match ty {
            TensorType::Q4_1 => put_codes(&mut out[4..], 4, |j| self.codes[j] as u8),
            TensorType::Q5_1 => put_codes(&mut out[4..], 5, |j| self.codes[j] as u8),
            TensorType::Q2_1 | TensorType::Q3_1 | TensorType::Q6_1 => {
                put_packed(ty, out, |j| self.codes[j].into());
            }
            _ => {
                return Err(Error::Block {
                    ty: ty.name(),
                    problem: "the format does not store one scale and minimum per 32 codes".into(),
                    hint: "use Q4_1, Q5_1, Q8_0, Q2_1, Q3_1 or Q6_1",
                });
            }
        }
        Ok(())
    }
}
