//! [`ModelSpec`] from GGUF metadata (keys as llama.cpp's converter writes them).

use super::{
    Activation, Arch, Biases, LayerSpec, ModelSpec, NormKind, NormSpec, Positions, RopeScaling,
    RopeSpec, RopeStyle,
};
use crate::error::{ImportError, Result};
use lampyris_flash::{
    Gguf,
    gguf::{FromValue, Value},
};

/// Llama with ReLU in place of SiLU: tensors and keys as in `llama`, under a name of its own, so that
/// programs which know only SiLU refuse the file instead of computing something else.
const RELU_LLAMA: &str = "relu-llama";

/// Metadata with the architecture's key prefix.
struct Keys<'a> {
    model: &'a Gguf,
    arch: &'a str,
}

impl<'a> Keys<'a> {
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.arch)
    }

    fn require<T: FromValue<'a>>(&self, suffix: &str) -> Result<T> {
        Ok(self.model.metadata().require(&self.key(suffix))?)
    }

    fn optional<T: FromValue<'a>>(&self, suffix: &str) -> Result<Option<T>> {
        Ok(self.model.metadata().optional(&self.key(suffix))?)
    }

    /// A value for each layer: one number for all, or an array.
    fn per_layer(&self, suffix: &str, layers: usize) -> Result<Option<Vec<usize>>> {
        if !matches!(
            self.model.metadata().get(&self.key(suffix)),
            Some(Value::Array(_))
        ) {
            return Ok(self.optional::<usize>(suffix)?.map(|n| vec![n; layers]));
        }
        let values: Vec<usize> = self.require(suffix)?;
        if values.len() != layers {
            let problem = format!(
                "has {} elements; expected one for each of {layers} layers",
                values.len()
            );
            return Err(self.wrong(suffix, problem));
        }
        Ok(Some(values))
    }

    fn wrong(&self, suffix: &str, problem: String) -> ImportError {
        ImportError::Config {
            file: self.model.file().into(),
            key: self.key(suffix),
            problem,
            hint: "the metadata contradict themselves; convert the model again",
        }
    }

    fn unsupported(&self, problem: String, hint: &'static str) -> ImportError {
        ImportError::Unsupported {
            file: self.model.file().into(),
            problem,
            hint,
        }
    }
}

pub(super) fn read(model: &Gguf) -> Result<ModelSpec> {
    let arch: &str = model.metadata().require("general.architecture")?;
    let keys = Keys { model, arch };
    let (architecture, activation) = match arch {
        "llama" => (Arch::Llama, Activation::Silu),
        "qwen2" => (Arch::Qwen2, Activation::Silu),
        RELU_LLAMA => (Arch::Llama, Activation::Relu),
        other => {
            let hint = "GGUF files of the architectures llama, qwen2 and relu-llama are supported";
            return Err(keys.unsupported(format!("architecture `{other}`"), hint));
        }
    };
    refuse_variants(&keys)?;
    let metadata = model.metadata();
    let layers = layers(&keys, architecture, activation)?;
    let id = |key: &str| metadata.optional::<u32>(key);
    let eos = [
        id("tokenizer.ggml.eos_token_id")?,
        id("tokenizer.ggml.eot_token_id")?,
    ];
    let mut eos: Vec<u32> = eos.into_iter().flatten().collect();
    eos.dedup();
    let eps = keys.require("attention.layer_norm_rms_epsilon")?;
    Ok(ModelSpec {
        name: metadata
            .optional("general.name")?
            .unwrap_or(model.file())
            .to_owned(),
        architecture,
        vocab_size: vocab_size(&keys)?,
        d_model: keys.require("embedding_length")?,
        context_length: keys.require("context_length")?,
        norm: NormSpec {
            kind: NormKind::Rms,
            eps,
        },
        positions: Positions::Rope(rope(&keys, architecture, layers[0].head_dim_k)?),
        layers,
        tied_embeddings: model.find("output.weight").is_none(),
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos,
    })
}

fn refuse_variants(keys: &Keys<'_>) -> Result<()> {
    if let Some(experts) = keys.optional::<usize>("expert_count")?.filter(|&n| n > 0) {
        let problem = format!("mixture of {experts} experts");
        return Err(keys.unsupported(problem, "only dense models are supported"));
    }
    let context: usize = keys.require("context_length")?;
    let window = keys.optional::<usize>("attention.sliding_window")?;
    if let Some(window) = window.filter(|&w| w > 0 && w < context) {
        let problem = format!("attention window of {window} tokens in a context of {context}");
        return Err(keys.unsupported(problem, "only full attention is supported"));
    }
    Ok(())
}

