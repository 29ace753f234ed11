//! The table of measurements, and questions to it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Version of the stored form. Others are refused.
pub const SCHEMA_VERSION: u32 = 1;

/// Where reads go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// One after the other.
    Sequential,
    /// Anywhere.
    Random,
}

/// Where a profile's figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The storage was measured.
    Measured,
    /// Nobody measured; these are assumptions.
    Assumed,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Engine, as [`crate::ReadEngine::name`] says.
    pub engine: String,
    /// Where reads went.
    pub pattern: Pattern,
    /// Bytes of a read.
    pub chunk: u64,
    /// Reads in flight.
    pub depth: u32,
    /// Reading threads, for engines that have them.
    pub threads: Option<u32>,
    /// Bytes per second.
    pub bytes_per_second: u64,
    /// Median time of a read from its start to its end, in nanoseconds.
    pub p50_ns: u64,
    /// Time below which 99 % of the reads stayed, in nanoseconds.
    pub p99_ns: u64,
}

/// What is known of the storage below a file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Measured or assumed.
    pub origin: Origin,
    /// Identity of the file system.
    pub device: String,
    /// The path that was measured.
    pub path: String,
    /// Seconds since 1970 when it was measured.
    pub measured_at: u64,
    /// Bytes of the file that was read.
    pub sample_bytes: u64,
    /// The engine that reads models unless another is asked for.
    pub engine: String,
    /// What to read models with, from the measurements.
    pub recommendation: Recommendation,
    /// What a user should hear about the measurement.
    pub notes: Vec<String>,
    /// The measurements. Those of `engine` without `threads` make the tables that the questions
    /// are answered from.
    pub points: Vec<Point>,
}

/// Good settings for streaming whole models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recommendation {
    /// Bytes of a read: the smallest that comes close to the best rate.
    pub chunk: u64,
    /// Reads in flight with it.
    pub depth: u32,
    /// Sustained bytes per second with both, in order.
    pub bytes_per_second: u64,
}

/// Assumed time before the first byte, in seconds.
const ASSUMED_LATENCY: f64 = 100e-6;
/// Assumed rate, in bytes per second.
const ASSUMED_RATE: f64 = 500e6;
/// Latencies that overlap at most.
const ASSUMED_OVERLAP: u32 = 8;

/// Smaller reads cost the processor more than they can gain in order.
const CHUNK_MIN: u64 = 256 << 10;
/// Share of the best rate that the recommended chunk must reach.
const CLOSE: f64 = 0.9;

impl Profile {
    /// Assumptions for storage that nobody measured: a SATA disk with 100 µs latency, of which 8
    /// overlap, and 500 MB/s. NVMe disks are several times faster, memory cards several times
    /// slower.
    pub fn assumed(device: &str, path: &str) -> Profile {
        let point = |pattern, chunk: u64, depth: u32| {
            let transfer = chunk as f64 / ASSUMED_RATE;
            let latency = match pattern {
                // Disks read ahead.
                Pattern::Sequential => ASSUMED_LATENCY / 4.0,
                Pattern::Random => ASSUMED_LATENCY,
            };
            let each = transfer.max((latency + transfer) / f64::from(depth.min(ASSUMED_OVERLAP)));
            let ns = (each * f64::from(depth) * 1e9) as u64;
            Point {
                engine: "assumed".into(),
                pattern,
                chunk,
                depth,
                threads: None,
                bytes_per_second: (chunk as f64 / each) as u64,
                p50_ns: ns,
                p99_ns: ns,
            }
        };
        let sizes = (12..=22).map(|bits| 1u64 << bits);
        let points = sizes.flat_map(|chunk| {
            [Pattern::Sequential, Pattern::Random]
                .into_iter()
                .flat_map(move |p| [1, 8].map(|depth| point(p, chunk, depth)))
        });
        let points: Vec<Point> = points.collect();
        Profile {
            schema_version: SCHEMA_VERSION,
            origin: Origin::Assumed,
            device: device.into(),
            path: path.into(),
            measured_at: 0,
            sample_bytes: 0,
            engine: "assumed".into(),
            recommendation: recommend(&points, "assumed"),
            notes: vec![
                "note: the storage was not measured; figures assume 500 MB/s and 100 µs \
                 (`lampyris probe` measures)"
                    .into(),
            ],
            points,
        }
    }

