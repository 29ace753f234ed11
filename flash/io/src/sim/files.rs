//! What the simulated device stores, and what it does to bytes on their way.

use super::{Event, Faults, SimOptions};
use crate::error::{Error, Result};
use crate::file::FileSet;
use crate::source::Source;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the undisturbed bytes are.
pub(super) enum Backing {
    Memory(Vec<(PathBuf, Vec<u8>)>),
    Disk(FileSet),
}

/// Simulated files: a [`Source`], so that everything above it is the real code.
pub(super) struct SimFiles {
    backing: Backing,
    alignment: usize,
    state: Mutex<State>,
}

/// What has happened so far.
pub(super) struct State {
    pub(super) random: fastrand::Rng,
    pub(super) faults: Faults,
    /// Factor on all times.
    pub(super) slow: u32,
    attempts: u64,
    /// In the order in which they happen.
    scheduled: Vec<(u64, Event)>,
    past: Vec<Event>,
}

impl State {
    fn apply(&mut self, event: Event) {
        if let Event::Slow { factor } = event {
            self.slow = factor;
        }
        self.past.push(event);
    }

    /// Counts an attempt and lets happen what is due before it.
    fn attempt(&mut self) {
        while self
            .scheduled
            .first()
            .is_some_and(|(at, _)| *at <= self.attempts)
        {
            let (_, event) = self.scheduled.remove(0);
            self.apply(event);
        }
        self.attempts += 1;
    }

    /// Applies the wrong bits to what is read at `offset`.
    fn rot(&self, file: usize, offset: u64, bytes: &mut [u8]) {
        for event in &self.past {
            if let Event::Flip {
                file: f,
                offset: at,
                bit,
            } = *event
                && f == file
                && (offset..offset + bytes.len() as u64).contains(&at)
            {
                bytes[(at - offset) as usize] ^= 1 << (bit % 8);
            }
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.f64() < probability
    }
}

impl SimFiles {
    pub(super) fn new(backing: Backing, options: &SimOptions) -> SimFiles {
        let mut scheduled = options.events.clone();
        scheduled.sort_by_key(|(at, _)| *at);
        SimFiles {
            backing,
            alignment: options.alignment,
            state: Mutex::new(State {
                random: fastrand::Rng::with_seed(options.seed),
                faults: options.faults,
                slow: 1,
                attempts: 0,
                scheduled,
                past: Vec::new(),
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apply(&self, event: Event) {
        self.state().apply(event);
    }

    fn stored(&self, file: usize, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match &self.backing {
            Backing::Disk(files) => files.read_once(file, offset, into),
            Backing::Memory(files) => {
                let bytes = &files[file].1;
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(start..).unwrap_or_default();
                let n = rest.len().min(into.len());
                into[..n].copy_from_slice(&rest[..n]);
                Ok(n)
            }
        }
    }

    /// The size after truncations.
    fn size_now(&self, state: &State, file: usize) -> u64 {
        let cuts = state.past.iter().filter_map(|event| match *event {
            Event::Truncate { file: f, len } if f == file => Some(len),
            _ => None,
        });
        cuts.fold(self.size(file), u64::min)
    }
}

/// The error that a broken disk gives.
fn broken() -> io::Error {
    #[cfg(unix)]
    {
        rustix::io::Errno::IO.into()
    }
    #[cfg(not(unix))]
    {
        io::Error::other("input/output error")
    }
}

impl Source for SimFiles {
    fn count(&self) -> usize {
        match &self.backing {
            Backing::Disk(files) => files.count(),
            Backing::Memory(files) => files.len(),
        }
    }

    fn path(&self, file: usize) -> &Path {
        match &self.backing {
            Backing::Disk(files) => files.path(file),
            Backing::Memory(files) => &files[file].0,
        }
    }

    fn size(&self, file: usize) -> u64 {
        match &self.backing {
            Backing::Disk(files) => files.size(file),
            Backing::Memory(files) => files[file].1.len() as u64,
        }
    }

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn read_once(&self, file: usize, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        state.attempt();
        // As the kernel does; the retries of a short read must keep to it as well.
        let aligned = |n: u64| n.is_multiple_of(self.alignment as u64);
        if !aligned(offset) || !aligned(into.len() as u64) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let faults = state.faults;
        if state.chance(faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if state.chance(faults.busy) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let end = offset + into.len() as u64;
        let bad = state.past.iter().any(|event| {
            matches!(*event, Event::Fail { file: f, from, to }
                if f == file && from < end && offset < to)
        });
        if bad || state.chance(faults.error) {
            return Err(broken());
        }
        let mut n = self.stored(file, offset, into)?;
        let left = self.size_now(&state, file).saturating_sub(offset);
        n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
        if n > 1 && state.chance(faults.short) {
            n = state.random.usize(1..n);
        }
        state.rot(file, offset, &mut into[..n]);
        if n > 0 && state.chance(faults.flip) {
            let byte = state.random.usize(0..n);
            into[byte] ^= 1 << state.random.u8(0..8);
        }
        Ok(n)
    }

    fn check(&self, file: usize) -> Result<()> {
        if let Backing::Disk(files) = &self.backing {
            files.check(file)?;
        }
        let state = self.state();
        let (path, opened) = (self.path(file).to_path_buf(), self.size(file));
        let now = self.size_now(&state, file);
        if now < opened {
            return Err(Error::Truncated { path, opened, now });
        }
        if state.past.contains(&Event::Touch { file }) {
            let what = "its time of modification differs".into();
            return Err(Error::Changed { path, what });
        }
        Ok(())
    }
}
