//! The values that a block of a storage format can hold: scale and minimum fitted to weights.

use crate::mask::Mask;
use half::f16;
use lampyris_flash::TensorType;
use lampyris_flash::block::{CodeBlock, QK, SparseBlock};

/// Most elements of a block of any format that is written.
pub(crate) const LONGEST: usize = 128;

/// A block under construction: codes follow once scale and minimum are fixed.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    ty: TensorType,
    scale: f16,
    min: f16,
    /// Lowest and highest code.
    range: (f32, f32),
    codes: [i8; LONGEST],
    mask: Option<Mask>,
}

/// How scale and minimum are found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fit<'a> {
    /// From the lowest to the highest weight.
    Range,
    /// The least sum of squared errors with these weights among some ranges, each refined by
    /// least squares.
    Search(&'a [f32]),
}

/// Bits of a code of a dense format that is written.
pub(crate) fn dense_bits(ty: TensorType) -> Option<u32> {
    Some(match ty {
        TensorType::Q2_1 => 2,
        TensorType::Q3_1 => 3,
        TensorType::Q4_1 => 4,
        TensorType::Q5_1 => 5,
        TensorType::Q6_1 => 6,
        TensorType::Q8_0 => 8,
        _ => return None,
    })
}

impl Grid {
    /// The grid of one block for weights `w`; `mask` says what a sparse format keeps.
    pub(crate) fn new(ty: TensorType, w: &[f32], mask: Option<Mask>, fit: Fit<'_>) -> Self {
        let mut grid = Self {
            ty,
            scale: f16::ZERO,
            min: f16::ZERO,
            range: match dense_bits(ty) {
                Some(8) => (-127.0, 127.0),
                Some(bits) => (0.0, ((1 << bits) - 1) as f32),
                None => (-8.0, 7.0),
            },
            codes: [0; LONGEST],
            mask,
        };
        if grid.is_symmetric() {
            grid.fit_symmetric(w, fit);
        } else {
            grid.fit_affine(w, fit);
        }
        grid
    }

    fn is_symmetric(&self) -> bool {
        self.range.0 < 0.0
    }

