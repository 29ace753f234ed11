//! One sweep: some tokens through all layers.

use std::ops::Range;

use lampyris_import::arch::NormKind;
use lampyris_kernels::{Activations, Kernels, Pool};
use lampyris_pack::Norm;

use super::kv::Cache;
use super::net::{FfnNet, LayerNet, Lin, Net, is_relu};
use super::shape::Shape;
use super::weights::Weights;
use super::{EngineError, SparseFfn};

/// The executor's vectors, allocated once.
#[derive(Debug)]
pub(crate) struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    /// Output of the projections back to the stream.
    delta: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attention: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    acts: Activations,
    pub(crate) logits: Vec<f32>,
}

impl Scratch {
    pub(crate) fn new(shape: &Shape, spec: &lampyris_import::arch::ModelSpec) -> Self {
        let v = shape.vectors(spec);
        Self {
            x: vec![0.0; v.stream],
            normed: vec![0.0; v.stream],
            delta: vec![0.0; v.stream],
            q: vec![0.0; v.q],
            k: vec![0.0; v.k],
            v: vec![0.0; v.v],
            attention: vec![0.0; v.attention],
            gate: vec![0.0; v.ffn],
            up: vec![0.0; v.ffn],
            acts: Activations::with_capacity(shape.batch, v.widest),
            logits: vec![0.0; v.logits],
        }
    }
}

/// What a sweep works with.
pub(crate) struct Executor<'a> {
    pub(crate) net: &'a Net,
    pub(crate) kernels: &'a Kernels,
    pub(crate) pool: &'a Pool,
    pub(crate) weights: &'a mut Weights,
    pub(crate) cache: &'a mut Cache,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) sparse: Option<&'a mut (dyn SparseFfn + 'static)>,
    /// Asked between layers.
    pub(crate) cancelled: &'a dyn Fn() -> bool,
}

