//! Places for sections, matrices, vectors and bundles.

use crate::container::{
    MATRIX_ALIGN, SECTION_ALIGN, UNIT_BYTES,
    header::{Grid, LinearEntry, Matrix, NormEntry, Section, Type, Vector},
};
use crate::index::{Linear, Norm, Stored};

/// Groups of neurons begin at multiples of this: what direct I/O can read without waste.
const GROUP_ALIGN: usize = 4096;

/// The vectors' section as it grows.
#[derive(Default)]
pub(super) struct Vectors {
    /// Offset of the section in the file.
    pub(super) base: u64,
    pub(super) data: Vec<u8>,
}

impl Vectors {
    fn put(&mut self, words: impl ExactSizeIterator<Item = [u8; 4]>) -> Vector {
        let len = words.len() as u64;
        let at = self.data.len().next_multiple_of(MATRIX_ALIGN as usize);
        self.data.resize(at, 0);
        self.data.extend(words.flatten());
        Vector {
            offset: self.base + at as u64,
            len,
        }
    }

    pub(super) fn floats(&mut self, values: &[f32]) -> Vector {
        self.put(values.iter().map(|v| v.to_le_bytes()))
    }

    pub(super) fn ids(&mut self, values: &[u32]) -> Vector {
        self.put(values.iter().map(|v| v.to_le_bytes()))
    }

    pub(super) fn bias(&mut self, bias: Option<&Vec<f32>>) -> Option<Vector> {
        bias.map(|values| self.floats(values))
    }

    pub(super) fn norm(&mut self, norm: &Norm) -> NormEntry {
        NormEntry {
            weight: self.floats(&norm.weight),
            bias: self.bias(norm.bias.as_ref()),
        }
    }
}

/// Matrices of one section, one after the other.
pub(super) struct Matrices {
    base: u64,
    /// Bytes so far.
    end: u64,
    /// What to copy, and where to in the file.
    pub(super) copies: Vec<(Stored, u64)>,
}

impl Matrices {
    pub(super) fn new(base: u64) -> Self {
        Self {
            base,
            end: 0,
            copies: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    pub(super) fn matrix(&mut self, stored: &Stored) -> Matrix {
        let offset = self.base + self.end.next_multiple_of(MATRIX_ALIGN);
        self.end = offset - self.base + stored.bytes();
        self.copies.push((stored.clone(), offset));
        Matrix {
            ty: Type(stored.ty),
            rows: stored.rows as u64,
            cols: stored.cols as u64,
            offset,
        }
    }

    pub(super) fn linear(&mut self, linear: &Linear, vectors: &mut Vectors) -> LinearEntry {
        LinearEntry {
            weight: self.matrix(&linear.weight),
            bias: vectors.bias(linear.bias.as_ref()),
        }
    }
}

/// A section of plain units, still without its hash.
pub(super) fn section(name: &str, offset: u64, bytes: u64) -> Section {
    Section {
        name: name.into(),
        offset,
        bytes,
        sha256: String::new(),
        grid: Grid::plain(UNIT_BYTES),
    }
}

/// Where the next section begins.
pub(super) fn after(offset: u64, bytes: u64) -> u64 {
    (offset + bytes).next_multiple_of(SECTION_ALIGN)
}

/// Neurons in a group of about `target` bytes, and the distance of groups: of the group sizes
/// between half the target and the target, the one that wastes least.
pub(super) fn group(bundle_bytes: usize, target: usize, neurons: usize) -> (usize, usize) {
    let most = (target / bundle_bytes).clamp(1, neurons);
    let padded = |n: usize| (n * bundle_bytes).next_multiple_of(GROUP_ALIGN);
    // Waste per byte of neurons, compared without rounding; of equal ones the larger group.
    let waste = |n: usize| ((padded(n) - n * bundle_bytes) as u128, n as u128);
    let best = (most.div_ceil(2)..=most).rev().min_by(|&a, &b| {
        let ((wa, na), (wb, nb)) = (waste(a), waste(b));
        (wa * nb).cmp(&(wb * na))
    });
    let n = best.unwrap_or(1);
    (n, padded(n))
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn groups_waste_little() {
        // One neuron of a 7B model in binary16: whole pages.
        assert_eq!(group(24576, 65536, 14336), (2, 49152));
        // 16 of them fill 35 pages exactly, but 7 are what fits.
        assert_eq!(group(8960, 65536, 14336), (5, 45056));
        assert_eq!(group(8960, 150_000, 14336), (16, 143_360));
        // Larger than the target: one by one, in whole pages.
        assert_eq!(group(8960, 4096, 14336), (1, 12288));
        // Fewer neurons than the target holds.
        let (n, bytes) = group(100, 65536, 24);
        assert!((12..=24).contains(&n) && bytes == 4096);
    }
}
