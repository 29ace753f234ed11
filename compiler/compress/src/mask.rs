//! Which weights an N:M sparse format keeps.

use crate::grid::LONGEST;
use lampyris_flash::block::{QK, Sparsity};

/// The kept columns of one block of a sparse format.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    sparsity: Sparsity,
    /// Columns in the block, ascending within each group.
    columns: [u8; QK],
    kept: [bool; LONGEST],
}

impl Mask {
    /// Keeps, in each group, the columns with the highest scores; of equal ones the first.
    pub(crate) fn new(sparsity: Sparsity, scores: &[f32]) -> Self {
        let mut kept = [false; LONGEST];
        let mut columns = [0; QK];
        let groups = scores.chunks_exact(sparsity.group());
        for (group, (scores, columns)) in groups
            .zip(columns.chunks_exact_mut(sparsity.kept()))
            .enumerate()
        {
            let mut order: Vec<usize> = (0..sparsity.group()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            order.truncate(sparsity.kept());
            order.sort_unstable();
            for (column, index) in columns.iter_mut().zip(order) {
                let at = group * sparsity.group() + index;
                *column = at as u8;
                kept[at] = true;
            }
        }
        Self {
            sparsity,
            columns,
            kept,
        }
    }

    pub(crate) fn sparsity(&self) -> Sparsity {
        self.sparsity
    }

    pub(crate) fn keeps(&self, column: usize) -> bool {
        self.kept[column]
    }

    /// The column of field `j` of the stored block.
    pub(crate) fn column(&self, j: usize) -> usize {
        self.columns[j].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_keeps_its_best() {
        let sparsity = Sparsity::S2Of4;
        let mut scores = vec![0.0; 64];
        scores[..8].copy_from_slice(&[0.1, 0.4, 0.3, 0.2, 5.0, 1.0, 1.0, 6.0]);
        let mask = Mask::new(sparsity, &scores);
        assert_eq!([0, 1, 2, 3].map(|j| mask.column(j)), [1, 2, 4, 7]);
        assert!(mask.keeps(1) && !mask.keeps(0));
        assert_eq!((0..64).filter(|&c| mask.keeps(c)).count(), 32);
        // Equal scores: the first two.
        assert_eq!((mask.column(30), mask.column(31)), (60, 61));
    }
}
