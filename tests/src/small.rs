//! Small random decoders that compile for every configuration.

use crate::bench::Random;
use half::f16;
use lampyris_flash::TensorType;
use lampyris_flash::block::{SparseBlock, Sparsity, quantize_row};
use lampyris_flash::gguf::{Builder, Value};
use lampyris_import::Model as Imported;
use serde_json::{Value as Json, json};

/// Tokens of the vocabulary.
pub const VOCAB: usize = 48;
/// Positions.
pub const CONTEXT: usize = 80;

/// Tensors by name and shape, row length first.
type Tensors = Vec<(String, Vec<usize>)>;

/// Weights with a spread that keeps activations near one.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = name
        .bytes()
        .fold(7u64, |h, b| h.wrapping_mul(31) + u64::from(b));
    let mut random = Random::new(seed);
    let centre = if name.contains("norm") && name.ends_with("weight") {
        1.0
    } else {
        0.0
    };
    let spread = if shape.len() == 1 {
        0.2
    } else {
        1.7 / (shape[0] as f32).sqrt()
    };
    let count = shape.iter().product();
    (0..count)
        .map(|_| centre + spread * (random.below(2001) as f32 / 1000.0 - 1.0))
        .collect()
}

fn gguf(metadata: &[(&str, Value)], tensors: &Tensors) -> Imported {
    let mut builder = Builder::new();
    for (key, value) in metadata {
        builder = builder.metadata(*key, value.clone());
    }
    for (name, shape) in tensors {
        builder = builder.tensor_f32(name, shape, &values(name, shape));
    }
    Imported::parse(builder.build().expect("a valid model")).expect("a valid model")
}

fn hugging_face(config: &Json, tensors: &Tensors) -> Imported {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = data.len();
        data.extend(values(name, shape).iter().flat_map(|v| v.to_le_bytes()));
        let slowest_first: Vec<usize> = shape.iter().rev().copied().collect();
        let entry =
            json!({"dtype": "F32", "shape": slowest_first, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).expect("a valid model");
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    let dir = tempfile::tempdir().expect("a valid model");
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("a valid model");
    std::fs::write(dir.path().join("model.safetensors"), file).expect("a valid model");
    Imported::open(dir.path()).expect("a valid model")
}

/// Layers of different head counts and FFN widths, FFN widths that are no multiple of a block.
///
/// # Panics
/// If the model does not parse.
pub fn non_uniform_llama() -> Imported {
    let (d, head) = (96, 32);
    let shapes = [(4, 2, 80), (2, 1, 112), (2, 1, 112), (6, 6, 48)];
    let list =
        |f: fn(&(u32, u32, u32)) -> u32| Value::from(shapes.iter().map(f).collect::<Vec<u32>>());
    let metadata = [
        ("general.architecture", Value::from("llama")),
        ("general.name", Value::from("non-uniform")),
        ("llama.block_count", Value::from(4u32)),
        ("llama.context_length", Value::from(CONTEXT as u32)),
        ("llama.embedding_length", Value::from(d as u32)),
        ("llama.feed_forward_length", list(|s| s.2)),
        ("llama.attention.head_count", list(|s| s.0)),
        ("llama.attention.head_count_kv", list(|s| s.1)),
        ("llama.attention.key_length", Value::from(head as u32)),
        ("llama.attention.value_length", Value::from(head as u32)),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::from(1e-5f32),
        ),
        ("llama.rope.freq_base", Value::from(10000f32)),
        ("llama.rope.dimension_count", Value::from(head as u32)),
    ];
    let mut tensors: Tensors = vec![
        ("token_embd.weight".into(), vec![d, VOCAB]),
        ("output_norm.weight".into(), vec![d]),
        ("output.weight".into(), vec![d, VOCAB]),
    ];
    for (i, (heads, kv, ffn)) in shapes.into_iter().enumerate() {
        let (q, k, ffn) = (heads as usize * head, kv as usize * head, ffn as usize);
        let parts = [
            ("attn_norm", vec![d]),
            ("attn_q", vec![d, q]),
            ("attn_k", vec![d, k]),
            ("attn_v", vec![d, k]),
            ("attn_output", vec![q, d]),
            ("ffn_norm", vec![d]),
            ("ffn_gate", vec![d, ffn]),
            ("ffn_up", vec![d, ffn]),
            ("ffn_down", vec![ffn, d]),
        ];
        tensors.extend(parts.map(|(part, shape)| (format!("blk.{i}.{part}.weight"), shape)));
    }
    gguf(&metadata, &tensors)
}

