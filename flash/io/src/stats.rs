//! What an engine did: bytes, reads, waiting, and how long requests took.

use crate::engine::Completion;
use std::time::Duration;

/// Buckets per power of two.
const STEPS: usize = 4;
/// Powers of two above a microsecond: the last bucket begins at 2^25 µs, half a minute.
const OCTAVES: usize = 26;

/// How many requests took how long, in buckets that are 19 % wide: from a microsecond up.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u64; STEPS * OCTAVES],
    total: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: [0; STEPS * OCTAVES],
            total: Duration::ZERO,
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    /// Adds one observation.
    pub fn add(&mut self, time: Duration) {
        let octaves = (time.as_secs_f64() * 1e6).max(1.0).log2();
        let bucket = (octaves * STEPS as f64) as usize;
        self.counts[bucket.min(STEPS * OCTAVES - 1)] += 1;
        self.total += time;
        self.max = self.max.max(time);
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean; zero without observations.
    pub fn mean(&self) -> Duration {
        match self.count() {
            0 => Duration::ZERO,
            n => self.total.div_f64(n as f64),
        }
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The time below which a share `p` (0 to 1) of the observations lies, to the width of a
    /// bucket; zero without observations.
    pub fn percentile(&self, p: f64) -> Duration {
        let wanted = (p.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let end = ((bucket + 1) as f64 / STEPS as f64).exp2() * 1e-6;
                return Duration::from_secs_f64(end).min(self.max);
            }
        }
        Duration::ZERO
    }
}

/// Counters of one engine since it was opened.
#[derive(Clone, Debug, Default)]
pub struct IoStats {
    /// Bytes that completed requests delivered.
    pub bytes: u64,
    /// Requests that completed, failed ones too.
    pub reads: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Attempts that were repeated: short reads, interruptions, busy queues.
    pub retries: u64,
    /// Time that the caller spent blocked in `wait`.
    pub wait: Duration,
    /// Times from handing a request to the operating system until its end was seen. Engines
    /// without threads of their own see the end when the caller waits, so a caller that computes
    /// in between makes these times longer.
    pub service: Histogram,
}

impl IoStats {
    /// Adds a request that ended.
    pub(crate) fn count(&mut self, completion: &Completion, retries: u64, time: Duration) {
        self.reads += 1;
        self.retries += retries;
        match &completion.result {
            Ok(n) => self.bytes += *n as u64,
            Err(_) => self.errors += 1,
        }
        self.service.add(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_within_a_bucket() {
        let mut times = Histogram::default();
        assert_eq!(times.percentile(0.5), Duration::ZERO);
        for us in 1..=1000 {
            times.add(Duration::from_micros(us));
        }
        let p50 = times.percentile(0.5).as_secs_f64() * 1e6;
        assert!((500.0..=600.0).contains(&p50), "{p50}");
        assert_eq!(times.percentile(1.0), Duration::from_micros(1000));
        assert_eq!(times.count(), 1000);
        assert_eq!(times.mean().as_nanos(), 500_500);
    }

    #[test]
    fn extremes_have_buckets() {
        let mut times = Histogram::default();
        times.add(Duration::ZERO);
        times.add(Duration::from_secs(1 << 30));
        assert_eq!(times.count(), 2);
        assert_eq!(times.max(), Duration::from_secs(1 << 30));
    }
}
