//! Which model a predictor, statistics or thresholds belong to.

use super::PredictorError;
use lampyris_flash::{TensorType, block};
use lampyris_import::graph::Op;
use lampyris_import::{ImportError, Model};
use lampyris_pack::{Ffn, ModelIndex};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// SHA-256, in hexadecimal, of what defines the activity of a model's neurons and survives
/// packing: sizes and activation of each layer, the norms before the feed-forward networks, and
/// the first row of each up matrix, all as f32.
///
/// It is not a hash of the file on purpose: a GGUF file and the file packed from it are one model.
///
/// # Errors
/// Tensors that cannot be read.
pub fn identity(model: &Model) -> Result<String, ImportError> {
    let spec = model.spec();
    let mut hash = Hash::new(spec);
    for (i, _) in spec.layers.iter().enumerate() {
        let tensors = |name: &str| {
            let id = model.graph().find(&format!("blk.{i}.{name}"));
            let op: Option<&Op> = id.map(|id| &model.graph().node(id).op);
            op.and_then(|op| op.tensors().next())
        };
        if let Some(norm) = tensors("ffn_norm") {
            hash.values(&model.tensor_f32(norm)?);
        }
        if let Some(up) = tensors("ffn_up") {
            let view = model.tensor_view(up)?;
            let mut row = vec![0.0; view.row_len()];
            view.dequantize_row(0, &mut row)?;
            hash.values(&row);
        }
    }
    Ok(hash.finish())
}

/// [`identity`] of a model that is indexed, also from a packed file.
///
/// # Errors
/// Files that cannot be read.
pub fn identity_of(index: &ModelIndex) -> Result<String, PredictorError> {
    let mut hash = Hash::new(&index.spec);
    for layer in &index.layers {
        hash.values(&layer.ffn_norm.weight);
        let (ty, width, file, offset) = match &layer.ffn {
            Ffn::Dense { up, .. } => {
                let w = &up.weight;
                (w.ty, w.cols, w.file, w.offset)
            }
            Ffn::Bundled(bundles) => {
                let first = (0..bundles.neurons).find(|&p| bundles.id(p) == 0);
                let place = bundles.place(first.unwrap_or(0)) + bundles.up.offset as u64;
                (bundles.up.ty, bundles.width, bundles.file, place)
            }
        };
        hash.values(&row(&index.files[file], ty, width, offset)?);
    }
    Ok(hash.finish())
}

/// A row of a matrix in a file.
fn row(path: &Path, ty: TensorType, width: usize, offset: u64) -> Result<Vec<f32>, PredictorError> {
    let read = || {
        let mut data = vec![0; ty.row_bytes(width).unwrap_or(0)];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut data)?;
        let mut values = vec![0.0; width];
        block::dequantize_row(ty, &data, &mut values).map_err(io::Error::other)?;
        Ok(values)
    };
    read().map_err(|source| PredictorError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// The parts of an identity, in their order.
struct Hash(Sha256);

impl Hash {
    fn new(spec: &lampyris_import::arch::ModelSpec) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{} {}", spec.architecture, spec.d_model));
        for layer in &spec.layers {
            let text = format!(" {} {:?} {}", layer.ffn_dim, layer.activation, layer.gated);
            hash.update(text);
        }
        Self(hash)
    }

    /// For each layer: the norm's weight, then the up matrix's row of neuron 0.
    fn values(&mut self, values: &[f32]) {
        values.iter().for_each(|v| self.0.update(v.to_le_bytes()));
    }

    fn finish(self) -> String {
        self.0
            .finalize()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}
