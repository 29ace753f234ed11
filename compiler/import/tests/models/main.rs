//! Imports small models of every architecture, and refuses what cannot be right.

mod make;
mod real;

use lampyris_flash::TensorType;
use lampyris_import::{
    Model,
    arch::{Activation, Arch, NormKind, Positions, RopeScaling, RopeStyle},
    graph::{Node, Op},
    source::Role,
};
use make::*;
use serde_json::{Value, json};

fn open(config: &Value, tensors: &Tensors) -> Result<Model, String> {
    Model::open(directory(config, tensors).path()).map_err(|err| err.to_string())
}

fn parse(builder: lampyris_flash::gguf::Builder) -> Result<Model, String> {
    Model::parse(builder.build().unwrap()).map_err(|err| err.to_string())
}

fn refused(result: Result<Model, String>, expected: &str) {
    let err = result
        .err()
        .unwrap_or_else(|| panic!("accepted; expected: {expected}"));
    assert!(err.contains(expected), "expected {expected:?}, got: {err}");
    assert!(err.contains("\nhint: "), "{err}");
}

fn node<'a>(model: &'a Model, name: &str) -> &'a Node {
    model.graph().node(
        model
            .graph()
            .find(name)
            .unwrap_or_else(|| panic!("no node {name}")),
    )
}

fn input_names(model: &Model, name: &str) -> Vec<String> {
    let inputs = model.graph().inputs(model.graph().find(name).unwrap());
    inputs
        .into_iter()
        .map(|id| model.graph().node(id).name.clone())
        .collect()
}

/// All tensors of the graph by role and layer, as the graph orders them.
fn weights(model: &Model) -> Vec<(String, Vec<f32>)> {
    let tensors = model
        .graph()
        .nodes()
        .flat_map(|(_, n)| n.op.tensors().map(|t| (n.name.clone(), t)));
    tensors
        .map(|(name, t)| (name, model.tensor_f32(t).unwrap()))
        .collect()
}

#[test]
fn llama_is_the_same_from_both_formats() {
    let tensors = llama_tensors(false);
    let hf = open(&llama_config("llama"), &tensors).unwrap();
    let gguf = parse(gguf("llama", &tensors)).unwrap();
    assert_eq!(hf.spec().rope().unwrap().stored, RopeStyle::HalfSplit);
    assert_eq!(gguf.spec().rope().unwrap().stored, RopeStyle::Interleaved);
    assert_eq!(hf.spec().layers, gguf.spec().layers);
    assert_eq!(weights(&hf), weights(&gguf));
    assert_eq!(
        (hf.spec().bos, hf.spec().eos.as_slice()),
        (Some(1), &[2, 3][..])
    );
    assert_eq!(
        (gguf.spec().bos, gguf.spec().eos.as_slice()),
        (Some(1), &[2][..])
    );
}

#[test]
fn qwen2_has_biases_and_half_split_rows_in_both_formats() {
    let tensors = llama_tensors(true);
    let hf = open(&llama_config("qwen2"), &tensors).unwrap();
    let gguf = parse(gguf("qwen2", &tensors)).unwrap();
    assert_eq!(gguf.spec().rope().unwrap().stored, RopeStyle::HalfSplit);
    assert_eq!(weights(&hf), weights(&gguf));
    let Op::Linear {
        bias: Some(bias), ..
    } = &node(&gguf, "blk.1.attn_q").op
    else {
        panic!()
    };
    // Interleaved element 1 is half-split element 2 of a head of 4.
    let stored = gguf.tensor_view(bias).unwrap().dequantize();
    let read = gguf.tensor_f32(bias).unwrap();
    assert_eq!(read[..4], [stored[0], stored[2], stored[1], stored[3]]);
    assert_eq!(read[4..8], [stored[4], stored[6], stored[5], stored[7]]);
    refused(
        open(&llama_config("qwen2"), &llama_tensors(false)),
        "self_attn.q_proj.bias` is missing",
    );
}

