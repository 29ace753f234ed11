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
    /// Bytes of data; those of a declared tensor are written by the caller.
    bytes: usize,
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
        let data = data.into();
        self.tensors.push(Tensor {
            name: name.into(),
            shape: shape.into(),
            ty,
            bytes: data.len(),
            data,
        });
        self
    }

    /// Adds a tensor whose data the caller writes after the [`header`](Self::header), for models
    /// that are too large for memory.
    #[must_use]
    pub fn declare(mut self, name: impl Into<String>, shape: &[usize], ty: TensorType) -> Self {
        self.tensors.push(Tensor {
            name: name.into(),
            shape: shape.into(),
            ty,
            bytes: expected_bytes(shape, ty).unwrap_or(0),
            data: Vec::new(),
        });
        self
    }

    /// Adds an F32 tensor; `shape` has the row length first.
    #[must_use]
    pub fn tensor_f32(self, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, shape, TensorType::F32, data)
    }

    /// The bytes of the file; declared tensors hold zeros.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn build(self) -> Result<Vec<u8>> {
        let (mut out, offsets) = self.header()?;
        for (tensor, offset) in self.tensors.iter().zip(offsets) {
            out.resize(offset as usize, 0);
            out.extend(&tensor.data);
            out.resize(offset as usize + tensor.bytes, 0);
        }
        Ok(out)
    }

    /// The bytes before the first tensor's data, and where in the file the data of each tensor
    /// begin, in the order of their addition. Bytes between tensors are zero.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor's data do not have the size that its shape and type demand,
    /// [`Error::Metadata`] if `general.alignment` is unusable.
    pub fn header(&self) -> Result<(Vec<u8>, Vec<u64>)> {
        let metadata = Metadata {
            file: "<builder>".into(),
            entries: self.metadata.clone(),
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
        let mut offsets = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            check_size(tensor)?;
            put_text(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &dim in &tensor.shape {
                out.extend((dim as u64).to_le_bytes());
            }
            out.extend(tensor.ty.ggml_id().to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offsets.push(offset as u64);
            offset = (offset + tensor.bytes).next_multiple_of(alignment);
        }
        if !self.tensors.is_empty() {
            out.resize(out.len().next_multiple_of(alignment), 0);
        }
        for at in &mut offsets {
            *at += out.len() as u64;
        }
        Ok((out, offsets))
    }
}

/// Bytes of a tensor, if its rows are whole blocks and the size does not overflow.
fn expected_bytes(shape: &[usize], ty: TensorType) -> Option<usize> {
    let row = shape.first().and_then(|&len| ty.row_bytes(len))?;
    shape[1..].iter().try_fold(row, |n, &d| n.checked_mul(d))
}

fn check_size(tensor: &Tensor) -> Result<()> {
    if expected_bytes(&tensor.shape, tensor.ty) == Some(tensor.bytes) {
        return Ok(());
    }
    Err(Error::Tensor {
        file: "<builder>".into(),
        tensor: tensor.name.clone(),
        problem: format!(
            "has {} bytes of {} data, which does not fit shape {:?}",
            tensor.bytes, tensor.ty, tensor.shape
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
