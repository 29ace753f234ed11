//! An engine that says what a test tells it to, when the test tells it to.

use lampyris_import::saved::TextTools;
use lampyris_import::template::ChatTemplate;
use lampyris_serve::{
    Ask, Config, Counters, Finish, Generate, GenerateError, Handle, Outcome, ServeError, Server,
};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Positions of the scripted engine.
pub(crate) const CONTEXT: usize = 512;

/// What the engine does with one request.
pub(crate) enum Script {
    /// Makes these tokens, then ends.
    Tokens(Vec<u32>),
    /// Makes the first token each time the test allows one, until it is stopped.
    Gated(u32, Receiver<()>),
    /// Fails with this message.
    Fails(String),
    /// Panics.
    Panics,
}

/// What the engine saw of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It began.
    Prompt(Vec<u32>, usize),
    /// It ended after this many tokens.
    Ended(Finish, usize),
}

struct Scripted {
    scripts: Receiver<Script>,
    seen: Sender<Seen>,
    last_prompt: Vec<u32>,
}

impl Scripted {
    fn play(ask: &mut Ask<'_>, script: Script) -> Result<(Finish, usize), GenerateError> {
        match script {
            Script::Tokens(tokens) => {
                for (i, token) in tokens.into_iter().enumerate() {
                    if (ask.is_end)(token) {
                        return Ok((Finish::Stop, i));
                    }
                    if i == ask.max_tokens {
                        return Ok((Finish::Length, i));
                    }
                    if (ask.on_token)(token).is_break() {
                        return Ok((Finish::Cancelled, i + 1));
                    }
                }
                Ok((Finish::Length, ask.max_tokens))
            }
            Script::Gated(token, permits) => {
                let mut made = 0;
                loop {
                    match permits.recv_timeout(Duration::from_millis(1)) {
                        Ok(()) => {
                            made += 1;
                            if (ask.on_token)(token).is_break() {
                                return Ok((Finish::Cancelled, made));
                            }
                        }
                        Err(RecvTimeoutError::Disconnected) => return Ok((Finish::Stop, made)),
                        Err(RecvTimeoutError::Timeout) => {}
                    }
                    if (ask.cancelled)() {
                        return Ok((Finish::Cancelled, made));
                    }
                }
            }
            Script::Fails(message) => Err(message.into()),
            Script::Panics => panic!("the script says so"),
        }
    }
}

impl Generate for Scripted {
    fn generate(&mut self, mut ask: Ask<'_>) -> Result<Outcome, GenerateError> {
        let common = ask.prompt.iter().zip(&self.last_prompt);
        let reused = common.take_while(|(a, b)| a == b).count();
        self.last_prompt = ask.prompt.to_vec();
        // Tests that do not look at what was seen have dropped the receiver.
        let _ = self
            .seen
            .send(Seen::Prompt(ask.prompt.to_vec(), ask.max_tokens));
        let script = self.scripts.recv().expect("the test has a script");
        let (finish, made) = Self::play(&mut ask, script)?;
        let _ = self.seen.send(Seen::Ended(finish, made));
        Ok(Outcome { finish, reused })
    }

    fn context(&self) -> usize {
        CONTEXT
    }

    fn counters(&self) -> Counters {
        Counters {
            read_bytes: 4096,
            reads: 1,
            wait_seconds: 0.25,
            compute_seconds: 0.5,
            peak_rss_bytes: 1 << 20,
        }
    }
}

/// A server with a scripted engine; ends with the test.
pub(crate) struct Fixture {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) seen: Receiver<Seen>,
    scripts: Sender<Script>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// A template in the way of many models; refuses what it does not know.
const TEMPLATE: &str = "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}\
{{ raise_exception('no role ' + m.role) }}{% endif %}\
<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

/// `tiny`'s tokenizer; `tiny` has no chat template, so there is one here if wanted.
pub(crate) fn tools(chat: bool) -> TextTools {
    let model = lampyris_import::open("tiny").expect("the embedded model");
    let mut tools = TextTools::from_model_file(model.file()).expect("a tokenizer");
    assert!(tools.template.is_none());
    if chat {
        tools.template = Some(ChatTemplate::new(TEMPLATE, "", "").expect("it parses"));
    }
    tools
}

/// The tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<u32> {
    tools(false).tokenizer.encode(text, false).expect("tokens")
}

/// A token for each byte, so that characters are spread over tokens.
pub(crate) fn byte_tokens(text: &str) -> Vec<u32> {
    let tokenizer = tools(false).tokenizer;
    let all: HashMap<_, _> = (0..tokenizer.vocab_size())
        .filter_map(|id| Some((tokenizer.token(id)?, id)))
        .collect();
    let of = |byte: u8| all[&byte_level(byte)];
    text.bytes().map(of).collect()
}

/// How a byte-level vocabulary writes a byte (GPT-2's table).
fn byte_level(byte: u8) -> String {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if plain(byte) {
        return char::from(byte).to_string();
    }
    let before = (0..byte).filter(|&b| !plain(b)).count() as u32;
    char::from_u32(256 + before)
        .expect("a character")
        .to_string()
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Config::new("tiny"), true)
    }

    pub(crate) fn with(config: Config, chat: bool) -> Self {
        let (scripts, to_play) = channel();
        let (to_tell, seen) = channel();
        let engine = Scripted {
            scripts: to_play,
            seen: to_tell,
            last_prompt: Vec::new(),
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(any, config, tools(chat), Box::new(engine)).expect("a port");
        Self {
            address: server.address(),
            handle: server.handle(),
            seen,
            scripts,
            thread: Some(std::thread::spawn(move || server.run())),
        }
    }

    /// What the engine does with the next request that has no script.
    pub(crate) fn script(&self, script: Script) {
        self.scripts.send(script).expect("the engine lives");
    }

    /// Text for the next request, ended as the model would.
    pub(crate) fn says(&self, text: &str) {
        self.script(Script::Tokens(ended(tokens(text))));
    }

    /// The next request makes a token whenever the test sends something.
    pub(crate) fn gated(&self, text: &str) -> Sender<()> {
        let (permits, gate) = channel();
        let all = tokens(text);
        assert_eq!(all.len(), 1, "{text:?} is one token");
        self.script(Script::Gated(all[0], gate));
        permits
    }

    /// Waits for the engine's next news.
    pub(crate) fn news(&self) -> Seen {
        self.seen.recv().expect("the engine lives")
    }

    /// Waits until a request has begun.
    pub(crate) fn begun(&self) -> Vec<u32> {
        match self.news() {
            Seen::Prompt(prompt, _) => prompt,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the server's end.
    pub(crate) fn end(&mut self) -> Result<(), ServeError> {
        let thread = self.thread.take().expect("ends once");
        thread.join().expect("the server does not panic")
    }

    /// One value of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = crate::client::get(self.address, "/metrics").body;
        let line = text.lines().find(|l| {
            l.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        let value = line.rsplit(' ').next().and_then(|v| v.parse().ok());
        value.expect("a number")
    }

    /// Asks `/metrics` until `name` has `value`. There is no other sign of it from outside; a
    /// server that never gets there hangs the test instead of passing it.
    pub(crate) fn until(&self, name: &str, value: f64) {
        while self.metric(name) != value {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Tokens and the model's end of text.
pub(crate) fn ended(mut tokens: Vec<u32>) -> Vec<u32> {
    let tools = tools(false);
    tokens.push(tools.tokenizer.eos_ids()[0]);
    tokens
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.handle.abort();
        // An engine that waits for a script, after a test that failed, waits no longer.
        self.scripts = channel().0;
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.expect("no panic").expect("a clean end");
            }
        }
    }
}
