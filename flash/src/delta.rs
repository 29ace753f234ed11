//! Deltas: models that are kept as their difference from another, public model.
//!
//! A delta is a folder with `delta.json` ([`Manifest`]) and a file for each kind of matrix. The
//! named matrices of the original are dequantized, the difference is added, and the sums are
//! rounded to Q8_0; all other tensors are copied byte for byte. Every step is IEEE arithmetic in
//! f32 in a fixed order, so the result is the same on every machine; its hash is checked.
//!
//! A file of the delta holds, for all layers in order and all rows of a layer: first the codes, 3
//! bits each, the lowest bit first, 8 codes in 3 bytes; then the scales, a little-endian binary16
//! for 64 codes. A code `c` under the scale `s` stands for `s * LEVELS[c] / 16`.

mod build;
mod error;
#[cfg(test)]
mod tests;

pub use error::DeltaError;

use crate::Bytes;
use error::DAMAGED;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Result with [`DeltaError`].
type Result<T> = std::result::Result<T, DeltaError>;

/// Codes under one scale.
const BLOCK: usize = 64;
/// What the codes stand for, in sixteenths of the scale.
const LEVELS: [f32; 8] = [-34.0, -22.0, -12.0, -4.0, 4.0, 12.0, 22.0, 34.0];
/// Version of `delta.json` and of the files that it names.
const SCHEMA_VERSION: u32 = 1;
/// Largest `delta.json` that is read.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// A file that is told by its content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileId {
    /// Usual name.
    pub file: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// A file of the delta: the same matrix of every layer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Name between layer number and `weight`: `ffn_gate` for `blk.0.ffn_gate.weight`.
    pub tensor: String,
    /// Layers.
    pub layers: usize,
    /// Rows of a matrix.
    pub rows: usize,
    /// Length of a row, a multiple of 64.
    pub columns: usize,
    /// The file's name in the delta's folder.
    pub file: String,
    /// SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// What `delta.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub schema_version: u32,
    /// `general.name` of the result.
    pub name: String,
    /// `general.architecture` of the result, and the prefix of its keys.
    pub architecture: String,
    /// Terms of the delta and of the result.
    pub license: String,
    /// The GGUF file that the delta belongs to.
    pub original: FileId,
    /// The GGUF file that comes out.
    pub result: FileId,
    /// The files.
    pub parts: Vec<Part>,
}

/// An opened delta: its files have the sizes that the manifest demands.
#[derive(Debug)]
pub struct Delta {
    folder: PathBuf,
    manifest: Manifest,
    parts: Vec<Bytes>,
}

impl Part {
    /// Bytes of all codes and of the whole file, if the sizes are possible.
    fn sizes(&self) -> Option<(usize, usize)> {
        if self.columns == 0 || !self.columns.is_multiple_of(BLOCK) {
            return None;
        }
        let blocks = (self.columns / BLOCK)
            .checked_mul(self.rows)?
            .checked_mul(self.layers)?;
        let codes = blocks.checked_mul(BLOCK / 8 * 3)?;
        Some((codes, codes.checked_add(blocks.checked_mul(2)?)?))
    }

    /// Whether the file of a GGUF tensor of this name is part of it, and of which layer.
    fn layer_of(&self, tensor: &str) -> Option<usize> {
        let (layer, rest) = tensor.strip_prefix("blk.")?.split_once('.')?;
        let ours = rest.strip_suffix(".weight")? == self.tensor;
        layer.parse().ok().filter(|&n| ours && n < self.layers)
    }
}

impl Delta {
    /// Opens a delta's folder.
    ///
    /// # Errors
    /// [`DeltaError`] naming the file that is missing, unreadable, or of the wrong size.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("delta.json");
        let io = |source| DeltaError::Io {
            path: path.clone(),
            source,
        };
        let damaged = |problem: String| DeltaError::Damaged {
            path: path.clone(),
            problem,
            hint: DAMAGED,
        };
        let size = std::fs::metadata(&path).map_err(io)?.len();
        if size > MANIFEST_LIMIT {
            return Err(damaged(format!(
                "has {size} bytes; at most {MANIFEST_LIMIT} are read"
            )));
        }
        let text = std::fs::read(&path).map_err(io)?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|err| damaged(format!("is not usable: {err}")))?;
        if manifest.schema_version != SCHEMA_VERSION {
            return Err(DeltaError::Damaged {
                path,
                problem: format!(
                    "has version {}; this program reads {SCHEMA_VERSION}",
                    manifest.schema_version
                ),
                hint: "use the version of lampyris that the delta belongs to",
            });
        }
        let parts = manifest
            .parts
            .iter()
            .map(|part| open_part(folder, part))
            .collect::<Result<_>>()?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            parts,
        })
    }

    /// What the delta says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The part that changes the tensor, with its number and the tensor's layer.
    fn part_of(&self, tensor: &str) -> Option<(usize, usize)> {
        let parts = self.manifest.parts.iter().enumerate();
        parts
            .filter_map(|(i, part)| Some((i, part.layer_of(tensor)?)))
            .next()
    }

    /// Adds row `row` of layer `layer` to `values`, which has the part's number of columns.
    fn add_row(&self, part: usize, layer: usize, row: usize, values: &mut [f32]) {
        let spec = &self.manifest.parts[part];
        let data = &self.parts[part];
        let (codes, _) = spec.sizes().expect("checked when the delta was opened");
        let first = (layer * spec.rows + row) * (spec.columns / BLOCK);
        for (i, block) in values.chunks_exact_mut(BLOCK).enumerate() {
            let at = codes + (first + i) * 2;
            let scale = half::f16::from_le_bytes([data[at], data[at + 1]]).to_f32();
            let packed = &data[(first + i) * (BLOCK / 8 * 3)..][..BLOCK / 8 * 3];
            for (eight, bytes) in block.chunks_exact_mut(8).zip(packed.chunks_exact(3)) {
                let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
                for (k, value) in eight.iter_mut().enumerate() {
                    *value += LEVELS[(bits >> (3 * k) & 7) as usize] / 16.0 * scale;
                }
            }
        }
    }
}

fn open_part(folder: &Path, part: &Part) -> Result<Bytes> {
    let path = folder.join(&part.file);
    let data = Bytes::map(&path)?;
    match part.sizes() {
        Some((_, size)) if size == data.len() => Ok(data),
        Some((_, size)) => Err(DeltaError::Damaged {
            path,
            problem: format!("has {} bytes; expected {size}", data.len()),
            hint: DAMAGED,
        }),
        None => Err(DeltaError::Damaged {
            path: folder.join("delta.json"),
            problem: format!(
                "has impossible sizes for `{}`: {} layers of {} rows of {} columns",
                part.tensor, part.layers, part.rows, part.columns
            ),
            hint: DAMAGED,
        }),
    }
}

/// SHA-256 as lower-case hexadecimal digits.
fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
