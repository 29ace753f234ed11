//! Bundles from matrices: rows of gate and up, columns of down.
//!
//! The down matrix is transposed in tiles of neurons. For each tile it is read once from start to
//! end, in bands of as many rows as a block of the target has elements; one tile holds all neurons
//! of a 7B model in 8 bits.

use super::sink::is_zero;
use crate::{
    Result,
    container::header::BundlesEntry,
    index::{Linear, Stored},
    read::{BUFFER, Files},
};
use lampyris_flash::{TensorType, block};

/// Bytes of the transposed columns of one tile.
const TILE_BYTES: usize = 64 << 20;

/// The matrices of one FFN and where their bundles go.
pub(super) struct Source<'a> {
    pub(super) files: &'a Files,
    pub(super) gate: Option<&'a Linear>,
    pub(super) up: &'a Linear,
    pub(super) down: &'a Linear,
    pub(super) order: Option<&'a [u32]>,
    pub(super) entry: &'a BundlesEntry,
}

/// Sums over all elements of a down matrix.
#[derive(Clone, Copy, Debug, Default)]
struct Error2 {
    error: f64,
    value: f64,
}

impl Source<'_> {
    /// Writes the section; the RMS error of the down matrix relative to its RMS.
    /// `write` gets the bytes in order.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Truncated`]; those of `write`.
    pub(super) fn write(&self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<f32> {
        let entry = self.entry;
        let neurons = entry.neurons as usize;
        let column = self.column_bytes();
        let per_tile = (TILE_BYTES / column).clamp(1, neurons);
        let mut tile = vec![0; per_tile * column];
        let mut gate = self.gate.map(|gate| Rows::new(self.files, &gate.weight));
        let mut up = Rows::new(self.files, &self.up.weight);
        let padding = (entry.group_bytes - entry.group_neurons * entry.bundle_bytes) as usize;
        let padding = vec![0; padding];
        let mut sums = Error2::default();
        for first in (0..neurons).step_by(per_tile) {
            let ids: Vec<usize> = (first..neurons.min(first + per_tile))
                .map(|p| self.id(p))
                .collect();
            self.transpose(&ids, &mut tile, &mut sums)?;
            for (i, &id) in ids.iter().enumerate() {
                if let Some(gate) = &mut gate {
                    write(gate.row(id)?)?;
                }
                write(up.row(id)?)?;
                write(&tile[i * column..][..column])?;
                let position = first + i + 1;
                if position < neurons && position.is_multiple_of(entry.group_neurons as usize) {
                    write(&padding)?;
                }
            }
        }
        for linear in self.gate.into_iter().chain([self.up, self.down]) {
            let w = &linear.weight;
            self.files.drop_cache(w.file, w.offset, w.bytes());
        }
        Ok(sums.relative())
    }

    fn id(&self, position: usize) -> usize {
        self.order
            .map_or(position, |order| order[position] as usize)
    }

    fn column_bytes(&self) -> usize {
        let ty = self.entry.down.ty.0;
        ty.row_bytes(self.down.weight.rows)
            .expect("checked with the plan")
    }

    /// Fills `tile` with the columns `ids` of the down matrix, one after the other.
    fn transpose(&self, ids: &[usize], tile: &mut [u8], sums: &mut Error2) -> Result<()> {
        let down = &self.down.weight;
        let target = self.entry.down.ty.0;
        let column = self.column_bytes();
        let band_rows = target.block_len().max(32).min(down.rows);
        let row_bytes = down.row_bytes();
        let mut raw = vec![0; band_rows * row_bytes];
        let mut band = Band::new(down.ty, target, band_rows, down.cols);
        for first in (0..down.rows).step_by(band_rows) {
            let rows = band_rows.min(down.rows - first);
            let raw = &mut raw[..rows * row_bytes];
            let at = down.offset + (first * row_bytes) as u64;
            self.files.read(down.file, at, raw, &down.name)?;
            let within = target.row_bytes(first).expect("bands are whole blocks");
            let len = target.row_bytes(rows).expect("bands are whole blocks");
            // Holes of the source stay holes, and cost no arithmetic.
            if band.zeros_stay && is_zero(raw) {
                for i in 0..ids.len() {
                    tile[i * column + within..][..len].fill(0);
                }
                continue;
            }
            band.fill(raw, rows);
            for (i, &id) in ids.iter().enumerate() {
                let out = &mut tile[i * column + within..][..len];
                band.column(raw, id, rows, out, sums);
            }
        }
        Ok(())
    }
}

