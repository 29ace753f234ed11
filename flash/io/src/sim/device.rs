//! The simulated device as an engine: a queue of attempts in the order of time.

use super::files::{Backing, SimFiles};
use super::{Event, Faults, SimOptions, Timing};
use crate::engine::{Completion, ReadEngine, ReadRequest, check_depth, check_request};
use crate::error::{Error, Result};
use crate::file::{Access, FileSet};
use crate::source::Source;
use crate::stats::IoStats;
use crate::task::{Step, Task};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The engine.
pub struct SimDevice {
    shared: Arc<Shared>,
    timing: Timing,
    depth: usize,
    /// When the device was made, for real time.
    begin: Instant,
    /// When each channel is free again.
    channels: Vec<Duration>,
    /// When the shared wire is free again.
    wire: Duration,
    /// Ends of attempts and their slots, soonest first; the number keeps equal times in order.
    due: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    started: u64,
    slots: Vec<Option<(Task, Duration)>>,
    ended: Vec<Completion>,
    stats: IoStats,
}

struct Shared {
    files: SimFiles,
    /// Nanoseconds.
    clock: AtomicU64,
}

/// Reaches a device that was given away.
#[derive(Clone)]
pub struct SimHandle(Arc<Shared>);

impl SimHandle {
    /// Lets something happen now.
    pub fn apply(&self, event: Event) {
        self.0.files.apply(event);
    }

    /// Changes what goes wrong by chance.
    pub fn set_faults(&self, faults: Faults) {
        self.0.files.state().faults = faults;
    }

    /// Time since the device was made, virtual or real.
    pub fn clock(&self) -> Duration {
        Duration::from_nanos(self.0.clock.load(Ordering::Relaxed))
    }
}

impl SimDevice {
    /// A device that holds `contents`, called `sim-0` and so on in messages.
    ///
    /// # Errors
    /// If `depth` is 0 or above 4096, or the alignment is not a power of two.
    pub fn new(contents: Vec<Vec<u8>>, depth: usize, options: SimOptions) -> Result<SimDevice> {
        let named = |(i, bytes)| (PathBuf::from(format!("sim-{i}")), bytes);
        let files = contents.into_iter().enumerate().map(named).collect();
        SimDevice::with(Backing::Memory(files), depth, options)
    }

    /// A device that holds the files `paths`, which are read when they are asked for.
    ///
    /// # Errors
    /// As [`SimDevice::new`], and if a file cannot be opened.
    pub fn open(paths: &[PathBuf], depth: usize, options: SimOptions) -> Result<SimDevice> {
        let files = FileSet::open(paths, Access::Cached)?;
        SimDevice::with(Backing::Disk(files), depth, options)
    }

    fn with(backing: Backing, depth: usize, options: SimOptions) -> Result<SimDevice> {
        check_depth(depth)?;
        if !options.alignment.is_power_of_two() {
            return Err(Error::Setting {
                what: "alignment of a simulated device",
                value: options.alignment.to_string(),
                range: "the powers of two".into(),
                hint: "512 and 4096 are usual",
            });
        }
        let files = SimFiles::new(backing, &options);
        let clock = AtomicU64::new(0);
        Ok(SimDevice {
            shared: Arc::new(Shared { files, clock }),
            depth,
            begin: Instant::now(),
            channels: vec![Duration::ZERO; options.timing.channels.max(1)],
            wire: Duration::ZERO,
            due: BinaryHeap::with_capacity(depth),
            started: 0,
            slots: (0..depth).map(|_| None).collect(),
            ended: Vec::with_capacity(depth),
            stats: IoStats::default(),
            timing: options.timing,
        })
    }

    /// A handle for faults and the clock.
    pub fn handle(&self) -> SimHandle {
        SimHandle(Arc::clone(&self.shared))
    }

    fn now(&self) -> Duration {
        if self.timing.real {
            self.set_now(self.begin.elapsed());
        }
        Duration::from_nanos(self.shared.clock.load(Ordering::Relaxed))
    }

    fn set_now(&self, now: Duration) {
        self.shared
            .clock
            .store(now.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Puts the next attempt of a slot on the channel that is free first.
    fn start(&mut self, slot: usize, not_before: Duration) {
        let len = match &mut self.slots[slot] {
            Some((task, _)) => task.rest().len() as u64,
            None => return,
        };
        let (latency, factor) = {
            let mut state = self.shared.files.state();
            let (min, max) = self.timing.latency;
            let spread = max.saturating_sub(min).mul_f64(state.random.f64());
            (min + spread, state.slow)
        };
        let latency = latency * factor;
        let channel = self.channels.iter_mut().min().expect("at least one");
        // Bytes share the wire, latencies overlap: half before the transfer, half after it, so
        // that attempts can overtake each other.
        let mut sent = not_before.max(*channel) + latency / 2;
        if self.timing.bytes_per_second > 0 {
            let seconds = len as f64 / self.timing.bytes_per_second as f64;
            sent = sent.max(self.wire) + Duration::from_secs_f64(seconds) * factor;
            self.wire = sent;
        }
        let end = sent + latency / 2;
        *channel = end;
        self.started += 1;
        self.due.push(Reverse((end, self.started, slot)));
    }

    /// Carries out the attempt that ends next.
    fn step(&mut self, end: Duration, slot: usize) {
        let Some((mut task, begin)) = self.slots[slot].take() else {
            return;
        };
        let files = &self.shared.files;
        let (file, offset) = (task.request.file, task.offset());
        let outcome = files.read_once(file, offset, task.rest());
        let pause = match task.advance(outcome, files) {
            Step::Again => Duration::ZERO,
            Step::Pause(time) => time,
            Step::End(result) => {
                let retries = task.retries;
                let completion = task.finish(result, files);
                self.stats.count(&completion, retries, end - begin);
                self.ended.push(completion);
                return;
            }
        };
        self.slots[slot] = Some((task, begin));
        self.start(slot, end + pause);
    }

    /// Carries out all attempts that end by `now`.
    fn catch_up(&mut self, now: Duration) {
        while let Some(&Reverse((end, _, slot))) = self.due.peek()
            && end <= now
        {
            self.due.pop();
            self.step(end, slot);
        }
    }
}

impl ReadEngine for SimDevice {
    fn alignment(&self) -> usize {
        self.shared.files.alignment()
    }

    fn capacity(&self) -> usize {
        self.depth
    }

    fn file_size(&self, file: usize) -> u64 {
        self.shared.files.size(file)
    }

    fn submit(&mut self, request: ReadRequest) -> Result<()> {
        let in_flight = self.in_flight();
        check_request(&request, &self.shared.files, in_flight, self.depth)?;
        let now = self.now();
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.expect("fewer in flight than slots");
        self.slots[slot] = Some((Task::new(request), now));
        self.start(slot, now);
        Ok(())
    }

    fn wait(&mut self, min: usize, out: &mut Vec<Completion>) -> Result<()> {
        let min = min.min(self.in_flight());
        let begin = self.now();
        self.catch_up(begin);
        while self.ended.len() < min
            && let Some(&Reverse((end, _, _))) = self.due.peek()
        {
            if self.timing.real {
                std::thread::sleep(end.saturating_sub(self.now()));
            } else {
                self.set_now(end);
            }
            self.catch_up(self.now());
        }
        self.stats.wait += self.now() - begin;
        out.append(&mut self.ended);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.due.len() + self.ended.len()
    }

    fn name(&self) -> &str {
        "sim"
    }

    fn stats(&self) -> IoStats {
        self.stats.clone()
    }
}
