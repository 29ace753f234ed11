//! The cycle estimator follows the RTL: every call of a small model, on every configuration.

use lampyris_isa::HwConfig;
use lampyris_sim::estimate::PortTiming;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Limits, Start};
use lampyris_tests::calls::{estimated, program};
use lampyris_tests::compile_without_text;

/// Most that an estimate may differ from the RTL, percent.
const TOLERANCE: f64 = 3.0;

#[test]
fn estimates_are_close_to_the_rtl_on_every_configuration() {
    let model = lampyris_import::open(lampyris_import::TINY).expect("built in");
    let packed = HwConfig {
        mul_pack: 1,
        ..HwConfig::BASE
    };
    let named = HwConfig::NAMED.into_iter();
    for (name, config) in named.chain([("packed", packed)]) {
        let compiled = compile_without_text(&model, config, 128);
        let bundle = &compiled.bundle;
        let program = program(bundle).expect("a program");
        let design = build(&default_rtl_root(), &config, Features::default()).expect("builds");
        let memory = memory(bundle).expect("fits");
        let mut rtl =
            RtlDevice::new(&design, config, memory, &RtlOptions::default()).expect("starts");
        let mut session = Session::new(bundle, &mut rtl, Limits::default()).expect("fits");
        let text: Vec<u32> = (1..40).collect();
        let mut calls = session.feed(&text, Want::Token).expect("runs");
        for token in 40..43 {
            calls.extend(session.feed(&[token], Want::Token).expect("runs"));
        }
        for call in calls {
            let what = (call.position, call.tokens);
            // Only the last call of a prompt gives a token.
            let wanted = what.0 + what.1 >= text.len();
            let cycles = call.counters.get("cycles") as f64;
            let ours = estimated(bundle, &program, &config, PortTiming::FIXED, what);
            let ours = ours.expect("estimates").cycles;
            let off = 100.0 * (ours / cycles - 1.0);
            assert!(
                !wanted || off.abs() <= TOLERANCE,
                "{name}, {what:?}: {ours} against {cycles} cycles, {off:.2} %"
            );
        }
    }
}

#[test]
fn programs_without_end_are_refused() {
    let config = HwConfig::SMALL;
    let insns = |text| lampyris_isa::asm::parse_program(text).expect("assembles");
    let error = |text| {
        let result = lampyris_sim::estimate::estimate(
            &insns(text),
            &Start::default(),
            &config,
            PortTiming::FIXED,
        );
        result.expect_err("refused").to_string()
    };
    let stuck = error("ld.w count=1000 rows=1\nmv wait=8 kblocks=1 groups=1\nfence units=15\nhalt");
    assert!(stuck.contains("waits for"), "{stuck}");
    assert!(error("alu rd=1 use_imm=1 imm=1").contains("leaves its 1 instructions"));
}
