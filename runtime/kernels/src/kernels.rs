//! The public face of the matrix kernels: checks, threads, and the choice of implementation.

use crate::activations::Activations;
use crate::backend::{Backend, TILE_ROWS, TILE_TOKENS, Tile, backend};
use crate::pool::Shareable;
use crate::{Isa, Pool, Result, TensorType};

/// Multiplications that one chunk of a job should have at least: some microseconds of work.
const CHUNK_WORK: usize = 1 << 16;
/// Chunks per thread, so that an unlucky thread delays the others little.
const CHUNKS_PER_THREAD: usize = 4;

/// A weight matrix in the blocks of its file, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Element format.
    pub ty: TensorType,
    /// Rows: outputs.
    pub rows: usize,
    /// Columns: inputs; a whole number of blocks.
    pub cols: usize,
    /// `rows` times `ty.row_bytes(cols)` bytes, at any alignment.
    pub data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Bytes of a row.
    ///
    /// # Panics
    /// If `cols` is not a whole number of blocks.
    pub fn row_bytes(&self) -> usize {
        self.ty.row_bytes(self.cols).unwrap_or_else(|| {
            panic!("{} columns are not whole blocks of {}", self.cols, self.ty);
        })
    }

    /// The bytes of row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let bytes = self.row_bytes();
        &self.data[row * bytes..][..bytes]
    }
}

/// Where the rows of a sparse product lie: row number to bytes.
pub type RowOf<'r> = dyn Fn(usize) -> &'r [u8] + Sync + 'r;

/// The kernels of one instruction set.
#[derive(Clone, Copy)]
pub struct Kernels {
    backend: &'static dyn Backend,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kernels").field(&self.isa()).finish()
    }
}

impl Kernels {
    /// The kernels for `isa`.
    ///
    /// # Errors
    /// [`Error::IsaAbsent`](crate::Error::IsaAbsent) if this build or processor lacks it.
    pub fn new(isa: Isa) -> Result<Self> {
        let backend = backend(isa).ok_or_else(|| isa.absent())?;
        Ok(Self { backend })
    }

    /// The best kernels for this machine, or those that `LAMPYRIS_ISA` names.
    ///
    /// # Errors
    /// As [`Isa::detect`].
    pub fn detect() -> Result<Self> {
        Self::new(Isa::detect()?)
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.backend.isa()
    }

