//! On-chip memory plan: where each vector lies in vector memory and each block in the
//! activation buffer. Attention, feed-forward and logits use the same words, one after the other.

use crate::error::{Error, Result};
use lampyris_import::arch::{LayerSpec, ModelSpec};
use lampyris_isa::HwConfig;
use lampyris_isa::format::{BLOCK, LINE_WORDS, blocks};

/// A vector, or one per token, in vector memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vector {
    /// First word.
    pub at: u32,
    /// Words from one token's vector to the next.
    pub stride: u32,
    /// Words in use, over all tokens.
    pub words: u32,
}

/// Scalars of the softmax over the heads of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softmax {
    /// Largest score.
    pub max: Vector,
    /// What is added to the scaled scores: minus the scaled maximum.
    pub shift: Vector,
    /// Sum of the exponentials.
    pub sum: Vector,
    /// Its reciprocal.
    pub inverse: Vector,
}

/// What only a ring cache needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingBuffers {
    /// Rotary factors of the table's multiple below the current position.
    pub high: Vector,
    /// Products of those with the cosines of the rest, then with its sines.
    pub mixed: [Vector; 2],
    /// Rotary factors at which queries meet the sinks.
    pub rope: Vector,
    /// Queries that are rotated by them, one token.
    pub q: Vector,
    /// Their scores with the sinks, two groups in turn; `stride` is a head's.
    pub scores: [Vector; 2],
    /// Those queries quantized; `stride` is a head's.
    pub xb_q: Blocks,
}

/// Blocks in the activation buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// First block.
    pub at: u32,
    /// Blocks from one vector to the next.
    pub stride: u32,
    /// Blocks in use, over all vectors.
    pub blocks: u32,
}

/// The plan.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    /// Most tokens in one call of `prefill`.
    pub tokens: u32,
    /// Constants; word 0 is the epsilon of the norms.
    pub constants: Vector,
    /// Token ids.
    pub ids: Vector,
    /// Per-row scalars: sums, means, reciprocals.
    pub scalar: [Vector; 2],
    /// Scales of the value heads of one token.
    pub value_scale: Vector,
    /// argmax: value and index.
    pub argmax: Vector,
    /// Norm weights (then biases) before attention and before the feed-forward network.
    pub norm: [Vector; 2],
    /// Biases of linear layers: query/key/value, attention output, up, down.
    pub bias: [Vector; 6],
    /// Rotary factors of one token: cosines, then signed sines.
    pub rope: Vector,
    /// On-chip memory of a ring cache; empty without one.
    pub ring: RingBuffers,
    /// Residual stream.
    pub x: Vector,
    /// Normed input and results of linear layers that go to the residual stream.
    pub h: Vector,
    /// Queries.
    pub q: Vector,
    /// Keys.
    pub k: Vector,
    /// Values.
    pub v: Vector,
    /// Scratch of RoPE, one token.
    pub rotated: Vector,
    /// Attention scores of one group of heads, two groups in turn; `stride` is a head's.
    pub scores: [Vector; 2],
    /// Scalars of the softmax, a word a head, two groups in turn.
    pub softmax: [Softmax; 2],
    /// Value scales of the cache, of two to [`SCALE_TURNS`] heads in turn: loads come in order, so
    /// one that waits for its buffer keeps the weights behind it waiting.
    pub cache_scale: Vec<Vector>,
    /// Attention result.
    pub attn: Vector,
    /// Gate projection.
    pub gate: Vector,
    /// Sigmoid of the gate.
    pub sigmoid: Vector,
    /// Up projection.
    pub up: Vector,
    /// Packed codes and scales of an embedding row.
    pub codes: Vector,
    /// Scales of an embedding row.
    pub code_scales: Vector,
    /// Logits.
    pub logits: Vector,
    /// Rows of the output projection that are searched for the largest logit at once; the search
    /// of one part goes on beside the product of the next.
    pub search_rows: u32,
    /// Largest logit of each part.
    pub part_max: Vector,
    /// Largest logit of each part and its index.
    pub part_argmax: Vector,
    /// Words of vector memory in use.
    pub vmem_words: u32,
    /// Quantized input of the linear layers.
    pub xb_h: Blocks,
    /// Quantized attention result.
    pub xb_attn: Blocks,
    /// Quantized feed-forward activations.
    pub xb_ffn: Blocks,
    /// Quantized queries of one token; `stride` is a head's.
    pub xb_q: Blocks,
    /// Quantized keys of one token.
    pub xb_k: Blocks,
    /// Quantized values of one token.
    pub xb_v: Blocks,
    /// Quantized attention weights of one group of heads, in turn.
    pub xb_p: [Blocks; 2],
    /// Blocks of the activation buffer in use.
    pub xbuf_blocks: u32,
}

