//! GGUF v3 files, single or split.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. The header is parsed and
//! every tensor's place validated when the file is opened; data stay in the mapping.

mod builder;
mod parse;
#[cfg(test)]
mod tests;
mod value;

pub use builder::Builder;
pub use value::{Array, FromValue, Metadata, Value};

use crate::{
    Bytes, Error, Result, TensorType, TensorView,
    error::{RECONVERT, REDOWNLOAD},
};
use parse::{Header, RawTensor};
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

/// Alignment of tensor data where `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: usize = 32;
/// Most files that one model may be split into.
const MAX_SPLITS: usize = 1000;

/// A tensor's description; the data are known to lie in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in the model.
    pub name: String,
    /// Dimensions, row length first; none zero.
    pub shape: Vec<usize>,
    /// Element format.
    pub ty: TensorType,
    /// Index of the file that holds it (0 unless the model is split).
    pub shard: usize,
    /// Bytes in that file.
    pub range: Range<usize>,
}

#[derive(Clone, Debug)]
struct Shard {
    file: String,
    /// Where it lies; `None` if it was read from memory.
    path: Option<PathBuf>,
    bytes: Bytes,
}

/// An opened GGUF model.
#[derive(Clone, Debug)]
pub struct Gguf {
    shards: Vec<Shard>,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: BTreeMap<String, usize>,
}

impl Gguf {
    /// Opens and maps a file; if it is the first of a split model, opens all of its files.
    ///
    /// # Errors
    /// [`Error`] if a file cannot be read, is malformed, or uses an unsupported feature.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut model = Self::empty(&file_name(path));
        let count = model.add_shard(file_name(path), Some(path), Bytes::map(path)?)?;
        for shard_path in split_paths(path, count)? {
            let name = file_name(&shard_path);
            let bytes = Bytes::map(&shard_path)?;
            let their_count = model.add_shard(name.clone(), Some(&shard_path), bytes)?;
            if their_count != count {
                return Err(Error::Metadata {
                    file: name,
                    key: "split.count".into(),
                    problem: format!("is {their_count}, but {count} in the first file"),
                    hint: "the files belong to different models; fetch all of them again",
                });
            }
        }
        model.check_split_total()?;
        Ok(model)
    }

    /// Reads a model from memory.
    ///
    /// # Errors
    /// As [`open`](Self::open); split models cannot be read from memory.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self> {
        let mut model = Self::empty("<memory>");
        let count = model.add_shard("<memory>".into(), None, bytes.into())?;
        if count > 1 {
            return Err(Error::Unsupported {
                file: "<memory>".into(),
                problem: format!("the model is split into {count} files"),
                hint: "open the first of the files from disk",
            });
        }
        Ok(model)
    }

    /// The metadata (of the first file, if the model is split).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Total size of the files in bytes.
    pub fn file_bytes(&self) -> usize {
        self.shards.iter().map(|s| s.bytes.len()).sum()
    }

    /// Name of the first file, for messages.
    pub fn file(&self) -> &str {
        &self.metadata.file
    }

    /// The tensor called `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<TensorView<'_>> {
        self.index.get(name).map(|&i| self.view(i))
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        self.find(name).ok_or_else(|| missing(self.file(), name))
    }

    /// The bytes of the tensor called `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn tensor_data(&self, name: &str) -> Result<&[u8]> {
        self.tensor(name).map(|view| view.data)
    }

    /// Checks that every float stored in the tensor is finite; see [`TensorView::check_finite`].
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no such tensor, or naming the first bad block.
    pub fn check_finite(&self, name: &str) -> Result<()> {
        self.tensor(name)?.check_finite()
    }

    /// The files, first to last; empty if the model was read from memory.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shards.iter().filter_map(|s| s.path.clone()).collect()
    }

    /// File (index into [`paths`](Self::paths)) and byte range of the tensor called `name`.
    pub(crate) fn place(&self, name: &str) -> Option<(usize, Range<usize>)> {
        let info = &self.tensors[*self.index.get(name)?];
        Some((info.shard, info.range.clone()))
    }

    pub(crate) fn release(&self, name: &str) {
        if let Some((shard, range)) = self.place(name) {
            self.shards[shard].bytes.release(range);
        }
    }

    fn view(&self, i: usize) -> TensorView<'_> {
        let info = &self.tensors[i];
        let shard = &self.shards[info.shard];
        TensorView {
            file: &shard.file,
            name: &info.name,
            shape: &info.shape,
            ty: info.ty,
            data: &shard.bytes[info.range.clone()],
        }
    }

    fn empty(file: &str) -> Self {
        Self {
            shards: Vec::new(),
            metadata: Metadata {
                file: file.into(),
                entries: BTreeMap::new(),
            },
            tensors: Vec::new(),
            index: BTreeMap::new(),
        }
    }

    /// Validates one file, adds its tensors, and returns its `split.count` (1 if absent).
    fn add_shard(&mut self, file: String, path: Option<&Path>, bytes: Bytes) -> Result<usize> {
        let shard = self.shards.len();
        let header = parse::parse_header(&file, &bytes)?;
        let metadata = Metadata {
            file: file.clone(),
            entries: header.entries,
        };
        let header = Header {
            entries: BTreeMap::new(),
            ..header
        };
        let count = split_position(&metadata, shard)?;
        for info in place_tensors(&file, header, alignment(&metadata)?, bytes.len(), shard)? {
            if self
                .index
                .insert(info.name.clone(), self.tensors.len())
                .is_some()
            {
                return Err(Error::Tensor {
                    file,
                    tensor: info.name,
                    problem: "occurs twice".into(),
                    hint: RECONVERT,
                });
            }
            self.tensors.push(info);
        }
        if shard == 0 {
            self.metadata = metadata;
        }
        self.shards.push(Shard {
            file,
            path: path.map(Path::to_owned),
            bytes,
        });
        Ok(count)
    }

    fn check_split_total(&self) -> Result<()> {
        let Some(expected) = self.metadata.optional::<usize>("split.tensors.count")? else {
            return Ok(());
        };
        if expected == self.tensors.len() {
            return Ok(());
        }
        Err(Error::Metadata {
            file: self.file().into(),
            key: "split.tensors.count".into(),
            problem: format!(
                "is {expected}, but the files hold {} tensors",
                self.tensors.len()
            ),
            hint: REDOWNLOAD,
        })
    }
}

