//! Choosing the next token from logits.

use crate::kernels::argmax;

/// How to choose. The default is greedy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerConfig {
    /// Divides the logits; 0 chooses the most likely token.
    pub temperature: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the most likely tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Seed of the random numbers: the same seed and logits give the same tokens.
    pub seed: u64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

/// Failure to make or use a sampler.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// A setting is outside its range.
    #[error("{name} is {value}, which is outside {range}\nhint: choose a value in that range")]
    Range {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f32,
        /// The allowed range.
        range: &'static str,
    },
    /// The logits are empty, or one is NaN or +infinity, or all are -infinity.
    #[error(
        "the model's logits cannot be sampled: {reason}\nhint: the model's weights are likely damaged; run `lampyris inspect` on it"
    )]
    Logits {
        /// What is wrong, with the index.
        reason: String,
    },
}

/// Chooses tokens; holds the state of its random numbers.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    state: u64,
}

impl Sampler {
    /// A sampler with `config`.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn new(config: SamplerConfig) -> Result<Self, SamplerError> {
        let check = |name, value: f32, good: bool, range| {
            if good {
                Ok(())
            } else {
                Err(SamplerError::Range { name, value, range })
            }
        };
        let SamplerConfig {
            temperature: t,
            top_p,
            min_p,
            ..
        } = config;
        check("temperature", t, t.is_finite() && t >= 0.0, "0 and above")?;
        check("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 to 1")?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "0 to 1")?;
        Ok(Self {
            config,
            state: config.seed,
        })
    }

    /// True when the choice does not depend on the seed.
    pub fn is_greedy(&self) -> bool {
        self.config.temperature == 0.0
    }

    /// The next token, an index into `logits`.
    ///
    /// # Errors
    /// Logits without a most likely token: empty, NaN, infinite.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SamplerError> {
        let best = check_logits(logits)?;
        if self.is_greedy() {
            return Ok(best as u32);
        }
        let mut kept = self.candidates(logits, logits[best]);
        self.truncate(&mut kept);
        let total: f64 = kept.iter().map(|c| c.1).sum();
        let mut left = self.next_unit() * total;
        for &(token, weight) in &kept {
            if left < weight {
                return Ok(token);
            }
            left -= weight;
        }
        // Rounding can leave a rest; it belongs to the last candidate.
        Ok(kept.last().map_or(best as u32, |c| c.0))
    }

    /// Tokens with their weights relative to the best (1.0), most likely first.
    fn candidates(&self, logits: &[f32], best: f32) -> Vec<(u32, f64)> {
        let temperature = f64::from(self.config.temperature);
        let mut all: Vec<(u32, f64)> = (0u32..)
            .zip(logits)
            .map(|(i, &v)| (i, ((f64::from(v) - f64::from(best)) / temperature).exp()))
            .collect();
        // Equal weights keep the order of ids, so the result does not depend on the sort.
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.config.top_k > 0 && self.config.top_k < all.len() {
            all.select_nth_unstable_by(self.config.top_k - 1, order);
            all.truncate(self.config.top_k);
        }
        all.sort_unstable_by(order);
        all
    }

    /// Applies `top_p` and `min_p` to sorted candidates; the best always stays.
    fn truncate(&self, sorted: &mut Vec<(u32, f64)>) {
        if self.config.top_p < 1.0 {
            let total: f64 = sorted.iter().map(|c| c.1).sum();
            let wanted = total * f64::from(self.config.top_p);
            let mut sum = 0.0;
            let reached = sorted.iter().position(|c| {
                sum += c.1;
                sum >= wanted
            });
            if let Some(last) = reached {
                sorted.truncate(last + 1);
            }
        }
        let least = f64::from(self.config.min_p);
        sorted.retain(|c| c.1 >= least);
    }

    /// A number in 0..1 (SplitMix64, the upper 53 bits).
    fn next_unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Index of the largest logit, after checking that there is a meaningful one.
fn check_logits(logits: &[f32]) -> Result<usize, SamplerError> {
    let bad = |reason: String| SamplerError::Logits { reason };
    if let Some(i) = logits
        .iter()
        .position(|v| v.is_nan() || *v == f32::INFINITY)
    {
        return Err(bad(format!("token {i} has logit {}", logits[i])));
    }
    let best = argmax(logits).ok_or_else(|| bad("there are none".to_owned()))?;
    if logits[best] == f32::NEG_INFINITY {
        return Err(bad("all are -infinity".to_owned()));
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 3.0, 1.0, 2.0, -1.0];

    fn sampler(change: impl FnOnce(&mut SamplerConfig)) -> Sampler {
        let mut config = SamplerConfig {
            temperature: 1.0,
            seed: 7,
            ..SamplerConfig::default()
        };
        change(&mut config);
        Sampler::new(config).unwrap()
    }

    fn counts(mut sampler: Sampler, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        for _ in 0..draws {
            counts[sampler.sample(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn temperature_zero_is_greedy() {
        let mut greedy = Sampler::new(SamplerConfig::default()).unwrap();
        assert_eq!(greedy.sample(&LOGITS), Ok(1));
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let draws = 100_000;
        let total: f64 = LOGITS.iter().map(|&v| f64::from(v).exp()).sum();
        for (i, count) in counts(sampler(|_| ()), &LOGITS, draws)
            .into_iter()
            .enumerate()
        {
            let expected = f64::from(LOGITS[i]).exp() / total * draws as f64;
            // Six standard deviations.
            assert!(
                (count as f64 - expected).abs() < 6.0 * expected.sqrt() + 1.0,
                "token {i}"
            );
        }
    }

    #[test]
    fn each_limit_drops_the_tail() {
        // Relative weights: 1, 0.368, 0.135, 0.050, 0.018; their sum is 1.571.
        let kept = |s| {
            counts(s, &LOGITS, 20_000)
                .iter()
                .map(|&c| c > 0)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kept(sampler(|c| c.top_k = 2)),
            [false, true, false, true, false]
        );
        assert_eq!(
            kept(sampler(|c| c.top_p = 0.8)),
            [false, true, false, true, false]
        );
        assert_eq!(
            kept(sampler(|c| c.min_p = 0.1)),
            [false, true, true, true, false]
        );
        assert_eq!(
            kept(sampler(|c| c.top_k = 1)),
            [false, true, false, false, false]
        );
    }

    #[test]
    fn a_seed_repeats() {
        let draw = |seed| {
            let mut s = sampler(|c| c.seed = seed);
            (0..50)
                .map(|_| s.sample(&LOGITS).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn refuses_what_it_cannot_sample() {
        let mut s = sampler(|_| ());
        assert!(s.sample(&[]).is_err());
        assert!(
            s.sample(&[0.0, f32::NAN])
                .unwrap_err()
                .to_string()
                .contains("token 1")
        );
        assert!(s.sample(&[f32::NEG_INFINITY]).is_err());
        for (t, p, m) in [
            (-1.0, 1.0, 0.0),
            (1.0, 0.0, 0.0),
            (1.0, 1.0, 2.0),
            (f32::NAN, 1.0, 0.0),
        ] {
            let config = SamplerConfig {
                temperature: t,
                top_p: p,
                min_p: m,
                ..SamplerConfig::default()
            };
            assert!(Sampler::new(config).is_err());
        }
    }
}
