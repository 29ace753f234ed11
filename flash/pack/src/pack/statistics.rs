//! How often each neuron was active.

use crate::{Error, ModelIndex, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the file's layout.
const SCHEMA_VERSION: u32 = 1;
/// A file larger than this is not ours.
const BYTES_MAX: u64 = 1 << 30;

/// Counts of activity over some text, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    schema_version: u32,
    /// Tokens that were counted.
    pub tokens: u64,
    /// For each layer, for each neuron by id, the number of tokens for which it was active.
    pub active: Vec<Vec<u64>>,
    #[serde(skip)]
    path: PathBuf,
}

impl Statistics {
    /// Counts over `tokens` tokens; `active` as in the field of that name.
    pub fn new(tokens: u64, active: Vec<Vec<u64>>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            tokens,
            active,
            path: "<memory>".into(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Statistics`] if it is something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |problem: String| Error::Statistics {
            path: path.into(),
            problem,
        };
        let metadata = std::fs::metadata(path).map_err(|e| Error::read(path, e))?;
        if metadata.len() > BYTES_MAX {
            return Err(wrong(format!("{} bytes are no statistics", metadata.len())));
        }
        let text = std::fs::read(path).map_err(|e| Error::read(path, e))?;
        let mut read: Self = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if read.schema_version != SCHEMA_VERSION {
            return Err(wrong(format!(
                "schema version {}; expected {SCHEMA_VERSION}",
                read.schema_version
            )));
        }
        read.path = path.into();
        Ok(read)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers have a text form")
    }

    /// Checks that there is a count for every neuron of the model.
    pub(super) fn check(&self, model: &ModelIndex) -> Result<()> {
        let wrong = |problem: String| {
            Err(Error::Statistics {
                path: self.path.clone(),
                problem,
            })
        };
        let layers = &model.spec.layers;
        if self.active.len() != layers.len() {
            let found = self.active.len();
            return wrong(format!(
                "has {found} layers; the model has {}",
                layers.len()
            ));
        }
        for (i, (counts, layer)) in self.active.iter().zip(layers).enumerate() {
            if counts.len() != layer.ffn_dim {
                let (found, expected) = (counts.len(), layer.ffn_dim);
                return wrong(format!(
                    "has {found} neurons in layer {i}; the model has {expected}"
                ));
            }
        }
        Ok(())
    }

    /// Position to id, the busiest first; equal ones in the model's order.
    pub(super) fn order(&self, layer: usize) -> Vec<u32> {
        let counts = &self.active[layer];
        let mut order: Vec<u32> = (0..counts.len() as u32).collect();
        order.sort_by_key(|&id| std::cmp::Reverse(counts[id as usize]));
        order
    }
}
