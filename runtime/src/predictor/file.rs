//! Predictors on storage: safetensors with a JSON header in its metadata.
//!
//! For layer `i`: `layers.i.project` is rows of Q8_0 blocks and `layers.i.expand` of Q4_0 blocks,
//! both as U8 (shape `[rows, bytes of a row]`); `layers.i.bias` is F32. The metadata key `lampyris.predictor` holds
//! the [`Header`] as JSON.

use super::{BLOCK, EXPAND, LayerPredictor, PROJECT, Predictor, Quality};
use lampyris_flash::{TensorType, block};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Version of the layout of the file.
pub const SCHEMA_VERSION: u32 = 2;
/// Metadata key of the header.
const KEY: &str = "lampyris.predictor";
/// Larger files are refused before they are read.
const MAX_BYTES: u64 = 1 << 33;
/// Largest width, rank or number of neurons: products of two cannot overflow.
const MAX_SIZE: usize = 1 << 26;

/// Why a predictor could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PredictorError {
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}\nhint: check that the path exists and has room", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file is not a predictor, or damaged.
    #[error(
        "`{file}` is not a valid predictor: {problem}\nhint: make it again with `lampyris train-predictor`"
    )]
    Malformed {
        /// File.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The file belongs to another model.
    #[error(
        "the predictor `{file}` was made for another model ({problem})\nhint: train one for this model with `lampyris train-predictor`"
    )]
    WrongModel {
        /// File.
        file: String,
        /// What differs.
        problem: String,
    },
}

/// What a predictor was made for, from and how well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`identity`](super::identity()) of the model.
    pub model: String,
    /// Name of the model, for people.
    pub model_name: String,
    /// When a neuron counts as active: `nonzero`, or a threshold rule's name.
    pub activity: String,
    /// Share of active neurons that the thresholds were calibrated to find.
    pub target_recall: f64,
    /// Tokens trained on, with those of validation.
    pub tokens: u64,
    /// Seed of training.
    pub seed: u64,
    /// In the model's order.
    pub layers: Vec<LayerReport>,
}

/// One layer's part of the header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerReport {
    /// Elements of the input.
    pub inputs: usize,
    /// Rank, a multiple of 32.
    pub rank: usize,
    /// Neurons.
    pub neurons: usize,
    /// A neuron whose score is at least this is predicted.
    pub threshold: f32,
    /// Counts on text that neither training nor calibration saw.
    pub quality: Quality,
}

impl Predictor {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`PredictorError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), PredictorError> {
        let io = |source| PredictorError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        };
        crate::atomic::write(path, &self.to_bytes()).map_err(io)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut biases = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            biases.push(
                layer
                    .bias
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect::<Vec<u8>>(),
            );
        }
        let mut tensors = Vec::new();
        for (i, (layer, bias)) in self.layers.iter().zip(&biases).enumerate() {
            let mut add = |name: &str, dtype, shape: &[usize], data| {
                let view = TensorView::new(dtype, shape.to_vec(), data);
                let view = view.expect("shapes follow from the data");
                tensors.push((format!("layers.{i}.{name}"), view));
            };
            let row = |data: &[u8], rows: usize| data.len() / rows.max(1);
            let (rank, neurons) = (layer.rank, layer.neurons);
            add(
                "project",
                Dtype::U8,
                &[rank, row(&layer.project, rank)],
                &layer.project,
            );
            add(
                "expand",
                Dtype::U8,
                &[neurons, row(&layer.expand, neurons)],
                &layer.expand,
            );
            add("bias", Dtype::F32, &[neurons], bias);
        }
        let header = serde_json::to_string(&self.header).expect("the header is plain data");
        let metadata = HashMap::from([(KEY.to_owned(), header)]);
        safetensors::serialize(tensors, Some(metadata)).expect("names are unique")
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`PredictorError::Io`] or [`PredictorError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, PredictorError> {
        let io = |source| PredictorError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let name = path.display().to_string();
        let size = std::fs::metadata(path).map_err(io)?.len();
        if size > MAX_BYTES {
            return Err(malformed(
                &name,
                format!("it has {size} bytes, more than {MAX_BYTES}"),
            ));
        }
        Self::from_bytes(&std::fs::read(path).map_err(io)?, &name)
    }

