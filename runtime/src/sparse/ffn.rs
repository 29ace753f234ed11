//! [`WindowedFfn`]: the feed-forward networks of a model, neuron by neuron.
//!
//! For a few tokens, each layer goes through four steps: *select* the active neurons, *fetch*
//! those that are not in memory, *compute* them, *admit* them to the neuron cache. For a prompt,
//! nearly every neuron is active for some token, so that a layer is read once, in order, for all
//! tokens ([`sweep`]).
//!
//! **Bits.** A token's output is the sum over its selected neurons in the order of their
//! positions in the file, whatever the window, the cache, the reads and the number of threads or
//! tokens: all of these give the same bits. Against a dense product, which adds in another order
//! and rounds activations before the down projection, the difference is rounding.

mod decode;
mod open;
mod scratch;
mod select;
mod sweep;
#[cfg(test)]
mod tests;

use super::chunks::Planner;
use super::fetch::Fetcher;
use super::geometry::{Geometry, Resident};
use super::options::{SparseError, SparseOptions};
use super::slots::Slots;
use super::thresholds::Rule;
use super::usage::Usage;
use crate::engine::{EngineError, SparseCounters, SparseFfn};
use crate::predictor::{LayerPredictor, Quality};
use lampyris_import::arch::Activation;
use lampyris_kernels::{Kernels, Pool};
use lampyris_pack::Part;
use scratch::Scratch;
use std::sync::Arc;
use std::time::Duration;

pub use open::Memory;

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Tokens times layers computed neuron by neuron.
    pub steps: u64,
    /// Neurons that these wanted, counted once for a call.
    pub wanted: u64,
    /// Those of them that were in memory.
    pub hits: u64,
    /// Bytes read from storage, in total.
    pub bytes_read: u64,
    /// Bytes of neurons that were wanted and not in memory: what a device without granularity
    /// would have read.
    pub bytes_wanted: u64,
    /// Read requests.
    pub reads: u64,
    /// Time in which computing waited for storage.
    pub io_wait: Duration,
    /// Time of managing memory: planning reads, moving neurons, choosing what leaves.
    pub memory: Duration,
    /// Decisions of the predictor where the truth was computed too: in prompts.
    pub quality: Quality,
}

/// One layer.
#[derive(Debug)]
struct Layer {
    geometry: Geometry,
    activation: Activation,
    resident: Resident,
    /// The parts in a row of the cache: key, second, down, as far as they are there.
    key: Option<Part>,
    second: Option<Part>,
    down: Part,
    /// Biases by position; empty: none.
    key_bias: Vec<f32>,
    second_bias: Vec<f32>,
    /// Bias of the output; empty: none.
    down_bias: Vec<f32>,
    /// Key rows of all neurons, then second rows, as far as they are resident.
    known: Vec<u8>,
    predictor: Option<LayerPredictor>,
    threshold: Option<(Rule, f32)>,
    slots: Slots,
    usage: Usage,
}

/// Sparse feed-forward networks with their neuron cache. See the module's text.
pub struct WindowedFfn {
    kernels: Kernels,
    pool: Arc<Pool>,
    options: SparseOptions,
    largest_read: usize,
    layers: Vec<Layer>,
    fetcher: Fetcher,
    planner: Planner,
    scratch: Scratch,
    counters: Counters,
}

impl std::fmt::Debug for WindowedFfn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowedFfn")
            .field("layers", &self.layers.len())
            .field("fetcher", &self.fetcher)
            .finish_non_exhaustive()
    }
}

impl WindowedFfn {
    /// Writes the network's output of `layer` for each token to `y`; `x` is the normed input, both
    /// `[tokens, width]`. The caller adds `y` to the residual stream.
    ///
    /// # Errors
    /// What storage says; the next call may go on.
    ///
    /// # Panics
    /// If there is no such layer, there are more tokens than the batch that memory was planned
    /// for, or lengths do not fit.
    pub fn compute(
        &mut self,
        layer: usize,
        tokens: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), SparseError> {
        let width = self.layers[layer].geometry.width;
        assert!(
            tokens <= self.scratch.batch,
            "{tokens} tokens are more than planned"
        );
        assert_eq!(
            (x.len(), y.len()),
            (tokens * width, tokens * width),
            "lengths of x and y"
        );
        if tokens == 0 {
            return Ok(());
        }
        let bias = &self.layers[layer].down_bias;
        for row in y.chunks_exact_mut(width) {
            match bias.is_empty() {
                true => row.fill(0.0),
                false => row.copy_from_slice(bias),
            }
        }
        self.scratch.x.quantize(&self.kernels, x, width);
        self.fetcher.begin()?;
        let all = matches!(self.options.activity, super::options::Activity::All);
        if tokens > self.options.together || all {
            self.sweep(layer, tokens, x, y)
        } else {
            self.decode(layer, tokens, x, y)
        }
    }

    /// Counters since the start or the last [`forget_counters`](Self::forget_counters).
    pub fn counters(&self) -> Counters {
        Counters {
            bytes_read: self.fetcher.bytes,
            reads: self.fetcher.reads,
            io_wait: self.fetcher.waited,
            ..self.counters
        }
    }

    /// Begins counting anew; returns what was counted.
    pub fn forget_counters(&mut self) -> Counters {
        let before = self.counters();
        self.counters = Counters::default();
        (self.fetcher.bytes, self.fetcher.reads) = (0, 0);
        self.fetcher.waited = Duration::ZERO;
        before
    }

    /// Rows of the neuron cache in all layers, and rows in use.
    pub fn cache_rows(&self) -> (usize, usize) {
        let layers = self.layers.iter();
        layers.fold((0, 0), |(all, used), layer| {
            (all + layer.slots.capacity(), used + layer.slots.used())
        })
    }

    /// Bytes of predictors, and of rows that stay in memory.
    pub fn resident_bytes(&self) -> (usize, usize) {
        let predictors = self.layers.iter().filter_map(|l| l.predictor.as_ref());
        let known = self.layers.iter().map(|l| l.known.len()).sum();
        (predictors.map(LayerPredictor::bytes).sum(), known)
    }
}

impl SparseFfn for WindowedFfn {
    fn forward(
        &mut self,
        layer: usize,
        tokens: usize,
        x: &[f32],
        _stream: &[f32],
        y: &mut [f32],
    ) -> Result<(), EngineError> {
        Ok(self.compute(layer, tokens, x, y)?)
    }

    fn counters(&self) -> SparseCounters {
        let counters = self.counters();
        SparseCounters {
            bytes_read: counters.bytes_read,
            reads: counters.reads,
            io_wait_ms: counters.io_wait.as_secs_f64() * 1e3,
            memory_ms: counters.memory.as_secs_f64() * 1e3,
        }
    }
}

impl Layer {
    fn neurons(&self) -> usize {
        self.geometry.neurons
    }

    /// Resident key rows of all neurons.
    fn known_keys(&self) -> &[u8] {
        &self.known[..self.neurons() * self.geometry.key.bytes]
    }

    /// Resident second rows of all neurons; empty if there are none.
    fn known_seconds(&self) -> &[u8] {
        match self.resident {
            Resident::KeyAndSecond => &self.known[self.neurons() * self.geometry.key.bytes..],
            _ => &[],
        }
    }

    /// Applies the activation function.
    fn activate(&self, kernels: &Kernels, values: &mut [f32]) {
        match self.activation {
            Activation::Relu => kernels.relu(values),
            Activation::Silu => kernels.silu(values),
        }
    }
}

/// The bytes of a part in a row.
fn part_of(row: &[u8], part: Part) -> &[u8] {
    &row[part.offset..][..part.bytes]
}
