//! One request on its way: what has arrived, and what to do after each attempt.

use crate::engine::{Completion, ReadRequest};
use crate::error::{Error, Result};
use crate::source::Source;
use std::io;
use std::time::Duration;

/// Attempts in a row that may bring nothing. Interruptions and busy queues pass; storage that
/// never answers must not become a hang.
const ATTEMPTS_MAX: u32 = 1000;
/// Busy queues get time to drain.
const BUSY_PAUSE: Duration = Duration::from_micros(50);

/// A request and its progress.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) request: ReadRequest,
    /// Bytes that have arrived, a multiple of the alignment.
    done: usize,
    /// Attempts since bytes last arrived.
    idle: u32,
    pub(crate) retries: u64,
}

/// What an attempt led to.
pub(crate) enum Step {
    /// Try the rest again.
    Again,
    /// Try again after others had a chance.
    Pause(Duration),
    /// All bytes are there, or the request failed.
    End(Result<usize>),
}

impl Task {
    pub(crate) fn new(request: ReadRequest) -> Task {
        Task {
            request,
            done: 0,
            idle: 0,
            retries: 0,
        }
    }

    /// Offset of the next attempt.
    pub(crate) fn offset(&self) -> u64 {
        self.request.offset + self.done as u64
    }

    /// Where the next attempt puts its bytes.
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        &mut self.request.buf[self.done..self.request.len]
    }

    /// Takes the outcome of an attempt.
    pub(crate) fn advance(&mut self, outcome: io::Result<usize>, source: &dyn Source) -> Step {
        let outcome = match outcome {
            Err(e) => return self.after_error(e, source),
            Ok(n) => n.min(self.request.len - self.done),
        };
        let (file, size) = (self.request.file, source.size(self.request.file));
        let arrived = self.done + outcome;
        let end = self.request.offset + arrived as u64;
        if arrived == self.request.len || end >= size {
            // What lies beyond the size at opening was not there then.
            let valid = size.saturating_sub(self.request.offset).min(arrived as u64);
            return Step::End(Ok(valid as usize));
        }
        // An end before the recorded end, or only a short read? The file tells.
        if let Err(error) = source.check(file) {
            return Step::End(Err(error));
        }
        if outcome == 0 {
            return Step::End(Err(Error::Truncated {
                path: source.path(file).to_path_buf(),
                opened: size,
                now: end,
            }));
        }
        // The next attempt must start aligned; the few bytes before it are read again.
        let keep = arrived - arrived % source.alignment();
        self.idle = if keep > self.done { 0 } else { self.idle + 1 };
        self.done = keep;
        self.again(source, || "short reads".into(), Step::Again)
    }

    fn after_error(&mut self, error: io::Error, source: &dyn Source) -> Step {
        let step = match error.kind() {
            io::ErrorKind::Interrupted => Step::Again,
            io::ErrorKind::WouldBlock => Step::Pause(BUSY_PAUSE),
            _ => {
                return Step::End(Err(Error::Read {
                    path: source.path(self.request.file).to_path_buf(),
                    offset: self.request.offset,
                    len: self.request.len,
                    source: error,
                }));
            }
        };
        self.idle += 1;
        self.again(source, || error.to_string(), step)
    }

    fn again(&mut self, source: &dyn Source, last: impl FnOnce() -> String, step: Step) -> Step {
        if self.idle < ATTEMPTS_MAX {
            self.retries += 1;
            return step;
        }
        Step::End(Err(Error::NoProgress {
            path: source.path(self.request.file).to_path_buf(),
            offset: self.request.offset,
            len: self.request.len,
            attempts: self.idle,
            last: last(),
        }))
    }

    /// The completion, after the last look at the file.
    pub(crate) fn finish(self, result: Result<usize>, source: &dyn Source) -> Completion {
        let ReadRequest {
            file,
            offset,
            len,
            buf,
            tag,
        } = self.request;
        let result = result.and_then(|n| source.check(file).map(|()| n));
        source.forget(file, offset, len);
        Completion { tag, buf, result }
    }
}

/// Carries a task to its end on this thread.
pub(crate) fn run(mut task: Task, source: &dyn Source) -> (Completion, u64) {
    loop {
        let (file, offset) = (task.request.file, task.offset());
        let outcome = source.read_once(file, offset, task.rest());
        match task.advance(outcome, source) {
            Step::Again => {}
            Step::Pause(time) => std::thread::sleep(time),
            Step::End(result) => {
                let retries = task.retries;
                return (task.finish(result, source), retries);
            }
        }
    }
}