impl Executor<'_> {
    /// Evaluates `tokens` at the positions from `position` on. Afterwards the stream after the
    /// last layer is in the scratch, for [`logits`](Self::logits).
    pub(crate) fn layers(&mut self, tokens: &[u32], position: usize) -> Result<(), EngineError> {
        let (n, d) = (tokens.len(), self.net.width);
        let x = &mut self.scratch.x[..n * d];
        self.weights.embed(self.kernels, tokens, x)?;
        if let Some(table) = &self.net.learned {
            self.kernels.add(x, &table[position * d..][..n * d]);
        }
        self.cache.place(self.net.rope.as_ref(), position, n);
        let net = self.net;
        for (i, layer) in net.layers.iter().enumerate() {
            if (self.cancelled)() {
                return Err(EngineError::Cancelled);
            }
            self.attention(i, layer, n)?;
            self.feed_forward(i, layer, n)?;
        }
        Ok(())
    }

    /// Logits of the given tokens of the sweep, a row each, at the start of `scratch.logits`.
    pub(crate) fn logits(&mut self, of: Range<usize>) -> Result<(), EngineError> {
        let net = self.net;
        let (n, d) = (of.len(), net.width);
        self.norm(&net.output_norm, of.start, n);
        let Scratch {
            acts,
            normed,
            logits,
            ..
        } = &mut *self.scratch;
        acts.quantize(self.kernels, &normed[..n * d], d);
        let vocab = self.weights.rows(net.head);
        let using = (self.kernels, self.pool);
        self.weights
            .matmul(using, net.head, acts, &mut logits[..n * vocab], vocab)
    }

    /// `normed = norm(x)` for `n` tokens from `first` on.
    fn norm(&mut self, norm: &Norm, first: usize, n: usize) {
        let (d, eps) = (self.net.width, self.net.eps);
        let x = &self.scratch.x[first * d..][..n * d];
        let kernels = self.kernels;
        let kind = self.net.norm_kind;
        let one = |x: &[f32], out: &mut [f32]| match kind {
            NormKind::Rms => kernels.rms_norm(x, &norm.weight, eps, out),
            NormKind::Layer => {
                let bias = norm.bias.as_deref().unwrap_or(&self.net.no_bias);
                kernels.layer_norm(x, &norm.weight, bias, eps, out);
            }
        };
        let out = &mut self.scratch.normed[..n * d];
        if n == 1 {
            return one(x, out);
        }
        self.pool
            .for_each_mut(out, d, |i, out| one(&x[i * d..][..d], out));
    }

    /// `x += o(attention(norm(x)))`.
    fn attention(&mut self, i: usize, layer: &LayerNet, n: usize) -> Result<(), EngineError> {
        let d = self.net.width;
        self.norm(&layer.attn_norm, 0, n);
        let using = (self.kernels, self.pool);
        let s = &mut *self.scratch;
        s.acts.quantize(self.kernels, &s.normed[..n * d], d);
        for (lin, out) in [
            (&layer.q, &mut s.q),
            (&layer.k, &mut s.k),
            (&layer.v, &mut s.v),
        ] {
            linear(using, self.weights, lin, &s.acts, &mut out[..n * lin.rows])?;
        }
        let width = layer.spec.attn_width();
        self.cache.attend(
            using,
            i,
            layer,
            (
                self.net.rope.as_ref(),
                &mut s.q[..n * layer.q.rows],
                &mut s.k[..n * layer.k.rows],
                &s.v[..n * layer.v.rows],
            ),
            &mut s.attention[..n * width],
        );
        s.acts
            .quantize(self.kernels, &s.attention[..n * width], width);
        let delta = &mut s.delta[..n * d];
        linear(using, self.weights, &layer.o, &s.acts, delta)?;
        self.kernels.add(&mut s.x[..n * d], delta);
        Ok(())
    }

    /// `x += ffn(norm(x))`.
    fn feed_forward(&mut self, i: usize, layer: &LayerNet, n: usize) -> Result<(), EngineError> {
        let d = self.net.width;
        self.norm(&layer.ffn_norm, 0, n);
        let using = (self.kernels, self.pool);
        let s = &mut *self.scratch;
        match (&layer.ffn, self.sparse.as_deref_mut()) {
            (FfnNet::Dense { gate, up, down }, _) => {
                s.acts.quantize(self.kernels, &s.normed[..n * d], d);
                let width = up.rows;
                let (g, u) = (&mut s.gate[..n * width], &mut s.up[..n * width]);
                if let Some(gate) = gate {
                    linear(using, self.weights, gate, &s.acts, g)?;
                    linear(using, self.weights, up, &s.acts, u)?;
                } else {
                    linear(using, self.weights, up, &s.acts, g)?;
                }
                activate(using, layer, g, u);
                s.acts.quantize(self.kernels, g, width);
                linear(using, self.weights, down, &s.acts, &mut s.delta[..n * d])?;
            }
            (FfnNet::Sparse, Some(sparse)) => {
                sparse.forward(
                    i,
                    n,
                    &s.normed[..n * d],
                    &s.x[..n * d],
                    &mut s.delta[..n * d],
                )?;
            }
            (FfnNet::Sparse, None) => {
                return Err(EngineError::Unsupported {
                    what: format!("the feed-forward network of layer {i} is stored as bundles"),
                    hint: "run the packed file in sparse mode".to_owned(),
                });
            }
        }
        self.kernels.add(&mut s.x[..n * d], &s.delta[..n * d]);
        Ok(())
    }
}

/// `out = weight x + bias` for all tokens of `x`.
fn linear(
    using: (&Kernels, &Pool),
    weights: &mut Weights,
    lin: &Lin,
    x: &Activations,
    out: &mut [f32],
) -> Result<(), EngineError> {
    weights.matmul(using, lin.matrix, x, out, lin.rows)?;
    if let Some(bias) = &lin.bias {
        for row in out.chunks_exact_mut(lin.rows) {
            using.0.add(row, bias);
        }
    }
    Ok(())
}

/// Values that one thread activates at a time.
const ACTIVATE: usize = 4096;

/// `gate = act(gate) * up`, or `act(gate)` where the network is not gated.
fn activate((kernels, pool): (&Kernels, &Pool), layer: &LayerNet, gate: &mut [f32], up: &[f32]) {
    let relu = is_relu(&layer.spec);
    let gated = layer.spec.gated;
    pool.for_each_mut(gate, ACTIVATE, |i, gate| {
        let up = &up[i * ACTIVATE..][..gate.len()];
        match (gated, relu) {
            (true, true) => kernels.relu_mul(gate, up),
            (true, false) => kernels.silu_mul(gate, up),
            (false, true) => kernels.relu(gate),
            (false, false) => kernels.silu(gate),
        }
    });
}
