//! What each format of each matrix would cost.
//!
//! The loss of a format is the trace of dw H dwᵀ: how much it changes the outputs of its layer.
//! How much that matters to the model differs from matrix to matrix, so it is measured: with one
//! narrow format of the matrix alone, by how much do the predictions change on some tokens
//! (Kullback-Leibler divergence from those of the unchanged model)? The quotient of both scales
//! the losses of all formats of the matrix.

use crate::Result;
use crate::calibrate::Stream;
use crate::hessian::Hessian;
use crate::plan::{Matrix, Plan};
use crate::quantize::{self, with_factor};
use lampyris_flash::TensorType;
use lampyris_import::source::RowOrder;
use lampyris_runtime::Reference;

/// Expected loss of each format of each matrix.
#[derive(Clone, Debug)]
pub struct Survey {
    /// `[matrix][format]`, in the order of [`Plan::matrices`] and [`Matrix::formats`].
    pub losses: Vec<Vec<f64>>,
    /// Second moments of the inputs of tables, which lie outside the layers.
    pub(crate) tables: Vec<(usize, Hessian)>,
}

impl Survey {
    /// For an unlimited budget, which needs no losses.
    pub fn none() -> Self {
        Self {
            losses: Vec::new(),
            tables: Vec::new(),
        }
    }
}

/// Measures `plan`'s model, which `reference` holds unchanged, on calibration text. `probe` is a
/// window on which the effect of each matrix is measured; without it the losses of the layers'
/// outputs count as they are. `progress` hears how many weights have been looked at.
///
/// # Errors
/// Those of the executor; inputs that are not finite.
pub fn survey(
    plan: &Plan<'_>,
    reference: &mut Reference<'_>,
    calibration: &[Vec<u32>],
    probe: Option<&[u32]>,
    progress: &mut dyn FnMut(u64),
) -> Result<Survey> {
    let mut stream = Stream::new(reference, calibration)?;
    let tokens: usize = calibration.iter().map(Vec::len).sum();
    let mut probe = probe
        .map(|tokens| Probe::new(reference, tokens))
        .transpose()?;
    let mut losses = vec![Vec::new(); plan.matrices().len()];
    let mut done = 0;
    for layer in 0..plan.model().spec().layers.len() {
        let (indices, matrices) = of_layer(plan, Some(layer));
        if !matrices.iter().any(|m| m.has_choice()) {
            for (&index, matrix) in indices.iter().zip(&matrices) {
                losses[index] = vec![0.0];
                done += matrix.weights();
            }
            progress(done);
            stream.advance(reference, layer);
            if let Some(probe) = &mut probe {
                probe.advance(reference, layer);
            }
            continue;
        }
        let hessians = stream.observe(reference, layer, &matrices, true);
        for (site, hessian) in &hessians {
            let factor = hessian.factor(site)?;
            for (&index, matrix) in indices.iter().zip(&matrices) {
                if matrix.input.as_ref() == Some(site) {
                    let at = Some(layer);
                    losses[index] = judge(plan, reference, matrix, &factor, probe.as_ref(), at)?;
                    done += matrix.weights();
                    progress(done);
                }
            }
        }
        if let Some(probe) = &mut probe {
            probe.advance(reference, layer);
        }
    }
    let (indices, matrices) = of_layer(plan, None);
    let mut tables = Vec::new();
    for (index, matrix) in indices.into_iter().zip(matrices) {
        let hessian = table_moments(reference, &stream, matrix, tokens);
        let factor = hessian.factor(&matrix.tensor.name)?;
        losses[index] = judge(plan, reference, matrix, &factor, probe.as_ref(), None)?;
        tables.push((index, hessian));
        done += matrix.weights();
        progress(done);
    }
    Ok(Survey { losses, tables })
}

/// Indices and matrices of a layer, or of the tables outside the layers.
pub(crate) fn of_layer<'p>(
    plan: &'p Plan<'_>,
    layer: Option<usize>,
) -> (Vec<usize>, Vec<&'p Matrix>) {
    let all = plan.matrices().iter().enumerate();
    all.filter(|(_, m)| m.layer == layer).unzip()
}

/// Second moments for a table: of the inputs if it is an output projection, and, if its rows are
/// read as embeddings, the identity.
fn table_moments(
    reference: &Reference<'_>,
    stream: &Stream,
    matrix: &Matrix,
    tokens: usize,
) -> Hessian {
    let mut hessian = match matrix.input {
        Some(_) => stream.observe_head(reference, matrix.columns),
        None => Hessian::new(matrix.columns),
    };
    if matrix.is_table {
        let share = match matrix.input {
            // Both uses of a tied table weigh the same.
            Some(_) => 1.0,
            // As often as a row is read, on average.
            None => tokens as f32 / matrix.rows as f32,
        };
        hessian.add_identity(share);
    }
    hessian
}

