//! The matrices of a model, resident and streamed, behind one product.

use std::sync::Arc;

use lampyris_io::{AlignedBuf, ReadEngine};
use lampyris_kernels::{Activations, Kernels, Matrix, Pool};
use lampyris_pack::{ModelIndex, Stored};

use super::EngineError;
use super::layout::{Layout, MatrixDesc};
use super::planner::Planned;
use super::stream::{CHECKED, Fetch, Pool as Buffers, Source, Streamer};

/// All matrices of one engine.
#[derive(Debug)]
pub(crate) struct Weights {
    matrices: Vec<MatrixDesc>,
    layout: Layout,
    arena: AlignedBuf,
    pub(crate) stream: Streamer,
    table: Table,
}

/// Where rows of the embedding are found.
#[derive(Debug)]
struct Table {
    desc: MatrixDesc,
    /// Rows in the arena from here on; rows past `resident` are read one by one.
    at: usize,
    resident: usize,
    name: Arc<str>,
}

/// One of so many reads of a unit is compared with the first. Comparing all of them costs a tenth of
/// the speed, even where storage is the limit: the time goes by between the threads' work.
const CHECK_EVERY: usize = 8;
/// Alignment of the arena: whole pages, so that large ones can be used.
const PAGE: usize = 4096;

impl Weights {
    /// Allocates what was planned and reads what is resident.
    ///
    /// # Errors
    /// What storage says, or the allocator.
    pub(crate) fn load(
        index: &ModelIndex,
        planned: &Planned,
        engine: Box<dyn ReadEngine>,
    ) -> Result<Self, EngineError> {
        let layout = planned.layout.clone();
        let head = planned.matrices.len() - 1;
        let embedding = &index.token_embd;
        let tied = index.output.is_none();
        let desc = MatrixDesc {
            name: embedding.name.clone(),
            row_bytes: embedding.row_bytes(),
            ty: embedding.ty,
            rows: embedding.rows,
            cols: embedding.cols,
            file: embedding.file,
            offset: embedding.offset,
            group: 0,
        };
        let (at, resident, extra) = match (tied, planned.table) {
            (true, _) => (layout.rows[head].arena, layout.rows[head].resident, 0),
            (false, true) => (layout.arena_bytes, desc.rows, desc.bytes() as usize),
            (false, false) => (0, 0, 0),
        };
        let table = Table {
            name: desc.name.as_str().into(),
            desc,
            at,
            resident,
        };
        let checksums = match index.packed() {
            Some(packed) => Some(packed.checksums()?),
            None => None,
        };
        let margin = if checksums.is_some() { CHECKED } else { 0 };
        let stream = Streamer::new(
            engine,
            &layout,
            layout.units_before(planned.body),
            source(index, planned),
            planned.buffers,
            (checksums, CHECK_EVERY),
        )?;
        let mut weights = Self {
            matrices: planned.matrices.clone(),
            arena: AlignedBuf::new(layout.arena_bytes + extra, PAGE)?,
            layout,
            stream,
            table,
        };
        weights.fill((planned.grain.chunk, margin), extra > 0)?;
        Ok(weights)
    }

    /// Reads the resident rows into the arena, in the order of the file.
    fn fill(&mut self, sizes: (usize, u64), table: bool) -> Result<(), EngineError> {
        let mut parts = Vec::new();
        let placed = self.matrices.iter().zip(&self.layout.rows);
        for (desc, rows) in placed {
            split(desc, rows.resident, rows.arena, sizes, &mut parts);
        }
        if table {
            let Table { desc, at, .. } = &self.table;
            split(desc, desc.rows, *at, sizes, &mut parts);
        }
        parts.sort_by_key(|(fetch, _)| (fetch.file, fetch.offset));
        let (fetches, places): (Vec<Fetch>, Vec<usize>) = parts.into_iter().unzip();
        let arena = &mut self.arena;
        self.stream.read(Buffers::Units, &fetches, &mut |i, bytes| {
            arena[places[i]..places[i] + bytes.len()].copy_from_slice(bytes);
        })
    }

