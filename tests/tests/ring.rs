//! A ring cache with attention sinks: within the cache nothing changes, past it the accelerator
//! follows the engine for CPUs, whose ring is tested against the paper's own form; model and RTL
//! agree; what cannot be done is refused.

use lampyris_bundle::Bundle;
use lampyris_compiler::{KvFormat, Options, Schedule};
use lampyris_import::Model as Imported;
use lampyris_isa::HwConfig;
use lampyris_runtime::engine::{self, Engine};
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Device, Limits, Model};
use lampyris_tests::small::{opt, qwen2};
use lampyris_tests::tiny::{bits, checked_model, error, text, tiny};
use lampyris_tests::{CompiledDir, compile_with};

/// Positions of the cache: no multiple of a row group, nor of a block.
const CONTEXT: usize = 44;
/// Tokens of a text: more than four times the cache.
const LENGTH: usize = 180;

fn ring(config: HwConfig, context: usize, sinks: usize) -> Options {
    Options {
        sinks: Some(sinks),
        ..Options::new(config, context)
    }
}

fn compiled(model: &Imported, options: &Options) -> CompiledDir {
    compile_with(model, options, "{}".into())
}

/// Logits after each part of a text.
fn logits(bundle: &Bundle, device: &mut dyn Device, parts: &[&[u32]]) -> Vec<Vec<f32>> {
    let mut session = Session::new(bundle, device, Limits::default()).unwrap();
    let mut all = Vec::new();
    for part in parts {
        session.feed(part, Want::Logits).unwrap();
        all.push(session.logits().unwrap());
    }
    all
}

/// The parts of a text: `first` tokens, then one at a time.
fn parts(text: &[u32], first: usize) -> Vec<&[u32]> {
    let (prompt, rest) = text.split_at(first);
    std::iter::once(prompt).chain(rest.chunks(1)).collect()
}

#[test]
fn within_the_cache_a_ring_gives_the_same_bits() {
    for (model, sinks, kv) in [
        (tiny(), 4, KvFormat::Int8),
        (tiny(), 0, KvFormat::Int8),
        (qwen2(), 17, KvFormat::Int8),
        (tiny(), 4, KvFormat::Int4),
    ] {
        let text = text(&model, CONTEXT);
        let run = |options: &Options| {
            let dir = compiled(&model, options);
            bits(&logits(
                &dir.bundle,
                &mut checked_model(&dir.bundle),
                &parts(&text, 19),
            ))
        };
        let plain = Options::new(HwConfig::BASE, CONTEXT);
        let plain = run(&Options { kv, ..plain });
        let ring = ring(HwConfig::BASE, CONTEXT, sinks);
        let found = run(&Options { kv, ..ring });
        assert!(found == plain, "{sinks} sinks");
    }
}

#[test]
fn a_ring_gives_the_same_bits_on_several_channels() {
    let model = tiny();
    let text = text(&model, 2 * CONTEXT);
    let run = |channels| {
        let config = HwConfig {
            channels,
            ..HwConfig::WIDE
        };
        let dir = compiled(&model, &ring(config, CONTEXT, 4));
        let mut device = checked_model(&dir.bundle);
        bits(&logits(&dir.bundle, &mut device, &parts(&text, 19)))
    };
    let single = run(1);
    assert!(run(2) == single);
}

#[test]
fn a_ring_of_four_bits_errs_no_more_past_the_cache_than_within() {
    let model = tiny();
    let text = text(&model, LENGTH);
    let expected = expected(CONTEXT, 4, &text);
    let options = Options {
        kv: KvFormat::Int4,
        ..ring(HwConfig::BASE, CONTEXT, 4)
    };
    let dir = compiled(&model, &options);
    let found = logits(
        &dir.bundle,
        &mut checked_model(&dir.bundle),
        &parts(&text, 1),
    );
    let errors: Vec<f64> = found
        .iter()
        .zip(&expected)
        .map(|(f, e)| error(f, e))
        .collect();
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
    let (within, past) = (mean(&errors[..CONTEXT]), mean(&errors[CONTEXT..]));
    eprintln!("errors: {within} within the cache, {past} past it");
    assert!(
        past < 1.25 * within,
        "{within} within the cache, {past} past it"
    );
}

