//! Keys and values of the sequence, and who sees which.
//!
//! Without a ring, position `p` lies in slot `p`. With one ("Efficient Streaming Language Models
//! with Attention Sinks", section 3.2), the first positions, the sinks, have slots of their own,
//! and the others share the slots of the ring, the latest in the place of the oldest.
//!
//! Scores under RoPE depend on distances only. So recent keys stay rotated at their true
//! positions, and what the paper's counting within the cache changes is the distance of the sinks:
//! for a query at position `t` of a cache of `c` positions, sink `i` must lie at
//! `t - (c - 1) + i`. Its key is rotated to there for each query; the result is the paper's.
//!
//! The order of the attention kernels' sums depends on where slots lie relative to groups of
//! sixteen. So the ring's length does not depend on the size of batches, and each copy of the
//! sinks begins a group: then a token has the same bits in any batch.

use lampyris_import::arch::ModelSpec;
use lampyris_kernels::{Attention, Kernels, KvCache, Pool, Spans};

use super::net::{LayerNet, Rope};
use super::options::Ring;
use super::shape::Shape;

/// Tokens of a sweep past the context of a ring: each has its own copies of the sinks.
pub(crate) const RING_BATCH: usize = 8;
/// Slots that the attention kernels take together.
const GROUP: usize = 16;

#[derive(Debug)]
pub(crate) struct Cache {
    layers: Vec<KvCache>,
    ring: Option<RingState>,
    /// Of each token of the sweep: its slot, what it sees, its angles.
    slots: Vec<usize>,
    spans: Vec<Spans>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    position: usize,
    /// Positions that were ever written since the last reset.
    written: usize,
}

/// What a ring needs besides slots.
#[derive(Debug)]
struct RingState {
    sinks: usize,
    /// Positions that a token sees at most.
    context: usize,
    /// Slots of the ring proper; slots of the sinks lie before.
    len: usize,
    /// Keys before RoPE and values of the sinks, by layer, `[sinks, width]`.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    /// Angles of the sinks for each token past the context, `[tokens, sinks, pairs]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    rotated: Vec<f32>,
}

impl RingState {
    /// Slots of the sinks as token `i` of the sweep sees them, after those of the ring.
    fn copies(&self, i: usize) -> usize {
        let group = self.sinks.next_multiple_of(GROUP);
        (self.sinks + self.len).next_multiple_of(GROUP) + i * group
    }

    /// Whether the token at `position` sees the sinks closer than they are.
    fn shifts(&self, position: usize) -> bool {
        position >= self.context
    }

    fn slot(&self, position: usize) -> usize {
        match position.checked_sub(self.sinks) {
            None => position,
            Some(past) => self.sinks + past % self.len,
        }
    }

    /// What the token at `position`, number `i` of the sweep, sees.
    fn spans(&self, position: usize, i: usize) -> Spans {
        let sinks = match self.shifts(position) {
            true => self.copies(i)..self.copies(i) + self.sinks,
            false => 0..self.sinks.min(position + 1),
        };
        let recent = self.context - self.sinks;
        let first = (position + 1).saturating_sub(recent).max(self.sinks);
        if first > position {
            return [sinks, 0..0, 0..0];
        }
        let (from, to) = (self.slot(first), self.slot(position));
        if from <= to {
            return [sinks, from..to + 1, 0..0];
        }
        [sinks, from..self.sinks + self.len, self.sinks..to + 1]
    }
}

/// Slots of a layer's cache.
pub(crate) fn slots(shape: &Shape) -> usize {
    match shape.ring {
        None => shape.context,
        Some(Ring { sinks }) => {
            let group = sinks.next_multiple_of(GROUP);
            (sinks + ring_len(shape.context, sinks)).next_multiple_of(GROUP) + group * RING_BATCH
        }
    }
}

/// Slots of the ring proper: a token that comes with others must not overwrite what the first of
/// them sees.
fn ring_len(context: usize, sinks: usize) -> usize {
    context - sinks + RING_BATCH
}

/// Floats that a cache needs besides slots.
pub(crate) fn floats(shape: &Shape, spec: &ModelSpec) -> usize {
    let pairs = spec.rope().map_or(0, |r| r.dim / 2);
    let sinks = shape.ring.map_or(0, |r| r.sinks);
    let widths: usize = spec.layers.iter().map(|l| l.k_width() + l.v_width()).sum();
    let widest = spec.layers.iter().map(|l| l.k_width()).max().unwrap_or(0);
    sinks * widths + widest + 2 * pairs * (shape.batch + RING_BATCH * sinks)
}