fn vocab_size(keys: &Keys<'_>) -> Result<usize> {
    let embedding = keys.model.tensor("token_embd.weight")?;
    let rows = embedding.rows();
    match keys.optional::<usize>("vocab_size")? {
        Some(n) if n != rows => Err(keys.wrong(
            "vocab_size",
            format!("is {n}, but `token_embd.weight` has {rows} rows"),
        )),
        _ => Ok(rows),
    }
}

fn layers(keys: &Keys<'_>, architecture: Arch, activation: Activation) -> Result<Vec<LayerSpec>> {
    let count: usize = keys.require("block_count")?;
    // Each layer has tensors of its own, so a larger count is wrong; it bounds what follows.
    if count == 0 || count > keys.model.tensors().len() {
        let problem = format!(
            "is {count}, but the file has {} tensors",
            keys.model.tensors().len()
        );
        return Err(keys.wrong("block_count", problem));
    }
    let required = |suffix: &str| {
        // An absent key gives the same error as an absent scalar.
        keys.per_layer(suffix, count)?
            .map_or_else(|| keys.require::<usize>(suffix).map(|_| vec![]), Ok)
    };
    let heads = required("attention.head_count")?;
    let ffn = required("feed_forward_length")?;
    let kv_heads = keys
        .per_layer("attention.head_count_kv", count)?
        .unwrap_or_else(|| heads.clone());
    let default_dim = default_head_dim(keys, heads[0])?;
    let head_dim_k = keys.optional("attention.key_length")?.or(default_dim);
    let head_dim_v = keys.optional("attention.value_length")?.or(default_dim);
    let (Some(head_dim_k), Some(head_dim_v)) = (head_dim_k, head_dim_v) else {
        let problem = format!(
            "is {}, which does not divide the embedding length",
            heads[0]
        );
        return Err(keys.wrong("attention.head_count", problem));
    };
    let layer = |i: usize| LayerSpec {
        n_heads: heads[i],
        n_kv_heads: kv_heads[i],
        head_dim_k,
        head_dim_v,
        ffn_dim: ffn[i],
        activation,
        gated: true,
        biases: biases(keys, architecture, i),
    };
    Ok((0..count).map(layer).collect())
}

/// Embedding length over heads, if it divides.
fn default_head_dim(keys: &Keys<'_>, heads: usize) -> Result<Option<usize>> {
    let d_model: usize = keys.require("embedding_length")?;
    Ok(d_model
        .checked_div(heads)
        .filter(|dim| dim * heads == d_model))
}

/// GGUF metadata do not mention biases: where one of a group is present, all must be, which the
/// check of the tensors enforces. Qwen2 always has them on Q, K and V.
fn biases(keys: &Keys<'_>, architecture: Arch, layer: usize) -> Biases {
    let any = |names: &[&str]| {
        names
            .iter()
            .any(|n| keys.model.find(&format!("blk.{layer}.{n}.bias")).is_some())
    };
    Biases {
        qkv: architecture == Arch::Qwen2 || any(&["attn_q", "attn_k", "attn_v"]),
        attn_output: any(&["attn_output"]),
        ffn: any(&["ffn_gate", "ffn_up", "ffn_down"]),
    }
}

fn rope(keys: &Keys<'_>, architecture: Arch, head_dim: usize) -> Result<RopeSpec> {
    let base: Option<f32> = keys.optional("rope.freq_base")?;
    let freq_factors = keys.model.find("rope_freqs.weight").map(|t| t.dequantize());
    Ok(RopeSpec {
        base: base.unwrap_or(10_000.0).into(),
        dim: keys.optional("rope.dimension_count")?.unwrap_or(head_dim),
        scaling: rope_scaling(keys)?,
        freq_factors,
        stored: match architecture {
            Arch::Llama => RopeStyle::Interleaved,
            Arch::Qwen2 | Arch::Opt => RopeStyle::HalfSplit,
        },
    })
}

fn rope_scaling(keys: &Keys<'_>) -> Result<RopeScaling> {
    // Old converters wrote `rope.scale_linear` without a type.
    let legacy: Option<f32> = keys.optional("rope.scale_linear")?;
    match keys.optional::<&str>("rope.scaling.type")? {
        None => {
            Ok(legacy
                .filter(|&f| f != 0.0)
                .map_or(RopeScaling::None, |f| RopeScaling::Linear {
                    factor: f.into(),
                }))
        }
        Some("none") => Ok(RopeScaling::None),
        Some("linear") => {
            let factor: f32 = keys.require("rope.scaling.factor")?;
            Ok(RopeScaling::Linear {
                factor: factor.into(),
            })
        }
        Some(other) => {
            let hint = "RoPE scalings none, linear and llama3 (rope_freqs.weight) are supported";
            Err(keys.unsupported(format!("RoPE scaling `{other}`"), hint))
        }
    }
}
