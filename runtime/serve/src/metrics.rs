//! What `/metrics` shows, in the text format of Prometheus.

use crate::generate::Counters;
use crate::queue::Load;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a request for text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With all its text.
    Finished,
    /// The request was wrong.
    Invalid,
    /// The queue was full, or the server about to end.
    Refused,
    /// The client went away.
    Cancelled,
    /// The engine failed, or the server ended first.
    Failed,
}

impl Ending {
    const ALL: [Self; 5] = [
        Self::Finished,
        Self::Invalid,
        Self::Refused,
        Self::Cancelled,
        Self::Failed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

type Label = [(&'static str, &'static str); 1];
type Seconds = Counter<f64, AtomicU64>;

/// All metrics. Counters only grow; a restart of the server starts them again.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Label, Counter>,
    prompt_tokens: Counter,
    reused_tokens: Counter,
    generated_tokens: Counter,
    first_token: Histogram,
    next_token: Histogram,
    waiting: Gauge,
    running: Gauge,
    read_bytes: Counter,
    reads: Counter,
    wait: Seconds,
    compute: Seconds,
    peak_rss: Gauge,
}

/// Registers a clone of each metric, which shares its value.
fn register(m: &mut Metrics) {
    let r = &mut m.registry;
    r.register(
        "requests",
        "Requests for text, by how they ended",
        m.requests.clone(),
    );
    r.register(
        "prompt_tokens",
        "Tokens of prompts",
        m.prompt_tokens.clone(),
    );
    r.register(
        "prompt_tokens_reused",
        "Tokens of prompts that the KV cache still held",
        m.reused_tokens.clone(),
    );
    r.register(
        "generated_tokens",
        "Tokens made",
        m.generated_tokens.clone(),
    );
    r.register_with_unit(
        "first_token",
        "From the engine's start on a request to its first token",
        Unit::Seconds,
        m.first_token.clone(),
    );
    r.register_with_unit(
        "next_token",
        "From one token to the next",
        Unit::Seconds,
        m.next_token.clone(),
    );
    r.register(
        "queue_waiting",
        "Requests that wait for the engine",
        m.waiting.clone(),
    );
    r.register(
        "engine_running",
        "1 while the engine works on a request",
        m.running.clone(),
    );
    r.register_with_unit(
        "engine_read",
        "Read from storage",
        Unit::Bytes,
        m.read_bytes.clone(),
    );
    r.register("engine_reads", "Read requests to storage", m.reads.clone());
    r.register_with_unit(
        "engine_wait",
        "Time in which computing waited for storage",
        Unit::Seconds,
        m.wait.clone(),
    );
    r.register_with_unit(
        "engine_compute",
        "Time of computing",
        Unit::Seconds,
        m.compute.clone(),
    );
    r.register_with_unit(
        "engine_peak_rss",
        "Largest resident memory of the process",
        Unit::Bytes,
        m.peak_rss.clone(),
    );
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // 1 ms to 17 minutes.
        let buckets = || exponential_buckets(0.001, 4.0, 11);
        let mut metrics = Self {
            registry: Registry::with_prefix("lampyris"),
            requests: Family::default(),
            prompt_tokens: Counter::default(),
            reused_tokens: Counter::default(),
            generated_tokens: Counter::default(),
            first_token: Histogram::new(buckets()),
            next_token: Histogram::new(buckets()),
            waiting: Gauge::default(),
            running: Gauge::default(),
            read_bytes: Counter::default(),
            reads: Counter::default(),
            wait: Seconds::default(),
            compute: Seconds::default(),
            peak_rss: Gauge::default(),
        };
        register(&mut metrics);
        // A rate needs the zero before the first event.
        for ending in Ending::ALL {
            metrics.ended_by(ending, 0);
        }
        metrics
    }

    /// A request ended.
    pub(crate) fn ended(&self, ending: Ending) {
        self.ended_by(ending, 1);
    }

    fn ended_by(&self, ending: Ending, requests: u64) {
        self.requests
            .get_or_create(&[("ending", ending.name())])
            .inc_by(requests);
    }

    /// A token was made, `since` after the one before it or after the start.
    pub(crate) fn token(&self, first: bool, since: Duration) {
        let histogram = if first {
            &self.first_token
        } else {
            &self.next_token
        };
        histogram.observe(since.as_secs_f64());
    }

    /// Tokens of a request, when it ended.
    pub(crate) fn tokens(&self, prompt: usize, reused: usize, made: usize) {
        self.prompt_tokens.inc_by(prompt as u64);
        self.reused_tokens.inc_by(reused as u64);
        self.generated_tokens.inc_by(made as u64);
    }

    /// The engine's totals.
    pub(crate) fn engine(&self, now: Counters) {
        self.read_bytes
            .inner()
            .store(now.read_bytes, Ordering::Relaxed);
        self.reads.inner().store(now.reads, Ordering::Relaxed);
        let bits = |counter: &Seconds, value: f64| {
            counter.inner().store(value.to_bits(), Ordering::Relaxed);
        };
        bits(&self.wait, now.wait_seconds);
        bits(&self.compute, now.compute_seconds);
        let peak = i64::try_from(now.peak_rss_bytes).unwrap_or(i64::MAX);
        self.peak_rss.set(peak);
    }

    /// Everything as text.
    pub(crate) fn text(&self, load: Load) -> Result<String, std::fmt::Error> {
        self.waiting
            .set(i64::try_from(load.waiting).unwrap_or(i64::MAX));
        self.running.set(i64::from(load.running));
        self.ended_by(Ending::Cancelled, load.abandoned);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
