//! One interface to both kinds of model file.

use crate::{Gguf, Result, SafetensorsDir, TensorView};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// A model on storage: a GGUF file or a Hugging Face directory.
#[derive(Clone, Debug)]
pub enum ModelFile {
    /// A GGUF file, single or split.
    Gguf(Gguf),
    /// A directory with `config.json` and safetensors files.
    Safetensors(SafetensorsDir),
}

impl ModelFile {
    /// Opens `path`: a directory as Hugging Face model, anything else as GGUF.
    ///
    /// # Errors
    /// As [`Gguf::open`] and [`SafetensorsDir::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            SafetensorsDir::open(path).map(Self::Safetensors)
        } else {
            Gguf::open(path).map(Self::Gguf)
        }
    }

    /// File or directory name, for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Gguf(model) => model.file().to_owned(),
            Self::Safetensors(model) => crate::gguf::file_name(model.dir()),
        }
    }

    /// Tensor names: in file order for GGUF, sorted for safetensors.
    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Gguf(model) => Box::new(model.tensors().iter().map(|t| t.name.as_str())),
            Self::Safetensors(model) => Box::new(model.names()),
        }
    }

    /// All tensors, in the order of [`names`](Self::names).
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.names().filter_map(|name| self.find(name))
    }

    /// The tensor called `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<TensorView<'_>> {
        match self {
            Self::Gguf(model) => model.find(name),
            Self::Safetensors(model) => model.find(name),
        }
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if there is none.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        match self {
            Self::Gguf(model) => model.tensor(name),
            Self::Safetensors(model) => model.tensor(name),
        }
    }

    /// The weight files; empty if the model was read from memory.
    pub fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Gguf(model) => model.paths(),
            Self::Safetensors(model) => model.paths(),
        }
    }

    /// Where the tensor called `name` lies, for reading it without the mapping: file (index into
    /// [`paths`](Self::paths)) and bytes in it.
    pub fn place(&self, name: &str) -> Option<(usize, Range<usize>)> {
        match self {
            Self::Gguf(model) => model.place(name),
            Self::Safetensors(model) => model.place(name),
        }
    }

    /// Lets the system take back the memory of the tensor called `name`, which stays readable:
    /// for programs that pass over a model that is larger than memory.
    pub fn release(&self, name: &str) {
        match self {
            Self::Gguf(model) => model.release(name),
            Self::Safetensors(model) => model.release(name),
        }
    }

    /// Bytes of weight files on storage.
    pub fn file_bytes(&self) -> usize {
        match self {
            Self::Gguf(model) => model.file_bytes(),
            Self::Safetensors(model) => model.file_bytes(),
        }
    }
}
