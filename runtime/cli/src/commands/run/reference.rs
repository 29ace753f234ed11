//! The f32 reference executor behind the interface of the engine: every prompt from its start.

use lampyris_runtime::Reference;
use lampyris_serve::{Ask, Counters, Finish, Generate, GenerateError, Outcome};

/// The arbiter: exact and slow.
pub(super) struct Arbiter<'m> {
    pub(super) reference: Reference<'m>,
    pub(super) context: usize,
}

impl Generate for Arbiter<'_> {
    fn generate(&mut self, ask: Ask<'_>) -> Result<Outcome, GenerateError> {
        let mut session = self.reference.session();
        let mut logits = session.prefill(ask.prompt)?;
        let mut made = 0;
        let finish = loop {
            if (ask.cancelled)() {
                break Finish::Cancelled;
            }
            let token = ask.sampler.sample(&logits)?;
            if (ask.is_end)(token) {
                break Finish::Stop;
            }
            made += 1;
            if (ask.on_token)(token).is_break() {
                break Finish::Cancelled;
            }
            if made == ask.max_tokens || session.position() == self.context {
                break Finish::Length;
            }
            logits = session.step(token)?;
        };
        Ok(Outcome { finish, reused: 0 })
    }

    fn context(&self) -> usize {
        self.context
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}
