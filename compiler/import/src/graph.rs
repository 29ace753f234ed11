//! The model as a graph of typed operations for one token.
//!
//! Edges carry vectors (or, from [`Op::AppendKv`] to [`Op::Attention`], the cache of the layer);
//! an edge's [`Port`] is its place among the inputs of the target. RoPE is always interleaved.

mod summary;

pub use summary::Summary;

use crate::{
    arch::{Activation, LayerSpec, ModelSpec, NormKind, NormSpec, Positions},
    error::Result,
    source::{Resolver, Role, TensorRef},
};
use petgraph::{
    Direction,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};

/// Index of an input of an operation, from 0.
pub type Port = usize;

/// Identifies a node of a [`ModelGraph`].
pub type NodeId = NodeIndex;

/// An operation. "Inputs" lists the ports in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Row of the token. No inputs but the token id.
    Embed {
        /// Table, a row a token.
        table: TensorRef,
    },
    /// Row `position + offset`. No inputs but the position.
    PosEmbed {
        /// Table, a row a position.
        table: TensorRef,
        /// First row in use.
        offset: usize,
    },
    /// Normalization. Inputs: x.
    Norm {
        /// Kind and epsilon.
        spec: NormSpec,
        /// Scale of each element.
        weight: TensorRef,
        /// Added to each element (LayerNorm).
        bias: Option<TensorRef>,
    },
    /// `weight x + bias`. Inputs: x.
    Linear {
        /// Matrix of `out_features` rows.
        weight: TensorRef,
        /// Bias.
        bias: Option<TensorRef>,
        /// Length of the input.
        in_features: usize,
        /// Length of the output.
        out_features: usize,
    },
    /// Rotates the pairs `(2k, 2k + 1)` of each head; angles from the model's `RopeSpec`.
    /// Inputs: x.
    Rope {
        /// Heads.
        heads: usize,
        /// Elements of a head.
        head_dim: usize,
        /// Elements of a head that are rotated, the first ones.
        dim: usize,
    },
    /// Appends a key and a value to the layer's cache. Inputs: key, value. Output: the cache.
    AppendKv {
        /// Heads.
        kv_heads: usize,
        /// Elements of a key head.
        head_dim_k: usize,
        /// Elements of a value head.
        head_dim_v: usize,
    },
    /// Causal attention; head `h` reads key-value head `h / (heads / kv_heads)`.
    /// Inputs: query, cache.
    Attention {
        /// Query heads.
        heads: usize,
        /// Key and value heads.
        kv_heads: usize,
        /// Elements of a query or key head.
        head_dim_k: usize,
        /// Elements of a value head.
        head_dim_v: usize,
        /// Factor of the scores: `1 / sqrt(head_dim_k)`.
        scale: f32,
    },
    /// Activation, element by element. Inputs: x.
    Act(Activation),
    /// Product, element by element. Inputs: a, b.
    Mul,
    /// Sum, element by element. Inputs: a, b.
    Add,
    /// Logits of the vocabulary. Inputs: x.
    LmHead {
        /// Matrix, a row a token; the embedding table if tied.
        weight: TensorRef,
        /// Length of the input.
        in_features: usize,
        /// Tokens.
        out_features: usize,
    },
}

impl Op {
    /// The tensors that the operation reads: weight or table first, then bias.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorRef> {
        let (weight, bias) = match self {
            Self::Embed { table } | Self::PosEmbed { table, .. } => (Some(table), None),
            Self::Norm { weight, bias, .. } | Self::Linear { weight, bias, .. } => {
                (Some(weight), bias.as_ref())
            }
            Self::LmHead { weight, .. } => (Some(weight), None),
            _ => (None, None),
        };
        weight.into_iter().chain(bias)
    }

    /// Name of the kind of operation.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embed { .. } => "embed",
            Self::PosEmbed { .. } => "pos_embed",
            Self::Norm {
                spec:
                    NormSpec {
                        kind: NormKind::Rms,
                        ..
                    },
                ..
            } => "rms_norm",
            Self::Norm {
                spec:
                    NormSpec {
                        kind: NormKind::Layer,
                        ..
                    },
                ..
            } => "layer_norm",
            Self::Linear { .. } => "linear",
            Self::Rope { .. } => "rope",
            Self::AppendKv { .. } => "append_kv",
            Self::Attention { .. } => "attention",
            Self::Act(Activation::Silu) => "silu",
            Self::Act(Activation::Relu) => "relu",
            Self::Mul => "mul",
            Self::Add => "add",
            Self::LmHead { .. } => "lm_head",
        }
    }
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name, for example `blk.3.ffn_down`.
    pub name: String,
    /// Layer, or `None` before the first and after the last.
    pub layer: Option<usize>,
    /// Operation.
    pub op: Op,
    /// Length of the output vector (of one position's key and value, for [`Op::AppendKv`]).
    pub width: usize,
}