/// Two layers whose matrices are stored as `ty` says for their name, such as
/// `blk.1.ffn_down.weight`; the embedding is tied.
///
/// # Panics
/// If the model does not parse, as with a K-quant, whose blocks do not fit.
pub fn stored_llama(ty: impl Fn(&str) -> TensorType) -> Imported {
    let (d, head, heads, kv, ffn) = (128, 32, 4u32, 2u32, 256);
    let mut builder = Builder::new();
    for (key, value) in [
        ("block_count", Value::from(2u32)),
        ("context_length", Value::from(CONTEXT as u32)),
        ("embedding_length", Value::from(d as u32)),
        ("feed_forward_length", Value::from(ffn as u32)),
        ("attention.head_count", Value::from(heads)),
        ("attention.head_count_kv", Value::from(kv)),
        ("attention.layer_norm_rms_epsilon", Value::from(1e-5f32)),
        ("rope.freq_base", Value::from(10000f32)),
        ("rope.dimension_count", Value::from(head as u32)),
    ] {
        builder = builder.metadata(format!("llama.{key}"), value);
    }
    builder = builder
        .metadata("general.architecture", "llama")
        .metadata("general.name", "stored in many ways");
    let kv = kv as usize * head;
    let mut tensors: Tensors = vec![
        ("token_embd.weight".into(), vec![d, VOCAB]),
        ("output_norm.weight".into(), vec![d]),
    ];
    for i in 0..2 {
        let parts = [
            ("attn_norm", vec![d]),
            ("attn_q", vec![d, d]),
            ("attn_k", vec![d, kv]),
            ("attn_v", vec![d, kv]),
            ("attn_output", vec![d, d]),
            ("ffn_norm", vec![d]),
            ("ffn_gate", vec![d, ffn]),
            ("ffn_up", vec![d, ffn]),
            ("ffn_down", vec![ffn, d]),
        ];
        tensors.extend(parts.map(|(part, shape)| (format!("blk.{i}.{part}.weight"), shape)));
    }
    for (name, shape) in &tensors {
        let values = values(name, shape);
        builder = match shape.len() {
            1 => builder.tensor_f32(name, shape, &values),
            _ => builder.tensor(name, shape, ty(name), encode(ty(name), &values)),
        };
    }
    Imported::parse(builder.build().expect("a valid model")).expect("a valid model")
}

/// Values as blocks of a type; sparse ones keep the largest of each group.
fn encode(ty: TensorType, values: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    match ty.sparsity() {
        Some(sparsity) => {
            for block in values.chunks(ty.block_len()) {
                prune(sparsity, block).write(&mut out);
            }
        }
        None => {
            out.resize(ty.row_bytes(values.len()).expect("whole blocks"), 0);
            quantize_row(ty, values, &mut out).expect("a type that can be written");
        }
    }
    out
}

fn prune(sparsity: Sparsity, block: &[f32]) -> SparseBlock {
    let kept: Vec<usize> = block
        .chunks(sparsity.group())
        .flat_map(|group| {
            let mut order: Vec<usize> = (0..group.len()).collect();
            order.sort_by(|&a, &b| group[b].abs().total_cmp(&group[a].abs()));
            order.truncate(sparsity.kept());
            order.sort_unstable();
            order
        })
        .collect();
    let value = |j: usize| block[j / sparsity.kept() * sparsity.group() + kept[j]];
    let most = (0..kept.len()).fold(0f32, |m, j| m.max(value(j).abs()));
    let scale = f16::from_f32(most / 7.0);
    let code = |j: usize| (value(j) / scale.to_f32()).round().clamp(-8.0, 7.0) as i8;
    SparseBlock::new(sparsity, scale.to_bits(), code, |j| kept[j])
}

/// Biases on queries, keys and values; tied embeddings.
///
/// # Panics
/// If the model does not open.
pub fn qwen2() -> Imported {
    let (d, kv, ffn) = (128, 64, 96);
    let config = json!({
        "model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": d, "intermediate_size": ffn,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": true,
    });
    let mut tensors: Tensors = vec![
        ("model.embed_tokens.weight".into(), vec![d, VOCAB]),
        ("model.norm.weight".into(), vec![d]),
    ];
    for i in 0..2 {
        let parts = [
            ("input_layernorm.weight", vec![d]),
            ("self_attn.q_proj.weight", vec![d, d]),
            ("self_attn.q_proj.bias", vec![d]),
            ("self_attn.k_proj.weight", vec![d, kv]),
            ("self_attn.k_proj.bias", vec![kv]),
            ("self_attn.v_proj.weight", vec![d, kv]),
            ("self_attn.v_proj.bias", vec![kv]),
            ("self_attn.o_proj.weight", vec![d, d]),
            ("post_attention_layernorm.weight", vec![d]),
            ("mlp.gate_proj.weight", vec![d, ffn]),
            ("mlp.up_proj.weight", vec![d, ffn]),
            ("mlp.down_proj.weight", vec![ffn, d]),
        ];
        tensors.extend(parts.map(|(part, shape)| (format!("model.layers.{i}.{part}"), shape)));
    }
    hugging_face(&config, &tensors)
}

/// LayerNorm, learned positions, ReLU.
///
/// # Panics
/// If the model does not open.
pub fn opt() -> Imported {
    let (d, ffn) = (64, 160);
    let config = json!({
        "model_type": "opt", "vocab_size": VOCAB, "hidden_size": d, "word_embed_proj_dim": d,
        "ffn_dim": ffn, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT, "activation_function": "relu", "do_layer_norm_before": true,
    });
    let mut tensors: Tensors = vec![
        ("model.decoder.embed_tokens.weight".into(), vec![d, VOCAB]),
        (
            "model.decoder.embed_positions.weight".into(),
            vec![d, CONTEXT + 2],
        ),
        ("model.decoder.final_layer_norm.weight".into(), vec![d]),
        ("model.decoder.final_layer_norm.bias".into(), vec![d]),
    ];
    for i in 0..2 {
        let mut both = |part: &str, shape: Vec<usize>| {
            let rows = vec![*shape.last().expect("a valid model")];
            tensors.push((format!("model.decoder.layers.{i}.{part}.weight"), shape));
            tensors.push((format!("model.decoder.layers.{i}.{part}.bias"), rows));
        };
        both("self_attn_layer_norm", vec![d]);
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            both(&format!("self_attn.{part}"), vec![d, d]);
        }
        both("final_layer_norm", vec![d]);
        both("fc1", vec![d, ffn]);
        both("fc2", vec![ffn, d]);
    }
    hugging_face(&config, &tensors)
}