/// Logits of the engine for CPUs after each token.
fn expected(context: usize, sinks: usize, text: &[u32]) -> Vec<Vec<f32>> {
    let options = engine::Options {
        threads: 1,
        context,
        ring: Some(engine::Ring { sinks }),
        ..engine::Options::default()
    };
    let mut all = Vec::new();
    let mut engine = Engine::open("tiny", options).unwrap();
    engine
        .logits(text, &mut |_, row| all.push(row.to_vec()))
        .unwrap();
    all
}

#[test]
fn past_the_cache_the_accelerator_follows_the_engine_for_cpus() {
    let model = tiny();
    let text = text(&model, LENGTH);
    for (config, sinks) in [
        (HwConfig::BASE, 4),
        (HwConfig::SMALL, 16),
        (HwConfig::WIDE, 0),
        (HwConfig::BASE, 21),
    ] {
        let expected = expected(CONTEXT, sinks, &text);
        let dir = compiled(&model, &ring(config, CONTEXT, sinks));
        let mut device = checked_model(&dir.bundle);
        let found = logits(&dir.bundle, &mut device, &parts(&text, 1));
        let errors = found.iter().zip(&expected).map(|(f, e)| error(f, e));
        let (within, past): (Vec<_>, Vec<_>) = errors.enumerate().partition(|e| e.0 < CONTEXT);
        // The engine rounds activations and cache, too; the ring must add nothing to that. Sinks
        // at their true distance would: errors of 0.02 to 0.05 on average, up to 0.25.
        for errors in [within, past] {
            let mean = errors.iter().map(|e| e.1).sum::<f64>() / errors.len() as f64;
            assert!(mean < 0.01, "{sinks} sinks: {mean} on average");
            let worst = errors.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            assert!(
                worst.1 < 0.04,
                "{sinks} sinks: position and error {worst:?}"
            );
        }
    }
}

#[test]
fn calls_of_any_size_and_both_schedules_give_the_same_bits() {
    let model = tiny();
    let text = text(&model, LENGTH);
    let cuts = [1, 30, 43, 59, 60, 91, 130, 131, LENGTH];
    let options = ring(HwConfig::BASE, CONTEXT, 4);
    let dir = compiled(&model, &options);
    let single = logits(
        &dir.bundle,
        &mut checked_model(&dir.bundle),
        &parts(&text, 1),
    );
    let single: Vec<_> = cuts.iter().map(|cut| single[cut - 1].clone()).collect();
    let starts = std::iter::once(0).chain(cuts);
    let chunks: Vec<&[u32]> = starts.zip(cuts).map(|(from, to)| &text[from..to]).collect();
    let found = logits(&dir.bundle, &mut checked_model(&dir.bundle), &chunks);
    assert!(bits(&found) == bits(&single), "calls of several tokens");
    let options = Options {
        schedule: Schedule::Spilled,
        ..options
    };
    let spilled = compiled(&model, &options);
    let found = logits(
        &spilled.bundle,
        &mut checked_model(&spilled.bundle),
        &chunks,
    );
    assert!(bits(&found) == bits(&single), "layer by layer");
}

#[test]
fn three_times_around_the_ring_in_lockstep() {
    let model = tiny();
    let config = HwConfig::SMALL;
    let (context, sinks) = (24, 4);
    let dir = compiled(&model, &ring(config, context, sinks));
    let features = Features {
        assertions: true,
        ..Features::default()
    };
    let design = build(&default_rtl_root(), &config, features).unwrap();
    let options = RtlOptions {
        timing: AxiTiming::random(3),
        ..RtlOptions::default()
    };
    let image = memory(&dir.bundle).unwrap();
    let rtl = RtlDevice::new(&design, config, image.clone(), &options).unwrap();
    let mut both = Lockstep::new(Model::new(config, image).unwrap(), rtl).unwrap();
    let mut session = Session::new(&dir.bundle, &mut both, Limits::default()).unwrap();
    let mut input = text(&model, 7);
    while session.position() < 3 * context {
        // Calls of several tokens, too, before, at and past the end of the cache.
        let calls = session.feed(&input, Want::Token).unwrap();
        let next = calls.last().unwrap().next.unwrap();
        input = vec![next; 1 + session.position() % 4];
    }
}

