//! Answers as server-sent events.

use crate::client::{Open, open, send};
use crate::engine::{Fixture, Script, byte_tokens, ended, tokens};
use serde_json::{Value, json};

fn stream(fixture: &Fixture, path: &str, body: &Value) -> Open {
    let opened = open(send(fixture.address, path, &body.to_string()));
    assert_eq!(opened.status, 200);
    assert_eq!(opened.header("content-type"), Some("text/event-stream"));
    opened
}

fn parsed(event: &str) -> Value {
    serde_json::from_str(event).unwrap_or_else(|e| panic!("{e}: {event}"))
}

/// The text of a completion's events, and the reason of its end.
fn text(events: &[String]) -> (String, Value) {
    let (end, events) = events.split_last().expect("events");
    assert_eq!(end, "[DONE]");
    let choices: Vec<_> = events
        .iter()
        .map(|e| parsed(e)["choices"][0].clone())
        .collect();
    let text = choices.iter().filter_map(|c| c["text"].as_str()).collect();
    let reason = choices
        .last()
        .map_or(Value::Null, |c| c["finish_reason"].clone());
    (text, reason)
}

#[test]
fn a_chat_streams_role_text_reason_and_usage() {
    let fixture = Fixture::new();
    fixture.says(" good day");
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true,
        "stream_options": {"include_usage": true}});
    let events = stream(&fixture, "/v1/chat/completions", &body).events();
    let (end, events) = events.split_last().expect("events");
    assert_eq!(end, "[DONE]");
    let values: Vec<_> = events.iter().map(|e| parsed(e)).collect();
    for value in &values {
        assert_eq!(value["object"], "chat.completion.chunk");
        assert_eq!(value["id"], values[0]["id"]);
    }
    let delta = |v: &Value| v["choices"][0]["delta"].clone();
    assert_eq!(
        delta(&values[0]),
        json!({"role": "assistant", "content": ""})
    );
    let (usage, values) = values.split_last().expect("more");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        usage["usage"]["completion_tokens"],
        tokens(" good day").len()
    );
    let (last, pieces) = values.split_last().expect("more");
    assert_eq!(delta(last), json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    let all: String = pieces
        .iter()
        .map(|v| delta(v)["content"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(all, " good day");
}

#[test]
fn text_comes_out_as_it_is_made() {
    let fixture = Fixture::new();
    let permits = fixture.gated(" a");
    let body = json!({"prompt": "a", "stream": true, "max_tokens": 100});
    let mut opened = stream(&fixture, "/v1/completions", &body);
    for _ in 0..5 {
        permits.send(()).expect("the engine lives");
        let event = opened.event().expect("before the next token is allowed");
        assert_eq!(parsed(&event)["choices"][0]["text"], " a");
    }
    drop(permits);
    assert_eq!(text(&opened.events()), (String::new(), "stop".into()));
}

#[test]
fn a_stop_is_never_shown_in_part() {
    let fixture = Fixture::new();
    let play = |said: &str, stop: &str| {
        fixture.script(Script::Tokens(ended(byte_tokens(said))));
        let body = json!({"prompt": "a", "stream": true, "max_tokens": 100, "stop": [stop]});
        let events = stream(&fixture, "/v1/completions", &body).events();
        text(&events)
    };
    assert_eq!(
        play("Yes.\n\nUser: no", "\n\nUser"),
        ("Yes.".into(), "stop".into())
    );
    assert_eq!(
        play("Yes.\n\nUse", "\n\nUser"),
        ("Yes.\n\nUse".into(), "stop".into())
    );
    assert_eq!(play("日本語🦀", "語🦀"), ("日本".into(), "stop".into()));
}

#[test]
fn characters_are_whole_in_every_event() {
    let fixture = Fixture::new();
    let said = "è日🦀\u{1f468}\u{200d}\u{1f469}\n\t\"\\";
    fixture.script(Script::Tokens(ended(byte_tokens(said))));
    let body = json!({"prompt": "a", "stream": true, "max_tokens": 100});
    let events = stream(&fixture, "/v1/completions", &body).events();
    assert!(events.iter().all(|e| !e.contains('\u{fffd}')), "{events:?}");
    assert_eq!(text(&events), (said.into(), "stop".into()));
}

#[test]
fn a_failure_in_mid_stream_is_an_event_and_not_an_end() {
    let fixture = Fixture::new();
    fixture.script(Script::Fails(
        "cannot read `m.gguf` at 4096: EIO\nhint: check the disk".into(),
    ));
    let body = json!({"prompt": "a", "stream": true});
    let events = stream(&fixture, "/v1/completions", &body).events();
    assert_eq!(events.len(), 1, "{events:?}");
    let error = &parsed(&events[0])["error"];
    assert_eq!(error["code"], "engine_failed");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("EIO")));
    // The next request finds a working server.
    fixture.says("fine");
    let events = stream(&fixture, "/v1/completions", &body).events();
    assert_eq!(text(&events), ("fine".into(), "stop".into()));
}
