//! Second moments of a layer's inputs, and their factors.
//!
//! For a linear layer with inputs x, rounding a row by dw changes its output by dw x; summed over
//! the calibration tokens the square of that is dw H dwᵀ with H = sum of x xᵀ. Everything that
//! rounding and pruning minimize is this quadratic form.

use crate::{CompressError, Result};
use nalgebra::{Cholesky, DMatrix};
use ndarray::{Array2, ArrayView2, linalg::general_mat_mul};

/// Added to the diagonal, as a share of its mean: keeps the factor well conditioned where inputs
/// are always zero or depend on each other.
const DAMPING: f64 = 0.01;

/// The sum of x xᵀ over the inputs x of a linear layer, `[width, width]`.
#[derive(Clone, Debug)]
pub struct Hessian {
    sum: Array2<f32>,
}

impl Hessian {
    /// Of no inputs yet.
    pub fn new(width: usize) -> Self {
        Self {
            sum: Array2::zeros((width, width)),
        }
    }

    /// Length of an input.
    pub fn width(&self) -> usize {
        self.sum.nrows()
    }

    /// Adds inputs, `[tokens, width]`.
    ///
    /// # Panics
    /// If `inputs` is not whole tokens.
    pub fn add(&mut self, inputs: &[f32]) {
        let width = self.width();
        let x = ArrayView2::from_shape((inputs.len() / width, width), inputs);
        let x = x.expect("whole tokens");
        general_mat_mul(1.0, &x.t(), &x, 1.0, &mut self.sum);
    }

    /// Adds the identity times `share` of the diagonal's mean: for tables whose rows are also read
    /// as they are, where every column counts alike.
    pub fn add_identity(&mut self, share: f32) {
        let mean = self.sum.diag().mean().unwrap_or(0.0);
        let more = if mean > 0.0 { mean * share } else { share };
        self.sum.diag_mut().mapv_inplace(|d| d + more);
    }

    /// The factors that rounding needs.
    ///
    /// # Errors
    /// [`CompressError::NotFinite`] if an input was not finite or sums overflow; `site` is named.
    pub(crate) fn factor(&self, site: &str) -> Result<Factor> {
        let n = self.width();
        let bad = || CompressError::NotFinite { site: site.into() };
        let mean = self.sum.diag().iter().map(|&d| f64::from(d)).sum::<f64>() / n as f64;
        if !self.sum.iter().all(|v| v.is_finite()) {
            return Err(bad());
        }
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        // H = R Rᵀ with R upper triangular is the Cholesky factorization in reversed order; then
        // U = R⁻¹ is upper triangular too and H⁻¹ = Uᵀ U, without inverting H itself.
        let reversed = DMatrix::from_fn(n, n, |i, j| {
            let value = f64::from(self.sum[(n - 1 - i, n - 1 - j)]);
            if i == j { value + damping } else { value }
        });
        let lower = Cholesky::new(reversed).ok_or_else(bad)?.unpack();
        let inverse = invert_lower(&lower);
        let forward = |m: &DMatrix<f64>| {
            Array2::from_shape_fn((n, n), |(i, j)| m[(n - 1 - i, n - 1 - j)] as f32)
        };
        Ok(Factor {
            root: forward(&lower),
            inverse: forward(&inverse),
            diagonal: (0..n).map(|i| self.sum[(i, i)] + damping as f32).collect(),
        })
    }
}

/// The inverse of a lower triangular matrix, by halves: products do most of the work.
fn invert_lower(lower: &DMatrix<f64>) -> DMatrix<f64> {
    const DIRECT: usize = 64;
    let n = lower.nrows();
    if n <= DIRECT {
        let mut inverse = DMatrix::identity(n, n);
        lower.solve_lower_triangular_mut(&mut inverse);
        return inverse;
    }
    let half = n / 2;
    let first = invert_lower(&lower.view((0, 0), (half, half)).into_owned());
    let last = invert_lower(&lower.view((half, half), (n - half, n - half)).into_owned());
    let below = &last * lower.view((half, 0), (n - half, half)) * &first;
    let mut inverse = DMatrix::zeros(n, n);
    inverse.view_mut((0, 0), (half, half)).copy_from(&first);
    inverse
        .view_mut((half, half), (n - half, n - half))
        .copy_from(&last);
    inverse
        .view_mut((half, 0), (n - half, half))
        .copy_from(&(-below));
    inverse
}

