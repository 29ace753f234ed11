//! The spilled schedule computes the same bits as the fused one, layer by layer through DRAM.

use lampyris_compiler::Schedule;
use lampyris_import::Model as Imported;
use lampyris_isa::HwConfig;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want, memory};
use lampyris_sim::traffic::{Class, TrafficMap};
use lampyris_sim::{Check, Device, Limits, Model};
use lampyris_tests::small::{CONTEXT, VOCAB, non_uniform_llama, opt, qwen2};
use lampyris_tests::{CompiledDir, compile_scheduled};
use std::sync::Arc;

fn tokens(count: u32) -> Vec<u32> {
    (0..count)
        .map(|i| (i * i * 5 + 11 * i + 3) % VOCAB as u32)
        .collect()
}

fn compiled(model: &Imported, config: HwConfig, schedule: Schedule) -> CompiledDir {
    compile_scheduled(model, config, CONTEXT.min(64), schedule)
}

/// A prompt and single tokens; the bits of the logits after each, and the calls.
fn run(
    compiled: &CompiledDir,
    device: &mut dyn Device,
    (prompt, single): (usize, usize),
) -> (Vec<Vec<u32>>, Vec<Call>) {
    let mut session = Session::new(&compiled.bundle, device, Limits::default()).unwrap();
    let tokens = tokens((prompt + single) as u32);
    let bits = |session: &Session<'_>| {
        let logits = session.logits().unwrap();
        logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let mut calls = session.feed(&tokens[..prompt], Want::Logits).unwrap();
    let mut all = vec![bits(&session)];
    for &token in &tokens[prompt..] {
        calls.extend(session.feed(&[token], Want::Logits).unwrap());
        all.push(bits(&session));
    }
    (all, calls)
}

fn models() -> Vec<(&'static str, Imported)> {
    let tiny = lampyris_import::open("tiny").expect("the embedded model");
    vec![
        ("non-uniform llama", non_uniform_llama()),
        ("qwen2", qwen2()),
        ("opt", opt()),
        ("tiny", tiny),
    ]
}

fn on_model(compiled: &CompiledDir, tokens: (usize, usize)) -> (Vec<Vec<u32>>, Vec<Option<u32>>) {
    let image = memory(&compiled.bundle).unwrap();
    let mut device = Model::new(compiled.bundle.config, image).unwrap();
    device.set_check(Check::Races);
    let (bits, calls) = run(compiled, &mut device, tokens);
    (bits, calls.into_iter().map(|call| call.next).collect())
}

#[test]
fn both_schedules_give_the_same_bits_on_every_configuration() {
    for (name, model) in models() {
        for (config_name, config) in HwConfig::NAMED {
            let [fused, spilled] = [Schedule::Fused, Schedule::Spilled]
                .map(|schedule| on_model(&compiled(&model, config, schedule), (21, 14)));
            assert!(fused == spilled, "{name}, {config_name}");
        }
    }
}

#[test]
fn spilled_programs_run_in_lockstep_and_their_activations_are_counted() {
    let config = HwConfig::SMALL;
    let features = Features {
        assertions: true,
        ..Features::default()
    };
    let design = build(&default_rtl_root(), &config, features).unwrap();
    for (seed, (name, model)) in models().into_iter().enumerate() {
        let dir = compiled(&model, config, Schedule::Spilled);
        let options = RtlOptions {
            timing: AxiTiming::random(seed as u64),
            monitor: Some(Arc::new(TrafficMap::new(&dir.bundle))),
            ..RtlOptions::default()
        };
        let image = memory(&dir.bundle).unwrap();
        let rtl = RtlDevice::new(&design, config, image.clone(), &options).unwrap();
        let reference = Model::new(config, image).unwrap();
        let mut both = Lockstep::new(reference, rtl).unwrap();
        let (bits, calls) = run(&dir, &mut both, (5, 2));
        assert_eq!(bits, on_model(&dir, (5, 2)).0, "{name}");
        let layers = u64::from(dir.bundle.manifest.model.layers);
        for call in calls {
            let traffic = call.traffic.unwrap();
            let spilled = traffic.of(Class::Activations);
            // At least the residual stream of each layer goes out and comes back, twice.
            let least = 2 * 4 * layers * model.spec().d_model as u64;
            assert!(
                spilled.read >= least && spilled.written >= least,
                "{name}: {spilled:?}"
            );
            assert_eq!(traffic.of(Class::Unclassified).total(), 0, "{name}");
        }
    }
}