/// Positions that are kept.
#[derive(Clone, Copy, Debug)]
pub struct Positions {
    /// Slots of the KV cache that a token sees at most.
    pub visible: usize,
    /// Sinks, if the cache is a ring.
    pub sinks: Option<usize>,
}

/// Largest value over the layers.
fn widest(spec: &ModelSpec, f: impl Fn(&LayerSpec) -> usize) -> usize {
    spec.layers.iter().map(f).max().unwrap_or(0)
}

struct Bump {
    next: u64,
    top: u64,
}

impl Bump {
    fn vector(&mut self, count: usize, width: usize) -> Vector {
        let stride = width.next_multiple_of(LINE_WORDS) as u64;
        let words = stride * count as u64;
        let at = self.next;
        self.next += words;
        self.top = self.top.max(self.next);
        let narrow = |v: u64| u32::try_from(v).unwrap_or(u32::MAX);
        Vector {
            at: narrow(at),
            stride: narrow(stride),
            words: narrow(words),
        }
    }

    /// `count` vectors of `each` blocks, rounded up to `align` and beginning at its multiples.
    fn blocks(&mut self, count: usize, each: usize, align: usize) -> Blocks {
        let each = each.next_multiple_of(align);
        let total = (count * each) as u64;
        let at = self.next.next_multiple_of(align as u64);
        self.next = at + total;
        self.top = self.top.max(self.next);
        let narrow = |v: u64| u32::try_from(v).unwrap_or(u32::MAX);
        Blocks {
            at: narrow(at),
            stride: narrow(each as u64),
            blocks: narrow(total),
        }
    }
}

/// Rows of one attention product: heads that share keys and values, at most as many as the
/// matrix unit takes.
pub fn group_rows(layer: &LayerSpec, hw: &HwConfig) -> usize {
    (layer.n_heads / layer.n_kv_heads).min(hw.max_tokens as usize)
}

/// Rows of the output projection in a part that is searched at once, at least.
const SEARCH_ROWS: usize = 2048;

/// Most parts of the output projection.
const SEARCH_PARTS: usize = 16;

/// Most buffers for value scales.
pub const SCALE_TURNS: usize = 4;

/// Plans for as many tokens as fit, then for as many buffers of value scales. Inputs of linear
/// layers begin and end at multiples of `span` blocks.
///
/// # Errors
/// Not even one token fits; the error says which buffer and by how much.
pub fn plan(spec: &ModelSpec, hw: &HwConfig, kept: Positions, span: usize) -> Result<Buffers> {
    let mut tokens = hw.max_tokens as usize;
    loop {
        let fits = |b: &Buffers| b.vmem_words <= hw.vmem_words && b.xbuf_blocks <= hw.xbuf_blocks;
        let with = |turns| plan_for(spec, hw, kept, tokens, turns, span);
        if let Some(plan) = (2..=SCALE_TURNS).map(with).rev().find(fits) {
            return Ok(plan);
        }
        if tokens == 1 {
            return Err(too_large(&plan_for(spec, hw, kept, 1, 2, span), hw));
        }
        tokens -= 1;
    }
}

fn too_large(plan: &Buffers, hw: &HwConfig) -> Error {
    if plan.vmem_words > hw.vmem_words {
        return Error::DoesNotFit {
            buffer: "vector memory",
            needed: u64::from(plan.vmem_words),
            available: u64::from(hw.vmem_words),
            unit: "words",
            hint: "take a configuration with more `vmem_words`, or a shorter --context",
        };
    }
    Error::DoesNotFit {
        buffer: "the activation buffer",
        needed: u64::from(plan.xbuf_blocks),
        available: u64::from(hw.xbuf_blocks),
        unit: "blocks",
        hint: "take a configuration with more `xbuf_blocks`, or a shorter --context",
    }
}

