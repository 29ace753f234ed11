//! The whole way on the built-in model.

use super::*;
use lampyris_flash::{Gguf, ModelFile, TensorType, gguf::Builder};
use lampyris_import::Model;
use lampyris_runtime::{Reference, Sampler, SamplerConfig, perplexity};
use proptest::prelude::*;

fn tiny() -> Model {
    lampyris_import::open("tiny").unwrap()
}

/// Losses that nobody measured, falling with the size.
fn invented(plan: &Plan<'_>, seed: u64) -> Survey {
    let mut random = fastrand::Rng::with_seed(seed);
    let losses = plan.matrices().iter().map(|matrix| {
        let scale = random.f64() + 0.01;
        let formats = matrix.formats.iter();
        let loss = |ty: &TensorType| match *ty == matrix.stored {
            true => 0.0,
            false => scale * 1e6 / matrix.bytes(*ty) as f64,
        };
        formats.map(loss).collect()
    });
    Survey {
        losses: losses.collect(),
        tables: Vec::new(),
    }
}

fn options(sparse: Sparse) -> Options {
    Options {
        sparse,
        ..Options::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Whatever the budget: it is kept to the byte, and not far from used up.
    #[test]
    fn budgets_are_never_exceeded(share in 0.0f64..=1.1, seed: u64, sparse: bool, file: bool) {
        let model = tiny();
        let sparse = if sparse { Sparse::Allowed } else { Sparse::Never };
        let plan = Plan::new(&model, options(sparse)).unwrap();
        let survey = invented(&plan, seed);
        let between = |least: f64, most: f64| least + (most - least) * share;
        if file {
            let [least, most] = [plan.smallest(), plan.largest()].map(|f| plan.file_bytes(&f).unwrap());
            let budget = between(least as f64, most as f64) as u64;
            let found = allocate(&plan, &survey, Budget::File(budget)).unwrap();
            let bytes = plan.file_bytes(&found.formats).unwrap();
            prop_assert!(bytes <= budget, "{bytes} of {budget}");
            prop_assert!(bytes == most || budget - bytes < 40_000, "{bytes} of {budget}");
        } else {
            let [least, most] = [plan.smallest(), plan.largest()].map(|f| plan.bits_per_weight(&f));
            let budget = between(least, most).max(least);
            let found = allocate(&plan, &survey, Budget::BitsPerWeight(budget)).unwrap();
            let bits = plan.bits_per_weight(&found.formats);
            prop_assert!(bits <= budget, "{bits} of {budget}");
        }
    }
}

#[test]
fn the_least_size_is_feasible_and_one_byte_less_is_not() {
    let model = tiny();
    let plan = Plan::new(&model, options(Sparse::Never)).unwrap();
    let survey = invented(&plan, 1);
    let least = plan.file_bytes(&plan.smallest()).unwrap();
    let found = allocate(&plan, &survey, Budget::File(least)).unwrap();
    assert_eq!(plan.file_bytes(&found.formats).unwrap(), least);
    let error = allocate(&plan, &survey, Budget::File(least - 1)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("--target-size {least}")), "{text}");
    let error = allocate(&plan, &survey, Budget::BitsPerWeight(1.0)).unwrap_err();
    let text = error.to_string();
    let (_, named) = text.split_once("--target-bpw ").unwrap();
    let named: f64 = named.split(',').next().unwrap().parse().unwrap();
    let found = allocate(&plan, &survey, Budget::BitsPerWeight(named)).unwrap();
    assert_eq!(found.formats, plan.smallest());
}

