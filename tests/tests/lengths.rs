//! Straight-line programs, programs padded to buckets, and ours give the same tokens, on the
//! functional model and on the RTL.

use lampyris_compiler::{Options, Schedule};
use lampyris_isa::HwConfig;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Check, Device, Limits, Model};
use lampyris_tests::compile;
use lampyris_tests::lengths::{Buckets, Runner, Way};

const CONTEXT: usize = 64;

/// Prompts of some lengths; with what follows they cross borders of buckets, key groups and value
/// blocks.
const PROMPTS: [usize; 3] = [1, 14, 30];
const COUNT: usize = 5;

fn prompt(len: usize) -> Vec<u32> {
    (0..len as u32)
        .map(|i| (i * i * 7 + 31 * i + 5) % 400)
        .collect()
}

fn ours(bundle: &lampyris_bundle::Bundle, device: &mut dyn Device, prompt: &[u32]) -> Vec<u32> {
    let mut session = Session::new(bundle, device, Limits::default()).unwrap();
    let mut out = Vec::new();
    let mut input = prompt.to_vec();
    while out.len() < COUNT {
        let calls = session.feed(&input, Want::Token).unwrap();
        out.push(calls.last().unwrap().next.unwrap());
        input = vec![*out.last().unwrap()];
    }
    out
}

fn check(config: HwConfig, on_rtl: bool) {
    let tiny = lampyris_import::open("tiny").expect("the embedded model");
    let options = Options {
        config,
        context: CONTEXT,
        schedule: Schedule::Fused,
        kv: Default::default(),
    };
    let plan = lampyris_compiler::plan(&tiny, &options).unwrap();
    let compiled = compile(&tiny, config, CONTEXT);
    let buckets = Buckets {
        prefill: 32,
        decode: 16,
    };
    for len in PROMPTS {
        let prompt = prompt(len);
        let image = memory(&compiled.bundle).unwrap();
        let mut model = Model::new(config, image).unwrap();
        let expected = ours(&compiled.bundle, &mut model, &prompt);
        for way in [Way::Straight, Way::Padded(buckets)] {
            let words = plan.buffers.vmem_words;
            let runner = Runner::new(&compiled, tiny.spec(), words, way).unwrap();
            let image = runner.memory().unwrap();
            let mut model = Model::new(config, image.clone()).unwrap();
            model.set_check(Check::Races);
            let found = runner.generate(&mut model, &prompt, COUNT).unwrap();
            assert_eq!(found, expected, "{way:?}, prompt of {len}");
            if !on_rtl {
                continue;
            }
            let design = build(&default_rtl_root(), &config, Features::default()).unwrap();
            let mut rtl = RtlDevice::new(&design, config, image, &RtlOptions::default()).unwrap();
            let found = runner.generate(&mut rtl, &prompt, COUNT).unwrap();
            assert_eq!(found, expected, "{way:?}, prompt of {len}, RTL");
        }
    }
}

#[test]
fn all_ways_give_the_same_tokens_on_the_model() {
    check(HwConfig::SMALL, false);
    check(HwConfig::WIDE, false);
}

#[test]
fn all_ways_give_the_same_tokens_on_the_rtl() {
    check(HwConfig::BASE, true);
}
