//! Conversations of several turns: prefill appends at any position of the cache, and what comes out
//! does not depend on how the tokens came.

use lampyris_isa::HwConfig;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::memory;
use lampyris_sim::{Device, Model};
use lampyris_tests::tiny::{bits, checked_model, logits_at, text, tiny};
use lampyris_tests::{CompiledDir, compile_without_text};

const CONTEXT: usize = 160;

fn compiled(config: HwConfig) -> CompiledDir {
    compile_without_text(&tiny(), config, CONTEXT)
}

/// Bits of the logits after each turn.
fn turns(
    dir: &CompiledDir,
    device: &mut dyn Device,
    text: &[u32],
    ends: &[usize],
) -> Vec<Vec<u32>> {
    bits(&logits_at(&dir.bundle, device, text, ends))
}

#[test]
fn turns_of_any_length_at_any_position_give_the_bits_of_one_call() {
    let text = text(&tiny(), CONTEXT);
    for (name, config) in HwConfig::NAMED {
        let dir = compiled(config);
        // No multiples of a row group, of a block of values, of a call; and just beside them.
        let ends = [3, 4, 15, 17, 31, 33, 48, 63, 65, 66, 101, 127, 130, CONTEXT];
        let found = turns(&dir, &mut checked_model(&dir.bundle), &text, &ends);
        for (&end, found) in ends.iter().zip(&found) {
            let expected = turns(&dir, &mut checked_model(&dir.bundle), &text, &[end]);
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
    let text = text(&tiny(), 44);
    let found = turns(&dir, &mut both, &text, &[13, 14, 31, 44]);
    let expected = turns(&dir, &mut checked_model(&dir.bundle), &text, &[44]);
    assert!(found.last() == expected.last());
}
