//! An answer as server-sent events.

use crate::answer::Answer;
use crate::error::ApiError;
use crate::queue::Event;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// What follows the last event of a stream.
const END: &str = "[DONE]";

/// A stream that waits for its job's events.
struct Feed {
    events: UnboundedReceiver<Event>,
    answer: Answer,
    include_usage: bool,
    ready: VecDeque<Sent>,
    ended: bool,
}

/// The answer to a request with `"stream": true`. The status is sent at once: a failure after
/// that is an event of its own. Comments every `keep_alive` show that the server lives, and let it
/// notice a client that does not.
pub(crate) fn respond(
    events: UnboundedReceiver<Event>,
    answer: Answer,
    include_usage: bool,
    keep_alive: Duration,
) -> Response {
    let mut feed = Feed {
        events,
        answer,
        include_usage,
        ready: VecDeque::new(),
        ended: false,
    };
    if let Some(first) = feed.answer.first() {
        feed.push(&first);
    }
    let stream = futures_util::stream::unfold(feed, |mut feed| async move {
        let sent = feed.next().await?;
        Some((Ok::<_, Infallible>(sent), feed))
    });
    Sse::new(stream)
        .keep_alive(KeepAlive::new().interval(keep_alive))
        .into_response()
}

impl Feed {
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = self.ready.pop_front() {
                return Some(sent);
            }
            if self.ended {
                return None;
            }
            match self.events.recv().await {
                Some(Event::Text(text)) => self.push(&self.answer.piece(&text)),
                Some(Event::Done(done)) => {
                    self.push(&self.answer.last(&done));
                    if self.include_usage {
                        self.push(&self.answer.usage(&done));
                    }
                    self.ready.push_back(Sent::default().data(END));
                    self.ended = true;
                }
                Some(Event::Failed(error)) => self.fail(&error),
                None => self.fail(&ApiError::engine_gone()),
            }
        }
    }

    fn push(&mut self, value: &Value) {
        self.ready
            .push_back(Sent::default().data(value.to_string()));
    }

    /// The end after a failure: no `[DONE]`, so that nobody takes the text for complete.
    fn fail(&mut self, error: &ApiError) {
        self.push(&error.body());
        self.ended = true;
    }
}