/// The error for a tensor that is not in `file`.
pub(crate) fn missing(file: &str, tensor: &str) -> Error {
    Error::Tensor {
        file: file.into(),
        tensor: tensor.into(),
        problem: "is missing".into(),
        hint: "the file is incomplete, or it holds another architecture than it says",
    }
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Checks that the file is number `shard` of its split model and returns the number of files.
fn split_position(metadata: &Metadata, shard: usize) -> Result<usize> {
    let wrong = |key: &str, problem: String, hint| Error::Metadata {
        file: metadata.file.clone(),
        key: key.into(),
        problem,
        hint,
    };
    // Writers leave `split.count` at 0 in files that are not split.
    let count = metadata
        .optional::<usize>("split.count")?
        .unwrap_or(0)
        .max(1);
    if count > MAX_SPLITS {
        let problem = format!("is {count}; at most {MAX_SPLITS} files are read");
        return Err(wrong("split.count", problem, RECONVERT));
    }
    let no = metadata.optional::<usize>("split.no")?.unwrap_or(0);
    if no != shard {
        let problem = format!("is {no}; expected {shard}");
        let hint = "open the first file of a split model (-00001-of-…), with the others beside it";
        return Err(wrong("split.no", problem, hint));
    }
    Ok(count)
}

/// Paths of files 2 to `count` of the split model whose first file is `first`.
fn split_paths(first: &Path, count: usize) -> Result<Vec<PathBuf>> {
    if count <= 1 {
        return Ok(Vec::new());
    }
    let name = file_name(first);
    let suffix = |no: usize| format!("-{no:05}-of-{count:05}.gguf");
    let Some(stem) = name.strip_suffix(&suffix(1)) else {
        return Err(Error::Unsupported {
            problem: format!(
                "it is split into {count} files, but its name does not end in `{}`",
                suffix(1)
            ),
            file: name,
            hint: "restore the original file names of the split model",
        });
    };
    Ok((2..=count)
        .map(|no| first.with_file_name(format!("{stem}{}", suffix(no))))
        .collect())
}

fn alignment(metadata: &Metadata) -> Result<usize> {
    let Some(alignment) = metadata.optional::<u32>("general.alignment")? else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    if !alignment.is_power_of_two() || alignment < 8 {
        return Err(Error::Metadata {
            file: metadata.file.clone(),
            key: "general.alignment".into(),
            problem: format!("is {alignment}; expected a power of two of at least 8"),
            hint: RECONVERT,
        });
    }
    Ok(alignment as usize)
}

/// Turns the raw tensor table into checked descriptions, in the order of the table.
fn place_tensors(
    file: &str,
    header: Header,
    alignment: usize,
    file_len: usize,
    shard: usize,
) -> Result<Vec<TensorInfo>> {
    let data_start = header
        .len
        .checked_next_multiple_of(alignment)
        .unwrap_or(usize::MAX);
    let tensors = header
        .tensors
        .into_iter()
        .map(|raw| place_tensor(file, raw, data_start, alignment, file_len, shard))
        .collect::<Result<Vec<_>>>()?;
    let mut by_start: Vec<_> = tensors.iter().collect();
    by_start.sort_by_key(|t| t.range.start);
    for pair in by_start.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            return Err(Error::Tensor {
                file: file.into(),
                tensor: pair[1].name.clone(),
                problem: format!("overlaps tensor `{}`", pair[0].name),
                hint: RECONVERT,
            });
        }
    }
    Ok(tensors)
}