/// Losses of all formats of a matrix, in their order.
fn judge(
    plan: &Plan<'_>,
    reference: &mut Reference<'_>,
    matrix: &Matrix,
    factor: &crate::hessian::Factor,
    probe: Option<&Probe>,
    layer: Option<usize>,
) -> Result<Vec<f64>> {
    if !matrix.has_choice() {
        return Ok(vec![0.0]);
    }
    let method = plan.options().method;
    let view = plan.model().tensor_view(&matrix.tensor)?;
    let weights = view.dequantize();
    // The narrow format whose effect is measured.
    let sample = matrix
        .formats
        .iter()
        .copied()
        .find(|ty| *ty == TensorType::Q3_1);
    let sample = sample.unwrap_or(matrix.formats[0]);
    let mut losses = Vec::with_capacity(matrix.formats.len());
    let mut scale = 1.0;
    for &ty in &matrix.formats {
        if ty == matrix.stored {
            losses.push(0.0);
        } else if let (Some(probe), true) = (probe, ty == sample) {
            let quantized = with_factor(&weights, ty, method, factor);
            let values = in_graph_order(matrix, quantized.values);
            let old = reference.replace(&matrix.tensor, values);
            let divergence = probe.divergence(reference, layer)?;
            reference.replace(&matrix.tensor, old);
            scale = divergence / quantized.loss.max(f64::MIN_POSITIVE);
            losses.push(quantized.loss);
        } else {
            losses.push(quantize::loss(&weights, ty, method, factor));
        }
    }
    losses.iter_mut().for_each(|loss| *loss *= scale);
    Ok(losses)
}

/// Rows of a matrix as stored in the order in which the graph reads them.
pub(crate) fn in_graph_order(matrix: &Matrix, stored: Vec<f32>) -> Vec<f32> {
    let order = matrix.tensor.rows;
    if order == RowOrder::Stored {
        return stored;
    }
    let row = |i: usize| &stored[order.source_row(i) * matrix.columns..][..matrix.columns];
    (0..matrix.rows)
        .flat_map(|i| row(i).iter().copied())
        .collect()
}

/// A short text on which the effect of single matrices is measured.
struct Probe {
    tokens: Vec<u32>,
    /// What enters the present layer.
    x: Vec<f32>,
    /// Logarithms of the probabilities that the unchanged model gives, a row a token.
    expected: Vec<f32>,
}

impl Probe {
    fn new(reference: &Reference<'_>, tokens: &[u32]) -> Result<Self> {
        let x = reference.embed(tokens)?;
        let mut expected = Vec::new();
        let last = run(reference, 0, x.clone());
        reference.head(&last, |_, logits| {
            expected.extend(log_softmax(logits));
        });
        Ok(Self {
            tokens: tokens.into(),
            x,
            expected,
        })
    }

    fn advance(&mut self, reference: &Reference<'_>, layer: usize) {
        self.x = reference.layer(layer, &self.x, &mut |_, _| ());
    }

    /// How far the predictions are from those of the unchanged model, in nats a token, with what
    /// was changed in `layer`, or in the tables.
    fn divergence(&self, reference: &Reference<'_>, layer: Option<usize>) -> Result<f64> {
        let last = match layer {
            Some(layer) => run(reference, layer, self.x.clone()),
            None => run(reference, 0, reference.embed(&self.tokens)?),
        };
        let mut sum = 0.0;
        reference.head(&last, |i, logits| {
            let expected = &self.expected[i * logits.len()..][..logits.len()];
            let found = log_softmax(logits);
            let terms = expected.iter().zip(found);
            sum += terms
                .map(|(p, q)| f64::from(p.exp() * (p - q)))
                .sum::<f64>();
        });
        // Below the rounding of f32 it may come out negative.
        Ok((sum / self.tokens.len() as f64).max(1e-9))
    }
}

/// All layers from `first` on.
fn run(reference: &Reference<'_>, first: usize, mut x: Vec<f32>) -> Vec<f32> {
    for layer in first..reference.model().spec().layers.len() {
        x = reference.layer(layer, &x, &mut |_, _| ());
    }
    x
}

fn log_softmax(logits: &[f32]) -> impl Iterator<Item = f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&v| f64::from((v - most).exp())).sum();
    let shift = most + sum.ln() as f32;
    logits.iter().map(move |v| v - shift)
}
