//! A view of one tensor in a mapped file.

use crate::block::{self, CodeBlocks, SparseBlocks, TensorType};
use crate::{Error, Result};

/// A tensor in a model file; its data lie in the mapped file.
///
/// `shape` is in ggml's order: `shape[0]` is the row length, the contiguous dimension. A matrix
/// of `out` rows by `in` columns has shape `[in, out]`.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// File that holds the tensor, for messages.
    pub file: &'a str,
    /// Name.
    pub name: &'a str,
    /// Dimensions, row length first. At least one, none zero.
    pub shape: &'a [usize],
    /// Element format.
    pub ty: TensorType,
    /// Exactly the tensor's bytes.
    pub data: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Elements in a row.
    pub fn row_len(&self) -> usize {
        self.shape[0]
    }

    /// Number of rows: the product of all dimensions but the first.
    pub fn rows(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes in a row.
    pub fn row_bytes(&self) -> usize {
        self.data.len() / self.rows()
    }

    /// The bytes of row `i`; panics if `i >= rows()`, as slices do.
    pub fn row(&self, i: usize) -> &'a [u8] {
        &self.data[i * self.row_bytes()..][..self.row_bytes()]
    }

    /// All elements as f32, rows in stored order.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.elements()];
        block::dequantize_row(self.ty, self.data, &mut out)
            .expect("the size was checked when the file was opened");
        out
    }

    /// Writes row `i` to `out` as f32.
    ///
    /// # Errors
    /// [`Error::Block`] if `out` is not [`row_len`](Self::row_len) long.
    pub fn dequantize_row(&self, i: usize, out: &mut [f32]) -> Result<()> {
        block::dequantize_row(self.ty, self.row(i), out)
    }

    /// The blocks of row `i` as integer codes; see [`block::code_blocks`].
    ///
    /// # Errors
    /// [`Error::Block`] if the format has no such view.
    pub fn row_codes(&self, i: usize) -> Result<CodeBlocks<'a>> {
        block::code_blocks(self.ty, self.row(i))
    }

    /// The blocks of row `i` as kept codes with their columns; see [`block::sparse_blocks`].
    ///
    /// # Errors
    /// [`Error::Block`] if the format is dense.
    pub fn row_sparse(&self, i: usize) -> Result<SparseBlocks<'a>> {
        block::sparse_blocks(self.ty, self.row(i))
    }

    /// Checks that every stored float (element, scale, minimum) is finite, and that the columns
    /// kept by a sparse block ascend.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming the first bad block.
    pub fn check_finite(&self) -> Result<()> {
        if let Some(bad) = block::first_non_finite(self.ty, self.data)? {
            return Err(self.bad_block("a NaN, infinite or overflowing value", bad));
        }
        if let Some(bad) = block::first_disordered(self.ty, self.data)? {
            return Err(self.bad_block("columns that do not ascend within their group", bad));
        }
        Ok(())
    }

    fn bad_block(&self, what: &str, bad: usize) -> Error {
        let per_row = self.row_len() / self.ty.block_len();
        Error::Tensor {
            file: self.file.into(),
            tensor: self.name.into(),
            problem: format!(
                "has {what} in {} block {bad} (row {}, block {} of the row)",
                self.ty,
                bad / per_row,
                bad % per_row
            ),
            hint: crate::error::REDOWNLOAD,
        }
    }
}
