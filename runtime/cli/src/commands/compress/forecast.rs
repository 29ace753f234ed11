//! What compressing will take, before it starts.

use crate::calibration::Windows;
use crate::output::bytes;
use anyhow::Result;
use lampyris_compress::{Budget, Plan};
use lampyris_runtime::Reference;
use std::collections::BTreeMap;
use std::time::Instant;

/// Tokens on which the speed of the executor is measured.
const SAMPLE: usize = 32;
/// How much faster than the executor products of large matrices are, roughly.
const PRODUCTS: f64 = 3.0;

/// Whether a choice between formats has to be made.
pub(super) fn needs_survey(budgets: &[Budget]) -> bool {
    budgets.iter().any(|budget| *budget != Budget::Unlimited)
}

/// Sizes between which a budget can lie, time and memory. `probe` is the number of tokens on which
/// effects are measured.
pub(super) fn text(
    plan: &Plan<'_>,
    reference: &Reference<'_>,
    windows: &Windows,
    probe: usize,
    budgets: &[Budget],
) -> Result<String> {
    let [least, most] = [plan.smallest(), plan.largest()];
    let bits = |formats: &[_]| plan.bits_per_weight(formats);
    let mut text = format!(
        "{}: {} and {:.3} bits a weight at least, {} and {:.3} at most\n",
        plan.name(),
        grouped_bytes(plan.file_bytes(&least)?),
        bits(&least),
        grouped_bytes(plan.file_bytes(&most)?),
        bits(&most)
    );
    text.push_str(&format!(
        "forecast {:.1} s: about, with {} of memory",
        seconds(plan, reference, windows, probe, budgets)?,
        bytes(memory(plan, windows, probe))
    ));
    let dense = plan.left_dense();
    if let Some(first) = dense.first() {
        text.push_str(&format!(
            "\nnote: {} layers stay dense, since their rows are no multiple of the pattern's block (`{}` has rows of {})",
            dense.len(),
            first.tensor.name,
            first.columns
        ));
    }
    Ok(text)
}

fn grouped_bytes(n: u64) -> String {
    format!("{} bytes", crate::output::grouped(n))
}

/// From the measured speed of the first layer.
fn seconds(
    plan: &Plan<'_>,
    reference: &Reference<'_>,
    windows: &Windows,
    probe: usize,
    budgets: &[Budget],
) -> Result<f64> {
    let sample = &windows.calibration[0];
    let sample = &sample[..sample.len().min(SAMPLE)];
    let x = reference.embed(sample)?;
    let start = Instant::now();
    reference.layer(0, &x, &mut |_, _| ());
    let took = start.elapsed().as_secs_f64();
    let weights = |filter: &dyn Fn(Option<usize>) -> bool| -> f64 {
        let matrices = plan.matrices().iter().filter(|m| filter(m.layer));
        matrices.map(|m| m.weights() as f64).sum()
    };
    let first = weights(&|layer| layer == Some(0));
    let (layers, all) = (weights(&|layer| layer.is_some()), weights(&|_| true));
    let rate = first * sample.len() as f64 / took.max(1e-9);
    let calibration = windows.calibration_tokens() as f64;
    let judging = windows.judging_tokens() as f64;
    let surveys = if needs_survey(budgets) { 1.0 } else { 0.0 };
    let budgets = budgets.len() as f64;
    // The survey passes each token once, writing twice.
    let passes = layers * calibration * (surveys + 2.0 * budgets) + all * judging * (1.0 + budgets);
    let probed = surveys * plan.matrices().len() as f64 * probe as f64;
    let probes = probed * (all - 0.5 * layers);
    let mut products = 0.0;
    for matrix in plan.matrices() {
        let columns = matrix.columns as f64;
        let rounds = surveys * (matrix.formats.len() as f64 - 1.0) + budgets;
        // Rounding and judging: a triangle and a square of columns for each row.
        products += 1.5 * matrix.rows as f64 * columns * columns * rounds;
    }
    for width in inputs(plan).into_values().flatten() {
        let width = width as f64;
        products += width * width * (calibration + 3.0 * width) * (surveys + budgets);
    }
    Ok((passes + probes) / rate + products / (PRODUCTS * rate))
}

/// Widths of the distinct inputs of each layer.
fn inputs(plan: &Plan<'_>) -> BTreeMap<Option<usize>, Vec<usize>> {
    let mut found: BTreeMap<Option<usize>, BTreeMap<&str, usize>> = BTreeMap::new();
    for matrix in plan.matrices() {
        let sites = found.entry(matrix.layer).or_default();
        sites.insert(matrix.input().unwrap_or_default(), matrix.columns);
    }
    let widths = found.into_iter();
    widths
        .map(|(layer, sites)| (layer, sites.into_values().collect()))
        .collect()
}

/// Weights and activations of the executor, one layer's second moments, factors of one input.
fn memory(plan: &Plan<'_>, windows: &Windows, probe: usize) -> u64 {
    let square = |width: usize| (width * width) as u64;
    let widths = inputs(plan);
    let moments = widths
        .values()
        .map(|w| w.iter().map(|&w| square(w)).sum::<u64>() * 4);
    let largest = widths.values().flatten().map(|&w| square(w)).max();
    // Two factors in f32, and up to four matrices in f64 while they are made.
    let factors = largest.unwrap_or(0) * (2 * 4 + 4 * 8);
    let matrix = plan.matrices().iter().map(|m| m.weights()).max();
    let spec = plan.model().spec();
    let tokens = windows.calibration_tokens() as u64;
    4 * plan.weights()
        + 3 * 4 * matrix.unwrap_or(0)
        + moments.max().unwrap_or(0)
        + factors
        + 4 * tokens * spec.d_model as u64
        + 4 * (probe * spec.vocab_size) as u64
}
