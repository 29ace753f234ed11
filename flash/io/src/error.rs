//! The error type of the crate.

use std::io;
use std::path::{Path, PathBuf};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a read, or the preparation for reads, failed. Messages name file and place and end with a
/// hint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened or examined.
    #[error("cannot open `{}`: {source}\nhint: {}", path.display(), open_hint(source))]
    Open {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The path is a directory or a device.
    #[error("`{}` is not a regular file\nhint: name the model's file itself", path.display())]
    NotAFile {
        /// Path.
        path: PathBuf,
    },
    /// Storage failed, or the file system refused a read.
    #[error("cannot read {len} bytes at byte {offset} of `{}`: {source}\nhint: {}", path.display(), read_hint(source))]
    Read {
        /// File.
        path: PathBuf,
        /// Start of the request.
        offset: u64,
        /// Length of the request.
        len: usize,
        /// Cause.
        source: io::Error,
    },
    /// Attempts brought nothing, again and again.
    #[error(
        "reading {len} bytes at byte {offset} of `{}` made no progress in {attempts} attempts ({last})\n\
         hint: storage that answers but delivers nothing is failing; look into the system log",
        path.display()
    )]
    NoProgress {
        /// File.
        path: PathBuf,
        /// Start of the request.
        offset: u64,
        /// Length of the request.
        len: usize,
        /// How many attempts in a row brought nothing.
        attempts: u32,
        /// What the last of them said.
        last: String,
    },
    /// The file lost bytes while it was open.
    #[error(
        "`{}` was truncated while it was in use: it had {opened} bytes when opened and ends at {now} now\n\
         hint: do not replace or rewrite a model that is running; start again with the complete file",
        path.display()
    )]
    Truncated {
        /// File.
        path: PathBuf,
        /// Size when the file was opened.
        opened: u64,
        /// Size now, or where a read met the end.
        now: u64,
    },
    /// Somebody wrote to the file while it was open.
    #[error(
        "`{}` was changed while it was in use: {what}\n\
         hint: do not rewrite a model that is running; start again with the new file",
        path.display()
    )]
    Changed {
        /// File.
        path: PathBuf,
        /// What differs from when the file was opened.
        what: String,
    },
    /// The file system has no direct I/O, which was demanded.
    #[error(
        "`{}` cannot be read with direct I/O: {source}\n\
         hint: its file system (tmpfs, some network and FUSE file systems) has none; \
         choose the engine `auto` or `buffered`, or move the file to a disk",
        path.display()
    )]
    DirectRefused {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The kernel has no io_uring for this process, and it was demanded.
    #[error(
        "io_uring is refused: {reason}\n\
         hint: containers, emulators and hardened kernels refuse it; choose the engine `auto` or `pread`"
    )]
    UringRefused {
        /// Cause.
        reason: String,
    },
    /// An offset, length or buffer does not suit direct I/O.
    #[error(
        "{what} {value} of a read of `{}` is not a multiple of {alignment}\n\
         hint: align offset, length and buffer to `ReadEngine::alignment`",
        path.display()
    )]
    Unaligned {
        /// File.
        path: PathBuf,
        /// `offset`, `length` or `buffer address`.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What it must be a multiple of.
        alignment: usize,
    },
    /// A request contradicts itself or the engine.
    #[error("read request {tag}: {problem}\nhint: {hint}")]
    Request {
        /// Tag of the request.
        tag: u64,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A setting is out of its range.
    #[error("{what} is {value}, which is not in {range}\nhint: {hint}")]
    Setting {
        /// Setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
        /// What to do.
        hint: &'static str,
    },
    /// A stored profile of storage is not usable.
    #[error(
        "the storage profile `{}` is not usable: {problem}\n\
         hint: measure again with `lampyris probe`, which replaces it",
        path.display()
    )]
    Profile {
        /// File.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A path does not suit measurements.
    #[error("cannot measure the storage at `{}`: {problem}\nhint: {hint}", path.display())]
    Probe {
        /// Path.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A file could not be written.
    #[error("cannot write `{}`: {source}\nhint: {}", path.display(), write_hint(source))]
    Write {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The caller broke off.
    #[error("cancelled\nhint: start again to have the result")]
    Cancelled,
    /// Memory for a buffer is not to be had.
    #[error(
        "cannot allocate a buffer of {bytes} bytes aligned to {alignment}\n\
         hint: use smaller chunks, a smaller queue depth or a smaller memory budget"
    )]
    Memory {
        /// Size.
        bytes: usize,
        /// Alignment.
        alignment: usize,
    },
    /// The operating system refused threads, or the engine's queues broke.
    #[error("the {engine} engine failed: {source}\nhint: {hint}")]
    Engine {
        /// Name of the engine.
        engine: &'static str,
        /// Cause.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
}

impl Error {
    pub(crate) fn open(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Open { path, source }
    }
}

fn open_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check the permissions of the file and its folders",
        _ => "check that the path exists and is readable",
    }
}

fn write_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or use a folder on another disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "use a folder that you may write to"
        }
        _ => "check that the folder exists and can be written",
    }
}

/// What a failed read tells about the cause, as far as the operating system says.
fn read_hint(source: &io::Error) -> &'static str {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        match Errno::from_io_error(source) {
            Some(Errno::IO) => {
                return "the storage device reported a failure; look into the system log, \
                        copy the file to another disk and compare its checksum";
            }
            Some(Errno::INVAL) => {
                return "the file system refused a direct read; choose the engine `buffered`";
            }
            Some(Errno::STALE | Errno::NODEV | Errno::NXIO) => {
                return "the storage went away; mount it again and start again";
            }
            Some(Errno::NOMEM) => return "the kernel is out of memory; lower the memory budget",
            _ => {}
        }
    }
    let _ = source;
    "check the storage device and the file"
}
