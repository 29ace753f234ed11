//! The f32 reference executor: runs the model graph as it is written down.
//!
//! Weights are dequantized exactly, activations and the KV cache are f32, long sums are f64. It
//! is slow and plain on purpose: where another engine of this project disagrees, this one is
//! right. Nodes run in the order of the graph; each sees the whole batch before the next one.

use std::collections::HashMap;
use std::num::NonZero;

use lampyris_import::arch::{Activation, ModelSpec, NormKind};
use lampyris_import::graph::{ModelGraph, Node, NodeId, Op};
use lampyris_import::source::TensorRef;
use lampyris_import::{ImportError, Model};

use crate::kernels::{self, Dense, argmax, nll};
use crate::sampler::{Sampler, SamplerError};

/// Tokens evaluated together: the weights pass through the caches once for all of them.
pub(crate) const BATCH: usize = 64;

/// Sees the outputs of a node for a batch, a row a token, before any other node does, and may
/// change them. Of [`Op::AppendKv`] it sees a copy.
pub type Hook<'h> = dyn FnMut(&Node, &mut [f32]) + 'h;

/// Failure to load or run the reference executor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// A tensor could not be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The logits could not be sampled.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// A token id beyond the model's vocabulary.
    #[error(
        "token id {token} is outside the model's vocabulary of {size} tokens\nhint: tokens and model must belong together"
    )]
    Token {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        size: usize,
    },
    /// The sequence would become longer than the model allows.
    #[error(
        "a sequence of {wanted} tokens exceeds the model's context of {limit}\nhint: shorten the prompt or generate fewer tokens"
    )]
    Context {
        /// Length asked for.
        wanted: usize,
        /// The model's context length.
        limit: usize,
    },
    /// There is nothing to evaluate.
    #[error(
        "there are no tokens to evaluate\nhint: give a prompt, or a model that begins with BOS"
    )]
    Empty,
}

/// A model with all its weights as f32, ready to run.
#[derive(Debug)]
pub struct Reference<'m> {
    model: &'m Model,
    pub(crate) tensors: HashMap<&'m TensorRef, Vec<f32>>,
    /// How many nodes read each node's output.
    readers: Vec<usize>,
}

/// How well the model predicted one window of text.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowScore {
    /// Negative log-likelihood in nats of tokens `1..` of the window.
    pub nll: Vec<f64>,
    /// The most likely next token after each token of the window.
    pub top1: Vec<u32>,
}

/// The perplexity over all scored tokens of some windows.
pub fn perplexity(scores: &[WindowScore]) -> f64 {
    let (sum, n) = scores
        .iter()
        .flat_map(|s| &s.nll)
        .fold((0.0, 0usize), |(s, n), x| (s + x, n + 1));
    (sum / n as f64).exp()
}

impl<'m> Reference<'m> {
    /// Dequantizes all weights of `model` (four bytes a parameter).
    ///
    /// # Errors
    /// Tensors that cannot be read or that hold NaN or infinities.
    pub fn new(model: &'m Model) -> Result<Self, ReferenceError> {
        model.check_finite()?;
        let graph = model.graph();
        let mut tensors = HashMap::new();
        let mut readers = Vec::new();
        for (id, node) in graph.nodes() {
            for tensor in node.op.tensors() {
                if !tensors.contains_key(tensor) {
                    tensors.insert(tensor, model.tensor_f32(tensor)?);
                }
            }
            readers.push(0);
            for input in graph.inputs(id) {
                readers[input.index()] += 1;
            }
        }
        Ok(Self {
            model,
            tensors,
            readers,
        })
    }

    /// The model.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// A new, empty sequence.
    pub fn session(&self) -> Session<'_> {
        Session {
            reference: self,
            caches: HashMap::new(),
            position: 0,
            hidden: None,
        }
    }

    /// Teacher-forced scores of windows of text; each window is a sequence of its own.
    ///
    /// # Errors
    /// Those of [`Session::evaluate`].
    pub fn score(&self, windows: &[&[u32]]) -> Result<Vec<WindowScore>, ReferenceError> {
        let mut scores = Vec::with_capacity(windows.len());
        for window in windows {
            let mut score = WindowScore {
                nll: Vec::with_capacity(window.len()),
                top1: Vec::with_capacity(window.len()),
            };
            self.session().evaluate(window, |i, logits| {
                score.top1.push(argmax(logits).unwrap_or_default() as u32);
                if let Some(&next) = window.get(i + 1) {
                    score.nll.push(nll(logits, next as usize));
                }
            })?;
            scores.push(score);
        }
        Ok(scores)
    }

    fn spec(&self) -> &ModelSpec {
        self.model.spec()
    }

    fn graph(&self) -> &ModelGraph {
        self.model.graph()
    }

    fn tensor(&self, tensor: &TensorRef) -> &[f32] {
        &self.tensors[tensor]
    }

    fn dense<'a>(
        &'a self,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
        cols: usize,
        rows: usize,
    ) -> Dense<'a> {
        Dense {
            weight: self.tensor(weight),
            bias: bias.map(|b| self.tensor(b)),
            rows,
            cols,
        }
    }
}

