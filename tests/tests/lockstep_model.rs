//! Whole compiled models in lockstep: every instruction of prefill and decode, embedding to
//! argmax, has the same effects on the functional model and on the Verilated RTL.

use lampyris_import::Model as ImportedModel;
use lampyris_isa::HwConfig;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Device, Limits, Model, SimError};
use lampyris_tests::{CompiledDir, compile, smollm2};

/// Model and RTL with the image of a compiled model.
fn lockstep(compiled: &CompiledDir, timing: AxiTiming) -> Lockstep {
    let bundle = &compiled.bundle;
    let design = build(&default_rtl_root(), &bundle.config, Features::default());
    let design = design.unwrap_or_else(|e| panic!("{e}"));
    let image = memory(bundle).expect("an image");
    let model = Model::new(bundle.config, image.clone()).expect("a model");
    let options = RtlOptions {
        timing,
        ..RtlOptions::default()
    };
    let rtl = RtlDevice::new(&design, bundle.config, image, &options).expect("a device");
    let mut both = Lockstep::new(model, rtl).expect("the same configuration");
    let labels = bundle.labels.clone();
    both.set_labels(Box::new(move |pc| labels.get(pc as usize).cloned()));
    both
}

/// Feeds a prompt and then single tokens; returns the tokens that follow.
fn run(compiled: &CompiledDir, both: &mut Lockstep, prompt: &[u32], rounds: usize) -> Vec<u32> {
    let mut session = Session::new(&compiled.bundle, both, Limits::default()).expect("a session");
    let mut out = Vec::new();
    let mut input = prompt.to_vec();
    for _ in 0..=rounds {
        let calls = session
            .feed(&input, Want::Logits)
            .unwrap_or_else(|e| panic!("{e}"));
        let next = calls.last().and_then(|c| c.next).expect("a token");
        out.push(next);
        input = vec![next];
    }
    out
}

fn tiny() -> ImportedModel {
    lampyris_import::open("tiny").expect("the embedded model")
}

#[test]
fn tiny_agrees_on_every_configuration() {
    let mut all = Vec::new();
    for (at, (_, config)) in HwConfig::NAMED.into_iter().enumerate() {
        let compiled = compile(&tiny(), config, 64);
        let timing = match at {
            0 => AxiTiming::default(),
            _ => AxiTiming {
                reorder: true,
                jitter: 30,
                stall_permille: [50; 5],
                ..AxiTiming::default()
            },
        };
        let mut both = lockstep(&compiled, timing);
        all.push(run(&compiled, &mut both, &[5, 17, 300, 42, 9], 2));
    }
    let two = HwConfig {
        channels: 2,
        max_tokens: 4,
        ..HwConfig::WIDE
    };
    let compiled = compile(&tiny(), two, 64);
    let mut both = lockstep(&compiled, AxiTiming::random(3));
    all.push(run(&compiled, &mut both, &[5, 17, 300, 42, 9], 2));
    // Prefill chunks differ between configurations, sums do not.
    assert!(all.iter().all(|tokens| *tokens == all[0]), "{all:?}");
}

#[test]
fn a_wrong_instruction_is_named_with_its_operation() {
    let compiled = compile(&tiny(), HwConfig::BASE, 64);
    let mut both = lockstep(&compiled, AxiTiming::default());
    both.model_mut().corrupt_at(Some(60));
    let mut session =
        Session::new(&compiled.bundle, &mut both, Limits::default()).expect("a session");
    match session.feed(&[7], Want::Token) {
        Err(SimError::Mismatch(found)) => {
            assert!(found.label.is_some() && found.insn.is_some(), "{found}");
            assert!(found.seq == 60 && found.model != found.rtl, "{found}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn smollm2_prefills_and_decodes_in_lockstep() {
    let path = match smollm2::model_path() {
        Ok(path) => path,
        Err(e) => {
            assert!(std::env::var_os("CI").is_none(), "{e}");
            eprintln!("SKIPPED, nothing was checked: {e}");
            return;
        }
    };
    let model = lampyris_import::open(&path).expect("the model opens");
    let compiled = compile(&model, HwConfig::BASE, 256);
    let mut both = lockstep(&compiled, AxiTiming::default());
    let recorded = smollm2::recorded();
    let prompt = &recorded.prompts[0];
    let tokens = run(&compiled, &mut both, &prompt.prompt_tokens, 1);
    assert_eq!(tokens, prompt.generated[..2]);
}

#[test]
fn the_timeline_shows_every_instruction_once_and_in_turn() {
    let compiled = compile(&tiny(), HwConfig::BASE, 64);
    let mut both = lockstep(&compiled, AxiTiming::default());
    both.record_timeline();
    run(&compiled, &mut both, &[5], 1);
    let insns = both.counters().expect("counters").get("insns") as usize;
    let timeline = both.timeline().expect("a recording");
    assert_eq!(
        (timeline.records().len(), timeline.left_out()),
        (2 * insns, 0)
    );
    let mut free = [0; 5];
    for record in timeline.records() {
        let unit = record.unit as usize;
        assert!(
            free[unit] <= record.start && record.start <= record.end,
            "{record:?}"
        );
        free[unit] = record.end;
        assert!(record.label.is_some(), "{record:?}");
    }
    let mut json = Vec::new();
    timeline
        .write(&mut json, compiled.bundle.config.clock_khz)
        .expect("writes to memory");
    let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
    let events = value["traceEvents"].as_array().expect("a list");
    assert_eq!(events.len(), 5 + 2 * insns);
}
