//! N:M sparse formats: of every M neighbouring columns N are kept, as codes with their places.

use super::{QK, TensorType, whole_blocks};
use crate::{Error, Result};
use half::f16;
use lampyris_isa::format::{Sparsity, pack_code, unpack_code};

/// Bits of a kept code.
const CODE_BITS: usize = 4;

impl TensorType {
    /// The pattern, or `None` for a dense format.
    pub const fn sparsity(self) -> Option<Sparsity> {
        match self {
            Self::Q4_2OF4 => Some(Sparsity::S2Of4),
            Self::Q4_4OF16 => Some(Sparsity::S4Of16),
            _ => None,
        }
    }
}

/// One block of a sparse format: 32 kept codes with one scale.
///
/// Stored as the scale (binary16) and then 32 fields, field `j` at bit `j` times
/// [`field_bits`](SparseBlock::field_bits), little-endian. The low four bits of a field are the code,
/// two's complement, the bits above them the index. Field `j` holds the element `scale * code` of
/// column `group * (j / kept) + index`; every other column is 0. Indices ascend within a group and
/// differ, so a column that is not needed is kept with code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseBlock {
    /// The pattern.
    pub sparsity: Sparsity,
    /// Scale, binary16 bits.
    pub scale: u16,
    /// Fields as stored: code in the low four bits, index above.
    pub fields: [u8; QK],
}

impl SparseBlock {
    /// Bits of a stored field: code and index.
    pub const fn field_bits(sparsity: Sparsity) -> usize {
        CODE_BITS + sparsity.index_bits()
    }

    /// A block of 32 kept elements: `code(j)` in -8..=7 and `index(j)` below the group's size.
    pub fn new(
        sparsity: Sparsity,
        scale: u16,
        code: impl Fn(usize) -> i8,
        index: impl Fn(usize) -> usize,
    ) -> Self {
        let field = |j| (code(j) as u8 & 0xf) | (((index(j) % sparsity.group()) as u8) << 4);
        Self {
            sparsity,
            scale,
            fields: std::array::from_fn(field),
        }
    }

    /// The code of field `j`, -8..=7.
    pub fn code(&self, j: usize) -> i8 {
        (self.fields[j] << 4) as i8 >> 4
    }

    /// The column, within the block, of field `j`.
    pub fn column(&self, j: usize) -> usize {
        self.sparsity.column(j, usize::from(self.fields[j] >> 4))
    }

    /// Writes the block's elements, zeros included. Of two fields that name one column, which
    /// [`first_disordered`] reports, the later counts.
    pub(super) fn dequantize(&self, out: &mut [f32]) {
        let scale = f16::from_bits(self.scale).to_f32();
        out.fill(0.0);
        for j in 0..QK {
            out[self.column(j)] = f32::from(self.code(j)) * scale;
        }
    }

    /// The block stored in `bytes`, which are one block of the sparse type `ty`.
    pub(super) fn read(ty: TensorType, bytes: &[u8]) -> Self {
        let sparsity = ty.sparsity().expect("the caller asks for sparse types");
        let bits = Self::field_bits(sparsity);
        Self {
            sparsity,
            scale: u16::from_le_bytes([bytes[0], bytes[1]]),
            fields: std::array::from_fn(|j| unpack_code(&bytes[2..], bits, j) as u8),
        }
    }

    /// Appends the block as it is stored.
    pub fn write(&self, out: &mut Vec<u8>) {
        let bits = Self::field_bits(self.sparsity);
        out.extend(self.scale.to_le_bytes());
        let start = out.len();
        out.resize(start + QK * bits / 8, 0);
        for (j, &field) in self.fields.iter().enumerate() {
            pack_code(&mut out[start..], bits, j, field.into());
        }
    }

    /// Whether the indices of each group ascend.
    fn is_ordered(&self) -> bool {
        let groups = self.fields.chunks(self.sparsity.kept());
        groups
            .map(|group| group.iter().map(|field| field >> 4))
            .all(|indices| indices.is_sorted_by(|a, b| a < b))
    }
}

/// Iterator over the blocks of a tensor or row; see [`sparse_blocks`].
#[derive(Clone, Debug)]
pub struct SparseBlocks<'a> {
    ty: TensorType,
    blocks: std::slice::ChunksExact<'a, u8>,
}

/// The blocks of `data` as kept codes with their columns. Types: Q4_2OF4, Q4_4OF16.
///
/// # Errors
/// [`Error::Block`] for other types, or if `data` is not a whole number of blocks.
pub fn sparse_blocks(ty: TensorType, data: &[u8]) -> Result<SparseBlocks<'_>> {
    if ty.sparsity().is_none() {
        return Err(Error::Block {
            ty: ty.name(),
            problem: "the format is dense".into(),
            hint: "read it with code_blocks, or dequantize it",
        });
    }
    whole_blocks(ty, data)?;
    Ok(SparseBlocks {
        ty,
        blocks: data.chunks_exact(ty.block_bytes()),
    })
}

impl Iterator for SparseBlocks<'_> {
    type Item = SparseBlock;

    fn next(&mut self) -> Option<SparseBlock> {
        Some(SparseBlock::read(self.ty, self.blocks.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.blocks.size_hint()
    }
}

impl ExactSizeIterator for SparseBlocks<'_> {}

/// The first block of `data` whose kept columns do not ascend; always `None` for dense types.
///
/// # Errors
/// [`Error::Block`] if `data` is not a whole number of blocks.
pub fn first_disordered(ty: TensorType, data: &[u8]) -> Result<Option<usize>> {
    whole_blocks(ty, data)?;
    if ty.sparsity().is_none() {
        return Ok(None);
    }
    Ok(sparse_blocks(ty, data)?.position(|block| !block.is_ordered()))
}
