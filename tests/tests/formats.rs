//! Whole small decoders whose weights are stored in every width and sparsity: compiled for every
//! configuration that has them, against the f32 reference executor and in lockstep with the RTL.

use TensorType::{Q2_1, Q3_1, Q4_1, Q4_2OF4, Q4_4OF16, Q5_0, Q5_1, Q6_1, Q8_0};
use lampyris_bundle::Bundle;
use lampyris_compiler::{Options, plan};
use lampyris_flash::TensorType;
use lampyris_import::Model as Imported;
use lampyris_isa::{HwConfig, Insn};
use lampyris_runtime::Reference;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Check, Device, Limits, Model};
use lampyris_tests::compile_without_text;
use lampyris_tests::small::{CONTEXT, VOCAB, stored_llama};
use std::collections::BTreeSet;

const TYPES: [TensorType; 8] = [Q2_1, Q3_1, Q4_1, Q5_1, Q6_1, Q8_0, Q4_2OF4, Q4_4OF16];

/// Every matrix of one type; the embedding, which must be dense, of five bits if that is sparse.
fn uniform(ty: TensorType) -> Imported {
    stored_llama(|name| match (ty.sparsity(), name) {
        (Some(_), "token_embd.weight") => Q5_1,
        _ => ty,
    })
}

/// Every type in one model, and matrices of different sparsity on the same input.
fn mixed() -> Imported {
    stored_llama(|name| match name {
        "blk.0.attn_q.weight" => Q4_4OF16,
        "blk.0.attn_k.weight" => Q2_1,
        "blk.0.attn_v.weight" => Q4_2OF4,
        "blk.0.attn_output.weight" => Q3_1,
        "blk.0.ffn_gate.weight" => Q4_2OF4,
        "blk.0.ffn_up.weight" => Q6_1,
        "blk.0.ffn_down.weight" => Q4_4OF16,
        "blk.1.attn_q.weight" | "blk.1.ffn_up.weight" => Q5_0,
        "blk.1.attn_k.weight" | "blk.1.ffn_down.weight" => Q4_2OF4,
        "blk.1.attn_v.weight" => Q8_0,
        "token_embd.weight" => Q3_1,
        _ => Q4_1,
    })
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count)
        .map(|i| (i * i * 5 + 11 * i + 3) % VOCAB as u32)
        .collect()
}

/// Feeds all but three tokens together and then those; logits after each feeding.
fn run(bundle: &Bundle, device: &mut dyn Device, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut session = Session::new(bundle, device, Limits::default()).unwrap();
    let (prompt, rest) = tokens.split_at(tokens.len() - 3);
    let mut all = Vec::new();
    for input in [prompt].into_iter().chain(rest.chunks(1)) {
        session.feed(input, Want::Logits).unwrap();
        all.push(session.logits().unwrap());
    }
    all
}

fn options(config: HwConfig) -> Options {
    Options {
        config,
        context: CONTEXT,
        schedule: Default::default(),
        kv: Default::default(),
    }
}

/// The functional model follows the reference on every configuration that takes the model.
fn follows_reference(name: &str, model: &Imported, most: f32) {
    let tokens = tokens(40);
    let mut expected = Vec::new();
    let keep = |i: usize, logits: &[f32]| {
        if i + 4 >= tokens.len() {
            expected.push(logits.to_vec());
        }
    };
    let reference = Reference::new(model).unwrap();
    reference.session().evaluate(&tokens, keep).unwrap();
    for (config_name, config) in HwConfig::NAMED {
        if plan(model, &options(config)).is_err() {
            assert_eq!(config.sparsity, 0, "{name} does not compile");
            continue;
        }
        let compiled = compile_without_text(model, config, CONTEXT);
        let mut device = Model::new(config, memory(&compiled.bundle).unwrap()).unwrap();
        device.set_check(Check::Races);
        let found = run(&compiled.bundle, &mut device, &tokens);
        for (found, expected) in found.iter().zip(&expected) {
            let power: f32 = expected.iter().map(|v| v * v).sum();
            let error: f32 = found
                .iter()
                .zip(expected)
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            let relative = (error / power).sqrt();
            assert!(
                relative < most,
                "{name}, {config_name}: relative error {relative}"
            );
        }
    }
}

#[test]
fn every_stored_type_follows_the_reference() {
    for ty in TYPES {
        follows_reference(ty.name(), &uniform(ty), 0.04);
    }
    follows_reference("mixed", &mixed(), 0.04);
}

