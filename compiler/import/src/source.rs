//! An opened model: file, description and graph, and access to the tensors that the graph names.

use crate::{
    arch::{Arch, LayerSpec, ModelSpec, RopeStyle},
    error::{ImportError, Result},
    graph::{self, ModelGraph},
};
use lampyris_flash::{Bytes, Gguf, ModelFile, TensorType, TensorView};
use std::{collections::BTreeSet, fmt, path::Path};

/// What a tensor does in the model. The names are those of GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Token embedding.
    TokenEmbd,
    /// Learned position embedding.
    PositionEmbd,
    /// Norm before attention.
    AttnNorm,
    /// Query projection.
    AttnQ,
    /// Key projection.
    AttnK,
    /// Value projection.
    AttnV,
    /// Attention output projection.
    AttnOutput,
    /// Norm before the FFN.
    FfnNorm,
    /// Gate projection of a gated FFN.
    FfnGate,
    /// Up projection.
    FfnUp,
    /// Down projection.
    FfnDown,
    /// Norm after the last layer.
    OutputNorm,
    /// Output projection to the vocabulary.
    Output,
}

impl Role {
    /// Name as in GGUF tensor names, for example `attn_q`.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// Names in GGUF, Hugging Face Llama and Qwen2, Hugging Face OPT; empty: not in that family.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::TokenEmbd => ("token_embd", "embed_tokens", "embed_tokens"),
            Self::PositionEmbd => ("position_embd", "", "embed_positions"),
            Self::AttnNorm => ("attn_norm", "input_layernorm", "self_attn_layer_norm"),
            Self::AttnQ => ("attn_q", "self_attn.q_proj", "self_attn.q_proj"),
            Self::AttnK => ("attn_k", "self_attn.k_proj", "self_attn.k_proj"),
            Self::AttnV => ("attn_v", "self_attn.v_proj", "self_attn.v_proj"),
            Self::AttnOutput => ("attn_output", "self_attn.o_proj", "self_attn.out_proj"),
            Self::FfnNorm => ("ffn_norm", "post_attention_layernorm", "final_layer_norm"),
            Self::FfnGate => ("ffn_gate", "mlp.gate_proj", ""),
            Self::FfnUp => ("ffn_up", "mlp.up_proj", "fc1"),
            Self::FfnDown => ("ffn_down", "mlp.down_proj", "fc2"),
            Self::OutputNorm => ("output_norm", "norm", "final_layer_norm"),
            Self::Output => ("output", "lm_head", "lm_head"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Order in which the rows of a stored matrix (or the elements of a bias) are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowOrder {
    /// As stored.
    Stored,
    /// Rows of each head from half-split to interleaved RoPE pairs.
    HalfSplitToInterleaved {
        /// Rows of a head.
        head_dim: usize,
        /// Rows of a head that RoPE rotates; the others stay in place.
        rope_dim: usize,
    },
}

impl RowOrder {
    /// The stored row that becomes row `i`.
    pub fn source_row(self, i: usize) -> usize {
        match self {
            Self::Stored => i,
            Self::HalfSplitToInterleaved { head_dim, rope_dim } => {
                let within = i % head_dim;
                if within >= rope_dim {
                    return i;
                }
                i - within + within / 2 + within % 2 * (rope_dim / 2)
            }
        }
    }
}

/// A reference from the graph to a tensor in the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorRef {
    /// What the tensor does.
    pub role: Role,
    /// Name in the file.
    pub name: String,
    /// Order in which its rows are to be read.
    pub rows: RowOrder,
}

/// A model ready to be compiled or executed.
#[derive(Clone, Debug)]
pub struct Model {
    spec: ModelSpec,
    graph: ModelGraph,
    file: ModelFile,
}

impl Model {
    /// Opens a GGUF file or a Hugging Face directory and detects its architecture.
    ///
    /// # Errors
    /// [`ImportError`] if the file cannot be read, the architecture is not supported, or a
    /// tensor is missing, has an unexpected shape, or is not part of the architecture.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(ModelFile::open(path)?)
    }

    /// Reads a GGUF model from memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self> {
        Self::from_file(ModelFile::Gguf(Gguf::parse(bytes)?))
    }

    /// Builds the model from an opened file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_file(file: ModelFile) -> Result<Self> {
        let spec = ModelSpec::from_file(&file)?;
        let resolver = Resolver::new(&file, &spec);
        let graph = graph::build(&spec, &resolver)?;
        resolver.check_all_used(&graph)?;
        Ok(Self { spec, graph, file })
    }

    /// The description.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The graph.
    pub fn graph(&self) -> &ModelGraph {
        &self.graph
    }

    /// The file, for metadata, tokenizer and directory.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The stored tensor, rows as in the file: use `tensor.rows` to order them.
    ///
    /// # Errors
    /// [`ImportError::File`] if the reference is not from this model's graph.
    pub fn tensor_view(&self, tensor: &TensorRef) -> Result<TensorView<'_>> {
        Ok(self.file.tensor(&tensor.name)?)
    }

    /// All elements as f32, rows in the graph's order.
    ///
    /// # Errors
    /// As [`tensor_view`](Self::tensor_view).
    pub fn tensor_f32(&self, tensor: &TensorRef) -> Result<Vec<f32>> {
        let view = self.tensor_view(tensor)?;
        if tensor.rows == RowOrder::Stored {
            return Ok(view.dequantize());
        }
        if view.shape.len() == 1 {
            let stored = view.dequantize();
            return Ok((0..stored.len())
                .map(|i| stored[tensor.rows.source_row(i)])
                .collect());
        }
        let mut out = vec![0.0; view.elements()];
        for (i, row) in out.chunks_exact_mut(view.row_len()).enumerate() {
            view.dequantize_row(tensor.rows.source_row(i), row)?;
        }
        Ok(out)
    }

    /// Checks that every float stored in the tensors of the graph is finite. Reads the whole file.
    ///
    /// # Errors
    /// [`ImportError::File`] naming the first bad tensor and block.
    pub fn check_finite(&self) -> Result<()> {
        for tensor in self.tensors() {
            self.tensor_view(tensor)?.check_finite()?;
        }
        Ok(())
    }

    /// Each tensor of the graph once, in the order of first use.
    pub fn tensors(&self) -> Vec<&TensorRef> {
        let mut seen = BTreeSet::new();
        let all = self.graph.nodes().flat_map(|(_, node)| node.op.tensors());
        all.filter(|tensor| seen.insert(tensor.name.as_str()))
            .collect()
    }
}

