//! The bounded queue between HTTP and the engine.

use crate::error::ApiError;
use lampyris_runtime::Sampler;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// A request that is ready for the engine.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) prompt: Vec<u32>,
    pub(crate) max_tokens: usize,
    pub(crate) sampler: Sampler,
    pub(crate) stops: Vec<String>,
    /// Where its text goes; closed when the client has gone away. Without a bound, so that a slow
    /// reader cannot hold the engine; `max_tokens` bounds what can lie in it.
    pub(crate) events: UnboundedSender<Event>,
}

/// What a client hears of its job.
#[derive(Debug)]
pub(crate) enum Event {
    /// More text.
    Text(String),
    /// The end.
    Done(Done),
    /// The end, without success.
    Failed(ApiError),
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// OpenAI's `finish_reason`.
    pub(crate) finish: &'static str,
    pub(crate) prompt_tokens: usize,
    pub(crate) cached_tokens: usize,
    pub(crate) completion_tokens: usize,
}

/// Why a job was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many wait as may wait; the number.
    Full(usize),
    /// The server ends.
    Closed,
}

/// Jobs in the order of their arrival, and whether the engine works on one.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    /// Jobs that may wait while the engine works on another.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    running: bool,
    closed: bool,
    /// Jobs dropped because their client left while they waited, since the last [`Queue::load`].
    abandoned: u64,
}

impl State {
    /// Drops the jobs of clients that have left.
    fn prune(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|job| !job.events.is_closed());
        self.abandoned += (before - self.waiting.len()) as u64;
    }
}

/// What `/metrics` shows of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) waiting: usize,
    pub(crate) running: bool,
    pub(crate) abandoned: u64,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, or says why not.
    pub(crate) fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let room = self.limit + usize::from(!state.running);
        if state.waiting.len() >= room {
            state.prune();
        }
        if state.waiting.len() >= room {
            return Err(Refused::Full(state.waiting.len()));
        }
        state.waiting.push_back(job);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for the next job; `None` once the queue is closed and empty. The job before it counts
    /// as ended.
    pub(crate) fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        state.running = false;
        loop {
            state.prune();
            if let Some(job) = state.waiting.pop_front() {
                state.running = true;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more jobs; returns those that waited.
    pub(crate) fn close(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.closed = true;
        self.arrived.notify_all();
        state.waiting.drain(..).collect()
    }

    /// True once no job is taken any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The state now; `abandoned` is what was not reported yet.
    pub(crate) fn load(&self) -> Load {
        let mut state = self.lock();
        state.prune();
        Load {
            waiting: state.waiting.len(),
            running: state.running,
            abandoned: std::mem::take(&mut state.abandoned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_runtime::SamplerConfig;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn job(id: u32) -> (Job, UnboundedReceiver<Event>) {
        let (events, received) = unbounded_channel();
        let job = Job {
            prompt: vec![id],
            max_tokens: 1,
            sampler: Sampler::new(SamplerConfig::default()).expect("the default"),
            stops: Vec::new(),
            events,
        };
        (job, received)
    }

    #[test]
    fn the_limit_counts_those_that_wait() {
        let queue = Queue::new(1);
        let (jobs, _clients): (Vec<_>, Vec<_>) = (0..5).map(job).unzip();
        let mut jobs = jobs.into_iter();
        let mut push = || queue.push(jobs.next().expect("enough jobs"));
        // One for the idle engine and one that waits.
        assert_eq!((push(), push()), (Ok(()), Ok(())));
        assert_eq!(push(), Err(Refused::Full(2)));
        assert_eq!(queue.pop().map(|j| j.prompt[0]), Some(0));
        assert_eq!(push(), Err(Refused::Full(1)), "the engine is busy");
        assert_eq!(queue.pop().map(|j| j.prompt[0]), Some(1));
        assert_eq!(push(), Ok(()));
    }

    #[test]
    fn no_queue_still_serves_an_idle_engine() {
        let queue = Queue::new(0);
        let (one, _a) = job(1);
        let (two, _b) = job(2);
        assert_eq!(queue.push(one), Ok(()));
        assert!(queue.pop().is_some());
        assert_eq!(queue.push(two), Err(Refused::Full(0)));
    }

    #[test]
    fn a_client_that_left_makes_room() {
        let queue = Queue::new(0);
        let (one, gone) = job(1);
        let (two, _stays) = job(2);
        assert_eq!(queue.push(one), Ok(()));
        drop(gone);
        assert_eq!(queue.push(two), Ok(()));
        assert_eq!(queue.load().abandoned, 1);
        assert_eq!(queue.pop().map(|j| j.prompt[0]), Some(2));
    }

    #[test]
    fn closing_returns_those_that_wait_and_ends_the_engine() {
        let queue = Queue::new(4);
        let (one, _a) = job(1);
        let (two, _b) = job(2);
        assert_eq!(queue.push(one), Ok(()));
        assert_eq!(queue.close().len(), 1);
        assert_eq!(queue.push(two), Err(Refused::Closed));
        assert!(queue.pop().is_none());
    }
}
