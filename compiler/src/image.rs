//! The constant image: where every weight lies in DRAM, in the order in which it is read.

use crate::error::{Error, Result};
use crate::format::{self, TileFormat};
use crate::kv::{KvFormat, Rotation};
use crate::ring::Ring;
use lampyris_import::Model;
use lampyris_import::arch::LayerSpec;
use lampyris_import::graph::Op;
use lampyris_import::source::TensorRef;
use lampyris_isa::HwConfig;
use lampyris_isa::format::{CHUNK_BYTES, Sparsity, TILE_ROWS, matrix_bytes, tiles};
use std::collections::BTreeSet;

/// Byte address of the constants; the program lies below.
pub const WEIGHTS_BASE: u64 = 1 << 20;

/// A weight matrix in tiles.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Source.
    pub tensor: TensorRef,
    /// Rows.
    pub rows: usize,
    /// Columns: the length of the reduction.
    pub cols: usize,
    /// Form of the tiles.
    pub format: TileFormat,
    /// Byte address of the first tile.
    pub addr: u64,
    /// Memory channels, each with a part of every tile.
    pub channels: usize,
}

impl Matrix {
    /// Bytes of all tiles.
    pub fn bytes(&self) -> u64 {
        let TileFormat { bits, sparsity } = self.format;
        let part = self.rows.div_ceil(self.channels * TILE_ROWS) * TILE_ROWS;
        (self.channels * matrix_bytes(part, self.cols, bits, sparsity)) as u64
    }

    /// Tiles along the reduction.
    pub fn tiles(&self) -> usize {
        tiles(self.cols, self.format.sparsity)
    }

    /// Activation blocks along the reduction, with those that complete the last tile.
    pub fn blocks(&self) -> usize {
        self.tiles() * self.format.sparsity.span()
    }

    /// Row groups.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(self.channels * TILE_ROWS)
    }
}

/// f32 values in DRAM.
#[derive(Clone, Debug)]
pub struct Floats {
    /// Where the values come from.
    pub source: FloatSource,
    /// Values.
    pub len: usize,
    /// Byte address.
    pub addr: u64,
}

/// Where f32 values come from.
#[derive(Clone, Debug)]
pub enum FloatSource {
    /// A tensor, all of it.
    Tensor(TensorRef),
    /// For each position: the cosines of the head's elements, then the signed sines.
    RopeTable {
        /// Elements of a head.
        head_dim: usize,
        /// Rows.
        positions: usize,
        /// Positions from one row to the next.
        step: usize,
    },
    /// Constants of the program.
    Values(Vec<f32>),
}

/// An item of the image.
#[derive(Clone, Debug)]
pub enum Item {
    /// Matrix.
    Matrix(Matrix),
    /// Vector or table.
    Floats(Floats),
    /// Rotation of heads.
    Rotation(Rotation),
}

/// A linear layer: matrix and bias.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weights.
    pub matrix: Matrix,
    /// Bias.
    pub bias: Option<Floats>,
}

/// A norm: weight and, for LayerNorm, bias.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Scale of each element.
    pub weight: Floats,
    /// Added to each element.
    pub bias: Option<Floats>,
}

/// The constants of one layer, addresses of the first layer of its run.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Norm before attention.
    pub attn_norm: Norm,
    /// Keys, read first so that they are stored before the queries are ready.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Queries.
    pub q: Linear,
    /// Attention output.
    pub o: Linear,
    /// Norm before the feed-forward network.
    pub ffn_norm: Norm,
    /// Gate, if there is one.
    pub gate: Option<Linear>,
    /// Up.
    pub up: Linear,
    /// Down.
    pub down: Linear,
}

/// Consecutive layers of the same shape and formats: one loop.
#[derive(Clone, Debug)]
pub struct Run {
    /// Index of the first layer.
    pub first: usize,
    /// Layers.
    pub count: usize,
    /// Shape.
    pub spec: LayerSpec,
    /// Constants of the first layer.
    pub layer: Layer,
    /// Bytes from one layer's constants to the next.
    pub stride: u64,
}

/// All constants.
#[derive(Clone, Debug)]
pub struct Image {
    /// Program constants.
    pub constants: Floats,
    /// Rotary table, if the model uses RoPE.
    pub rope: Option<Floats>,
    /// In a ring, the angles of multiples of that table's rows.
    pub rope_high: Option<Floats>,
    /// Position table and its first row, if positions are learned.
    pub positions: Option<(Floats, usize)>,
    /// Rotations of heads, one for each size, if the cache holds rotated heads.
    pub rotations: Vec<Rotation>,
    /// Token embedding.
    pub embedding: Matrix,
    /// Layers.
    pub runs: Vec<Run>,
    /// Final norm.
    pub output_norm: Norm,
    /// Output projection; the embedding's tiles if tied.
    pub head: Matrix,
    /// Everything in address order.
    pub items: Vec<Item>,
    /// Bytes of the image.
    pub bytes: u64,
}

