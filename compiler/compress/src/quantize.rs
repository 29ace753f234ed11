//! Rounding and pruning a weight matrix to a storage format.
//!
//! Plain rounding takes each weight for itself. The compensated way (GPTQ: Frantar et al.,
//! arXiv 2210.17323) goes through the columns from left to right; what rounding column i changes
//! in the layer's output is made up, as well as the columns after it can, by
//! `w_j -= (w_i - q_i) / U_ii * U_ij` with H⁻¹ = Uᵀ U. Pruning is rounding to zero: SparseGPT
//! (arXiv 2301.00774) compensates it in the same sweep and drops the weights whose loss
//! `(w_i / U_ii)²` is least in their group; Wanda (arXiv 2306.11695) drops those with the least
//! `|w_i| * ||x_i||` and leaves the others as they are.

use crate::grid::{Fit, Grid};
use crate::hessian::{Factor, Hessian};
use crate::mask::Mask;
use crate::plan::{Pruning, Rounding};
use crate::{Result, parallel};
use lampyris_flash::TensorType;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Slice, linalg::general_mat_mul};
use std::ops::Range;

/// Rows that are worked on together: columns of the factor are read once for all of them.
const ROWS: usize = 64;
/// Columns between two products that carry errors to all later columns. Whole blocks of every
/// format.
const BATCH: usize = 128;

/// How matrices are rounded and pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// For dense formats.
    pub rounding: Rounding,
    /// For sparse formats.
    pub pruning: Pruning,
}

impl Method {
    fn compensates(self, ty: TensorType) -> bool {
        match ty.sparsity() {
            None => self.rounding == Rounding::Gptq,
            Some(_) => self.pruning == Pruning::SparseGpt,
        }
    }
}

/// A matrix in a storage format.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Rows as stored.
    pub bytes: Vec<u8>,
    /// The values that the bytes stand for, `[rows, columns]`, in the order of the rows.
    pub values: Vec<f32>,
    /// The trace of dw H dwᵀ, damping included: what the change does to the layer's outputs.
    pub loss: f64,
}

/// Brings `weights`, `[rows, columns]`, to format `ty`, for inputs with second moments `hessian`.
///
/// # Errors
/// [`CompressError::NotFinite`](crate::CompressError::NotFinite) if the inputs were not.
///
/// # Panics
/// If the width of the Hessian is not a whole number of blocks, or `weights` not whole rows.
pub fn quantize(
    weights: &[f32],
    ty: TensorType,
    method: Method,
    hessian: &Hessian,
) -> Result<Quantized> {
    let factor = hessian.factor("the matrix")?;
    Ok(with_factor(weights, ty, method, &factor))
}

/// As [`quantize`], for a Hessian that serves several matrices or formats.
pub(crate) fn with_factor(
    weights: &[f32],
    ty: TensorType,
    method: Method,
    factor: &Factor,
) -> Quantized {
    let mut all = Quantized {
        bytes: Vec::new(),
        values: Vec::with_capacity(weights.len()),
        loss: 0.0,
    };
    for part in parts(weights, factor, |w| round_rows(w, ty, method, factor)) {
        all.bytes.extend(part.bytes);
        all.values.extend(part.values);
        all.loss += part.loss;
    }
    all
}

/// The loss alone, without keeping the result.
pub(crate) fn loss(weights: &[f32], ty: TensorType, method: Method, factor: &Factor) -> f64 {
    let parts = parts(weights, factor, |w| round_rows(w, ty, method, factor).loss);
    parts.into_iter().sum()
}