    /// Whether element `j` is stored at all.
    fn keeps(&self, j: usize) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask.keeps(j))
    }

    fn code(&self, w: f32) -> f32 {
        let scale = self.scale.to_f32();
        if scale == 0.0 {
            return 0.0;
        }
        let code = ((w - self.min.to_f32()) / scale).round();
        code.clamp(self.range.0, self.range.1)
    }

    fn value(&self, code: f32) -> f32 {
        code * self.scale.to_f32() + self.min.to_f32()
    }

    /// Fixes the code of element `j` for weight `w`; returns the value that it stands for, with
    /// the bits that dequantization gives.
    pub(crate) fn round(&mut self, j: usize, w: f32) -> f32 {
        if !self.keeps(j) {
            return 0.0;
        }
        let code = self.code(w);
        // Truncated and widened again: codes of six bits and fewer are positive.
        self.codes[j] = code as i8;
        self.value(code)
    }

    /// Appends the block as it is stored.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if let Some(mask) = &self.mask {
            let sparsity = mask.sparsity();
            let column = |field: usize| mask.column(field);
            let code = |field: usize| self.codes[column(field)];
            let index = |field: usize| column(field) % sparsity.group();
            SparseBlock::new(sparsity, self.scale.to_bits(), code, index).write(out);
            return;
        }
        let block = CodeBlock {
            codes: std::array::from_fn(|j| self.codes[j].into()),
            scale: self.scale.to_bits(),
            min: self.min.to_bits(),
        };
        let start = out.len();
        out.resize(start + self.ty.block_bytes(), 0);
        let written = block.write(self.ty, &mut out[start..]);
        written.expect("only formats with scale and minimum get here");
    }

    fn set(&mut self, scale: f32, min: f32) {
        let limit = |v: f32| f16::from_f32(v.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
        (self.scale, self.min) = (limit(scale), limit(min));
    }

    /// The weighted squared error of rounding `w` with the present scale and minimum.
    fn error(&self, w: &[f32], importance: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (j, (&w, &h)) in w.iter().zip(importance).enumerate() {
            if self.keeps(j) {
                let e = w - self.value(self.code(w));
                sum += h * e * e;
            }
        }
        sum
    }

    /// Takes scale and minimum if they are better than the best so far.
    fn try_fit(&mut self, w: &[f32], importance: &[f32], scale: f32, min: f32, best: &mut Best) {
        self.set(scale, min);
        let error = self.error(w, importance);
        if error < best.error {
            *best = Best {
                error,
                scale: self.scale,
                min: self.min,
            };
        }
    }

    fn fit_affine(&mut self, w: &[f32], fit: Fit<'_>) {
        let low = w.iter().fold(f32::INFINITY, |m, &v| m.min(v));
        let high = w.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
        let most = self.range.1;
        self.set((high - low) / most, low);
        let Fit::Search(importance) = fit else { return };
        if high == low {
            return;
        }
        let mut best = Best::of(self, w, importance);
        let middle = 0.5 * (low + high);
        for &widen in steps(most) {
            let scale = (high - low) / (most + widen);
            let first = middle - 0.5 * most * scale;
            let codes = w
                .iter()
                .map(|w| ((w - first) / scale).round().clamp(0.0, most));
            if let Some((scale, min)) = line(w, codes, importance) {
                self.try_fit(w, importance, scale, min, &mut best);
            }
        }
        (self.scale, self.min) = (best.scale, best.min);
    }

    fn fit_symmetric(&mut self, w: &[f32], fit: Fit<'_>) {
        let kept = w.iter().enumerate().filter(|(j, _)| self.keeps(*j));
        let extreme = kept.fold(0.0f32, |m, (_, &v)| if v.abs() > m.abs() { v } else { m });
        if self.range.1 == 127.0 {
            return self.set(extreme.abs() / 127.0, 0.0);
        }
        // There is one negative code more than positive ones: the extreme weight gets it.
        self.set(extreme / self.range.0, 0.0);
        let Fit::Search(importance) = fit else { return };
        if extreme == 0.0 {
            return;
        }
        let mut best = Best::of(self, w, importance);
        for &widen in steps(15.0) {
            let start = extreme / (self.range.0 - widen);
            let (mut above, mut below) = (0.0, 0.0);
            for (j, (&w, &h)) in w.iter().zip(importance).enumerate() {
                if self.keeps(j) {
                    let code = (w / start).round().clamp(self.range.0, self.range.1);
                    above += h * w * code;
                    below += h * code * code;
                }
            }
            if below > 0.0 && above != 0.0 {
                self.try_fit(w, importance, above / below, 0.0, &mut best);
            }
        }
        (self.scale, self.min) = (best.scale, best.min);
    }
}

/// The best scale and minimum so far.
struct Best {
    error: f32,
    scale: f16,
    min: f16,
}

impl Best {
    fn of(grid: &Grid, w: &[f32], importance: &[f32]) -> Self {
        Self {
            error: grid.error(w, importance),
            scale: grid.scale,
            min: grid.min,
        }
    }
}

/// By how many codes the range is widened, that is, how far weights at its ends are cut off. The
/// fewer codes there are, the more it pays to look.
fn steps(most: f32) -> &'static [f32] {
    const FEW: [f32; 10] = [-0.3, 0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.5];
    const SOME: [f32; 7] = [-0.5, 0.0, 0.5, 1.0, 1.75, 2.5, 3.5];
    const MANY: [f32; 3] = [0.0, 1.0, 3.0];
    match most {
        most if most <= 7.0 => &FEW,
        most if most <= 15.0 => &SOME,
        _ => &MANY,
    }
}

