//! Which neurons of a layer a token needs.

use super::scratch::Scratch;
use super::{Layer, WindowedFfn};
use crate::sparse::geometry::Resident;
use lampyris_kernels::{Kernels, Matrix, Pool};

impl WindowedFfn {
    /// Fills the lists of selected positions for the first `tokens` tokens of `x`, and `values`
    /// with what is known of them: activated keys, or whole coefficients.
    pub(super) fn select(&mut self, layer: usize, tokens: usize, x: &[f32]) {
        let (kernels, pool) = (&self.kernels, &*self.pool);
        let layer = &self.layers[layer];
        let scratch = &mut self.scratch;
        match &layer.predictor {
            Some(predictor) => {
                let scores = &mut scratch.values[..tokens * predictor.neurons];
                scratch.scorer.score(kernels, pool, predictor, x, scores);
                let rows = scores.chunks_exact(predictor.neurons);
                for (list, row) in scratch.lists.iter_mut().zip(rows) {
                    fill(list, row.iter().map(|&s| s >= predictor.threshold));
                }
            }
            None => {
                known(kernels, pool, layer, tokens, scratch);
                let least = layer.threshold.map_or(0.0, |(_, t)| t);
                let rows = scratch.values.chunks_exact(layer.neurons());
                for (list, row) in scratch.lists.iter_mut().zip(rows).take(tokens) {
                    fill(list, row.iter().map(|v| v.abs() > least));
                }
            }
        }
    }

    /// Marks the predicted neurons of all tokens of a prompt.
    pub(super) fn predict_prompt(&mut self, layer: usize, x: &[f32]) {
        let Some(predictor) = &self.layers[layer].predictor else {
            return;
        };
        self.scratch.predicted.clear();
        let scratch = &mut self.scratch;
        for part in x.chunks(self.options.together.max(1) * predictor.inputs) {
            let tokens = part.len() / predictor.inputs;
            let scores = &mut scratch.values[..tokens * predictor.neurons];
            scratch
                .scorer
                .score(&self.kernels, &self.pool, predictor, part, scores);
            let reach = scores.iter().map(|&s| s >= predictor.threshold);
            scratch.predicted.extend(reach);
        }
    }
}

/// Replaces a list by the positions that are selected.
fn fill(list: &mut Vec<u32>, selected: impl Iterator<Item = bool>) {
    list.clear();
    list.extend(
        selected
            .enumerate()
            .filter_map(|(p, s)| s.then_some(p as u32)),
    );
}

/// Activated keys of all neurons, times their second rows where these are resident too.
fn known(kernels: &Kernels, pool: &Pool, layer: &Layer, tokens: usize, scratch: &mut Scratch) {
    let (neurons, geometry) = (layer.neurons(), &layer.geometry);
    let product = |ty, data: &[u8], bias: &[f32], out: &mut [f32]| {
        let weights = Matrix {
            ty,
            rows: neurons,
            cols: geometry.width,
            data,
        };
        kernels.matmul(pool, weights, &scratch.x, out, neurons, 0);
        if !bias.is_empty() {
            kernels.add(out, bias);
        }
    };
    let values = &mut scratch.values[..tokens * neurons];
    product(geometry.key.ty, layer.known_keys(), &layer.key_bias, values);
    layer.activate(kernels, values);
    if let (Resident::KeyAndSecond, Some(second)) = (layer.resident, geometry.second) {
        let seconds = &mut scratch.seconds[..tokens * neurons];
        product(
            second.ty,
            layer.known_seconds(),
            &layer.second_bias,
            seconds,
        );
        values.iter_mut().zip(&*seconds).for_each(|(v, s)| *v *= s);
    }
}
