//! Training of the low-rank classifiers, one layer at a time.
//!
//! A layer starts from the best low-rank approximation of its own gate matrix under the
//! covariance of its inputs (reduced-rank regression in closed form): for a ReLU, the sign of the
//! gate *is* the activity. Mini-batch Adam on a class-weighted logistic loss then moves what the
//! rank cannot represent to where it does not change decisions. Thresholds are calibrated after
//! quantization, on text that training did not see, and judged on text that calibration did not
//! see.

mod fit;
mod layer;

use super::samples::{Samples, SamplesError};
use super::{LayerPredictor, Quality};
use lampyris_kernels::{Kernels, Pool};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Least number of tokens that training takes.
pub const MIN_TOKENS: usize = 256;

/// How the rank of a layer is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rank {
    /// The same for all layers; rounded up to a multiple of 32.
    Fixed(usize),
    /// For each layer, the smallest of 32, 64, 128... at which no more than `over_prediction`
    /// neurons are predicted for each active one, within a share of the layer's FFN weights.
    Auto {
        /// Predicted neurons for each active one.
        over_prediction: f64,
        /// Largest share of the layer's FFN weights that the predictor may have.
        share: f64,
    },
}

impl Default for Rank {
    fn default() -> Self {
        Self::Auto {
            over_prediction: 1.5,
            share: 0.12,
        }
    }
}

/// Settings of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOptions {
    /// Rank.
    pub rank: Rank,
    /// Share of active neurons to find.
    pub recall: f64,
    /// Passes over the tokens.
    pub epochs: usize,
    /// Tokens of a mini-batch.
    pub batch: usize,
    /// Step of Adam at the start; it falls to zero along a half cosine.
    pub learning_rate: f32,
    /// Seed of everything random. The result does not depend on the number of threads.
    pub seed: u64,
    /// Layers trained at the same time.
    pub threads: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            rank: Rank::default(),
            recall: 0.95,
            epochs: 4,
            batch: 128,
            learning_rate: 2e-3,
            seed: 0,
            threads: 1,
        }
    }
}

/// What a layer's activity is the sign of, as far as it is known: the gate (or up) projection.
#[derive(Clone, Debug, Default)]
pub struct Teacher {
    /// `[neurons, inputs]`, row-major.
    pub weight: Vec<f32>,
    /// One for each neuron; empty: none.
    pub bias: Vec<f32>,
}

/// A trained layer.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The classifier with its threshold.
    pub predictor: LayerPredictor,
    /// On text that neither training nor calibration saw.
    pub quality: Quality,
}

/// Reported after each layer.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Layers done.
    pub done: usize,
    /// Layers in all.
    pub layers: usize,
}

/// Trains a classifier for every layer. Memory holds the samples of one layer for each thread.
///
/// `teacher` gives a layer's gate projection, or `None` where activity is not its sign.
///
/// # Errors
/// Too few tokens; samples that cannot be read; what `teacher` fails with.
pub fn train<E: From<SamplesError> + Send>(
    kernels: &Kernels,
    samples: &Samples,
    teacher: &(dyn Fn(usize) -> Result<Option<Teacher>, E> + Sync),
    options: &TrainOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Trained>, E> {
    if samples.tokens() < MIN_TOKENS {
        let (found, least) = (samples.tokens(), MIN_TOKENS);
        return Err(SamplesError::TooFew { found, least }.into());
    }
    let layers = samples.shapes().len();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(Vec::with_capacity(layers));
    let work = || {
        // Layers share nothing, so that none needs more threads than its own.
        let Ok(pool) = Pool::new(1) else { return };
        loop {
            let layer = next.fetch_add(1, Ordering::Relaxed);
            if layer >= layers {
                return;
            }
            let result = one((kernels, &pool), samples, teacher, options, layer);
            // The others need not go on with what is lost already.
            if result.is_err() {
                next.store(layers, Ordering::Relaxed);
            }
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((layer, result));
            drop(results);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, layers });
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.threads.clamp(1, layers.max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(layer, _)| *layer);
    results.into_iter().map(|(_, result)| result).collect()
}

fn one<E: From<SamplesError>>(
    machine: (&Kernels, &Pool),
    samples: &Samples,
    teacher: &(dyn Fn(usize) -> Result<Option<Teacher>, E> + Sync),
    options: &TrainOptions,
    layer: usize,
) -> Result<Trained, E> {
    let activity = samples.layer(layer)?;
    let teacher = teacher(layer)?;
    let seed = options.seed ^ (layer as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut rng = fastrand::Rng::with_seed(seed);
    Ok(layer::train(
        machine,
        &activity,
        teacher.as_ref(),
        options,
        &mut rng,
    ))
}

#[cfg(test)]
mod tests;
