//! Attention sinks against the plain form of the paper.

use lampyris_flash::TensorType;
use lampyris_import::Model;
use lampyris_import::source::{Role, TensorRef};

use super::*;

/// A Llama in f32 that keeps keys before RoPE and numbers positions within the cache, as the
/// paper does. Returns the logits after every token.
fn streaming_llm(model: &Model, tokens: &[u32], sinks: usize, cache: usize) -> Vec<Vec<f32>> {
    let spec = model.spec();
    let rope = spec.rope().unwrap();
    let d = spec.d_model;
    let find = |role: Role, layer: Option<usize>| -> Vec<f32> {
        let prefix = layer.map(|i| format!("blk.{i}.")).unwrap_or_default();
        let name = format!("{prefix}{}.weight", role.name());
        let tensors: Vec<&TensorRef> = model.tensors();
        let tensor = tensors.into_iter().find(|t| t.name == name).unwrap();
        model.tensor_f32(tensor).unwrap()
    };
    let multiply = |w: &[f32], x: &[f32]| -> Vec<f32> {
        w.chunks(x.len())
            .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
            .collect()
    };
    let norm = |x: &[f32]| -> Vec<f32> {
        let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
        x.iter()
            .map(|v| v / (mean + spec.norm.eps).sqrt())
            .collect()
    };
    let rotate = |x: &[f32], position: usize| -> Vec<f32> {
        let angles = rope.cos_sin(position);
        x.chunks(2)
            .zip(&angles)
            .flat_map(|(p, (c, s))| [p[0] * c - p[1] * s, p[0] * s + p[1] * c])
            .collect()
    };
    let weights: Vec<Vec<Vec<f32>>> = (0..spec.layers.len())
        .map(|i| {
            [
                Role::AttnQ,
                Role::AttnK,
                Role::AttnV,
                Role::AttnOutput,
                Role::FfnGate,
                Role::FfnUp,
                Role::FfnDown,
            ]
            .map(|role| find(role, Some(i)))
            .to_vec()
        })
        .collect();
    let (embedding, head) = (find(Role::TokenEmbd, None), find(Role::Output, None));
    let mut caches: Vec<Vec<(Vec<f32>, Vec<f32>)>> = vec![Vec::new(); spec.layers.len()];
    let mut all = Vec::new();
    for &token in tokens {
        let mut x = embedding[token as usize * d..][..d].to_vec();
        for ((layer, w), cache_of) in spec.layers.iter().zip(&weights).zip(&mut caches) {
            let h = norm(&x);
            let (q, k, v) = (
                multiply(&w[0], &h),
                multiply(&w[1], &h),
                multiply(&w[2], &h),
            );
            cache_of.push((k, v));
            if cache_of.len() > cache {
                cache_of.remove(sinks);
            }
            let here = cache_of.len() - 1;
            let dim = layer.head_dim_k;
            let mut attention = Vec::new();
            for (n, q) in q.chunks(dim).enumerate() {
                let kv = n / (layer.n_heads / layer.n_kv_heads) * dim;
                let q = rotate(q, here);
                let scores: Vec<f32> = cache_of
                    .iter()
                    .enumerate()
                    .map(|(i, (k, _))| {
                        let k = rotate(&k[kv..kv + dim], i);
                        let dot: f32 = q.iter().zip(&k).map(|(a, b)| a * b).sum();
                        dot / (dim as f32).sqrt()
                    })
                    .collect();
                let max = scores.iter().copied().fold(f32::MIN, f32::max);
                let sum: f32 = scores.iter().map(|s| (s - max).exp()).sum();
                for j in 0..dim {
                    let values = cache_of.iter().zip(&scores);
                    attention.push(
                        values
                            .map(|((_, v), s)| (s - max).exp() / sum * v[kv + j])
                            .sum(),
                    );
                }
            }
            let delta = multiply(&w[3], &attention);
            x.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
            let h = norm(&x);
            let gate = multiply(&w[4], &h)
                .into_iter()
                .map(|g| g / (1.0 + (-g).exp()));
            let up = multiply(&w[5], &h);
            let inner: Vec<f32> = gate.zip(up).map(|(g, u)| g * u).collect();
            let delta = multiply(&w[6], &inner);
            x.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
        }
        all.push(multiply(&head, &norm(&x)));
    }
    all
}

