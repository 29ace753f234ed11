//! io_uring: many reads in flight from one thread, without threads of our own.

use crate::engine::{Completion, Note, ReadEngine, ReadRequest, check_request};
use crate::error::{Error, Result};
use crate::file::FileSet;
use crate::source::Source;
use crate::stats::IoStats;
use crate::task::{Step, Task};
use io_uring::{IoUring, Probe, opcode, types};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::time::Instant;

/// Bytes of one attempt: the kernel reads no more than this at once, and counts in 32 bits.
const ATTEMPT_MAX: usize = 1 << 30;
const NAME: &str = "io_uring";

/// A ring whose kernel has answered.
pub(crate) struct Ring(IoUring);

impl Ring {
    /// Sets up a ring for `depth` requests and sends one empty request through it: some sandboxes
    /// let the first call pass and refuse the next.
    ///
    /// # Errors
    /// [`Error::UringRefused`] with the call that failed.
    pub(crate) fn open(depth: usize) -> Result<Ring> {
        let refused = |call: &'static str| {
            move |e: io::Error| Error::UringRefused {
                reason: format!("{call}: {e}"),
            }
        };
        let entries = depth.next_power_of_two() as u32;
        let mut ring = IoUring::builder()
            .dontfork()
            .build(entries)
            .map_err(refused("io_uring_setup"))?;
        let mut probe = Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(refused("io_uring_register"))?;
        if !probe.is_supported(opcode::Read::CODE) {
            return Err(Error::UringRefused {
                reason: "this kernel's has no reads into plain buffers".into(),
            });
        }
        // SAFETY: a request without operation refers to no memory.
        let pushed = unsafe { ring.submission().push(&opcode::Nop::new().build()) };
        pushed.map_err(|e| refused("submission queue")(io::Error::other(e)))?;
        while ring.completion().is_empty() {
            match ring.submit_and_wait(1) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    return Err(refused("io_uring_enter")(e));
                }
                _ => {}
            }
        }
        ring.completion().for_each(drop);
        Ok(Ring(ring))
    }
}

/// A request that the kernel has.
struct Slot {
    task: Task,
    begin: Instant,
}

/// The engine. Slots own the buffers that the kernel may write into.
pub(crate) struct Uring {
    ring: IoUring,
    files: FileSet,
    /// Files are known to the kernel by their index.
    registered: bool,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Ended, not yet handed out.
    ended: Vec<Completion>,
    notes: Vec<Note>,
    stats: IoStats,
}

impl Uring {
    pub(crate) fn new(ring: Ring, files: FileSet, depth: usize) -> Uring {
        let ring = ring.0;
        let numbers: Vec<i32> = (0..files.count())
            .map(|i| files.file(i).as_raw_fd())
            .collect();
        // Saves the kernel a look-up per request; it works without.
        let registered = !numbers.is_empty() && ring.submitter().register_files(&numbers).is_ok();
        Uring {
            ring,
            registered,
            slots: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            ended: Vec::with_capacity(depth),
            notes: files.notes().to_vec(),
            stats: IoStats::default(),
            files,
        }
    }

    /// Requests that the kernel has.
    fn busy(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn broken(source: io::Error) -> Error {
        Error::Engine {
            engine: NAME,
            source,
            hint: "choose the engine `pread`",
        }
    }

    /// Queues the next attempt of a slot.
    fn push(&mut self, index: usize) -> Result<()> {
        let slot = self.slots[index].as_mut().expect("the slot is in use");
        let (file, offset) = (slot.task.request.file, slot.task.offset());
        let rest = slot.task.rest();
        let (data, len) = (rest.as_mut_ptr(), rest.len().min(ATTEMPT_MAX) as u32);
        let entry = if self.registered {
            opcode::Read::new(types::Fixed(file as u32), data, len)
        } else {
            opcode::Read::new(types::Fd(self.files.file(file).as_raw_fd()), data, len)
        };
        let entry = entry.offset(offset).build().user_data(index as u64);
        // SAFETY: the buffer belongs to the slot, which keeps it until the kernel's completion
        // for this entry was seen, and leaks it if that cannot be waited for (see `drop`).
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // The queue has room for all slots, but entries of a failed submission stay in it.
            self.enter(0)?;
        }
        Ok(())
    }

