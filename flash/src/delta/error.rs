//! Why a model could not be built from a delta.

use std::path::PathBuf;

/// The hint for files of the delta that are not as they were made.
pub(super) const DAMAGED: &str = "the delta is damaged or incomplete; fetch the folder again";

/// Why a model could not be built from a delta.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// A model file could not be read.
    #[error(transparent)]
    File(#[from] crate::Error),
    /// The operating system refused.
    #[error("`{}`: {source}\nhint: check that the path exists, is accessible, and that the disk is not full", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A file of the delta is not as it was made, or of another version.
    #[error("`{}` {problem}\nhint: {hint}", path.display())]
    Damaged {
        /// File.
        path: PathBuf,
        /// What is wrong, to be read after the name.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// The delta belongs to another model.
    #[error(
        "`{}` is not the model that the delta belongs to: it has {found}, `{expected_file}` has {expected}\nhint: `cargo xtask setup` installs the right file", path.display()
    )]
    WrongOriginal {
        /// The file that was given.
        path: PathBuf,
        /// Its size or hash.
        found: String,
        /// The right file's usual name.
        expected_file: String,
        /// The right file's size or hash.
        expected: String,
    },
    /// What came out is not what was measured and described.
    #[error(
        "the model that was built has SHA-256 {found}; expected {expected}; nothing was written\nhint: the delta or this program is not what the delta's maker used; fetch the folder again"
    )]
    WrongResult {
        /// Hash of what came out.
        found: String,
        /// Hash in the manifest.
        expected: String,
    },
}
