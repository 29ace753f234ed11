//! Threads that share the chunks of one job at a time.

use crate::{Error, Result};
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{JoinHandle, Thread};

/// Turns of the waiting loop before a thread sleeps: some ten microseconds, about the time
/// between two matrix products of a token. Longer would steal time from other programs.
const SPINS: u32 = 1500;

/// A fixed set of threads; the thread that calls [`Pool::run`] works too.
///
/// Chunks are claimed one by one from a counter, so a thread that the system has taken off the
/// processor delays only the chunk that it holds, and one that never wakes up delays nothing.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs: one job at a time.
    running: Mutex<()>,
}

/// The job that is open, as the workers see it.
#[derive(Clone, Copy)]
struct Job {
    /// The caller's closure; valid while the caller waits in `run`.
    work: *const (dyn Fn(usize) + Sync),
    chunks: usize,
}

// State word: epoch in the high half, then `OPEN`, then the number of threads inside the job.
const OPEN: u64 = 1 << 31;
const EPOCH: u64 = 1 << 32;
const INSIDE: u64 = OPEN - 1;
/// State of a pool that is shutting down; its epoch is never reached by counting.
const CLOSED: u64 = u64::MAX << 32;

struct Shared {
    state: AtomicU64,
    next: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    /// One per worker: it sleeps or is about to.
    asleep: Vec<AtomicBool>,
    /// The caller sleeps until the last worker has left.
    caller: Mutex<Option<Thread>>,
    caller_waits: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the caller that holds `Pool::running` while no thread is
// inside the job (state not open, count zero), and read only by threads that entered it.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` refers to a `Sync` closure.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of `threads` threads, counting the caller; 0 counts as 1.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system refuses a thread.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            caller: Mutex::new(None),
            caller_waits: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut pool = Self {
            shared,
            workers: Vec::with_capacity(threads - 1),
            running: Mutex::new(()),
        };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("kernel-{index}"))
                .spawn(move || shared.work(index - 1))
                .map_err(|source| Error::Thread {
                    index,
                    threads,
                    source,
                })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads, counting the caller.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once for each of `0..chunks`, on any thread and in any order, and returns when
    /// all calls have. A call from inside a job, or while another thread's job runs, is worked off
    /// by the calling thread alone.
    ///
    /// # Panics
    /// If `work` panics: the first panic continues here.
    pub fn run(&self, chunks: usize, work: &(dyn Fn(usize) + Sync)) {
        let exclusive = match self.workers.len() {
            0 => None,
            _ if chunks <= 1 => None,
            _ => match self.running.try_lock() {
                Ok(guard) => Some(guard),
                // An earlier job panicked; the lock guards no data.
                Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            },
        };
        if exclusive.is_none() {
            (0..chunks).for_each(work);
            return;
        }
        self.shared.open(work, chunks, &self.workers);
        let leave = Leave(&self.shared);
        self.shared.claim(work, chunks);
        drop(leave);
        let panic = self.shared.panic.lock().map_or(None, |mut p| p.take());
        drop(exclusive);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Cuts `data` into pieces of `len` elements (the last may be shorter) and calls `work` with
    /// the number and content of each, in any order.
    ///
    /// # Panics
    /// If `len` is 0 and `data` is not empty, or if `work` panics.
    pub fn for_each_mut<T: Send>(
        &self,
        data: &mut [T],
        len: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let total = data.len();
        if total == 0 {
            return;
        }
        assert!(len > 0, "pieces of 0 elements");
        let base = Shareable(data.as_mut_ptr());
        self.run(total.div_ceil(len), &|piece| {
            let start = piece * len;
            let base = &base;
            // SAFETY: pieces are disjoint ranges inside `data`, each visited once, and `data` is
            // borrowed until `run` returns.
            let slice = unsafe {
                std::slice::from_raw_parts_mut(base.0.add(start), len.min(total - start))
            };
            work(piece, slice);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.store(CLOSED, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panic was handed to the caller of `run`.
            let _ = worker.join();
        }
    }
}

/// A pointer that may go to other threads; each use says why that is sound.
pub(crate) struct Shareable<T>(pub(crate) *mut T);
// SAFETY: the users write disjoint elements only.
unsafe impl<T: Send> Sync for Shareable<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shareable<T> {}

/// Closes the job and waits for those inside, also when the caller's own chunk panics: the closure
/// lives on the caller's stack.
struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    /// Publishes a job and wakes who sleeps.
    fn open(&self, work: &(dyn Fn(usize) + Sync), chunks: usize, workers: &[JoinHandle<()>]) {
        // SAFETY: only the lifetime changes; `close` makes sure that nobody uses the pointer after
        // `run` has returned.
        let work = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync)>(
                work,
            )
        };
        // SAFETY: the state is not open and nobody is inside (the last job was closed).
        unsafe { *self.job.get() = Some(Job { work, chunks }) };
        self.next.store(0, Ordering::Relaxed);
        let epoch = self.state.load(Ordering::Relaxed) & !(EPOCH - 1);
        let mut epoch = epoch.wrapping_add(EPOCH);
        if epoch == CLOSED {
            epoch = 0;
        }
        // Sequentially consistent with the worker's `asleep` flag: one of the two sees the other.
        self.state.store(epoch | OPEN, Ordering::SeqCst);
        for (asleep, worker) in self.asleep.iter().zip(workers) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    fn claim(&self, work: &(dyn Fn(usize) + Sync), chunks: usize) {
        loop {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return;
            }
            work(chunk);
        }
    }

    /// Lets nobody else in and returns when all have left.
    fn close(&self) {
        // After a panic of the caller, chunks that nobody holds are not started.
        self.next.store(usize::MAX / 2, Ordering::Relaxed);
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        for _ in 0..SPINS {
            if self.state.load(Ordering::Acquire) & INSIDE == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        if let Ok(mut caller) = self.caller.lock() {
            *caller = Some(std::thread::current());
        }
        self.caller_waits.store(true, Ordering::SeqCst);
        while self.state.load(Ordering::SeqCst) & INSIDE != 0 {
            std::thread::park();
        }
        self.caller_waits.store(false, Ordering::SeqCst);
    }

    /// The life of a worker.
    fn work(&self, index: usize) {
        let mut done = 0;
        loop {
            let state = self.wait_for_job(index, done);
            if state == CLOSED {
                return;
            }
            let entered =
                self.state
                    .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
            if entered.is_err() {
                continue;
            }
            done = state & !(EPOCH - 1);
            // SAFETY: this thread is counted inside the open job, so the caller has written it
            // and waits before it changes it.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                // SAFETY: the closure lives until the caller has seen this thread leave.
                let work = unsafe { &*job.work };
                let result = catch_unwind(AssertUnwindSafe(|| self.claim(work, job.chunks)));
                if let (Err(panic), Ok(mut first)) = (result, self.panic.lock()) {
                    first.get_or_insert(panic);
                }
            }
            let before = self.state.fetch_sub(1, Ordering::SeqCst);
            let last = before & INSIDE == 1 && before & OPEN == 0;
            let waited_for = last && self.caller_waits.load(Ordering::SeqCst);
            if waited_for && let Ok(caller) = self.caller.lock() {
                caller.iter().for_each(Thread::unpark);
            }
        }
    }

    /// The state word of an open job newer than `done`, or `CLOSED`.
    fn wait_for_job(&self, index: usize, done: u64) -> u64 {
        let ready =
            |state: u64| state == CLOSED || (state & OPEN != 0 && state & !(EPOCH - 1) != done);
        for _ in 0..SPINS {
            let state = self.state.load(Ordering::Acquire);
            if ready(state) {
                return state;
            }
            std::hint::spin_loop();
        }
        self.asleep[index].store(true, Ordering::SeqCst);
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if ready(state) {
                self.asleep[index].store(false, Ordering::SeqCst);
                return state;
            }
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).expect("threads start");
            for chunks in [0, 1, 2, 7, 300] {
                let counts: Vec<_> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                for round in 1..=20 {
                    pool.run(chunks, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == round));
                }
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up_again() {
        let pool = Pool::new(3).expect("threads start");
        for _ in 0..5 {
            // Long enough for every worker to stop spinning.
            std::thread::sleep(std::time::Duration::from_millis(5));
            let sum = AtomicUsize::new(0);
            pool.run(100, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }

    #[test]
    fn a_job_inside_a_job_runs() {
        let pool = Pool::new(2).expect("threads start");
        let sum = AtomicUsize::new(0);
        pool.run(4, &|_| {
            pool.run(3, &|_| {
                sum.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 12);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(2).expect("threads start");
        for bad in [0, 63] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, &|i| assert_ne!(i, bad, "chunk is bad"));
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            pool.run(10, &|_| {
                sum.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 10);
        }
    }

    #[test]
    fn pieces_cover_the_slice() {
        let pool = Pool::new(3).expect("threads start");
        let mut data = vec![0usize; 103];
        pool.for_each_mut(&mut data, 10, |piece, part| {
            part.iter_mut().for_each(|v| *v = piece + 1);
        });
        assert!(data.iter().enumerate().all(|(i, v)| *v == i / 10 + 1));
    }
}
