//! The reference executor on tiny random decoders of each kind.
//!
//! `tests/data/decoders.py` computes them with numpy in f64 and lists their tensors; the weights
//! are made again here from the tensors' names. Between the two lie the file formats, the
//! architecture description, the graph and the executor.

use lampyris_import::Model;
use lampyris_runtime::{Reference, ReferenceError, argmax};
use lampyris_tests::decoders::{Case, cases};

/// f32 rounding in a few small layers.
const TOLERANCE: f32 = 2e-5;

/// The case as a model; `change` may alter the elements of a tensor.
fn changed(case: &Case, change: impl Fn(&str, &mut [f32])) -> Model {
    let folder = tempfile::tempdir().unwrap();
    // The mapping outlives the directory entry.
    Model::open(case.write(folder.path(), change)).unwrap()
}

fn model(case: &Case) -> Model {
    changed(case, |_, _| ())
}

#[test]
fn every_kind_of_decoder_matches_numpy() {
    let cases = cases();
    assert_eq!(cases.len(), 7);
    for case in &cases {
        let model = model(case);
        let reference = Reference::new(&model).unwrap();
        let mut seen = 0;
        let mut session = reference.session();
        session
            .evaluate(&case.tokens, |i, logits| {
                let expected = &case.logits[i];
                assert_eq!(logits.len(), expected.len(), "{}", case.name);
                for (token, (a, b)) in logits.iter().zip(expected).enumerate() {
                    let close = (a - b).abs() <= TOLERANCE;
                    assert!(
                        close,
                        "{}: position {i}, token {token}: {a}, not {b}",
                        case.name
                    );
                }
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, case.tokens.len(), "{}", case.name);
    }
}

#[test]
fn one_token_at_a_time_equals_a_batch() {
    for case in &cases() {
        let model = model(case);
        let reference = Reference::new(&model).unwrap();
        let mut batch = Vec::new();
        let mut session = reference.session();
        session
            .evaluate(&case.tokens, |_, logits| batch.push(logits.to_vec()))
            .unwrap();
        let mut session = reference.session();
        for (i, &token) in case.tokens.iter().enumerate() {
            assert_eq!(session.position(), i);
            assert_eq!(
                session.step(token).unwrap(),
                batch[i],
                "{}: position {i}",
                case.name
            );
        }
    }
}

#[test]
fn a_trace_shows_every_node_once_and_ends_with_the_logits() {
    for case in &cases() {
        let model = model(case);
        let reference = Reference::new(&model).unwrap();
        let mut names = Vec::new();
        let mut last = Vec::new();
        let logits = reference
            .session()
            .trace(case.tokens[0], &mut |node, values| {
                assert_eq!(values.len(), node.width, "{}", node.name);
                names.push(node.name.clone());
                last = values.to_vec();
            })
            .unwrap();
        let expected: Vec<&str> = model
            .graph()
            .nodes()
            .map(|(_, n)| n.name.as_str())
            .collect();
        assert_eq!(names, expected);
        assert_eq!(logits, last);
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let case = &cases()[0];
    let model = model(case);
    let reference = Reference::new(&model).unwrap();
    let vocab = model.spec().vocab_size as u32;
    let context = model.spec().context_length;
    let mut session = reference.session();
    assert!(matches!(session.prefill(&[]), Err(ReferenceError::Empty)));
    let error = session.prefill(&[0, vocab]).unwrap_err().to_string();
    assert!(
        error.contains(&vocab.to_string()) && error.contains("hint: "),
        "{error}"
    );
    let long = vec![0; context + 1];
    assert!(matches!(
        session.prefill(&long),
        Err(ReferenceError::Context { .. })
    ));
    assert_eq!(session.position(), 0);
    session.prefill(&long[1..]).unwrap();
    assert!(session.step(0).is_err());
}

#[test]
fn generation_stops_where_it_must() {
    use lampyris_runtime::{Sampler, SamplerConfig};
    let case = &cases()[0];
    let model = model(case);
    let reference = Reference::new(&model).unwrap();
    let generate = |max, stop: Option<u32>| {
        let mut greedy = Sampler::new(SamplerConfig::default()).unwrap();
        let stop = |t| Some(t) == stop;
        reference
            .session()
            .generate(&case.tokens, max, &mut greedy, stop, |_| ())
            .unwrap()
    };
    let all = generate(1000, None);
    // Twelve tokens of 24 are prompt; the token after a full context can still be made.
    assert_eq!(
        all.len(),
        model.spec().context_length - case.tokens.len() + 1
    );
    let last = case.logits.last().unwrap();
    assert_eq!(Some(all[0] as usize), argmax(last));
    assert_eq!(generate(3, None), all[..3]);
    let end = all[4];
    let first = all.iter().position(|&t| t == end).unwrap();
    assert_eq!(generate(1000, Some(end)), all[..first]);
    assert!(generate(0, None).is_empty());
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let model = changed(&cases()[0], |name, values| {
        if name == "blk.1.ffn_up.weight" {
            values[7] = f32::NAN;
        }
    });
    let error = Reference::new(&model).unwrap_err().to_string();
    assert!(error.contains("blk.1.ffn_up.weight"), "{error}");
}
