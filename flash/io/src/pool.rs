//! Threads that read: the engine that works everywhere.

use crate::engine::{Completion, Note, ReadEngine, ReadRequest, check_request};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::stats::IoStats;
use crate::task::{self, Task};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A fixed number of threads, each with one read at a time. Buffers in flight are owned by the
/// queue or by the thread that reads into them.
pub(crate) struct Pool<S: Source> {
    shared: Arc<Shared<S>>,
    threads: Vec<JoinHandle<()>>,
    name: &'static str,
    depth: usize,
    in_flight: usize,
    wait: Duration,
    notes: Vec<Note>,
}

struct Shared<S> {
    source: S,
    queues: Mutex<Queues>,
    /// There is work, or the pool stops.
    work: Condvar,
    /// There are completions.
    ready: Condvar,
}

struct Queues {
    todo: VecDeque<Task>,
    done: Vec<Completion>,
    /// How many completions the caller waits for: it is woken once, not for each.
    wanted: usize,
    stats: IoStats,
    stop: bool,
}

impl<S: Source> Shared<S> {
    /// No thread panics while it holds the lock, so what it guards is whole even when poisoned.
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        loop {
            let mut queues = self.lock();
            let task = loop {
                if queues.stop {
                    return;
                }
                match queues.todo.pop_front() {
                    Some(task) => break task,
                    None => {
                        queues = self
                            .work
                            .wait(queues)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            drop(queues);
            let begin = Instant::now();
            let (completion, retries) = task::run(task, &self.source);
            let time = begin.elapsed();
            let mut queues = self.lock();
            queues.stats.count(&completion, retries, time);
            queues.done.push(completion);
            if queues.wanted > 0 && queues.done.len() >= queues.wanted {
                self.ready.notify_one();
            }
        }
    }
}

impl<S: Source> Pool<S> {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the operating system refuses one.
    pub(crate) fn start(
        source: S,
        name: &'static str,
        depth: usize,
        threads: usize,
        notes: Vec<Note>,
    ) -> Result<Pool<S>> {
        let shared = Arc::new(Shared {
            source,
            queues: Mutex::new(Queues {
                todo: VecDeque::with_capacity(depth),
                done: Vec::with_capacity(depth),
                wanted: 0,
                stats: IoStats::default(),
                stop: false,
            }),
            work: Condvar::new(),
            ready: Condvar::new(),
        });
        let mut pool = Pool {
            shared,
            threads: Vec::with_capacity(threads),
            name,
            depth,
            in_flight: 0,
            wait: Duration::ZERO,
            notes,
        };
        for index in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = Builder::new()
                .name(format!("read-{index}"))
                .stack_size(256 << 10)
                .spawn(move || shared.serve())
                .map_err(|source| Error::Engine {
                    engine: name,
                    source,
                    hint: "lower the number of I/O threads or raise the process's limits",
                })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }
}

impl<S: Source> ReadEngine for Pool<S> {
    fn alignment(&self) -> usize {
        self.shared.source.alignment()
    }

    fn capacity(&self) -> usize {
        self.depth
    }

    fn file_size(&self, file: usize) -> u64 {
        self.shared.source.size(file)
    }

    fn submit(&mut self, request: ReadRequest) -> Result<()> {
        check_request(&request, &self.shared.source, self.in_flight, self.depth)?;
        self.shared.lock().todo.push_back(Task::new(request));
        self.in_flight += 1;
        self.shared.work.notify_one();
        Ok(())
    }

    fn wait(&mut self, min: usize, out: &mut Vec<Completion>) -> Result<()> {
        let min = min.min(self.in_flight);
        let mut queues = self.shared.lock();
        if queues.done.len() < min {
            let begin = Instant::now();
            queues.wanted = min;
            while queues.done.len() < min {
                queues = self
                    .shared
                    .ready
                    .wait(queues)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            queues.wanted = 0;
            self.wait += begin.elapsed();
        }
        self.in_flight -= queues.done.len();
        out.append(&mut queues.done);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn name(&self) -> &str {
        self.name
    }

    fn notes(&self) -> &[Note] {
        &self.notes
    }

    fn stats(&self) -> IoStats {
        let mut stats = self.shared.lock().stats.clone();
        stats.wait = self.wait;
        stats
    }
}

impl<S: Source> Drop for Pool<S> {
    fn drop(&mut self) {
        {
            let mut queues = self.shared.lock();
            queues.stop = true;
            queues.todo.clear();
        }
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has freed its buffer itself.
            let _ = thread.join();
        }
    }
}