/// Keys and values of one layer, a row a position.
#[derive(Debug, Clone, Default)]
struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// One sequence in progress.
#[derive(Debug, Clone)]
pub struct Session<'r> {
    reference: &'r Reference<'r>,
    /// By the node that appends to it.
    caches: HashMap<NodeId, Cache>,
    position: usize,
    hidden: Option<Hidden>,
}

/// Whether the token at the first position does not see the key at the second.
pub type Hidden = fn(usize, usize) -> bool;

impl Session<'_> {
    /// Tokens evaluated so far: the position of the next one.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Hides keys from queries in all attention from here on. Every query must see one.
    pub fn hide(&mut self, hidden: Hidden) {
        self.hidden = Some(hidden);
    }

    /// Entries of a row of logits.
    pub(crate) fn vocab_size(&self) -> usize {
        self.reference.spec().vocab_size
    }

    /// Evaluates one token; returns the logits of the next (one per vocabulary entry).
    ///
    /// # Errors
    /// A token outside the vocabulary, a full context.
    pub fn step(&mut self, token: u32) -> Result<Vec<f32>, ReferenceError> {
        self.prefill(&[token])
    }

    /// Evaluates `tokens`; returns the logits after the last.
    ///
    /// # Errors
    /// No tokens, a token outside the vocabulary, a full context.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<Vec<f32>, ReferenceError> {
        let mut last = Err(ReferenceError::Empty);
        self.evaluate(tokens, |i, logits| {
            if i + 1 == tokens.len() {
                last = Ok(logits.to_vec());
            }
        })?;
        last
    }

    /// Evaluates `tokens` and shows the logits after each: `visit(index in tokens, logits)`.
    ///
    /// # Errors
    /// A token outside the vocabulary, a full context; then nothing has been evaluated.
    pub fn evaluate(
        &mut self,
        tokens: &[u32],
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<(), ReferenceError> {
        self.check(tokens)?;
        let vocab = self.reference.spec().vocab_size;
        for (batch, part) in tokens.chunks(BATCH).enumerate() {
            let logits = self.forward(part, true, &mut |_, _| ());
            for (i, row) in logits.chunks_exact(vocab).enumerate() {
                visit(batch * BATCH + i, row);
            }
        }
        Ok(())
    }

    /// [`Session::step`] that also shows every node's output, in graph order: for finding the
    /// first operation at which another engine differs, and for calibration.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn trace(
        &mut self,
        token: u32,
        observe: &mut dyn FnMut(&Node, &[f32]),
    ) -> Result<Vec<f32>, ReferenceError> {
        self.check(&[token])?;
        Ok(self.forward(&[token], true, &mut |node, values| observe(node, values)))
    }

    /// Evaluates `prompt`, then samples until `max_tokens` are made, `stop` accepts one (it is
    /// not returned), or the context is full. `show` sees each token as soon as it is made.
    ///
    /// # Errors
    /// Those of [`Session::prefill`] and of the sampler.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        max_tokens: usize,
        sampler: &mut Sampler,
        stop: impl Fn(u32) -> bool,
        mut show: impl FnMut(u32),
    ) -> Result<Vec<u32>, ReferenceError> {
        let mut logits = self.prefill(prompt)?;
        let mut made = Vec::new();
        while made.len() < max_tokens {
            let token = sampler.sample(&logits)?;
            if stop(token) {
                break;
            }
            made.push(token);
            show(token);
            if made.len() == max_tokens || self.position == self.reference.spec().context_length {
                break;
            }
            logits = self.step(token)?;
        }
        Ok(made)
    }

    /// What [`Session::evaluate`] and its like refuse.
    pub(crate) fn check(&self, tokens: &[u32]) -> Result<(), ReferenceError> {
        let spec = self.reference.spec();
        let size = spec.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= size) {
            return Err(ReferenceError::Token { token, size });
        }
        let wanted = self.position.saturating_add(tokens.len());
        if wanted > spec.context_length {
            return Err(ReferenceError::Context {
                wanted,
                limit: spec.context_length,
            });
        }
        Ok(())
    }

    /// Runs the graph on a batch; returns the logits, a row a token, or nothing without `head`.
    /// `hook` sees each output (a row a token) and may change it.
    pub(crate) fn forward(&mut self, tokens: &[u32], head: bool, hook: &mut Hook<'_>) -> Vec<f32> {
        let reference = self.reference;
        let nodes = reference.graph().nodes();
        let nodes = nodes.filter(|(_, node)| head || !matches!(node.op, Op::LmHead { .. }));
        let output = self.part(nodes.collect(), None, tokens, hook);
        if head { output } else { Vec::new() }
    }

    /// Runs some nodes of the graph, in its order, on a batch; returns the output of the last.
    /// `given` (a row a token) stands for every input that is not among the nodes; without it,
    /// the nodes start from `tokens`.
    pub(crate) fn part(
        &mut self,
        nodes: Vec<(NodeId, &Node)>,
        given: Option<&[f32]>,
        tokens: &[u32],
        hook: &mut Hook<'_>,
    ) -> Vec<f32> {
        let reference = self.reference;
        let graph = reference.graph();
        let count = given.map_or(tokens.len(), |x| x.len() / reference.spec().d_model);
        let mut outputs: Vec<Option<Vec<f32>>> = vec![None; reference.readers.len()];
        let mut readers = reference.readers.clone();
        let mut last = Vec::new();
        for (n, &(id, node)) in nodes.iter().enumerate() {
            let inputs = graph.inputs(id);
            let values: Vec<&[f32]> = inputs
                .iter()
                .map(|i| outputs[i.index()].as_deref().or(given).unwrap_or_default())
                .collect();
            let mut output = match &node.op {
                Op::AppendKv { .. } => self.append(id, values[0], values[1]),
                Op::Attention { .. } => self.attend(&node.op, inputs[1], values[0], count),
                op => self.apply(op, &values, tokens),
            };
            hook(node, &mut output);
            for input in inputs {
                readers[input.index()] -= 1;
                if readers[input.index()] == 0 {
                    outputs[input.index()] = Some(Vec::new());
                }
            }
            if n + 1 == nodes.len() {
                last = output;
            } else {
                outputs[id.index()] = Some(output);
            }
        }
        self.position += count;
        last
    }

    /// Every operation without memory.
    fn apply(&self, op: &Op, inputs: &[&[f32]], tokens: &[u32]) -> Vec<f32> {
        let reference = self.reference;
        match op {
            Op::Embed { table } => rows(
                reference.tensor(table),
                reference.spec().d_model,
                tokens.iter().map(|&t| t as usize),
            ),
            Op::PosEmbed { table, offset } => {
                let first = self.position + offset;
                rows(
                    reference.tensor(table),
                    reference.spec().d_model,
                    first..first + tokens.len(),
                )
            }
            Op::Norm { spec, weight, bias } => {
                let weight = reference.tensor(weight);
                let mut x = inputs[0].to_vec();
                for row in x.chunks_exact_mut(weight.len()) {
                    match (spec.kind, bias) {
                        (NormKind::Rms, _) => kernels::rms_norm(row, weight, spec.eps.into()),
                        (NormKind::Layer, bias) => {
                            let bias = bias.as_ref().map_or(&[][..], |b| reference.tensor(b));
                            kernels::layer_norm(row, weight, bias, spec.eps.into());
                        }
                    }
                }
                x
            }
            Op::Linear {
                weight,
                bias,
                in_features,
                out_features,
            } => reference
                .dense(weight, bias.as_ref(), *in_features, *out_features)
                .apply(inputs[0]),
            Op::LmHead {
                weight,
                in_features,
                out_features,
            } => reference
                .dense(weight, None, *in_features, *out_features)
                .apply(inputs[0]),
            Op::Rope {
                heads, head_dim, ..
            } => self.rotate(inputs[0], *heads, *head_dim),
            Op::Act(activation) => {
                let f = match activation {
                    Activation::Silu => kernels::silu,
                    Activation::Relu => kernels::relu,
                };
                inputs[0].iter().map(|&x| f(x)).collect()
            }
            Op::Mul => inputs[0]
                .iter()
                .zip(inputs[1])
                .map(|(a, b)| a * b)
                .collect(),
            Op::Add => inputs[0]
                .iter()
                .zip(inputs[1])
                .map(|(a, b)| a + b)
                .collect(),
            Op::AppendKv { .. } | Op::Attention { .. } => {
                unreachable!("forward runs these with the cache")
            }
        }
    }

    fn rotate(&self, input: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
        let mut x = input.to_vec();
        let Some(rope) = self.reference.spec().rope() else {
            return x;
        };
        for (i, row) in x.chunks_exact_mut(heads * head_dim).enumerate() {
            let angles = rope.cos_sin(self.position + i);
            for head in row.chunks_exact_mut(head_dim) {
                kernels::rope(head, &angles);
            }
        }
        x
    }

    /// Appends to the cache of node `id`. Its output is the cache itself, which stays here; what
    /// observers see is the new keys and values.
    fn append(&mut self, id: NodeId, keys: &[f32], values: &[f32]) -> Vec<f32> {
        let cache = self.caches.entry(id).or_default();
        cache.keys.extend_from_slice(keys);
        cache.values.extend_from_slice(values);
        [keys, values].concat()
    }

    /// Causal attention of `n` new tokens over the cache, which holds them already.
    fn attend(&self, op: &Op, cache: NodeId, query: &[f32], n: usize) -> Vec<f32> {
        let &Op::Attention {
            heads, head_dim_v, ..
        } = op
        else {
            unreachable!("called for attention only");
        };
        let cache = &self.caches[&cache];
        let (in_width, out_width) = (query.len() / n, heads * head_dim_v);
        let mut output = vec![0.0; n * out_width];
        let threads = std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(n);
        let each = n.div_ceil(threads);
        std::thread::scope(|scope| {
            let parts = output
                .chunks_mut(each * out_width)
                .zip(query.chunks(each * in_width));
            for (part, (out, query)) in parts.enumerate() {
                let mut work = move || {
                    let tokens = out
                        .chunks_exact_mut(out_width)
                        .zip(query.chunks_exact(in_width));
                    for (i, (out, query)) in tokens.enumerate() {
                        let visible = self.position + part * each + i + 1;
                        attend_one(op, cache, query, (visible, self.hidden), out);
                    }
                };
                if threads == 1 {
                    work();
                } else {
                    scope.spawn(work);
                }
            }
        });
        output
    }
}

