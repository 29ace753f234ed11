//! One generation: tokens to text as they come, and what they took.

use crate::interrupt::Interrupt;
use anyhow::Result;
use lampyris_import::saved::TextTools;
use lampyris_runtime::Sampler;
use lampyris_serve::{Ask, Counters, Finish, Generate};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// A generation that ended.
pub(super) struct Ran {
    pub(super) prompt: Vec<u32>,
    /// Tokens of the prompt that were remembered from before.
    pub(super) reused: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) text: String,
    pub(super) finish: Finish,
    /// Until the first token.
    first: Duration,
    /// From the first token to the last.
    rest: Duration,
    /// What the engine did for it.
    pub(super) counters: Counters,
}

impl Ran {
    /// Tokens of the prompt per second, if any were evaluated.
    pub(super) fn prefill_rate(&self) -> Option<f64> {
        rate(self.prompt.len() - self.reused, self.first)
    }

    /// Tokens per second after the first, which belongs to the prompt.
    pub(super) fn decode_rate(&self) -> Option<f64> {
        rate(self.tokens.len().saturating_sub(1), self.rest)
    }
}

fn rate(n: usize, time: Duration) -> Option<f64> {
    (n > 0 && time > Duration::ZERO).then(|| n as f64 / time.as_secs_f64())
}

/// Generates; `show` sees each token with the text that became certain, and at the end text
/// without a token.
pub(super) fn generate(
    engine: &mut dyn Generate,
    tools: &TextTools,
    sampler: &mut Sampler,
    (prompt, max_tokens): (Vec<u32>, usize),
    interrupt: &Interrupt,
    show: &mut dyn FnMut(Option<u32>, &str),
) -> Result<Ran> {
    let before = engine.counters();
    let mut stream = tools.tokenizer.decode_stream();
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let mut failure = None;
    let start = Instant::now();
    let (mut first, mut last) = (start, start);
    let outcome = interrupt.during(|| {
        engine.generate(Ask {
            prompt: &prompt,
            max_tokens,
            sampler,
            is_end: &|id| tools.tokenizer.is_eos(id),
            on_token: &mut |id| {
                last = Instant::now();
                if tokens.is_empty() {
                    first = last;
                }
                tokens.push(id);
                match stream.push(id) {
                    Ok(piece) => {
                        show(Some(id), &piece);
                        text.push_str(&piece);
                    }
                    Err(e) => failure = Some(e),
                }
                if failure.is_some() || interrupt.raised() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
            cancelled: &|| interrupt.raised(),
        })
    });
    let outcome = outcome.map_err(anyhow::Error::from_boxed)?;
    if let Some(e) = failure {
        return Err(e.into());
    }
    let rest = stream.finish()?;
    show(None, &rest);
    text.push_str(&rest);
    Ok(Ran {
        prompt,
        reused: outcome.reused,
        tokens,
        text,
        finish: outcome.finish,
        first: first - start,
        rest: last - first,
        counters: since(engine.counters(), before),
    })
}

fn since(now: Counters, before: Counters) -> Counters {
    Counters {
        read_bytes: now.read_bytes - before.read_bytes,
        reads: now.reads - before.reads,
        wait_seconds: now.wait_seconds - before.wait_seconds,
        compute_seconds: now.compute_seconds - before.compute_seconds,
        peak_rss_bytes: now.peak_rss_bytes,
    }
}