    /// Reads and checks the bytes of a file; `name` is for messages.
    ///
    /// # Errors
    /// [`PredictorError::Malformed`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, PredictorError> {
        let bad = |problem: String| malformed(name, problem);
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| bad(e.to_string()))?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
        let header = header.ok_or_else(|| bad(format!("the metadata lack `{KEY}`")))?;
        let header: Header =
            serde_json::from_str(header).map_err(|e| bad(format!("metadata `{KEY}`: {e}")))?;
        if header.schema_version != SCHEMA_VERSION {
            let found = header.schema_version;
            return Err(bad(format!("schema version {found}, not {SCHEMA_VERSION}")));
        }
        let wanted = 3 * header.layers.len();
        if tensors.len() != wanted {
            return Err(bad(format!("{} tensors, not {wanted}", tensors.len())));
        }
        let layers = header.layers.iter().enumerate();
        let layers = layers.map(|(i, report)| read_layer(&tensors, i, report));
        let layers = layers.collect::<Result<_, _>>().map_err(bad)?;
        Ok(Self { header, layers })
    }

    /// Checks that the predictor belongs to the model with this identity and these sizes of its
    /// layers (inputs, neurons).
    ///
    /// # Errors
    /// [`PredictorError::WrongModel`].
    pub fn check_model(
        &self,
        identity: &str,
        sizes: impl ExactSizeIterator<Item = (usize, usize)>,
        file: &str,
    ) -> Result<(), PredictorError> {
        let wrong = |problem: String| PredictorError::WrongModel {
            file: file.into(),
            problem,
        };
        if sizes.len() != self.layers.len() {
            let (has, wants) = (self.layers.len(), sizes.len());
            return Err(wrong(format!("it has {has} layers, the model {wants}")));
        }
        for (i, (layer, sizes)) in self.layers.iter().zip(sizes).enumerate() {
            if (layer.inputs, layer.neurons) != sizes {
                return Err(wrong(format!("layer {i} has other sizes")));
            }
        }
        if self.header.model != identity {
            let name = &self.header.model_name;
            return Err(wrong(format!("`{name}`, whose weights differ")));
        }
        Ok(())
    }
}

fn malformed(file: &str, problem: String) -> PredictorError {
    PredictorError::Malformed {
        file: file.into(),
        problem,
    }
}

fn read_layer(
    tensors: &SafeTensors<'_>,
    i: usize,
    report: &LayerReport,
) -> Result<LayerPredictor, String> {
    let &LayerReport {
        inputs,
        rank,
        neurons,
        threshold,
        ref quality,
    } = report;
    let sizes = [("inputs", inputs), ("rank", rank), ("neurons", neurons)];
    for (what, n) in sizes {
        if n == 0 || n > MAX_SIZE {
            return Err(format!("layer {i} has {n} {what}"));
        }
    }
    if !rank.is_multiple_of(BLOCK) {
        return Err(format!(
            "layer {i} has rank {rank}, not a multiple of {BLOCK}"
        ));
    }
    if threshold.is_nan() || !quality.is_consistent() {
        return Err(format!("the report of layer {i} contradicts itself"));
    }
    let tensor = |name: &str, dtype, shape: &[usize]| {
        let name = format!("layers.{i}.{name}");
        let view = tensors
            .tensor(&name)
            .map_err(|e| format!("tensor `{name}`: {e}"))?;
        if view.dtype() != dtype || view.shape() != shape {
            let (dtype_found, found) = (view.dtype(), view.shape());
            return Err(format!(
                "tensor `{name}` is {dtype_found:?} {found:?}, not {dtype:?} {shape:?}"
            ));
        }
        Ok(view.data().to_vec())
    };
    let blocks = |name: &str, ty: TensorType, rows: usize, elements: usize| {
        let row = elements.div_ceil(BLOCK) * ty.block_bytes();
        let data = tensor(name, Dtype::U8, &[rows, row])?;
        match block::first_non_finite(ty, &data) {
            Ok(None) => Ok(data),
            _ => Err(format!(
                "tensor `layers.{i}.{name}` has a scale that is not finite"
            )),
        }
    };
    let bias = tensor("bias", Dtype::F32, &[neurons])?;
    let bias: Vec<f32> = bias
        .as_chunks()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    if bias.iter().any(|v| !v.is_finite()) {
        return Err(format!(
            "tensor `layers.{i}.bias` has a value that is not finite"
        ));
    }
    Ok(LayerPredictor {
        inputs,
        rank,
        neurons,
        project: blocks("project", PROJECT, rank, inputs)?,
        expand: blocks("expand", EXPAND, neurons, rank)?,
        bias,
        threshold,
    })
}

#[cfg(test)]
mod tests;