#[test]
fn angles_stay_right_up_to_the_last_position() {
    let model = tiny();
    let options = ring(HwConfig::BASE, CONTEXT, 4);
    let rope = lampyris_compiler::plan(&model, &options)
        .unwrap()
        .buffers
        .rope;
    let dir = compiled(&model, &options);
    let bundle = &dir.bundle;
    let last = bundle.manifest.ring.unwrap().positions as usize - 1;
    assert!(last > 4_000_000);
    for position in [2047, 2048, 100_000, 1_234_567, last] {
        let mut device = checked_model(bundle);
        let mut session =
            Session::resume(bundle, &mut device, Limits::default(), position).unwrap();
        session.feed(&[1], Want::Nothing).unwrap();
        let angles = model.spec().rope().unwrap().cos_sin(position);
        for (i, (cos, sin)) in angles.into_iter().enumerate() {
            let at = rope.at as usize + 2 * i;
            let found = |at: usize| f32::from_bits(device.vmem()[at]);
            let sines = at + model.spec().layers[0].head_dim_k;
            for (found, expected) in [
                (found(at), cos),
                (found(at + 1), cos),
                (found(sines), -sin),
                (found(sines + 1), sin),
            ] {
                let off = (found - expected).abs();
                assert!(off < 3e-7, "position {position}, pair {i}: off by {off}");
            }
        }
    }
    let mut device = checked_model(bundle);
    let mut session = Session::resume(bundle, &mut device, Limits::default(), last).unwrap();
    session.feed(&[1], Want::Token).unwrap();
    let error = session.feed(&[1], Want::Token).unwrap_err().to_string();
    assert!(
        error.contains("angles for 4194304") && error.contains("hint: begin a new"),
        "{error}"
    );
}

#[test]
fn a_ring_is_rewound_only_as_far_as_it_remembers() {
    let model = tiny();
    let dir = compiled(&model, &ring(HwConfig::BASE, CONTEXT, 4));
    let mut device = checked_model(&dir.bundle);
    let mut session = Session::new(&dir.bundle, &mut device, Limits::default()).unwrap();
    let text = text(&model, CONTEXT + 6);
    session.feed(&text[..CONTEXT], Want::Nothing).unwrap();
    assert_eq!(session.rewind(10), 10);
    session.feed(&text[10..], Want::Logits).unwrap();
    let expected = session.logits().unwrap();
    assert_eq!(session.rewind(CONTEXT + 5), CONTEXT + 5);
    session.feed(&text[CONTEXT + 5..], Want::Logits).unwrap();
    assert_eq!(session.logits().unwrap(), expected);
    assert_eq!(session.rewind(CONTEXT), 0);
}

#[test]
fn what_cannot_be_a_ring_is_refused() {
    let refused = |model: &Imported, context, sinks| {
        let options = ring(HwConfig::BASE, context, sinks);
        let error = lampyris_compiler::plan(model, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains("\nhint: "), "{error}");
        error
    };
    let error = refused(&opt(), 64, 4);
    assert!(error.contains("learned positions"), "{error}");
    let error = refused(&tiny(), 64, 64);
    assert!(error.contains("64 sinks leave no room"), "{error}");
    let error = refused(&tiny(), 64, 60);
    assert!(error.contains("4 positions behind the sinks"), "{error}");
    // Without a ring the cache ends, and the error says what would not.
    let dir = compiled(&tiny(), &Options::new(HwConfig::BASE, 16));
    let mut device = checked_model(&dir.bundle);
    let mut session = Session::new(&dir.bundle, &mut device, Limits::default()).unwrap();
    let error = session.feed(&[1; 17], Want::Token).unwrap_err().to_string();
    assert!(error.contains("--ring"), "{error}");
}