/// Copies the given rows of a table.
fn rows(table: &[f32], width: usize, indices: impl Iterator<Item = usize>) -> Vec<f32> {
    indices
        .flat_map(|i| &table[i * width..][..width])
        .copied()
        .collect()
}

/// All heads of one token, which sees the first `visible` positions of the cache.
fn attend_one(
    op: &Op,
    cache: &Cache,
    query: &[f32],
    (visible, hidden): (usize, Option<Hidden>),
    output: &mut [f32],
) {
    let &Op::Attention {
        heads,
        kv_heads,
        head_dim_k,
        head_dim_v,
        scale,
    } = op
    else {
        unreachable!("called for attention only");
    };
    let mut weights = vec![0.0f32; visible];
    let per_head = query
        .chunks_exact(head_dim_k)
        .zip(output.chunks_exact_mut(head_dim_v));
    for (head, (query, output)) in per_head.enumerate() {
        let kv_head = head / (heads / kv_heads);
        let keys = cache.keys.chunks_exact(kv_heads * head_dim_k);
        for (weight, key) in weights.iter_mut().zip(keys) {
            *weight = kernels::dot(query, &key[kv_head * head_dim_k..][..head_dim_k]) * scale;
        }
        if let Some(hidden) = hidden {
            let scores = weights.iter_mut().enumerate();
            let unseen = scores.filter(|(key, _)| hidden(visible - 1, *key));
            unseen.for_each(|(_, score)| *score = f32::NEG_INFINITY);
        }
        kernels::softmax(&mut weights);
        let values = cache.values.chunks_exact(kv_heads * head_dim_v);
        for (weight, value) in weights.iter().zip(values) {
            let value = &value[kv_head * head_dim_v..][..head_dim_v];
            for (out, v) in output.iter_mut().zip(value) {
                *out += weight * v;
            }
        }
    }
}
