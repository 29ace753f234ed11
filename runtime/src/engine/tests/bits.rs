//! What never changes a bit of the logits, and how far they are from the reference.

use lampyris_import::Model;
use lampyris_io::EngineKind;
use lampyris_kernels::KvType;

use super::*;
use crate::Reference;

/// Activations are rounded to 8 bits before each product with blocks, keys and values to 16 or 8
/// bits; see [`error`].
fn check_against_reference(ty: TensorType, kv: KvType, tolerance: f32) {
    let model = llama(ty, false);
    let tokens = tokens(40, 1);
    let mut engine = Engine::open(&model.path, Options { kv, ..options() }).unwrap();
    let found = logits(&mut engine, &tokens);
    let model = Model::open(&model.path).unwrap();
    let reference = Reference::new(&model).unwrap();
    let mut session = reference.session();
    session
        .evaluate(&tokens, |i, expected| {
            let off = error(&found[i], expected);
            assert!(off <= tolerance, "{ty} {kv:?}, position {i}: off by {off}");
        })
        .unwrap();
}

#[test]
fn float_weights_agree_with_the_reference_up_to_the_cache() {
    check_against_reference(TensorType::F32, KvType::F16, 8e-3);
    check_against_reference(TensorType::F32, KvType::Q8, 4e-2);
}

#[test]
fn block_weights_agree_with_the_reference_within_8_bit_activations() {
    check_against_reference(TensorType::Q8_0, KvType::F16, 1e-1);
    check_against_reference(TensorType::Q4_0, KvType::F16, 1e-1);
}

#[test]
fn batches_threads_budgets_and_engines_do_not_change_a_bit() {
    for (ty, tied) in [(TensorType::Q8_0, true), (TensorType::Q4_0, false)] {
        let model = llama(ty, tied);
        let tokens = tokens(50, 2);
        let mut plain = Engine::open(&model.path, options()).unwrap();
        let expected = logits(&mut plain, &tokens);
        let check = |what: &str, mut engine: Engine| {
            assert!(logits(&mut engine, &tokens) == expected, "{what}");
        };
        for batch in [1, 3, 7] {
            let options = Options { batch, ..options() };
            check("batch", Engine::open(&model.path, options).unwrap());
        }
        let options = Options {
            threads: 3,
            ..options()
        };
        check("threads", Engine::open(&model.path, options).unwrap());
        for percent in [0, 40, 90] {
            check("budget", streaming(&model, percent, |_| ()));
        }
        for io in [
            EngineKind::Buffered,
            EngineKind::Pread { threads: 3 },
            EngineKind::Mmap,
        ] {
            check("engine", streaming(&model, 30, |o| o.io = io));
        }
    }
}

#[test]
fn one_token_at_a_time_equals_all_at_once() {
    let model = llama(TensorType::Q8_0, false);
    let tokens = tokens(30, 3);
    let mut engine = streaming(&model, 50, |_| ());
    let expected = logits(&mut engine, &tokens);
    engine.reset();
    let found: Vec<_> = tokens
        .iter()
        .flat_map(|&token| logits(&mut engine, &[token]))
        .collect();
    assert!(found == expected);
    assert_eq!(engine.position(), tokens.len());
}

#[test]
fn what_streams_is_read_once_per_sweep() {
    let model = llama(TensorType::Q8_0, true);
    let mut engine = streaming(&model, 0, |o| o.batch = 8);
    let planned = engine.plan().read_bytes_per_token;
    assert!(planned > 0);
    logits(&mut engine, &tokens(4, 4));
    let before = engine.stats();
    logits(&mut engine, &tokens(4, 5));
    let read = engine.stats().since(&before).bytes_read;
    // Rows of the embedding come on top, and what was read ahead may be of the sweep before.
    assert!(read >= planned / 2, "{read} of {planned}");
    assert!(read <= planned * 2, "{read} of {planned}");
    assert_eq!(engine.stats().sweeps, before.sweeps + 1);
}