#[test]
fn graph_of_a_gated_layer() {
    let model = parse(gguf("llama", &llama_tensors(false))).unwrap();
    assert_eq!(
        input_names(&model, "blk.1.attention"),
        ["blk.1.rope_q", "blk.1.append_kv"]
    );
    assert_eq!(
        input_names(&model, "blk.1.append_kv"),
        ["blk.1.rope_k", "blk.1.attn_v"]
    );
    assert_eq!(
        input_names(&model, "blk.1.attn_residual"),
        ["blk.0.ffn_residual", "blk.1.attn_output"]
    );
    assert_eq!(
        input_names(&model, "blk.0.ffn_mul"),
        ["blk.0.ffn_act", "blk.0.ffn_up"]
    );
    assert_eq!(input_names(&model, "blk.0.ffn_act"), ["blk.0.ffn_gate"]);
    assert_eq!(input_names(&model, "output"), ["output_norm"]);
    assert_eq!(node(&model, "blk.0.ffn_act").op, Op::Act(Activation::Silu));
    let Op::Attention {
        heads,
        kv_heads,
        scale,
        ..
    } = node(&model, "blk.0.attention").op
    else {
        panic!()
    };
    assert_eq!((heads, kv_heads, scale), (HEADS, KV_HEADS, 0.5));
    let graph = model.graph();
    for (id, node) in graph.nodes() {
        assert!(
            graph.inputs(id).iter().all(|input| *input < id),
            "{} precedes an input",
            node.name
        );
    }
    assert!(!petgraph::algo::is_cyclic_directed(graph.petgraph()));
    assert_eq!(graph.node(graph.logits()).width, VOCAB);
}

#[test]
fn relu_llama_differs_from_llama_in_the_activation_alone() {
    let tensors = llama_tensors(false);
    let silu = parse(gguf("llama", &tensors)).unwrap();
    let relu = parse(gguf("relu-llama", &tensors)).unwrap();
    assert_eq!(node(&relu, "blk.0.ffn_act").op, Op::Act(Activation::Relu));
    assert_eq!(
        input_names(&relu, "blk.0.ffn_mul"),
        input_names(&silu, "blk.0.ffn_mul")
    );
    assert_eq!(weights(&relu), weights(&silu));
    let mut expected = silu.spec().clone();
    for layer in &mut expected.layers {
        layer.activation = Activation::Relu;
    }
    assert_eq!(*relu.spec(), expected);
}

#[test]
fn summary_by_hand() {
    let mut tensors = llama_tensors(false);
    let untied = open(&llama_config("llama"), &tensors)
        .unwrap()
        .summary()
        .unwrap();
    let layer = D * (HEADS + 2 * KV_HEADS) * HEAD_DIM + D * D + 3 * D * FFN;
    let linear = (LAYERS * layer + VOCAB * D) as u64;
    assert_eq!(untied.linear_macs_per_token, linear);
    assert_eq!(
        untied.parameters,
        linear + ((2 * LAYERS + 1) * D + VOCAB * D) as u64
    );
    assert_eq!(untied.weight_bytes(), 4 * untied.parameters);
    assert_eq!(
        untied.bytes_by_role[&Role::FfnDown],
        (4 * LAYERS * D * FFN) as u64
    );
    assert_eq!(
        untied.kv_elements_per_token,
        (LAYERS * 2 * KV_HEADS * HEAD_DIM) as u64
    );
    let attention = (LAYERS * HEADS * 2 * HEAD_DIM) as u64;
    assert_eq!(untied.macs_per_token(7), linear + 7 * attention);

    tensors.remove("lm_head.weight");
    let tied = parse(gguf("llama", &tensors)).unwrap();
    assert!(tied.spec().tied_embeddings);
    let tied = tied.summary().unwrap();
    assert_eq!(tied.linear_macs_per_token, linear);
    assert_eq!(tied.parameters, untied.parameters - (VOCAB * D) as u64);
}

