//! More requests than the queue takes, and clients that go away.

use crate::client::{get, open, post, send};
use crate::engine::{Fixture, Seen};
use lampyris_serve::{Config, Finish};
use serde_json::json;

fn fixture(queue: usize) -> Fixture {
    let mut config = Config::new("tiny");
    config.queue = queue;
    Fixture::with(config, true)
}

const STREAM: &str = r#"{"prompt": "a", "stream": true, "max_tokens": 400}"#;
const WHOLE: &str = r#"{"prompt": "a", "max_tokens": 400}"#;
const PATH: &str = "/v1/completions";

#[test]
fn what_does_not_fit_the_queue_is_refused_at_once() {
    let fixture = fixture(2);
    let permits = fixture.gated(" a");
    let running = send(fixture.address, PATH, WHOLE);
    fixture.begun();
    let mut waiting = Vec::new();
    for count in 1..=2 {
        // Connections made at once may be queued in any order.
        waiting.push(send(fixture.address, PATH, WHOLE));
        fixture.until("lampyris_queue_waiting", f64::from(count));
    }
    for _ in 0..3 {
        let reply = open(send(fixture.address, PATH, WHOLE)).reply();
        let message = reply.error(429);
        assert!(message.contains("2 requests wait"), "{message}");
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(reply.json()["error"]["code"], "queue_full");
    }
    assert_eq!(get(fixture.address, "/health").status, 200);
    // The others are served in turn.
    drop(permits);
    assert_eq!(open(running).reply().status, 200);
    for (i, stream) in waiting.into_iter().enumerate() {
        fixture.says(&format!("answer {i}"));
        let value = open(stream).reply().json();
        assert_eq!(value["choices"][0]["text"], format!("answer {i}"));
    }
    assert_eq!(
        fixture.metric("lampyris_requests_total{ending=\"refused\"}"),
        3.0
    );
}

#[test]
fn a_client_that_leaves_in_mid_stream_stops_the_engine() {
    let fixture = fixture(4);
    let permits = fixture.gated(" a");
    let mut opened = open(send(fixture.address, PATH, STREAM));
    permits.send(()).expect("the engine lives");
    opened.event().expect("a token");
    fixture.begun();
    opened.leave();
    // No further token is allowed, and none is needed for the engine to notice.
    assert_eq!(fixture.news(), Seen::Ended(Finish::Cancelled, 1));
    fixture.until("lampyris_requests_total{ending=\"cancelled\"}", 1.0);
    fixture.says("next");
    let value = post(fixture.address, PATH, &json!({"prompt": "a"})).json();
    assert_eq!(value["choices"][0]["text"], "next");
}

#[test]
fn a_client_that_leaves_before_its_whole_answer_stops_the_engine() {
    let fixture = fixture(4);
    let permits = fixture.gated(" a");
    let stream = send(fixture.address, PATH, WHOLE);
    fixture.begun();
    drop(stream);
    assert_eq!(fixture.news(), Seen::Ended(Finish::Cancelled, 0));
    drop(permits);
}

#[test]
fn a_client_that_leaves_the_queue_is_never_served() {
    let fixture = fixture(1);
    let permits = fixture.gated(" a");
    let running = send(fixture.address, PATH, WHOLE);
    fixture.begun();
    let gone = send(fixture.address, PATH, r#"{"prompt": "gone"}"#);
    fixture.until("lampyris_queue_waiting", 1.0);
    drop(gone);
    fixture.until("lampyris_queue_waiting", 0.0);
    assert_eq!(
        fixture.metric("lampyris_requests_total{ending=\"cancelled\"}"),
        1.0
    );
    let next = send(fixture.address, PATH, r#"{"prompt": "next"}"#);
    fixture.until("lampyris_queue_waiting", 1.0);
    drop(permits);
    assert_eq!(open(running).reply().status, 200);
    assert_eq!(fixture.news(), Seen::Ended(Finish::Stop, 0));
    fixture.says("served");
    assert_eq!(open(next).reply().json()["choices"][0]["text"], "served");
    let begun = fixture.begun();
    let tokenizer = crate::engine::tools(true).tokenizer;
    assert_eq!(begun, tokenizer.encode("next", true).expect("tokens"));
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let fixture = fixture(64);
    let count = 24;
    for _ in 0..count {
        fixture.says("x");
    }
    std::thread::scope(|scope| {
        for i in 0..count {
            let address = fixture.address;
            scope.spawn(move || {
                let stream = i % 2 == 0;
                let body = json!({"prompt": "a".repeat(i + 1), "stream": stream});
                let opened = open(send(address, PATH, &body.to_string()));
                assert_eq!(opened.status, 200);
                let shown = if stream {
                    opened.events().join("\n")
                } else {
                    opened.reply().body
                };
                assert!(shown.contains("\"text\":\"x\""), "{shown}");
            });
        }
    });
    fixture.until("lampyris_requests_total{ending=\"finished\"}", count as f64);
}