fn with_ring(context: usize, sinks: usize) -> impl FnOnce(&mut Options) {
    move |o| {
        o.context = context;
        o.ring = Some(Ring { sinks });
    }
}

#[test]
fn a_text_longer_than_the_ring_matches_the_paper() {
    let path = llama(TensorType::F32, false);
    let model = Model::open(&path.path).unwrap();
    let tokens = tokens(150, 9);
    for (context, sinks) in [(24, 4), (17, 1), (20, 0)] {
        let expected = streaming_llm(&model, &tokens, sinks, context);
        let mut engine = streaming(&path, 60, with_ring(context, sinks));
        let found = logits(&mut engine, &tokens);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = error(found, expected);
            assert!(off <= 8e-3, "{context}/{sinks}, position {i}: off by {off}");
        }
    }
}

#[test]
fn a_ring_changes_no_bit_with_the_batch() {
    let model = llama(TensorType::Q8_0, false);
    let tokens = tokens(120, 10);
    let mut engine = streaming(&model, 100, with_ring(24, 4));
    let expected = logits(&mut engine, &tokens);
    for batch in [1, 5, 16] {
        let mut other = streaming(&model, 50, |o| {
            with_ring(24, 4)(o);
            o.batch = batch;
        });
        assert!(logits(&mut other, &tokens) == expected, "batch {batch}");
    }
}

#[test]
fn a_ring_can_be_rewound_as_far_as_it_remembers() {
    let model = llama(TensorType::Q8_0, false);
    let all = tokens(60, 11);
    let mut engine = streaming(&model, 100, with_ring(24, 4));
    let expected = logits(&mut engine, &all);
    // A few tokens back is within the slack; far back is not, and starts again.
    for (kept, reused) in [(58, 58), (30, 0), (10, 0)] {
        assert_eq!(engine.rewind(&all[..kept + 1]), reused, "{kept}");
        let rest = logits(&mut engine, &all[reused..]);
        assert!(rest == expected[reused..]);
    }
}

#[test]
fn an_answer_goes_on_past_the_context_and_drafts_do_not_change_it() {
    let model = llama(TensorType::Q8_0, false);
    let prompt = tokens(5, 12).repeat(3);
    let answer = |engine: &mut Engine| {
        let mut sampler = crate::Sampler::new(crate::SamplerConfig::default()).unwrap();
        let mut made = Vec::new();
        let request = Request {
            prompt: &prompt,
            max_tokens: 80,
            sampler: &mut sampler,
            stop: &|_| false,
            cancelled: &|| false,
        };
        let outcome = engine.generate(request, &mut |t| {
            made.push(t);
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(outcome.unwrap().finish, FinishReason::Length);
        made
    };
    let mut engine = streaming(&model, 50, with_ring(24, 4));
    let made = answer(&mut engine);
    assert_eq!(made.len(), 80);
    let mut drafting = streaming(&model, 100, |o| {
        with_ring(24, 4)(o);
        o.draft = Some(DraftOptions {
            min_ngram: 1,
            ..DraftOptions::default()
        });
    });
    assert_eq!(answer(&mut drafting), made);
    // Each token is the best one after what came before.
    let mut plain = streaming(&model, 100, with_ring(24, 4));
    let all = [&prompt[..], &made].concat();
    let best: Vec<u32> = logits(&mut plain, &all)
        .iter()
        .map(|row| {
            let row: Vec<f32> = row.iter().map(|b| f32::from_bits(*b)).collect();
            crate::argmax(&row).unwrap() as u32
        })
        .collect();
    assert_eq!(made, best[prompt.len() - 1..all.len() - 1]);
}

#[test]
fn learned_positions_are_refused() {
    // Judged by the description alone, which tests of the planner make without a file.
    let model = llama(TensorType::F32, false);
    let mut index = lampyris_pack::ModelIndex::open(&model.path).unwrap();
    index.spec.positions = lampyris_import::arch::Positions::Learned { offset: 2 };
    let options = Options {
        ring: Some(Ring::default()),
        ..options()
    };
    let error = Engine::plan_for(&index, &options).unwrap_err().to_string();
    assert!(
        error.contains("learned positions") && error.contains("hint: "),
        "{error}"
    );
}
