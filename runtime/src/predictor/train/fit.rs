//! A classifier in f32: its closed-form start and its training.

use super::layer::inputs;
use super::{Teacher, TrainOptions};
use crate::predictor::LayerPredictor;
use crate::predictor::linalg::leading;
use crate::predictor::samples::Activity;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use std::ops::Range;

/// Rounds of subspace iteration: the start need not be exact.
const ITERATIONS: usize = 6;
/// A standard logistic variable has about this standard deviation.
const LOGISTIC_STD: f32 = 1.8;

/// `scores = expand (project x) + bias`.
#[derive(Clone)]
pub(super) struct Classifier {
    /// `[rank, inputs]`.
    project: Array2<f32>,
    /// `[neurons, rank]`.
    expand: Array2<f32>,
    bias: Array1<f32>,
}

impl Classifier {
    pub(super) fn quantize(&self) -> LayerPredictor {
        let flat = |a: &Array2<f32>| a.iter().copied().collect::<Vec<f32>>();
        let bias = self.bias.to_vec();
        LayerPredictor::quantize(
            &flat(&self.project),
            &flat(&self.expand),
            &bias,
            self.project.ncols(),
        )
    }
}

/// Starting points of all ranks up to one: leading directions come first.
pub(super) struct Start(Classifier);

impl Start {
    pub(super) fn new(
        activity: &Activity,
        tokens: Range<usize>,
        teacher: Option<&Teacher>,
        rank: usize,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let tokens: Vec<usize> = tokens.collect();
        let x = inputs(activity, &tokens);
        let n = x.nrows() as f32;
        let mean = x.mean_axis(Axis(0)).expect("there are tokens");
        let centred = &x - &mean;
        let covariance = centred.t().dot(&centred) / n;
        let start = match teacher {
            Some(teacher) => from_gate(teacher, &mean, &covariance, rank, rng),
            None => from_inputs(activity, &tokens, &mean, &covariance, rank, rng),
        };
        Self(start)
    }

    /// The first `rank` directions.
    pub(super) fn classifier(&self, rank: usize) -> Classifier {
        let rank = rank.min(self.0.project.nrows());
        Classifier {
            project: self.0.project.slice(s![..rank, ..]).to_owned(),
            expand: self.0.expand.slice(s![.., ..rank]).to_owned(),
            bias: self.0.bias.clone(),
        }
    }
}

/// The best approximation of the gate's values over these inputs: with `z = W x`, the projection
/// onto the leading eigenvectors `V` of `cov(z) = W cov(x) W'`.
fn from_gate(
    teacher: &Teacher,
    mean: &Array1<f32>,
    covariance: &Array2<f32>,
    rank: usize,
    rng: &mut fastrand::Rng,
) -> Classifier {
    let width = mean.len();
    let neurons = teacher.weight.len() / width;
    let weight = ArrayView2::from_shape((neurons, width), &teacher.weight);
    let weight = weight.expect("the gate has a row for each neuron");
    let v = leading(neurons, rank, ITERATIONS, rng, |basis| {
        weight.dot(&covariance.dot(&weight.t().dot(&basis)))
    });
    let project = v.t().dot(&weight);
    let spread = weight.dot(covariance) * weight;
    // Scores in units of each neuron's own spread: the loss sees all neurons alike.
    let unit = spread
        .sum_axis(Axis(1))
        .mapv(|s| LOGISTIC_STD / s.max(1e-12).sqrt());
    let mut expand = v;
    expand
        .rows_mut()
        .into_iter()
        .zip(&unit)
        .for_each(|(mut row, u)| row *= *u);
    let mut centre = weight.dot(mean);
    if !teacher.bias.is_empty() {
        centre
            .iter_mut()
            .zip(&teacher.bias)
            .for_each(|(c, b)| *c += b);
    }
    // The mean is represented exactly by the bias, not by the directions.
    let bias = centre * unit - expand.dot(&project.dot(mean));
    whiten(
        Classifier {
            project,
            expand,
            bias,
        },
        covariance,
    )
}

/// Principal components of the inputs, with neurons that know their frequency only.
fn from_inputs(
    activity: &Activity,
    tokens: &[usize],
    mean: &Array1<f32>,
    covariance: &Array2<f32>,
    rank: usize,
    rng: &mut fastrand::Rng,
) -> Classifier {
    let neurons = activity.shape.neurons;
    let v = leading(mean.len(), rank, ITERATIONS, rng, |basis| {
        covariance.dot(&basis)
    });
    let mut counts = vec![0.5f32; neurons];
    for &token in tokens {
        activity.active(token).for_each(|n| counts[n] += 1.0);
    }
    let total = tokens.len() as f32 + 1.0;
    let bias = counts.iter().map(|c| (c / (total - c)).ln()).collect();
    let project = v.t().to_owned();
    let expand = Array2::zeros((neurons, project.nrows()));
    whiten(
        Classifier {
            project,
            expand,
            bias,
        },
        covariance,
    )
}

