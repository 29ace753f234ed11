//! Compiled random decoders of each architecture on the functional model, with race checks,
//! against the f32 reference executor; and on the RTL in lockstep.

use lampyris_bundle::Bundle;
use lampyris_import::Model as Imported;
use lampyris_isa::HwConfig;
use lampyris_runtime::Reference;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Check, Device, Limits, Model};
use lampyris_tests::compile_without_text;
use lampyris_tests::small::{CONTEXT, VOCAB, non_uniform_llama, opt, qwen2};

/// 40 tokens in chunks of the prefill size, then 10 alone: crosses a value block and row groups.
fn tokens() -> Vec<u32> {
    (0..50u32)
        .map(|i| (i * i * 5 + 11 * i + 3) % VOCAB as u32)
        .collect()
}

/// Runs the tokens; logits after the prompt and after each single token.
fn run(bundle: &Bundle, device: &mut dyn Device) -> Vec<Vec<f32>> {
    let mut session = Session::new(bundle, device, Limits::default()).unwrap();
    let tokens = tokens();
    session.feed(&tokens[..40], Want::Logits).unwrap();
    let mut all = vec![session.logits().unwrap()];
    for &token in &tokens[40..] {
        session.feed(&[token], Want::Logits).unwrap();
        all.push(session.logits().unwrap());
    }
    all
}

fn check(name: &str, model: &Imported) {
    let reference = Reference::new(model).unwrap();
    let mut expected = Vec::new();
    let keep = |i: usize, logits: &[f32]| {
        if i >= 39 {
            expected.push(logits.to_vec())
        }
    };
    reference.session().evaluate(&tokens(), keep).unwrap();
    for (config_name, config) in HwConfig::NAMED {
        let compiled = compile_without_text(model, config, CONTEXT);
        let bundle = &compiled.bundle;
        let mut device = Model::new(config, memory(bundle).unwrap()).unwrap();
        device.set_check(Check::Races);
        let found = run(bundle, &mut device);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let power: f32 = expected.iter().map(|v| v * v).sum();
            let error: f32 = found
                .iter()
                .zip(expected)
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            let relative = (error / power).sqrt();
            assert!(
                relative < 0.04,
                "{name}, {config_name}, step {i}: relative error {relative}"
            );
        }
    }
}

#[test]
fn layers_of_different_shape_follow_the_reference() {
    check("non-uniform llama", &non_uniform_llama());
}

#[test]
fn qwen2_with_biases_follows_the_reference() {
    check("qwen2", &qwen2());
}

#[test]
fn opt_with_layer_norm_and_learned_positions_follows_the_reference() {
    check("opt", &opt());
}

#[test]
fn every_architecture_runs_in_lockstep() {
    let design = build(
        &default_rtl_root(),
        &HwConfig::SMALL,
        Features {
            assertions: true,
            ..Features::default()
        },
    )
    .unwrap();
    for (seed, model) in [non_uniform_llama(), qwen2(), opt()].iter().enumerate() {
        let compiled = compile_without_text(model, HwConfig::SMALL, CONTEXT);
        let bundle = &compiled.bundle;
        let options = RtlOptions {
            events: true,
            timing: AxiTiming::random(seed as u64),
            ..RtlOptions::default()
        };
        let rtl =
            RtlDevice::new(&design, HwConfig::SMALL, memory(bundle).unwrap(), &options).unwrap();
        let reference = Model::new(HwConfig::SMALL, memory(bundle).unwrap()).unwrap();
        let mut both = Lockstep::new(reference, rtl).unwrap();
        run(bundle, &mut both);
    }
}
