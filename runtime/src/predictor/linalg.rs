//! The little linear algebra that training needs beyond matrix products.

use lampyris_flash::{TensorType, block};
use ndarray::{Array2, ArrayView2, s};

/// Rows of `width` elements as blocks of `ty`, each row padded with zeros to whole blocks.
pub(super) fn quantize(ty: TensorType, rows: &[f32], width: usize) -> Vec<u8> {
    let padded = width.next_multiple_of(ty.block_len());
    let bytes = padded / ty.block_len() * ty.block_bytes();
    let mut out = vec![0; rows.len() / width * bytes];
    let mut values = vec![0.0; padded];
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(bytes)) {
        values[..width].copy_from_slice(row);
        block::quantize_row(ty, &values, out).expect("rows are whole blocks of a written type");
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

    #[test]
    fn quantized_rows_are_close_and_padded_with_zeros() {
        let rows: Vec<f32> = (0..80).map(|i| (i as f32 - 40.0) / 7.0).collect();
        for (ty, step) in [(TensorType::Q8_0, 127.0), (TensorType::Q4_0, 8.0)] {
            let blocks = quantize(ty, &rows, 40);
            assert_eq!(blocks.len(), 4 * ty.block_bytes());
            let mut back = [0.0; 128];
            block::dequantize_row(ty, &blocks, &mut back).unwrap();
            for (row, back) in rows.chunks(40).zip(back.chunks(64)) {
                let largest = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                for (a, b) in row.iter().zip(back) {
                    assert!((a - b).abs() <= largest / step * 1.01, "{a} {b}");
                }
                assert!(back[40..].iter().all(|&v| v == 0.0));
            }
        }
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
