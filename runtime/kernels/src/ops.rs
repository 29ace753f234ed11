//! The small f32 operations of a decoder.

use crate::{Kernels, TensorType};

/// Which elements of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Elements `2 i` and `2 i + 1`.
    Interleaved,
    /// Elements `i` and `i + n`, for `n` pairs.
    Half,
}

/// Checks that two slices that belong together are equally long.
fn same(a: usize, b: usize, what: &str) {
    assert_eq!(a, b, "lengths of {what}");
}

/// All take slices in f32; those for "rows" work on each row of the weight's length. Panics, all:
/// if lengths do not fit each other.
impl Kernels {
    /// `out = x / sqrt(mean(x^2) + eps) * weight`, for each row of `weight.len()`.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        same(x.len(), out.len(), "input and output");
        check_rows(x, weight);
        for (x, out) in x.chunks(weight.len()).zip(out.chunks_mut(weight.len())) {
            self.backend().rms_norm(x, weight, eps, out);
        }
    }

    /// `out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`, for each row.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        same(x.len(), out.len(), "input and output");
        same(weight.len(), bias.len(), "weight and bias");
        check_rows(x, weight);
        for (x, out) in x.chunks(weight.len()).zip(out.chunks_mut(weight.len())) {
            self.backend().layer_norm(x, weight, bias, eps, out);
        }
    }

    /// `x = e^x / sum(e^x)`; infinitely small logits become exactly 0.
    pub fn softmax(&self, x: &mut [f32]) {
        self.backend().softmax(x);
    }

    /// `x = x * sigmoid(x)`.
    pub fn silu(&self, x: &mut [f32]) {
        self.backend().silu(x);
    }

    /// `gate = silu(gate) * up`.
    pub fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        same(gate.len(), up.len(), "gate and up");
        self.backend().silu_mul(gate, up);
    }

    /// `x = max(x, 0)`.
    pub fn relu(&self, x: &mut [f32]) {
        self.backend().relu(x);
    }

    /// `gate = max(gate, 0) * up`.
    pub fn relu_mul(&self, gate: &mut [f32], up: &[f32]) {
        same(gate.len(), up.len(), "gate and up");
        self.backend().relu_mul(gate, up);
    }

    /// `y += x`; with a shorter `x` for each row of its length (a bias).
    pub fn add(&self, y: &mut [f32], x: &[f32]) {
        check_rows(y, x);
        y.chunks_mut(x.len().max(1))
            .for_each(|y| self.backend().add(y, x));
    }

    /// Rotates the heads of one token: `x` is `[heads, head_dim]`; pair `i` of each head turns by
    /// the angle with cosine `cos[i]` and sine `sin[i]`. Elements past the last pair stay (partial
    /// RoPE).
    pub fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], style: RopeStyle) {
        same(cos.len(), sin.len(), "cosines and sines");
        assert!(2 * cos.len() <= head_dim, "more pairs than a head has");
        assert!(x.len().is_multiple_of(head_dim), "a part of a head");
        for head in x.chunks_exact_mut(head_dim) {
            self.backend().rope(head, cos, sin, style);
        }
    }

    /// Elements of a row of any format as f32, as ggml's reference gives them: an embedding.
    pub fn dequantize(&self, ty: TensorType, row: &[u8], out: &mut [f32]) {
        assert_eq!(ty.row_bytes(out.len()), Some(row.len()), "bytes of a row");
        self.backend().dequantize(ty, row, out);
    }
}

fn check_rows(x: &[f32], weight: &[f32]) {
    assert!(
        x.len().is_multiple_of(weight.len()),
        "{} values are not rows of {}",
        x.len(),
        weight.len()
    );
}