fn parts<T: Send>(
    weights: &[f32],
    factor: &Factor,
    work: impl Fn(ArrayView2<'_, f32>) -> T + Sync,
) -> Vec<T> {
    let columns = factor.diagonal.len();
    let all = ArrayView2::from_shape((weights.len() / columns, columns), weights);
    let all = all.expect("whole rows");
    parallel::ranges(all.nrows(), ROWS, |rows: Range<usize>| {
        work(all.slice_axis(Axis(0), Slice::from(rows)))
    })
}

fn round_rows(
    original: ArrayView2<'_, f32>,
    ty: TensorType,
    method: Method,
    factor: &Factor,
) -> Quantized {
    let mut w = original.to_owned();
    let (rows, columns) = w.dim();
    let compensate = method.compensates(ty);
    let mut blocks = vec![Vec::new(); rows];
    for start in (0..columns).step_by(BATCH) {
        let end = (start + BATCH).min(columns);
        let mut errors = Array2::zeros((rows, end - start));
        for (r, blocks) in blocks.iter_mut().enumerate() {
            let mut row = w.row_mut(r);
            let row = row.as_slice_mut().expect("rows are contiguous");
            let mut errors = errors.row_mut(r);
            let errors = errors.as_slice_mut().expect("rows are contiguous");
            let batch = Batch {
                ty,
                method,
                factor,
                start,
                compensate,
            };
            batch.round(&mut row[start..end], errors, blocks);
        }
        if compensate && end < columns {
            let inverse = factor.inverse.slice(ndarray::s![start..end, end..]);
            let mut later: ArrayViewMut2<'_, f32> = w.slice_mut(ndarray::s![.., end..]);
            general_mat_mul(-1.0, &errors, &inverse, 1.0, &mut later);
        }
    }
    Quantized {
        bytes: blocks.concat(),
        loss: factor.loss((&original - &w).view()),
        values: w.into_raw_vec_and_offset().0,
    }
}

/// Some columns of one row, beginning at column `start`.
struct Batch<'a> {
    ty: TensorType,
    method: Method,
    factor: &'a Factor,
    start: usize,
    compensate: bool,
}

impl Batch<'_> {
    /// Replaces the weights `w` by their rounded values. With compensation, the columns after
    /// each are adjusted, and `errors` gets `(w - q) / U_ii` for the columns after the batch.
    fn round(&self, w: &mut [f32], errors: &mut [f32], out: &mut Vec<u8>) {
        let length = self.ty.block_len();
        for first in (0..w.len()).step_by(length) {
            let mut grid = self.grid(&w[first..first + length], self.start + first);
            for i in first..first + length {
                let rounded = grid.round(i - first, w[i]);
                let error = w[i] - rounded;
                w[i] = rounded;
                if !self.compensate {
                    continue;
                }
                let at = self.start + i;
                let row = self.factor.inverse.row(at);
                let row = row.as_slice().expect("rows are contiguous");
                let error = error / row[at];
                errors[i] = error;
                let later = &row[at + 1..self.start + w.len()];
                for (w, u) in w[i + 1..].iter_mut().zip(later) {
                    *w -= error * u;
                }
            }
            grid.write(out);
        }
    }

    /// The grid of the block of weights `w` that begins at column `at`.
    fn grid(&self, w: &[f32], at: usize) -> Grid {
        let columns = at..at + w.len();
        let moments = &self.factor.diagonal[columns.clone()];
        let importance: Vec<f32> = if self.compensate {
            // What an error costs after the columns behind it have made up for it.
            let pivots = columns.map(|i| self.factor.inverse[(i, i)]);
            pivots.map(|u| 1.0 / (u * u)).collect()
        } else {
            moments.to_vec()
        };
        let mask = self.ty.sparsity().map(|sparsity| {
            // Both criteria are the square root of a weighted square.
            let weighted = w.iter().zip(&importance);
            let scores: Vec<f32> = weighted.map(|(w, h)| w * w * h).collect();
            Mask::new(sparsity, &scores)
        });
        let plain = mask.is_none() && self.method.rounding == Rounding::Nearest;
        let fit = if plain {
            Fit::Range
        } else {
            Fit::Search(&importance)
        };
        Grid::new(self.ty, w, mask, fit)
    }
}

#[cfg(test)]
mod tests;
