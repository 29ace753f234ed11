//! Attention sinks against the plain form of the paper.

use lampyris_flash::TensorType;
use lampyris_import::Model;
use lampyris_import::source::{Role, TensorRef};

use super::*;

/// Keys before RoPE and values of the remembered positions.
type Remembered = Vec<(Vec<f32>, Vec<f32>)>;

/// A Llama in f32 that keeps keys before RoPE and numbers positions within the cache, as the
/// paper does.
struct Paper<'m> {
    model: &'m Model,
    sinks: usize,
    cache: usize,
}

const LAYER: [Role; 7] = [
    Role::AttnQ,
    Role::AttnK,
    Role::AttnV,
    Role::AttnOutput,
    Role::FfnGate,
    Role::FfnUp,
    Role::FfnDown,
];

fn multiply(w: &[f32], x: &[f32]) -> Vec<f32> {
    w.chunks(x.len())
        .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
        .collect()
}

fn add(x: &mut [f32], delta: &[f32]) {
    x.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
}

impl Paper<'_> {
    fn weights(&self, role: Role, layer: Option<usize>) -> Vec<f32> {
        let prefix = layer.map(|i| format!("blk.{i}.")).unwrap_or_default();
        let name = format!("{prefix}{}.weight", role.name());
        let tensors: Vec<&TensorRef> = self.model.tensors();
        let tensor = tensors.into_iter().find(|t| t.name == name).unwrap();
        self.model.tensor_f32(tensor).unwrap()
    }

    fn norm(&self, x: &[f32]) -> Vec<f32> {
        let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
        let scale = (mean + self.model.spec().norm.eps).sqrt();
        x.iter().map(|v| v / scale).collect()
    }

    fn rotate(&self, x: &[f32], position: usize) -> Vec<f32> {
        let angles = self.model.spec().rope().unwrap().cos_sin(position);
        x.chunks(2)
            .zip(&angles)
            .flat_map(|(p, (c, s))| [p[0] * c - p[1] * s, p[0] * s + p[1] * c])
            .collect()
    }

    /// Attention of the newest position, which is in the cache already.
    fn attend(&self, q: &[f32], seen: &Remembered) -> Vec<f32> {
        let layer = &self.model.spec().layers[0];
        let dim = layer.head_dim_k;
        let mut out = Vec::new();
        for (n, q) in q.chunks(dim).enumerate() {
            let kv = n / (layer.n_heads / layer.n_kv_heads) * dim;
            let q = self.rotate(q, seen.len() - 1);
            let score = |(i, (k, _)): (usize, &(Vec<f32>, Vec<f32>))| -> f32 {
                let k = self.rotate(&k[kv..kv + dim], i);
                let dot: f32 = q.iter().zip(&k).map(|(a, b)| a * b).sum();
                dot / (dim as f32).sqrt()
            };
            let scores: Vec<f32> = seen.iter().enumerate().map(score).collect();
            let max = scores.iter().copied().fold(f32::MIN, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f32 = weights.iter().sum();
            for j in 0..dim {
                let values = seen.iter().zip(&weights);
                out.push(values.map(|((_, v), w)| w / sum * v[kv + j]).sum());
            }
        }
        out
    }

    /// The logits after every token.
    fn logits(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let layers = self.model.spec().layers.len();
        let weights: Vec<_> = (0..layers)
            .map(|i| LAYER.map(|role| self.weights(role, Some(i))))
            .collect();
        let embedding = self.weights(Role::TokenEmbd, None);
        let head = self.weights(Role::Output, None);
        let mut caches: Vec<Remembered> = vec![Vec::new(); layers];
        let mut all = Vec::new();
        for &token in tokens {
            let mut x = embedding[token as usize * WIDTH..][..WIDTH].to_vec();
            for ([q, k, v, o, gate, up, down], seen) in weights.iter().zip(&mut caches) {
                let h = self.norm(&x);
                seen.push((multiply(k, &h), multiply(v, &h)));
                if seen.len() > self.cache {
                    seen.remove(self.sinks);
                }
                add(&mut x, &multiply(o, &self.attend(&multiply(q, &h), seen)));
                let h = self.norm(&x);
                let gate = multiply(gate, &h)
                    .into_iter()
                    .map(|g| g / (1.0 + (-g).exp()));
                let inner: Vec<f32> = gate.zip(multiply(up, &h)).map(|(g, u)| g * u).collect();
                add(&mut x, &multiply(down, &inner));
            }
            all.push(multiply(&head, &self.norm(&x)));
        }
        all
    }
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
        let paper = Paper {
            model: &model,
            sinks,
            cache: context,
        };
        let expected = paper.logits(&tokens);
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
