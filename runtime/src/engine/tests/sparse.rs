//! Packed ReLU models in sparse mode.

use super::*;
use crate::sparse::{Activity, SparseError, SparseOptions};
use lampyris_flash::TensorType;
use lampyris_pack as pack;

/// The model, and the file packed from it.
fn packed(ty: TensorType) -> (TestModel, PathBuf) {
    let model = decoder("relu-llama", ty, true);
    let path = model.path.with_extension("lampack");
    let plan = pack::Plan::new(&model.path, &pack::Options::default()).unwrap();
    plan.write(&path, &mut |_, _| ()).unwrap();
    (model, path)
}

fn sparse(change: impl FnOnce(&mut SparseOptions)) -> Options {
    let mut sparse = SparseOptions::default();
    change(&mut sparse);
    Options {
        sparse: Some(sparse),
        ..options()
    }
}

#[test]
fn sparse_mode_computes_what_dense_mode_does() {
    let (model, path) = packed(TensorType::F32);
    let text = tokens(40, 5);
    let dense = logits(&mut Engine::open(&model.path, options()).unwrap(), &text);
    let found = logits(&mut Engine::open(&path, sparse(|_| ())).unwrap(), &text);
    for (a, b) in found.iter().zip(&dense) {
        let b: Vec<f32> = b.iter().map(|b| f32::from_bits(*b)).collect();
        assert!(error(a, &b) < 1e-4, "{}", error(a, &b));
    }
}

#[test]
fn neither_cache_nor_batch_nor_threads_change_a_bit() {
    let (_model, path) = packed(TensorType::Q8_0);
    let text = tokens(40, 6);
    let expected = logits(&mut Engine::open(&path, sparse(|_| ())).unwrap(), &text);
    let variants = [
        sparse(|s| s.window = 0),
        sparse(|s| (s.bundle, s.chunks) = (false, false)),
        sparse(|s| s.together = 1),
        sparse(|s| s.activity = Activity::All),
    ];
    for options in variants {
        for (batch, threads) in [(1, 1), (40, 3)] {
            let options = Options {
                batch,
                threads,
                ..options.clone()
            };
            let found = logits(&mut Engine::open(&path, options).unwrap(), &text);
            assert!(found == expected, "other bits");
        }
    }
}

#[test]
fn drafts_do_not_change_sparse_tokens() {
    let (_model, path) = packed(TensorType::Q8_0);
    let generate = |draft| {
        let options = Options {
            draft,
            ..sparse(|_| ())
        };
        let mut engine = Engine::open(&path, options).unwrap();
        let mut sampler = crate::Sampler::new(crate::SamplerConfig::default()).unwrap();
        let mut made = Vec::new();
        engine
            .generate(
                Request {
                    prompt: &[3, 4, 5, 3, 4, 5, 3, 4],
                    max_tokens: 40,
                    sampler: &mut sampler,
                    stop: &|_| false,
                    cancelled: &|| false,
                },
                &mut |token| {
                    made.push(token);
                    std::ops::ControlFlow::Continue(())
                },
            )
            .unwrap();
        made
    };
    assert_eq!(generate(None), generate(Some(DraftOptions::default())));
}

#[test]
fn what_sparse_mode_cannot_run_is_refused() {
    let (model, path) = packed(TensorType::Q8_0);
    let error = Engine::open(&model.path, sparse(|_| ())).unwrap_err();
    assert!(
        matches!(error, EngineError::Sparse(SparseError::NotBundled { .. })),
        "{error}"
    );
    let little = Options {
        memory: Some(1 << 20),
        ..sparse(|_| ())
    };
    let error = Engine::open(&path, little).unwrap_err();
    assert!(matches!(error, EngineError::Budget { .. }), "{error}");
}