/// Triangular factors of a damped [`Hessian`].
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    /// R, upper triangular: H = R Rᵀ.
    pub(crate) root: Array2<f32>,
    /// U = R⁻¹, upper triangular: H⁻¹ = Uᵀ U. Row i says how the columns after i make up for an
    /// error in column i.
    pub(crate) inverse: Array2<f32>,
    /// The diagonal of H: mean square of each input.
    pub(crate) diagonal: Vec<f32>,
}

impl Factor {
    /// The trace of dw H dwᵀ over rows `[rows, width]`.
    pub(crate) fn loss(&self, error: ArrayView2<'_, f32>) -> f64 {
        let product = error.dot(&self.root);
        product.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hessian(n: usize, tokens: usize) -> Hessian {
        let mut random = fastrand::Rng::with_seed(1);
        let mut h = Hessian::new(n);
        for _ in 0..tokens {
            let common = random.f32() - 0.5;
            let x: Vec<f32> = (0..n).map(|_| common + random.f32() - 0.5).collect();
            h.add(&x);
        }
        h
    }

    #[test]
    fn factors_multiply_to_what_they_factor() {
        for n in [1, 5, 64, 150] {
            let h = hessian(n, 3 * n);
            let f = h.factor("site").unwrap();
            let damping = DAMPING as f32 * h.sum.diag().mean().unwrap();
            let product = f.root.dot(&f.root.t());
            let identity = f.root.dot(&f.inverse);
            for i in 0..n {
                for j in 0..n {
                    let one = if i == j { 1.0 } else { 0.0 };
                    let wanted = h.sum[(i, j)] + one * damping;
                    assert!(
                        (product[(i, j)] - wanted).abs() < 1e-3 * damping.max(1.0),
                        "{n} {i} {j}"
                    );
                    assert!((identity[(i, j)] - one).abs() < 1e-3, "{n} {i} {j}");
                    assert!(i <= j || (f.root[(i, j)] == 0.0 && f.inverse[(i, j)] == 0.0));
                }
            }
        }
    }

    #[test]
    fn loss_is_the_error_of_the_outputs() {
        let inputs = [[1.0f32, 2.0, -1.0], [0.5, 0.0, 3.0]];
        let mut h = Hessian::new(3);
        h.add(&inputs.concat());
        let error = [0.1f32, -0.2, 0.3];
        let f = h.factor("site").unwrap();
        let view = ArrayView2::from_shape((1, 3), &error).unwrap();
        let outputs = inputs.map(|x| {
            x.iter()
                .zip(error)
                .map(|(x, e)| f64::from(x * e))
                .sum::<f64>()
        });
        let exact: f64 = outputs.iter().map(|y| y * y).sum();
        let norm: f64 = error.iter().map(|e| f64::from(e * e)).sum();
        let damping = DAMPING * f64::from(h.sum.diag().mean().unwrap());
        assert!((f.loss(view) - exact - damping * norm).abs() < 1e-5);
    }

    #[test]
    fn inputs_that_are_always_zero_do_no_harm_and_infinite_ones_are_errors() {
        assert!(Hessian::new(4).factor("site").is_ok());
        let mut h = Hessian::new(2);
        h.add(&[1.0, f32::INFINITY]);
        let error = h.factor("blk.0.attn_q").unwrap_err().to_string();
        assert!(
            error.contains("blk.0.attn_q") && error.contains("hint: "),
            "{error}"
        );
    }
}
