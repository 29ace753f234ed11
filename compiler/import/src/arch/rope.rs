//! Rotary position embedding (Su et al., 2021) and its scalings.

#[cfg(test)]
mod tests;

use super::LayerSpec;
use crate::error::{ImportError, Result};
use serde::{Deserialize, Serialize};

/// Which elements of a head form the pairs that are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeStyle {
    /// Elements `2k` and `2k + 1` (the Llama paper, Llama GGUF files).
    Interleaved,
    /// Elements `k` and `k + dim / 2` (Hugging Face; "NEOX" in llama.cpp).
    HalfSplit,
}

/// Stretching of the frequencies for longer contexts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Positions divided by `factor`.
    Linear {
        /// Divisor.
        #[serde(with = "super::exact")]
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, smooth in between.
    Llama3 {
        /// Divisor of low frequencies.
        #[serde(with = "super::exact")]
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        #[serde(with = "super::exact")]
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        #[serde(with = "super::exact")]
        high_freq_factor: f64,
        /// Context length before the extension.
        #[serde(with = "super::exact")]
        original_context: f64,
    },
}

/// RoPE parameters of a model.
///
/// The graph is always in interleaved order: `stored` says how the rows of the Q and K weights
/// lie in the file, and the graph's tensor references undo it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct RopeSpec {
    /// Base of the geometric series of frequencies.
    #[serde(with = "super::exact")]
    pub base: f64,
    /// Elements of a head that are rotated (the first ones, if fewer than the head has).
    pub dim: usize,
    /// Scaling.
    pub scaling: RopeScaling,
    /// Divisors of the frequencies, one a pair (tensor `rope_freqs.weight`).
    pub freq_factors: Option<Vec<f32>>,
    /// Pairing in the file.
    pub stored: RopeStyle,
}

impl RopeSpec {
    /// Radians per position of each of the `dim / 2` pairs, with scaling applied.
    pub fn inv_freq(&self) -> Vec<f64> {
        let pairs = self.dim / 2;
        let raw = (0..pairs).map(|k| self.base.powf(-((2 * k) as f64) / self.dim as f64));
        let scaled = raw.map(|freq| self.scaling.apply(freq));
        match &self.freq_factors {
            None => scaled.collect(),
            Some(factors) => scaled
                .zip(factors)
                .map(|(freq, &f)| freq / f64::from(f))
                .collect(),
        }
    }

    /// Cosine and sine of each pair's angle at `position`: computed in f64, rounded once.
    pub fn cos_sin(&self, position: usize) -> Vec<(f32, f32)> {
        let angle = |freq: f64| position as f64 * freq;
        let round = |a: f64| (a.cos() as f32, a.sin() as f32);
        self.inv_freq().into_iter().map(angle).map(round).collect()
    }

    pub(super) fn check(
        &self,
        layers: &[LayerSpec],
        wrong: &dyn Fn(&str, String) -> ImportError,
    ) -> Result<()> {
        let positive = |key: &str, v: f64| match v.is_finite() && v > 0.0 {
            true => Ok(()),
            false => Err(wrong(key, format!("is {v}; expected a positive number"))),
        };
        positive("RoPE base", self.base)?;
        let shortest = layers.iter().map(|l| l.head_dim_k).min().unwrap_or(0);
        if self.dim == 0 || !self.dim.is_multiple_of(2) || self.dim > shortest {
            let problem = format!("is {}; expected an even number up to {shortest}", self.dim);
            return Err(wrong("RoPE dimension count", problem));
        }
        if let Some(factors) = &self.freq_factors {
            if factors.len() != self.dim / 2 {
                let problem = format!("are {}; expected {}", factors.len(), self.dim / 2);
                return Err(wrong("RoPE frequency factors", problem));
            }
            factors
                .iter()
                .try_for_each(|&f| positive("RoPE frequency factor", f.into()))?;
        }
        match self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("RoPE scaling factor", factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                positive("RoPE scaling factor", factor)?;
                positive("low_freq_factor", low_freq_factor)?;
                positive("original_max_position_embeddings", original_context)?;
                positive(
                    "high_freq_factor - low_freq_factor",
                    high_freq_factor - low_freq_factor,
                )
            }
        }
    }
}

impl RopeScaling {
    fn apply(self, freq: f64) -> f64 {
        match self {
            Self::None => freq,
            Self::Linear { factor } => freq / factor,
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                // Number of whole turns over the original context decides.
                let turns = original_context * freq / std::f64::consts::TAU;
                let keep = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let keep = keep.clamp(0.0, 1.0);
                freq * (keep + (1.0 - keep) / factor)
            }
        }
    }
}
