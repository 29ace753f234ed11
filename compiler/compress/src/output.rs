//! Quantizes with the chosen formats, layer after layer, and writes the file.

use crate::calibrate::Stream;
use crate::hessian::Hessian;
use crate::plan::Plan;
use crate::quantize::{Quantized, with_factor};
use crate::survey::{Survey, in_graph_order, of_layer};
use crate::{CompressError, Result};
use lampyris_flash::TensorType;
use lampyris_runtime::Reference;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
}

/// Quantizes each matrix to its format in `formats` (in the order of [`Plan::matrices`]) and puts
/// the result into `reference`, which must hold the unchanged model. Each layer is rounded with
/// the inputs that the layers before it, rounded already, give on the calibration text. With
/// `path` the model is also written there, atomically. `progress` hears how many weights are done, and
/// says whether to go on.
///
/// # Errors
/// Those of the executor; inputs that are not finite; a file that cannot be written;
/// [`CompressError::Stopped`] if `progress` says so, with nothing left behind.
pub fn write(
    plan: &Plan<'_>,
    survey: &Survey,
    formats: &[TensorType],
    reference: &mut Reference<'_>,
    calibration: &[Vec<u32>],
    path: Option<&Path>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Written> {
    let mut job = Job {
        plan,
        formats,
        sink: path
            .map(|path| Sink::new(plan, formats, path))
            .transpose()?,
        done: 0,
        progress,
    };
    // Tables first, since all layers see the embedding.
    for index in of_layer(plan, None).0 {
        let found = survey.tables.iter().find(|(table, _)| *table == index);
        job.put(&[index], found.map(|(_, hessian)| hessian), reference)?;
    }
    let mut stream = Stream::new(reference, calibration)?;
    for layer in 0..plan.model().spec().layers.len() {
        let (indices, matrices) = of_layer(plan, Some(layer));
        let hessians = match indices.iter().any(|&i| job.changes(i)) {
            true => stream.observe(reference, layer, &matrices, false),
            false => BTreeMap::new(),
        };
        // Matrices with the same input follow each other.
        for site in indices.chunk_by(|a, b| plan.matrices()[*a].input == plan.matrices()[*b].input)
        {
            let input = plan.matrices()[site[0]].input.as_ref();
            let hessian = input.and_then(|input| hessians.get(input));
            job.put(site, hessian, reference)?;
        }
        stream.advance(reference, layer);
    }
    let file_bytes = match job.sink {
        Some(sink) => sink.finish()?,
        None => plan.file_bytes(formats)?,
    };
    Ok(Written {
        file_bytes,
        tensor_bytes: plan.tensor_bytes(formats),
    })
}

/// A model on its way to its new formats.
struct Job<'a> {
    plan: &'a Plan<'a>,
    formats: &'a [TensorType],
    sink: Option<Sink<'a>>,
    /// Weights so far.
    done: u64,
    progress: &'a mut dyn FnMut(u64) -> bool,
}

impl Job<'_> {
    fn changes(&self, index: usize) -> bool {
        self.formats[index] != self.plan.matrices()[index].stored
    }

    /// Brings matrices with the same input to their formats.
    fn put(
        &mut self,
        indices: &[usize],
        hessian: Option<&Hessian>,
        reference: &mut Reference<'_>,
    ) -> Result<()> {
        let first = &self.plan.matrices()[indices[0]];
        let factor = match hessian.filter(|_| indices.iter().any(|&i| self.changes(i))) {
            Some(hessian) => Some(hessian.factor(first.input().unwrap_or(&first.tensor.name))?),
            None => None,
        };
        for &index in indices {
            let (matrix, ty) = (&self.plan.matrices()[index], self.formats[index]);
            let view = self.plan.model().tensor_view(&matrix.tensor)?;
            let made = if self.changes(index) {
                let factor = factor.as_ref().ok_or_else(|| CompressError::Options {
                    problem: format!("`{}` changes, but nothing was measured", matrix.tensor.name),
                    hint: "run the survey first".into(),
                })?;
                let method = self.plan.options().method;
                Some(with_factor(&view.dequantize(), ty, method, factor))
            } else {
                None
            };
            if let Some(sink) = &mut self.sink {
                sink.put(index, made.as_ref().map_or(view.data, |made| &made.bytes))?;
            }
            if let Some(Quantized { values, .. }) = made {
                reference.replace(&matrix.tensor, in_graph_order(matrix, values));
            }
            self.done += matrix.weights();
            if !(self.progress)(self.done) {
                return Err(CompressError::Stopped);
            }
        }
        Ok(())
    }
}

/// Puts the unchanged weights back into `reference`, after [`write`].
///
/// # Errors
/// The model cannot be read.
pub fn restore(plan: &Plan<'_>, reference: &mut Reference<'_>) -> Result<()> {
    for matrix in plan.matrices() {
        let values = plan.model().tensor_f32(&matrix.tensor)?;
        reference.replace(&matrix.tensor, values);
    }
    Ok(())
}

/// The output file under another name, until it is complete.
struct Sink<'p> {
    path: &'p Path,
    file: NamedTempFile,
    /// Where each matrix goes.
    places: Vec<u64>,
    bytes: u64,
}

impl<'p> Sink<'p> {
    /// Writes header and all tensors that stay.
    fn new(plan: &Plan<'_>, formats: &[TensorType], path: &'p Path) -> Result<Self> {
        let (header, offsets) = plan.builder(formats).header()?;
        let failed = |source| failure(path, source);
        let file = temporary(path).map_err(failed)?;
        let mut sink = Self {
            path,
            file,
            places: vec![0; plan.matrices().len()],
            bytes: plan.file_bytes(formats)?,
        };
        sink.at(0, &header)?;
        let tensors = plan.gguf().tensors().iter();
        for ((tensor, offset), matrix) in tensors.zip(offsets).zip(plan.order()) {
            match matrix {
                Some(index) => sink.places[*index] = offset,
                None => sink.at(offset, plan.gguf().tensor_data(&tensor.name)?)?,
            }
        }
        sink.file.as_file().set_len(sink.bytes).map_err(failed)?;
        Ok(sink)
    }

    fn put(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        self.at(self.places[index], bytes)
    }

    fn at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let file: &mut File = self.file.as_file_mut();
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        };
        write(file).map_err(|source| failure(self.path, source))
    }

    /// Gives the file its name; its length in bytes.
    fn finish(self) -> Result<u64> {
        let failed = |source| failure(self.path, source);
        self.file.as_file().sync_all().map_err(failed)?;
        let length = self.file.as_file().metadata().map_err(failed)?.len();
        let persisted = self.file.persist(self.path);
        persisted.map_err(|error| failure(self.path, error.error))?;
        Ok(length)
    }
}

fn failure(path: &Path, source: io::Error) -> CompressError {
    let path = path.to_owned();
    CompressError::Write { path, source }
}

/// A file beside `path`, as readable as any other once it has its name.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
