//! Hugging Face model directories: `config.json` and safetensors files.
//!
//! Weights are in `model.safetensors`, or in shards that `model.safetensors.index.json` lists.

#[cfg(test)]
mod tests;

use crate::{
    Bytes, Error, Result, TensorType, TensorView,
    error::{RECONVERT, REDOWNLOAD},
    gguf::missing,
};
use safetensors::{Dtype, SafeTensors};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};

/// File that holds the weights of a model that is not sharded.
const SINGLE: &str = "model.safetensors";
/// File that lists the shards.
const INDEX: &str = "model.safetensors.index.json";
/// Length of the field before the JSON header.
const LENGTH_FIELD: usize = 8;

#[derive(Clone, Debug)]
struct Entry {
    shape: Vec<usize>,
    ty: TensorType,
    shard: usize,
    range: Range<usize>,
}

/// An opened Hugging Face directory.
#[derive(Clone, Debug)]
pub struct SafetensorsDir {
    dir: PathBuf,
    config: serde_json::Value,
    shards: Vec<(String, Bytes)>,
    tensors: BTreeMap<String, Entry>,
}

impl SafetensorsDir {
    /// Opens the directory and maps all its safetensors files.
    ///
    /// # Errors
    /// [`Error`] if a file is missing, malformed, or holds tensors other than F32, F16 or BF16.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let config = read_json(&dir.join("config.json"))?;
        let index = dir.join(INDEX);
        let single = dir.join(SINGLE);
        let mut model = Self {
            dir: dir.into(),
            config,
            shards: Vec::new(),
            tensors: BTreeMap::new(),
        };
        if single.exists() || !index.exists() {
            model.add_shard(SINGLE)?;
            return Ok(model);
        }
        let map = weight_map(&read_json(&index)?)?;
        for shard in map.values().collect::<BTreeSet<_>>() {
            model.add_shard(shard)?;
        }
        for (tensor, shard) in &map {
            let found = model
                .tensors
                .get(tensor)
                .map(|entry| model.shards[entry.shard].0.as_str());
            if found != Some(shard) {
                return Err(tensor_error(
                    INDEX,
                    tensor,
                    format!("is listed for `{shard}`, but is not in that file"),
                    REDOWNLOAD,
                ));
            }
        }
        Ok(model)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The content of `config.json`.
    pub fn config(&self) -> &serde_json::Value {
        &self.config
    }

    /// Total size of the safetensors files in bytes.
    pub fn file_bytes(&self) -> usize {
        self.shards.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor called `name`, if there is one. Its shape is in ggml's order, row length first.
    pub fn find(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, entry) = self.tensors.get_key_value(name)?;
        let (file, bytes) = &self.shards[entry.shard];
        Some(TensorView {
            file,
            name,
            shape: &entry.shape,
            ty: entry.ty,
            data: &bytes[entry.range.clone()],
        })
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        self.find(name)
            .ok_or_else(|| missing(&crate::gguf::file_name(&self.dir), name))
    }

    /// The weight files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shards.iter().map(|(n, _)| self.dir.join(n)).collect()
    }

    pub(crate) fn release(&self, name: &str) {
        if let Some((shard, range)) = self.place(name) {
            self.shards[shard].1.release(range);
        }
    }

    /// File (index into [`paths`](Self::paths)) and byte range of the tensor called `name`.
    pub(crate) fn place(&self, name: &str) -> Option<(usize, Range<usize>)> {
        let entry = self.tensors.get(name)?;
        Some((entry.shard, entry.range.clone()))
    }

    fn add_shard(&mut self, file: &str) -> Result<()> {
        let bytes = Bytes::map(&self.dir.join(file))?;
        let malformed = |problem: String| Error::Malformed {
            file: file.into(),
            offset: 0,
            problem,
            hint: REDOWNLOAD,
        };
        check_extents(&bytes).map_err(malformed)?;
        let (header, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
        let data_start = LENGTH_FIELD + header;
        for (name, info) in metadata.tensors() {
            let ty = tensor_type(file, &name, info.dtype)?;
            let mut shape: Vec<usize> = info.shape.iter().rev().copied().collect();
            if shape.is_empty() {
                shape.push(1);
            }
            let range = data_start + info.data_offsets.0..data_start + info.data_offsets.1;
            if shape.contains(&0) || bytes.get(range.clone()).is_none() {
                let problem = format!("has shape {:?} and lies at bytes {range:?}", info.shape);
                return Err(tensor_error(file, &name, problem, REDOWNLOAD));
            }
            let entry = Entry {
                shape,
                ty,
                shard: self.shards.len(),
                range,
            };
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(tensor_error(
                    file,
                    &name,
                    "occurs in two files".into(),
                    RECONVERT,
                ));
            }
        }
        self.shards.push((file.into(), bytes));
        Ok(())
    }
}

