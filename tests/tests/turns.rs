//! Conversations of several turns: prefill appends at any position of the cache, and what comes out
//! does not depend on how the tokens came.

use lampyris_isa::HwConfig;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Check, Device, Limits, Model};
use lampyris_tests::{CompiledDir, compile_without_text};

const CONTEXT: usize = 160;

fn compiled(config: HwConfig) -> CompiledDir {
    let tiny = lampyris_import::open("tiny").expect("the embedded model");
    compile_without_text(&tiny, config, CONTEXT)
}

fn text(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i * i * 7 + 13) % 1024).collect()
}

/// Bits of the logits after each turn.
fn turns(
    dir: &CompiledDir,
    device: &mut dyn Device,
    text: &[u32],
    ends: &[usize],
) -> Vec<Vec<u32>> {
    let mut session = Session::new(&dir.bundle, device, Limits::default()).unwrap();
    let mut all = Vec::new();
    for &end in ends {
        session
            .feed(&text[session.position()..end], Want::Logits)
            .unwrap();
        let logits = session.logits().unwrap();
        all.push(logits.into_iter().map(f32::to_bits).collect());
    }
    all
}

fn model(dir: &CompiledDir) -> Model {
    let mut model = Model::new(dir.bundle.config, memory(&dir.bundle).unwrap()).unwrap();
    model.set_check(Check::Races);
    model
}

#[test]
fn turns_of_any_length_at_any_position_give_the_bits_of_one_call() {
    let text = text(CONTEXT);
    for (name, config) in HwConfig::NAMED {
        let dir = compiled(config);
        // No multiples of a row group, of a block of values, of a call; and just beside them.
        let ends = [3, 4, 15, 17, 31, 33, 48, 63, 65, 66, 101, 127, 130, CONTEXT];
        let found = turns(&dir, &mut model(&dir), &text, &ends);
        for (&end, found) in ends.iter().zip(&found) {
            let expected = turns(&dir, &mut model(&dir), &text, &[end]);
            assert!(*found == expected[0], "{name}: the turn that ends at {end}");
        }
    }
}

#[test]
fn a_second_turn_in_lockstep() {
    let config = HwConfig::SMALL;
    let dir = compiled(config);
    let design = build(&default_rtl_root(), &config, Features::default()).unwrap();
    let options = RtlOptions {
        timing: AxiTiming::random(11),
        ..RtlOptions::default()
    };
    let image = memory(&dir.bundle).unwrap();
    let rtl = RtlDevice::new(&design, config, image.clone(), &options).unwrap();
    let mut both = Lockstep::new(Model::new(config, image).unwrap(), rtl).unwrap();
    let text = text(44);
    let found = turns(&dir, &mut both, &text, &[13, 14, 31, 44]);
    let expected = turns(&dir, &mut model(&dir), &text, &[44]);
    assert!(found.last() == expected.last());
}