/// Weighted least squares: `w` as `scale * code + min`; `None` if the codes do not differ.
fn line(w: &[f32], codes: impl Iterator<Item = f32>, importance: &[f32]) -> Option<(f32, f32)> {
    let (mut n, mut x, mut xx, mut y, mut xy) = (0.0f32, 0.0, 0.0, 0.0, 0.0);
    for ((&w, code), &h) in w.iter().zip(codes).zip(importance) {
        n += h;
        x += h * code;
        xx += h * code * code;
        y += h * w;
        xy += h * code * w;
    }
    let determinant = n * xx - x * x;
    if determinant <= 1e-6 * n * xx {
        return None;
    }
    let scale = (n * xy - x * y) / determinant;
    let min = (y - scale * x) / n;
    (scale > 0.0 && scale.is_finite() && min.is_finite()).then_some((scale, min))
}

const _: () = assert!(QK <= LONGEST);

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_flash::block::dequantize_row;

    const DENSE: [TensorType; 6] = [
        TensorType::Q2_1,
        TensorType::Q3_1,
        TensorType::Q4_1,
        TensorType::Q5_1,
        TensorType::Q6_1,
        TensorType::Q8_0,
    ];

    fn weights(n: usize, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        // Roughly normal.
        (0..n)
            .map(|_| (0..4).map(|_| random.f32() - 0.5).sum())
            .collect()
    }

    fn rounded(ty: TensorType, w: &[f32], mask: Option<Mask>, fit: Fit<'_>) -> (Vec<f32>, Vec<u8>) {
        let mut grid = Grid::new(ty, w, mask, fit);
        let values = w
            .iter()
            .enumerate()
            .map(|(j, &w)| grid.round(j, w))
            .collect();
        let mut bytes = Vec::new();
        grid.write(&mut bytes);
        (values, bytes)
    }

    /// The values that rounding works with are those that readers of the file will see.
    #[test]
    fn values_are_those_of_the_stored_block() {
        for seed in 0..20 {
            for ty in DENSE {
                let w = weights(32, seed);
                for fit in [Fit::Range, Fit::Search(&[1.0; 32])] {
                    let (values, bytes) = rounded(ty, &w, None, fit);
                    let mut read = vec![f32::NAN; 32];
                    dequantize_row(ty, &bytes, &mut read).unwrap();
                    assert_eq!(values, read, "{ty}");
                }
            }
            for ty in [TensorType::Q4_2OF4, TensorType::Q4_4OF16] {
                let n = ty.block_len();
                let w = weights(n, seed);
                let mask = Mask::new(
                    ty.sparsity().unwrap(),
                    &w.iter().map(|w| w.abs()).collect::<Vec<_>>(),
                );
                let (values, bytes) = rounded(ty, &w, Some(mask), Fit::Search(&vec![1.0; n]));
                let mut read = vec![f32::NAN; n];
                dequantize_row(ty, &bytes, &mut read).unwrap();
                assert_eq!(values, read, "{ty}");
            }
        }
    }

    #[test]
    fn searching_is_never_worse_than_the_range() {
        for ty in DENSE {
            let (mut range, mut search) = (0.0, 0.0);
            for seed in 0..50 {
                let w = weights(32, seed);
                let h: Vec<f32> = weights(32, seed + 100)
                    .iter()
                    .map(|v| v.abs() + 0.1)
                    .collect();
                let error = |fit| {
                    let (values, _) = rounded(ty, &w, None, fit);
                    let terms = w.iter().zip(values).zip(&h);
                    terms.map(|((w, v), h)| h * (w - v) * (w - v)).sum::<f32>()
                };
                let (a, b) = (error(Fit::Range), error(Fit::Search(&h)));
                assert!(b <= a * 1.0001, "{ty}: {b} above {a}");
                range += a;
                search += b;
            }
            if ty == TensorType::Q2_1 {
                assert!(search < 0.8 * range, "{search} and {range}");
            }
        }
    }

    #[test]
    fn blocks_of_equal_weights_are_exact() {
        for ty in DENSE {
            for value in [0.0, 0.5, -2.0] {
                let (values, _) = rounded(ty, &[value; 32], None, Fit::Search(&[1.0; 32]));
                assert!(
                    values
                        .iter()
                        .all(|v| (v - value).abs() <= value.abs() * 1e-3),
                    "{ty}"
                );
            }
        }
    }
}