#[test]
fn opt_has_learned_positions_and_relu() {
    let model = open(&opt_config(), &opt_tensors()).unwrap();
    let spec = model.spec();
    assert_eq!(
        (spec.architecture, spec.norm.kind),
        (Arch::Opt, NormKind::Layer)
    );
    assert_eq!(spec.positions, Positions::Learned { offset: 2 });
    assert!(spec.tied_embeddings);
    assert_eq!(
        input_names(&model, "embd_add"),
        ["token_embd", "position_embd"]
    );
    assert_eq!(
        input_names(&model, "blk.0.attention"),
        ["blk.0.attn_q", "blk.0.append_kv"]
    );
    assert_eq!(input_names(&model, "blk.0.ffn_down"), ["blk.0.ffn_act"]);
    assert_eq!(node(&model, "blk.0.ffn_act").op, Op::Act(Activation::Relu));
    let Op::Linear { bias, .. } = &node(&model, "blk.1.ffn_up").op else {
        panic!()
    };
    assert_eq!(
        bias.as_ref().unwrap().name,
        "model.decoder.layers.1.fc1.bias"
    );
    let Op::Norm { bias, .. } = &node(&model, "output_norm").op else {
        panic!()
    };
    assert_eq!(
        bias.as_ref().unwrap().name,
        "model.decoder.final_layer_norm.bias"
    );

    // The published checkpoints were saved without the head's prefix.
    let short = opt_tensors()
        .into_iter()
        .map(|(name, t)| (name.replace("model.", ""), t))
        .collect();
    assert_eq!(
        weights(&open(&opt_config(), &short).unwrap()),
        weights(&model)
    );
}

#[test]
fn opt_variants_are_refused() {
    let with = |key: &str, value: Value| {
        let mut config = opt_config();
        config[key] = value;
        open(&config, &opt_tensors())
    };
    refused(
        with("do_layer_norm_before", json!(false)),
        "`do_layer_norm_before` is false",
    );
    refused(
        with("word_embed_proj_dim", json!(8)),
        "`word_embed_proj_dim` is 8, but `hidden_size` is 16",
    );
    refused(
        with("_remove_final_layer_norm", json!(true)),
        "`_remove_final_layer_norm`",
    );
    refused(
        with("activation_function", json!("gelu")),
        "activation `gelu`",
    );
    refused(
        with("max_position_embeddings", json!(33)),
        "embed_positions.weight` has shape [16, 34]; expected [16, 35]",
    );
}

#[test]
fn layers_may_differ() {
    // Layer 1 has half of the heads and of the FFN.
    let mut tensors = llama_tensors(false);
    let mut shrink = |name: &str, rows: usize, columns: usize| {
        let values = tensors[name].2[..rows * columns].to_vec();
        tensors.insert(name.into(), (rows, columns, values));
    };
    shrink("model.layers.1.self_attn.q_proj.weight", 8, D);
    shrink("model.layers.1.self_attn.k_proj.weight", 4, D);
    shrink("model.layers.1.self_attn.v_proj.weight", 4, D);
    shrink("model.layers.1.self_attn.o_proj.weight", D, 8);
    shrink("model.layers.1.mlp.gate_proj.weight", 12, D);
    shrink("model.layers.1.mlp.up_proj.weight", 12, D);
    shrink("model.layers.1.mlp.down_proj.weight", D, 12);
    let arrays = || {
        gguf("llama", &tensors)
            .metadata("llama.attention.head_count", vec![4i32, 2])
            .metadata("llama.attention.head_count_kv", vec![2u32, 1])
            .metadata("llama.feed_forward_length", vec![24u32, 12])
    };
    let model = parse(arrays()).unwrap();
    let layers = &model.spec().layers;
    assert_eq!(
        (layers[0].n_heads, layers[0].n_kv_heads, layers[0].ffn_dim),
        (4, 2, 24)
    );
    assert_eq!(
        (layers[1].n_heads, layers[1].n_kv_heads, layers[1].ffn_dim),
        (2, 1, 12)
    );
    assert_eq!(layers[1].head_dim_k, HEAD_DIM);
    assert_eq!(
        model.summary().unwrap().kv_elements_per_token,
        (3 * 2 * HEAD_DIM) as u64
    );

    let short = arrays().metadata("llama.feed_forward_length", vec![24u32]);
    refused(
        parse(short),
        "`llama.feed_forward_length` has 1 elements; expected one for each of 2 layers",
    );
    refused(
        parse(gguf("llama", &tensors)),
        "`blk.1.attn_q.weight` has shape [16, 8]; expected [16, 16]",
    );
}