impl Image {
    /// Bytes of a chunk: what items are aligned to.
    pub fn chunk_bytes(&self) -> usize {
        self.head.channels * CHUNK_BYTES
    }

    /// Most activation blocks that a tile spans.
    pub fn span(&self) -> usize {
        let matrices = self.items.iter().map(|item| match item {
            Item::Matrix(matrix) => matrix.format.sparsity.span(),
            Item::Floats(_) | Item::Rotation(_) => 1,
        });
        matrices.max().unwrap_or(1)
    }

    /// The rotation of heads of `dim` elements, if heads are rotated.
    pub fn rotation(&self, dim: usize) -> Option<&Rotation> {
        self.rotations.iter().find(|r| r.dim == dim)
    }
}

struct Builder<'a> {
    model: &'a Model,
    hw: &'a HwConfig,
    items: Vec<Item>,
    next: u64,
}

impl Builder<'_> {
    fn take(&mut self, bytes: u64) -> u64 {
        let addr = self.next;
        self.next += bytes.next_multiple_of(self.hw.chunk_bytes() as u64);
        addr
    }

    fn matrix(&mut self, tensor: &TensorRef, rows: usize, cols: usize) -> Result<Matrix> {
        let format = self.format(tensor)?;
        self.matrix_as(tensor, rows, cols, format)
    }

    /// A matrix that is read row by row. With several channels its codes take 2, 4 or 8 bits, so
    /// that a row's part of a tile lies in one chunk.
    fn table(&mut self, tensor: &TensorRef, rows: usize, cols: usize) -> Result<Matrix> {
        let mut format = self.format(tensor)?;
        if self.hw.channels > 1 && format.sparsity == Sparsity::Dense {
            format.bits = format.bits.next_power_of_two();
        }
        self.matrix_as(tensor, rows, cols, format)
    }

    fn matrix_as(
        &mut self,
        tensor: &TensorRef,
        rows: usize,
        cols: usize,
        format: TileFormat,
    ) -> Result<Matrix> {
        let mut matrix = Matrix {
            tensor: tensor.clone(),
            rows,
            cols,
            format,
            addr: 0,
            channels: self.hw.channels as usize,
        };
        matrix.addr = self.take(matrix.bytes());
        self.items.push(Item::Matrix(matrix.clone()));
        Ok(matrix)
    }

    fn format(&self, tensor: &TensorRef) -> Result<TileFormat> {
        let view = self.model.tensor_view(tensor)?;
        format::tiles_of(&tensor.name, view.ty, self.hw)
    }

    fn floats(&mut self, source: FloatSource, len: usize) -> Floats {
        let addr = self.take(len as u64 * 4);
        let floats = Floats { source, len, addr };
        self.items.push(Item::Floats(floats.clone()));
        floats
    }

    /// One rotation for each size of heads.
    fn rotations(&mut self) -> Vec<Rotation> {
        let layers = &self.model.spec().layers;
        let dims: BTreeSet<_> = layers
            .iter()
            .flat_map(|l| [l.head_dim_k, l.head_dim_v])
            .collect();
        let bits = self.hw.weight_widths().next().unwrap_or(4);
        let mut rotations = Vec::new();
        for dim in dims {
            let mut rotation = Rotation { dim, bits, addr: 0 };
            rotation.addr = self.take(rotation.bytes());
            self.items.push(Item::Rotation(rotation));
            rotations.push(rotation);
        }
        rotations
    }

    fn op(&self, name: &str) -> Result<&Op> {
        let graph = self.model.graph();
        match graph.find(name) {
            Some(id) => Ok(&graph.node(id).op),
            None => Err(Error::unsupported(
                name,
                "the graph has no such operation",
                "report this model",
            )),
        }
    }

    fn norm(&mut self, name: &str) -> Result<Norm> {
        let (weight, bias) = match self.op(name)? {
            Op::Norm { weight, bias, .. } => (weight.clone(), bias.clone()),
            other => return Err(unexpected(name, other)),
        };
        let d = self.model.spec().d_model;
        let weight = self.floats(FloatSource::Tensor(weight), d);
        let bias = bias.map(|b| self.floats(FloatSource::Tensor(b), d));
        Ok(Norm { weight, bias })
    }

    fn linear(&mut self, name: &str) -> Result<Linear> {
        let (weight, bias, cols, rows) = match self.op(name)? {
            Op::Linear {
                weight,
                bias,
                in_features,
                out_features,
            } => (weight.clone(), bias.clone(), *in_features, *out_features),
            other => return Err(unexpected(name, other)),
        };
        let bias = bias.map(|b| self.floats(FloatSource::Tensor(b), rows));
        Ok(Linear {
            matrix: self.matrix(&weight, rows, cols)?,
            bias,
        })
    }

    fn layer(&mut self, index: usize) -> Result<Layer> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let gated = self.model.spec().layers[index].gated;
        Ok(Layer {
            attn_norm: self.norm(&name("attn_norm"))?,
            k: self.linear(&name("attn_k"))?,
            v: self.linear(&name("attn_v"))?,
            q: self.linear(&name("attn_q"))?,
            o: self.linear(&name("attn_output"))?,
            ffn_norm: self.norm(&name("ffn_norm"))?,
            gate: if gated {
                Some(self.linear(&name("ffn_gate"))?)
            } else {
                None
            },
            up: self.linear(&name("ffn_up"))?,
            down: self.linear(&name("ffn_down"))?,
        })
    }

    /// What must be equal for two layers to share the body of a loop.
    fn shape(&self, index: usize) -> Result<(LayerSpec, Vec<TileFormat>)> {
        let graph = self.model.graph();
        let mut formats = Vec::new();
        for (_, node) in graph.nodes().filter(|(_, n)| n.layer == Some(index)) {
            if let Op::Linear { weight, .. } = &node.op {
                formats.push(self.format(weight)?);
            }
        }
        Ok((self.model.spec().layers[index].clone(), formats))
    }

    fn runs(&mut self) -> Result<Vec<Run>> {
        let layers = self.model.spec().layers.len();
        let mut runs: Vec<Run> = Vec::new();
        let mut last_shape = None;
        for index in 0..layers {
            let shape = self.shape(index)?;
            let start = self.next;
            let layer = self.layer(index)?;
            if last_shape.as_ref() == Some(&shape) {
                runs.last_mut().expect("a shape implies a run").count += 1;
            } else {
                let spec = shape.0.clone();
                runs.push(Run {
                    first: index,
                    count: 1,
                    spec,
                    layer,
                    stride: self.next - start,
                });
                last_shape = Some(shape);
            }
        }
        Ok(runs)
    }
}

