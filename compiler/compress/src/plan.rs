//! What can be chosen, and how large the file becomes for each choice; nothing is computed yet.

use crate::grid::dense_bits;
use crate::{CompressError, Method, Result};
use lampyris_flash::gguf::{Builder, Value};
use lampyris_flash::{Gguf, ModelFile, TensorType};
use lampyris_import::Model;
use lampyris_import::graph::Op;
use lampyris_import::source::{Role, TensorRef};
use std::collections::HashMap;

/// The formats that are written, narrowest first.
pub const FORMATS: [TensorType; 8] = [
    TensorType::Q4_4OF16,
    TensorType::Q2_1,
    TensorType::Q4_2OF4,
    TensorType::Q3_1,
    TensorType::Q4_1,
    TensorType::Q5_1,
    TensorType::Q6_1,
    TensorType::Q8_0,
];

/// How dense formats are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Each weight to the nearest code of its block's range.
    Nearest,
    /// With compensation of errors (GPTQ), scale and minimum searched.
    Gptq,
}

/// How sparse formats choose what they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruning {
    /// Least magnitude times norm of the input goes.
    Wanda,
    /// Least loss goes, and is compensated.
    SparseGpt,
}

/// Whether sparse formats may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// No.
    Never,
    /// Where the allocation prefers them.
    Allowed,
    /// This one, in every linear layer whose rows are whole blocks of it.
    Everywhere(TensorType),
}

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bits of dense codes.
    pub widths: Vec<u32>,
    /// Sparse formats.
    pub sparse: Sparse,
    /// Rounding and pruning.
    pub method: Method,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            widths: vec![2, 3, 4, 5, 6, 8],
            sparse: Sparse::Never,
            method: Method {
                rounding: Rounding::Gptq,
                pruning: Pruning::SparseGpt,
            },
        }
    }
}

impl Options {
    /// Whether other options would offer narrower formats.
    pub(crate) fn can_narrow(&self) -> bool {
        !self.widths.contains(&2) || self.sparse == Sparse::Never
    }

    /// The formats of these options, narrowest first.
    ///
    /// # Errors
    /// A width that no format has.
    pub fn formats(&self) -> Result<Vec<TensorType>> {
        let offered = |width: &u32| FORMATS.iter().any(|ty| dense_bits(*ty) == Some(*width));
        if let Some(width) = self.widths.iter().find(|w| !offered(w)) {
            let nearest = [2u32, 3, 4, 5, 6, 8];
            let nearest = nearest.iter().min_by_key(|w| w.abs_diff(*width));
            return Err(CompressError::Options {
                problem: format!("weights of {width} bits are not supported"),
                hint: format!(
                    "choose from 2, 3, 4, 5, 6 and 8; the nearest is {}",
                    nearest.expect("the list is not empty")
                ),
            });
        }
        let sparse = self.sparse != Sparse::Never;
        let chosen = FORMATS.into_iter().filter(|ty| match dense_bits(*ty) {
            Some(bits) => self.widths.contains(&bits),
            None => sparse,
        });
        Ok(chosen.collect())
    }
}

/// A limit on size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// None: what is not pruned stays as it is stored.
    Unlimited,
    /// Bytes of the whole output file.
    File(u64),
    /// Bits of all tensors' bytes for each weight.
    BitsPerWeight(f64),
}

/// A weight matrix whose format is chosen.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The tensor.
    pub tensor: TensorRef,
    /// Layer, or `None` for tables outside the layers.
    pub layer: Option<usize>,
    /// Rows: outputs, or entries of the vocabulary.
    pub rows: usize,
    /// Columns: inputs.
    pub columns: usize,
    /// Format in the source.
    pub stored: TensorType,
    /// What it can become, narrowest first; the stored format, which changes nothing, comes last
    /// unless a sparse format is demanded.
    pub formats: Vec<TensorType>,
    /// Whether it is both embedding and output projection, or an embedding alone: rows are read
    /// as they are.
    pub is_table: bool,
    /// The node whose output is multiplied with the matrix; `None` for an embedding alone.
    pub(crate) input: Option<String>,
}

impl Matrix {
    /// What the tensor does.
    pub fn role(&self) -> Role {
        self.tensor.role
    }

    /// The node whose output is multiplied with the matrix; `None` for an embedding alone.
    pub fn input(&self) -> Option<&str> {
        self.input.as_deref()
    }

    /// Whether there is more than one format.
    pub(crate) fn has_choice(&self) -> bool {
        self.formats.len() > 1
    }

    /// Weights.
    pub fn weights(&self) -> u64 {
        (self.rows * self.columns) as u64
    }

    /// Bytes in a format: index, scale and minimum included.
    pub fn bytes(&self, ty: TensorType) -> u64 {
        let row = ty.row_bytes(self.columns).expect("formats fit the rows");
        (self.rows * row) as u64
    }
}

/// The choices that a model offers.
#[derive(Debug)]
pub struct Plan<'m> {
    model: &'m Model,
    gguf: &'m Gguf,
    options: Options,
    matrices: Vec<Matrix>,
    /// Matrix of each tensor of the file, in its order; `None` for what stays as it is.
    order: Vec<Option<usize>>,
    alignment: u64,
}

