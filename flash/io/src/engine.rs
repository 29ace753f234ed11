//! The interface of all engines, and the choice between them.

use crate::buffer::AlignedBuf;
use crate::error::{Error, Result};
use crate::file::{Access, FileSet};
use crate::mapped::Mapped;
use crate::pool::Pool;
use crate::source::Source;
use crate::stats::IoStats;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One read. The buffer moves into the engine and comes back with the [`Completion`].
#[derive(Debug)]
pub struct ReadRequest {
    /// Index of the file among the paths that the engine was opened with.
    pub file: usize,
    /// First byte; a multiple of the engine's alignment.
    pub offset: u64,
    /// Bytes to read, at most the buffer's length; a multiple of the engine's alignment. It may
    /// reach beyond the end of the file.
    pub len: usize,
    /// Filled from its start; its address is a multiple of the engine's alignment.
    pub buf: AlignedBuf,
    /// Returned with the completion.
    pub tag: u64,
}

/// The end of one read.
#[derive(Debug)]
pub struct Completion {
    /// Tag of the request.
    pub tag: u64,
    /// The request's buffer. After an error its content is undefined.
    pub buf: AlignedBuf,
    /// Bytes read: the length that was asked for, or up to the end of the file.
    pub result: Result<usize>,
}

/// Something that a user should hear about how files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The kernel refused io_uring; threads read instead.
    UringRefused {
        /// Why.
        reason: String,
    },
    /// The file's file system has no direct I/O; it is read through the page cache, and what was
    /// read is dropped from it.
    DirectRefused {
        /// File.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::UringRefused { reason } => {
                write!(
                    f,
                    "note: io_uring is refused ({reason}); reading with threads"
                )
            }
            Note::DirectRefused { path, reason } => write!(
                f,
                "note: no direct I/O for `{}` ({reason}); reading through the page cache, \
                 without keeping what was read in it",
                path.display()
            ),
        }
    }
}

/// Reads files that were opened with it.
///
/// Requests run concurrently and complete in any order. Errors of storage come as completions;
/// `submit` and `wait` fail only on mistakes of the caller and on broken engines.
///
/// Dropping an engine waits for the requests that the operating system has begun.
pub trait ReadEngine: Send {
    /// What offset, length and buffer address must be a multiple of: 1 where anything goes.
    fn alignment(&self) -> usize;

    /// How many requests may be in flight.
    fn capacity(&self) -> usize;

    /// Size of a file in bytes when it was opened.
    ///
    /// # Panics
    /// If there is no such file.
    fn file_size(&self, file: usize) -> u64;

    /// Starts a read.
    ///
    /// # Errors
    /// If the engine is full, the request is not aligned, or names no file. All these are
    /// mistakes of the caller; the request and its buffer are dropped.
    fn submit(&mut self, request: ReadRequest) -> Result<()>;

    /// Appends finished requests to `out`, after blocking until there are at least `min`, or all
    /// that are in flight. `min` of 0 never blocks.
    ///
    /// # Errors
    /// If the engine itself is broken. Failed reads are completions.
    fn wait(&mut self, min: usize, out: &mut Vec<Completion>) -> Result<()>;

    /// Requests that were submitted and did not come out of `wait`.
    fn in_flight(&self) -> usize;

    /// Short name: `io_uring`, `pread`, `buffered`, `mmap`, `sim`.
    fn name(&self) -> &str;

    /// Where the engine differs from what was asked for, to be shown to the user.
    fn notes(&self) -> &[Note] {
        &[]
    }

    /// Counters since the engine was opened.
    fn stats(&self) -> IoStats;
}

/// Which engine reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// The fastest that works here: io_uring, else threads with direct I/O, else threads through
    /// the page cache. The engine's notes say what was refused.
    #[default]
    Auto,
    /// io_uring with direct I/O. Linux only.
    Uring,
    /// A pool of threads that call `pread` past the page cache.
    Pread {
        /// Number of threads; 0 chooses.
        threads: usize,
    },
    /// Threads that read through the page cache.
    Buffered,
    /// Threads that copy out of a mapping of the file. For comparison only: a file that is
    /// truncated during a copy kills the process.
    Mmap,
}

impl EngineKind {
    /// The names that parse, for help texts.
    pub const NAMES: &'static str = "auto, uring, pread, pread:THREADS, buffered, mmap";
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineKind::Auto => f.write_str("auto"),
            EngineKind::Uring => f.write_str("uring"),
            EngineKind::Pread { threads: 0 } => f.write_str("pread"),
            EngineKind::Pread { threads } => write!(f, "pread:{threads}"),
            EngineKind::Buffered => f.write_str("buffered"),
            EngineKind::Mmap => f.write_str("mmap"),
        }
    }
}

