//! Drafts by prompt lookup: what followed the last tokens the last time is likely to follow again.
//!
//! A draft costs nothing to make. Verifying it costs one sweep over the weights, which streams
//! the same bytes for several tokens as for one.

/// How drafts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftOptions {
    /// Most tokens drafted per sweep.
    pub max_tokens: usize,
    /// Longest run of tokens that is looked up; shorter runs down to `min_ngram` are tried next.
    pub max_ngram: usize,
    /// Shortest run of tokens that is looked up.
    pub min_ngram: usize,
}

impl Default for DraftOptions {
    fn default() -> Self {
        Self {
            max_tokens: 7,
            max_ngram: 4,
            min_ngram: 2,
        }
    }
}

/// Appends to `draft` up to `limit` tokens that followed the latest earlier occurrence of the
/// sequence's last tokens.
pub(crate) fn look_up(
    sequence: &[u32],
    options: &DraftOptions,
    limit: usize,
    draft: &mut Vec<u32>,
) {
    draft.clear();
    let limit = limit.min(options.max_tokens);
    if limit == 0 {
        return;
    }
    for n in (options.min_ngram.max(1)..=options.max_ngram).rev() {
        let Some(start) = sequence.len().checked_sub(n) else {
            continue;
        };
        let suffix = &sequence[start..];
        // The latest occurrence that has a token after it.
        let found = (0..start).rev().find(|&i| &sequence[i..i + n] == suffix);
        if let Some(i) = found {
            let from = i + n;
            // The continuation may run into the suffix itself (a repeating text): go on from
            // the draft then.
            for j in 0..limit {
                let token = match sequence.get(from + j) {
                    Some(&token) => token,
                    None => draft[from + j - sequence.len()],
                };
                draft.push(token);
            }
            return;
        }
    }
}

/// Learns how long a draft pays.
///
/// The expected gain of `k` drafted tokens is the number of tokens that a sweep yields,
/// `1 + p + p^2 + ... + p^k` with acceptance rate `p`, over the time of a sweep with `k + 1`
/// tokens. Times are running means by number of tokens; a number never measured is tried when its
/// neighbours suggest that it pays.
#[derive(Debug, Clone)]
pub(crate) struct Adaptive {
    /// Running mean of the time of a sweep with `i + 1` tokens; 0 where never measured.
    seconds: Vec<f64>,
    acceptance: f64,
}

/// Weight of a new observation.
const RATE: f64 = 0.15;

impl Adaptive {
    pub(crate) fn new(max_tokens: usize) -> Self {
        Self {
            seconds: vec![0.0; max_tokens + 1],
            // Optimistic, so that drafts are tried; wrong ones lower it quickly.
            acceptance: 0.7,
        }
    }

    /// Records a sweep over `tokens` tokens, of which `accepted` of `drafted` were right.
    pub(crate) fn record(&mut self, drafted: usize, accepted: usize, seconds: f64) {
        let Some(mean) = self.seconds.get_mut(drafted) else {
            return;
        };
        *mean = match *mean {
            0.0 => seconds,
            old => old + (seconds - old) * RATE,
        };
        // Tokens after the first wrong one say nothing.
        let judged = drafted.min(accepted + 1);
        for i in 0..judged {
            let right = f64::from(u8::from(i < accepted));
            self.acceptance += (right - self.acceptance) * RATE;
        }
        // Never quite give up: a text may begin to repeat itself later.
        self.acceptance = self.acceptance.max(0.02);
    }

    /// The number of drafted tokens, up to `available`, that promises the most tokens a second.
    pub(crate) fn best(&self, available: usize) -> usize {
        let Some(&one) = self.seconds.first() else {
            return 0;
        };
        if one == 0.0 {
            return available.min(1);
        }
        let (mut best, mut best_rate) = (0, 1.0 / one);
        let mut expected = 1.0;
        let mut likely = 1.0;
        for k in 1..=available.min(self.seconds.len() - 1) {
            likely *= self.acceptance;
            expected += likely;
            let rate = expected / self.estimate(k);
            if rate > best_rate {
                (best, best_rate) = (k, rate);
            }
        }
        best
    }

    /// Time of a sweep with `k` drafted tokens: measured, or by the slope of those measured.
    fn estimate(&self, k: usize) -> f64 {
        if self.seconds[k] > 0.0 {
            return self.seconds[k];
        }
        let one = self.seconds[0];
        let measured = |i: &usize| self.seconds[*i] > 0.0;
        let Some(near) = (1..self.seconds.len())
            .filter(measured)
            .min_by_key(|i| i.abs_diff(k))
        else {
            // Optimistic until measured.
            return one * 1.1;
        };
        let slope = ((self.seconds[near] - one) / near as f64).max(0.0);
        one + slope * k as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(sequence: &[u32], limit: usize) -> Vec<u32> {
        let mut out = Vec::new();
        look_up(sequence, &DraftOptions::default(), limit, &mut out);
        out
    }

    #[test]
    fn the_longest_and_latest_match_wins() {
        assert_eq!(draft(&[1, 2, 3, 9, 1, 2, 4, 8, 5, 1, 2], 2), [4, 8]);
        // The longer run `3 1 2` decides against the later `1 2`.
        assert_eq!(draft(&[3, 1, 2, 7, 6, 1, 2, 4, 3, 1, 2], 2), [7, 6]);
    }

    #[test]
    fn a_repeating_text_is_continued_past_its_end() {
        assert_eq!(draft(&[5, 6, 5, 6], 5), [5, 6, 5, 6, 5]);
    }

    #[test]
    fn nothing_to_look_up_drafts_nothing() {
        assert!(draft(&[1, 2, 3, 4], 4).is_empty());
        assert!(draft(&[], 4).is_empty());
        assert!(draft(&[1, 1, 1], 0).is_empty());
    }

    #[test]
    fn drafts_grow_when_a_second_token_is_free_and_stop_when_they_fail() {
        let mut free = Adaptive::new(4);
        free.record(0, 0, 1.0);
        for _ in 0..20 {
            free.record(4, 4, 1.05);
        }
        assert_eq!(free.best(4), 4);
        for _ in 0..40 {
            free.record(4, 0, 1.05);
        }
        assert!(free.best(4) <= 1, "drafts that fail are not worth it");
    }

    #[test]
    fn drafts_stop_when_each_token_costs_a_sweep() {
        let mut dear = Adaptive::new(4);
        dear.record(0, 0, 1.0);
        for k in 1..=4 {
            dear.record(k, k / 2, (k + 1) as f64);
        }
        assert_eq!(dear.best(4), 0);
    }
}
