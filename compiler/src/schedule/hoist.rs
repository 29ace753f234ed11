//! Moves loads ahead of the matrix instructions before them, so that the stream buffer fills
//! while other units work.

use super::{Item, join::conflict};
use crate::program::UnitOp;
use lampyris_isa::{Insn, Unit};

/// Matrix instructions that a load may overtake.
const DISTANCE: usize = 8;

fn is_matrix(op: &UnitOp) -> bool {
    op.insn.unit() == Unit::Mm
}

fn is_load(op: &UnitOp) -> bool {
    op.insn.unit() == Unit::Ld
}

fn is_weights(op: &UnitOp) -> bool {
    matches!(op.insn, Insn::LdW(_))
}

/// Masks of the registers that an instruction reads and writes, without register 0.
fn registers(insn: &Insn) -> (u32, u32) {
    let mask = |selectors: &[u8]| selectors.iter().fold(0u32, |m, r| m | 1 << r) & !1;
    match insn {
        Insn::Alu(alu) if alu.use_imm == 1 => (mask(&[alu.rs]), mask(&[alu.rd])),
        Insn::Alu(alu) => (mask(&[alu.rs, alu.rt]), mask(&[alu.rd])),
        // Five selectors at the same place in every unit instruction.
        other => {
            let word = other.encode()[0];
            let selectors: [u8; 5] = std::array::from_fn(|i| (word >> (16 + 5 * i) & 31) as u8);
            (mask(&selectors), 0)
        }
    }
}

/// Marks the weight loads after which a matrix instruction has all its weights: weight loads that
/// follow each other directly are parts of what one consumes.
fn mark_feeding(items: &mut [Item]) {
    for i in 0..items.len() {
        let next = items.get(i + 1).is_some_and(|next| is_weights(&next.op));
        items[i].feeds = is_weights(&items[i].op) && !next;
    }
}

/// Moves each group of loads (the weight loads of one product with the vector loads before) ahead of up to
/// [`DISTANCE`] matrix instructions. Register arithmetic that a group needs moves with it.
pub(super) fn hoist_loads(mut items: Vec<Item>, queue_depth: usize) -> Vec<Item> {
    mark_feeding(&mut items);
    let mut out = Hoisted {
        items: Vec::with_capacity(items.len()),
        queue_depth,
        weights: 0,
        matrices: 0,
    };
    let mut group: Vec<Item> = Vec::new();
    for item in items {
        if is_load(&item.op) {
            let closes = item.feeds;
            group.push(item);
            if closes {
                out.place(std::mem::take(&mut group));
            }
            continue;
        }
        // Something that the waiting loads must stay ahead of.
        let written = registers(&item.op.insn).1;
        let bound =
            |load: &Item| conflict(&load.op, &item.op) || registers(&load.op.insn).0 & written != 0;
        if group.iter().any(bound) {
            out.place(std::mem::take(&mut group));
        }
        out.push(item);
    }
    for load in group {
        out.push(load);
    }
    out.items
}

/// The segment as far as it is ordered.
struct Hoisted {
    items: Vec<Item>,
    queue_depth: usize,
    /// Products among them whose weights are loaded.
    weights: usize,
    /// Matrix instructions among them.
    matrices: usize,
}

/// Register arithmetic that goes along with a group of loads.
#[derive(Default)]
struct Carried {
    /// Indices, last first.
    at: Vec<usize>,
    reads: u32,
    writes: u32,
}

impl Carried {
    /// Takes the arithmetic at `i` along if the group, or what is carried already, depends on
    /// its place.
    fn meet(&mut self, i: usize, insn: &Insn) {
        let (reads, writes) = registers(insn);
        if writes & (self.reads | self.writes) != 0 || reads & self.writes != 0 {
            self.at.push(i);
            self.reads |= reads;
            self.writes |= writes;
        }
    }
}

impl Hoisted {
    fn push(&mut self, item: Item) {
        self.weights += usize::from(item.feeds);
        self.matrices += usize::from(is_matrix(&item.op));
        self.items.push(item);
    }

    /// Inserts a group at the earliest place that keeps every order that matters: loads stay in
    /// order, a load stays behind what it conflicts with, and no instruction sees a register
    /// other than it did. Never so far ahead that the load queue could fill before the matrix
    /// instruction that drains the stream is dispatched.
    fn place(&mut self, group: Vec<Item>) {
        let mut carried = Carried {
            reads: group
                .iter()
                .fold(0, |m, load| m | registers(&load.op.insn).0),
            ..Carried::default()
        };
        let (mut at, mut taken) = (self.items.len(), 0);
        let (mut overtaken, mut weights) = (0, self.weights);
        for i in (0..self.items.len()).rev() {
            let op = &self.items[i].op;
            if op.insn.unit() == Unit::Sys {
                carried.meet(i, &op.insn);
                continue;
            }
            let fixed = is_load(op)
                || group.iter().any(|load| conflict(op, &load.op))
                || registers(&op.insn).0 & carried.writes != 0;
            overtaken += usize::from(is_matrix(op));
            weights -= usize::from(self.items[i].feeds);
            let consumed = self.matrices - overtaken;
            let queued = self.queued(i, weights.saturating_sub(consumed)) + group.len();
            if fixed || overtaken > DISTANCE || queued > self.queue_depth {
                break;
            }
            (at, taken) = (i, carried.at.len());
        }
        self.insert(at, &carried.at[..taken], group);
    }