impl FromStr for EngineKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<EngineKind> {
        let unknown = || Error::Setting {
            what: "I/O engine",
            value: format!("`{text}`"),
            range: EngineKind::NAMES.into(),
            hint: "`auto` takes the fastest that works",
        };
        Ok(match text {
            "auto" => EngineKind::Auto,
            "uring" => EngineKind::Uring,
            "pread" => EngineKind::Pread { threads: 0 },
            "buffered" => EngineKind::Buffered,
            "mmap" => EngineKind::Mmap,
            _ => {
                let threads = text.strip_prefix("pread:").ok_or_else(unknown)?;
                let threads = threads.parse().map_err(|_| unknown())?;
                EngineKind::Pread { threads }
            }
        })
    }
}

/// The largest queue depth.
const DEPTH_MAX: usize = 4096;
/// The largest number of threads in a pool.
const THREADS_MAX: usize = 256;
/// Threads of a pool if nobody says how many. More does not help the disks that were measured,
/// and costs up to 40 % on phones' flash.
const THREADS_DEFAULT: usize = 8;

/// Opens `paths` for reading with up to `depth` requests in flight.
///
/// # Errors
/// If a file cannot be opened, `depth` is 0 or above 4096, threads cannot be started, or what was
/// demanded by name is refused here. With [`EngineKind::Auto`] a refusal becomes a [`Note`].
pub fn open(paths: &[PathBuf], kind: EngineKind, depth: usize) -> Result<Box<dyn ReadEngine>> {
    open_with(paths, kind, depth, ring::open)
}

/// [`open`] with the way to get a ring, so that tests can refuse one.
fn open_with(
    paths: &[PathBuf],
    kind: EngineKind,
    depth: usize,
    ring: impl FnOnce(usize) -> Result<ring::Ring>,
) -> Result<Box<dyn ReadEngine>> {
    check_depth(depth)?;
    match kind {
        EngineKind::Auto => automatic(FileSet::open(paths, Access::DirectIfPossible)?, depth, ring),
        EngineKind::Uring => {
            let ring = ring(depth)?;
            let files = FileSet::open(paths, Access::Direct)?;
            Ok(ring::engine(ring, files, depth))
        }
        EngineKind::Pread { threads } => {
            let files = FileSet::open(paths, Access::Direct)?;
            pool(files, "pread", depth, threads, Vec::new())
        }
        EngineKind::Buffered => {
            let files = FileSet::open(paths, Access::Cached)?;
            pool(files, "buffered", depth, 0, Vec::new())
        }
        EngineKind::Mmap => {
            let files = Mapped::open(FileSet::open(paths, Access::Cached)?)?;
            pool(files, "mmap", depth, 0, Vec::new())
        }
    }
}

/// The best engine for files, whose notes say whether they have direct I/O.
fn automatic(
    files: FileSet,
    depth: usize,
    ring: impl FnOnce(usize) -> Result<ring::Ring>,
) -> Result<Box<dyn ReadEngine>> {
    let mut notes = files.notes().to_vec();
    // Reads through the page cache block inside io_uring's own threads: ours do as well.
    if !files.is_direct() {
        return pool(files, "buffered", depth, 0, notes);
    }
    match ring(depth) {
        Ok(ring) => Ok(ring::engine(ring, files, depth)),
        Err(Error::UringRefused { reason }) => {
            notes.extend(ring::EXPECTED.then_some(Note::UringRefused { reason }));
            pool(files, "pread", depth, 0, notes)
        }
        Err(error) => Err(error),
    }
}

fn pool(
    source: impl Source,
    name: &'static str,
    depth: usize,
    threads: usize,
    notes: Vec<Note>,
) -> Result<Box<dyn ReadEngine>> {
    let threads = threads_for(threads, depth)?;
    Ok(Box::new(Pool::start(source, name, depth, threads, notes)?))
}

#[cfg(target_os = "linux")]
mod ring {
    use super::{FileSet, ReadEngine, Result};
    pub(super) use crate::uring::Ring;
    use crate::uring::Uring;

    /// Whether its absence is worth a note.
    pub(super) const EXPECTED: bool = true;

    pub(super) fn open(depth: usize) -> Result<Ring> {
        Ring::open(depth)
    }

    pub(super) fn engine(ring: Ring, files: FileSet, depth: usize) -> Box<dyn ReadEngine> {
        Box::new(Uring::new(ring, files, depth))
    }
}

/// Systems that never had io_uring.
#[cfg(not(target_os = "linux"))]
mod ring {
    use super::{Error, FileSet, ReadEngine, Result};

