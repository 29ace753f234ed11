//! The engine's thread: takes jobs, makes text, tells clients.

use crate::error::ApiError;
use crate::generate::{Ask, Finish, Generate, GenerateError, Outcome};
use crate::metrics::{Ending, Metrics};
use crate::queue::{Done, Event, Job, Queue};
use crate::stop::StopMatcher;
use lampyris_import::saved::TextTools;
use lampyris_import::tokenizer::{DecodeStream, TokenizerError};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// What the engine's thread shares with HTTP.
pub(crate) struct Shared {
    pub(crate) tools: TextTools,
    pub(crate) queue: Queue,
    pub(crate) metrics: Metrics,
    /// Set when the running job must end too.
    pub(crate) abort: AtomicBool,
}

/// Serves jobs until the queue is closed.
pub(crate) fn run(engine: &mut dyn Generate, shared: &Shared) {
    while let Some(job) = shared.queue.pop() {
        let ending = serve(engine, job, shared);
        shared.metrics.ended(ending);
        shared.metrics.engine(engine.counters());
    }
}

/// One job from prompt to end.
fn serve(engine: &mut dyn Generate, job: Job, shared: &Shared) -> Ending {
    let Job {
        prompt,
        max_tokens,
        mut sampler,
        stops,
        events,
    } = job;
    let mut text = Text::new(shared, stops, &events);
    let tokenizer = &shared.tools.tokenizer;
    let result = engine.generate(Ask {
        prompt: &prompt,
        max_tokens,
        sampler: &mut sampler,
        is_end: &|id| tokenizer.is_eos(id),
        on_token: &mut |id| text.push(id),
        cancelled: &|| events.is_closed() || shared.abort.load(Ordering::Relaxed),
    });
    let made = text.made;
    let aborted = shared.abort.load(Ordering::Relaxed);
    let end = text.end(result, aborted);
    if let Ok(Some((finish, reused))) = &end {
        shared.metrics.tokens(prompt.len(), *reused, made);
        let done = Done {
            finish,
            prompt_tokens: prompt.len(),
            cached_tokens: *reused,
            completion_tokens: made,
        };
        // A client that left during the last token hears nothing, and misses nothing.
        let _ = events.send(Event::Done(done));
        return Ending::Finished;
    }
    shared.metrics.tokens(prompt.len(), 0, made);
    match end {
        Err(error) => {
            let _ = events.send(Event::Failed(error));
            Ending::Failed
        }
        Ok(_) => Ending::Cancelled,
    }
}

/// The text of one job: tokens to characters, stop strings, client.
struct Text<'a> {
    /// Taken at the end.
    stream: Option<DecodeStream<'a>>,
    matcher: StopMatcher,
    events: &'a UnboundedSender<Event>,
    metrics: &'a Metrics,
    made: usize,
    last: Instant,
    stopped: bool,
    failure: Option<TokenizerError>,
}

impl<'a> Text<'a> {
    fn new(shared: &'a Shared, stops: Vec<String>, events: &'a UnboundedSender<Event>) -> Self {
        Self {
            stream: Some(shared.tools.tokenizer.decode_stream()),
            matcher: StopMatcher::new(stops),
            events,
            metrics: &shared.metrics,
            made: 0,
            last: Instant::now(),
            stopped: false,
            failure: None,
        }
    }

    /// Takes a token; says whether the engine should go on.
    fn push(&mut self, id: u32) -> ControlFlow<()> {
        let now = Instant::now();
        self.metrics.token(self.made == 0, now - self.last);
        self.last = now;
        self.made += 1;
        let piece = match &mut self.stream {
            Some(stream) => stream.push(id),
            None => Ok(String::new()),
        };
        match piece {
            Ok(piece) => self.show(&piece),
            Err(e) => {
                self.failure = Some(e);
                ControlFlow::Break(())
            }
        }
    }

    /// Shows what is certain of the text so far.
    fn show(&mut self, piece: &str) -> ControlFlow<()> {
        let shown = self.matcher.push(piece);
        self.stopped = shown.stopped;
        let sent = self.send(shown.text);
        if self.stopped || !sent {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// False if nobody listens any more.
    fn send(&self, text: String) -> bool {
        if text.is_empty() {
            return !self.events.is_closed();
        }
        self.events.send(Event::Text(text)).is_ok()
    }

    /// Shows the rest. The reason of the end with the reused tokens; `None` if the client left.
    fn end(
        mut self,
        result: Result<Outcome, GenerateError>,
        aborted: bool,
    ) -> Result<Option<(&'static str, usize)>, ApiError> {
        let outcome = result.map_err(|e| ApiError::engine(e.to_string()))?;
        if let Some(e) = self.failure.take() {
            return Err(ApiError::engine(e.to_string()));
        }
        if self.stopped {
            return Ok(Some(("stop", outcome.reused)));
        }
        let finish = match outcome.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Cancelled if aborted => return Err(ApiError::shutting_down()),
            Finish::Cancelled => return Ok(None),
        };
        if let Some(stream) = self.stream.take() {
            let rest = stream
                .finish()
                .map_err(|e| ApiError::engine(e.to_string()))?;
            let _ = self.show(&rest);
        }
        if self.stopped {
            return Ok(Some(("stop", outcome.reused)));
        }
        let held = self.matcher.finish();
        self.send(held);
        Ok(Some((finish, outcome.reused)))
    }
}
