//! Errors of compilation.

use lampyris_flash::TensorType;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the model failed.
    #[error(transparent)]
    Import(#[from] lampyris_import::ImportError),
    /// Reading a tensor failed.
    #[error(transparent)]
    Flash(#[from] lampyris_flash::Error),
    /// Writing the directory failed.
    #[error(transparent)]
    Bundle(#[from] lampyris_bundle::Error),
    /// The configuration is not legal.
    #[error("configuration: {0}\n\nhint: use `base`, `small` or `wide`, or correct the board file")]
    Config(#[from] lampyris_isa::config::ConfigError),
    /// A buffer of the accelerator is too small for the model.
    #[error("{buffer} needs {needed} {unit}, the configuration has {available}\n\nhint: {hint}")]
    DoesNotFit {
        /// Which buffer.
        buffer: &'static str,
        /// What the model needs for one token.
        needed: u64,
        /// What there is.
        available: u64,
        /// Words or blocks.
        unit: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The instruction set or the hardware cannot do it.
    #[error("{place}: {problem}\n\nhint: {hint}")]
    Unsupported {
        /// Layer or tensor.
        place: String,
        /// What is not supported.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A weight that is not a number.
    #[error(
        "tensor `{tensor}` ({ty:?}): row {row} holds a value that is not finite\n\nhint: the file is damaged; download or convert the model again"
    )]
    NotFinite {
        /// Tensor.
        tensor: String,
        /// Its type.
        ty: TensorType,
        /// Row.
        row: usize,
    },
}

impl Error {
    pub(crate) fn unsupported(
        place: impl Into<String>,
        problem: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        Error::Unsupported {
            place: place.into(),
            problem: problem.into(),
            hint,
        }
    }
}
