//! What can go wrong before any kernel runs.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The processor or the build lacks the instruction set.
    #[error(
        "this machine has no {isa} kernels\n\nhint: available are {available}; unset LAMPYRIS_ISA to take the best"
    )]
    IsaAbsent {
        /// The one that was asked for.
        isa: &'static str,
        /// Names of those that would work, separated by commas.
        available: String,
    },
    /// `LAMPYRIS_ISA` names no instruction set.
    #[error("LAMPYRIS_ISA is `{name}`, which is no instruction set\n\nhint: use one of {known}")]
    IsaUnknown {
        /// The value of the variable.
        name: String,
        /// Names that are accepted, separated by commas.
        known: String,
    },
    /// A thread of the pool did not start.
    #[error(
        "kernel thread {index} of {threads} did not start: {source}\n\nhint: use fewer threads"
    )]
    Thread {
        /// Which thread.
        index: usize,
        /// How many were asked for.
        threads: usize,
        /// The operating system's reason.
        source: std::io::Error,
    },
}
