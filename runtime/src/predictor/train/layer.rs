//! One layer: split of its tokens, choice of the rank, calibration.

use super::fit::{self, Classifier};
use super::{Rank, Teacher, TrainOptions, Trained};
use crate::predictor::metrics::threshold;
use crate::predictor::samples::Activity;
use crate::predictor::{BLOCK, LayerPredictor, Quality, Scorer};
use lampyris_kernels::{Kernels, Pool};
use ndarray::Array2;
use std::ops::Range;

/// Tokens scored at once.
const CHUNK: usize = 256;
/// Tokens that starting points are computed from.
const START_TOKENS: usize = 4096;
/// How much training is expected to lower over-prediction, when a first rank is guessed.
const EXPECTED_GAIN: f64 = 1.5;

/// Trains, quantizes, calibrates and judges the classifier of one layer.
pub(super) fn train(
    machine: (&Kernels, &Pool),
    activity: &Activity,
    teacher: Option<&Teacher>,
    options: &TrainOptions,
    rng: &mut fastrand::Rng,
) -> Trained {
    // Tokens in a row belong to one text: the last part is new to what the first part taught.
    let tokens = activity.tokens();
    let (fitting, calibrating) = (0..tokens * 4 / 5, tokens * 4 / 5..tokens * 9 / 10);
    let judging = tokens * 9 / 10..tokens;
    let ranks = candidates(activity, options.rank);
    let most = ranks.last().copied().unwrap_or(BLOCK);
    let start = fit::Start::new(
        activity,
        0..fitting.end.min(START_TOKENS),
        teacher,
        most,
        rng,
    );
    let calibrated = |classifier: &Classifier| {
        let mut predictor = classifier.quantize();
        predictor.threshold =
            calibrate(machine, &predictor, activity, &calibrating, options.recall);
        let quality = judge(machine, &predictor, activity, &calibrating);
        (predictor, quality)
    };
    let mut ranks = ranks.into_iter().peekable();
    if let Rank::Auto {
        over_prediction, ..
    } = options.rank
    {
        // Untrained starting points are cheap to compare; training begins where it may suffice.
        while let Some(&rank) = ranks.peek() {
            let hopeless = calibrated(&start.classifier(rank)).1.over_prediction()
                > over_prediction * EXPECTED_GAIN;
            if !hopeless || rank == most {
                break;
            }
            ranks.next();
        }
    }
    let mut best: Option<(LayerPredictor, Quality)> = None;
    for rank in ranks {
        let mut classifier = start.classifier(rank);
        let untrained = calibrated(&classifier);
        fit::fit(&mut classifier, activity, &fitting, options, rng);
        let trained = calibrated(&classifier);
        // A start that represents everything can only be disturbed.
        let found = match trained.1.predicted < untrained.1.predicted {
            true => trained,
            false => untrained,
        };
        let enough = match options.rank {
            Rank::Auto {
                over_prediction, ..
            } => found.1.over_prediction() <= over_prediction,
            Rank::Fixed(_) => true,
        };
        let better = |(_, old): &(LayerPredictor, Quality)| found.1.predicted < old.predicted;
        if best.as_ref().is_none_or(better) {
            best = Some(found);
        }
        if enough {
            break;
        }
    }
    let (predictor, _) = best.expect("there is at least one rank");
    let quality = judge(machine, &predictor, activity, &judging);
    Trained { predictor, quality }
}

/// Ranks to try, ascending; at least one.
fn candidates(activity: &Activity, rank: Rank) -> Vec<usize> {
    let shape = activity.shape;
    let whole = shape.inputs.next_multiple_of(BLOCK);
    match rank {
        Rank::Fixed(rank) => vec![rank.next_multiple_of(BLOCK).clamp(BLOCK, whole)],
        Rank::Auto { share, .. } => {
            // Three matrices, as in gated networks; the share is a guide, not a limit of memory.
            let weights = 3.0 * shape.inputs as f64 * shape.neurons as f64;
            let most = share * weights / (shape.inputs + shape.neurons) as f64;
            let most = (most as usize).clamp(BLOCK, whole);
            let ranks = std::iter::successors(Some(BLOCK), |r| Some(r * 2));
            ranks.take_while(|&r| r <= most).collect()
        }
    }
}

/// The inputs of some tokens.
pub(super) fn inputs(activity: &Activity, tokens: &[usize]) -> Array2<f32> {
    let mut x = Array2::zeros((tokens.len(), activity.shape.inputs));
    for (mut row, &token) in x.rows_mut().into_iter().zip(tokens) {
        let row = row.as_slice_mut().expect("rows are contiguous");
        activity.copy_input(token, row);
    }
    x
}

/// Shows the scores of some tokens, `[tokens, neurons]`, chunk by chunk.
fn score(
    (kernels, pool): (&Kernels, &Pool),
    predictor: &LayerPredictor,
    activity: &Activity,
    tokens: &Range<usize>,
    mut visit: impl FnMut(usize, &[f32]),
) {
    let mut scorer = Scorer::default();
    let mut scores = Vec::new();
    let all: Vec<usize> = tokens.clone().collect();
    for chunk in all.chunks(CHUNK) {
        let x = inputs(activity, chunk);
        let x = x.as_slice().expect("new arrays are contiguous");
        scores.resize(chunk.len() * predictor.neurons, 0.0);
        scorer.score(kernels, pool, predictor, x, &mut scores);
        for (i, row) in scores.chunks_exact(predictor.neurons).enumerate() {
            visit(chunk[0] + i, row);
        }
    }
}

fn calibrate(
    machine: (&Kernels, &Pool),
    predictor: &LayerPredictor,
    activity: &Activity,
    tokens: &Range<usize>,
    recall: f64,
) -> f32 {
    let mut positives = Vec::new();
    score(machine, predictor, activity, tokens, |token, scores| {
        positives.extend(activity.active(token).map(|n| scores[n]));
    });
    threshold(&mut positives, recall)
}

fn judge(
    machine: (&Kernels, &Pool),
    predictor: &LayerPredictor,
    activity: &Activity,
    tokens: &Range<usize>,
) -> Quality {
    let mut quality = Quality::default();
    score(machine, predictor, activity, tokens, |token, scores| {
        for (n, &s) in scores.iter().enumerate() {
            quality.count(activity.is_active(token, n), s >= predictor.threshold);
        }
    });
    quality
}
