//! Errors of architecture detection and graph building.

use lampyris_flash::TensorType;

/// Result with this crate's [`ImportError`].
pub type Result<T, E = ImportError> = std::result::Result<T, E>;

/// Why a model could not be imported. Every message names the place and ends with a hint.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file itself could not be read.
    #[error(transparent)]
    File(#[from] lampyris_flash::Error),
    /// The model uses something that this project does not implement.
    #[error("`{file}` is not supported: {problem}\nhint: {hint}")]
    Unsupported {
        /// File or directory name.
        file: String,
        /// What is not supported.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A key of `config.json` or of the GGUF metadata is missing or unusable.
    #[error("`{file}`: key `{key}` {problem}\nhint: {hint}")]
    Config {
        /// File name.
        file: String,
        /// Key.
        key: String,
        /// What is wrong, to be read after the key.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error(
        "`{file}`: tensor `{tensor}` is missing; expected shape {expected:?} (row length first)\n\
         hint: the file is incomplete, or it holds another architecture than it says"
    )]
    MissingTensor {
        /// File or directory name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Shape that the architecture implies, row length first.
        expected: Vec<usize>,
    },
    /// A tensor does not have the shape that the architecture implies.
    #[error(
        "`{file}`: tensor `{tensor}` has shape {found:?}; expected {expected:?} (row length first)\n\
         hint: the tensors and the metadata of the file contradict each other; convert the model again"
    )]
    TensorShape {
        /// File or directory name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Shape that the architecture implies, row length first.
        expected: Vec<usize>,
        /// Shape in the file, row length first.
        found: Vec<usize>,
    },
    /// A vector (norm weight, bias, frequency factors) is stored in a block format.
    #[error(
        "`{file}`: tensor `{tensor}` is stored as {found}; expected F32, F16 or BF16\n\
         hint: convert the model again; norms and biases must not be quantized"
    )]
    TensorType {
        /// File or directory name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Type in the file.
        found: TensorType,
    },
    /// A tensor that the architecture does not use: running without it would be wrong.
    #[error(
        "`{file}`: tensor `{tensor}` is not part of the {architecture} architecture as it is implemented here\n\
         hint: the model is a variant that is not supported"
    )]
    UnexpectedTensor {
        /// File or directory name.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Architecture name.
        architecture: &'static str,
    },
}
