//! The arithmetic of the reference executor: f32 values, f64 where sums are long.
//!
//! Matrices are row-major. Each output value is computed in one fixed order, whatever the batch
//! or the number of threads, so a token's result does not depend on what it is evaluated with.

use std::num::NonZero;

/// Independent partial sums of a dot product: enough for the compiler to use vector registers.
const LANES: usize = 16;
/// Multiplications below which starting threads costs more than it saves.
const PARALLEL_WORK: usize = 1 << 21;

/// Dot product of two equally long slices.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

/// `dot` of one weight row with four inputs at once: the row is loaded once.
#[inline(always)]
fn dot4(row: &[f32], inputs: [&[f32]; 4]) -> [f32; 4] {
    let mut sums = [[0.0f32; LANES]; 4];
    let (row_blocks, row_rest) = row.as_chunks::<LANES>();
    let [a, b, c, d] = inputs.map(|x| x.as_chunks::<LANES>());
    let quads = a.0.iter().zip(b.0).zip(c.0).zip(d.0);
    for (w, (((a, b), c), d)) in row_blocks.iter().zip(quads) {
        for lane in 0..LANES {
            sums[0][lane] += w[lane] * a[lane];
            sums[1][lane] += w[lane] * b[lane];
            sums[2][lane] += w[lane] * c[lane];
            sums[3][lane] += w[lane] * d[lane];
        }
    }
    let rests = [a.1, b.1, c.1, d.1];
    std::array::from_fn(|i| {
        let rest: f32 = row_rest.iter().zip(rests[i]).map(|(x, y)| x * y).sum();
        sums[i].iter().sum::<f32>() + rest
    })
}

/// A dense layer: `weight` is `[rows, cols]`, `bias` is `[rows]` or absent.
#[derive(Debug)]
pub(crate) struct Dense<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Dense<'_> {
    /// `input` is `[n, cols]`; returns `[n, rows]`.
    pub(crate) fn apply(&self, input: &[f32]) -> Vec<f32> {
        let n = input.len() / self.cols;
        // Computed as [rows, n], so that each thread owns a contiguous part; transposed below.
        let mut columns = vec![0.0f32; self.rows * n];
        let threads = match self.rows * self.cols * n {
            work if work < PARALLEL_WORK => 1,
            _ => std::thread::available_parallelism().map_or(1, NonZero::get),
        };
        let rows_each = self.rows.div_ceil(threads);
        std::thread::scope(|scope| {
            let parts = columns.chunks_mut(rows_each * n);
            for (part, weight) in parts.zip(self.weight.chunks(rows_each * self.cols)) {
                if threads == 1 {
                    multiply(weight, input, self.cols, part);
                } else {
                    scope.spawn(move || multiply(weight, input, self.cols, part));
                }
            }
        });
        let mut output = vec![0.0f32; n * self.rows];
        // Some rows together, so that what is written next to each other shares cache lines.
        for (block, values) in columns.chunks(LANES * n).enumerate() {
            let first = block * LANES;
            for (i, output) in output.chunks_exact_mut(self.rows).enumerate() {
                let places = output[first..]
                    .iter_mut()
                    .zip(values[i..].iter().step_by(n));
                for (place, value) in places.take(values.len() / n) {
                    *place = *value;
                }
            }
        }
        if let Some(bias) = self.bias {
            for output in output.chunks_exact_mut(self.rows) {
                output.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        output
    }
}

/// `weight` is `[rows, cols]`, `input` `[n, cols]`, `output` `[rows, n]`.
///
/// Wider vectors where the processor has them: the same operations in the same order, since the
/// partial sums are fixed and products are never fused with sums, so the bits are the same too.
fn multiply(weight: &[f32], input: &[f32], cols: usize, output: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(weight: &[f32], input: &[f32], cols: usize, output: &mut [f32]) {
            multiply_plain(weight, input, cols, output);
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { wide(weight, input, cols, output) };
        }
    }
    multiply_plain(weight, input, cols, output);
}

#[inline(always)]
fn multiply_plain(weight: &[f32], input: &[f32], cols: usize, output: &mut [f32]) {
    let n = input.len() / cols;
    // Inputs in groups that stay in the first-level cache while all weight rows pass by.
    let group = (1 << 14) / cols.max(1);
    let group = group.next_multiple_of(4).max(4);
    for first in (0..n).step_by(group) {
        let last = (first + group).min(n);
        for (row, out) in weight.chunks_exact(cols).zip(output.chunks_exact_mut(n)) {
            let mut i = first;
            while i + 4 <= last {
                let inputs = std::array::from_fn(|j| &input[(i + j) * cols..][..cols]);
                out[i..i + 4].copy_from_slice(&dot4(row, inputs));
                i += 4;
            }
            for i in i..last {
                out[i] = dot(row, &input[i * cols..][..cols]);
            }
        }
    }
}

/// Root-mean-square norm of one vector: `x / sqrt(mean(x^2) + eps) * weight`.
pub(crate) fn rms_norm(x: &mut [f32], weight: &[f32], eps: f64) {
    let square: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    let scale = (1.0 / (square / x.len() as f64 + eps).sqrt()) as f32;
    for (v, w) in x.iter_mut().zip(weight) {
        *v = *v * scale * w;
    }
}

