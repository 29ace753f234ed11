//! Building: original plus delta, streamed to a new file.

use super::{DAMAGED, Delta, DeltaError, Manifest, Result, hex};
use crate::gguf::{Builder, TensorInfo, Value};
use crate::{Bytes, Gguf, TensorType, block};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// ggml's number for "most matrices are Q8_0", in `general.file_type`.
const MOSTLY_Q8_0: u32 = 7;
/// Bytes that are hashed between two reports of progress.
const PIECE: usize = 1 << 20;

/// Writes and hashes; knows the place in the file.
struct Output<'p, W: Write> {
    file: W,
    path: &'p Path,
    hash: Sha256,
    at: u64,
}

impl<W: Write> Output<'_, W> {
    fn put(&mut self, data: &[u8]) -> Result<()> {
        self.hash.update(data);
        self.at += data.len() as u64;
        self.file.write_all(data).map_err(|source| DeltaError::Io {
            path: self.path.to_owned(),
            source,
        })
    }

    /// Zeros up to `offset`, where the next tensor begins.
    fn pad(&mut self, offset: u64) -> Result<()> {
        let count = offset.saturating_sub(self.at) as usize;
        self.put(&vec![0; count])
    }
}

impl Delta {
    /// Builds the model from `original` and the delta as the file `target`, which appears complete
    /// or not at all. `progress(done, total)` counts bytes read for checking and written.
    ///
    /// # Errors
    /// [`DeltaError`] if `original` is another file, if the delta is damaged, if writing fails, or
    /// if what came out does not have the hash that the manifest names.
    pub fn build(
        &self,
        original: &Path,
        target: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let manifest = &self.manifest;
        let total = manifest.original.bytes + manifest.result.bytes;
        let mapped = Bytes::map(original)?;
        check_original(manifest, original, &mapped, &mut |done| {
            progress(done, total)
        })?;
        self.check_parts()?;
        let model = Gguf::open(original)?;

        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let io = |source| DeltaError::Io {
            path: target.to_owned(),
            source,
        };
        let temporary = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
        let read = manifest.original.bytes;
        let mut written = |done| progress(read + done, total);
        let found = self.stream(&model, temporary.as_file(), target, &mut written)?;
        if found != manifest.result.sha256 {
            return Err(DeltaError::WrongResult {
                found,
                expected: manifest.result.sha256.clone(),
            });
        }
        readable(temporary.as_file()).map_err(io)?;
        temporary.as_file().sync_all().map_err(io)?;
        temporary.persist(target).map_err(|err| io(err.error))?;
        Ok(())
    }

    /// Writes the model to `file`, which will be `target`; returns its hash.
    fn stream(
        &self,
        model: &Gguf,
        file: &File,
        target: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<String> {
        let mut out = Output {
            file: BufWriter::with_capacity(PIECE, file),
            path: target,
            hash: Sha256::new(),
            at: 0,
        };
        self.write(model, &mut out, progress)?;
        out.file.flush().map_err(|source| DeltaError::Io {
            path: target.to_owned(),
            source,
        })?;
        Ok(hex(out.hash))
    }

    fn check_parts(&self) -> Result<()> {
        for (part, data) in self.manifest.parts.iter().zip(&self.parts) {
            let found = hex(Sha256::new_with_prefix(&**data));
            if found != part.sha256 {
                return Err(DeltaError::Damaged {
                    path: self.folder.join(&part.file),
                    problem: format!("has SHA-256 {found}; expected {}", part.sha256),
                    hint: DAMAGED,
                });
            }
        }
        Ok(())
    }

    fn write<W: Write>(
        &self,
        model: &Gguf,
        out: &mut Output<'_, W>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let (header, offsets) = self.header(model)?;
        out.put(&header)?;
        for (tensor, offset) in model.tensors().iter().zip(offsets) {
            out.pad(offset)?;
            match self.part_of(&tensor.name) {
                Some((part, layer)) => self.write_sum(model, tensor, part, layer, out)?,
                None => out.put(model.tensor_data(&tensor.name)?)?,
            }
            progress(out.at);
        }
        Ok(())
    }

    /// The head of the result, and where each tensor begins.
    fn header(&self, model: &Gguf) -> Result<(Vec<u8>, Vec<u64>)> {
        let metadata = model.metadata();
        let theirs: &str = metadata.require("general.architecture")?;
        let ours = &self.manifest.architecture;
        let prefix = format!("{theirs}.");
        let mut builder = metadata
            .iter()
            .fold(Builder::new(), |builder, (key, value)| {
                match key.strip_prefix(&prefix) {
                    Some(rest) => builder.metadata(format!("{ours}.{rest}"), value.clone()),
                    None => builder.metadata(key, value.clone()),
                }
            });
        builder = builder
            .metadata("general.architecture", ours.as_str())
            .metadata("general.name", self.manifest.name.as_str())
            .metadata("general.license", self.manifest.license.as_str())
            .metadata("general.file_type", Value::U32(MOSTLY_Q8_0));
        for tensor in model.tensors() {
            let ty = match self.part_of(&tensor.name) {
                Some(_) => TensorType::Q8_0,
                None => tensor.ty,
            };
            builder = builder.declare(tensor.name.as_str(), &tensor.shape, ty);
        }
        Ok(builder.header()?)
    }

    /// A changed matrix, row by row.
    fn write_sum<W: Write>(
        &self,
        model: &Gguf,
        tensor: &TensorInfo,
        part: usize,
        layer: usize,
        out: &mut Output<'_, W>,
    ) -> Result<()> {
        let spec = &self.manifest.parts[part];
        if tensor.shape != [spec.columns, spec.rows] {
            return Err(DeltaError::Damaged {
                path: self.folder.join("delta.json"),
                problem: format!(
                    "describes `{}` as {} rows of {} columns, but its shape is {:?}",
                    tensor.name, spec.rows, spec.columns, tensor.shape
                ),
                hint: DAMAGED,
            });
        }
        let view = model.tensor(&tensor.name)?;
        let mut values = vec![0.0; spec.columns];
        let bytes = spec.columns / TensorType::Q8_0.block_len() * TensorType::Q8_0.block_bytes();
        let mut blocks = vec![0; bytes];
        for row in 0..spec.rows {
            view.dequantize_row(row, &mut values)?;
            self.add_row(part, layer, row, &mut values);
            block::quantize_row(TensorType::Q8_0, &values, &mut blocks)?;
            out.put(&blocks)?;
        }
        Ok(())
    }
}

/// Refuses a file that is not the one of which the delta is a difference.
fn check_original(
    manifest: &Manifest,
    path: &Path,
    data: &[u8],
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let expected = &manifest.original;
    let wrong = |found: String, wanted: String| DeltaError::WrongOriginal {
        path: path.to_owned(),
        found,
        expected_file: expected.file.clone(),
        expected: wanted,
    };
    if data.len() as u64 != expected.bytes {
        return Err(wrong(
            format!("{} bytes", data.len()),
            format!("{} bytes", expected.bytes),
        ));
    }
    let mut hash = Sha256::new();
    let mut done = 0;
    for piece in data.chunks(PIECE) {
        hash.update(piece);
        done += piece.len() as u64;
        progress(done);
    }
    match hex(hash) {
        found if found == expected.sha256 => Ok(()),
        found => Err(wrong(
            format!("SHA-256 {found}"),
            format!("SHA-256 {}", expected.sha256),
        )),
    }
}

/// Temporary files are private; a model is for every user.
#[cfg(unix)]
fn readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &File) -> std::io::Result<()> {
    Ok(())
}