    /// Bytes per second of reads of `chunk` bytes with `depth` in flight. Between measurements it
    /// is interpolated on logarithmic scales, outside the nearest counts.
    pub fn bytes_per_second(&self, pattern: Pattern, chunk: u64, depth: usize) -> f64 {
        rate(&self.points, &self.engine, pattern, chunk, depth)
    }

    /// Time that one more random read of `chunk` bytes costs when `depth` are in flight all the
    /// time: what a choice of chunks weighs against their worth.
    pub fn cost(&self, chunk: u64, depth: usize) -> Duration {
        let rate = self.bytes_per_second(Pattern::Random, chunk, depth);
        Duration::from_secs_f64(chunk as f64 / rate.max(1.0))
    }

    /// Time of a random read of `chunk` bytes from start to end when nothing else is in flight.
    pub fn latency(&self, chunk: u64) -> Duration {
        self.cost(chunk, 1)
    }

    /// Bytes of the smallest random read that reaches half of the best rate at `depth`: there, a
    /// byte more costs as much as the read itself. For layouts that group what is read together.
    pub fn economical_read(&self, depth: usize) -> u64 {
        let sizes = (12..=20).map(|bits| 1u64 << bits);
        let rate = |chunk: u64| self.bytes_per_second(Pattern::Random, chunk, depth);
        let best = sizes.clone().map(rate).fold(0.0, f64::max);
        let enough = |chunk: &u64| rate(*chunk) * 2.0 >= best;
        sizes.clone().find(enough).unwrap_or(CHUNK_MIN)
    }

    /// Sustained bytes per second of reading in order with the recommended settings: the bound of
    /// forecasts.
    pub fn sequential(&self) -> f64 {
        self.recommendation.bytes_per_second as f64
    }
}

/// The smallest chunk and then the smallest depth that come close to the best rate in order.
pub(super) fn recommend(points: &[Point], engine: &str) -> Recommendation {
    let fit = |p: &&Point| {
        let table = p.pattern == Pattern::Sequential && p.threads.is_none();
        table && p.engine == engine && p.chunk >= CHUNK_MIN
    };
    let best = points.iter().filter(fit).map(|p| p.bytes_per_second).max();
    let close = best.unwrap_or(0) as f64 * CLOSE;
    points
        .iter()
        .filter(fit)
        .filter(|p| p.bytes_per_second as f64 >= close)
        .min_by_key(|p| (p.chunk * u64::from(p.depth), p.chunk))
        .map_or(
            Recommendation {
                chunk: 1 << 20,
                depth: 8,
                bytes_per_second: ASSUMED_RATE as u64,
            },
            |p| Recommendation {
                chunk: p.chunk,
                depth: p.depth,
                bytes_per_second: p.bytes_per_second,
            },
        )
}

fn rate(points: &[Point], engine: &str, pattern: Pattern, chunk: u64, depth: usize) -> f64 {
    let mut depths: Vec<u32> = Vec::new();
    let fit = |p: &&Point| p.pattern == pattern && p.threads.is_none() && p.engine == engine;
    depths.extend(points.iter().filter(fit).map(|p| p.depth));
    depths.sort_unstable();
    depths.dedup();
    let at_depth = |d: u32| {
        let mut line: Vec<(f64, f64)> = points
            .iter()
            .filter(fit)
            .filter(|p| p.depth == d)
            .map(|p| (p.chunk as f64, p.bytes_per_second.max(1) as f64))
            .collect();
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
        (f64::from(d), interpolate(&line, chunk.max(1) as f64))
    };
    let line: Vec<(f64, f64)> = depths.into_iter().map(at_depth).collect();
    interpolate(&line, depth.max(1) as f64)
}

