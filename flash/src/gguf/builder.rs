//! A writer of GGUF v3 files, for tests and for models that this project makes.

use super::parse::{MAGIC, VERSION};
use super::value::{Array, Value};
use super::{Metadata, alignment};
use crate::{Error, Result, TensorType, error::RECONVERT};
use std::collections::BTreeMap;

struct Tensor {
    name: String,
    shape: Vec<usize>,
    ty: TensorType,
    data: Vec<u8>,
}

/// Collects metadata and tensors and writes them as one file.
///
/// Keys are written in sorted order and tensors in the order of their addition, so equal input
/// gives equal bytes.
#[derive(Default)]
pub struct Builder {
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Tensor>,
}

impl Builder {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a metadata key.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds a tensor of any type; `shape` has the row length first, `data` are its blocks.
    #[must_use]
    pub fn tensor(
        mut self,
        name: impl Into<String>,
        shape: &[usize],
        ty: TensorType,
        data: impl Into<Vec<u8>>,
    ) -> Self {
        self.tensors.push(Tensor {
            name: name.into(),
            shape: shape.into(),
            ty,
            data: data.into(),
        });
        self
    }

    /// Adds an F32 tensor; `shape` has the row length first.
    #[must_use]
    pub fn tensor_f32(self, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, shape, TensorType::F32, data)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor's data do not have the size that its shape and type demand,
    /// [`Error::Metadata`] if `general.alignment` is unusable.
    pub fn build(self) -> Result<Vec<u8>> {
        let metadata = Metadata {
            file: "<builder>".into(),
            entries: self.metadata,
        };
        let alignment = alignment(&metadata)?;
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((metadata.entries.len() as u64).to_le_bytes());
        for (key, value) in &metadata.entries {
            put_text(&mut out, key);
            out.extend(value.type_id().to_le_bytes());
            put_value(&mut out, value);
        }
        let mut offset = 0usize;
        for tensor in &self.tensors {
            check_size(tensor)?;
            put_text(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &dim in &tensor.shape {
                out.extend((dim as u64).to_le_bytes());
            }
            out.extend(tensor.ty.ggml_id().to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset = (offset + tensor.data.len()).next_multiple_of(alignment);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(alignment), 0);
            out.extend(&tensor.data);
        }
        Ok(out)
    }
}

fn check_size(tensor: &Tensor) -> Result<()> {
    let row = tensor
        .shape
        .first()
        .and_then(|&len| tensor.ty.row_bytes(len));
    let rest = tensor.shape.get(1..).unwrap_or(&[]);
    let expected = row.and_then(|row| rest.iter().try_fold(row, |n, &d| n.checked_mul(d)));
    if expected == Some(tensor.data.len()) {
        return Ok(());
    }
    Err(Error::Tensor {
        file: "<builder>".into(),
        tensor: tensor.name.clone(),
        problem: format!(
            "has {} bytes of {} data, which does not fit shape {:?}",
            tensor.data.len(),
            tensor.ty,
            tensor.shape
        ),
        hint: RECONVERT,
    })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_text(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(array) => put_array(out, array),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.element_type_id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::U16(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::I16(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::U32(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::I32(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::F32(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|&v| u8::from(v))),
        Array::String(v) => v.iter().for_each(|v| put_text(out, v)),
        Array::U64(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::I64(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::F64(v) => v.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::Array(v) => v.iter().for_each(|v| put_array(out, v)),
    }
}