fn unexpected(name: &str, op: &Op) -> Error {
    Error::unsupported(
        name,
        format!("is a {} operation", op.kind()),
        "report this model",
    )
}

/// Lays out the constants of a model for `context` positions.
///
/// # Errors
/// A tensor cannot be read or needs tiles that the configuration lacks; a sparse embedding.
pub fn plan(
    model: &Model,
    hw: &HwConfig,
    context: usize,
    ring: Option<&Ring>,
    kv: KvFormat,
) -> Result<Image> {
    let spec = model.spec();
    let mut b = Builder {
        model,
        hw,
        items: Vec::new(),
        next: WEIGHTS_BASE,
    };
    let constants = b.floats(FloatSource::Values(vec![spec.norm.eps]), 1);
    let head_dim = spec.layers[0].head_dim_k;
    let mut table = |positions: usize, step: usize| {
        let source = FloatSource::RopeTable {
            head_dim,
            positions,
            step,
        };
        b.floats(source, 2 * head_dim * positions)
    };
    let rows = ring.map_or(context, |ring| ring.low);
    let rope = spec.rope().map(|_| table(rows, 1));
    let rope_high = ring.map(|ring| table(ring.high, ring.low));
    let positions = match b
        .model
        .graph()
        .find("position_embd")
        .map(|id| b.model.graph().node(id).op.clone())
    {
        Some(Op::PosEmbed { table, offset }) => {
            let rows = model.tensor_view(&table)?.rows();
            Some((
                b.floats(FloatSource::Tensor(table), rows * spec.d_model),
                offset,
            ))
        }
        _ => None,
    };
    let rotations = if kv.is_rotated() {
        b.rotations()
    } else {
        Vec::new()
    };
    let runs = b.runs()?;
    let output_norm = b.norm("output_norm")?;
    let head_tensor = match b.op("output")? {
        Op::LmHead { weight, .. } => weight.clone(),
        other => return Err(unexpected("output", other)),
    };
    let (rows, cols) = (spec.vocab_size, spec.d_model);
    let (head, embedding) = match b.op("token_embd")?.clone() {
        Op::Embed { table } if table == head_tensor => {
            let both = b.table(&table, rows, cols)?;
            (both.clone(), both)
        }
        Op::Embed { table } => {
            let head = b.matrix(&head_tensor, rows, cols)?;
            (head, b.table(&table, rows, cols)?)
        }
        other => return Err(unexpected("token_embd", &other)),
    };
    if embedding.format.sparsity != Sparsity::Dense {
        return Err(Error::unsupported(
            format!("tensor `{}`", embedding.tensor.name),
            format!(
                "is {}, but embeddings are read row by row",
                embedding.format
            ),
            "keep the embedding dense, also where it serves as output projection",
        ));
    }
    let bytes = b.next - WEIGHTS_BASE;
    Ok(Image {
        constants,
        rope,
        rope_high,
        positions,
        rotations,
        embedding,
        runs,
        output_norm,
        head,
        items: b.items,
        bytes,
    })
}