/// Layer norm of one vector: zero mean, unit variance, then `* weight + bias`.
pub(crate) fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = x
        .iter()
        .map(|&v| (f64::from(v) - mean).powi(2))
        .sum::<f64>()
        / n;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((v, w), b) in x.iter_mut().zip(weight).zip(bias) {
        *v = ((f64::from(*v) - mean) * scale) as f32 * w + b;
    }
}

/// Softmax in place.
pub(crate) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for v in x.iter_mut() {
        *v = (*v - max).exp();
        sum += f64::from(*v);
    }
    let scale = (1.0 / sum) as f32;
    for v in x.iter_mut() {
        *v *= scale;
    }
}

/// Rotates the pairs `(2i, 2i + 1)` of one head by the angles whose cosine and sine are given.
/// Values past the last pair stay as they are (partial RoPE).
pub(crate) fn rope(head: &mut [f32], cos_sin: &[(f32, f32)]) {
    for (pair, &(cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos_sin) {
        let [a, b] = *pair;
        *pair = [a * cos - b * sin, a * sin + b * cos];
    }
}

/// `x * sigmoid(x)`.
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// `max(x, 0)`.
pub(crate) fn relu(x: f32) -> f32 {
    x.max(0.0)
}

/// Index of the largest value; the lowest index on a tie.
pub fn argmax(values: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (i, &v) in values.iter().enumerate() {
        if best.is_none_or(|(_, b)| v > b) {
            best = Some((i, v));
        }
    }
    best.map(|(i, _)| i)
}

/// Negative log-likelihood, in nats, of `target` under the softmax of `logits`.
pub fn nll(logits: &[f32], target: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&v| f64::from(v - max).exp()).sum();
    sum.ln() + f64::from(max) - f64::from(logits[target])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn dense_is_the_same_for_any_batch_and_close_to_f64() {
        let (rows, cols, n) = (37, 53, 11);
        let dense = Dense {
            weight: &numbers(rows * cols, 1),
            bias: Some(&numbers(rows, 2)),
            rows,
            cols,
        };
        let input = numbers(n * cols, 3);
        let all = dense.apply(&input);
        for i in 0..n {
            let x = &input[i * cols..][..cols];
            assert_eq!(dense.apply(x), &all[i * rows..][..rows], "input {i}");
            for r in 0..rows {
                let row = &dense.weight[r * cols..][..cols];
                let exact: f64 = row
                    .iter()
                    .zip(x)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                let exact = exact + f64::from(dense.bias.unwrap()[r]);
                assert!((f64::from(all[i * rows + r]) - exact).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn wide_vectors_do_not_change_bits() {
        let (rows, cols, n) = (19, 77, 9);
        let (weight, input) = (numbers(rows * cols, 6), numbers(n * cols, 7));
        let (mut plain, mut wide) = (vec![0.0; rows * n], vec![0.0; rows * n]);
        multiply_plain(&weight, &input, cols, &mut plain);
        multiply(&weight, &input, cols, &mut wide);
        assert_eq!(plain, wide);
    }

    #[test]
    fn dense_is_the_same_with_threads() {
        let (rows, cols, n) = (1031, 512, 5);
        let weight = numbers(rows * cols, 4);
        let input = numbers(n * cols, 5);
        assert!(rows * cols * n >= PARALLEL_WORK);
        let mut alone = vec![0.0; rows * n];
        multiply(&weight, &input, cols, &mut alone);
        let dense = Dense {
            weight: &weight,
            bias: None,
            rows,
            cols,
        };
        let threaded = dense.apply(&input);
        for i in 0..n {
            for r in 0..rows {
                assert_eq!(threaded[i * rows + r], alone[r * n + i]);
            }
        }
    }

    #[test]
    fn norms_match_hand_computed_values() {
        let mut x = [3.0, 4.0];
        rms_norm(&mut x, &[1.0, 2.0], 0.0);
        let rms = 12.5f32.sqrt();
        assert!((x[0] - 3.0 / rms).abs() < 1e-6 && (x[1] - 8.0 / rms).abs() < 1e-6);
        let mut x = [1.0, 3.0];
        layer_norm(&mut x, &[2.0, 2.0], &[10.0, 20.0], 0.0);
        assert_eq!(x, [8.0, 22.0]);
    }

    #[test]
    fn softmax_survives_large_values() {
        let mut x = [1000.0, 1000.0, -1000.0];
        softmax(&mut x);
        assert_eq!(x, [0.5, 0.5, 0.0]);
    }

    #[test]
    fn rope_rotates_pairs_and_leaves_the_rest() {
        let mut x = [1.0, 0.0, 5.0, 6.0];
        rope(&mut x, &[(0.0, 1.0)]);
        assert_eq!(x, [0.0, 1.0, 5.0, 6.0]);
    }

    #[test]
    fn argmax_takes_the_first_of_equals() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn nll_of_even_odds() {
        assert!((nll(&[2.0, 2.0], 0) - std::f64::consts::LN_2).abs() < 1e-12);
    }
}
