//! What a run cost.

use serde::Serialize;

/// Counters since the engine was opened, or since [`Stats::since`] another.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Stats {
    /// Tokens evaluated, drafts included.
    pub tokens: u64,
    /// Passes over the weights.
    pub sweeps: u64,
    /// Tokens drafted.
    pub drafted: u64,
    /// Drafted tokens that the model confirmed.
    pub accepted: u64,
    /// Bytes read from storage, loading excluded.
    pub bytes_read: u64,
    /// Read requests, loading excluded.
    pub reads: u64,
    /// Milliseconds in which computing waited for storage.
    pub io_wait_ms: f64,
    /// Milliseconds of the sweeps spent neither waiting nor managing memory.
    pub compute_ms: f64,
    /// Milliseconds spent moving weights within memory (sparse mode).
    pub memory_ms: f64,
    /// Milliseconds that opening the engine took: planning and loading.
    pub load_ms: f64,
    /// Bytes read from storage to load what is resident.
    pub load_bytes: u64,
    /// The most memory the process ever had resident; `None` where the system does not say.
    pub peak_rss: Option<u64>,
}

impl Stats {
    /// What happened after `earlier`. Loading and the peak stay as they are.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            tokens: self.tokens - earlier.tokens,
            sweeps: self.sweeps - earlier.sweeps,
            drafted: self.drafted - earlier.drafted,
            accepted: self.accepted - earlier.accepted,
            bytes_read: self.bytes_read - earlier.bytes_read,
            reads: self.reads - earlier.reads,
            io_wait_ms: self.io_wait_ms - earlier.io_wait_ms,
            compute_ms: self.compute_ms - earlier.compute_ms,
            memory_ms: self.memory_ms - earlier.memory_ms,
            ..*self
        }
    }
}
