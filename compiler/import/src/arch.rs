//! Architecture-neutral description of a decoder-only transformer.
//!
//! [`ModelSpec`] holds what the metadata of a model say; every layer carries its own sizes, so
//! non-uniform models fit. Read from GGUF metadata or from `config.json`.

mod config;
mod exact;
mod gguf;
mod rope;

pub use rope::{RopeScaling, RopeSpec, RopeStyle};

use crate::error::{ImportError, Result};
use lampyris_flash::ModelFile;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Model family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arch {
    /// Llama 1 to 3, SmolLM2, TinyLlama: RMSNorm, RoPE, gated FFN.
    Llama,
    /// Qwen2: as Llama, with biases on Q, K and V.
    Qwen2,
    /// OPT: LayerNorm, learned positions, ReLU FFN, biases everywhere.
    Opt,
}

impl Arch {
    /// The name that files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Opt => "opt",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kind of normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps) * weight`.
    Rms,
    /// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`.
    Layer,
}

/// Normalization used throughout a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct NormSpec {
    /// Kind.
    pub kind: NormKind,
    /// Added to the mean square or variance.
    pub eps: f32,
}

/// FFN activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

/// How positions enter the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Positions {
    /// Rotary embedding of queries and keys.
    Rope(RopeSpec),
    /// A table added to the token embedding; position `p` takes row `p + offset`.
    Learned {
        /// First row in use (2 for OPT).
        offset: usize,
    },
}

/// Which linear layers have biases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Biases {
    /// Query, key and value projections.
    pub qkv: bool,
    /// Attention output projection.
    pub attn_output: bool,
    /// FFN projections.
    pub ffn: bool,
}

/// One decoder layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct LayerSpec {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Elements of a query or key head.
    pub head_dim_k: usize,
    /// Elements of a value head.
    pub head_dim_v: usize,
    /// Neurons of the FFN.
    pub ffn_dim: usize,
    /// FFN activation.
    pub activation: Activation,
    /// Whether the FFN is `down(act(gate(x)) * up(x))`, not `down(act(up(x)))`.
    pub gated: bool,
    /// Biases.
    pub biases: Biases,
}

impl LayerSpec {
    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim_k
    }

    /// Width of all key heads together.
    pub fn k_width(&self) -> usize {
        self.n_kv_heads * self.head_dim_k
    }

    /// Width of all value heads together.
    pub fn v_width(&self) -> usize {
        self.n_kv_heads * self.head_dim_v
    }

    /// Width of the attention result before the output projection.
    pub fn attn_width(&self) -> usize {
        self.n_heads * self.head_dim_v
    }
}

/// A decoder-only transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct ModelSpec {
    /// Name, for people.
    pub name: String,
    /// Family.
    pub architecture: Arch,
    /// Tokens in the vocabulary: rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Longest sequence that the model was made for.
    pub context_length: usize,
    /// Layers in order.
    pub layers: Vec<LayerSpec>,
    /// Normalization.
    pub norm: NormSpec,
    /// Positions.
    pub positions: Positions,
    /// Whether the output projection is the embedding table.
    pub tied_embeddings: bool,
    /// Token that begins a text, if the model has one.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

/// Largest width, vocabulary or context accepted: products of two such sizes cannot overflow.
const MAX_SIZE: usize = 1 << 26;

impl ModelSpec {
    /// Reads the description from the metadata of `file`.
    ///
    /// # Errors
    /// [`ImportError`] naming the key if something is missing, contradictory or not supported.
    pub fn from_file(file: &ModelFile) -> Result<Self> {
        let spec = match file {
            ModelFile::Gguf(model) => gguf::read(model)?,
            ModelFile::Safetensors(model) => config::read(model)?,
        };
        spec.validate(&file.name())?;
        Ok(spec)
    }

    /// RoPE parameters, unless positions are learned.
    pub fn rope(&self) -> Option<&RopeSpec> {
        match &self.positions {
            Positions::Rope(rope) => Some(rope),
            Positions::Learned { .. } => None,
        }
    }

    /// Checks what must hold between the fields, whatever the source was; `file` is named in
    /// messages.
    ///
    /// # Errors
    /// [`ImportError::Config`] naming the field.
    pub fn validate(&self, file: &str) -> Result<()> {
        let wrong = |key: &str, problem: String| ImportError::Config {
            file: file.into(),
            key: key.into(),
            problem,
            hint: "the metadata contradict themselves; convert the model again",
        };
        let size = |key: &str, n: usize| match n {
            1..=MAX_SIZE => Ok(()),
            _ => Err(wrong(key, format!("is {n}; expected 1 to {MAX_SIZE}"))),
        };
        size("vocabulary size", self.vocab_size)?;
        size("embedding length", self.d_model)?;
        size("context length", self.context_length)?;
        if !(self.norm.eps.is_finite() && self.norm.eps > 0.0) {
            return Err(wrong(
                "norm epsilon",
                format!("is {}; expected a positive number", self.norm.eps),
            ));
        }
        if let Positions::Learned { offset } = self.positions
            && offset > MAX_SIZE
        {
            return Err(wrong(
                "position offset",
                format!("is {offset}; at most {MAX_SIZE}"),
            ));
        }
        for token in self.bos.iter().chain(&self.eos) {
            if *token as usize >= self.vocab_size {
                let problem = format!("is {token}, but there are {} tokens", self.vocab_size);
                return Err(wrong("BOS or EOS token id", problem));
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let at = |what: &str| format!("{what} of layer {i}");
            size(&at("head count"), layer.n_heads)?;
            size(&at("key-value head count"), layer.n_kv_heads)?;
            size(&at("key length"), layer.head_dim_k)?;
            size(&at("value length"), layer.head_dim_v)?;
            size(&at("feed-forward length"), layer.ffn_dim)?;
            size(&at("width of the heads"), layer.q_width())?;
            size(&at("width of the attention result"), layer.attn_width())?;
            if !layer.n_heads.is_multiple_of(layer.n_kv_heads) {
                let problem = format!(
                    "is {}, not a divisor of the {} heads",
                    layer.n_kv_heads, layer.n_heads
                );
                return Err(wrong(&at("key-value head count"), problem));
            }
        }
        self.rope()
            .map_or(Ok(()), |rope| rope.check(&self.layers, &wrong))
    }
}