impl<'m> Plan<'m> {
    /// Finds the matrices of a model and the formats that fit them.
    ///
    /// # Errors
    /// The model is not a GGUF file; a width or pattern that is not supported or fits nothing.
    pub fn new(model: &'m Model, options: Options) -> Result<Self> {
        let ModelFile::Gguf(gguf) = model.file() else {
            let model = model.file().name();
            return Err(CompressError::NotGguf { model });
        };
        let formats = options.formats()?;
        let mut matrices = Vec::new();
        let mut found: HashMap<&str, usize> = HashMap::new();
        for (id, node) in model.graph().nodes() {
            let (tensor, is_table) = match &node.op {
                Op::Embed { table } => (table, true),
                Op::Linear { weight, .. } | Op::LmHead { weight, .. } => (weight, false),
                _ => continue,
            };
            let inputs = model.graph().inputs(id);
            let input = inputs.first().map(|i| model.graph().node(*i).name.clone());
            if let Some(&at) = found.get(tensor.name.as_str()) {
                let matrix: &mut Matrix = &mut matrices[at];
                matrix.input = matrix.input.take().or(input);
                continue;
            }
            found.insert(&tensor.name, matrices.len());
            let view = model.tensor_view(tensor)?;
            let mut matrix = Matrix {
                tensor: tensor.clone(),
                layer: node.layer,
                rows: view.rows(),
                columns: view.row_len(),
                stored: view.ty,
                formats: Vec::new(),
                is_table,
                input,
            };
            matrix.formats = choices(&matrix, &formats, options.sparse);
            matrices.push(matrix);
        }
        let order = gguf.tensors().iter();
        let order = order.map(|t| found.get(t.name.as_str()).copied()).collect();
        let alignment = gguf.metadata().optional::<u32>("general.alignment")?;
        let plan = Self {
            model,
            gguf,
            options,
            matrices,
            order,
            alignment: alignment.map_or(lampyris_flash::gguf::DEFAULT_ALIGNMENT as u64, u64::from),
        };
        plan.check_pattern()?;
        Ok(plan)
    }

    /// A demanded pattern must fit some layer.
    fn check_pattern(&self) -> Result<()> {
        let Sparse::Everywhere(ty) = self.options.sparse else {
            return Ok(());
        };
        if self.matrices.iter().any(|m| m.formats == [ty]) {
            return Ok(());
        }
        let widths = self.matrices.iter().filter(|m| m.layer.is_some());
        let mut widths: Vec<usize> = widths.map(|m| m.columns).collect();
        widths.sort_unstable();
        widths.dedup();
        let other = [TensorType::Q4_2OF4, TensorType::Q4_4OF16]
            .into_iter()
            .find(|ty| widths.iter().any(|w| w.is_multiple_of(ty.block_len())));
        Err(CompressError::Options {
            problem: format!(
                "{} needs rows of a multiple of {} weights, but the layers of `{}` have rows of {widths:?}",
                ty.name(),
                ty.block_len(),
                self.name()
            ),
            hint: match other {
                Some(TensorType::Q4_2OF4) => "2:4 is the nearest pattern that fits".into(),
                Some(_) => "4:16 is the nearest pattern that fits".into(),
                None => "no pattern fits; leave --sparsity out".into(),
            },
        })
    }

    /// Name for messages: the file's, or the model's if it was not read from a file.
    pub fn name(&self) -> String {
        match self.gguf.paths().is_empty() {
            true => self.model.spec().name.clone(),
            false => self.gguf.file().into(),
        }
    }

    /// The model.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The matrices, in the order of the graph.
    pub fn matrices(&self) -> &[Matrix] {
        &self.matrices
    }

