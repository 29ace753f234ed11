//! `lampyris serve` as a process: an answer over HTTP, and its end by a signal. What requests can
//! do is tested in `lampyris-serve`.

use super::process::{Running, nothing_left, start};
use super::{PROMPT, lampyris};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

const SERVE: [&str; 5] = ["serve", "tiny", "--port", "0", "--json"];

/// A server and its address.
fn server(folder: &Path, more: &[&str]) -> (Running, String) {
    let mut running = start(folder, &[&SERVE[..], more].concat());
    let event = running.event();
    assert_eq!(event["event"], "listening");
    assert_eq!(event["model"], "tiny");
    let url = event["url"].as_str().expect("text");
    let address = url.strip_prefix("http://").expect("a URL").to_owned();
    (running, address)
}

fn send(address: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let body = body.to_string();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}

#[test]
fn the_server_says_what_run_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["run", "tiny", "-p", PROMPT, "--max-tokens", "16"];
    let expected = String::from_utf8(lampyris(folder.path(), &args).stdout).expect("text");
    let (mut running, address) = server(folder.path(), &["--memory", "1GiB"]);
    let body = json!({"prompt": PROMPT, "temperature": 0, "max_tokens": 16});
    // Twice: the second time from the cache.
    for _ in 0..2 {
        let reply = answer(send(&address, &body));
        let (_, body) = reply.split_once("\r\n\r\n").expect("a body");
        let value: Value = serde_json::from_str(body).expect("JSON");
        let text = value["choices"][0]["text"].as_str().expect("text");
        assert_eq!(format!("{text}\n"), expected);
    }
    running.signal("INT");
    let (status, events) = running.end();
    assert!(status.success(), "{status}");
    assert_eq!(
        events.last().map(|e| e["event"].clone()),
        Some("ended".into())
    );
    nothing_left(folder.path());
}

#[test]
fn a_signal_ends_the_server_with_a_request_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut running, address) = server(folder.path(), &["--grace", "0"]);
    let body = json!({"prompt": PROMPT, "max_tokens": 480, "stream": true});
    let mut stream = send(&address, &body);
    let mut first = [0; 16];
    stream.read_exact(&mut first).expect("an answer begins");
    running.signal("TERM");
    let (status, _) = running.end();
    assert!(status.success(), "{status}");
    // Whole or not, the answer has ended.
    answer(stream);
    nothing_left(folder.path());
}

#[test]
fn a_taken_port_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_running, address) = server(folder.path(), &[]);
    let port = address.rsplit(':').next().expect("a port");
    let output = lampyris(folder.path(), &["serve", "tiny", "--port", port]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(
        shown.contains(&format!("cannot listen on {address}")),
        "{shown}"
    );
    assert!(shown.contains("\nhint: choose another --port"), "{shown}");
}
