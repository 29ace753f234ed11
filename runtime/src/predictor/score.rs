//! Scores of neurons, with the arithmetic of the engine wherever they are needed: thresholds are
//! calibrated on the very numbers that decide at run time.

use super::{EXPAND, LayerPredictor, PROJECT};
use lampyris_kernels::{Activations, Kernels, Matrix, Pool};

/// Working memory for the scores of some tokens.
#[derive(Debug, Default)]
pub(crate) struct Scorer {
    /// Inputs with rows of whole blocks.
    padded: Vec<f32>,
    x: Activations,
    hidden: Vec<f32>,
    hidden_x: Activations,
}

impl Scorer {
    /// For up to `tokens` tokens of predictors up to these sizes.
    pub(crate) fn new(tokens: usize, inputs: usize, rank: usize) -> Self {
        let wide = inputs.next_multiple_of(PROJECT.block_len());
        Self {
            padded: Vec::with_capacity(tokens * wide),
            x: Activations::with_capacity(tokens, wide),
            hidden: Vec::with_capacity(tokens * rank),
            hidden_x: Activations::with_capacity(tokens, rank),
        }
    }

    /// Bytes that [`new`](Self::new) takes.
    pub(crate) fn bytes(tokens: usize, inputs: usize, rank: usize) -> usize {
        let wide = inputs.next_multiple_of(PROJECT.block_len());
        let activations = Activations::bytes(tokens, wide) + Activations::bytes(tokens, rank);
        4 * tokens * (wide + rank) + activations
    }

    /// Writes the scores of the tokens of `x`, `[tokens, inputs]`, to `scores`,
    /// `[tokens, neurons]`.
    pub(crate) fn score(
        &mut self,
        kernels: &Kernels,
        pool: &Pool,
        predictor: &LayerPredictor,
        x: &[f32],
        scores: &mut [f32],
    ) {
        let (wide, rank) = (predictor.padded_inputs(), predictor.rank);
        self.padded.clear();
        for row in x.chunks_exact(predictor.inputs) {
            self.padded.extend_from_slice(row);
            let end = self.padded.len().next_multiple_of(wide);
            self.padded.resize(end, 0.0);
        }
        let product = |(ty, data): (_, &[u8]), rows, cols, x: &Activations, out: &mut [f32]| {
            let weights = Matrix {
                ty,
                rows,
                cols,
                data,
            };
            kernels.matmul(pool, weights, x, out, rows, 0);
        };
        self.x.quantize(kernels, &self.padded, wide);
        self.hidden.resize(x.len() / predictor.inputs * rank, 0.0);
        let project = (PROJECT, &predictor.project[..]);
        product(project, rank, wide, &self.x, &mut self.hidden);
        self.hidden_x.quantize(kernels, &self.hidden, rank);
        product(
            (EXPAND, &predictor.expand),
            predictor.neurons,
            rank,
            &self.hidden_x,
            scores,
        );
        kernels.add(scores, &predictor.bias);
    }
}
