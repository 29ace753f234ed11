//! Prompts to tokens: drafts, reuse, ends.

use std::cell::Cell;
use std::ops::ControlFlow;

use super::*;
use crate::{Sampler, SamplerConfig};

struct Made {
    tokens: Vec<u32>,
    outcome: Outcome,
}

fn generate(engine: &mut Engine, prompt: &[u32], max_tokens: usize, config: SamplerConfig) -> Made {
    let mut tokens = Vec::new();
    let mut sampler = Sampler::new(config).unwrap();
    let outcome = engine
        .generate(
            Request {
                prompt,
                max_tokens,
                sampler: &mut sampler,
                stop: &|t| t == 5,
                cancelled: &|| false,
            },
            &mut |t| {
                tokens.push(t);
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    assert_eq!(tokens.len(), outcome.generated);
    Made { tokens, outcome }
}

fn greedy() -> SamplerConfig {
    SamplerConfig::default()
}

fn drafting(o: &mut Options) {
    o.draft = Some(DraftOptions {
        max_tokens: 5,
        max_ngram: 3,
        min_ngram: 1,
    });
}

#[test]
fn drafts_change_no_token() {
    let model = llama(TensorType::Q8_0, true);
    let mut plain = Engine::open(&model.path, options()).unwrap();
    let mut with = streaming(&model, 20, drafting);
    for seed in 0..6u64 {
        let prompt: Vec<u32> = tokens(4, seed).repeat(3);
        // Low temperatures repeat themselves, so that drafts are right now and then.
        for temperature in [0.0, 0.05, 1.0] {
            let config = SamplerConfig {
                temperature,
                seed,
                top_k: 8,
                ..greedy()
            };
            plain.reset();
            with.reset();
            let expected = generate(&mut plain, &prompt, 60, config);
            let found = generate(&mut with, &prompt, 60, config);
            assert_eq!(found.tokens, expected.tokens, "{temperature}, seed {seed}");
            assert_eq!(found.outcome, expected.outcome);
            assert_eq!(with.position(), plain.position());
        }
    }
    let stats = with.stats();
    assert!(
        stats.accepted > 0 && stats.accepted < stats.drafted,
        "{stats:?}"
    );
}

#[test]
fn a_common_prefix_is_not_evaluated_again() {
    let model = llama(TensorType::Q8_0, true);
    let mut engine = Engine::open(&model.path, options()).unwrap();
    let first = tokens(20, 1);
    let made = generate(&mut engine, &first, 8, greedy());
    assert_eq!(made.outcome.reused, 0);
    // A chat: the next prompt is what was said so far and more.
    let second = [&first[..], &made.tokens, &tokens(5, 2)].concat();
    let evaluated = engine.stats().tokens;
    let again = generate(&mut engine, &second, 8, greedy());
    // The last token made was never evaluated.
    assert_eq!(again.outcome.reused, first.len() + made.tokens.len() - 1);
    assert_eq!(engine.stats().tokens - evaluated, 6 + 7);
    let mut fresh = Engine::open(&model.path, options()).unwrap();
    assert_eq!(
        generate(&mut fresh, &second, 8, greedy()).tokens,
        again.tokens
    );
    // The same prompt needs its last token only; a shorter one cuts the sequence.
    assert_eq!(
        generate(&mut engine, &first, 8, greedy()).outcome.reused,
        19
    );
    assert_eq!(
        generate(&mut engine, &first, 8, greedy()).tokens,
        made.tokens
    );
}

#[test]
fn an_answer_ends_at_its_limit_or_with_the_context() {
    let model = llama(TensorType::Q8_0, true);
    for mut engine in [
        Engine::open(&model.path, options()).unwrap(),
        streaming(&model, 50, drafting),
    ] {
        let none = generate(&mut engine, &[1], 0, greedy());
        assert_eq!(none.outcome.finish, FinishReason::Length);
        assert!(none.tokens.is_empty());
        let one = generate(&mut engine, &[1], 1, greedy());
        assert_eq!(one.tokens.len(), 1);
        let full = generate(&mut engine, &tokens(CONTEXT - 3, 1), 100, greedy());
        // Three are evaluated, and the last one's successor is still known.
        assert_eq!(
            (full.outcome.finish, full.tokens.len()),
            (FinishReason::Length, 4)
        );
        let exact = generate(&mut engine, &tokens(CONTEXT, 1), 100, greedy());
        assert_eq!(exact.tokens.len(), 1);
    }
}

fn ask<'a>(sampler: &'a mut Sampler, cancelled: &'a dyn Fn() -> bool) -> Request<'a> {
    Request {
        prompt: &[1, 2],
        max_tokens: 10,
        sampler,
        stop: &|_| false,
        cancelled,
    }
}

#[test]
fn the_caller_can_stop_and_cancel() {
    let model = llama(TensorType::Q8_0, true);
    let mut engine = Engine::open(&model.path, options()).unwrap();
    let expected = generate(&mut engine, &[1, 2], 10, greedy()).tokens;
    let mut seen = Vec::new();
    let mut sampler = Sampler::new(greedy()).unwrap();
    let outcome = engine
        .generate(ask(&mut sampler, &|| false), &mut |t| {
            seen.push(t);
            match seen.len() {
                3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .unwrap();
    assert_eq!(outcome.finish, FinishReason::Cancelled);
    assert_eq!(seen, expected[..3]);
    // In the middle of a sweep.
    let asked = Cell::new(0);
    let cancelled = || asked.replace(asked.get() + 1) == 4;
    engine.reset();
    let outcome = engine
        .generate(ask(&mut sampler, &cancelled), &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(outcome.finish, FinishReason::Cancelled);
    assert_eq!(
        generate(&mut engine, &[1, 2], 10, greedy()).tokens,
        expected
    );
    // By a token that ends the text.
    let end = expected[4];
    let first = expected.iter().position(|&t| t == end).unwrap();
    let mut sampler = Sampler::new(greedy()).unwrap();
    let outcome = engine
        .generate(
            Request {
                stop: &|t| t == end,
                ..ask(&mut sampler, &|| false)
            },
            &mut |_| ControlFlow::Continue(()),
        )
        .unwrap();
    assert_eq!(
        (outcome.finish, outcome.generated),
        (FinishReason::Stop, first)
    );
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let model = llama(TensorType::Q8_0, true);
    let mut engine = Engine::open(&model.path, options()).unwrap();
    let mut sampler = Sampler::new(greedy()).unwrap();
    let mut error = |prompt: &[u32]| {
        let request = Request {
            prompt,
            max_tokens: 1,
            sampler: &mut sampler,
            stop: &|_| false,
            cancelled: &|| false,
        };
        let error = engine.generate(request, &mut |_| ControlFlow::Continue(()));
        error.unwrap_err()
    };
    assert!(matches!(error(&[]), EngineError::Empty));
    let unknown = error(&[VOCAB as u32]).to_string();
    assert!(unknown.contains(&VOCAB.to_string()) && unknown.contains("hint: "));
    assert!(matches!(
        error(&tokens(CONTEXT + 1, 1)),
        EngineError::Context { wanted, limit: CONTEXT } if wanted == CONTEXT + 1
    ));
}

#[test]
fn an_engine_can_move_to_another_thread() {
    fn check<T: Send>() {}
    check::<Engine>();
}
