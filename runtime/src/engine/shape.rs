//! Sizes of caches and vectors.

use lampyris_import::arch::{LayerSpec, ModelSpec};
use lampyris_kernels::{Activations, KvCache, KvType};

use super::kv;
use super::options::{Options, Ring};

/// Context of an engine when nobody says how long, if the model's own is longer.
const DEFAULT_CONTEXT: usize = 4096;
/// Tokens that a draft may have, whatever the options say.
const MOST_DRAFTED: usize = 31;

/// Sizes of everything but weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Positions that can be remembered or, without a ring, that exist.
    pub(crate) context: usize,
    /// Tokens per sweep.
    pub(crate) batch: usize,
    /// Rows of logits.
    pub(crate) logits: usize,
    pub(crate) kv: KvType,
    pub(crate) threads: usize,
    pub(crate) ring: Option<Ring>,
}

impl Shape {
    pub(crate) fn new(spec: &ModelSpec, options: &Options, batch: usize, threads: usize) -> Self {
        let context = match options.context {
            0 => spec.context_length.min(DEFAULT_CONTEXT),
            n => n,
        };
        let most = match options.ring {
            Some(_) => kv::RING_BATCH - 1,
            None => MOST_DRAFTED,
        };
        let drafts = options.draft.map_or(0, |d| d.max_tokens.min(most));
        let batch = batch.min(context).max(drafts + 1);
        // Rows of logits are large; more than drafts need only serve to score texts faster.
        let scored = if options.memory.is_some() { 8 } else { 32 };
        Self {
            context,
            batch,
            logits: (drafts + 1).max(batch.min(scored)),
            kv: options.kv,
            threads,
            ring: options.ring,
        }
    }

    pub(crate) fn kv_bytes(&self, spec: &ModelSpec) -> u64 {
        let slots = kv::slots(self);
        let bytes = |l: &LayerSpec| KvCache::bytes(self.kv, l.n_kv_heads, l.head_dim_k, slots);
        let caches: usize = spec.layers.iter().map(bytes).sum();
        (caches + 4 * kv::floats(self, spec)) as u64
    }

    /// Floats of each of the executor's vectors.
    pub(crate) fn vectors(&self, spec: &ModelSpec) -> Vectors {
        let most = |f: &dyn Fn(&LayerSpec) -> usize| spec.layers.iter().map(f).max().unwrap_or(0);
        Vectors {
            stream: self.batch * spec.d_model,
            q: self.batch * most(&|l| l.q_width()),
            k: self.batch * most(&|l| l.k_width()),
            v: self.batch * most(&|l| l.v_width()),
            attention: self.batch * most(&|l| l.attn_width()),
            ffn: self.batch * most(&|l| l.ffn_dim),
            widest: most(&|l| l.ffn_dim.max(l.attn_width())).max(spec.d_model),
            logits: self.logits * spec.vocab_size,
        }
    }

    pub(crate) fn activation_bytes(&self, spec: &ModelSpec) -> u64 {
        let v = self.vectors(spec);
        let floats = 3 * v.stream + 2 * v.q + v.k + v.v + v.attention + 2 * v.ffn + v.logits;
        (floats * 4 + Activations::bytes(self.batch, v.widest)) as u64
    }
}

/// See [`Shape::vectors`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors {
    pub(crate) stream: usize,
    pub(crate) q: usize,
    pub(crate) k: usize,
    pub(crate) v: usize,
    pub(crate) attention: usize,
    pub(crate) ffn: usize,
    pub(crate) widest: usize,
    pub(crate) logits: usize,
}
