//! What the accelerator's program for `tiny` says next, against llama.cpp's recorded text: the same
//! token wherever the f32 reference does not waver.

mod program;

use lampyris_bundle::{Bundle, names};
use lampyris_import::saved::TextTools;
use lampyris_runtime::{Reference, argmax};
use lampyris_sim::session::{Session, Want, memory};
use lampyris_sim::{Limits, Model};
use serde_json::Value;

const RECORDED: &str = include_str!("../../../tests/tiny/reference.json");

/// Distance in logits beyond which 8-bit activations may not change the order.
const CLEAR: f32 = 0.5;

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

/// Distance between the two largest logits.
fn margin(logits: &[f32]) -> f32 {
    let mut sorted = logits.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() - 1] - sorted[sorted.len() - 2]
}

#[test]
fn compiled_tiny_continues_as_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("compiled");
    let status = program::lampyris()
        .args(["compile", "tiny", "-o"])
        .arg(&target)
        .status();
    assert!(status.expect("the command starts").success());
    let bundle = Bundle::open(&target).expect("opens");
    let document = bundle.map(names::TOKENIZER).expect("a tokenizer");
    let tools = TextTools::from_json(&document).expect("a tokenizer");
    let tiny = lampyris_import::open("tiny").expect("the embedded model");
    let reference = Reference::new(&tiny).expect("a reference");
    let recorded: Value = serde_json::from_str(RECORDED).expect("recorded");
    let (mut same, mut clear, mut total) = (0, 0, 0);
    for case in recorded["greedy"].as_array().expect("a list") {
        let text = case["prompt"].as_str().expect("text");
        let prompt = ids(&case["prompt_tokens"]);
        assert_eq!(tools.tokenizer.encode(text, true).expect("encodes"), prompt);
        let image = memory(&bundle).expect("an image");
        let mut device = Model::new(bundle.config, image).expect("a device");
        let mut session = Session::new(&bundle, &mut device, Limits::default()).expect("starts");
        let mut arbiter = reference.session();
        let mut logits = arbiter.prefill(&prompt).expect("prefill");
        let mut input = prompt;
        for token in ids(&case["generated"]) {
            let calls = session.feed(&input, Want::Token).expect("runs");
            let next = calls.last().and_then(|c| c.next).expect("a token");
            if margin(&logits) > CLEAR {
                let likely = argmax(&logits).map(|t| t as u32);
                assert_eq!((Some(next), next), (likely, token), "after {input:?}");
                clear += 1;
            }
            total += 1;
            same += usize::from(next == token);
            logits = arbiter.step(token).expect("steps");
            input = vec![token];
        }
    }
    // Else the assertion above has checked little.
    assert!(clear * 3 > total, "only {clear} of {total} are clear");
    assert!(same * 10 >= total * 9, "{same} of {total} tokens agree");
}