    /// Loads in the load queue, at worst, when a load is dispatched at `end`: those from the
    /// first weight load of the last `waiting` products on, whose matrix instructions come later.
    fn queued(&self, end: usize, mut waiting: usize) -> usize {
        let mut queued = 0;
        for item in self.items[..end].iter().rev() {
            let part = is_weights(&item.op) && !item.feeds;
            if waiting == 0 && !part {
                break;
            }
            queued += usize::from(is_load(&item.op));
            waiting -= usize::from(item.feeds);
        }
        queued
    }

    fn insert(&mut self, at: usize, carried: &[usize], group: Vec<Item>) {
        self.weights += group.iter().filter(|load| load.feeds).count();
        // Indices are descending, so that those still to come stay valid.
        let mut moved: Vec<Item> = carried.iter().map(|&i| self.items.remove(i)).collect();
        moved.reverse();
        self.items.splice(at..at, moved.into_iter().chain(group));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{item, text};
    use super::*;
    use crate::program::Region;

    #[test]
    fn weights_move_over_earlier_matrix_work_but_not_over_the_store_they_read() {
        let kv = Region::dram(0, 64);
        let items = vec![
            item("ld.w count=1", vec![], vec![]),
            item("mv groups=1", vec![], vec![]),
            item("st.k blocks=1", vec![], vec![kv]),
            item("mv groups=2", vec![], vec![]),
            item("ld.w count=2", vec![kv], vec![]),
            item("mv groups=3", vec![], vec![]),
            item("ld.w count=3", vec![], vec![]),
            item("mv groups=4", vec![], vec![]),
        ];
        assert_eq!(
            text(&hoist_loads(items, 8)),
            [
                "ld.w count=1",
                "mv groups=1",
                "st.k blocks=1",
                "ld.w count=2",
                "ld.w count=3",
                "mv groups=2",
                "mv groups=3",
                "mv groups=4"
            ]
        );
    }

    #[test]
    fn arithmetic_moves_with_the_load_that_needs_it_and_not_over_its_other_readers() {
        let step = "alu rd=9 rs=9 use_imm=1 imm=64";
        let items = |reader: &str| {
            vec![
                item("ld.w rbase=9 count=1", vec![], vec![]),
                item(reader, vec![], vec![]),
                item("mv groups=2", vec![], vec![]),
                item(step, vec![], vec![]),
                item("ld.w rbase=9 count=2", vec![], vec![]),
                item("mv groups=3", vec![], vec![]),
            ]
        };
        let free = text(&hoist_loads(items("mv groups=1"), 8));
        assert_eq!(
            free,
            [
                "ld.w rbase=9 count=1",
                step,
                "ld.w rbase=9 count=2",
                "mv groups=1",
                "mv groups=2",
                "mv groups=3"
            ]
        );
        let bound = text(&hoist_loads(items("mv rx=9 groups=1"), 8));
        assert_eq!(
            bound,
            [
                "ld.w rbase=9 count=1",
                "mv rx=9 groups=1",
                step,
                "ld.w rbase=9 count=2",
                "mv groups=2",
                "mv groups=3"
            ]
        );
    }

    #[test]
    fn weight_loads_of_one_product_move_together_and_count_as_one() {
        let items = vec![
            item("ld.w count=1", vec![], vec![]),
            item("ld.w count=2", vec![], vec![]),
            item("mv groups=1", vec![], vec![]),
            item("ld.w count=3", vec![], vec![]),
            item("ld.w count=4", vec![], vec![]),
            item("mv groups=2", vec![], vec![]),
            item("ld.w count=5", vec![], vec![]),
            item("mv groups=3", vec![], vec![]),
        ];
        // A queue of four holds the loads of two products before the first is dispatched, and a
        // third's not before that.
        assert_eq!(
            text(&hoist_loads(items, 4)),
            [
                "ld.w count=1",
                "ld.w count=2",
                "ld.w count=3",
                "ld.w count=4",
                "mv groups=1",
                "ld.w count=5",
                "mv groups=2",
                "mv groups=3"
            ]
        );
    }

    #[test]
    fn a_load_that_waits_for_its_group_stays_ahead_of_what_changes_its_register() {
        let v = Region::vmem(0, 8);
        let items = vec![
            item("ld.v rbase=9 count=8", vec![], vec![v]),
            item("alu rd=9 rs=9 use_imm=1 imm=64", vec![], vec![]),
            item("ld.w rbase=9 count=2", vec![], vec![]),
            item("mv groups=3", vec![], vec![]),
        ];
        let want = text(&items);
        assert_eq!(text(&hoist_loads(items, 8)), want);
    }
}