    /// Writes rows of a table from `first` on to `out` as f32, as many as it holds.
    ///
    /// # Errors
    /// What storage says.
    pub(crate) fn read_rows(
        &mut self,
        kernels: &Kernels,
        table: &Stored,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        let (bytes, width) = (table.row_bytes(), table.cols);
        let name: Arc<str> = table.name.as_str().into();
        let fetches: Vec<Fetch> = (first..first + out.len() / width)
            .map(|row| Fetch {
                file: table.file,
                offset: table.offset + (row * bytes) as u64,
                len: bytes,
                name: name.clone(),
                margin: 0,
            })
            .collect();
        self.stream.read(Buffers::Units, &fetches, &mut |i, row| {
            kernels.dequantize(table.ty, row, &mut out[i * width..][..width]);
        })
    }

    /// `out[t * stride + r]` becomes row `r` of matrix `m` times token `t` of `x`.
    ///
    /// # Errors
    /// What storage says about the rows that stream.
    pub(crate) fn matmul(
        &mut self,
        (kernels, pool): (&Kernels, &Pool),
        m: usize,
        x: &Activations,
        out: &mut [f32],
        stride: usize,
    ) -> Result<(), EngineError> {
        let desc = &self.matrices[m];
        let rows = &self.layout.rows[m];
        if rows.resident > 0 {
            let data = &self.arena[rows.arena..][..rows.resident * desc.row_bytes];
            kernels.matmul(pool, part(desc, data, rows.resident), x, out, stride, 0);
        }
        for piece in &rows.pieces {
            let bytes = self.stream.bytes(piece.unit)?;
            let data = &bytes[piece.start..][..piece.rows * desc.row_bytes];
            kernels.matmul(
                pool,
                part(desc, data, piece.rows),
                x,
                out,
                stride,
                piece.first_row,
            );
            self.stream.used(piece.unit)?;
        }
        Ok(())
    }

    /// Rows of a matrix.
    pub(crate) fn rows(&self, m: usize) -> usize {
        self.matrices[m].rows
    }

    /// Writes the embedding of each token to `out`, `[tokens, width]`.
    ///
    /// # Errors
    /// What storage says.
    pub(crate) fn embed(
        &mut self,
        kernels: &Kernels,
        tokens: &[u32],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        let Table {
            desc,
            at,
            resident,
            name,
        } = &self.table;
        let (ty, width) = (desc.ty, desc.cols);
        let mut missing = Vec::new();
        let mut places = Vec::new();
        for (i, &token) in tokens.iter().enumerate() {
            let row = token as usize;
            if row < *resident {
                let bytes = &self.arena[at + row * desc.row_bytes..][..desc.row_bytes];
                kernels.dequantize(ty, bytes, &mut out[i * width..][..width]);
            } else {
                places.push(i);
                missing.push(Fetch {
                    file: desc.file,
                    offset: desc.offset + (row * desc.row_bytes) as u64,
                    len: desc.row_bytes,
                    name: name.clone(),
                    margin: 0,
                });
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.stream.read(Buffers::Rows, &missing, &mut |i, bytes| {
            kernels.dequantize(ty, bytes, &mut out[places[i] * width..][..width]);
        })
    }
}

/// Some rows of a matrix.
fn part<'a>(desc: &MatrixDesc, data: &'a [u8], rows: usize) -> Matrix<'a> {
    Matrix {
        ty: desc.ty,
        rows,
        cols: desc.cols,
        data,
    }
}

/// Cuts the first rows of a matrix into reads that fit a unit's buffer; each with its place.
fn split(
    desc: &MatrixDesc,
    rows: usize,
    at: usize,
    (chunk, margin): (usize, u64),
    parts: &mut Vec<(Fetch, usize)>,
) {
    let name: Arc<str> = desc.name.as_str().into();
    let bytes = rows * desc.row_bytes;
    for from in (0..bytes).step_by(chunk.max(1)) {
        let fetch = Fetch {
            file: desc.file,
            offset: desc.offset + from as u64,
            len: chunk.min(bytes - from),
            name: name.clone(),
            margin,
        };
        parts.push((fetch, at + from));
    }
}

/// Names for messages about reads.
fn source(index: &ModelIndex, planned: &Planned) -> Source {
    let files = index.files.iter().map(|f| f.display().to_string());
    let mut names = vec![String::new(); planned.layout.units.len()];
    for (desc, rows) in planned.matrices.iter().zip(&planned.layout.rows) {
        for piece in &rows.pieces {
            names[piece.unit].clone_from(&desc.name);
        }
    }
    Source {
        files: files.collect(),
        names,
    }
}
