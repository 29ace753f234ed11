//! The error type of the crate.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model file could not be read. Every message names the place and ends with a hint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to open or map a file.
    #[error("cannot read `{}`: {source}\nhint: check that the path exists and is readable", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The bytes of a file contradict its format.
    #[error("`{file}` is malformed at byte {offset}: {problem}\nhint: {hint}")]
    Malformed {
        /// File name, or `<memory>`.
        file: String,
        /// Byte offset in the file.
        offset: usize,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The file is well-formed but uses something that this project does not read.
    #[error("`{file}` is not supported: {problem}\nhint: {hint}")]
    Unsupported {
        /// File name, or `<memory>`.
        file: String,
        /// What is not supported.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A metadata key is missing or has the wrong type.
    #[error("`{file}`: metadata key `{key}` {problem}\nhint: {hint}")]
    Metadata {
        /// File name, or `<memory>`.
        file: String,
        /// Key.
        key: String,
        /// What is wrong, to be read after the key.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A tensor is missing, or its description or its data are wrong.
    #[error("`{file}`: tensor `{tensor}` {problem}\nhint: {hint}")]
    Tensor {
        /// File name, or `<memory>`.
        file: String,
        /// Tensor name.
        tensor: String,
        /// What is wrong, to be read after the name.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// Block data and the requested operation do not fit each other.
    #[error("{ty} data: {problem}\nhint: {hint}")]
    Block {
        /// Tensor type name.
        ty: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
}

/// The hint for files that were cut off or damaged on the way.
pub(crate) const REDOWNLOAD: &str =
    "the file is damaged or incomplete; fetch it again and compare its SHA-256";
/// The hint for files that the writer got wrong.
pub(crate) const RECONVERT: &str =
    "the program that wrote the file made a mistake; convert the model again";
