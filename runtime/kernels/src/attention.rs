//! Key-value cache and grouped-query attention.

use crate::float::{step, steps_per_unit};
use crate::pool::Shareable;
use crate::simd::LANES;
use crate::{Kernels, Pool};
use std::ops::Range;

/// Queries that share a pass over keys and values.
pub(crate) const QUERIES: usize = 4;
/// Largest head that the kernels' buffers hold.
const HEAD_DIM_MAX: usize = 512;

/// Number format of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Binary16.
    F16,
    /// Signed 8-bit with one f32 scale per head and position.
    Q8,
}

/// Keys and values of one layer in a fixed number of slots.
///
/// Keys lie in groups of sixteen slots, `[kv head][group][element][slot]`, so that sixteen scores
/// are computed side by side; values lie as `[kv head][slot][element]`.
#[derive(Debug)]
pub struct KvCache {
    ty: KvType,
    heads: usize,
    head_dim: usize,
    slots: usize,
    /// Binary16, for [`KvType::F16`].
    halves: [Vec<u16>; 2],
    /// For [`KvType::Q8`].
    bytes: [Vec<i8>; 2],
    scales: [Vec<f32>; 2],
}

/// Keys and values of one head.
pub(crate) enum HeadView<'a> {
    F16 {
        k: &'a [u16],
        v: &'a [u16],
    },
    Q8 {
        k: &'a [i8],
        v: &'a [i8],
        k_scale: &'a [f32],
        v_scale: &'a [f32],
    },
}

impl KvCache {
    /// A cache of zeros for `slots` positions of `heads` key-value heads.
    ///
    /// # Panics
    /// If `head_dim` is 0 or above 512 (callers refuse such models by name).
    pub fn new(ty: KvType, heads: usize, head_dim: usize, slots: usize) -> Self {
        assert!(
            (1..=HEAD_DIM_MAX).contains(&head_dim),
            "head dimension {head_dim} is not in 1..={HEAD_DIM_MAX}"
        );
        let slots = slots.next_multiple_of(LANES);
        let elements = [
            heads * slots * head_dim,
            heads * slots * head_dim.next_multiple_of(LANES),
        ];
        let (halves, bytes) = match ty {
            KvType::F16 => (elements, [0; 2]),
            KvType::Q8 => ([0; 2], elements),
        };
        let scales = match ty {
            KvType::F16 => 0,
            KvType::Q8 => heads * slots,
        };
        Self {
            ty,
            heads,
            head_dim,
            slots,
            halves: halves.map(|n| vec![0; n]),
            bytes: bytes.map(|n| vec![0; n]),
            scales: [scales; 2].map(|n| vec![0.0; n]),
        }
    }

    /// Bytes of memory of such a cache.
    pub fn bytes(ty: KvType, heads: usize, head_dim: usize, slots: usize) -> usize {
        let slots = slots.next_multiple_of(LANES);
        let elements = head_dim + head_dim.next_multiple_of(LANES);
        match ty {
            KvType::F16 => heads * slots * elements * 2,
            KvType::Q8 => heads * slots * (elements + 2 * size_of::<f32>()),
        }
    }

    /// Positions that fit: as asked for, rounded up to sixteen.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Stores keys and values of one position, each `[heads, head_dim]` (keys after RoPE).
    ///
    /// # Panics
    /// If the lengths do not fit or there is no such slot.
    pub fn write(&mut self, kernels: &Kernels, slot: usize, k: &[f32], v: &[f32]) {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        assert_eq!(k.len(), self.heads * self.head_dim, "keys of a position");
        assert_eq!(v.len(), k.len(), "values of a position");
        let dim = self.head_dim;
        let padded = dim.next_multiple_of(LANES);
        let heads = k.chunks_exact(dim).zip(v.chunks_exact(dim)).enumerate();
        for (head, (k, v)) in heads {
            let k_at = (head * self.slots + slot / LANES * LANES) * dim + slot % LANES;
            let v_at = (head * self.slots + slot) * padded;
            match self.ty {
                KvType::F16 => {
                    let mut half = [0; HEAD_DIM_MAX];
                    let half = &mut half[..dim];
                    kernels.backend().to_f16(k, half);
                    spread(half, &mut self.halves[0][k_at..]);
                    kernels.backend().to_f16(v, half);
                    self.halves[1][v_at..][..dim].copy_from_slice(half);
                }
                KvType::Q8 => {
                    let mut q = [0; HEAD_DIM_MAX];
                    let q = &mut q[..dim];
                    self.scales[0][head * self.slots + slot] = quantize_head(k, q);
                    spread(q, &mut self.bytes[0][k_at..]);
                    self.scales[1][head * self.slots + slot] = quantize_head(v, q);
                    self.bytes[1][v_at..][..dim].copy_from_slice(q);
                }
            }
        }
    }

