//! From a prompt to tokens.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::Sampler;

use super::{Engine, EngineError, Want, draft};

/// What to generate.
pub struct Request<'a> {
    /// Tokens of the prompt, at least one.
    pub prompt: &'a [u32],
    /// Most tokens to make.
    pub max_tokens: usize,
    /// Chooses the tokens.
    pub sampler: &'a mut Sampler,
    /// True for a token that ends the text; it is not shown.
    pub stop: &'a dyn Fn(u32) -> bool,
    /// True once nobody wants the result any more. Asked between the layers, so that a long
    /// prompt or slow storage can be interrupted.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("prompt", &self.prompt.len())
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model made a token that ends the text.
    Stop,
    /// The tokens asked for were made, or the context is full.
    Length,
    /// The caller said so.
    Cancelled,
}

/// A generation that ended without failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, how many were still remembered from before and not evaluated again.
    pub reused: usize,
    /// Tokens made.
    pub generated: usize,
}

/// A generation in progress.
struct Run<'r, 'a> {
    request: Request<'r>,
    on_token: &'a mut dyn FnMut(u32) -> ControlFlow<()>,
    generated: usize,
}

impl Run<'_, '_> {
    /// Shows a token; says whether, and why, it was the last.
    fn emit(&mut self, token: u32) -> Option<FinishReason> {
        self.generated += 1;
        if (self.on_token)(token).is_break() {
            return Some(FinishReason::Cancelled);
        }
        (self.generated >= self.request.max_tokens).then_some(FinishReason::Length)
    }
}

impl Engine {
    /// Evaluates the prompt and makes tokens, each of which `on_token` sees at once; `Break` ends
    /// the generation.
    ///
    /// What the prompt has in common with the current sequence is not evaluated again. Drafts
    /// change the speed only: a drafted token counts where the sampler, in its state, chooses it.
    ///
    /// # Errors
    /// An empty prompt, a token outside the vocabulary, a prompt longer than the context, logits
    /// that cannot be sampled, and what storage says. The engine stays usable.
    pub fn generate(
        &mut self,
        request: Request<'_>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Outcome, EngineError> {
        let prompt = request.prompt;
        if prompt.is_empty() {
            return Err(EngineError::Empty);
        }
        self.check(prompt, 0)?;
        let reused = self.rewind(prompt);
        let mut run = Run {
            request,
            on_token,
            generated: 0,
        };
        let finish = match self.run(&mut run) {
            Ok(finish) => finish,
            Err(EngineError::Cancelled) => FinishReason::Cancelled,
            Err(e) => return Err(e),
        };
        Ok(Outcome {
            finish,
            prompt_tokens: prompt.len(),
            reused,
            generated: run.generated,
        })
    }

    /// Shortens the sequence to what it has in common with `prompt`, but for the last token of
    /// the prompt, whose logits are needed.
    pub(super) fn rewind(&mut self, prompt: &[u32]) -> usize {
        let pairs = self.tokens.iter().zip(prompt);
        let common = pairs.take_while(|(a, b)| a == b).count();
        let kept = common.min(prompt.len() - 1);
        if !self.cache.reaches(kept) {
            self.reset();
            return 0;
        }
        self.tokens.truncate(kept);
        kept
    }

    fn run(&mut self, run: &mut Run<'_, '_>) -> Result<FinishReason, EngineError> {
        if run.request.max_tokens == 0 {
            return Ok(FinishReason::Length);
        }
        let prompt = run.request.prompt;
        let mut left = &prompt[self.tokens.len()..];
        while !left.is_empty() {
            let (part, rest) = left.split_at(left.len().min(self.most()));
            let want = if rest.is_empty() {
                Want::Last
            } else {
                Want::Nothing
            };
            let next = rest.len() <= self.shape.batch;
            self.sweep(part, want, next, run.request.cancelled)?;
            self.tokens.extend_from_slice(part);
            left = rest;
        }
        let vocab = self.spec.vocab_size;
        let mut token = run.request.sampler.sample(&self.scratch.logits[..vocab])?;
        loop {
            if (run.request.stop)(token) {
                return Ok(FinishReason::Stop);
            }
            if let Some(finish) = run.emit(token) {
                return Ok(finish);
            }
            if self.room() == 0 {
                return Ok(FinishReason::Length);
            }
            match self.step(token, run)? {
                ControlFlow::Continue(next) => token = next,
                ControlFlow::Break(finish) => return Ok(finish),
            }
        }
    }

    /// Tokens that still fit the context.
    fn room(&self) -> usize {
        match self.options.ring {
            Some(_) => usize::MAX,
            None => self.shape.context - self.tokens.len(),
        }
    }

    /// Evaluates `token` with a draft of what may follow; emits the part of the draft that the
    /// sampler agrees with, and returns the first token that it chose itself.
    fn step(
        &mut self,
        token: u32,
        run: &mut Run<'_, '_>,
    ) -> Result<ControlFlow<FinishReason, u32>, EngineError> {
        let start = Instant::now();
        let mut tokens = std::mem::take(&mut self.draft);
        self.make_draft(token, run, &mut tokens);
        let outcome = self.sweep(&tokens, Want::All, true, run.request.cancelled);
        if let Err(e) = outcome {
            self.draft = tokens;
            return Err(e);
        }
        let seconds = start.elapsed().as_secs_f64();
        self.tokens.push(token);
        let accepted = self.verify(&tokens[1..], run);
        let drafted = tokens.len() - 1;
        tokens.clear();
        self.draft = tokens;
        let (accepted, flow) = accepted?;
        self.stats.drafted += drafted as u64;
        self.stats.accepted += accepted as u64;
        self.adaptive.record(drafted, accepted, seconds);
        Ok(flow)
    }

    /// Samples row by row while the draft is right.
    fn verify(
        &mut self,
        draft: &[u32],
        run: &mut Run<'_, '_>,
    ) -> Result<(usize, ControlFlow<FinishReason, u32>), EngineError> {
        let vocab = self.spec.vocab_size;
        let mut accepted = 0;
        loop {
            let row = &self.scratch.logits[accepted * vocab..][..vocab];
            let token = run.request.sampler.sample(row)?;
            if draft.get(accepted) != Some(&token) {
                return Ok((accepted, ControlFlow::Continue(token)));
            }
            if (run.request.stop)(token) {
                return Ok((accepted, ControlFlow::Break(FinishReason::Stop)));
            }
            accepted += 1;
            // Its keys and values are those of this sweep.
            self.tokens.push(token);
            if let Some(finish) = run.emit(token) {
                return Ok((accepted, ControlFlow::Break(finish)));
            }
        }
    }

    /// `token` and, after it, a draft as long as promises to pay.
    fn make_draft(&mut self, token: u32, run: &Run<'_, '_>, tokens: &mut Vec<u32>) {
        tokens.clear();
        if let Some(options) = &self.options.draft {
            // A draft ends where the answer must, and leaves room for the token after it.
            let wanted = run.request.max_tokens - run.generated;
            let most = self.most().min(self.room()).min(self.shape.logits);
            let limit = (wanted - 1).min(most - 1);
            self.tokens.push(token);
            draft::look_up(&self.tokens, options, limit, tokens);
            self.tokens.pop();
            tokens.truncate(self.adaptive.best(tokens.len()));
        }
        tokens.insert(0, token);
    }
}
