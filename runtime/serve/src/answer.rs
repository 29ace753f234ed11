//! Answers in OpenAI's JSON, whole and in pieces.

use crate::queue::Done;
use serde_json::{Value, json};

/// Which of the two kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `/v1/completions`.
    Completion,
    /// `/v1/chat/completions`.
    Chat,
}

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl Answer {
    fn object(&self, stream: bool) -> &'static str {
        match (self.kind, stream) {
            (Kind::Completion, _) => "text_completion",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
        }
    }

    fn envelope(&self, stream: bool, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": self.object(stream),
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("lampyris-", env!("CARGO_PKG_VERSION")),
            "choices": choices,
        })
    }

    /// The answer without streaming.
    pub(crate) fn whole(&self, text: &str, done: &Done) -> Value {
        let mut choice = match self.kind {
            Kind::Completion => json!({"text": text}),
            Kind::Chat => json!({"message": {"role": "assistant", "content": text}}),
        };
        choice["index"] = 0.into();
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = done.finish.into();
        let mut value = self.envelope(false, json!([choice]));
        value["usage"] = usage(done);
        value
    }

    /// What a stream begins with, before there is text.
    pub(crate) fn first(&self) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": ""});
        (self.kind == Kind::Chat).then(|| self.chunk(&delta, None))
    }

    /// More text of a stream.
    pub(crate) fn piece(&self, text: &str) -> Value {
        let delta = match self.kind {
            Kind::Completion => json!(text),
            Kind::Chat => json!({"content": text}),
        };
        self.chunk(&delta, None)
    }

    /// The end of a stream's text.
    pub(crate) fn last(&self, done: &Done) -> Value {
        let delta = match self.kind {
            Kind::Completion => json!(""),
            Kind::Chat => json!({}),
        };
        self.chunk(&delta, Some(done.finish))
    }

    /// What a stream ends with if the client asked for it.
    pub(crate) fn usage(&self, done: &Done) -> Value {
        let mut value = self.envelope(true, json!([]));
        value["usage"] = usage(done);
        value
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> Value {
        let key = match self.kind {
            Kind::Completion => "text",
            Kind::Chat => "delta",
        };
        let choice = json!({"index": 0, key: delta, "logprobs": null, "finish_reason": finish});
        self.envelope(true, json!([choice]))
    }
}

fn usage(done: &Done) -> Value {
    json!({
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    })
}