    pub(crate) fn head(&self, head: usize) -> HeadView<'_> {
        let dim = self.head_dim;
        let k = head * self.slots * dim..(head + 1) * self.slots * dim;
        let dim = dim.next_multiple_of(LANES);
        let v = head * self.slots * dim..(head + 1) * self.slots * dim;
        let scale = head * self.slots..(head + 1) * self.slots;
        match self.ty {
            KvType::F16 => HeadView::F16 {
                k: &self.halves[0][k],
                v: &self.halves[1][v],
            },
            KvType::Q8 => HeadView::Q8 {
                k: &self.bytes[0][k],
                v: &self.bytes[1][v],
                k_scale: &self.scales[0][scale.clone()],
                v_scale: &self.scales[1][scale],
            },
        }
    }
}

/// Elements of one slot to their places, sixteen apart.
fn spread<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, from) in to.iter_mut().step_by(LANES).zip(from) {
        *to = *from;
    }
}

/// Quantizes with one scale, which is returned; the rule of [`Activations`](crate::Activations).
fn quantize_head(x: &[f32], q: &mut [i8]) -> f32 {
    let bits = x.iter().fold(0, |m, v| m.max(v.to_bits() & 0x7fff_ffff));
    let magnitude = f32::from_bits(bits);
    let factor = steps_per_unit(magnitude);
    for (q, x) in q.iter_mut().zip(x) {
        *q = (x * factor + 12_582_912.0).to_bits() as i8;
    }
    step(magnitude)
}

/// The slots that one query sees: up to three ranges in order of position (some may be empty), for
/// example sinks and the two parts of a ring.
pub type Spans = [Range<usize>; 3];

/// Attention of some tokens over a cache.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Keys and values, the tokens' own included.
    pub cache: &'a KvCache,
    /// Query heads; a multiple of the cache's heads, neighbours share one.
    pub heads: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Queries after RoPE, `[tokens, heads, head_dim]`.
    pub q: &'a [f32],
    /// What each token sees, not nothing; one entry per token.
    pub spans: &'a [Spans],
}

/// Some queries of one key-value head, at most [`QUERIES`].
pub(crate) struct AttentionPart<'a> {
    pub(crate) head: HeadView<'a>,
    pub(crate) head_dim: usize,
    pub(crate) scale: f32,
    /// Queries and what they see.
    pub(crate) queries: [&'a [f32]; QUERIES],
    pub(crate) spans: [&'a Spans; QUERIES],
    pub(crate) count: usize,
}

impl Kernels {
    /// Softmax-weighted sums of values: `out` is `[tokens, heads, head_dim]`. A token has the same
    /// bits in any batch. Queries are split over `pool`.
    ///
    /// Scores and sums are f32. Slots are taken in runs of 128 (aligned), each with the running
    /// maximum (online softmax), so memory does not grow with the context.
    ///
    /// # Panics
    /// If shapes do not fit, or a token sees nothing or slots that do not exist.
    pub fn attention(&self, pool: &Pool, job: &Attention<'_>, out: &mut [f32]) {
        let (dim, kv_heads) = (job.cache.head_dim, job.cache.heads);
        assert!(job.heads.is_multiple_of(kv_heads), "query heads per group");
        let tokens = job.spans.len();
        assert_eq!(job.q.len(), tokens * job.heads * dim, "queries");
        assert_eq!(out.len(), job.q.len(), "output");
        for spans in job.spans {
            assert!(spans.iter().any(|s| !s.is_empty()), "a token sees nothing");
            let inside = spans
                .iter()
                .all(|s| s.is_empty() || s.end <= job.cache.slots);
            assert!(inside, "{spans:?} of {} slots", job.cache.slots);
        }
        // The queries of a key-value head, token by token, in parts of up to four.
        let group = job.heads / kv_heads;
        let parts = (tokens * group).div_ceil(QUERIES);
        // Few parts: single queries balance better over the threads. Bits do not depend on it.
        let each = match parts * kv_heads >= 4 * pool.threads() || pool.threads() == 1 {
            true => QUERIES,
            false => 1,
        };
        let parts = (tokens * group).div_ceil(each);
        let out = Shareable(out.as_mut_ptr());
        pool.run(parts * kv_heads, &|i| {
            let (head, first) = (i / parts, i % parts * each);
            let count = each.min(tokens * group - first);
            let place = |n: usize| {
                let n = first + n.min(count - 1);
                (n / group, head * group + n % group)
            };
            let query = |n: usize| {
                let (token, head) = place(n);
                &job.q[(token * job.heads + head) * dim..][..dim]
            };
            let part = AttentionPart {
                head: job.cache.head(head),
                head_dim: dim,
                scale: job.scale,
                queries: std::array::from_fn(query),
                spans: std::array::from_fn(|n| &job.spans[place(n).0]),
                count,
            };
            let mut values = [0.0; QUERIES * HEAD_DIM_MAX];
            self.backend().attend(&part, &mut values);
            let rows = dim.next_multiple_of(LANES);
            let out = &out;
            for (n, values) in values.chunks_exact(rows).take(count).enumerate() {
                let (token, head) = place(n);
                let at = (token * job.heads + head) * dim;
                // SAFETY: each (token, head) belongs to one part; the length was checked above.
                unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), out.0.add(at), dim) };
            }
        });
    }
}
