//! Quantiles of activations, and perplexity with some of them left out.

use super::{Measured, Rule, Site};
use crate::kernels::nll;
use crate::predictor::{Predictor, Quality, Scorer};
use crate::reference::{Hook, Reference, ReferenceError};
use lampyris_kernels::{Kernels, Pool};

/// Bins of a distribution: the upper 16 bits of a magnitude, so that a bin is less than 1 % wide.
const BINS: usize = 1 << 15;

/// How often magnitudes of one layer fall into each bin.
#[derive(Clone, Debug)]
pub struct Distribution {
    bins: Vec<u64>,
    count: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            count: 0,
        }
    }
}

impl Distribution {
    /// Counts the magnitude of each value; those that are not finite count as largest.
    pub fn add(&mut self, values: &[f32]) {
        for v in values {
            self.bins[(v.to_bits() >> 16) as usize & (BINS - 1)] += 1;
        }
        self.count += values.len() as u64;
    }

    /// A magnitude below which (or at which) a share of the values lies, to the width of a bin.
    pub fn quantile(&self, share: f64) -> f32 {
        let wanted = share.clamp(0.0, 1.0) * self.count as f64;
        let mut seen = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            if seen as f64 >= wanted {
                // The lower end of the bin: nothing in it is below.
                return f32::from_bits((bin as u32) << 16);
            }
            seen += count;
        }
        f32::MAX
    }
}

/// Distributions of the magnitudes that `rules` compare, `[rule][layer]`, over windows of text;
/// `progress` hears the number of tokens after each.
///
/// # Errors
/// Those of the reference executor.
pub fn distributions(
    reference: &Reference<'_>,
    windows: &[Vec<u32>],
    rules: &[Rule],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Distribution>>, ReferenceError> {
    let layers = reference.model().spec().layers.len();
    let mut found = vec![vec![Distribution::default(); layers]; rules.len()];
    let mut tokens = 0;
    for window in windows {
        reference.session().walk(window, &mut |node, values| {
            for (rule, found) in rules.iter().zip(&mut found) {
                if let (true, Some(layer)) = (rule.site().is(node), node.layer) {
                    found[layer].add(values);
                }
            }
        })?;
        tokens += window.len();
        progress(tokens);
    }
    Ok(found)
}

/// Perplexity over windows of text, each a sequence of its own, with every operation passing
/// through `hook`.
fn perplexity(
    reference: &Reference<'_>,
    windows: &[Vec<u32>],
    hook: &mut Hook<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<(f64, u64), ReferenceError> {
    let (mut sum, mut scored, mut tokens) = (0.0, 0u64, 0);
    for window in windows {
        reference
            .session()
            .evaluate_with(window, hook, |i, logits| {
                if let Some(&next) = window.get(i + 1) {
                    sum += nll(logits, next as usize);
                    scored += 1;
                }
            })?;
        tokens += window.len();
        progress(tokens);
    }
    Ok(((sum / scored.max(1) as f64).exp(), scored))
}

/// Perplexity with what `thresholds` (one for each layer) leave out under `rule`, or of the
/// untouched model without them.
///
/// # Errors
/// Those of the reference executor.
pub fn measure(
    reference: &Reference<'_>,
    windows: &[Vec<u32>],
    thresholds: Option<(Rule, &[f32])>,
    progress: &mut dyn FnMut(usize),
) -> Result<Measured, ReferenceError> {
    let (mut zeros, mut all) = (0u64, 0u64);
    let (perplexity, tokens) = perplexity(
        reference,
        windows,
        &mut |node, values| {
            let (Some((rule, thresholds)), Some(layer)) = (thresholds, node.layer) else {
                return;
            };
            if rule.site().is(node) {
                let threshold = thresholds[layer];
                for v in values.iter_mut().filter(|v| v.abs() <= threshold) {
                    *v = 0.0;
                    zeros += 1;
                }
                all += values.len() as u64;
            }
        },
        progress,
    )?;
    Ok(Measured {
        tokens,
        perplexity,
        sparsity: zeros as f64 / all.max(1) as f64,
    })
}

/// Perplexity where only neurons that `predictor` names are computed, and how many of the
/// others would have been active (not zero at the activation).
///
/// # Errors
/// Those of the reference executor.
pub fn measure_predictor(
    kernels: &Kernels,
    pool: &Pool,
    reference: &Reference<'_>,
    windows: &[Vec<u32>],
    predictor: &Predictor,
    progress: &mut dyn FnMut(usize),
) -> Result<(Measured, Quality), ReferenceError> {
    let mut quality = Quality::default();
    let (mut scorer, mut scores) = (Scorer::default(), Vec::new());
    let (perplexity, tokens) = perplexity(
        reference,
        windows,
        &mut |node, values| {
            let Some(layer) = node.layer else { return };
            if Site::Input.is(node) {
                let layer = &predictor.layers[layer];
                scores.resize(values.len() / layer.inputs * layer.neurons, 0.0);
                scorer.score(kernels, pool, layer, values, &mut scores);
            } else if Site::Gate.is(node) {
                let threshold = predictor.layers[layer].threshold;
                for (v, &score) in values.iter_mut().zip(&scores) {
                    let predicted = score >= threshold;
                    quality.count(*v != 0.0, predicted);
                    if !predicted {
                        *v = 0.0;
                    }
                }
            }
        },
        progress,
    )?;
    let measured = Measured {
        tokens,
        perplexity,
        sparsity: 1.0 - quality.predicted as f64 / quality.decisions.max(1) as f64,
    };
    Ok((measured, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_a_bin() {
        let mut distribution = Distribution::default();
        let values: Vec<f32> = (1..=1000)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 } * i as f32)
            .collect();
        distribution.add(&values);
        assert_eq!(distribution.quantile(0.0), 0.0);
        for share in [0.1, 0.5, 0.9] {
            let q = distribution.quantile(share);
            let below = values.iter().filter(|v| v.abs() <= q).count() as f64 / 1000.0;
            assert!((below - share).abs() < 0.01, "{share}: {below}");
        }
        assert_eq!(Distribution::default().quantile(0.5), 0.0);
    }
}
