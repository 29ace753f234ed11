//! A client of a few lines, so that tests see bytes as they are on the wire.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A test that hangs fails after this; no test waits for it.
const HANG: Duration = Duration::from_secs(120);

/// An answer whose body has not been read.
pub(crate) struct Open {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

/// A whole answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// Sends bytes as they are.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(HANG)).expect("a timeout");
    stream.write_all(bytes).expect("the request is sent");
    stream
}

/// The head of a request.
pub(crate) fn head(method: &str, path: &str, extra: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n")
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, v)| v.as_str())
}

/// Reads the head of an answer.
pub(crate) fn open(stream: TcpStream) -> Open {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{line:?} is no status line"));
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a header");
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    Open {
        status,
        headers,
        reader,
    }
}

impl Open {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// The next chunk of a chunked body; `None` after the last.
    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.reader.read_line(&mut size).expect("a chunk's size");
        let size = usize::from_str_radix(size.trim_end(), 16).expect("hexadecimal digits");
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes).expect("a chunk");
        assert_eq!(&bytes[size..], b"\r\n");
        bytes.truncate(size);
        (size > 0).then(|| String::from_utf8(bytes).expect("a chunk is whole UTF-8 here"))
    }

    /// The data of the next server-sent event; `None` at the end of the stream.
    pub(crate) fn event(&mut self) -> Option<String> {
        loop {
            let chunk = self.chunk()?;
            // The server sends one event a chunk, each ended by an empty line.
            let event = chunk.strip_suffix("\n\n").expect("an empty line");
            match event.strip_prefix("data: ") {
                Some(data) => return Some(data.to_owned()),
                None => assert!(event.starts_with(':'), "{event:?}"),
            }
        }
    }

    /// All events that follow.
    pub(crate) fn events(mut self) -> Vec<String> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// Reads the body.
    pub(crate) fn reply(mut self) -> Reply {
        let mut bytes = Vec::new();
        match value(&self.headers, "content-length") {
            Some(length) => {
                bytes.resize(length.parse().expect("a length"), 0);
                self.reader.read_exact(&mut bytes).expect("the body");
            }
            None => {
                while let Some(chunk) = self.chunk() {
                    bytes.extend(chunk.into_bytes());
                }
            }
        }
        Reply {
            status: self.status,
            headers: self.headers,
            body: String::from_utf8(bytes).expect("text"),
        }
    }

    /// Goes away in the middle.
    pub(crate) fn leave(self) {
        let _ = self.reader.into_inner().shutdown(Shutdown::Both);
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The message of an error, after checking the shape around it.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        let value = self.json();
        let error = value["error"].as_object().expect("an error");
        let keys: Vec<_> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        let message = error["message"].as_str().expect("text").to_owned();
        assert!(message.contains("\nhint: "), "{message}");
        message
    }
}

/// Sends a JSON body.
pub(crate) fn send(address: SocketAddr, path: &str, body: &str) -> TcpStream {
    let length = body.len();
    let extra = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    raw(address, (head("POST", path, &extra) + body).as_bytes())
}

/// Sends a JSON body and waits for the whole answer.
pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Reply {
    open(send(address, path, &body.to_string())).reply()
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    open(raw(address, head("GET", path, "").as_bytes())).reply()
}