/// A model's operations for one token.
#[derive(Clone, Debug)]
pub struct ModelGraph {
    graph: DiGraph<Node, Port>,
    logits: NodeId,
}

impl ModelGraph {
    /// The graph as petgraph sees it. Node indices ascend in execution order.
    pub fn petgraph(&self) -> &DiGraph<Node, Port> {
        &self.graph
    }

    /// Nodes in execution order: each after its inputs, layer by layer.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.graph.node_indices().map(|id| (id, &self.graph[id]))
    }

    /// The node with this id; panics if the id is from another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.graph[id]
    }

    /// Inputs of a node, in port order.
    pub fn inputs(&self, id: NodeId) -> Vec<NodeId> {
        let mut inputs: Vec<(Port, NodeId)> = self
            .graph
            .edges_directed(id, Direction::Incoming)
            .map(|edge| (*edge.weight(), edge.source()))
            .collect();
        inputs.sort_unstable();
        inputs.into_iter().map(|(_, source)| source).collect()
    }

    /// The node called `name`.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes()
            .find(|(_, node)| node.name == name)
            .map(|(id, _)| id)
    }

    /// The node whose output is the logits.
    pub fn logits(&self) -> NodeId {
        self.logits
    }
}

/// Builds the graph; the resolver finds and checks every tensor.
pub(crate) fn build(spec: &ModelSpec, tensors: &Resolver<'_>) -> Result<ModelGraph> {
    let mut builder = GraphBuilder {
        spec,
        tensors,
        graph: DiGraph::new(),
        layer: None,
    };
    let mut x = builder.embedding()?;
    for (i, layer) in spec.layers.iter().enumerate() {
        builder.layer = Some(i);
        x = builder.attention(layer, x)?;
        x = builder.ffn(layer, x)?;
    }
    builder.layer = None;
    let x = builder.norm(Role::OutputNorm, x)?;
    let logits = builder.lm_head(x)?;
    Ok(ModelGraph {
        graph: builder.graph,
        logits,
    })
}

struct GraphBuilder<'a> {
    spec: &'a ModelSpec,
    tensors: &'a Resolver<'a>,
    graph: DiGraph<Node, Port>,
    /// Layer that nodes are added to.
    layer: Option<usize>,
}

