//! The flash-offload engine as the server's generator.

use crate::generate::{Ask, Counters, Finish, Generate, GenerateError, Outcome};
use lampyris_runtime::engine::{Engine, EngineError, FinishReason, Request};

impl Generate for Engine {
    fn generate(&mut self, ask: Ask<'_>) -> Result<Outcome, GenerateError> {
        let request = Request {
            prompt: ask.prompt,
            max_tokens: ask.max_tokens,
            sampler: ask.sampler,
            stop: ask.is_end,
            cancelled: ask.cancelled,
        };
        match Engine::generate(self, request, ask.on_token) {
            Ok(outcome) => Ok(Outcome {
                finish: match outcome.finish {
                    FinishReason::Stop => Finish::Stop,
                    FinishReason::Length => Finish::Length,
                    FinishReason::Cancelled => Finish::Cancelled,
                },
                reused: outcome.reused,
            }),
            // In the middle of a sweep; the sequence is as it was before.
            Err(EngineError::Cancelled) => Ok(Outcome {
                finish: Finish::Cancelled,
                reused: 0,
            }),
            Err(error) => Err(error.into()),
        }
    }

    fn context(&self) -> usize {
        Engine::context(self)
    }

    fn counters(&self) -> Counters {
        let stats = self.stats();
        Counters {
            read_bytes: stats.bytes_read,
            reads: stats.reads,
            wait_seconds: stats.io_wait_ms / 1e3,
            compute_seconds: stats.compute_ms / 1e3,
            peak_rss_bytes: stats.peak_rss.unwrap_or(0),
        }
    }
}
