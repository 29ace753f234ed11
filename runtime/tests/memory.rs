//! The budget as the operating system sees it, and memory over many requests. One test, since
//! both look at the whole process.
//!
//! `LAMPYRIS_SOAK_SECONDS` makes it run longer than the default of a few seconds.

#![cfg(target_os = "linux")]

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use lampyris_pack::ModelIndex;
use lampyris_runtime::engine::{DraftOptions, Engine, EngineError, Options, Request, Use};
use lampyris_runtime::{Sampler, SamplerConfig};

const MIB: u64 = 1 << 20;
/// The allocator keeps some freed memory; a leak of every request would exceed this soon.
const SLACK: u64 = MIB;

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(field)).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

fn generate(engine: &mut Engine, seed: u64) -> usize {
    let mut sampler = Sampler::new(SamplerConfig {
        temperature: 0.7,
        seed,
        ..SamplerConfig::default()
    })
    .unwrap();
    let vocab = engine.spec().vocab_size as u64;
    let prompt: Vec<u32> = (0..20 + seed % 30)
        .map(|i| ((i * 31 + seed * 7) % vocab) as u32)
        .collect();
    let request = Request {
        prompt: &prompt,
        max_tokens: 20,
        sampler: &mut sampler,
        stop: &|_| false,
        cancelled: &|| false,
    };
    engine
        .generate(request, &mut |_| ControlFlow::Continue(()))
        .unwrap()
        .generated
}

#[test]
fn the_process_stays_within_its_budget_and_does_not_grow() {
    let index = ModelIndex::open("tiny").unwrap();
    let _tools = index.text_tools().unwrap();
    let options = |memory| Options {
        memory: Some(memory),
        threads: 2,
        context: 256,
        request: 16 << 10,
        draft: Some(DraftOptions::default()),
        ..Options::default()
    };
    let error = Engine::plan_for(&index, &options(MIB)).unwrap_err();
    let EngineError::Budget(shortage) = error else {
        panic!("{error}");
    };
    let weights = index.weight_bytes();
    // Room for half of the weights; measuring leaves some memory with the allocator.
    let budget = Engine::plan_for(&index, &options(64 * MIB))
        .unwrap()
        .minimum
        + weights / 2;
    assert!(budget >= shortage.minimum_bytes, "{shortage}");
    let mut engine = Engine::with_index(index, options(budget)).unwrap();
    let plan = engine.plan();
    assert!(plan.total() <= budget);
    assert!(
        plan.streamed_bytes > 0 && plan.bytes(Use::Weights) > 0,
        "{plan}"
    );

    let seconds = std::env::var("LAMPYRIS_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(3, |s| s.parse().unwrap());
    let mut seed = 0;
    let mut run = |time: Duration, engine: &mut Engine| {
        let start = Instant::now();
        while start.elapsed() < time || seed % 50 != 49 {
            generate(engine, seed);
            seed += 1;
        }
    };
    run(Duration::from_secs(seconds) / 3, &mut engine);
    let before = status("VmRSS:");
    run(Duration::from_secs(seconds), &mut engine);
    let after = status("VmRSS:");
    assert!(after <= before + SLACK, "{before} bytes became {after}");
    let peak = status("VmHWM:");
    assert!(peak <= budget, "peak {peak}, budget {budget}");
    assert_eq!(engine.stats().peak_rss, Some(peak));
}
