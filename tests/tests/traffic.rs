//! What the bytes on the memory ports are: in decode every one is a weight, cache, constant,
//! instruction, embedding row or result, and none is an activation.

use lampyris_bundle::Bundle;
use lampyris_isa::HwConfig;
use lampyris_sim::rtl::{AxiTiming, Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want, memory};
use lampyris_sim::traffic::{Class, Traffic, TrafficMap};
use lampyris_sim::{Limits, Model};
use lampyris_tests::small::{CONTEXT, non_uniform_llama, opt, qwen2, stored_llama};
use lampyris_tests::{CompiledDir, compile, compile_without_text};
use std::sync::Arc;

fn rtl(bundle: &Bundle, timing: AxiTiming) -> RtlDevice {
    let design = build(&default_rtl_root(), &bundle.config, Features::default());
    let design = design.unwrap_or_else(|e| panic!("{e}"));
    let options = RtlOptions {
        timing,
        monitor: Some(Arc::new(TrafficMap::new(bundle))),
        ..RtlOptions::default()
    };
    let image = memory(bundle).expect("an image");
    RtlDevice::new(&design, bundle.config, image, &options).expect("a device")
}

/// Bytes of a line of the instruction cache.
const INSN_LINE: u64 = 128;

/// A prompt, then single tokens, the last one with logits.
fn calls(compiled: &CompiledDir, timing: AxiTiming) -> Vec<Call> {
    let mut device = rtl(&compiled.bundle, timing);
    let mut session = Session::new(&compiled.bundle, &mut device, Limits::default()).unwrap();
    let mut calls = session.feed(&[3, 17, 40, 8, 21], Want::Nothing).unwrap();
    for (token, want) in [(5, Want::Token), (9, Want::Token), (30, Want::Logits)] {
        calls.extend(session.feed(&[token], want).unwrap());
    }
    calls
}

/// The monitor agrees with the ports' counters and knows every byte.
fn check(config: &HwConfig, call: &Call) -> Traffic {
    let traffic = call.traffic.clone().expect("the device watches its ports");
    let beat = u64::from(config.beat_bytes());
    let total = traffic.total();
    let counters = &call.counters;
    let fetched = counters.get("fetch_beats") * beat;
    let program = traffic.of(Class::Program).read;
    let read = counters.dram_read_bytes(config);
    assert_eq!(total.read - program, read - fetched);
    // The counters stop at the halt, when one line more of instructions may be under way.
    assert!((fetched..=fetched + INSN_LINE).contains(&program));
    assert_eq!(
        total.written + total.masked,
        counters.get("write_beats") * beat
    );
    let weights = |(class, _): &(&Class, _)| {
        matches!(class, Class::Codes { .. } | Class::Scales | Class::Indices)
    };
    let weights: u64 = traffic.0.iter().filter(weights).map(|(_, b)| b.read).sum();
    let cached = [Class::KvCodes, Class::KvScales].map(|class| traffic.of(class).read);
    let streamed = counters.get("stream_beats") * beat;
    // Value scales go to vector memory, all other weights and keys through the stream.
    assert!(weights <= streamed && streamed <= weights + cached.iter().sum::<u64>());
    assert_eq!(traffic.of(Class::Unclassified).total(), 0, "{traffic:?}");
    traffic
}

fn check_decoder(compiled: &CompiledDir, timing: AxiTiming) {
    let bundle = &compiled.bundle;
    let calls = calls(compiled, timing);
    let model = &bundle.manifest.model;
    for call in &calls {
        let traffic = check(&bundle.config, call);
        assert_eq!(traffic.of(Class::Activations).total(), 0, "{traffic:?}");
        // The last token of the prompt may come alone, without the head.
        if call.next.is_none() {
            continue;
        }
        let of = |class| traffic.of(class);
        // Exactly the weights, once; each position's keys and values; one row of the embedding.
        let weights: u64 = traffic
            .0
            .iter()
            .filter(|(class, _)| {
                matches!(class, Class::Codes { .. } | Class::Scales | Class::Indices)
            })
            .map(|(_, bytes)| bytes.read)
            .sum();
        let vectors = of(Class::Vectors).read;
        assert!(weights <= model.weight_bytes_per_token);
        assert!(
            weights + vectors + 4096 >= model.weight_bytes_per_token,
            "{} bytes of weights in {traffic:?}",
            model.weight_bytes_per_token
        );
        assert!(of(Class::KvCodes).written > 0 && of(Class::KvScales).written > 0);
        assert!(of(Class::Embedding).read > 0 && of(Class::Embedding).written == 0);
        let logits = 4 * u64::from(model.vocab_size);
        let stored = if call.position == 7 { logits } else { 0 };
        assert_eq!(of(Class::Logits).written, stored);
        assert!(of(Class::Tokens).read > 0 && of(Class::Tokens).written == 0);
    }
    // The functional model gives the same tokens; a monitor must not disturb.
    let mut device = Model::new(bundle.config, memory(bundle).unwrap()).unwrap();
    let mut session = Session::new(bundle, &mut device, Limits::default()).unwrap();
    session.feed(&[3, 17, 40, 8, 21], Want::Nothing).unwrap();
    for call in calls.iter().filter(|call| call.next.is_some()) {
        let token = [5, 9, 30][call.position - 5];
        let next = session.feed(&[token], Want::Token).unwrap().remove(0).next;
        assert_eq!(next, call.next);
    }
}

#[test]
fn decode_moves_no_activation_whatever_the_architecture() {
    let slow = AxiTiming::random(3);
    for model in [non_uniform_llama(), qwen2(), opt()] {
        check_decoder(
            &compile_without_text(&model, HwConfig::SMALL, CONTEXT),
            slow,
        );
    }
}

#[test]
fn decode_of_tiny_moves_no_activation_on_any_configuration() {
    let tiny = lampyris_import::open("tiny").expect("the embedded model");
    for (_, config) in HwConfig::NAMED {
        check_decoder(&compile(&tiny, config, 64), AxiTiming::default());
    }
}

#[test]
fn sparse_weights_divide_into_codes_and_indices() {
    use lampyris_flash::TensorType;
    let ty = |name: &str| match name {
        "blk.1.ffn_down.weight" => TensorType::Q4_2OF4,
        _ => TensorType::Q4_0,
    };
    let config = HwConfig::BASE;
    let compiled = compile_without_text(&stored_llama(ty), config, CONTEXT);
    check_decoder(&compiled, AxiTiming::default());
    let call = calls(&compiled, AxiTiming::default()).pop().unwrap();
    let traffic = check(&config, &call);
    let sparsity = lampyris_isa::format::Sparsity::S2Of4;
    // Half of 128 rows of 256 columns: codes of 4 bits, indices of 2.
    let kept = 128 * 256 / 2;
    assert_eq!(
        traffic.of(Class::Codes { bits: 4, sparsity }).read,
        kept / 2
    );
    assert_eq!(traffic.of(Class::Indices).read, kept / 4);
}