/// Finds and checks the tensors of a model in its file.
pub(crate) struct Resolver<'a> {
    file: &'a ModelFile,
    spec: &'a ModelSpec,
    /// Before the names of all tensors but the output projection, in Hugging Face files.
    prefix: &'static str,
}

impl<'a> Resolver<'a> {
    fn new(file: &'a ModelFile, spec: &'a ModelSpec) -> Self {
        // Checkpoints saved without the language-model head lack the outer name.
        let (long, short) = match spec.architecture {
            Arch::Opt => ("model.decoder.", "decoder."),
            Arch::Llama | Arch::Qwen2 => ("model.", ""),
        };
        let has_short = file.find(&format!("{short}embed_tokens.weight")).is_some();
        Self {
            file,
            spec,
            prefix: if has_short { short } else { long },
        }
    }

    fn stored_name(&self, role: Role, layer: Option<usize>, part: &str) -> String {
        let (gguf, llama, opt) = role.names();
        if let ModelFile::Gguf(_) = self.file {
            return match layer {
                Some(i) => format!("blk.{i}.{gguf}.{part}"),
                None => format!("{gguf}.{part}"),
            };
        }
        let name = if self.spec.architecture == Arch::Opt {
            opt
        } else {
            llama
        };
        match (role, layer) {
            (Role::Output, _) => format!("{name}.{part}"),
            (_, Some(i)) => format!("{}layers.{i}.{name}.{part}", self.prefix),
            (_, None) => format!("{}{name}.{part}", self.prefix),
        }
    }

    /// Rows of Q and K are brought into interleaved order; all others stay.
    fn row_order(&self, role: Role, layer: Option<usize>) -> RowOrder {
        let (Role::AttnQ | Role::AttnK, Some(rope)) = (role, self.spec.rope()) else {
            return RowOrder::Stored;
        };
        match (rope.stored, layer.and_then(|i| self.spec.layers.get(i))) {
            (RopeStyle::HalfSplit, Some(LayerSpec { head_dim_k, .. })) => {
                RowOrder::HalfSplitToInterleaved {
                    head_dim: *head_dim_k,
                    rope_dim: rope.dim,
                }
            }
            _ => RowOrder::Stored,
        }
    }

    fn resolve(
        &self,
        role: Role,
        layer: Option<usize>,
        part: &str,
        expected: &[usize],
    ) -> Result<(TensorRef, TensorType)> {
        let name = self.stored_name(role, layer, part);
        let Some(view) = self.file.find(&name) else {
            return Err(ImportError::MissingTensor {
                file: self.file.name(),
                tensor: name,
                expected: expected.into(),
            });
        };
        if view.shape != expected {
            return Err(ImportError::TensorShape {
                file: view.file.into(),
                tensor: name,
                expected: expected.into(),
                found: view.shape.into(),
            });
        }
        Ok((
            TensorRef {
                role,
                name,
                rows: self.row_order(role, layer),
            },
            view.ty,
        ))
    }

    /// A weight matrix of `rows` rows by `columns`.
    pub(crate) fn matrix(
        &self,
        role: Role,
        layer: Option<usize>,
        columns: usize,
        rows: usize,
    ) -> Result<TensorRef> {
        Ok(self.resolve(role, layer, "weight", &[columns, rows])?.0)
    }

    /// A vector (`part` is `weight` or `bias`), which must be stored as plain floats.
    pub(crate) fn vector(
        &self,
        role: Role,
        layer: Option<usize>,
        part: &str,
        len: usize,
    ) -> Result<TensorRef> {
        let (tensor, found) = self.resolve(role, layer, part, &[len])?;
        if found.block_len() != 1 {
            return Err(ImportError::TensorType {
                file: self.file.name(),
                tensor: tensor.name,
                found,
            });
        }
        Ok(tensor)
    }

    /// Refuses tensors that the graph does not use: they would change the result.
    fn check_all_used(&self, graph: &ModelGraph) -> Result<()> {
        let used: BTreeSet<&str> = graph
            .nodes()
            .flat_map(|(_, node)| node.op.tensors())
            .map(|tensor| tensor.name.as_str())
            .collect();
        let unexpected = self
            .file
            .names()
            .find(|name| !used.contains(name) && !self.implied(name));
        match unexpected {
            None => Ok(()),
            Some(name) => Err(ImportError::UnexpectedTensor {
                file: self.file.name(),
                tensor: name.into(),
                architecture: self.spec.architecture.name(),
            }),
        }
    }

    /// Whether the tensor only repeats what the description already holds.
    fn implied(&self, name: &str) -> bool {
        match self.file {
            ModelFile::Gguf(_) => name == "rope_freqs.weight",
            // With tied embeddings, some checkpoints store the table twice.
            ModelFile::Safetensors(_) => {
                name.ends_with(".rotary_emb.inv_freq")
                    || (name == "lm_head.weight" && self.spec.tied_embeddings)
            }
        }
    }
}