/// Some rows of the down matrix, from which pieces of columns are taken.
struct Band {
    from: TensorType,
    to: TensorType,
    cols: usize,
    /// Whether zeros become zero bytes; zero bytes are zeros in every format.
    zeros_stay: bool,
    /// The rows as f32, unless bytes can be copied.
    values: Vec<f32>,
    /// A piece of a column as f32, and as it comes back from its blocks.
    piece: Vec<f32>,
    back: Vec<f32>,
}

impl Band {
    fn new(from: TensorType, to: TensorType, rows: usize, cols: usize) -> Self {
        let copies = from == to && from.block_len() == 1;
        let values = if copies { 0 } else { rows * cols };
        Self {
            from,
            to,
            cols,
            zeros_stay: zeros_are_zero_bytes(to),
            values: vec![0.0; values],
            piece: vec![0.0; rows],
            back: vec![0.0; rows],
        }
    }

    /// Takes the band's rows.
    fn fill(&mut self, raw: &[u8], rows: usize) {
        if !self.values.is_empty() {
            block::dequantize_row(self.from, raw, &mut self.values[..rows * self.cols])
                .expect("whole rows were read");
        }
    }

    /// Writes column `id` of the band to `out`.
    fn column(&mut self, raw: &[u8], id: usize, rows: usize, out: &mut [u8], sums: &mut Error2) {
        if self.values.is_empty() {
            let size = self.from.block_bytes();
            for (row, out) in out.chunks_exact_mut(size).enumerate() {
                out.copy_from_slice(&raw[(row * self.cols + id) * size..][..size]);
            }
            return;
        }
        let (piece, back) = (&mut self.piece[..rows], &mut self.back[..rows]);
        for (row, value) in piece.iter_mut().enumerate() {
            *value = self.values[row * self.cols + id];
        }
        block::quantize_row(self.to, piece, out).expect("bands are whole blocks");
        block::dequantize_row(self.to, out, back).expect("bands are whole blocks");
        let mut here = (0.0, 0.0);
        for (&x, &y) in piece.iter().zip(&*back) {
            let (x, error) = (f64::from(x), f64::from(y - x));
            here = (here.0 + error * error, here.1 + x * x);
        }
        sums.error += here.0;
        sums.value += here.1;
    }
}

/// Whether zeros become zero bytes: in Q4_0 and Q5_0 their scale is negative zero.
fn zeros_are_zero_bytes(to: TensorType) -> bool {
    let mut block = vec![1; to.block_bytes()];
    let written = block::quantize_row(to, &vec![0.0; to.block_len()], &mut block);
    written.is_ok() && is_zero(&block)
}

impl Error2 {
    fn relative(self) -> f32 {
        match self.value > 0.0 {
            true => (self.error / self.value).sqrt() as f32,
            false => 0.0,
        }
    }
}

/// Rows of a matrix, read ahead while they are asked for in order.
struct Rows<'a> {
    files: &'a Files,
    matrix: &'a Stored,
    buf: Vec<u8>,
    /// Rows in the buffer.
    held: std::ops::Range<usize>,
    /// The row that was asked for last.
    last: Option<usize>,
}

impl<'a> Rows<'a> {
    fn new(files: &'a Files, matrix: &'a Stored) -> Self {
        let rows = (BUFFER / matrix.row_bytes()).clamp(1, matrix.rows);
        Self {
            files,
            matrix,
            buf: vec![0; rows * matrix.row_bytes()],
            held: 0..0,
            last: None,
        }
    }

    fn row(&mut self, id: usize) -> Result<&[u8]> {
        let row_bytes = self.matrix.row_bytes();
        if !self.held.contains(&id) {
            let in_order = self.last.is_none_or(|last| last + 1 == id);
            let ahead = if in_order {
                self.buf.len() / row_bytes
            } else {
                1
            };
            let n = ahead.min(self.matrix.rows - id);
            let at = self.matrix.offset + (id * row_bytes) as u64;
            let buf = &mut self.buf[..n * row_bytes];
            self.files
                .read(self.matrix.file, at, buf, &self.matrix.name)?;
            self.held = id..id + n;
        }
        self.last = Some(id);
        Ok(&self.buf[(id - self.held.start) * row_bytes..][..row_bytes])
    }
}
