//! [`ModelSpec`] from a Hugging Face `config.json`.
//!
//! Defaults are those of the configuration classes in `transformers`, which leaves out keys that
//! have their default value.

use super::{
    Activation, Arch, Biases, LayerSpec, ModelSpec, NormKind, NormSpec, Positions, RopeScaling,
    RopeSpec, RopeStyle,
};
use crate::error::{ImportError, Result};
use lampyris_flash::SafetensorsDir;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

const FILE: &str = "config.json";

fn unsupported(problem: String, hint: &'static str) -> ImportError {
    ImportError::Unsupported {
        file: FILE.into(),
        problem,
        hint,
    }
}

fn wrong(key: &str, problem: String) -> ImportError {
    ImportError::Config {
        file: FILE.into(),
        key: key.into(),
        problem,
        hint: "fetch the model's config.json again, or convert the model again",
    }
}

pub(super) fn read(model: &SafetensorsDir) -> Result<ModelSpec> {
    let config = model.config();
    let model_type: String = required(config, "model_type")?;
    if config
        .get("quantization_config")
        .is_some_and(|q| !q.is_null())
    {
        let hint = "use the original checkpoint, or a GGUF file";
        return Err(unsupported(
            "quantized checkpoint (`quantization_config`)".into(),
            hint,
        ));
    }
    let name = match optional::<String>(config, "_name_or_path")?.filter(|n| !n.is_empty()) {
        Some(name) => name,
        None => model
            .dir()
            .file_name()
            .map_or_else(|| model_type.clone(), |n| n.to_string_lossy().into()),
    };
    match model_type.as_str() {
        "llama" => llama(model, name, Arch::Llama),
        "qwen2" => llama(model, name, Arch::Qwen2),
        "opt" => opt(model, name),
        other => {
            let hint = "Hugging Face models of the types llama, qwen2 and opt are supported";
            Err(unsupported(format!("model type `{other}`"), hint))
        }
    }
}

/// A key that may be absent or null.
fn optional<T: DeserializeOwned>(config: &Value, key: &str) -> Result<Option<T>> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value)
            .map(Some)
            .map_err(|err| wrong(key, format!("is not usable: {err}"))),
    }
}

fn required<T: DeserializeOwned>(config: &Value, key: &str) -> Result<T> {
    optional(config, key)?.ok_or_else(|| wrong(key, "is missing".into()))
}

/// The number of layers, bounded by the number of tensors before anything is allocated for it.
fn layer_count(model: &SafetensorsDir) -> Result<usize> {
    let key = "num_hidden_layers";
    let count: usize = required(model.config(), key)?;
    let tensors = model.names().count();
    match count {
        0 => Err(wrong(key, "is 0".into())),
        _ if count > tensors => Err(wrong(
            key,
            format!("is {count}, but there are {tensors} tensors"),
        )),
        _ => Ok(count),
    }
}

/// One id, several, or none.
fn token_ids(config: &Value, key: &str) -> Result<Vec<u32>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(u32),
        Many(Vec<u32>),
    }
    Ok(match optional(config, key)? {
        None => vec![],
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Many(ids)) => ids,
    })
}

fn head_dim(d_model: usize, heads: usize) -> Result<usize> {
    d_model
        .checked_div(heads)
        .filter(|dim| dim * heads == d_model)
        .ok_or_else(|| {
            wrong(
                "num_attention_heads",
                format!("is {heads}, which does not divide hidden_size {d_model}"),
            )
        })
}

fn activation(config: &Value, key: &str, default: &str) -> Result<Activation> {
    match optional::<String>(config, key)?
        .as_deref()
        .unwrap_or(default)
    {
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        other => Err(unsupported(
            format!("activation `{other}` (`{key}`)"),
            "the activations silu and relu are supported",
        )),
    }
}

fn llama(model: &SafetensorsDir, name: String, architecture: Arch) -> Result<ModelSpec> {
    let config = model.config();
    if optional(config, "use_sliding_window")?.unwrap_or(false) {
        let hint = "only full attention is supported";
        return Err(unsupported(
            "sliding-window attention (`use_sliding_window`)".into(),
            hint,
        ));
    }
    if optional::<f64>(config, "partial_rotary_factor")?.is_some_and(|f| f != 1.0) {
        let hint = "only RoPE over whole heads is supported";
        return Err(unsupported(
            "partial RoPE (`partial_rotary_factor`)".into(),
            hint,
        ));
    }
    let d_model: usize = required(config, "hidden_size")?;
    let n_heads: usize = required(config, "num_attention_heads")?;
    let head_dim = match optional(config, "head_dim")? {
        Some(dim) => dim,
        None => head_dim(d_model, n_heads)?,
    };
    let attention_bias = optional(config, "attention_bias")?.unwrap_or(false);
    let layer = LayerSpec {
        n_heads,
        n_kv_heads: optional(config, "num_key_value_heads")?.unwrap_or(n_heads),
        head_dim_k: head_dim,
        head_dim_v: head_dim,
        ffn_dim: required(config, "intermediate_size")?,
        activation: activation(config, "hidden_act", "silu")?,
        gated: true,
        biases: Biases {
            qkv: architecture == Arch::Qwen2 || attention_bias,
            attn_output: architecture == Arch::Llama && attention_bias,
            ffn: optional(config, "mlp_bias")?.unwrap_or(false),
        },
    };
    Ok(ModelSpec {
        name,
        architecture,
        vocab_size: required(config, "vocab_size")?,
        d_model,
        context_length: required(config, "max_position_embeddings")?,
        layers: vec![layer; layer_count(model)?],
        norm: NormSpec {
            kind: NormKind::Rms,
            eps: optional(config, "rms_norm_eps")?.unwrap_or(1e-6),
        },
        positions: Positions::Rope(rope(config, head_dim)?),
        tied_embeddings: optional(config, "tie_word_embeddings")?.unwrap_or(false),
        bos: token_ids(config, "bos_token_id")?.first().copied(),
        eos: token_ids(config, "eos_token_id")?,
    })
}