fn place_tensor(
    file: &str,
    raw: RawTensor,
    data_start: usize,
    alignment: usize,
    file_len: usize,
    shard: usize,
) -> Result<TensorInfo> {
    let RawTensor {
        name,
        dims,
        ty,
        offset,
        at,
    } = raw;
    let wrong = |problem: String, hint| Error::Tensor {
        file: file.into(),
        tensor: name.clone(),
        problem: format!("(described at byte {at}) {problem}"),
        hint,
    };
    let Some(ty) = TensorType::from_ggml_id(ty) else {
        let hint = "use a file with F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K tensors, or one that `lampyris compress` wrote";
        return Err(wrong(
            format!("has element type {ty}, which is not supported"),
            hint,
        ));
    };
    let shape = dims
        .iter()
        .map(|&d| usize::try_from(d).ok().filter(|&d| d > 0));
    let Some(shape) = shape.collect::<Option<Vec<usize>>>() else {
        return Err(wrong(
            format!("has dimensions {dims:?}; none may be zero"),
            RECONVERT,
        ));
    };
    if !shape[0].is_multiple_of(ty.block_len()) {
        let problem = format!(
            "has rows of {} elements, not a multiple of {ty}'s {}",
            shape[0],
            ty.block_len()
        );
        return Err(wrong(problem, RECONVERT));
    }
    // Both products: the element count must not overflow either, even where blocks are small.
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let bytes = ty
        .row_bytes(shape[0])
        .and_then(|row| shape[1..].iter().try_fold(row, |n, &d| n.checked_mul(d)));
    let (Some(_), Some(bytes)) = (elements, bytes) else {
        return Err(wrong(
            format!("has dimensions {shape:?}, whose product overflows"),
            REDOWNLOAD,
        ));
    };
    if !offset.is_multiple_of(alignment as u64) {
        return Err(wrong(
            format!("has offset {offset}, not a multiple of {alignment}"),
            RECONVERT,
        ));
    }
    let start = usize::try_from(offset)
        .ok()
        .and_then(|o| o.checked_add(data_start));
    let range = start
        .and_then(|s| Some(s..s.checked_add(bytes)?))
        .filter(|r| r.end <= file_len);
    let Some(range) = range else {
        let problem = format!(
            "needs {bytes} bytes at offset {offset} of the data section, past the end of the file"
        );
        return Err(wrong(problem, REDOWNLOAD));
    };
    Ok(TensorInfo {
        name,
        shape,
        ty,
        shard,
        range,
    })
}
