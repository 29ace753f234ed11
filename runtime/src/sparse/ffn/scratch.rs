//! Working memory of sparse feed-forward networks, allocated once.

use super::super::chunks::Read;
use super::super::fetch::Request;
use crate::predictor::Scorer;
use lampyris_kernels::Activations;

/// Sizes that working memory depends on: the largest of all layers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Tokens of a call.
    pub(super) batch: usize,
    /// Tokens computed neuron by neuron.
    pub(super) together: usize,
    pub(super) width: usize,
    pub(super) neurons: usize,
    /// Rank of predictors; 0 without.
    pub(super) rank: usize,
    /// Neurons of one read in a sweep.
    pub(super) sweep: usize,
    /// Bytes of their rows.
    pub(super) sweep_bytes: usize,
    /// Bytes of the neurons of one wave that are put together from separate reads.
    pub(super) assembly: usize,
}

/// Buffers.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) batch: usize,
    /// Inputs in 8 bits.
    pub(super) x: Activations,
    pub(super) scorer: Scorer,
    /// Scores, or what resident rows give: `[together, neurons]`.
    pub(super) values: Vec<f32>,
    pub(super) seconds: Vec<f32>,
    /// Selected positions of each token, ascending.
    pub(super) lists: Vec<Vec<u32>>,
    /// Entries of each token's list that were added.
    pub(super) done: Vec<usize>,
    pub(super) union: Vec<u32>,
    pub(super) misses: Vec<u32>,
    pub(super) reads: Vec<Read>,
    pub(super) requests: Vec<Request>,
    /// Where a position's bytes lie: request (or row of the assembly), offset.
    pub(super) staged: Vec<(u32, u32)>,
    pub(super) assembly: Vec<u8>,
    /// Neurons that are not zero, with their coefficients.
    pub(super) live: Vec<u32>,
    pub(super) coefficients: Vec<f32>,
    pub(super) products: Vec<f32>,
    /// Of a sweep: `[batch, neurons of a read]`, and rows without gaps.
    pub(super) sweep_values: Vec<f32>,
    pub(super) sweep_seconds: Vec<f32>,
    pub(super) sweep_rows: Vec<u8>,
    /// Predicted neurons of a prompt, `[batch, neurons]`.
    pub(super) predicted: Vec<bool>,
}

impl Scratch {
    pub(super) fn new(s: &Sizes) -> Self {
        let together = s.together.min(s.batch);
        let list = || Vec::with_capacity(s.neurons);
        let scored = if s.rank > 0 { together } else { 0 };
        Self {
            batch: s.batch,
            x: Activations::with_capacity(s.batch, s.width),
            scorer: Scorer::new(scored, s.width, s.rank),
            values: vec![0.0; together * s.neurons],
            seconds: vec![0.0; together * s.neurons],
            lists: (0..together).map(|_| list()).collect(),
            done: Vec::with_capacity(together),
            union: list(),
            misses: list(),
            reads: Vec::with_capacity(s.neurons),
            requests: Vec::with_capacity(3 * s.neurons),
            staged: vec![(0, 0); s.neurons],
            assembly: vec![0; s.assembly],
            live: list(),
            coefficients: Vec::with_capacity(s.neurons),
            products: Vec::with_capacity(s.neurons),
            sweep_values: vec![0.0; s.batch * s.sweep],
            sweep_seconds: vec![0.0; s.batch * s.sweep],
            sweep_rows: vec![0; s.sweep_bytes],
            predicted: Vec::with_capacity(if s.rank > 0 { s.batch * s.neurons } else { 0 }),
        }
    }

    /// Bytes that [`new`](Self::new) takes.
    pub(super) fn bytes(s: &Sizes) -> usize {
        let together = s.together.min(s.batch);
        let scored = if s.rank > 0 { together } else { 0 };
        let prompts = if s.rank > 0 { s.batch * s.neurons } else { 0 };
        let predictor = Scorer::bytes(scored, s.width, s.rank) + prompts;
        let lists = together * s.neurons * (4 + 4 + 4);
        let neurons =
            s.neurons * (4 + 4 + size_of::<Read>() + 3 * size_of::<Request>() + 8 + 4 + 4 + 4);
        let sweep = 2 * 4 * s.batch * s.sweep + s.sweep_bytes;
        let inputs = Activations::bytes(s.batch, s.width);
        predictor + lists + neurons + sweep + inputs + s.assembly
    }
}
