//! Why an operation over the link failed.

use lampyris_isa::link::{Command, PAGE, PROTOCOL_VERSION, Status};
use std::{fmt, io};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was asked of the device, for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Command.
    pub command: Command,
    /// Byte address.
    pub address: u64,
    /// Bytes read or written.
    pub bytes: usize,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, bytes) = (self.address, self.bytes);
        match self.command {
            Command::Info => write!(f, "asking the device who it is"),
            Command::LinkStatus => write!(f, "reading the counters of the link"),
            Command::ResetCore => write!(f, "resetting the accelerator"),
            Command::ReadCsr => write!(f, "reading the register at {address:#05x}"),
            Command::WriteCsr => write!(f, "writing the register at {address:#05x}"),
            Command::ReadMem => write!(f, "reading {bytes} bytes of memory at {address:#x}"),
            Command::WriteMem => write!(f, "writing {bytes} bytes of memory at {address:#x}"),
        }
    }
}

/// Why an operation failed. Messages name the operation and end with a hint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port failed.
    #[error(
        "{operation}: the port failed: {source}\nhint: check the cable, and that the port still exists"
    )]
    Port {
        /// What was asked.
        operation: Operation,
        /// Cause.
        source: io::Error,
    },
    /// There was no good response.
    #[error(
        "{operation}: no answer after {tries} tries ({bad_frames} damaged frames arrived)\nhint: {}",
        silence_hint(*bad_frames)
    )]
    NoAnswer {
        /// What was asked.
        operation: Operation,
        /// How often it was sent.
        tries: u32,
        /// Damaged frames that arrived meanwhile.
        bad_frames: u64,
    },
    /// What answers is not this link, or another version of it.
    #[error(
        "the device speaks version {found} of the link, this program version {PROTOCOL_VERSION}\n\
         hint: use program and bitstream of the same release"
    )]
    Version {
        /// Version of the device.
        found: u32,
    },
    /// What answers does not say the link's name.
    #[error(
        "the device answers with {word:#010x} where the name of the link stands\n\
         hint: check that the port is the accelerator's"
    )]
    NotALink {
        /// First word of its INFO.
        word: u32,
    },
    /// The device says that it could not do it.
    #[error("{operation}: the device answers {}\nhint: {}", status.name(), status_hint(*status))]
    Device {
        /// What was asked.
        operation: Operation,
        /// Its answer.
        status: Status,
    },
    /// An answer whose CRC is right and whose content makes no sense.
    #[error(
        "{operation}: the answer has status {status} and {bytes} bytes, which this program does not know\n\
         hint: use program and bitstream of the same release"
    )]
    Answer {
        /// What was asked.
        operation: Operation,
        /// Its status byte.
        status: u8,
        /// Bytes of its payload.
        bytes: usize,
    },
    /// The caller asked for what the link cannot do.
    #[error("{operation}: {problem}\nhint: {hint}")]
    Argument {
        /// What was asked.
        operation: Operation,
        /// What is wrong.
        problem: &'static str,
        /// What is allowed.
        hint: &'static str,
    },
}

fn silence_hint(bad_frames: u64) -> &'static str {
    if bad_frames == 0 {
        "check that the device has power and its bitstream, and that the baud rate is the same on both sides"
    } else {
        "the line is noisy or the baud rate a little wrong: try a lower rate on both sides, or a shorter cable"
    }
}

fn status_hint(status: Status) -> String {
    match status {
        Status::Ok => "this is not a failure".into(),
        Status::BadCommand => "use program and bitstream of the same release".into(),
        Status::BadLength => "a command takes one register or 1 to 64 words of memory".into(),
        Status::BadAddress => format!(
            "addresses are multiples of 4, registers lie below 0x1000, and no transfer crosses {PAGE} bytes"
        ),
        Status::BusError => {
            "nothing answers at this address: check it against the size of the memory".into()
        }
        Status::Timeout => {
            "the bus hangs: reset the accelerator, and check that the memory has been initialised"
                .into()
        }
        Status::Busy => {
            "the bus still waits for an earlier access that timed out: reset the accelerator".into()
        }
    }
}
