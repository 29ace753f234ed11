//! The driver against a device in Rust. `tests/tests/rtl_link` has the one in hardware.

use crate::frame::Response;
use crate::{Error, Link, Transport, cobs};
use lampyris_isa::link::{Command, INFO_MAGIC, PROTOCOL_VERSION, RESPONSE_BIT, Status, WINDOW};
use std::collections::VecDeque;
use std::io;

/// What a device does with a request.
enum Act {
    Answer(Status, Vec<u32>),
    /// Bytes that are no answer.
    Babble(usize),
    Nothing,
}

/// A device that does what a function says of each request: its body, and how many came before.
struct Device<F> {
    act: F,
    count: usize,
    to_host: VecDeque<u8>,
    /// Requests that came since the host last listened, and the most of them.
    unheard: usize,
    most: usize,
    broken: bool,
}

fn device<F: FnMut(&[u8], usize) -> Act>(act: F) -> Device<F> {
    Device {
        act,
        count: 0,
        to_host: VecDeque::new(),
        unheard: 0,
        most: 0,
        broken: false,
    }
}

impl<F: FnMut(&[u8], usize) -> Act> Transport for Device<F> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("unplugged"));
        }
        let body = cobs::decode(&bytes[1..bytes.len() - 1]).expect("a frame");
        self.unheard += 1;
        self.most = self.most.max(self.unheard);
        match (self.act)(&body, self.count) {
            Act::Answer(status, words) => {
                let answer = Response {
                    sequence: body[0],
                    command: body[1],
                    status: status as u8,
                    payload: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
                };
                self.to_host.extend(answer.frame());
            }
            Act::Babble(count) => self.to_host.extend((0..count).map(|i| i as u8)),
            Act::Nothing => {}
        }
        self.count += 1;
        Ok(())
    }

    fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.unheard = 0;
        // A few at a time, as ports do.
        let count = self.to_host.len().min(out.len()).min(7);
        out.iter_mut()
            .zip(self.to_host.drain(..count))
            .for_each(|(to, byte)| *to = byte);
        Ok(count)
    }
}

/// INFO's words.
fn info(version: u32) -> Act {
    let words = vec![INFO_MAGIC << 16 | version, 0x1234, 50_000, 128, 1 << 20, 4];
    Act::Answer(Status::Ok, words)
}

/// Memory in which every word is its address, and INFO.
fn good(body: &[u8]) -> Act {
    let address = u32::from_le_bytes([body[3], body[4], body[5], body[6]]);
    let words = (0..u32::from(body[2])).map(|i| address + 4 * i).collect();
    match Command::from_byte(body[1]) {
        Some(Command::Info) => info(PROTOCOL_VERSION),
        Some(Command::ReadMem | Command::ReadCsr) => Act::Answer(Status::Ok, words),
        _ => Act::Answer(Status::Ok, Vec::new()),
    }
}

fn message<T>(result: Result<T, Error>) -> String {
    let Err(error) = result else {
        panic!("it worked");
    };
    let text = error.to_string();
    let hint = text.lines().last().expect("a line");
    assert!(hint.starts_with("hint: ") && hint.len() > 20, "{text}");
    text
}

#[test]
fn other_devices_are_refused() {
    let text = message(Link::open(device(|_, _| info(PROTOCOL_VERSION + 1))));
    assert!(text.starts_with("the device speaks version 2 of the link, this program version 1"));
    let other = || Act::Answer(Status::Ok, vec![7; 6]);
    let text = message(Link::open(device(|_, _| other())));
    assert!(text.starts_with("the device answers with 0x00000007 where"));
    let short = || Act::Answer(Status::Ok, vec![INFO_MAGIC << 16 | PROTOCOL_VERSION]);
    message(Link::open(device(|_, _| short())));
    message(Link::open(device(|_, _| Act::Answer(Status::Ok, vec![]))));
}

#[test]
fn silence_babble_and_a_dead_port_end() {
    let text = message(Link::open(device(|_, _| Act::Nothing)));
    assert!(text.starts_with("asking the device who it is: no answer after 10 tries (0 damaged"));
    assert!(text.contains("power"));
    let text = message(Link::open(device(|_, _| Act::Babble(100_000))));
    assert!(text.contains("no answer after 10 tries") && text.contains("noisy"));
    let mut link = Link::open(device(|body, _| good(body))).expect("it opens");
    link.transport().broken = true;
    let text = message(link.write_memory(0x100, &[0; 12]));
    assert!(text.starts_with("writing 12 bytes of memory at 0x100: the port failed: unplugged"));
}