impl GraphBuilder<'_> {
    fn add(&mut self, name: &str, op: Op, width: usize, inputs: &[NodeId]) -> NodeId {
        let name = match self.layer {
            Some(i) => format!("blk.{i}.{name}"),
            None => name.to_owned(),
        };
        let id = self.graph.add_node(Node {
            name,
            layer: self.layer,
            op,
            width,
        });
        for (port, &input) in inputs.iter().enumerate() {
            self.graph.add_edge(input, id, port);
        }
        id
    }

    fn embedding(&mut self) -> Result<NodeId> {
        let (d, vocab) = (self.spec.d_model, self.spec.vocab_size);
        let table = self.tensors.matrix(Role::TokenEmbd, None, d, vocab)?;
        let token = self.add("token_embd", Op::Embed { table }, d, &[]);
        let Positions::Learned { offset } = self.spec.positions else {
            return Ok(token);
        };
        let rows = self.spec.context_length + offset;
        let table = self.tensors.matrix(Role::PositionEmbd, None, d, rows)?;
        let position = self.add("position_embd", Op::PosEmbed { table, offset }, d, &[]);
        Ok(self.add("embd_add", Op::Add, d, &[token, position]))
    }

    fn norm(&mut self, role: Role, x: NodeId) -> Result<NodeId> {
        let (spec, d) = (self.spec.norm, self.spec.d_model);
        let weight = self.tensors.vector(role, self.layer, "weight", d)?;
        let bias = match spec.kind {
            NormKind::Rms => None,
            NormKind::Layer => Some(self.tensors.vector(role, self.layer, "bias", d)?),
        };
        Ok(self.add(role.name(), Op::Norm { spec, weight, bias }, d, &[x]))
    }

    fn linear(&mut self, role: Role, has_bias: bool, out: usize, x: NodeId) -> Result<NodeId> {
        let in_features = self.graph[x].width;
        let weight = self.tensors.matrix(role, self.layer, in_features, out)?;
        let bias = match has_bias {
            true => Some(self.tensors.vector(role, self.layer, "bias", out)?),
            false => None,
        };
        let op = Op::Linear {
            weight,
            bias,
            in_features,
            out_features: out,
        };
        Ok(self.add(role.name(), op, out, &[x]))
    }

    /// RoPE over `heads` heads, or nothing where positions are learned.
    fn rope(&mut self, name: &str, heads: usize, head_dim: usize, x: NodeId) -> NodeId {
        let Some(rope) = self.spec.rope() else {
            return x;
        };
        let op = Op::Rope {
            heads,
            head_dim,
            dim: rope.dim,
        };
        self.add(name, op, heads * head_dim, &[x])
    }

    fn attention(&mut self, layer: &LayerSpec, x: NodeId) -> Result<NodeId> {
        let &LayerSpec {
            n_heads: heads,
            n_kv_heads: kv_heads,
            head_dim_k,
            head_dim_v,
            ..
        } = layer;
        let normed = self.norm(Role::AttnNorm, x)?;
        let q = self.linear(Role::AttnQ, layer.biases.qkv, layer.q_width(), normed)?;
        let k = self.linear(Role::AttnK, layer.biases.qkv, layer.k_width(), normed)?;
        let v = self.linear(Role::AttnV, layer.biases.qkv, layer.v_width(), normed)?;
        let q = self.rope("rope_q", heads, head_dim_k, q);
        let k = self.rope("rope_k", kv_heads, head_dim_k, k);
        let append = Op::AppendKv {
            kv_heads,
            head_dim_k,
            head_dim_v,
        };
        let cache = self.add(
            "append_kv",
            append,
            layer.k_width() + layer.v_width(),
            &[k, v],
        );
        let scale = (1.0 / (head_dim_k as f64).sqrt()) as f32;
        let op = Op::Attention {
            heads,
            kv_heads,
            head_dim_k,
            head_dim_v,
            scale,
        };
        let y = self.add("attention", op, layer.attn_width(), &[q, cache]);
        let y = self.linear(
            Role::AttnOutput,
            layer.biases.attn_output,
            self.spec.d_model,
            y,
        )?;
        Ok(self.add("attn_residual", Op::Add, self.spec.d_model, &[x, y]))
    }

    fn ffn(&mut self, layer: &LayerSpec, x: NodeId) -> Result<NodeId> {
        let (width, bias) = (layer.ffn_dim, layer.biases.ffn);
        let act = Op::Act(layer.activation);
        let normed = self.norm(Role::FfnNorm, x)?;
        let hidden = if layer.gated {
            let gate = self.linear(Role::FfnGate, bias, width, normed)?;
            let up = self.linear(Role::FfnUp, bias, width, normed)?;
            let act = self.add("ffn_act", act, width, &[gate]);
            self.add("ffn_mul", Op::Mul, width, &[act, up])
        } else {
            let up = self.linear(Role::FfnUp, bias, width, normed)?;
            self.add("ffn_act", act, width, &[up])
        };
        let y = self.linear(Role::FfnDown, bias, self.spec.d_model, hidden)?;
        Ok(self.add("ffn_residual", Op::Add, self.spec.d_model, &[x, y]))
    }

    fn lm_head(&mut self, x: NodeId) -> Result<NodeId> {
        let (in_features, out_features) = (self.spec.d_model, self.spec.vocab_size);
        let role = if self.spec.tied_embeddings {
            Role::TokenEmbd
        } else {
            Role::Output
        };
        let weight = self.tensors.matrix(role, None, in_features, out_features)?;
        let op = Op::LmHead {
            weight,
            in_features,
            out_features,
        };
        Ok(self.add("output", op, out_features, &[x]))
    }
}