fn tensor_error(file: &str, tensor: &str, problem: String, hint: &'static str) -> Error {
    Error::Tensor {
        file: file.into(),
        tensor: tensor.into(),
        problem,
        hint,
    }
}

fn tensor_type(file: &str, name: &str, dtype: Dtype) -> Result<TensorType> {
    match dtype {
        Dtype::F32 => Ok(TensorType::F32),
        Dtype::F16 => Ok(TensorType::F16),
        Dtype::BF16 => Ok(TensorType::BF16),
        other => Err(tensor_error(
            file,
            name,
            format!("has element type {other}, which is not supported"),
            "use a checkpoint with F32, F16 or BF16 weights",
        )),
    }
}

/// The library adds up offsets without overflow checks, so bound them first.
fn check_extents(bytes: &[u8]) -> std::result::Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Extent {
        data_offsets: Option<(u64, u64)>,
    }
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_FIELD>() else {
        return Err("the file ends before its header".into());
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let Some(header) = header else {
        return Err(format!("the header has {length} bytes, more than the file"));
    };
    let extents: BTreeMap<String, Extent> =
        serde_json::from_slice(header).map_err(|e| format!("the header is not valid: {e}"))?;
    for (name, extent) in extents {
        if let Some((_, end)) = extent.data_offsets
            && end > (rest.len() - header.len()) as u64
        {
            return Err(format!(
                "tensor `{name}` ends at {end}, past the end of the file"
            ));
        }
    }
    Ok(())
}

/// Reads a JSON file of a model directory.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Malformed`] if it is not JSON.
pub fn read_json(path: &Path) -> Result<serde_json::Value> {
    let bytes = Bytes::map(path)?;
    serde_json::from_slice(&bytes).map_err(|err| Error::Malformed {
        file: crate::gguf::file_name(path),
        offset: offset_of_line(&bytes, err.line(), err.column()),
        problem: err.to_string(),
        hint: REDOWNLOAD,
    })
}

/// Byte offset of a position that serde_json reports (line from 1, column from 0 or 1).
fn offset_of_line(bytes: &[u8], line: usize, column: usize) -> usize {
    let before = bytes
        .split_inclusive(|&b| b == b'\n')
        .take(line.saturating_sub(1));
    (before.map(<[u8]>::len).sum::<usize>() + column.saturating_sub(1)).min(bytes.len())
}

/// Tensor name to shard file name, from the index file.
fn weight_map(index: &serde_json::Value) -> Result<BTreeMap<String, String>> {
    let malformed = |problem: String| Error::Malformed {
        file: INDEX.into(),
        offset: 0,
        problem,
        hint: RECONVERT,
    };
    let Some(map) = index.get("weight_map").and_then(|map| map.as_object()) else {
        return Err(malformed("`weight_map` is missing or not an object".into()));
    };
    map.iter()
        .map(|(tensor, shard)| {
            // A plain file name: the index must not reach outside of the directory.
            let plain = shard.as_str().filter(|s| {
                Path::new(s).file_name().is_some_and(|n| n == *s) && s.ends_with(".safetensors")
            });
            let plain = plain.ok_or_else(|| {
                malformed(format!(
                    "`{tensor}` is mapped to {shard}, not to a .safetensors file name"
                ))
            })?;
            Ok((tensor.clone(), plain.to_owned()))
        })
        .collect()
}