    pub(crate) fn backend(&self) -> &'static dyn Backend {
        self.backend
    }

    /// Matrix product: `out[t * stride + first_row + r]` becomes row `r` of `w` times token `t`,
    /// for all rows and all tokens of `x`. With `first_row` a caller hands over some rows of a
    /// larger matrix. Work is split over `pool`.
    ///
    /// # Panics
    /// If shapes do not fit: `w.cols` and the width of `x`, the length of `w.data`, or `out` too
    /// short for its last element.
    pub fn matmul(
        &self,
        pool: &Pool,
        w: Matrix<'_>,
        x: &Activations,
        out: &mut [f32],
        stride: usize,
        first_row: usize,
    ) {
        let tokens = x.tokens();
        if w.rows == 0 || tokens == 0 {
            return;
        }
        let row_bytes = w.row_bytes();
        assert_eq!(w.cols, x.width(), "columns of the weights and width");
        assert_eq!(w.data.len(), w.rows * row_bytes, "bytes of {} rows", w.rows);
        assert!(
            tokens == 1 || first_row + w.rows <= stride,
            "rows {first_row}+{} overlap at stride {stride}",
            w.rows
        );
        let last = (tokens - 1) * stride + first_row + w.rows;
        assert!(last <= out.len(), "output of {}, wanted {last}", out.len());

        let tiles = w.rows.div_ceil(TILE_ROWS);
        let each = tiles_per_chunk(tiles, TILE_ROWS * w.cols * tokens, pool.threads());
        let out = Shareable(out.as_mut_ptr());
        pool.run(tiles.div_ceil(each), &|chunk| {
            let out = &out;
            let range = chunk * each..((chunk + 1) * each).min(tiles);
            for first in (0..tokens).step_by(TILE_TOKENS) {
                let x = x.slice(first, TILE_TOKENS.min(tokens - first));
                let mut values = [[0.0; TILE_ROWS]; TILE_TOKENS];
                for tile in range.clone() {
                    let row = tile * TILE_ROWS;
                    let rows = TILE_ROWS.min(w.rows - row);
                    let tile = Tile {
                        ty: w.ty,
                        rows: std::array::from_fn(|r| w.row(row + r.min(rows - 1))),
                        contiguous: true,
                    };
                    self.backend.tile(&tile, x, &mut values);
                    for (t, values) in values[..x.count].iter().enumerate() {
                        let at = (first + t) * stride + first_row + row;
                        // SAFETY: `at + rows <= last`; each tile of rows belongs to one chunk, and
                        // rows of different tokens do not overlap (checked above).
                        unsafe {
                            std::ptr::copy_nonoverlapping(values.as_ptr(), out.0.add(at), rows);
                        }
                    }
                }
            }
        });
    }

    /// One row times one token of `x`: one neuron of a sparse layer. Same bits as [`matmul`](Self::matmul).
    ///
    /// # Panics
    /// If the row's bytes do not fit the width of `x`, or there is no such token.
    pub fn dot_row(&self, ty: TensorType, row: &[u8], x: &Activations, token: usize) -> f32 {
        check_row(ty, row, x.width());
        self.backend.dot_row(ty, row, x.slice(token, 1))
    }

    /// Some rows that need not be neighbours times one token: `out[i]` becomes `row(i)` times
    /// token `token`. Same bits as [`dot_row`](Self::dot_row), several times faster.
    ///
    /// # Panics
    /// If a row's bytes do not fit the width of `x`, or there is no such token.
    pub fn dot_rows(
        &self,
        pool: &Pool,
        ty: TensorType,
        row: &RowOf<'_>,
        x: &Activations,
        token: usize,
        out: &mut [f32],
    ) {
        let count = out.len();
        let tiles = count.div_ceil(TILE_ROWS);
        let each = tiles_per_chunk(tiles, TILE_ROWS * x.width(), pool.threads());
        let x = x.slice(token, 1);
        pool.for_each_mut(out, each * TILE_ROWS, |chunk, out| {
            for (i, out) in out.chunks_mut(TILE_ROWS).enumerate() {
                let first = chunk * each * TILE_ROWS + i * TILE_ROWS;
                let rows = std::array::from_fn(|r| row(first + r.min(out.len() - 1)));
                rows.iter().for_each(|row| check_row(ty, row, x.width));
                let tile = Tile {
                    ty,
                    rows,
                    contiguous: false,
                };
                let mut values = [[0.0; TILE_ROWS]];
                self.backend.tile(&tile, x, &mut values);
                out.copy_from_slice(&values[0][..out.len()]);
            }
        });
    }

    /// `y += a * row`: a column of a down projection that is stored as a row.
    ///
    /// # Panics
    /// If the row's bytes do not fit the length of `y`.
    pub fn axpy_row(&self, ty: TensorType, row: &[u8], a: f32, y: &mut [f32]) {
        check_row(ty, row, y.len());
        self.backend.axpy_row(ty, row, a, y);
    }

    /// `y += sum of coefficients[i] * row(i)`, in this order; rows with coefficient 0 are not
    /// read. Same bits as [`axpy_row`](Self::axpy_row) for each; columns are split over `pool`.
    ///
    /// # Panics
    /// If a row's bytes do not fit the length of `y`.
    pub fn axpy_rows(
        &self,
        pool: &Pool,
        ty: TensorType,
        row: &RowOf<'_>,
        coefficients: &[f32],
        y: &mut [f32],
    ) {
        let unit = ty.block_len().max(64);
        let pieces = (coefficients.len() * y.len() / CHUNK_WORK).clamp(1, pool.threads());
        let each = y.len().div_ceil(pieces).next_multiple_of(unit);
        let width = y.len();
        pool.for_each_mut(y, each, |piece, y| {
            let first = piece * each / ty.block_len() * ty.block_bytes();
            let bytes = y.len() / ty.block_len() * ty.block_bytes();
            for (i, &a) in coefficients.iter().enumerate() {
                if a != 0.0 {
                    let row = row(i);
                    check_row(ty, row, width);
                    self.backend.axpy_row(ty, &row[first..][..bytes], a, y);
                }
            }
        });
    }
}

fn check_row(ty: TensorType, row: &[u8], width: usize) {
    assert_eq!(
        ty.row_bytes(width),
        Some(row.len()),
        "bytes of a row of {width} {ty}"
    );
}

/// Tiles that are claimed together: enough work to be worth it, few enough to balance.
fn tiles_per_chunk(tiles: usize, tile_work: usize, threads: usize) -> usize {
    if threads == 1 {
        return tiles.max(1);
    }
    let enough = CHUNK_WORK.div_ceil(tile_work.max(1));
    let balanced = tiles / (threads * CHUNKS_PER_THREAD);
    enough.max(balanced).clamp(1, tiles.max(1))
}
