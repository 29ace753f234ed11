//! Requests and their responses: sequence numbers, time-outs, repeats.

use crate::Transport;
use crate::error::{Error, Operation, Result};
use crate::frame::{Request, Response};
use crate::link::Link;
use lampyris_isa::link::{Command, MAX_FRAME, Status, WINDOW};
use std::collections::VecDeque;

/// Bytes that may arrive without an answer among them before they count as a time-out.
const NOISE_LIMIT: usize = 4 * WINDOW * MAX_FRAME;

/// A request whose response has not arrived.
struct Waiting {
    /// Its place among the requests of the exchange.
    index: usize,
    request: Request,
    sequence: u8,
    tries: u32,
    /// When it was last sent, as a count of frames sent.
    sent: u64,
}

/// Requests without side effects, or a single one.
struct Exchange<'a, T: Transport> {
    link: &'a mut Link<T>,
    waiting: VecDeque<Waiting>,
    bad_before: u64,
    silent: usize,
}

/// Sends `count` requests that `make` makes, and hands each response's index and payload to
/// `take`, in the order of arrival.
pub(crate) fn exchange<T: Transport>(
    link: &mut Link<T>,
    count: usize,
    make: impl Fn(usize) -> Request,
    take: impl FnMut(usize, &[u8]),
) -> Result<()> {
    let bad_before = link.counters.bad_frames;
    let mut exchange = Exchange {
        link,
        waiting: VecDeque::with_capacity(WINDOW),
        bad_before,
        silent: 0,
    };
    let result = exchange.run(count, make, take);
    exchange.link.unsure |= matches!(result, Err(Error::NoAnswer { .. } | Error::Port { .. }));
    result
}

fn operation(request: &Request) -> Operation {
    Operation {
        command: request.command,
        address: request.address,
        bytes: 4 * usize::from(request.words),
    }
}

fn port_failed(request: &Request, source: std::io::Error) -> Error {
    Error::Port {
        operation: operation(request),
        source,
    }
}

impl<T: Transport> Exchange<'_, T> {
    fn run(
        &mut self,
        count: usize,
        make: impl Fn(usize) -> Request,
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        let window = self.link.window();
        let mut next = 0;
        loop {
            while next < count && self.waiting.len() < window {
                self.start(next, make(next))?;
                next += 1;
            }
            if self.waiting.is_empty() {
                return Ok(());
            }
            self.listen(&mut take)?;
        }
    }

    /// The first time that a request is sent.
    fn start(&mut self, index: usize, request: Request) -> Result<()> {
        let sequence = self.link.next_sequence();
        self.waiting.push_back(Waiting {
            index,
            request,
            sequence,
            tries: 0,
            sent: 0,
        });
        self.send(self.waiting.len() - 1)
    }

    /// Sends a waiting request, if it has a try left.
    fn send(&mut self, at: usize) -> Result<()> {
        let waiting = &mut self.waiting[at];
        if waiting.tries == self.link.tries {
            return Err(Error::NoAnswer {
                operation: operation(&waiting.request),
                tries: waiting.tries,
                bad_frames: self.link.counters.bad_frames - self.bad_before,
            });
        }
        self.link.counters.sent += 1;
        self.link.counters.repeated += u64::from(waiting.tries > 0);
        waiting.tries += 1;
        waiting.sent = self.link.counters.sent;
        let frame = waiting.request.frame(waiting.sequence);
        let sent = self.link.transport.send(&frame);
        sent.map_err(|source| port_failed(&waiting.request, source))
    }

    /// Takes what arrives, once; sends again what seems lost.
    fn listen(&mut self, take: &mut impl FnMut(usize, &[u8])) -> Result<()> {
        let mut bytes = [0; 512];
        let received = self.link.transport.receive(&mut bytes);
        let count = received.map_err(|source| port_failed(&self.waiting[0].request, source))?;
        self.silent += count;
        if count == 0 || self.silent > NOISE_LIMIT {
            self.silent = 0;
            return self.send_again(u64::MAX);
        }
        for &byte in &bytes[..count.min(bytes.len())] {
            match self.link.receiver.push(byte) {
                Some(Ok(response)) => self.answer(&response, take)?,
                Some(Err(_)) => self.link.counters.bad_frames += 1,
                None => {}
            }
        }
        Ok(())
    }

    /// Sends every waiting request again that was last sent before frame `before`.
    fn send_again(&mut self, before: u64) -> Result<()> {
        for at in 0..self.waiting.len() {
            if self.waiting[at].sent < before {
                self.send(at)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, response: &Response, take: &mut impl FnMut(usize, &[u8])) -> Result<()> {
        let at = self.waiting.iter().position(|waiting| {
            waiting.sequence == response.sequence
                && waiting.request.command as u8 == response.command
        });
        // Of an earlier try, or of an earlier host.
        let Some(waiting) = at.and_then(|at| self.waiting.remove(at)) else {
            return Ok(());
        };
        self.silent = 0;
        self.link.counters.answered += 1;
        check(&waiting.request, response)?;
        take(waiting.index, &response.payload);
        // The device answers in order, so whatever was sent before this is lost. After a repeat that
        // is a guess, and a wrong guess costs a frame.
        self.send_again(waiting.sent)
    }
}

/// Whether a response says that the request was done, and has the length it should.
fn check(request: &Request, response: &Response) -> Result<()> {
    let operation = operation(request);
    let expected = match request.command {
        Command::Info | Command::LinkStatus => None,
        command if command.writes() => Some(0),
        _ => Some(operation.bytes),
    };
    match Status::from_byte(response.status) {
        Some(Status::Ok) if expected.is_none_or(|bytes| bytes == response.payload.len()) => Ok(()),
        None | Some(Status::Ok) => Err(Error::Answer {
            operation,
            status: response.status,
            bytes: response.payload.len(),
        }),
        Some(status) => Err(Error::Device { operation, status }),
    }
}
