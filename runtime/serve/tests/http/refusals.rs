//! Requests that cannot be served, and what they are told.

use crate::client::{get, head, open, post, raw, send};
use crate::engine::{CONTEXT, Fixture};
use expect_test::expect;
use lampyris_serve::Config;
use serde_json::json;
use std::time::Duration;

#[test]
fn errors_have_openais_shape() {
    let fixture = Fixture::new();
    let body = json!({"prompt": "a", "n": 2});
    let reply = post(fixture.address, "/v1/completions", &body);
    reply.error(400);
    expect![[r#"
        {
          "error": {
            "code": "unsupported_parameter",
            "message": "`n` is not supported: one answer is made for each request\nhint: leave the field out",
            "param": "n",
            "type": "invalid_request_error"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&reply.json()).expect("plain data"));
}

#[test]
fn wrong_bodies_are_named() {
    let fixture = Fixture::new();
    let mut told = String::new();
    for body in [
        "",
        "{\"prompt\": \"a\",",
        "[1]",
        "{}",
        "{\"prompt\": \"a\", \"temperature\": \"hot\"}",
        "{\"prompt\": \"a\", \"top_p\": 7}",
        "{\"prompt\": \"a\", \"max_token\": 7, \"mirostat\": 2}",
        "{\"prompt\": \"a\", \"model\": \"gpt-4\"}",
        "{\"prompt\": \"\\ud800\"}",
        "{\"prompt\": [99999]}",
        "{\"prompt\": [\"a\", \"b\"]}",
        "{\"prompt\": \"\"}",
    ] {
        let reply = open(send(fixture.address, "/v1/completions", body)).reply();
        let message = reply.error(reply.status);
        told.push_str(&format!(
            "{} {body}\n    {}\n",
            reply.status,
            message.replace('\n', "\n    ")
        ));
    }
    expect![[r#"
        400 
            the body is not JSON: EOF while parsing a value at line 1 column 0
            hint: send one JSON object, in UTF-8
        400 {"prompt": "a",
            the body is not JSON: EOF while parsing a value at line 1 column 15
            hint: send one JSON object, in UTF-8
        400 [1]
            the body is a list, not a JSON object
            hint: send {"model": ..., ...}
        400 {}
            `prompt` is missing
            hint: add the field
        400 {"prompt": "a", "temperature": "hot"}
            `temperature`: invalid type: string "hot", expected f32
            hint: correct the field's type or range
        400 {"prompt": "a", "top_p": 7}
            top_p is 7, which is outside above 0 to 1
            hint: choose a value in that range
        400 {"prompt": "a", "max_token": 7, "mirostat": 2}
            unknown fields: `max_token`, `mirostat`
            hint: correct the name or leave it out; nothing is ignored silently
        404 {"prompt": "a", "model": "gpt-4"}
            the model `gpt-4` is not here
            hint: this server has `tiny`; name it or leave `model` out
        400 {"prompt": "\ud800"}
            the body is not JSON: unexpected end of hex escape at line 1 column 19
            hint: send one JSON object, in UTF-8
        400 {"prompt": [99999]}
            token 99999 is outside the vocabulary of 1024
            hint: use this model's tokenizer
        400 {"prompt": ["a", "b"]}
            `prompt` is a list of 2 prompts, and one request makes one answer
            hint: give one text or one list of token ids
        400 {"prompt": ""}
            `prompt` has no tokens
            hint: send some text
    "#]]
    .assert_eq(&told);
}

#[test]
fn chats_that_the_template_refuses() {
    let fixture = Fixture::new();
    let body = json!({"messages": [{"role": "wizard", "content": "x"}]});
    let reply = post(fixture.address, "/v1/chat/completions", &body);
    let message = reply.error(400);
    assert!(message.contains("no role wizard"), "{message}");
    assert_eq!(reply.json()["error"]["code"], "chat_template");
    let plain = Fixture::with(Config::new("tiny"), false);
    let body = json!({"messages": [{"role": "user", "content": "x"}]});
    let reply = post(plain.address, "/v1/chat/completions", &body);
    let message = reply.error(400);
    assert!(message.contains("no chat template"), "{message}");
}

#[test]
fn prompts_longer_than_the_context() {
    let fixture = Fixture::new();
    let body = json!({"prompt": vec![5; CONTEXT]});
    let reply = post(fixture.address, "/v1/completions", &body);
    let message = reply.error(400);
    assert!(message.contains("512 tokens, the context 512"), "{message}");
    assert_eq!(reply.json()["error"]["code"], "context_length_exceeded");
    fixture.says("x");
    let body = json!({"prompt": vec![5; CONTEXT - 1], "max_tokens": 1000});
    assert_eq!(post(fixture.address, "/v1/completions", &body).status, 200);
}

#[test]
fn bodies_that_are_too_large_or_too_late() {
    let mut config = Config::new("tiny");
    config.body_limit = 1000;
    let fixture = Fixture::with(config.clone(), true);
    let body = json!({"prompt": "a".repeat(2000)}).to_string();
    let message = open(send(fixture.address, "/v1/completions", &body))
        .reply()
        .error(413);
    assert!(message.contains("larger than 1000 bytes"), "{message}");
    // Without a length, in chunks.
    let extra = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let request = head("POST", "/v1/completions", extra) + &chunks;
    let late = raw(fixture.address, request.as_bytes());
    open(late).reply().error(413);
    // A body that stops in the middle.
    config.body_timeout = Duration::from_millis(50);
    let fixture = Fixture::with(config, true);
    let extra = "Content-Type: application/json\r\nContent-Length: 100\r\n";
    let request = head("POST", "/v1/completions", extra) + "{\"prompt\"";
    let late = raw(fixture.address, request.as_bytes());
    open(late).reply().error(408);
}

#[test]
fn heads_that_never_end_are_cut_off() {
    use std::io::Read;
    let mut config = Config::new("tiny");
    config.header_timeout = Duration::from_millis(50);
    let fixture = Fixture::with(config, true);
    let mut slow = raw(
        fixture.address,
        b"POST /v1/completions HTTP/1.1\r\nHost: lo",
    );
    let mut rest = Vec::new();
    // The server closes: reading ends, by an end of file or by a reset.
    let _ = slow.read_to_end(&mut rest);
    assert_eq!(get(fixture.address, "/health").status, 200);
}

#[test]
fn wrong_paths_methods_and_types() {
    let fixture = Fixture::new();
    get(fixture.address, "/v1/embeddings").error(404);
    get(fixture.address, "/v1/completions").error(405);
    let request = head(
        "POST",
        "/v1/completions",
        "Content-Type: text/plain\r\nContent-Length: 2\r\n",
    );
    let reply = open(raw(fixture.address, (request + "{}").as_bytes())).reply();
    let message = reply.error(415);
    assert!(message.contains("application/json"), "{message}");
    let garbage = open(raw(fixture.address, b"\x16\x03\x01 hello\r\n\r\n"));
    assert_eq!(garbage.status, 400);
}
