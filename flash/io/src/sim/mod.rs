//! A storage device in memory, with latency and faults as a seed gives them: for tests of what
//! reads files.
//!
//! Repetition of short and interrupted reads, the look for changed files and the messages are
//! those of the real engines. Time is virtual unless [`Timing::real`] is set: it passes while
//! [`ReadEngine::wait`] waits, and equal seeds give equal runs.
//!
//! ```
//! use lampyris_io::sim::{Event, SimDevice, SimOptions};
//! use lampyris_io::{AlignedBuf, ReadEngine, ReadRequest};
//! # fn main() -> Result<(), lampyris_io::Error> {
//! let mut options = SimOptions::default();
//! options.faults.short = 0.5;
//! options.events.push((0, Event::Fail { file: 0, from: 8192, to: 8193 }));
//! let mut device = SimDevice::new(vec![vec![7; 1 << 20]], 4, options)?;
//! for (tag, offset) in [0, 8192].into_iter().enumerate() {
//!     let buf = AlignedBuf::new(4096, device.alignment())?;
//!     device.submit(ReadRequest { file: 0, offset, len: 4096, buf, tag: tag as u64 })?;
//! }
//! let mut done = Vec::new();
//! device.wait(2, &mut done)?;
//! done.sort_by_key(|c| c.tag);
//! assert_eq!(*done[0].result.as_ref().unwrap(), 4096);
//! assert!(done[1].result.is_err());
//! # Ok(())
//! # }
//! ```

mod device;
mod files;

pub use device::{SimDevice, SimHandle};

use std::time::Duration;

/// How long the device takes.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Shortest and longest time before the first byte of an attempt; in between every time is
    /// equally likely.
    pub latency: (Duration, Duration),
    /// Rate at which the device delivers, shared by all channels; 0 for no limit.
    pub bytes_per_second: u64,
    /// How many attempts run at the same time; further ones queue.
    pub channels: usize,
    /// Let real time pass in place of virtual time.
    pub real: bool,
}

impl Default for Timing {
    /// A disk with 100 µs latency and 1 GB/s.
    fn default() -> Timing {
        Timing {
            latency: (Duration::from_micros(80), Duration::from_micros(120)),
            bytes_per_second: 1_000_000_000,
            channels: 8,
            real: false,
        }
    }
}

/// Faults that happen by chance, each with its probability (0 to 1) per attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Only a part of the bytes comes.
    pub short: f64,
    /// `EINTR`.
    pub interrupted: f64,
    /// `EAGAIN`.
    pub busy: f64,
    /// `EIO`.
    pub error: f64,
    /// One of the bits that are delivered is wrong.
    pub flip: f64,
}

/// Something that happens to the device or its files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The file ends at `len` from now on.
    Truncate {
        /// Index of the file.
        file: usize,
        /// New size in bytes.
        len: u64,
    },
    /// The file's time of modification changes.
    Touch {
        /// Index of the file.
        file: usize,
    },
    /// A bit is wrong from now on, without any other sign: storage rots.
    Flip {
        /// Index of the file.
        file: usize,
        /// Byte in the file.
        offset: u64,
        /// Bit in the byte, 0 to 7.
        bit: u8,
    },
    /// Attempts that touch the bytes `from..to` fail with `EIO`.
    Fail {
        /// Index of the file.
        file: usize,
        /// First byte.
        from: u64,
        /// End.
        to: u64,
    },
    /// Every attempt takes `factor` times as long from now on; 1 is the usual speed.
    Slow {
        /// Factor.
        factor: u32,
    },
}

/// What a device is like.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Source of all that is random.
    pub seed: u64,
    /// What offset, length and address must be a multiple of, a power of two.
    pub alignment: usize,
    /// How long reads take.
    pub timing: Timing,
    /// Faults by chance.
    pub faults: Faults,
    /// Events, each after so many attempts since the device was made.
    pub events: Vec<(u64, Event)>,
}

impl Default for SimOptions {
    /// A device without faults.
    fn default() -> SimOptions {
        SimOptions {
            seed: 1,
            alignment: 512,
            timing: Timing::default(),
            faults: Faults::default(),
            events: Vec::new(),
        }
    }
}