    pub(super) const EXPECTED: bool = false;

    pub(super) enum Ring {}

    pub(super) fn open(_depth: usize) -> Result<Ring> {
        let reason = "only Linux has it".into();
        Err(Error::UringRefused { reason })
    }

    pub(super) fn engine(ring: Ring, _files: FileSet, _depth: usize) -> Box<dyn ReadEngine> {
        match ring {}
    }
}

fn threads_for(threads: usize, depth: usize) -> Result<usize> {
    if threads == 0 {
        return Ok(depth.min(THREADS_DEFAULT));
    }
    in_range("number of I/O threads", threads, THREADS_MAX)?;
    Ok(threads.min(depth))
}

/// Refuses a queue depth that no engine has.
pub(crate) fn check_depth(depth: usize) -> Result<()> {
    in_range("queue depth", depth, DEPTH_MAX)
}

fn in_range(what: &'static str, value: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::Setting {
        what,
        value: value.to_string(),
        range: format!("1 to {max}"),
        hint: "8 to 32 suits most storage",
    })
}

/// Refuses a request that an engine could not carry out.
pub(crate) fn check_request(
    request: &ReadRequest,
    source: &dyn Source,
    in_flight: usize,
    capacity: usize,
) -> Result<()> {
    let wrong = |problem: String, hint| Error::Request {
        tag: request.tag,
        problem,
        hint,
    };
    if in_flight >= capacity {
        let problem = format!("{capacity} requests are in flight already");
        return Err(wrong(problem, "wait for one before submitting the next"));
    }
    if request.file >= source.count() {
        let problem = format!("file {} of {}", request.file, source.count());
        return Err(wrong(
            problem,
            "name a file that the engine was opened with",
        ));
    }
    if request.len == 0 || request.len > request.buf.len() {
        let (len, room) = (request.len, request.buf.len());
        let problem = format!("{len} bytes into a buffer of {room}");
        return Err(wrong(
            problem,
            "read at least a byte and at most the buffer",
        ));
    }
    if request
        .offset
        .checked_add(request.len as u64)
        .is_none_or(|end| end > i64::MAX as u64)
    {
        let problem = format!("offset {} is beyond any file", request.offset);
        return Err(wrong(
            problem,
            "offsets count bytes from the start of the file",
        ));
    }
    let places = [
        ("offset", request.offset),
        ("length", request.len as u64),
        ("buffer address", request.buf.as_ptr() as u64),
    ];
    let alignment = source.alignment();
    match places.iter().find(|(_, v)| v % alignment as u64 != 0) {
        None => Ok(()),
        Some(&(what, value)) => Err(Error::Unaligned {
            path: source.path(request.file).to_path_buf(),
            what,
            value,
            alignment,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_parse_as_they_print() {
        for kind in [
            EngineKind::Auto,
            EngineKind::Uring,
            EngineKind::Pread { threads: 0 },
            EngineKind::Pread { threads: 3 },
            EngineKind::Buffered,
            EngineKind::Mmap,
        ] {
            assert_eq!(
                kind.to_string().parse::<EngineKind>().expect("parses"),
                kind
            );
        }
        for wrong in ["", "Auto", "pread:", "pread:x", "pread:-1"] {
            let error = wrong.parse::<EngineKind>().expect_err("not a kind");
            assert!(error.to_string().contains("hint: "), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_refused_ring_becomes_threads_and_a_note() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, [1; 5000]).expect("writes");
        let paths = [path];
        let refuse = |_| {
            let reason = "io_uring_setup: Operation not permitted".into();
            Err(Error::UringRefused { reason })
        };
        let engine = open_with(&paths, EngineKind::Auto, 4, refuse).expect("threads");
        // Where the sources lie on a file system without direct I/O, that is said instead.
        let note = engine.notes()[0].to_string();
        match engine.name() {
            "pread" => assert!(
                note.contains("io_uring is refused (io_uring_setup: "),
                "{note}"
            ),
            _ => assert!(note.contains("no direct I/O"), "{note}"),
        }
        let error = open_with(&paths, EngineKind::Uring, 4, refuse)
            .err()
            .expect("refused");
        assert!(error.to_string().contains("io_uring is refused"), "{error}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (kind, depth) in [
            (EngineKind::Auto, 0),
            (EngineKind::Auto, DEPTH_MAX + 1),
            (EngineKind::Pread { threads: 1000 }, 1),
        ] {
            let error = open(&[], kind, depth).err().expect("refused");
            assert!(
                error.to_string().contains("which is not in 1 to"),
                "{error}"
            );
        }
    }
}