#[test]
fn rope_scaling_is_read() {
    let with = |scaling: Value| {
        let mut config = llama_config("llama");
        config["rope_scaling"] = scaling;
        open(&config, &llama_tensors(false))
    };
    let scaling = |model: Result<Model, String>| model.unwrap().spec().rope().unwrap().scaling;
    assert_eq!(
        scaling(with(json!({ "type": "linear", "factor": 2.0 }))),
        RopeScaling::Linear { factor: 2.0 }
    );
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    assert!(matches!(
        scaling(with(llama3)),
        RopeScaling::Llama3 {
            original_context: 8192.0,
            ..
        }
    ));
    refused(
        with(json!({ "rope_type": "yarn", "factor": 2.0 })),
        "RoPE scaling `yarn`",
    );
    refused(
        with(json!({ "rope_type": "linear", "factor": 0.0 })),
        "RoPE scaling factor",
    );
    refused(
        with(json!({ "factor": 2.0 })),
        "`rope_scaling.rope_type` is missing",
    );

    let mut config = llama_config("llama");
    config["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 500.0 });
    let model = open(&config, &llama_tensors(false)).unwrap();
    assert_eq!(model.spec().rope().unwrap().base, 500.0);

    let llama = || gguf("llama", &llama_tensors(false));
    let factors = parse(llama().tensor_f32("rope_freqs.weight", &[2], &[1.0, 8.0])).unwrap();
    let plain = parse(llama()).unwrap();
    let (plain, factors) = (
        plain.spec().rope().unwrap().inv_freq(),
        factors.spec().rope().unwrap().inv_freq(),
    );
    assert_eq!(factors, [plain[0], plain[1] / 8.0]);
    refused(
        parse(llama().tensor_f32("rope_freqs.weight", &[3], &[1.0; 3])),
        "RoPE frequency factors",
    );
    refused(
        parse(llama().tensor_f32("rope_freqs.weight", &[2], &[1.0, f32::NAN])),
        "RoPE frequency factor",
    );
    refused(
        parse(llama().metadata("llama.rope.scaling.type", "yarn")),
        "RoPE scaling `yarn`",
    );
    refused(
        parse(llama().metadata("llama.rope.dimension_count", 3u32)),
        "RoPE dimension count",
    );
}

#[test]
fn missing_wrong_and_unexpected_tensors_are_named() {
    let mut tensors = llama_tensors(false);
    tensors.remove("model.layers.1.mlp.up_proj.weight");
    refused(
        open(&llama_config("llama"), &tensors),
        "`model.layers.1.mlp.up_proj.weight` is missing; expected shape [16, 24]",
    );
    refused(
        parse(gguf("llama", &tensors)),
        "`blk.1.ffn_up.weight` is missing",
    );
    let llama = || gguf("llama", &llama_tensors(false));
    refused(
        parse(llama().tensor_f32("blk.0.attn_q_norm.weight", &[4], &[0.0; 4])),
        "`blk.0.attn_q_norm.weight` is not part of the llama",
    );
    // One bias of a group without the others.
    refused(
        parse(llama().tensor_f32("blk.0.attn_k.bias", &[8], &[0.0; 8])),
        "`blk.0.attn_q.bias` is missing",
    );
    let wide = gguf("llama", &Tensors::new())
        .metadata("llama.embedding_length", 32u32)
        .tensor_f32("token_embd.weight", &[32, VOCAB], &[0.0; 32 * VOCAB])
        .tensor(
            "blk.0.attn_norm.weight",
            &[32],
            TensorType::Q8_0,
            vec![0; 34],
        );
    refused(
        parse(wide),
        "`blk.0.attn_norm.weight` is stored as Q8_0; expected F32",
    );
}

#[test]
fn hostile_metadata_are_refused() {
    let llama = || gguf("llama", &llama_tensors(false));
    let with = |key: &str, value: u32| parse(llama().metadata(format!("llama.{key}"), value));
    refused(
        parse(llama().metadata("general.architecture", "mamba")),
        "architecture `mamba`",
    );
    refused(
        with("block_count", u32::MAX),
        "`llama.block_count` is 4294967295, but the file has",
    );
    refused(with("block_count", 0), "`llama.block_count` is 0");
    refused(
        with("block_count", 1),
        "`blk.1.attn_norm.weight` is not part of",
    );
    refused(
        with("attention.head_count", 0),
        "`llama.attention.head_count`",
    );
    refused(
        with("attention.head_count", 3),
        "does not divide the embedding length",
    );
    refused(
        with("attention.head_count_kv", 0),
        "key-value head count of layer 0",
    );
    refused(
        with("attention.head_count_kv", 3),
        "not a divisor of the 4 heads",
    );
    refused(
        with("attention.key_length", u32::MAX),
        "key length of layer 0",
    );
    refused(with("embedding_length", u32::MAX), "`llama.");
    refused(
        with("feed_forward_length", u32::MAX),
        "feed-forward length of layer 0",
    );
    refused(with("context_length", 0), "context length");
    refused(
        with("vocab_size", 11),
        "`llama.vocab_size` is 11, but `token_embd.weight` has 10 rows",
    );
    refused(with("expert_count", 8), "mixture of 8 experts");
    refused(
        with("attention.sliding_window", 4),
        "attention window of 4 tokens",
    );
    refused(
        parse(llama().metadata("tokenizer.ggml.eos_token_id", 10u32)),
        "BOS or EOS token id",
    );
    let eps = |v: f32| parse(llama().metadata("llama.attention.layer_norm_rms_epsilon", v));
    refused(eps(f32::NAN), "norm epsilon");
    refused(
        parse(llama().metadata("llama.rope.freq_base", 0f32)),
        "RoPE base",
    );
}

#[test]
fn hostile_configurations_are_refused() {
    let with = |key: &str, value: Value| {
        let mut config = llama_config("llama");
        config[key] = value;
        open(&config, &llama_tensors(false))
    };
    refused(with("model_type", json!("mamba")), "model type `mamba`");
    refused(with("model_type", json!(7)), "`model_type` is not usable");
    refused(
        with("hidden_size", json!(-1)),
        "`hidden_size` is not usable",
    );
    refused(with("hidden_size", json!(null)), "`hidden_size` is missing");
    refused(
        with("num_hidden_layers", json!(1u64 << 40)),
        "`num_hidden_layers` is 1099511627776",
    );
    refused(
        with("num_attention_heads", json!(0)),
        "`num_attention_heads` is 0",
    );
    refused(with("head_dim", json!(1u64 << 40)), "key length of layer 0");
    refused(with("hidden_act", json!("gelu")), "activation `gelu`");
    refused(
        with("quantization_config", json!({})),
        "quantization_config",
    );
    refused(
        with("attention_bias", json!(true)),
        "q_proj.bias` is missing",
    );
    refused(
        with("vocab_size", json!(11)),
        "embed_tokens.weight` has shape [16, 10]; expected [16, 11]",
    );
}

#[test]
fn bad_values_are_found_on_request() {
    let mut tensors = llama_tensors(false);
    tensors
        .get_mut("model.layers.0.mlp.down_proj.weight")
        .unwrap()
        .2[30] = f32::INFINITY;
    let err = parse(gguf("llama", &tensors))
        .unwrap()
        .check_finite()
        .unwrap_err()
        .to_string();
    assert!(
        err.contains("`blk.0.ffn_down.weight`") && err.contains("row 1, block 6"),
        "{err}"
    );
}