fn lockstep(name: &str, model: &Imported, config: HwConfig, seed: u64) {
    let features = Features {
        assertions: true,
        random_state: true,
        ..Features::default()
    };
    let design = build(&default_rtl_root(), &config, features).unwrap();
    let compiled = compile_without_text(model, config, CONTEXT);
    let bundle = &compiled.bundle;
    let options = RtlOptions {
        events: true,
        timing: AxiTiming::random(seed),
        seed: seed as u32,
        ..RtlOptions::default()
    };
    let rtl = RtlDevice::new(&design, config, memory(bundle).unwrap(), &options).unwrap();
    let reference = Model::new(config, memory(bundle).unwrap()).unwrap();
    let mut both = Lockstep::new(reference, rtl).unwrap();
    eprintln!("{name}");
    run(bundle, &mut both, &tokens(22));
}

#[test]
fn every_stored_type_runs_in_lockstep() {
    for (seed, ty) in (0..).zip(TYPES) {
        lockstep(ty.name(), &uniform(ty), HwConfig::BASE, seed);
    }
}

#[test]
fn types_mix_in_lockstep() {
    lockstep("base", &mixed(), HwConfig::BASE, 20);
    lockstep("wide", &mixed(), HwConfig::WIDE, 21);
}

/// Narrow codes take the next wider width of a configuration that lacks theirs.
#[test]
fn absent_widths_run_in_lockstep_as_wider_ones() {
    for ty in [Q2_1, Q5_1] {
        lockstep(ty.name(), &uniform(ty), HwConfig::SMALL, 30);
    }
    let pairs = HwConfig {
        weight_bits: 1 << 4 | 1 << 5 | 1 << 8,
        sparsity: 1,
        ..HwConfig::SMALL
    };
    // Codes of four bits with two of index take fields of eight bits: six and two.
    lockstep("pairs", &uniform(Q4_2OF4), pairs, 31);
}

/// The forms of products, embedding rows and quantizations in a program.
fn forms(model: &Imported, config: HwConfig) -> BTreeSet<(&'static str, u8, u8)> {
    let plan = plan(model, &options(config)).unwrap();
    let form = |insn: &Insn| match insn {
        Insn::Mv(i) if i.header == 0 => Some(("product", i.bits, i.sparsity)),
        Insn::Deq(i) => Some(("row", i.bits, 0)),
        Insn::Quant(i) if i.rrows == 0 && i.rn == 0 => Some(("quant", i.group, 0)),
        _ => None,
    };
    plan.code.insns.iter().filter_map(form).collect()
}

#[test]
fn programs_use_the_stored_width_and_the_coarsest_scale() {
    let base = forms(&mixed(), HwConfig::BASE);
    let products = [
        (2, 0),
        (3, 0),
        (4, 0),
        (5, 0),
        (6, 0),
        (8, 0),
        (4, 1),
        (4, 2),
    ];
    for (bits, sparsity) in products {
        assert!(base.contains(&("product", bits, sparsity)), "{base:?}");
    }
    assert!(base.contains(&("row", 3, 0)), "{base:?}");
    for group in [0, 2, 3] {
        assert!(base.contains(&("quant", group, 0)), "{base:?}");
    }
    let small = forms(&uniform(Q2_1), HwConfig::SMALL);
    let expected = [("product", 4, 0), ("row", 4, 0)];
    assert!(
        expected.iter().all(|form| small.contains(form)),
        "{small:?}"
    );
    assert!(!small.contains(&("product", 2, 0)), "{small:?}");
}

#[test]
fn what_a_configuration_cannot_do_is_an_error_with_a_hint() {
    let message = |model: &Imported, config| match plan(model, &options(config)) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("it compiles"),
    };
    let sparse = message(&uniform(Q4_2OF4), HwConfig::SMALL);
    assert!(
        sparse.starts_with("tensor `blk.0.attn_q.weight`: is stored as Q4_2OF4, but")
            && sparse.contains("\n\nhint: take a configuration whose `sparsity` is"),
        "{sparse}"
    );
    let pairs = HwConfig {
        sparsity: 1,
        ..HwConfig::BASE
    };
    assert!(message(&uniform(Q4_4OF16), pairs).contains("stored as Q4_4OF16"));
    let embedding = message(&stored_llama(|_| Q4_2OF4), HwConfig::BASE);
    assert!(
        embedding.starts_with("tensor `token_embd.weight`: is 2:4 4-bit, but embeddings")
            && embedding.contains("\n\nhint: keep the embedding dense"),
        "{embedding}"
    );
}