impl Cache {
    pub(crate) fn new(spec: &ModelSpec, shape: &Shape) -> Self {
        let slots = slots(shape);
        let layers = spec.layers.iter();
        let pairs = spec.rope().map_or(0, |r| r.dim / 2);
        let ring = shape.ring.map(|Ring { sinks }| RingState {
            sinks,
            context: shape.context,
            len: ring_len(shape.context, sinks),
            keys: layers
                .clone()
                .map(|l| vec![0.0; sinks * l.k_width()])
                .collect(),
            values: layers
                .clone()
                .map(|l| vec![0.0; sinks * l.v_width()])
                .collect(),
            cos: vec![0.0; RING_BATCH * sinks * pairs],
            sin: vec![0.0; RING_BATCH * sinks * pairs],
            rotated: vec![0.0; layers.clone().map(|l| l.k_width()).max().unwrap_or(0)],
        });
        Self {
            layers: layers
                .map(|l| KvCache::new(shape.kv, l.n_kv_heads, l.head_dim_k, slots))
                .collect(),
            ring,
            slots: Vec::with_capacity(shape.batch),
            spans: Vec::with_capacity(shape.batch),
            cos: vec![0.0; shape.batch * pairs],
            sin: vec![0.0; shape.batch * pairs],
            position: 0,
            written: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.written = 0;
    }

    /// Whether a token at `position` would still find everything that it must see.
    pub(crate) fn reaches(&self, position: usize) -> bool {
        let Some(ring) = &self.ring else {
            return true;
        };
        // Slots of the ring were last written by these positions.
        let oldest = self.written.saturating_sub(ring.len);
        let first = (position + 1).saturating_sub(ring.context - ring.sinks);
        first.max(ring.sinks) >= oldest || self.written <= ring.sinks + ring.len
    }

    /// Tokens that a sweep from `position` on may have at most.
    pub(crate) fn most(&self, position: usize) -> usize {
        match &self.ring {
            None => usize::MAX,
            Some(ring) if position < ring.context => ring.context - position,
            Some(_) => RING_BATCH,
        }
    }

    /// Prepares a sweep of `n` tokens from `position` on.
    pub(crate) fn place(&mut self, rope: Option<&Rope>, position: usize, n: usize) {
        self.position = position;
        self.slots.clear();
        self.spans.clear();
        for i in 0..n {
            let p = position + i;
            match &self.ring {
                None => {
                    self.slots.push(p);
                    self.spans.push([0..p + 1, 0..0, 0..0]);
                }
                Some(ring) => {
                    self.slots.push(ring.slot(p));
                    self.spans.push(ring.spans(p, i));
                }
            }
        }
        self.written = self.written.max(position + n);
        let Some(rope) = rope else { return };
        let pairs = rope.pairs();
        let angles = self.cos.chunks_mut(pairs).zip(self.sin.chunks_mut(pairs));
        for (i, (cos, sin)) in angles.take(n).enumerate() {
            rope.angles(position + i, cos, sin);
        }
        let Some(ring) = &mut self.ring else { return };
        for i in (0..n).filter(|i| position + i >= ring.context) {
            for sink in 0..ring.sinks {
                let at = (i * ring.sinks + sink) * pairs..(i * ring.sinks + sink + 1) * pairs;
                let seen = position + i - (ring.context - 1) + sink;
                rope.angles(seen, &mut ring.cos[at.clone()], &mut ring.sin[at]);
            }
        }
    }

    /// Rotates queries and keys, remembers keys and values, and attends: all of one layer, for
    /// the tokens that were [placed](Self::place).
    pub(crate) fn attend(
        &mut self,
        (kernels, pool): (&Kernels, &Pool),
        i: usize,
        layer: &LayerNet,
        (rope, q, k, v): (Option<&Rope>, &mut [f32], &mut [f32], &[f32]),
        out: &mut [f32],
    ) {
        let dim = layer.spec.head_dim_k;
        let (kw, vw) = (layer.spec.k_width(), layer.spec.v_width());
        self.keep_sinks(i, k, v, kw);
        if let Some(rope) = rope {
            let pairs = rope.pairs();
            let (cos, sin) = (&self.cos, &self.sin);
            let turn = |t: usize, x: &mut [f32]| {
                let at = t * pairs..(t + 1) * pairs;
                kernels.rope(x, dim, &cos[at.clone()], &sin[at], rope.style);
            };
            pool.for_each_mut(q, layer.spec.q_width(), turn);
            k.chunks_mut(kw).enumerate().for_each(|(t, k)| turn(t, k));
        }
        let pairs = k.chunks_exact(kw).zip(v.chunks_exact(vw));
        for (&slot, (k, v)) in self.slots.iter().zip(pairs) {
            self.layers[i].write(kernels, slot, k, v);
        }
        if let Some(rope) = rope {
            self.move_sinks(kernels, i, dim, rope);
        }
        let job = Attention {
            cache: &self.layers[i],
            heads: layer.spec.n_heads,
            scale: layer.scale,
            q,
            spans: &self.spans,
        };
        kernels.attention(pool, &job, out);
    }

    /// Notes the keys of the sinks before they are rotated.
    fn keep_sinks(&mut self, i: usize, k: &[f32], v: &[f32], width: usize) {
        let Some(ring) = &mut self.ring else { return };
        let new = self.position..ring.sinks;
        let vw = ring.values[i].len() / ring.sinks.max(1);
        for (t, p) in new.take(self.slots.len()).enumerate() {
            ring.keys[i][p * width..][..width].copy_from_slice(&k[t * width..][..width]);
            ring.values[i][p * vw..][..vw].copy_from_slice(&v[t * vw..][..vw]);
        }
    }

    /// Puts the sinks where each token beyond the context must see them.
    fn move_sinks(&mut self, kernels: &Kernels, i: usize, dim: usize, rope: &Rope) {
        let Some(ring) = &mut self.ring else { return };
        let pairs = rope.pairs();
        for t in 0..self.slots.len() {
            if !ring.shifts(self.position + t) {
                continue;
            }
            for sink in 0..ring.sinks {
                let width = ring.keys[i].len() / ring.sinks;
                let vw = ring.values[i].len() / ring.sinks;
                let slot = ring.copies(t) + sink;
                let key = &mut ring.rotated[..width];
                key.copy_from_slice(&ring.keys[i][sink * width..][..width]);
                let at = (t * ring.sinks + sink) * pairs..(t * ring.sinks + sink + 1) * pairs;
                kernels.rope(key, dim, &ring.cos[at.clone()], &ring.sin[at], rope.style);
                let value = &ring.values[i][sink * vw..][..vw];
                self.layers[i].write(kernels, slot, key, value);
            }
        }
    }
}
