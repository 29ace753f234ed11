//! Which rows of which matrix stay in memory, and how the others are read.
//!
//! A *sweep* uses every matrix once, in a fixed order. From each matrix the first rows are
//! resident and the last rows stream; what streams is spread evenly over the sweep, so that the
//! device reads at a constant rate while the resident rows are computed. (Pinning whole layers
//! instead would leave the device idle during them, unless the buffers held whole layers.)
//!
//! Streamed rows are read in *units*: one request each, aligned for direct I/O. Neighbouring
//! small matrices that lie side by side in the file share a unit.

use lampyris_flash::TensorType;

/// A matrix as the layout sees it: rows of equal length, one after the other in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatrixDesc {
    pub(crate) name: String,
    pub(crate) ty: TensorType,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_bytes: usize,
    pub(crate) file: usize,
    pub(crate) offset: u64,
    /// Matrices of one group (a layer) may share a unit.
    pub(crate) group: usize,
}

impl MatrixDesc {
    pub(crate) fn bytes(&self) -> u64 {
        self.rows as u64 * self.row_bytes as u64
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes()
    }
}

/// Rows of one matrix inside a unit's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) unit: usize,
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    /// Where the first row begins in the buffer.
    pub(crate) start: usize,
}

/// One read request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) file: usize,
    /// Aligned.
    pub(crate) offset: u64,
    /// Aligned; the file may end before.
    pub(crate) len: usize,
    /// Bytes from `offset` that hold rows; a read must return at least these.
    pub(crate) needed: usize,
    /// Pieces that use it.
    pub(crate) pieces: usize,
}

/// How a matrix's rows are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rows {
    /// Rows `0..resident` are in memory.
    pub(crate) resident: usize,
    /// Their place in the arena.
    pub(crate) arena: usize,
    /// The other rows, in order.
    pub(crate) pieces: Vec<Piece>,
}

/// Sizes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grain {
    /// Alignment of offsets and lengths.
    pub(crate) align: usize,
    /// Largest payload of a unit.
    pub(crate) chunk: usize,
}

impl Grain {
    /// Bytes of a buffer that holds any unit.
    pub(crate) fn buffer(self) -> usize {
        self.chunk.next_multiple_of(self.align) + self.align
    }
}

/// Alignment of each matrix in the arena: a cache line.
const ARENA_ALIGN: usize = 64;

/// The whole layout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    /// By matrix.
    pub(crate) rows: Vec<Rows>,
    /// In order of first use.
    pub(crate) units: Vec<Unit>,
    pub(crate) arena_bytes: usize,
    /// Rows read per sweep, without alignment slop.
    pub(crate) payload_bytes: u64,
    /// Bytes read per sweep.
    pub(crate) read_bytes: u64,
}

