//! [`ModelIndex`]: where every weight of a model lies.

mod bundles;
mod model;

pub use bundles::{Bundles, Part};

use crate::{
    Result,
    container::{self, Packed},
    read::Files,
};
use lampyris_flash::{ModelFile, TensorType};
use lampyris_import::{arch::ModelSpec, saved::TextTools};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A matrix on storage: `rows` rows of `cols` elements in ggml's blocks, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Name, for messages, plans and traces: `blk.3.attn_q`, whatever the file calls it.
    pub name: String,
    /// Element format.
    pub ty: TensorType,
    /// Rows: the length of the output.
    pub rows: usize,
    /// Elements of a row: the length of the input.
    pub cols: usize,
    /// Index into [`ModelIndex::files`].
    pub file: usize,
    /// First byte in that file. Not aligned to more than the source was.
    pub offset: u64,
}

impl Stored {
    /// Bytes of a row. Rows are whole blocks, which was checked when the model was opened.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.ty.block_len() * self.ty.block_bytes()
    }

    /// Bytes of the matrix.
    pub fn bytes(&self) -> u64 {
        self.rows as u64 * self.row_bytes() as u64
    }
}

/// A normalization's vectors, as long as the residual stream is wide.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Scale of each element.
    pub weight: Vec<f32>,
    /// Added to each element (LayerNorm).
    pub bias: Option<Vec<f32>>,
}

/// `y = weight x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The matrix.
    pub weight: Stored,
    /// The bias, one for each row, in the order of the stored rows.
    pub bias: Option<Vec<f32>>,
}

/// The FFN of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Ffn {
    /// Matrices one after the other, as in model files.
    Dense {
        /// Gate projection, if the FFN is gated.
        gate: Option<Linear>,
        /// Up projection.
        up: Linear,
        /// Down projection.
        down: Linear,
    },
    /// Row-column bundles of a packed file.
    Bundled(Bundles),
}

/// One decoder layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerIndex {
    /// Norm before attention.
    pub attn_norm: Norm,
    /// Query projection; rows as stored, see [`ModelIndex`].
    pub q: Linear,
    /// Key projection; rows as stored, see [`ModelIndex`].
    pub k: Linear,
    /// Value projection.
    pub v: Linear,
    /// Attention output projection.
    pub o: Linear,
    /// Norm before the FFN.
    pub ffn_norm: Norm,
    /// The FFN.
    pub ffn: Ffn,
}

/// Where the weights of a model lie, and its small vectors.
///
/// Opening reads headers and the small vectors only, and keeps nothing mapped. Rows of Q and K
/// (and elements of their biases) stay as stored: `spec.rope()` says by `stored` which elements of
/// a head RoPE pairs.
#[derive(Clone, Debug)]
pub struct ModelIndex {
    /// The description.
    pub spec: ModelSpec,
    /// Files that hold the weights.
    pub files: Vec<PathBuf>,
    /// Token embedding, a row a token.
    pub token_embd: Stored,
    /// Output projection; `None` where it is the token embedding.
    pub output: Option<Stored>,
    /// Learned positions, a row a position, where the model has them.
    pub position_embd: Option<Stored>,
    /// Norm after the last layer.
    pub output_norm: Norm,
    /// The layers in order.
    pub layers: Vec<LayerIndex>,
    pub(crate) origin: Origin,
}

/// What the index was read from, for the tokenizer.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A model file or directory.
    Model(PathBuf),
    /// A copy of the embedded model, deleted with the last index that uses it.
    Tiny(Arc<tempfile::TempPath>),
    /// A packed file.
    Packed(Box<Packed>),
}

impl ModelIndex {
    /// Indexes a GGUF file (the first, if the model is split), a Hugging Face directory, a packed
    /// file, or the embedded model by the name `tiny`.
    ///
    /// # Errors
    /// What the importer refuses; files that cannot be read; a small vector that is not finite.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.as_os_str() == lampyris_import::TINY {
            return model::open_tiny();
        }
        if container::is_packed(path) {
            return Packed::open(path)?.index();
        }
        model::open(path, Origin::Model(path.to_owned()))
    }

    /// The tokenizer and chat template. Reads them from the file again: an index that only plans
    /// does not carry a vocabulary.
    ///
    /// # Errors
    /// As [`TextTools::from_model_file`].
    pub fn text_tools(&self) -> Result<TextTools> {
        let path = match &self.origin {
            Origin::Model(path) => path.as_path(),
            Origin::Tiny(path) => path.as_ref(),
            Origin::Packed(packed) => return packed.text_tools(),
        };
        let file = ModelFile::open(path).map_err(lampyris_import::ImportError::from)?;
        let tools = TextTools::from_model_file(&file)?;
        // Mapped pages would stay.
        drop(file);
        self.forget_headers();
        Ok(tools)
    }

    /// Gives up what opening left in the page cache, which counts as memory of this process where
    /// memory is limited. Advice: failure changes no result.
    fn forget_headers(&self) {
        let Ok(files) = Files::open(&self.files) else {
            return;
        };
        for i in 0..self.files.len() {
            let here = self.matrices().filter(|m| m.file == i);
            let weights = here.map(|m| m.offset).min();
            files.drop_pages(i, 0, weights.unwrap_or(0));
        }
    }

    /// The packed file that this is the index of, for its checksums; `None` for model files, which
    /// have none.
    pub fn packed(&self) -> Option<&Packed> {
        match &self.origin {
            Origin::Packed(packed) => Some(packed),
            Origin::Model(_) | Origin::Tiny(_) => None,
        }
    }

    /// Whether this is the index of a copy of the embedded model.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.origin, Origin::Tiny(_))
    }

    /// Every matrix once, in the order in which a token uses them; bundled FFNs are not matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &Stored> {
        let layers = self.layers.iter().flat_map(LayerIndex::matrices);
        let first = std::iter::once(&self.token_embd).chain(&self.position_embd);
        first.chain(layers).chain(&self.output)
    }

    /// Bytes of all weights on storage, without the small vectors.
    pub fn weight_bytes(&self) -> u64 {
        let bundles = self.layers.iter().filter_map(|layer| match &layer.ffn {
            Ffn::Bundled(bundles) => Some(bundles.bytes()),
            Ffn::Dense { .. } => None,
        });
        self.matrices().map(Stored::bytes).chain(bundles).sum()
    }
}

impl LayerIndex {
    /// The layer's matrices in the order of their use.
    pub fn matrices(&self) -> impl Iterator<Item = &Stored> {
        let attention = [&self.q, &self.k, &self.v, &self.o].into_iter();
        let ffn = match &self.ffn {
            Ffn::Dense { gate, up, down } => [gate.as_ref(), Some(up), Some(down)],
            Ffn::Bundled(_) => [None, None, None],
        };
        attention
            .chain(ffn.into_iter().flatten())
            .map(|linear| &linear.weight)
    }
}
