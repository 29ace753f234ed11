//! Driver of the host link: reads and writes the registers and the memory of an accelerator over
//! a stream of bytes that may lose, add and change bytes, such as a UART.
//!
//! `docs/link.md` describes the protocol; its numbers come from [`lampyris_isa::link`]. This crate
//! does no I/O of its own: whoever has a port implements [`Transport`].
//!
//! Invariants: a request with a side effect is executed at most once, and alone. Nothing waits
//! without a bound. Whatever the bytes are, the outcome is a result or an [`Error`].

mod cobs;
mod error;
mod exchange;
mod frame;
mod link;
#[cfg(test)]
mod tests;

pub use error::{Error, Operation, Result};
pub use frame::{Malformed, Receiver, Request, Response};
pub use link::{Counters, DeviceCounters, Info, Link};

use std::io;

/// A stream of bytes to and from a device.
pub trait Transport {
    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// When the port itself failed; lost bytes are no error.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Waits for at least one byte and puts what there is into `out`; returns how many bytes. 0
    /// says that the transport's time-out passed without a byte. That time must be longer than
    /// the device's own (see [`Info::timeout_clocks`]), and the longer it is, the longer a lost
    /// frame takes.
    ///
    /// # Errors
    /// When the port itself failed.
    fn receive(&mut self, out: &mut [u8]) -> io::Result<usize>;
}
