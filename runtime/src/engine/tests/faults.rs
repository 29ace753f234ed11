//! Storage that fails, and budgets that do not suffice.

use lampyris_io::EngineKind;
use lampyris_io::sim::{Event, Faults, SimDevice, SimHandle, SimOptions};
use lampyris_pack::ModelIndex;

use super::*;

/// An engine on a simulated device; `percent` of the weights are resident.
fn simulated(model: &TestModel, percent: u64, sim: SimOptions) -> (Engine, SimHandle) {
    let index = ModelIndex::open(&model.path).unwrap();
    let device = SimDevice::open(&index.files, READ_DEPTH, sim).unwrap();
    let handle = device.handle();
    let options = Options {
        resident: Some(swept(&index) * percent / 100),
        request: 4096,
        ..options()
    };
    let engine = Engine::with_storage(index, options, Box::new(device)).unwrap();
    (engine, handle)
}

fn expected(model: &TestModel, tokens: &[u32]) -> Vec<Vec<u32>> {
    logits(&mut Engine::open(&model.path, options()).unwrap(), tokens)
}

fn error(engine: &mut Engine, tokens: &[u32]) -> String {
    let error = engine.logits(tokens, &mut |_, _| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("hint: "), "{text}");
    text
}

#[test]
fn short_interrupted_and_slow_reads_change_nothing() {
    let model = llama(TensorType::Q8_0, true);
    let tokens = tokens(30, 1);
    let mut sim = SimOptions {
        faults: Faults {
            short: 0.3,
            interrupted: 0.2,
            busy: 0.1,
            ..Faults::default()
        },
        ..SimOptions::default()
    };
    sim.events.push((500, Event::Slow { factor: 1000 }));
    let (mut engine, _) = simulated(&model, 30, sim);
    assert!(logits(&mut engine, &tokens) == expected(&model, &tokens));
}

#[test]
fn a_failed_read_is_an_error_and_the_engine_goes_on_afterwards() {
    let model = llama(TensorType::Q8_0, true);
    let tokens = tokens(30, 1);
    let expected = expected(&model, &tokens);
    let (mut engine, handle) = simulated(&model, 30, SimOptions::default());
    assert!(logits(&mut engine, &tokens[..10]) == expected[..10]);
    for _ in 0..5 {
        handle.set_faults(Faults {
            error: 0.3,
            ..Faults::default()
        });
        let text = error(&mut engine, &tokens[10..]);
        assert!(
            text.contains("model.gguf") && text.contains("byte"),
            "{text}"
        );
        handle.set_faults(Faults::default());
        assert_eq!(engine.position() % 8, 2, "whole batches only");
        let at = engine.position();
        assert!(logits(&mut engine, &tokens[at..]) == expected[at..]);
        engine.reset();
        assert!(logits(&mut engine, &tokens[..10]) == expected[..10]);
    }
}

#[test]
fn a_flipped_bit_is_found_when_its_bytes_are_read_again() {
    let model = llama(TensorType::Q8_0, true);
    let (mut engine, handle) = simulated(&model, 0, SimOptions::default());
    logits(&mut engine, &tokens(9, 1));
    let index = ModelIndex::open(&model.path).unwrap();
    let lampyris_pack::Ffn::Dense { up, .. } = &index.layers[1].ffn else {
        panic!("dense");
    };
    handle.apply(Event::Flip {
        file: 0,
        offset: up.weight.offset + 1000,
        bit: 3,
    });
    // Where computing is the limit not every read is compared.
    let mut outcomes = (0..8).map(|_| engine.logits(&tokens(2, 2), &mut |_, _| ()));
    let error = outcomes.find_map(Result::err).expect("the flip is found");
    let text = error.to_string();
    assert!(text.contains("changed between two reads"), "{text}");
    assert!(text.contains("blk.1."), "{text}");
}

#[test]
fn a_truncated_or_changed_file_is_an_error() {
    let model = llama(TensorType::Q8_0, true);
    for event in [
        Event::Truncate { file: 0, len: 9000 },
        Event::Touch { file: 0 },
    ] {
        let (mut engine, handle) = simulated(&model, 20, SimOptions::default());
        logits(&mut engine, &tokens(9, 1));
        handle.apply(event);
        error(&mut engine, &tokens(9, 2));
        // And again, without a hang.
        error(&mut engine, &tokens(9, 2));
    }
    // A real file.
    let mut engine = streaming(&model, 20, |o| o.io = EngineKind::Auto);
    logits(&mut engine, &tokens(9, 1));
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&model.path)
        .unwrap();
    file.set_len(9000).unwrap();
    error(&mut engine, &tokens(9, 2));
}

#[test]
fn loading_reports_what_storage_says() {
    let model = llama(TensorType::Q8_0, true);
    let index = ModelIndex::open(&model.path).unwrap();
    let mut sim = SimOptions::default();
    sim.faults.error = 1.0;
    let device = SimDevice::open(&index.files, READ_DEPTH, sim).unwrap();
    let error = Engine::with_storage(index, options(), Box::new(device)).unwrap_err();
    assert!(matches!(error, EngineError::Storage(_)), "{error}");
}

#[test]
fn a_budget_too_small_names_the_minimum_which_works() {
    let model = llama(TensorType::Q8_0, true);
    let index = ModelIndex::open(&model.path).unwrap();
    let with = |memory| Options {
        memory: Some(memory),
        ..options()
    };
    let error = Engine::plan_for(&index, &with(1 << 20)).unwrap_err();
    let EngineError::Budget(shortage) = error else {
        panic!("{error}");
    };
    // Other tests of this process allocate meanwhile.
    let roomy = shortage.minimum_bytes * 2 + (512 << 20);
    let plan = Engine::plan_for(&index, &with(roomy)).unwrap();
    assert!(plan.total() <= roomy && plan.minimum <= roomy);
    assert_eq!(plan.budget, Some(roomy));
    assert!(plan.to_string().contains("forecast"));
}