fn plan_for(
    spec: &ModelSpec,
    hw: &HwConfig,
    kept: Positions,
    tokens: usize,
    scale_turns: usize,
    span: usize,
) -> Buffers {
    let context = kept.visible;
    let mut b = Buffers {
        tokens: tokens as u32,
        cache_scale: vec![Vector::default(); scale_turns],
        ..Buffers::default()
    };
    let mut vmem = Bump { next: 0, top: 0 };
    plan_shared(&mut b, &mut vmem, spec, hw, tokens);
    if kept.sinks.is_some() {
        b.ring.rope = vmem.vector(2, widest(spec, |l| l.head_dim_k));
    }
    let rows = hw.tile_rows();
    // Phases that never overlap in time share the words from here on.
    let phase = vmem.next;
    plan_attention(&mut b, &mut vmem, spec, hw, context, tokens);
    plan_ring(&mut b.ring, &mut vmem, spec, hw, kept.sinks);
    vmem.next = phase;
    let ffn = widest(spec, |l| l.ffn_dim.next_multiple_of(rows));
    b.up = vmem.vector(tokens, ffn);
    if spec.layers.iter().any(|l| l.gated) {
        b.gate = vmem.vector(tokens, ffn);
        b.sigmoid = vmem.vector(tokens, ffn);
    }
    vmem.next = phase;
    b.codes = vmem.vector(1, blocks(spec.d_model) * LINE_WORDS);
    b.code_scales = vmem.vector(1, blocks(spec.d_model));
    vmem.next = phase;
    b.logits = vmem.vector(1, spec.vocab_size.next_multiple_of(rows));
    b.vmem_words = u32::try_from(vmem.top).unwrap_or(u32::MAX);
    plan_blocks(&mut b, spec, hw, kept, span);
    b
}

fn plan_shared(b: &mut Buffers, vmem: &mut Bump, spec: &ModelSpec, hw: &HwConfig, tokens: usize) {
    // Scalars come first: reductions reach 2^16 words only, which large models exceed.
    let group = widest(spec, |l| group_rows(l, hw)).max(1);
    for s in &mut b.softmax {
        for scalar in [&mut s.max, &mut s.shift, &mut s.sum, &mut s.inverse] {
            *scalar = vmem.vector(1, group);
        }
    }
    let rows = tokens.max(widest(spec, |l| l.n_heads));
    b.constants = vmem.vector(1, LINE_WORDS);
    b.ids = vmem.vector(1, tokens);
    for scalar in &mut b.scalar {
        *scalar = vmem.vector(1, rows);
    }
    b.value_scale = vmem.vector(1, widest(spec, |l| l.n_kv_heads));
    b.argmax = vmem.vector(1, 2);
    let parts = spec.vocab_size.div_ceil(SEARCH_ROWS).min(SEARCH_PARTS);
    let rows = spec
        .vocab_size
        .div_ceil(parts)
        .next_multiple_of(hw.tile_rows());
    b.search_rows = rows as u32;
    b.part_max = vmem.vector(1, spec.vocab_size.div_ceil(rows));
    b.part_argmax = vmem.vector(1, 2 * spec.vocab_size.div_ceil(rows));
    for norm in &mut b.norm {
        *norm = vmem.vector(2, spec.d_model);
    }
    let bias = |used: fn(&LayerSpec) -> bool, width: usize| {
        if spec.layers.iter().any(used) {
            width
        } else {
            0
        }
    };
    let widths = [
        bias(|l| l.biases.qkv, widest(spec, LayerSpec::q_width)),
        bias(|l| l.biases.qkv, widest(spec, LayerSpec::k_width)),
        bias(|l| l.biases.qkv, widest(spec, LayerSpec::v_width)),
        bias(|l| l.biases.attn_output, spec.d_model),
        bias(|l| l.biases.ffn, widest(spec, |l| l.ffn_dim)),
        bias(|l| l.biases.ffn, spec.d_model),
    ];
    for (vector, width) in b.bias.iter_mut().zip(widths) {
        *vector = vmem.vector(1, width);
    }
    b.rope = vmem.vector(2, widest(spec, |l| l.head_dim_k));
    b.x = vmem.vector(tokens, spec.d_model);
    // Results of the matrix unit come in row groups.
    b.h = vmem.vector(tokens, spec.d_model.next_multiple_of(hw.tile_rows()));
}

