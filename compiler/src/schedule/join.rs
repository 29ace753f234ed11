//! Joins the units with semaphores.

use super::{Item, any_overlap};
use crate::program::UnitOp;
use lampyris_isa::Unit;

/// Whether the order of two instructions matters.
pub(super) fn conflict(first: &UnitOp, second: &UnitOp) -> bool {
    any_overlap(&first.writes, &second.reads)
        || any_overlap(&first.writes, &second.writes)
        || any_overlap(&first.reads, &second.writes)
}

/// For each unit, one past the index of the last instruction known to be complete.
type Clock = [usize; 4];

fn merge(into: &mut Clock, other: &Clock) {
    for (a, b) in into.iter_mut().zip(other) {
        *a = (*a).max(*b);
    }
}

fn add_mask(op: &mut UnitOp, field: &str, unit: usize) {
    let old = op.insn.field(field).expect("unit instructions have masks");
    op.insn = op
        .insn
        .with_field(field, old | 1 << unit)
        .expect("field exists");
}

/// The last instruction of `producer` before `i`, from index `from`, that conflicts with `i`.
fn latest_conflict(items: &[Item], i: usize, producer: usize, from: usize) -> Option<usize> {
    let is_conflict = |&j: &usize| {
        items[j].op.insn.unit() as usize == producer && conflict(&items[j].op, &items[i].op)
    };
    (from..i).rev().find(is_conflict)
}

/// Adds the fewest semaphore pairs such that every pair of conflicting instructions on different
/// units is ordered, using what each unit already knows (vector clocks), to a straight segment
/// that starts and ends with all units idle and all semaphores zero.
pub(super) fn join(items: &mut [Item]) {
    let mut known = [[0usize; 4]; 4];
    let mut at_retire: Vec<Clock> = vec![[0; 4]; items.len()];
    for i in 0..items.len() {
        let unit = items[i].op.insn.unit();
        if unit == Unit::Sys {
            continue;
        }
        let unit = unit as usize;
        // The latest conflict on each unit, latest first: it may already know of the others.
        let mut conflicts: Vec<usize> = (0..4)
            .filter(|&producer| producer != unit)
            .filter_map(|producer| latest_conflict(items, i, producer, known[unit][producer]))
            .collect();
        conflicts.sort_unstable_by(|a, b| b.cmp(a));
        for j in conflicts {
            let producer = items[j].op.insn.unit() as usize;
            if j < known[unit][producer] {
                continue;
            }
            add_mask(&mut items[j].op, "post", unit);
            add_mask(&mut items[i].op, "wait", producer);
            merge(&mut known[unit], &at_retire[j]);
        }
        at_retire[i] = known[unit];
        at_retire[i][unit] = i + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{item, text};
    use super::*;
    use crate::program::Region;

    #[test]
    fn join_orders_producer_and_consumer_once() {
        let v = Region::vmem(0, 8);
        let mut items = vec![
            item("ld.v count=8", vec![], vec![v]),
            item("vop n=8", vec![v], vec![]),
            item("vop n=4", vec![v], vec![]),
            item("ld.v count=4", vec![], vec![v]),
        ];
        join(&mut items);
        assert_eq!(
            text(&items),
            [
                "ld.v post=8 count=8",
                "vop wait=1 n=8",
                "vop post=1 n=4",
                "ld.v wait=8 count=4"
            ]
        );
    }

    #[test]
    fn join_uses_what_a_third_unit_already_knows() {
        let (v, x) = (Region::vmem(0, 8), Region::xbuf(0, 1));
        let mut items = vec![
            item("ld.v count=8", vec![], vec![v]),
            item("quant n=8", vec![v], vec![x]),
            item("mv groups=1", vec![x], vec![v]),
        ];
        join(&mut items);
        // mv overwrites what ld.v wrote, but it knows from quant that ld.v is complete.
        assert_eq!(text(&items)[2], "mv wait=8 groups=1");
        assert_eq!(text(&items)[0], "ld.v post=8 count=8");
    }
}
