//! Small models with random weights, as GGUF files and Hugging Face directories.

use lampyris_flash::gguf::Builder;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const D: usize = 16;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const HEAD_DIM: usize = 4;
pub(crate) const FFN: usize = 24;
pub(crate) const VOCAB: usize = 10;
pub(crate) const LAYERS: usize = 2;
pub(crate) const CONTEXT: usize = 32;

/// Tensors in Hugging Face's names and order: rows, columns (0: a vector), values.
pub(crate) type Tensors = BTreeMap<String, (usize, usize, Vec<f32>)>;

/// Distinct small values, the same for the same name.
fn values(name: &str, len: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

fn add(tensors: &mut Tensors, name: &str, rows: usize, columns: usize) {
    let values = values(name, rows * columns.max(1));
    tensors.insert(name.into(), (rows, columns, values));
}

/// Llama or, with biases on Q, K and V, Qwen2.
pub(crate) fn llama_tensors(qkv_bias: bool) -> Tensors {
    let mut t = Tensors::new();
    add(&mut t, "model.embed_tokens.weight", VOCAB, D);
    add(&mut t, "model.norm.weight", D, 0);
    add(&mut t, "lm_head.weight", VOCAB, D);
    for i in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{i}.{part}");
        add(&mut t, &name("input_layernorm.weight"), D, 0);
        add(&mut t, &name("post_attention_layernorm.weight"), D, 0);
        for (part, heads) in [("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)] {
            add(
                &mut t,
                &name(&format!("self_attn.{part}_proj.weight")),
                heads * HEAD_DIM,
                D,
            );
            if qkv_bias {
                add(
                    &mut t,
                    &name(&format!("self_attn.{part}_proj.bias")),
                    heads * HEAD_DIM,
                    0,
                );
            }
        }
        add(
            &mut t,
            &name("self_attn.o_proj.weight"),
            D,
            HEADS * HEAD_DIM,
        );
        add(&mut t, &name("mlp.gate_proj.weight"), FFN, D);
        add(&mut t, &name("mlp.up_proj.weight"), FFN, D);
        add(&mut t, &name("mlp.down_proj.weight"), D, FFN);
    }
    t
}

pub(crate) fn opt_tensors() -> Tensors {
    let mut t = Tensors::new();
    let mut with_bias = |name: String, rows: usize, columns: usize| {
        add(&mut t, &format!("{name}.weight"), rows, columns);
        add(&mut t, &format!("{name}.bias"), rows, 0);
    };
    with_bias("model.decoder.final_layer_norm".into(), D, 0);
    for i in 0..LAYERS {
        let name = |part: &str| format!("model.decoder.layers.{i}.{part}");
        with_bias(name("self_attn_layer_norm"), D, 0);
        with_bias(name("final_layer_norm"), D, 0);
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            with_bias(name(&format!("self_attn.{part}")), D, D);
        }
        with_bias(name("fc1"), FFN, D);
        with_bias(name("fc2"), D, FFN);
    }
    add(&mut t, "model.decoder.embed_tokens.weight", VOCAB, D);
    add(
        &mut t,
        "model.decoder.embed_positions.weight",
        CONTEXT + 2,
        D,
    );
    t
}

pub(crate) fn llama_config(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "hidden_size": D, "intermediate_size": FFN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "max_position_embeddings": CONTEXT, "hidden_act": "silu",
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": [2, 3],
    })
}

pub(crate) fn opt_config() -> Value {
    json!({
        "model_type": "opt", "hidden_size": D, "ffn_dim": FFN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "vocab_size": VOCAB, "max_position_embeddings": CONTEXT,
        "activation_function": "relu", "do_layer_norm_before": true, "word_embed_proj_dim": D,
        "bos_token_id": 2, "eos_token_id": 2,
    })
}

/// Writes a Hugging Face directory.
pub(crate) fn directory(config: &Value, tensors: &Tensors) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, (rows, columns, _)), bytes)| {
            let shape = if *columns == 0 {
                vec![*rows]
            } else {
                vec![*rows, *columns]
            };
            (name, TensorView::new(Dtype::F32, shape, bytes).unwrap())
        });
    let data = safetensors::serialize(views, None).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), data).unwrap();
    dir
}

/// Rows of half-split heads in interleaved order, as the converter to Llama GGUF writes them.
fn interleave(rows: usize, columns: usize, values: &[f32]) -> Vec<f32> {
    let columns = columns.max(1);
    let mut out = Vec::with_capacity(values.len());
    for head in 0..rows / HEAD_DIM {
        for pair in 0..HEAD_DIM / 2 {
            for half in 0..2 {
                let row = head * HEAD_DIM + half * HEAD_DIM / 2 + pair;
                out.extend(&values[row * columns..(row + 1) * columns]);
            }
        }
    }
    out
}

fn gguf_name(name: &str) -> String {
    let renames = [
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    renames
        .iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// The GGUF file of a Llama or Qwen2 model, without tokenizer.
pub(crate) fn gguf(arch: &str, tensors: &Tensors) -> Builder {
    let key = |suffix: &str| format!("{arch}.{suffix}");
    let mut builder = Builder::new()
        .metadata("general.architecture", arch)
        .metadata(key("block_count"), LAYERS as u32)
        .metadata(key("context_length"), CONTEXT as u32)
        .metadata(key("embedding_length"), D as u32)
        .metadata(key("feed_forward_length"), FFN as u32)
        .metadata(key("attention.head_count"), HEADS as u32)
        .metadata(key("attention.head_count_kv"), KV_HEADS as u32)
        .metadata(key("attention.layer_norm_rms_epsilon"), 1e-5f32)
        .metadata("tokenizer.ggml.bos_token_id", 1u32)
        .metadata("tokenizer.ggml.eos_token_id", 2u32);
    for (name, (rows, columns, values)) in tensors {
        let is_qk = name.contains("q_proj") || name.contains("k_proj");
        let values = match arch != "qwen2" && is_qk {
            true => interleave(*rows, *columns, values),
            false => values.clone(),
        };
        let shape = if *columns == 0 {
            vec![*rows]
        } else {
            vec![*columns, *rows]
        };
        builder = builder.tensor_f32(gguf_name(name), &shape, &values);
    }
    builder
}
