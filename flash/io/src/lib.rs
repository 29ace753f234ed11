//! Reads model files from storage, many requests at a time, past the page cache.
//!
//! A [`ReadEngine`] takes [`ReadRequest`]s, each with the buffer that is to be filled, and gives
//! them back as [`Completion`]s. [`open`] chooses one: io_uring, a pool of threads that call
//! `pread`, the page cache, or a mapping. All give the same bytes and the same errors.
//!
//! Invariants:
//! - A buffer belongs to the engine from `submit` until its completion comes out, also when the
//!   engine is dropped in between: the kernel never writes into memory that was given back.
//! - A completion holds every byte that was asked for, unless the file ended there when it was
//!   opened. Short reads and interruptions are repeated inside.
//! - A file that changes while it is open gives errors, never a mixture of old and new bytes.
//!
//! ```
//! use lampyris_io::{AlignedBuf, EngineKind, ReadRequest, open};
//! # fn main() -> Result<(), lampyris_io::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("weights");
//! # std::fs::write(&path, vec![7; 1 << 20]).unwrap();
//! let mut engine = open(&[path], EngineKind::Auto, 8)?;
//! for note in engine.notes() {
//!     eprintln!("{note}");
//! }
//! let buf = AlignedBuf::new(64 << 10, engine.alignment())?;
//! engine.submit(ReadRequest { file: 0, offset: 128 << 10, len: buf.len(), buf, tag: 1 })?;
//! let mut done = Vec::new();
//! engine.wait(1, &mut done)?;
//! let completion = done.pop().unwrap();
//! assert_eq!((completion.tag, completion.result?), (1, 64 << 10));
//! assert_eq!(completion.buf[0], 7);
//! # Ok(())
//! # }
//! ```

mod buffer;
mod engine;
mod error;
mod file;
mod mapped;
mod platform;
mod pool;
pub mod probe;
mod region;
pub mod sim;
mod source;
mod stats;
mod task;
#[cfg(target_os = "linux")]
mod uring;

pub use buffer::{AlignedBuf, page_size};
pub use engine::{Completion, EngineKind, Note, ReadEngine, ReadRequest, open};
pub use error::{Error, Result};
pub use stats::{Histogram, IoStats};