#[test]
fn the_line_may_return_what_is_sent() {
    // A request that comes back is no response: its command lacks the bit of responses.
    assert_eq!(Command::Info as u8 & RESPONSE_BIT, 0);
    struct Echo(VecDeque<u8>);
    impl Transport for Echo {
        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.extend(bytes);
            Ok(())
        }
        fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(out.len());
            out.iter_mut()
                .zip(self.0.drain(..count))
                .for_each(|(to, byte)| *to = byte);
            Ok(count)
        }
    }
    let text = message(Link::open(Echo(VecDeque::new())));
    assert!(text.contains("10 damaged frames"), "{text}");
}

#[test]
fn transfers_are_divided_and_under_way_together() {
    let mut requests = Vec::new();
    let mut link = Link::open(device(|body: &[u8], _| {
        requests.push((body[1], body[2], body[3]));
        good(body)
    }))
    .expect("it opens");
    let mut out = vec![0; 2000];
    link.read_memory(0x1_00c0, &mut out).expect("it reads");
    for (i, word) in out.as_chunks().0.iter().enumerate() {
        assert_eq!(u32::from_le_bytes(*word), 0x1_00c0 + 4 * i as u32);
    }
    link.write_memory(0, &[]).expect("nothing to do");
    assert_eq!(link.transport().most, WINDOW);
    let read = Command::ReadMem as u8;
    let expected = [
        vec![(Command::Info as u8, 0, 0), (read, 16, 0xc0)],
        vec![(read, 64, 0); 7],
        vec![(read, 36, 0)],
    ];
    assert_eq!(requests, expected.concat());
}

#[test]
fn what_is_lost_is_sent_again_as_soon_as_a_later_answer_shows_it() {
    let mut lost = 0;
    let mut link = Link::open(device(|body: &[u8], count| {
        // The second chunk, once.
        if count == 2 {
            lost += 1;
            return Act::Nothing;
        }
        good(body)
    }))
    .expect("it opens");
    let mut out = vec![0; 1024];
    link.read_memory(0, &mut out).expect("it reads");
    assert_eq!(out[256..260], [0, 1, 0, 0]);
    let counters = link.counters();
    assert_eq!((counters.sent, counters.repeated), (6, 1));
    assert_eq!(lost, 1);
}

#[test]
fn statuses_and_answers_without_sense_are_errors() {
    for status in Status::ALL.iter().copied().filter(|s| *s != Status::Ok) {
        let answer = |body: &[u8], count| match count {
            0 => good(body),
            _ => Act::Answer(status, Vec::new()),
        };
        let mut link = Link::open(device(answer)).expect("it opens");
        let text = message(link.read_csr(0x14));
        let start = format!(
            "reading the register at 0x014: the device answers {}",
            status.name()
        );
        assert!(text.starts_with(&start), "{text}");
    }
    let long = |body: &[u8], count| match count {
        0 => good(body),
        _ => Act::Answer(Status::Ok, vec![1, 2]),
    };
    let mut link = Link::open(device(long)).expect("it opens");
    let text = message(link.read_csr(0x14));
    assert!(text.contains("the answer has status 0 and 8 bytes"));
}

#[test]
fn arguments_are_checked_before_anything_is_sent() {
    let mut link = Link::open(device(|body, _| good(body))).expect("it opens");
    let mut out = [0; 8];
    message(link.read_memory(2, &mut out));
    message(link.read_memory(0, &mut out[..3]));
    message(link.read_memory((1 << 40) - 4, &mut out));
    message(link.read_memory(u64::MAX - 3, &mut out));
    message(link.write_csr(0x1000, 0));
    message(link.read_csr(2));
    assert_eq!(link.counters().sent, 1);
}

#[test]
fn random_answers_are_an_error_or_a_result() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..300 {
        let mut dice = fastrand::Rng::with_seed(round);
        let mut link = Link::open(device(|body: &[u8], count| match dice.u8(0..6) {
            _ if count == 0 => good(body),
            0 => Act::Nothing,
            1 => Act::Babble(dice.usize(0..600)),
            2 => Act::Answer(Status::BusError, vec![0; dice.usize(0..64)]),
            _ => good(body),
        }))
        .expect("it opens");
        let mut out = vec![0; 4 * random.usize(0..500)];
        if link.read_memory(0x40, &mut out).is_ok() {
            let words = out.as_chunks().0.iter().enumerate();
            words.for_each(|(i, w)| assert_eq!(u32::from_le_bytes(*w), 0x40 + 4 * i as u32));
        }
    }
}