/// RoPE parameters: `rope_theta` and `rope_scaling`, or both in `rope_parameters`.
fn rope(config: &Value, head_dim: usize) -> Result<RopeSpec> {
    let null = Value::Null;
    let parameters = config.get("rope_parameters").filter(|v| !v.is_null());
    let scaling = parameters.or(config.get("rope_scaling")).unwrap_or(&null);
    let base = match optional(scaling, "rope_theta")? {
        Some(base) => Some(base),
        None => optional(config, "rope_theta")?,
    };
    let kind = match optional::<String>(scaling, "rope_type")? {
        Some(kind) => Some(kind),
        None => optional(scaling, "type")?,
    };
    let scaling = match kind.as_deref() {
        None if scaling.is_null() || parameters.is_some() => RopeScaling::None,
        None => return Err(wrong("rope_scaling.rope_type", "is missing".into())),
        Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear {
            factor: required(scaling, "factor")?,
        },
        Some("llama3") => RopeScaling::Llama3 {
            factor: required(scaling, "factor")?,
            low_freq_factor: required(scaling, "low_freq_factor")?,
            high_freq_factor: required(scaling, "high_freq_factor")?,
            original_context: required(scaling, "original_max_position_embeddings")?,
        },
        Some(other) => {
            let hint = "RoPE scalings default, linear and llama3 are supported";
            return Err(unsupported(format!("RoPE scaling `{other}`"), hint));
        }
    };
    Ok(RopeSpec {
        base: base.unwrap_or(10_000.0),
        dim: head_dim,
        scaling,
        freq_factors: None,
        stored: RopeStyle::HalfSplit,
    })
}

fn opt(model: &SafetensorsDir, name: String) -> Result<ModelSpec> {
    let config = model.config();
    let d_model: usize = required(config, "hidden_size")?;
    refuse_opt_variants(config, d_model)?;
    let n_heads: usize = required(config, "num_attention_heads")?;
    let head_dim = head_dim(d_model, n_heads)?;
    let bias = optional(config, "enable_bias")?.unwrap_or(true);
    let layer = LayerSpec {
        n_heads,
        n_kv_heads: n_heads,
        head_dim_k: head_dim,
        head_dim_v: head_dim,
        ffn_dim: required(config, "ffn_dim")?,
        activation: activation(config, "activation_function", "relu")?,
        gated: false,
        biases: Biases {
            qkv: bias,
            attn_output: bias,
            ffn: bias,
        },
    };
    Ok(ModelSpec {
        name,
        architecture: Arch::Opt,
        vocab_size: required(config, "vocab_size")?,
        d_model,
        context_length: required(config, "max_position_embeddings")?,
        layers: vec![layer; layer_count(model)?],
        // Not in the configuration: PyTorch's default for LayerNorm.
        norm: NormSpec {
            kind: NormKind::Layer,
            eps: 1e-5,
        },
        positions: Positions::Learned { offset: 2 },
        tied_embeddings: optional(config, "tie_word_embeddings")?.unwrap_or(true),
        bos: token_ids(config, "bos_token_id")?.first().copied(),
        eos: token_ids(config, "eos_token_id")?,
    })
}

/// OPT-350m normalizes after the layers and projects its embeddings; neither is implemented.
fn refuse_opt_variants(config: &Value, d_model: usize) -> Result<()> {
    let hint = "all OPT models but OPT-350m are supported";
    let flag =
        |key: &str, default: bool| Ok::<_, ImportError>(optional(config, key)?.unwrap_or(default));
    if !flag("do_layer_norm_before", true)? {
        return Err(unsupported("`do_layer_norm_before` is false".into(), hint));
    }
    if flag("_remove_final_layer_norm", false)? {
        return Err(unsupported(
            "`_remove_final_layer_norm` is true".into(),
            hint,
        ));
    }
    if !flag("layer_norm_elementwise_affine", true)? {
        return Err(unsupported(
            "`layer_norm_elementwise_affine` is false".into(),
            hint,
        ));
    }
    match optional::<usize>(config, "word_embed_proj_dim")? {
        Some(dim) if dim != d_model => {
            let problem = format!("`word_embed_proj_dim` is {dim}, but `hidden_size` is {d_model}");
            Err(unsupported(problem, hint))
        }
        _ => Ok(()),
    }
}
