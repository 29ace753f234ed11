//! The weight stream: when LD's beats arrive, when MM has taken them.

use std::collections::VecDeque;

/// Beats that arrived or were taken evenly over a span of time.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Beats of the stream up to the end of the span.
    beats: f64,
    from: f64,
    to: f64,
    /// Beats of the span.
    count: f64,
}

/// Cumulative beats over time.
#[derive(Default)]
pub(super) struct Progress {
    spans: VecDeque<Span>,
    pub(super) total: f64,
}

impl Progress {
    pub(super) fn push(&mut self, count: f64, from: f64, to: f64) {
        self.total += count;
        self.spans.push_back(Span {
            beats: self.total,
            from,
            to,
            count,
        });
    }

    /// When `beats` beats were complete; `None` if that is not known yet. Asked with growing
    /// arguments: what lies before is forgotten.
    pub(super) fn when(&mut self, beats: f64) -> Option<f64> {
        if beats <= 0.0 {
            return Some(0.0);
        }
        while let Some(&span) = self.spans.front() {
            if span.beats + 1e-6 >= beats {
                let part = (span.beats - beats) / span.count;
                return Some(span.to - part * (span.to - span.from));
            }
            self.spans.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_come_evenly_within_a_span() {
        let mut p = Progress::default();
        assert_eq!((p.when(0.0), p.when(1.0)), (Some(0.0), None));
        p.push(64.0, 100.0, 164.0);
        p.push(64.0, 300.0, 428.0);
        assert_eq!(p.when(32.0), Some(132.0));
        assert_eq!(p.when(96.0), Some(364.0));
        assert_eq!(p.when(129.0), None);
    }
}
