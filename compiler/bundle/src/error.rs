//! Errors of reading and writing compiled directories.

use std::path::{Path, PathBuf};

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a compiled directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}\n\nhint: is this a directory that `lampyris compile` wrote?", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The directory cannot be written.
    #[error("cannot write {}: {source}\n\nhint: choose another place with -o, or see that its parent directory exists, can be written and has room", path.display())]
    Write {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Contents make no sense.
    #[error("{}: {message}\n\nhint: compile the model again", path.display())]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A version or hash differs.
    #[error("{}: {what} is {found}, expected {expected}\n\nhint: compile the model again with this version of lampyris", path.display())]
    Mismatch {
        /// File.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// Value found.
        found: String,
        /// Value expected.
        expected: String,
    },
    /// The output exists and is not ours to replace.
    #[error("{} exists and is not a compiled directory, or holds other files too\n\nhint: choose another name with -o", .0.display())]
    Occupied(PathBuf),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Error::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Error::Write {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn invalid(path: &Path, message: String) -> Self {
        Error::Invalid {
            path: path.to_path_buf(),
            message,
        }
    }
}
