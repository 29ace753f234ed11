//! Model files to a typed graph, tokenizer and chat template.

pub mod arch;
pub mod error;
pub mod graph;
pub mod saved;
pub mod source;
pub mod template;
pub mod tokenizer;

pub use error::ImportError;
pub use source::Model;

/// Name that stands for the embedded model wherever a model path is taken.
pub const TINY: &str = "tiny";

/// The embedded model: see `tests/tiny/README.md` for how it was made.
static TINY_GGUF: &[u8] = include_bytes!("../assets/tiny.gguf");

/// The embedded model as the bytes of a GGUF file.
pub fn tiny_gguf() -> &'static [u8] {
    TINY_GGUF
}

/// Opens a model by path, or the embedded one by the name [`TINY`].
///
/// # Errors
/// As [`Model::open`].
pub fn open(path: impl AsRef<std::path::Path>) -> error::Result<Model> {
    let path = path.as_ref();
    if path.as_os_str() == TINY {
        return Model::parse(TINY_GGUF);
    }
    Model::open(path)
}
