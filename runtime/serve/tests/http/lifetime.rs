//! How a server ends, and with it its requests.

use crate::client::{get, open, send};
use crate::engine::{Fixture, Script, Seen, tools};
use lampyris_serve::{Config, Finish, ServeError, Server};
use serde_json::Value;
use std::net::TcpStream;
use std::time::Duration;

const PATH: &str = "/v1/completions";
const STREAM: &str = r#"{"prompt": "a", "stream": true, "max_tokens": 400}"#;
const WHOLE: &str = r#"{"prompt": "a", "max_tokens": 400}"#;

fn patient(grace: Duration) -> Fixture {
    let mut config = Config::new("tiny");
    config.grace = grace;
    Fixture::with(config, true)
}

fn error_of(event: &str) -> String {
    let value: Value = serde_json::from_str(event).expect("JSON");
    value["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_shutdown_lets_the_running_request_finish_and_refuses_the_others() {
    let mut fixture = patient(Duration::from_secs(3600));
    let permits = fixture.gated(" a");
    let mut running = open(send(fixture.address, PATH, STREAM));
    fixture.begun();
    let waiting = send(fixture.address, PATH, WHOLE);
    fixture.until("lampyris_queue_waiting", 1.0);
    fixture.handle.shutdown();
    open(waiting).reply().error(503);
    permits.send(()).expect("the engine lives");
    assert!(running.event().is_some_and(|e| e.contains("\" a\"")));
    drop(permits);
    let events = running.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    fixture.end().expect("a clean end");
    TcpStream::connect(fixture.address).expect_err("the port is closed");
}

#[test]
fn a_shutdown_stops_a_request_whose_grace_is_over() {
    let mut fixture = patient(Duration::ZERO);
    let permits = fixture.gated(" a");
    let running = open(send(fixture.address, PATH, STREAM));
    fixture.begun();
    fixture.handle.shutdown();
    let events = running.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(error_of(&events[0]), "shutting_down");
    assert_eq!(fixture.news(), Seen::Ended(Finish::Cancelled, 0));
    fixture.end().expect("a clean end");
    drop(permits);
}

#[test]
fn a_second_shutdown_ends_the_patience() {
    let mut fixture = patient(Duration::from_secs(3600));
    let permits = fixture.gated(" a");
    let running = send(fixture.address, PATH, WHOLE);
    fixture.begun();
    fixture.handle.shutdown();
    fixture.handle.shutdown();
    open(running).reply().error(503);
    fixture.end().expect("a clean end");
    drop(permits);
}

#[test]
fn an_idle_connection_does_not_hold_the_server() {
    let mut fixture = patient(Duration::from_secs(3600));
    // Used once and kept open.
    let head = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let idle = crate::client::raw(fixture.address, head.as_bytes());
    let kept = idle.try_clone().expect("a second handle");
    assert_eq!(open(idle).reply().status, 200);
    let silent = TcpStream::connect(fixture.address).expect("connects");
    fixture.handle.shutdown();
    fixture.end().expect("a clean end");
    drop((kept, silent));
}

#[test]
fn an_engine_that_panics_ends_the_server_with_an_error() {
    let mut fixture = Fixture::new();
    fixture.script(Script::Panics);
    let message = open(send(fixture.address, PATH, WHOLE)).reply().error(500);
    assert!(message.contains("stopped unexpectedly"), "{message}");
    match fixture.end() {
        Err(ServeError::Engine(message)) => assert_eq!(message, "the script says so"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    struct Nothing;
    impl lampyris_serve::Generate for Nothing {
        fn generate(
            &mut self,
            _: lampyris_serve::Ask<'_>,
        ) -> Result<lampyris_serve::Outcome, lampyris_serve::GenerateError> {
            Err("never asked".into())
        }
        fn context(&self) -> usize {
            1
        }
        fn counters(&self) -> lampyris_serve::Counters {
            lampyris_serve::Counters::default()
        }
    }
    let fixture = Fixture::new();
    let second = Server::bind(
        fixture.address,
        Config::new("x"),
        tools(false),
        Box::new(Nothing),
    );
    let message = second.err().expect("the port is taken").to_string();
    assert!(message.contains(&fixture.address.to_string()), "{message}");
    assert!(message.contains("\nhint: "), "{message}");
    assert_eq!(get(fixture.address, "/health").status, 200);
}
