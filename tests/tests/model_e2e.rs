//! Compiled models on the functional model, against the f32 reference executor.

use lampyris_import::Model as ImportedModel;
use lampyris_isa::HwConfig;
use lampyris_runtime::Reference;
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Check, Limits, Model};
use lampyris_tests::compile;

/// Root-mean-square difference and spread of two logit vectors.
fn compare(a: &[f32], b: &[f32]) -> (f64, f64) {
    let mean = b.iter().map(|&v| f64::from(v)).sum::<f64>() / b.len() as f64;
    let spread = b
        .iter()
        .map(|&v| (f64::from(v) - mean).powi(2))
        .sum::<f64>()
        / b.len() as f64;
    let error = a
        .iter()
        .zip(b)
        .map(|(&x, &y)| f64::from(x - y).powi(2))
        .sum::<f64>()
        / b.len() as f64;
    (error.sqrt(), spread.sqrt())
}

fn check_against_reference(
    model: &ImportedModel,
    config: HwConfig,
    tokens: &[u32],
    context: usize,
) {
    let compiled = compile(model, config, context);
    let mut device = Model::new(config, memory(&compiled.bundle).unwrap()).unwrap();
    device.set_check(Check::Races);
    let mut session = Session::new(&compiled.bundle, &mut device, Limits::default()).unwrap();
    let reference = Reference::new(model).unwrap();
    let mut arbiter = reference.session();
    // A prompt in chunks of the prefill size, then single tokens.
    let (prompt, rest) = tokens.split_at(tokens.len() * 2 / 3);
    let mut expected = Vec::new();
    for &token in prompt {
        expected = arbiter.step(token).unwrap();
    }
    session.feed(prompt, Want::Logits).unwrap();
    let (error, spread) = compare(&session.logits().unwrap(), &expected);
    assert!(error < 0.06 * spread, "prefill: rms {error} of {spread}");
    for &token in rest {
        let expected = arbiter.step(token).unwrap();
        let call = session.feed(&[token], Want::Logits).unwrap().remove(0);
        let logits = session.logits().unwrap();
        let (error, spread) = compare(&logits, &expected);
        assert!(
            error < 0.06 * spread,
            "position {}: rms {error} of {spread}",
            call.position
        );
        assert_eq!(
            call.next,
            lampyris_runtime::argmax(&logits).map(|t| t as u32)
        );
    }
}

#[test]
fn tiny_follows_the_reference_on_every_configuration() {
    let model = lampyris_import::open("tiny").unwrap();
    let tokens: Vec<u32> = (0..60u32)
        .map(|i| (i * i * 7 + 13) % model.spec().vocab_size as u32)
        .collect();
    for (_, config) in HwConfig::NAMED {
        check_against_reference(&model, config, &tokens, 128);
    }
    let two = HwConfig {
        channels: 2,
        ..HwConfig::WIDE
    };
    check_against_reference(&model, two, &tokens, 128);
}
