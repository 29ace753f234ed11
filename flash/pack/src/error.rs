//! The error type of the crate.

use std::path::{Path, PathBuf};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model cannot be indexed, packed or read. Every message names the place and ends with a
/// hint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model was refused by the importer.
    #[error(transparent)]
    Import(#[from] lampyris_import::ImportError),
    /// Its tokenizer or chat template was.
    #[error(transparent)]
    Text(#[from] lampyris_import::saved::TextError),
    /// The operating system refused to read.
    #[error("cannot read `{}`: {source}\nhint: check that the path exists and is readable", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file ended where the header promised data: it changed after it was opened.
    #[error(
        "`{}` ended at byte {at}, within `{what}`\n\
         hint: the file was truncated or replaced while it was in use; fetch it again",
        path.display()
    )]
    Truncated {
        /// File.
        path: PathBuf,
        /// What was being read.
        what: String,
        /// Where the data should begin.
        at: u64,
    },
    /// A vector holds a value that would poison every result.
    #[error(
        "`{}`: tensor `{tensor}` has a NaN or infinite value at element {element}\n\
         hint: the file is damaged; fetch it again and compare its SHA-256",
        path.display()
    )]
    NotFinite {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// Element.
        element: usize,
    },
    /// A temporary copy of the embedded model cannot be written.
    #[error(
        "cannot write a temporary copy of the embedded model: {0}\n\
         hint: set TMPDIR to a folder with 2 MB of room"
    )]
    Temporary(std::io::Error),
    /// A packed file contradicts its format.
    #[error("`{}`: {problem}\nhint: {hint}", path.display())]
    Container {
        /// File.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A section of a packed file does not have its SHA-256.
    #[error(
        "`{}`: section `{section}` does not have the SHA-256 that the header gives\n\
         hint: the file is damaged; pack the model again",
        path.display()
    )]
    Section {
        /// File.
        path: PathBuf,
        /// Section.
        section: String,
    },
    /// Bytes that were read from a packed file do not have their checksum.
    #[error(
        "`{}`: section `{section}` is damaged: {bytes} bytes at {offset} do not have their checksum\n\
         hint: `lampyris pack --verify` lists everything that is damaged; pack the model again, and suspect the storage if it happens again",
        path.display()
    )]
    Checksum {
        /// File.
        path: PathBuf,
        /// Section.
        section: String,
        /// First byte of the damaged unit.
        offset: u64,
        /// Length of the unit.
        bytes: usize,
    },
    /// The model cannot be packed in the way that was asked for.
    #[error("cannot pack `{model}`: {problem}\nhint: {hint}")]
    Options {
        /// Model.
        model: String,
        /// What does not fit.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// There is something else at the place of the output.
    #[error("`{}` exists and is not a packed file\nhint: choose another name with -o", .0.display())]
    Occupied(PathBuf),
    /// Another process is packing to the same place.
    #[error("`{}` is being written by another process\nhint: wait for it, or choose another name with -o", .0.display())]
    Busy(PathBuf),
    /// The file system does not have room.
    #[error(
        "`{}` needs {needed} bytes, but its file system has {free} bytes free\n\
         hint: make room, or choose another place with -o",
        path.display()
    )]
    NoRoom {
        /// File.
        path: PathBuf,
        /// Bytes that are still to be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The operating system refused to write.
    #[error(
        "cannot write `{}`: {source}, after {done} of {total} bytes\n\
         hint: see that the folder exists, can be written and has room, then run the same command again: it continues",
        path.display()
    )]
    Write {
        /// File.
        path: PathBuf,
        /// Bytes that are complete and stay for the next run.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
        /// Cause.
        source: std::io::Error,
    },
    /// The source changed while it was being packed.
    #[error(
        "`{}` changed while it was being packed\n\
         hint: wait until the file is complete, then pack it again",
        .0.display()
    )]
    SourceChanged(PathBuf),
    /// A file with the activity of neurons cannot be used.
    #[error(
        "`{}`: {problem}\n\
         hint: pass a statistics file that was made for this model, or leave out --order",
        path.display()
    )]
    Statistics {
        /// File.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn container(path: &Path, problem: String, hint: &'static str) -> Self {
        Self::Container {
            path: path.to_owned(),
            problem,
            hint,
        }
    }
}
