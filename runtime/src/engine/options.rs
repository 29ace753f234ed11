//! How an engine is opened.

use lampyris_io::EngineKind;
use lampyris_kernels::KvType;

use super::draft::DraftOptions;
use super::plan::Rate;
use crate::sparse::SparseOptions;

/// A cache of fixed size for texts without end ("Efficient Streaming Language Models with
/// Attention Sinks", section 3.2): the first tokens and the most recent ones are remembered, those
/// between are forgotten.
///
/// The cache has [`Options::context`] positions in all. Positions are counted within the cache:
/// a token sees the most recent ones at their true distance, and the sinks as if nothing had been
/// left out between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// First tokens that are never forgotten. The paper recommends 4.
    pub sinks: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self { sinks: 4 }
    }
}

/// How an engine is opened. The default has no memory limit.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes that the whole process may use: code, tokenizer, caches, buffers and weights.
    pub memory: Option<u64>,
    /// Bytes of the budget that the caller keeps for itself, for what it allocates after the
    /// engine is open.
    pub reserve: u64,
    /// Longest sequence, prompt included; 0 takes the model's own, up to 4096.
    pub context: usize,
    /// Computing threads; 0 takes all processors.
    pub threads: usize,
    /// Format of the key and value cache.
    pub kv: KvType,
    /// How files are read.
    pub io: EngineKind,
    /// Drafts by prompt lookup; `None` evaluates one token per sweep.
    pub draft: Option<DraftOptions>,
    /// Attention sinks and a ring cache; `None` ends when the context is full.
    pub ring: Option<Ring>,
    /// Most tokens of a prompt that share a sweep; 0 lets the plan choose.
    pub batch: usize,
    /// Most bytes of weights that stay resident, whatever the budget would allow.
    pub resident: Option<u64>,
    /// Bytes of a read request; 0 lets the plan choose.
    pub request: usize,
    /// How feed-forward networks that are packed as bundles of neurons are computed; `None` runs
    /// files without bundles only.
    pub sparse: Option<SparseOptions>,
    /// Sequential read rate of the storage, as probed. `None` assumes one for the forecast.
    pub storage: Option<Rate>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory: None,
            reserve: 0,
            context: 0,
            threads: 0,
            kv: KvType::F16,
            io: EngineKind::Auto,
            draft: None,
            ring: None,
            batch: 0,
            resident: None,
            request: 0,
            sparse: None,
            storage: None,
        }
    }
}