    /// Hands queued entries to the kernel and waits for `want` completions.
    fn enter(&mut self, want: usize) -> Result<()> {
        match self.ring.submit_and_wait(want) {
            Ok(_) => Ok(()),
            // Signals, and resources that come back when requests complete: the entries stay
            // queued for the next call.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) if is_busy(&e) => {
                std::thread::yield_now();
                Ok(())
            }
            Err(e) => Err(Self::broken(e)),
        }
    }

    /// Takes all completions that the kernel has posted.
    fn collect(&mut self) -> Result<()> {
        loop {
            let Some(entry) = self.ring.completion().next() else {
                return Ok(());
            };
            let index = entry.user_data() as usize;
            let outcome = match entry.result() {
                n if n >= 0 => Ok(n as usize),
                e => Err(io::Error::from_raw_os_error(-e)),
            };
            let slot = self.slots[index].as_mut().expect("the slot is in use");
            match slot.task.advance(outcome, &self.files) {
                Step::Again => self.resubmit(index)?,
                Step::Pause(time) => {
                    std::thread::sleep(time);
                    self.resubmit(index)?;
                }
                Step::End(result) => self.end(index, result),
            }
        }
    }

    fn resubmit(&mut self, index: usize) -> Result<()> {
        self.push(index)?;
        self.enter(0)
    }

    fn end(&mut self, index: usize, result: Result<usize>) {
        let slot = self.slots[index].take().expect("the slot is in use");
        self.free.push(index);
        let retries = slot.task.retries;
        let completion = slot.task.finish(result, &self.files);
        self.stats.count(&completion, retries, slot.begin.elapsed());
        self.ended.push(completion);
    }
}

fn is_busy(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AGAIN | Errno::BUSY)
    )
}

impl ReadEngine for Uring {
    fn alignment(&self) -> usize {
        self.files.alignment()
    }

    fn capacity(&self) -> usize {
        self.slots.len()
    }

    fn file_size(&self, file: usize) -> u64 {
        self.files.size(file)
    }

    fn submit(&mut self, request: ReadRequest) -> Result<()> {
        check_request(&request, &self.files, self.in_flight(), self.slots.len())?;
        let index = self.free.pop().expect("fewer in flight than slots");
        self.slots[index] = Some(Slot {
            task: Task::new(request),
            begin: Instant::now(),
        });
        if let Err(error) = self.push(index) {
            // The kernel never saw it, so nothing will come back for it.
            self.slots[index] = None;
            self.free.push(index);
            return Err(error);
        }
        self.enter(0)
    }

    fn wait(&mut self, min: usize, out: &mut Vec<Completion>) -> Result<()> {
        let min = min.min(self.in_flight());
        self.collect()?;
        if self.ended.len() < min {
            let begin = Instant::now();
            while self.ended.len() < min {
                self.enter(min - self.ended.len())?;
                self.collect()?;
            }
            self.stats.wait += begin.elapsed();
        }
        out.append(&mut self.ended);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.busy() + self.ended.len()
    }

    fn name(&self) -> &str {
        NAME
    }

    fn notes(&self) -> &[Note] {
        &self.notes
    }

    fn stats(&self) -> IoStats {
        self.stats.clone()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.busy() > 0 {
            if self.enter(1).is_err() {
                // The kernel may still write into the buffers, and nobody will know when it has
                // stopped. They must outlive it.
                mem::forget(mem::take(&mut self.slots));
                return;
            }
            // No second attempts: any outcome ends the request.
            while let Some(entry) = self.ring.completion().next() {
                let index = entry.user_data() as usize;
                self.slots[index] = None;
                self.free.push(index);
            }
        }
    }
}