    pub(crate) fn gguf(&self) -> &'m Gguf {
        self.gguf
    }

    pub(crate) fn order(&self) -> &[Option<usize>] {
        &self.order
    }

    /// Weights of all tensors, those that stay included.
    pub fn weights(&self) -> u64 {
        let tensors = self.gguf.tensors().iter();
        tensors
            .map(|t| t.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Bytes of all tensors under a choice (a format for each matrix), without alignment.
    pub fn tensor_bytes(&self, choice: &[TensorType]) -> u64 {
        let sizes = self.gguf.tensors().iter().zip(&self.order);
        sizes
            .map(|(tensor, matrix)| match matrix {
                Some(i) => self.matrices[*i].bytes(choice[*i]),
                None => tensor.range.len() as u64,
            })
            .sum()
    }

    /// Bits of all tensors' bytes for each weight under a choice.
    pub fn bits_per_weight(&self, choice: &[TensorType]) -> f64 {
        self.tensor_bytes(choice) as f64 * 8.0 / self.weights() as f64
    }

    /// Bytes of the output file under a choice, to the byte.
    ///
    /// # Errors
    /// Those of the writer of GGUF files.
    pub fn file_bytes(&self, choice: &[TensorType]) -> Result<u64> {
        let (header, offsets) = self.builder(choice).header()?;
        let last = self.gguf.tensors().iter().zip(&self.order).next_back();
        Ok(match (offsets.last(), last) {
            (Some(offset), Some((_, Some(i)))) => offset + self.matrices[*i].bytes(choice[*i]),
            (Some(offset), Some((tensor, None))) => offset + tensor.range.len() as u64,
            _ => header.len() as u64,
        })
    }

    /// The narrowest format of each matrix.
    pub fn smallest(&self) -> Vec<TensorType> {
        let least = |m: &Matrix| m.formats.iter().copied().min_by_key(|ty| m.bytes(*ty));
        let all = self.matrices.iter().map(least);
        all.map(|ty| ty.expect("each matrix has a format"))
            .collect()
    }

    /// The format of each matrix that changes it least.
    pub fn largest(&self) -> Vec<TensorType> {
        let last = |m: &Matrix| *m.formats.last().expect("each matrix has a format");
        self.matrices.iter().map(last).collect()
    }

    /// What a matrix adds to what a budget counts.
    pub(crate) fn cost(&self, matrix: &Matrix, ty: TensorType, budget: Budget) -> u64 {
        match budget {
            Budget::File(_) => matrix.bytes(ty).next_multiple_of(self.alignment),
            _ => matrix.bytes(ty),
        }
    }

    /// Bytes that are left for the matrices under a budget; negative if not even the rest fits.
    pub(crate) fn room(&self, budget: Budget) -> Result<i128> {
        let smallest = self.smallest();
        let matrices: u64 = self
            .matrices
            .iter()
            .zip(&smallest)
            .map(|(m, ty)| self.cost(m, *ty, budget))
            .sum();
        let (total, rest) = match budget {
            Budget::Unlimited => return Ok(i128::from(u64::MAX)),
            Budget::File(bytes) => (i128::from(bytes), self.file_bytes(&smallest)?),
            Budget::BitsPerWeight(bits) => {
                let bytes = bits * self.weights() as f64 / 8.0;
                (bytes.floor() as i128, self.tensor_bytes(&smallest))
            }
        };
        // The last tensor of a file is not padded, so what is counted may exceed the file a little.
        Ok(total - i128::from(rest) + i128::from(matrices) - self.tail(&smallest, budget))
    }

    /// Padding that is counted for the last tensor but not written.
    fn tail(&self, choice: &[TensorType], budget: Budget) -> i128 {
        let (Budget::File(_), Some(Some(i))) = (budget, self.order.last()) else {
            return 0;
        };
        let bytes = self.matrices[*i].bytes(choice[*i]);
        i128::from(bytes.next_multiple_of(self.alignment) - bytes)
    }

    /// Metadata and tensors of the output; the data are written later.
    pub(crate) fn builder(&self, choice: &[TensorType]) -> Builder {
        let mut builder = Builder::new();
        for (key, value) in self.gguf.metadata().iter() {
            // The file is whole again, and no longer mostly of one type.
            if !key.starts_with("split.") && key != "general.file_type" {
                builder = builder.metadata(key, value.clone());
            }
        }
        let method = self.options.method;
        builder = builder
            .metadata("lampyris.compress.version", 1u32)
            .metadata(
                "lampyris.compress.rounding",
                match method.rounding {
                    Rounding::Nearest => "nearest",
                    Rounding::Gptq => "gptq",
                },
            )
            .metadata(
                "lampyris.compress.pruning",
                match method.pruning {
                    Pruning::Wanda => "wanda",
                    Pruning::SparseGpt => "sparsegpt",
                },
            )
            .metadata("lampyris.compress.source", Value::from(self.name()));
        for (tensor, matrix) in self.gguf.tensors().iter().zip(&self.order) {
            let ty = matrix.map_or(tensor.ty, |i| choice[i]);
            builder = builder.declare(tensor.name.clone(), &tensor.shape, ty);
        }
        builder
    }

    /// Linear layers that a demanded pattern does not fit, so that they stay dense.
    pub fn left_dense(&self) -> Vec<&Matrix> {
        let Sparse::Everywhere(ty) = self.options.sparse else {
            return Vec::new();
        };
        let layers = self.matrices.iter().filter(|m| m.layer.is_some());
        layers.filter(|m| m.formats != [ty]).collect()
    }
}

/// The formats of a matrix, narrowest first.
fn choices(matrix: &Matrix, formats: &[TensorType], sparse: Sparse) -> Vec<TensorType> {
    let fits = |ty: &TensorType| matrix.columns.is_multiple_of(ty.block_len());
    if let Sparse::Everywhere(ty) = sparse
        && matrix.layer.is_some()
        && fits(&ty)
    {
        return vec![ty];
    }
    // Only layers are pruned: tables have rows that are read one by one.
    let pruned = matrix.layer.is_some() && sparse == Sparse::Allowed;
    let stored = matrix.bytes(matrix.stored);
    let mut found: Vec<TensorType> = formats
        .iter()
        .copied()
        .filter(|ty| fits(ty) && (ty.sparsity().is_none() || pruned))
        // What is as large as the stored format, which loses nothing, has no use.
        .filter(|ty| *ty != matrix.stored && matrix.bytes(*ty) < stored)
        .collect();
    found.push(matrix.stored);
    found
}
