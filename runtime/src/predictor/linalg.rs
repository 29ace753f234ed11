//! The little linear algebra that training needs beyond matrix products.

use half::f16;
use ndarray::{Array2, ArrayView2, s};

/// A row in Q8_0 blocks, padded with zeros to whole blocks.
pub(crate) fn q8_0(row: &[f32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len().div_ceil(32) * 34);
    for block in row.chunks(32) {
        let largest = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = f16::from_f32(largest / 127.0);
        out.extend(scale.to_le_bytes());
        let scale = scale.to_f32();
        let code = |v: f32| match scale {
            0.0 => 0,
            scale => (v / scale).round_ties_even().clamp(-127.0, 127.0) as i8 as u8,
        };
        out.extend((0..32).map(|i| block.get(i).map_or(0, |&v| code(v))));
    }
    out
}

/// The `rank` leading eigenvectors (columns, orthonormal, largest first) of a symmetric positive
/// semidefinite `n` by `n` operator that is given by its product with a block of columns.
///
/// Subspace iteration: enough for a starting point, and needs only products.
pub(super) fn leading(
    n: usize,
    rank: usize,
    iterations: usize,
    rng: &mut fastrand::Rng,
    apply: impl Fn(ArrayView2<'_, f32>) -> Array2<f32>,
) -> Array2<f32> {
    let mut basis = Array2::from_shape_simple_fn((n, rank.min(n)), || rng.f32() - 0.5);
    orthonormalize(&mut basis);
    for _ in 0..iterations {
        basis = apply(basis.view());
        orthonormalize(&mut basis);
    }
    basis
}

/// Gram-Schmidt on columns, twice for stability; a column that vanishes becomes zero.
fn orthonormalize(basis: &mut Array2<f32>) {
    for column in 0..basis.ncols() {
        let before = norm(basis, column);
        for _ in 0..2 {
            let (done, mut rest) = basis.view_mut().split_at(ndarray::Axis(1), column);
            let mut current = rest.column_mut(0);
            let overlaps = done.t().dot(&current);
            current -= &done.dot(&overlaps);
        }
        let length = norm(basis, column);
        // What is left of a dependent column is rounding.
        let scale = if length > 1e-5 * before {
            1.0 / length
        } else {
            0.0
        };
        basis.column_mut(column).mapv_inplace(|v| v * scale);
    }
}

fn norm(basis: &Array2<f32>, column: usize) -> f32 {
    let squares = basis.slice(s![.., column]);
    squares
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_flash::{TensorType, block};

    #[test]
    fn q8_0_is_close_and_pads_with_zeros() {
        let row: Vec<f32> = (0..40).map(|i| (i as f32 - 20.0) / 7.0).collect();
        let blocks = q8_0(&row);
        assert_eq!(blocks.len(), 2 * 34);
        let mut back = [0.0; 64];
        block::dequantize_row(TensorType::Q8_0, &blocks, &mut back).unwrap();
        for (a, b) in row.iter().zip(&back) {
            assert!((a - b).abs() <= 2.9 / 127.0 * 0.51, "{a} {b}");
        }
        assert!(back[40..].iter().all(|&v| v == 0.0));
        assert_eq!(q8_0(&[0.0; 32])[2..], [0; 32]);
    }

    #[test]
    fn leading_vectors_of_a_diagonal_are_its_largest_axes() {
        let weights = [1.0f32, 9.0, 0.1, 5.0, 0.0];
        let mut rng = fastrand::Rng::with_seed(1);
        let basis = leading(5, 2, 60, &mut rng, |x| {
            let mut y = x.to_owned();
            for (mut row, w) in y.rows_mut().into_iter().zip(weights) {
                row.mapv_inplace(|v| v * w);
            }
            y
        });
        assert!(
            basis[[1, 0]].abs() > 0.999 && basis[[3, 1]].abs() > 0.999,
            "{basis}"
        );
    }

    #[test]
    fn dependent_columns_become_zero() {
        let mut basis = ndarray::arr2(&[[1.0, 2.0, 0.0], [1.0, 2.0, 1.0]]);
        orthonormalize(&mut basis);
        assert!(basis.column(1).iter().all(|&v| v == 0.0));
        assert!((norm(&basis, 2) - 1.0).abs() < 1e-6);
    }
}
