//! Tiny random decoders of each kind, with their logits in f64.
//!
//! `tests/data/decoders.py` computes them with numpy and lists their tensors; the weights are made
//! again here from the tensors' names.

use std::fs;
use std::path::{Path, PathBuf};

use lampyris_flash::gguf::{Builder, Value};
use serde::Deserialize;

/// A decoder and what it must compute.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// For messages.
    pub name: String,
    /// Metadata of a GGUF file; or
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// content of `config.json`.
    config: Option<serde_json::Value>,
    tensors: Vec<(String, Vec<usize>)>,
    /// Tokens to evaluate.
    pub tokens: Vec<u32>,
    /// Logits after each of them.
    pub logits: Vec<Vec<f32>>,
}

/// All cases.
///
/// # Panics
/// If the checked-in file is damaged.
pub fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../data/decoders.json")).expect("the checked-in file reads")
}

/// The same numbers as `elements` in the script.
fn elements(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(0x811c_9dc5u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let centre = if name.ends_with("norm.weight") || name.ends_with("rope_freqs.weight") {
        1.0
    } else {
        0.0
    };
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 12) as f32 / (1 << 20) as f32 - 0.5 + centre
        })
        .collect()
}

impl Case {
    /// Writes the model into `folder`; `change` may alter the elements of a tensor. Returns what
    /// to open.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, folder: &Path, change: impl Fn(&str, &mut [f32])) -> PathBuf {
        let tensors = self.tensors.iter().map(|(name, shape)| {
            let mut values = elements(name, shape.iter().product());
            change(name, &mut values);
            (name.as_str(), shape.as_slice(), values)
        });
        match (&self.metadata, &self.config) {
            (Some(metadata), None) => {
                let path = folder.join("model.gguf");
                fs::write(&path, gguf(metadata, tensors)).expect("the folder is writable");
                path
            }
            (None, Some(config)) => {
                fs::write(folder.join("config.json"), config.to_string())
                    .and_then(|()| {
                        fs::write(folder.join("model.safetensors"), safetensors(tensors))
                    })
                    .expect("the folder is writable");
                folder.to_owned()
            }
            _ => panic!("{}: one of metadata and config", self.name),
        }
    }
}

type Tensor<'a> = (&'a str, &'a [usize], Vec<f32>);

fn gguf<'a>(
    metadata: &serde_json::Map<String, serde_json::Value>,
    tensors: impl Iterator<Item = Tensor<'a>>,
) -> Vec<u8> {
    let mut builder = Builder::new();
    for (key, value) in metadata {
        let integer = |v: &serde_json::Value| v.as_u64().expect("an unsigned number") as u32;
        let value = match value {
            serde_json::Value::String(text) => Value::from(text.as_str()),
            serde_json::Value::Array(list) => {
                Value::from(list.iter().map(integer).collect::<Vec<u32>>())
            }
            number => match number.as_f64() {
                Some(float) if number.is_f64() => Value::from(float as f32),
                _ => Value::from(integer(number)),
            },
        };
        builder = builder.metadata(key, value);
    }
    for (name, shape, values) in tensors {
        builder = builder.tensor_f32(name, shape, &values);
    }
    builder.build().expect("a valid file")
}

/// A safetensors file: length of the header, header, data.
fn safetensors<'a>(tensors: impl Iterator<Item = Tensor<'a>>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let slowest_first: Vec<usize> = shape.iter().rev().copied().collect();
        let entry = serde_json::json!({
            "dtype": "F32", "shape": slowest_first, "data_offsets": [start, data.len()],
        });
        header.insert(name.to_owned(), entry);
    }
    let header = serde_json::Value::Object(header).to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}
