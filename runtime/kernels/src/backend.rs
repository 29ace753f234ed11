//! What an instruction set must provide. One implementation per [`Isa`], found at run time.

use crate::activations::{BlockMeta, Tokens};
use crate::attention::AttentionPart;
use crate::{Isa, RopeStyle, TensorType};

/// Rows that are multiplied together.
pub(crate) const TILE_ROWS: usize = 16;
/// Tokens that are multiplied together at most.
pub(crate) const TILE_TOKENS: usize = 64;

/// Sixteen rows of weights.
pub(crate) struct Tile<'a> {
    pub(crate) ty: TensorType,
    /// Equally long; rows that do not exist repeat the last one.
    pub(crate) rows: [&'a [u8]; TILE_ROWS],
    /// Rows lie one after the other, and the next tile's after them: worth a prefetch.
    #[allow(dead_code, reason = "portable code does not prefetch")]
    pub(crate) contiguous: bool,
}

/// The kernels of one instruction set. Slices have been checked by the caller: lengths fit each
/// other, rows are whole blocks.
pub(crate) trait Backend: Sync {
    fn isa(&self) -> Isa;

    /// `out[t][r]` becomes row `r` times token `t`; `out` has at least `x.count` entries, and
    /// `x.count` is at most [`TILE_TOKENS`].
    ///
    /// Block formats: with integer dot product `dot` of a block (codes without their offset),
    /// `acc += (scale * dot + min * sum) * x_scale`, blocks in order, each operation rounded;
    /// formats without minimum leave out the second product. Q6_K has two integer scales per
    /// block: `acc += (d * (s0 * dot0 + s1 * dot1)) * x_scale`, the inner sum being exact.
    /// K-quants' `scale = d * s` and `min = -(dmin * m)` are exact.
    /// Floats: lane `l` of sixteen adds the products of columns `l`, `l + 16`, ..., in order; then
    /// the lanes are added as [`Simd::sum`](crate::simd::Simd::sum) says.
    fn tile(&self, tile: &Tile<'_>, x: Tokens<'_>, out: &mut [[f32; TILE_ROWS]]);

    /// One row times the only token of `x`, with the bits of [`tile`](Self::tile).
    fn dot_row(&self, ty: TensorType, row: &[u8], x: Tokens<'_>) -> f32;

    /// `y += a * row`: each element dequantized as ggml's reference does, multiplied, added.
    fn axpy_row(&self, ty: TensorType, row: &[u8], a: f32, y: &mut [f32]);

    /// One token to blocks; `q` is padded with zeros to whole blocks.
    fn quantize(&self, x: &[f32], q: &mut [i8], meta: &mut [BlockMeta]);

    /// One part of an attention: the query heads and tokens that it names.
    fn attend(&self, part: &AttentionPart<'_>, out: &mut [f32]);

    fn to_f16(&self, x: &[f32], out: &mut [u16]);
    fn dequantize(&self, ty: TensorType, row: &[u8], out: &mut [f32]);
    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]);
    fn softmax(&self, x: &mut [f32]);
    fn silu(&self, x: &mut [f32]);
    fn silu_mul(&self, gate: &mut [f32], up: &[f32]);
    fn relu(&self, x: &mut [f32]);
    fn relu_mul(&self, gate: &mut [f32], up: &[f32]);
    fn add(&self, y: &mut [f32], x: &[f32]);
    fn rope(&self, head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle);
}

/// The kernels for `isa`, if the build has them and the processor can run them.
pub(crate) fn backend(isa: Isa) -> Option<&'static dyn Backend> {
    match isa {
        Isa::Scalar => Some(&crate::scalar::Scalar),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if crate::x86::Avx2::detected() => Some(&crate::x86::Avx2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni if crate::x86::Avx512::detected() => Some(&crate::x86::Avx512),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon if crate::arm::Neon::detected() => Some(&crate::arm::Neon),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod if crate::arm::NeonDotprod::detected() => Some(&crate::arm::NeonDotprod),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm if crate::arm::NeonI8mm::detected() => Some(&crate::arm::NeonI8mm),
        _ => None,
    }
}
