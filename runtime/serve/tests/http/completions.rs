//! Answers in one piece, and what else there is to read.

use crate::client::{get, post};
use crate::engine::{CONTEXT, Fixture, Script, Seen, byte_tokens, ended, tokens, tools};
use expect_test::expect;
use serde_json::{Value, json};

/// What differs from run to run.
fn redact(mut value: Value) -> String {
    for key in ["id", "created"] {
        if value.get(key).is_some_and(|v| v != 0) {
            value[key] = "redacted".into();
        }
    }
    serde_json::to_string_pretty(&value).expect("plain data")
}

#[test]
fn a_completion_has_openais_shape() {
    let fixture = Fixture::new();
    fixture.says(" there was light");
    let body = json!({"model": "tiny", "prompt": "Once", "max_tokens": 50, "temperature": 0});
    let reply = post(fixture.address, "/v1/completions", &body);
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .header("content-type")
            .is_some_and(|t| t == "application/json")
    );
    let value = reply.json();
    assert!(
        value["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("cmpl-"))
    );
    let made = tokens(" there was light").len();
    let prompt = tools(true).tokenizer.encode("Once", true).expect("tokens");
    assert_eq!(value["usage"]["completion_tokens"], made);
    assert_eq!(value["usage"]["prompt_tokens"], prompt.len());
    assert_eq!(fixture.news(), Seen::Prompt(prompt, 50));
    expect![[r#"
        {
          "choices": [
            {
              "finish_reason": "stop",
              "index": 0,
              "logprobs": null,
              "text": " there was light"
            }
          ],
          "created": "redacted",
          "id": "redacted",
          "model": "tiny",
          "object": "text_completion",
          "system_fingerprint": "lampyris-0.1.0",
          "usage": {
            "completion_tokens": 4,
            "prompt_tokens": 3,
            "prompt_tokens_details": {
              "cached_tokens": 0
            },
            "total_tokens": 7
          }
        }"#]]
    .assert_eq(&redact(value));
}

#[test]
fn a_chat_goes_through_the_models_template() {
    let fixture = Fixture::new();
    fixture.says("Hello!");
    let body = json!({"messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]});
    let value = post(fixture.address, "/v1/chat/completions", &body).json();
    let prompt = tokens("<system>Be kind.\n<user>Hi\n<assistant>");
    let room = CONTEXT - prompt.len();
    assert_eq!(fixture.news(), Seen::Prompt(prompt, room));
    expect![[r#"
        {
          "choices": [
            {
              "finish_reason": "stop",
              "index": 0,
              "logprobs": null,
              "message": {
                "content": "Hello!",
                "role": "assistant"
              }
            }
          ],
          "created": "redacted",
          "id": "redacted",
          "model": "tiny",
          "object": "chat.completion",
          "system_fingerprint": "lampyris-0.1.0",
          "usage": {
            "completion_tokens": 4,
            "prompt_tokens": 24,
            "prompt_tokens_details": {
              "cached_tokens": 0
            },
            "total_tokens": 28
          }
        }"#]]
    .assert_eq(&redact(value));
}

#[test]
fn the_next_turn_reuses_the_cache() {
    let fixture = Fixture::new();
    let ask = |prompt: &str| {
        fixture.says("x");
        let body = json!({"prompt": prompt});
        post(fixture.address, "/v1/completions", &body).json()
    };
    let cached = |v: &Value| v["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    assert_eq!(cached(&ask("a b c")), 0);
    let first = tools(true).tokenizer.encode("a b c", true).expect("tokens");
    let second = ask("a b c d");
    assert_eq!(cached(&second), first.len());
    assert_eq!(
        fixture.metric("lampyris_prompt_tokens_reused_total"),
        first.len() as f64
    );
}

#[test]
fn the_end_has_a_reason() {
    let fixture = Fixture::new();
    let ask = |more: Value| {
        let mut body = json!({"prompt": "a"});
        for (key, value) in more.as_object().expect("an object") {
            body[key] = value.clone();
        }
        let value = post(fixture.address, "/v1/completions", &body).json();
        let choice = &value["choices"][0];
        (choice["text"].clone(), choice["finish_reason"].clone())
    };
    let text = " a b c d e f";
    fixture.says(text);
    assert_eq!(
        ask(json!({"max_tokens": 100})),
        (text.into(), "stop".into())
    );
    // Not ended: the limit does it.
    fixture.script(Script::Tokens(tokens(text)));
    let expected = tools(false).tokenizer.decode(&tokens(text)[..3]);
    let expected = expected.expect("text");
    assert_eq!(
        ask(json!({"max_tokens": 3})),
        (expected.into(), "length".into())
    );
    fixture.script(Script::Tokens(vec![tokens(" a")[0]; 40]));
    let sixteen = " a".repeat(16);
    assert_eq!(
        ask(json!({})),
        (sixteen.into(), "length".into()),
        "OpenAI's default"
    );
    fixture.says(text);
    assert_eq!(ask(json!({"stop": "c d"})), (" a b ".into(), "stop".into()));
    fixture.says(text);
    assert_eq!(
        ask(json!({"stop": ["zz", " e"]})),
        (" a b c d".into(), "stop".into())
    );
}

#[test]
fn characters_and_stops_spread_over_tokens_stay_whole() {
    let fixture = Fixture::new();
    let ask = |text: &str, stop: &str| {
        fixture.script(Script::Tokens(ended(byte_tokens(text))));
        let body = json!({"prompt": "a", "max_tokens": 100, "stop": stop});
        let value = post(fixture.address, "/v1/completions", &body).json();
        value["choices"][0]["text"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert_eq!(ask("naïve 日本 🦀!", "#"), "naïve 日本 🦀!");
    assert_eq!(ask("naïve 日本 🦀!", "本 🦀"), "naïve 日");
    // What looked like a stop and was none.
    assert_eq!(ask("a\n\nUse it", "\n\nUser:"), "a\n\nUse it");
    // Half a character at the end.
    let mut bytes = byte_tokens("ok 🦀");
    bytes.pop();
    fixture.script(Script::Tokens(ended(bytes)));
    let body = json!({"prompt": "a", "max_tokens": 100});
    let value = post(fixture.address, "/v1/completions", &body).json();
    assert_eq!(value["choices"][0]["text"], "ok \u{fffd}");
}

#[test]
fn models_health_and_properties() {
    let fixture = Fixture::new();
    let models = get(fixture.address, "/v1/models").json();
    expect![[r#"
        {
          "data": [
            {
              "chat": true,
              "context_length": 512,
              "created": 0,
              "id": "tiny",
              "object": "model",
              "owned_by": "lampyris"
            }
          ],
          "object": "list"
        }"#]]
    .assert_eq(&redact(models.clone()));
    assert_eq!(
        get(fixture.address, "/v1/models/tiny").json(),
        models["data"][0]
    );
    get(fixture.address, "/v1/models/gpt-4").error(404);
    assert_eq!(
        get(fixture.address, "/health").json(),
        json!({"status": "ok"})
    );
    let props = get(fixture.address, "/props").json();
    assert_eq!(props["context_length"], CONTEXT);
    assert!(
        props["chat_template"]
            .as_str()
            .is_some_and(|t| t.contains("raise_exception"))
    );
}

#[test]
fn metrics_count() {
    let fixture = Fixture::new();
    fixture.says("x y");
    post(fixture.address, "/v1/completions", &json!({"prompt": "a"}));
    post(fixture.address, "/v1/completions", &json!({"prompt": 1}));
    fixture.until("lampyris_engine_reads_total", 1.0);
    assert_eq!(
        fixture.metric("lampyris_requests_total{ending=\"finished\"}"),
        1.0
    );
    assert_eq!(
        fixture.metric("lampyris_requests_total{ending=\"invalid\"}"),
        1.0
    );
    assert_eq!(
        fixture.metric("lampyris_requests_total{ending=\"cancelled\"}"),
        0.0
    );
    let made = tokens("x y").len() as f64;
    assert_eq!(fixture.metric("lampyris_generated_tokens_total"), made);
    assert_eq!(fixture.metric("lampyris_engine_read_bytes_total"), 4096.0);
    assert_eq!(fixture.metric("lampyris_engine_wait_seconds_total"), 0.25);
    assert_eq!(fixture.metric("lampyris_first_token_seconds_count"), 1.0);
    let text = get(fixture.address, "/metrics").body;
    assert!(text.ends_with("# EOF\n"), "{text}");
}
