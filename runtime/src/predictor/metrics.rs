//! How well a classifier finds active neurons, and where its threshold must lie.

use serde::{Deserialize, Serialize};

/// Counts of one layer over some tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Tokens times neurons.
    pub decisions: u64,
    /// Truly active.
    pub active: u64,
    /// Predicted.
    pub predicted: u64,
    /// Active and predicted.
    pub found: u64,
}

impl Quality {
    /// Counts one decision.
    pub fn count(&mut self, active: bool, predicted: bool) {
        self.decisions += 1;
        self.active += u64::from(active);
        self.predicted += u64::from(predicted);
        self.found += u64::from(active && predicted);
    }

    /// Share of the active neurons that were predicted; 1 if none was active.
    pub fn recall(&self) -> f64 {
        ratio(self.found, self.active, 1.0)
    }

    /// Share of the active neurons that were missed.
    pub fn false_negatives(&self) -> f64 {
        1.0 - self.recall()
    }

    /// Share of the inactive neurons that were predicted.
    pub fn false_positives(&self) -> f64 {
        let inactive = self.decisions - self.active;
        ratio(self.predicted - self.found, inactive, 0.0)
    }

    /// Predicted neurons for each active one.
    pub fn over_prediction(&self) -> f64 {
        ratio(self.predicted, self.active, 1.0)
    }

    /// Share of decisions whose neuron was active.
    pub fn density(&self) -> f64 {
        ratio(self.active, self.decisions, 0.0)
    }

    /// Counts of both.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            decisions: self.decisions + other.decisions,
            active: self.active + other.active,
            predicted: self.predicted + other.predicted,
            found: self.found + other.found,
        }
    }

    /// Whether the counts can have come from counting.
    pub(crate) fn is_consistent(&self) -> bool {
        let inactive = self.decisions.checked_sub(self.active);
        let wrong = self.predicted.checked_sub(self.found);
        self.found <= self.active && matches!((inactive, wrong), (Some(i), Some(w)) if w <= i)
    }
}

fn ratio(a: u64, b: u64, none: f64) -> f64 {
    if b == 0 { none } else { a as f64 / b as f64 }
}

/// The largest threshold that at least a share `recall` of `positives` (scores of active neurons)
/// reaches. Reorders the scores. Without any, nothing needs to be found.
pub(super) fn threshold(positives: &mut [f32], recall: f64) -> f32 {
    let most = positives.len().saturating_sub(1);
    if positives.is_empty() {
        return f32::MAX;
    }
    let lost = ((1.0 - recall) * positives.len() as f64).floor() as usize;
    *positives
        .select_nth_unstable_by(lost.min(most), f32::total_cmp)
        .1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_those_of_the_textbook() {
        let mut q = Quality::default();
        let all = [
            (true, true),
            (true, true),
            (true, false),
            (false, true),
            (false, false),
        ];
        all.iter().for_each(|&(a, p)| q.count(a, p));
        assert!((q.recall() - 2.0 / 3.0).abs() < 1e-12);
        assert!((q.false_positives() - 0.5).abs() < 1e-12);
        assert!((q.over_prediction() - 1.0).abs() < 1e-12);
        assert!((q.density() - 0.6).abs() < 1e-12);
        assert!(q.is_consistent());
        assert!(!Quality { found: 4, ..q }.is_consistent());
        assert!(!Quality { predicted: 5, ..q }.is_consistent());
    }

    #[test]
    fn a_layer_without_activity_is_all_found() {
        assert_eq!(Quality::default().recall(), 1.0);
        assert_eq!(threshold(&mut [], 0.9), f32::MAX);
    }

    proptest! {
        #[test]
        fn the_threshold_reaches_the_recall_and_no_lower_one_is_needed(
            scores in prop::collection::vec(-10.0f32..10.0, 1..200),
            recall in 0.0f64..=1.0,
        ) {
            let t = threshold(&mut scores.clone(), recall);
            let share = |t: f32| {
                scores.iter().filter(|&&s| s >= t).count() as f64 / scores.len() as f64
            };
            prop_assert!(share(t) >= recall - 1e-9);
            let next = scores.iter().copied().filter(|&s| s > t).fold(f32::MAX, f32::min);
            // One more lost would be too many.
            prop_assert!(next == f32::MAX || share(next) <= recall + 1.0 / scores.len() as f64);
        }
    }
}