fn plan_attention(
    b: &mut Buffers,
    vmem: &mut Bump,
    spec: &ModelSpec,
    hw: &HwConfig,
    context: usize,
    tokens: usize,
) {
    let group = widest(spec, |l| group_rows(l, hw)).max(1);
    let positions = context.next_multiple_of(hw.tile_rows());
    let whole = |width: usize| width.next_multiple_of(hw.tile_rows());
    b.q = vmem.vector(tokens, whole(widest(spec, LayerSpec::q_width)));
    b.k = vmem.vector(tokens, whole(widest(spec, LayerSpec::k_width)));
    b.v = vmem.vector(tokens, whole(widest(spec, LayerSpec::v_width)));
    b.attn = vmem.vector(tokens, whole(widest(spec, LayerSpec::attn_width)));
    b.rotated = vmem.vector(
        1,
        widest(spec, LayerSpec::q_width).max(widest(spec, LayerSpec::k_width)),
    );
    for scores in &mut b.scores {
        *scores = vmem.vector(group, positions);
    }
    for scale in &mut b.cache_scale {
        *scale = vmem.vector(1, positions);
    }
}

/// Words of a ring beside those of attention.
fn plan_ring(
    ring: &mut RingBuffers,
    vmem: &mut Bump,
    spec: &ModelSpec,
    hw: &HwConfig,
    sinks: Option<usize>,
) {
    let Some(sinks) = sinks else { return };
    let head = widest(spec, |l| l.head_dim_k);
    ring.high = vmem.vector(2, head);
    for mixed in &mut ring.mixed {
        *mixed = vmem.vector(2, head);
    }
    ring.q = vmem.vector(1, widest(spec, LayerSpec::q_width));
    let group = widest(spec, |l| group_rows(l, hw)).max(1);
    for scores in &mut ring.scores {
        *scores = vmem.vector(group, sinks.next_multiple_of(hw.tile_rows()));
    }
}

fn plan_blocks(b: &mut Buffers, spec: &ModelSpec, hw: &HwConfig, kept: Positions, span: usize) {
    let context = kept.visible;
    let tokens = b.tokens as usize;
    let mut xbuf = Bump { next: 0, top: 0 };
    let group = widest(spec, |l| group_rows(l, hw)).max(1);
    b.xb_h = xbuf.blocks(tokens, blocks(spec.d_model), span);
    let phase = xbuf.next;
    b.xb_attn = xbuf.blocks(tokens, blocks(widest(spec, LayerSpec::attn_width)), span);
    let head_k = blocks(widest(spec, |l| l.head_dim_k));
    let head_v = blocks(widest(spec, |l| l.head_dim_v));
    b.xb_q = xbuf.blocks(widest(spec, |l| l.n_heads), head_k, 1);
    if kept.sinks.is_some() {
        b.ring.xb_q = xbuf.blocks(widest(spec, |l| l.n_heads), head_k, 1);
    }
    b.xb_k = xbuf.blocks(widest(spec, |l| l.n_kv_heads), head_k, 1);
    b.xb_v = xbuf.blocks(widest(spec, |l| l.n_kv_heads), head_v, 1);
    for p in &mut b.xb_p {
        *p = xbuf.blocks(group, context.div_ceil(BLOCK), 1);
    }
    xbuf.next = phase;
    b.xb_ffn = xbuf.blocks(tokens, blocks(widest(spec, |l| l.ffn_dim)), span);
    b.xbuf_blocks = u32::try_from(xbuf.top).unwrap_or(u32::MAX);
}