/// Scales the hidden values to unit variance, so that one step size suits both matrices.
fn whiten(mut classifier: Classifier, covariance: &Array2<f32>) -> Classifier {
    let variances = (classifier.project.dot(covariance) * &classifier.project).sum_axis(Axis(1));
    for (i, variance) in variances.iter().enumerate() {
        let std = variance.max(1e-12).sqrt();
        classifier.project.row_mut(i).mapv_inplace(|v| v / std);
        classifier.expand.column_mut(i).mapv_inplace(|v| v * std);
    }
    classifier
}

/// Trains on `tokens` in shuffled mini-batches.
pub(super) fn fit(
    classifier: &mut Classifier,
    activity: &Activity,
    tokens: &Range<usize>,
    options: &TrainOptions,
    rng: &mut fastrand::Rng,
) {
    let mut order: Vec<usize> = tokens.clone().collect();
    let weight = positive_weight(activity, tokens);
    let batch = options.batch.max(1);
    let steps = (order.len().div_ceil(batch) * options.epochs).max(1);
    // Rows of `project` have small entries (inputs are wide), so their steps are smaller too.
    let small = (1.0 / activity.shape.inputs as f32).sqrt() * 4.0;
    let mut adam = [
        Adam::new(
            classifier.project.len(),
            options.learning_rate * small.min(1.0),
        ),
        Adam::new(classifier.expand.len(), options.learning_rate),
        Adam::new(classifier.bias.len(), options.learning_rate),
    ];
    let mut step = 0;
    for _ in 0..options.epochs {
        rng.shuffle(&mut order);
        for part in order.chunks(batch) {
            let progress = step as f32 / steps as f32;
            let decay = 0.5 * (1.0 + (std::f32::consts::PI * progress).cos());
            step += 1;
            let x = inputs(activity, part);
            let (project, expand, bias) = gradients(classifier, activity, part, &x, weight);
            adam[0].step(slice(&mut classifier.project), &project, decay);
            adam[1].step(slice(&mut classifier.expand), &expand, decay);
            let flat = classifier
                .bias
                .as_slice_mut()
                .expect("vectors are contiguous");
            adam[2].step(
                flat,
                bias.as_slice().expect("vectors are contiguous"),
                decay,
            );
        }
    }
}

fn slice(matrix: &mut Array2<f32>) -> &mut [f32] {
    matrix
        .as_slice_memory_order_mut()
        .expect("matrices are contiguous")
}

/// Weight of active neurons in the loss: the root of the imbalance, which keeps rare activity
/// from being given up without drowning the rest.
fn positive_weight(activity: &Activity, tokens: &Range<usize>) -> f32 {
    let active: usize = tokens.clone().map(|t| activity.active(t).count()).sum();
    let all = tokens.len() * activity.shape.neurons;
    ((all - active) as f32 / active.max(1) as f32)
        .sqrt()
        .clamp(1.0, 8.0)
}

/// Gradients of the mean weighted logistic loss, in the memory order of the parameters.
fn gradients(
    classifier: &Classifier,
    activity: &Activity,
    tokens: &[usize],
    x: &Array2<f32>,
    weight: f32,
) -> (Vec<f32>, Vec<f32>, Array1<f32>) {
    let hidden = x.dot(&classifier.project.t());
    let mut error = hidden.dot(&classifier.expand.t());
    let scale = 1.0 / tokens.len() as f32;
    for (mut row, &token) in error.rows_mut().into_iter().zip(tokens) {
        for (n, (value, bias)) in row.iter_mut().zip(&classifier.bias).enumerate() {
            let p = 1.0 / (1.0 + (-(*value + bias)).exp());
            *value = match activity.is_active(token, n) {
                true => weight * (p - 1.0) * scale,
                false => p * scale,
            };
        }
    }
    let bias = error.sum_axis(Axis(0));
    let back = error.dot(&classifier.expand);
    let expand = like(&classifier.expand, error.t().dot(&hidden));
    let project = like(&classifier.project, back.t().dot(x));
    (project, expand, bias)
}

/// The elements of `values` in the memory order of `model`.
fn like(model: &Array2<f32>, values: Array2<f32>) -> Vec<f32> {
    if model.is_standard_layout() {
        values.iter().copied().collect()
    } else {
        values.t().iter().copied().collect()
    }
}

/// Adam with its usual constants.
struct Adam {
    rate: f32,
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    fn new(len: usize, rate: f32) -> Self {
        Self {
            rate,
            mean: vec![0.0; len],
            square: vec![0.0; len],
            steps: 0,
        }
    }

    fn step(&mut self, parameters: &mut [f32], gradient: &[f32], decay: f32) {
        const B1: f32 = 0.9;
        const B2: f32 = 0.999;
        self.steps += 1;
        let rate = self.rate * decay / (1.0 - B1.powi(self.steps));
        let correction = 1.0 / (1.0 - B2.powi(self.steps));
        let state = self.mean.iter_mut().zip(&mut self.square);
        for ((p, g), (m, v)) in parameters.iter_mut().zip(gradient).zip(state) {
            *m = B1 * *m + (1.0 - B1) * g;
            *v = B2 * *v + (1.0 - B2) * g * g;
            *p -= rate * *m / ((*v * correction).sqrt() + 1e-8);
        }
    }
}