/// Without a limit nothing changes, and the written file has the source's tensors and metadata.
#[test]
fn an_unlimited_budget_keeps_everything() {
    let model = tiny();
    let plan = Plan::new(&model, options(Sparse::Never)).unwrap();
    let mut reference = Reference::new(&model).unwrap();
    let windows = windows(64);
    let survey = survey(&plan, &mut reference, &windows, None, &mut |_| ()).unwrap();
    let found = allocate(&plan, &survey, Budget::Unlimited).unwrap();
    assert_eq!(found.loss, 0.0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    write(
        &plan,
        &survey,
        &found.formats,
        &mut reference,
        &windows,
        Some(&path),
        &mut |_| true,
    )
    .unwrap();
    let written = Gguf::open(&path).unwrap();
    let ModelFile::Gguf(source) = model.file() else {
        panic!("tiny is a GGUF file")
    };
    for tensor in source.tensors() {
        let (a, b) = (
            source.tensor(&tensor.name).unwrap(),
            written.tensor(&tensor.name).unwrap(),
        );
        assert_eq!(
            (a.ty, a.shape, a.data),
            (b.ty, b.shape, b.data),
            "{}",
            tensor.name
        );
    }
    for (key, value) in source
        .metadata()
        .iter()
        .filter(|(key, _)| *key != "general.file_type")
    {
        assert_eq!(written.metadata().get(key), Some(value), "{key}");
    }
}

/// Texts of the model's own: what it knows to predict.
fn windows(tokens: usize) -> Vec<Vec<u32>> {
    let model = tiny();
    let reference = Reference::new(&model).unwrap();
    (1..=2)
        .map(|seed| {
            let config = SamplerConfig {
                temperature: 1.0,
                seed,
                ..SamplerConfig::default()
            };
            let mut sampler = Sampler::new(config).unwrap();
            let prompt = [20 + seed as u32];
            let mut session = reference.session();
            let made = session.generate(&prompt, tokens - 1, &mut sampler, |_| false, |_| ());
            [&prompt[..], &made.unwrap()].concat()
        })
        .collect()
}

/// What the executor was left with is what the file holds; the file has the size that was
/// forecast; and compensated rounding costs less than plain rounding on the real model.
#[test]
fn files_hold_what_was_judged() {
    let model = tiny();
    let windows = windows(96);
    let refs: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut divergences = Vec::new();
    for (rounding, sparse) in [
        (Rounding::Gptq, Sparse::Never),
        (Rounding::Nearest, Sparse::Never),
        (Rounding::Gptq, Sparse::Everywhere(TensorType::Q4_2OF4)),
        (Rounding::Gptq, Sparse::Everywhere(TensorType::Q4_4OF16)),
    ] {
        let options = Options {
            sparse,
            method: Method {
                rounding,
                pruning: Pruning::SparseGpt,
            },
            ..Options::default()
        };
        let plan = Plan::new(&model, options).unwrap();
        let mut reference = Reference::new(&model).unwrap();
        let before = reference.score(&refs).unwrap();
        let survey = survey(
            &plan,
            &mut reference,
            &windows,
            Some(&windows[0][..32]),
            &mut |_| (),
        )
        .unwrap();
        assert_eq!(
            reference.score(&refs).unwrap(),
            before,
            "the survey leaves the model as it was"
        );
        let budget = Budget::BitsPerWeight(plan.bits_per_weight(&plan.smallest()) + 0.2);
        let found = allocate(&plan, &survey, budget).unwrap();
        let path = folder.path().join("out.gguf");
        let mut progress = 0;
        let written = write(
            &plan,
            &survey,
            &found.formats,
            &mut reference,
            &windows,
            Some(&path),
            &mut |n| {
                assert!(n > progress);
                progress = n;
                true
            },
        )
        .unwrap();
        assert_eq!(written.file_bytes, plan.file_bytes(&found.formats).unwrap());
        assert_eq!(written.file_bytes, std::fs::metadata(&path).unwrap().len());
        let read = Model::open(&path).unwrap();
        let after = Reference::new(&read).unwrap().score(&refs).unwrap();
        assert_eq!(reference.score(&refs).unwrap(), after);
        divergences.push(perplexity(&after) / perplexity(&before));
        if let Sparse::Everywhere(ty) = sparse {
            let layers = read
                .tensors()
                .into_iter()
                .filter(|t| t.name.starts_with("blk.") && !t.name.contains("norm"));
            assert!(
                layers
                    .map(|t| read.tensor_view(t).unwrap().ty)
                    .all(|found| found == ty)
            );
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(divergences[0] < divergences[1], "{divergences:?}");
}

#[test]
fn what_cannot_be_done_leaves_nothing_behind() {
    let model = tiny();
    let narrow = Options {
        widths: vec![4, 7],
        ..Options::default()
    };
    let text = Plan::new(&model, narrow).unwrap_err().to_string();
    assert!(
        text.contains("7 bits") && text.contains("nearest is 6"),
        "{text}"
    );
    let path = tempfile::tempdir().unwrap();
    let plan = Plan::new(&model, options(Sparse::Never)).unwrap();
    let mut reference = Reference::new(&model).unwrap();
    let windows = windows(16);
    let survey = survey(&plan, &mut reference, &windows, None, &mut |_| ()).unwrap();
    let absent = path.path().join("absent/out.gguf");
    let error = write(
        &plan,
        &survey,
        &plan.smallest(),
        &mut reference,
        &windows,
        Some(&absent),
        &mut |_| true,
    );
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("absent/out.gguf") && text.contains("hint: "),
        "{text}"
    );

    let stopped = path.path().join("out.gguf");
    let error = write(
        &plan,
        &Survey::none(),
        &plan.smallest(),
        &mut reference,
        &windows,
        Some(&stopped),
        &mut |_| true,
    );
    let text = error.unwrap_err().to_string();
    assert!(text.contains("nothing was measured"), "{text}");
    let error = write(
        &plan,
        &survey,
        &plan.smallest(),
        &mut reference,
        &windows,
        Some(&stopped),
        &mut |_| false,
    );
    assert!(matches!(error, Err(CompressError::Stopped)));
    assert_eq!(std::fs::read_dir(path.path()).unwrap().count(), 0);
}

/// A small Qwen2 model in binary16: biases, rows in half-split order, an output projection of its
/// own.
fn qwen2() -> Model {
    const D: usize = 64;
    const FFN: usize = 96;
    const VOCABULARY: usize = 50;
    let mut random = fastrand::Rng::with_seed(2);
    let mut builder = Builder::new()
        .metadata("general.architecture", "qwen2")
        .metadata("qwen2.block_count", 2u32)
        .metadata("qwen2.context_length", 64u32)
        .metadata("qwen2.embedding_length", D as u32)
        .metadata("qwen2.feed_forward_length", FFN as u32)
        .metadata("qwen2.attention.head_count", 4u32)
        .metadata("qwen2.attention.head_count_kv", 2u32)
        .metadata("qwen2.attention.layer_norm_rms_epsilon", 1e-5f32);
    let mut matrix = |name: String, rows: usize, columns: usize| {
        let values = (0..rows * columns).map(|_| (random.f32() - 0.5) / (columns as f32).sqrt());
        let bytes: Vec<u8> = values
            .flat_map(|v| half::f16::from_f32(4.0 * v).to_le_bytes())
            .collect();
        let old = std::mem::take(&mut builder);
        builder = old.tensor(name, &[columns, rows], TensorType::F16, bytes);
    };
    matrix("token_embd.weight".into(), VOCABULARY, D);
    matrix("output.weight".into(), VOCABULARY, D);
    for i in 0..2 {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        matrix(name("attn_q"), D, D);
        matrix(name("attn_k"), D / 2, D);
        matrix(name("attn_v"), D / 2, D);
        matrix(name("attn_output"), D, D);
        matrix(name("ffn_gate"), FFN, D);
        matrix(name("ffn_up"), FFN, D);
        matrix(name("ffn_down"), D, FFN);
    }
    for i in 0..2 {
        for (part, len) in [("attn_q", D), ("attn_k", D / 2), ("attn_v", D / 2)] {
            let values: Vec<f32> = (0..len).map(|j| j as f32 * 1e-3).collect();
            builder = builder.tensor_f32(format!("blk.{i}.{part}.bias"), &[len], &values);
        }
        for part in ["attn_norm", "ffn_norm"] {
            builder = builder.tensor_f32(format!("blk.{i}.{part}.weight"), &[D], &[1.0; D]);
        }
    }
    builder = builder.tensor_f32("output_norm.weight", &[D], &[1.0; D]);
    Model::parse(builder.build().unwrap()).unwrap()
}

/// Rows that the graph reads in another order than they are stored, and tables of one use each.
#[test]
fn other_row_orders_and_untied_tables_come_out_right() {
    let model = qwen2();
    let plan = Plan::new(&model, options(Sparse::Allowed)).unwrap();
    // Rows of 96 are no multiple of a sparse block; tables are never pruned.
    let sparse = |m: &Matrix| m.formats.iter().any(|ty| ty.sparsity().is_some());
    for m in plan.matrices() {
        assert_eq!(
            sparse(m),
            m.layer.is_some() && m.columns == 64,
            "{}",
            m.tensor.name
        );
    }
    let windows: Vec<Vec<u32>> = vec![(0..40).map(|i| i * 7 % 50).collect()];
    let mut reference = Reference::new(&model).unwrap();
    let survey = survey(
        &plan,
        &mut reference,
        &windows,
        Some(&windows[0][..16]),
        &mut |_| (),
    )
    .unwrap();
    for (matrix, losses) in plan.matrices().iter().zip(&survey.losses) {
        assert!(
            losses.is_sorted_by(|a, b| a > b) || sparse(matrix),
            "{}: {losses:?}",
            matrix.tensor.name
        );
    }
    let found = allocate(&plan, &survey, Budget::BitsPerWeight(6.0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    write(
        &plan,
        &survey,
        &found.formats,
        &mut reference,
        &windows,
        Some(&path),
        &mut |_| true,
    )
    .unwrap();
    let read = Model::open(&path).unwrap();
    let after = Reference::new(&read)
        .unwrap()
        .score(&[&windows[0]])
        .unwrap();
    assert_eq!(reference.score(&[&windows[0]]).unwrap(), after);
    restore(&plan, &mut reference).unwrap();
    let before = reference.score(&[&windows[0]]).unwrap();
    let unchanged = Reference::new(&model).unwrap();
    assert_eq!(before, unchanged.score(&[&windows[0]]).unwrap());
    let ratio = perplexity(&after) / perplexity(&before);
    assert!((0.9..1.1).contains(&ratio), "{ratio}");

    let everywhere = options(Sparse::Everywhere(TensorType::Q4_4OF16));
    let text = Plan::new(&model, everywhere).unwrap_err().to_string();
    assert!(
        text.contains("multiple of 128") && text.contains("[64, 96]"),
        "{text}"
    );
    assert!(
        text.contains("hint: 2:4 is the nearest pattern that fits"),
        "{text}"
    );
}

/// A Hugging Face directory lacks the metadata that a GGUF file needs.
#[test]
fn directories_are_refused_with_the_way_out() {
    let shapes: [(&str, &[usize]); 11] = [
        ("model.embed_tokens.weight", &[8, 32]),
        ("model.norm.weight", &[32]),
        ("model.layers.0.input_layernorm.weight", &[32]),
        ("model.layers.0.post_attention_layernorm.weight", &[32]),
        ("model.layers.0.self_attn.q_proj.weight", &[32, 32]),
        ("model.layers.0.self_attn.k_proj.weight", &[32, 32]),
        ("model.layers.0.self_attn.v_proj.weight", &[32, 32]),
        ("model.layers.0.self_attn.o_proj.weight", &[32, 32]),
        ("model.layers.0.mlp.gate_proj.weight", &[32, 32]),
        ("model.layers.0.mlp.up_proj.weight", &[32, 32]),
        ("model.layers.0.mlp.down_proj.weight", &[32, 32]),
    ];
    let mut at = 0;
    let entries = shapes.map(|(name, shape)| {
        let start = at;
        at += 4 * shape.iter().product::<usize>();
        format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{at}]}}"#)
    });
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + at, 0);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let config = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 32,
        "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "tie_word_embeddings": true}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let model = Model::open(folder.path()).unwrap();
    let text = Plan::new(&model, Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("is not a GGUF file") && text.contains("hint: convert the model to GGUF"),
        "{text}"
    );
}