/// The value at `x` on the line through points that ascend in x, on logarithmic scales; beyond
/// its ends the value of the end, and an assumption where there is no line.
fn interpolate(line: &[(f64, f64)], x: f64) -> f64 {
    let (Some(first), Some(last)) = (line.first(), line.last()) else {
        return ASSUMED_RATE;
    };
    if x <= first.0 {
        return first.1;
    }
    for pair in line.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if x <= x1 {
            let t = (x / x0).ln() / (x1 / x0).ln();
            return y0 * (y1 / y0).powf(t);
        }
    }
    last.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(points: &[(Pattern, u64, u32, u64)]) -> Profile {
        let mut profile = Profile::assumed("d", "p");
        profile.points = points
            .iter()
            .map(|&(pattern, chunk, depth, bytes_per_second)| Point {
                engine: profile.engine.clone(),
                pattern,
                chunk,
                depth,
                threads: None,
                bytes_per_second,
                p50_ns: 1,
                p99_ns: 1,
            })
            .collect();
        profile
    }

    #[test]
    fn rates_are_interpolated_on_logarithmic_scales() {
        use Pattern::{Random, Sequential};
        let profile = profile(&[
            (Random, 4096, 1, 100),
            (Random, 65536, 1, 1600),
            (Random, 4096, 16, 400),
            (Random, 65536, 16, 6400),
            (Sequential, 4096, 1, 9),
        ]);
        let rate = |chunk, depth| profile.bytes_per_second(Random, chunk, depth).round();
        assert_eq!(rate(4096, 1), 100.0);
        assert_eq!(rate(16384, 1), 400.0, "half way in size");
        assert_eq!(rate(4096, 4), 200.0, "half way in depth");
        assert_eq!(rate(16384, 4), 800.0);
        assert_eq!(
            (rate(1, 1), rate(1 << 30, 99)),
            (100.0, 6400.0),
            "ends hold"
        );
        assert_eq!(profile.bytes_per_second(Sequential, 1 << 20, 8), 9.0);
        let cost = profile.cost(65536, 16).as_secs_f64();
        assert!((cost - 65536.0 / 6400.0).abs() < 1e-6);
    }

    #[test]
    fn an_economical_read_reaches_half_of_the_best_rate() {
        use Pattern::Random;
        let rates = [(4096, 100), (16384, 390), (65536, 800), (1 << 20, 1000)];
        let profile = profile(&rates.map(|(chunk, rate)| (Random, chunk, 32, rate)));
        assert_eq!(profile.economical_read(32), 32768);
        // Alone, a read must outweigh 100 µs at 500 MB/s.
        assert_eq!(Profile::assumed("d", "p").economical_read(1), 65536);
    }

    #[test]
    fn recommendation_is_the_smallest_that_is_close() {
        use Pattern::{Random, Sequential};
        let profile = profile(&[
            (Sequential, 1 << 18, 4, 500),
            (Sequential, 1 << 20, 4, 905),
            (Sequential, 1 << 20, 16, 1000),
            (Sequential, 1 << 22, 4, 990),
            (Random, 1 << 16, 4, 5000),
        ]);
        let found = recommend(&profile.points, &profile.engine);
        assert_eq!(
            (found.chunk, found.depth, found.bytes_per_second),
            (1 << 20, 4, 905)
        );
    }

    #[test]
    fn assumptions_are_sane_and_labelled() {
        let profile = Profile::assumed("d", "p");
        assert_eq!(profile.origin, Origin::Assumed);
        assert!(profile.notes[0].contains("was not measured"));
        let random = |chunk, depth| profile.bytes_per_second(Pattern::Random, chunk, depth);
        assert!((random(4096, 1) - 4096.0 / 108.192e-6).abs() < 1e3);
        assert!((random(4 << 20, 8) - 500e6).abs() < 1e6);
        for bits in 12..22 {
            assert!(random(1 << bits, 1) < random(2 << bits, 1));
            assert!(random(1 << bits, 1) <= random(1 << bits, 8));
            assert!(profile.cost(1 << bits, 8) < profile.cost(2 << bits, 8));
        }
        assert!(profile.sequential() > 450e6);
    }
}