impl Layout {
    /// The layout with as much as possible resident within `arena` bytes.
    ///
    /// `arena` may be 0: then everything streams.
    pub(crate) fn fit(matrices: &[MatrixDesc], grain: Grain, arena: u64) -> Self {
        let all = Self::with_fraction(matrices, grain, 0.0);
        if all.arena_bytes as u64 <= arena {
            return all;
        }
        // Bytes are monotonic in the fraction up to the size of a unit: bisect, keep what fits.
        let (mut low, mut high) = (0.0f64, 1.0f64);
        let mut best = Self::with_fraction(matrices, grain, 1.0);
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            let layout = Self::with_fraction(matrices, grain, middle);
            if layout.arena_bytes as u64 <= arena {
                if layout.payload_bytes <= best.payload_bytes {
                    best = layout;
                }
                high = middle;
            } else {
                low = middle;
            }
        }
        best
    }

    /// Streams `fraction` of all bytes.
    fn with_fraction(matrices: &[MatrixDesc], grain: Grain, fraction: f64) -> Self {
        let mut layout = Self {
            rows: vec![Rows::default(); matrices.len()],
            ..Self::default()
        };
        // Bytes that should have been streamed up to here, less those that are.
        let mut debt = 0.0f64;
        let mut i = 0;
        while i < matrices.len() {
            let n = shared(&matrices[i..], grain);
            let bytes: u64 = matrices[i..i + n].iter().map(MatrixDesc::bytes).sum();
            debt += fraction * bytes as f64;
            if n > 1 || bytes <= grain.chunk as u64 {
                // Small: all or nothing, whichever is closer to what is owed.
                if fraction > 0.0 && debt * 2.0 >= bytes as f64 {
                    layout.stream_together(matrices, i..i + n, grain);
                    debt -= bytes as f64;
                }
            } else {
                debt -= layout.stream_tail(matrices, i, grain, debt);
            }
            i += n;
        }
        layout.place(matrices);
        layout
    }

    /// Streams whole matrices that share units.
    fn stream_together(
        &mut self,
        matrices: &[MatrixDesc],
        range: std::ops::Range<usize>,
        grain: Grain,
    ) {
        let first = matrices[range.clone()].iter().map(|m| m.offset).min();
        let end = matrices[range.clone()].iter().map(MatrixDesc::end).max();
        let (Some(first), Some(end)) = (first, end) else {
            return;
        };
        let unit = self.add_unit(matrices[range.start].file, first, end, grain, range.len());
        for m in range {
            let start = (matrices[m].offset - self.units[unit].offset) as usize;
            self.rows[m].pieces.push(Piece {
                unit,
                first_row: 0,
                rows: matrices[m].rows,
                start,
            });
            self.payload_bytes += matrices[m].bytes();
        }
    }

    /// Streams about `debt` bytes from the end of one matrix; returns how many.
    fn stream_tail(&mut self, matrices: &[MatrixDesc], m: usize, grain: Grain, debt: f64) -> f64 {
        let desc = &matrices[m];
        let per_unit = (grain.chunk / desc.row_bytes).max(1);
        let wanted = (debt / desc.row_bytes as f64).round().max(0.0) as usize;
        // A short read costs nearly as much as a full one: wait until half a unit is owed.
        if wanted < per_unit.div_ceil(2).min(desc.rows) {
            self.rows[m].resident = desc.rows;
            return 0.0;
        }
        let streamed = wanted.min(desc.rows);
        let resident = desc.rows - streamed;
        // Units of equal size, so that none is short.
        let units = streamed.div_ceil(per_unit);
        for u in 0..units {
            let first_row = resident + streamed * u / units;
            let end_row = resident + streamed * (u + 1) / units;
            let from = desc.offset + (first_row * desc.row_bytes) as u64;
            let to = desc.offset + (end_row * desc.row_bytes) as u64;
            let unit = self.add_unit(desc.file, from, to, grain, 1);
            let start = (from - self.units[unit].offset) as usize;
            self.rows[m].pieces.push(Piece {
                unit,
                first_row,
                rows: end_row - first_row,
                start,
            });
        }
        self.rows[m].resident = resident;
        let bytes = streamed as u64 * desc.row_bytes as u64;
        self.payload_bytes += bytes;
        bytes as f64
    }

    fn add_unit(&mut self, file: usize, from: u64, to: u64, grain: Grain, pieces: usize) -> usize {
        let align = grain.align as u64;
        let offset = from / align * align;
        let len = (to - offset).next_multiple_of(align) as usize;
        self.units.push(Unit {
            file,
            offset,
            len,
            needed: (to - offset) as usize,
            pieces,
        });
        self.read_bytes += len as u64;
        self.units.len() - 1
    }

    /// Gives the resident rows their places in the arena.
    fn place(&mut self, matrices: &[MatrixDesc]) {
        for (rows, desc) in self.rows.iter_mut().zip(matrices) {
            if rows.pieces.is_empty() {
                rows.resident = desc.rows;
            }
            rows.arena = self.arena_bytes;
            let bytes = rows.resident * desc.row_bytes;
            self.arena_bytes += bytes.next_multiple_of(ARENA_ALIGN);
        }
    }

    /// Largest request.
    pub(crate) fn largest_unit(&self) -> usize {
        self.units.iter().map(|u| u.len).max().unwrap_or(0)
    }

    /// The units in order of first use by the first `matrices` of the sweep.
    pub(crate) fn units_before(&self, matrices: usize) -> usize {
        let pieces = self.rows[..matrices].iter().flat_map(|r| &r.pieces);
        pieces.map(|p| p.unit + 1).max().unwrap_or(0)
    }

    /// Buffers that a sweep holds at once at most, counting the one that it waits for.
    pub(crate) fn held_at_most(&self) -> usize {
        let mut left: Vec<usize> = self.units.iter().map(|u| u.pieces).collect();
        let (mut held, mut most) = (0usize, 0);
        for piece in self.rows.iter().flat_map(|r| &r.pieces) {
            let unit = &self.units[piece.unit];
            if left[piece.unit] == unit.pieces {
                held += 1;
                most = most.max(held);
            }
            left[piece.unit] -= 1;
            if left[piece.unit] == 0 {
                held -= 1;
            }
        }
        most
    }
}

/// How many of the first matrices lie side by side in one file and fit one unit together.
fn shared(matrices: &[MatrixDesc], grain: Grain) -> usize {
    let first = &matrices[0];
    let (mut from, mut to, mut bytes) = (first.offset, first.end(), first.bytes());
    let mut n = 1;
    // A group may be out of order in the file: try longer prefixes even when a shorter one has
    // a gap, as long as everything could still fit.
    let mut longest = 1;
    while let Some(next) = matrices.get(n) {
        if next.group != first.group || next.file != first.file {
            break;
        }
        bytes += next.bytes();
        if bytes > grain.chunk as u64 {
            break;
        }
        from = from.min(next.offset);
        to = to.max(next.end());
        n += 1;
        // Norm vectors and padding between the matrices are read with them.
        if to - from <= bytes + bytes / 32 && to - from <= grain.chunk as u64 {
            longest = n;
        }
    }
    longest
}

#[cfg(test)]
mod tests;
