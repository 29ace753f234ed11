//! Orders loads ahead of their consumers and joins the units with semaphores.
//!
//! A *segment* is a run of unit instructions between control structures and fences. Within a
//! segment, program order defines the result; the passes keep it:
//!
//! 1. [`hoist_loads`] moves the load instructions that feed a matrix instruction (the weight
//!    stream itself, and vector loads that come before it) ahead of earlier matrix instructions,
//!    so that the stream buffer fills while other units work.
//! 2. [`join`] adds the fewest semaphore pairs such that every pair of conflicting instructions
//!    on different units is ordered, using what each unit already knows (vector clocks).
//!
//! Hoisting cannot deadlock: every wait is for an instruction earlier in program order, a weight
//! load is never ahead of a vector load that its consumer needs, and never so far ahead that
//! the load queue could fill before the matrix instruction that drains the stream is dispatched.

use crate::program::{Node, Region, UnitOp};
use lampyris_isa::{Insn, Unit};

/// Matrix instructions that a load may overtake.
const DISTANCE: usize = 3;

/// Schedules a tree of nodes for load queues of `queue_depth` entries.
pub fn schedule(nodes: Vec<Node>, queue_depth: usize) -> Vec<Node> {
    let mut out = Vec::with_capacity(nodes.len());
    let mut segment = Vec::new();
    let flush = |segment: &mut Vec<UnitOp>, out: &mut Vec<Node>| {
        let mut ops = hoist_loads(std::mem::take(segment), queue_depth);
        join(&mut ops);
        out.extend(ops.into_iter().map(Node::Unit));
    };
    for node in nodes {
        match node {
            Node::Unit(op) => segment.push(op),
            // Register arithmetic does not end a segment, but must stay where it is: the
            // instructions behind it read its result at dispatch.
            Node::Sys(..) => {
                flush(&mut segment, &mut out);
                out.push(node);
            }
            Node::Loop {
                reg,
                count,
                body,
                label,
            } => {
                flush(&mut segment, &mut out);
                out.push(Node::Loop {
                    reg,
                    count,
                    body: schedule(body, queue_depth),
                    label,
                });
            }
            Node::If { reg, body, label } => {
                flush(&mut segment, &mut out);
                out.push(Node::If {
                    reg,
                    body: schedule(body, queue_depth),
                    label,
                });
            }
        }
    }
    flush(&mut segment, &mut out);
    out
}

fn is_matrix(op: &UnitOp) -> bool {
    op.insn.unit() == Unit::Mm
}

fn is_load(op: &UnitOp) -> bool {
    op.insn.unit() == Unit::Ld
}

/// Position before which a load group may go: not before a store or other instruction whose
/// result it reads, nor before an instruction that touches the vector memory that it overwrites.
fn earliest(ops: &[UnitOp], loads: &[UnitOp]) -> usize {
    let conflicts = |op: &UnitOp, load: &UnitOp| {
        any_overlap(&op.writes, &load.reads)
            || any_overlap(&op.writes, &load.writes)
            || any_overlap(&op.reads, &load.writes)
    };
    let last = ops
        .iter()
        .rposition(|op| is_load(op) || loads.iter().any(|load| conflicts(op, load)));
    last.map_or(0, |at| at + 1)
}

/// Moves each group of loads ahead of up to [`DISTANCE`] matrix instructions.
fn hoist_loads(ops: Vec<UnitOp>, queue_depth: usize) -> Vec<UnitOp> {
    let mut out: Vec<UnitOp> = Vec::with_capacity(ops.len());
    let mut group: Vec<UnitOp> = Vec::new();
    for op in ops {
        if is_load(&op) {
            let closes = matches!(op.insn, Insn::LdW(_));
            group.push(op);
            if closes {
                place_group(&mut out, std::mem::take(&mut group), queue_depth);
            }
        } else {
            // A consumer of a vector load that no weight load follows: keep the order.
            if group
                .iter()
                .any(|load| any_overlap(&load.writes, &op.reads))
            {
                place_group(&mut out, std::mem::take(&mut group), queue_depth);
            }
            out.push(op);
        }
    }
    out.append(&mut group);
    out
}

/// Loads in the load queue, at worst, when a load is dispatched at the end of `ops`: those from
/// the first weight load on whose matrix instruction is not among `ops`.
fn queued_loads(ops: &[UnitOp]) -> usize {
    let consumed = ops.iter().filter(|op| is_matrix(op)).count();
    let mut weights = 0;
    let mut queued = 0;
    for op in ops.iter().filter(|op| is_load(op)) {
        weights += usize::from(matches!(op.insn, Insn::LdW(_)));
        queued += usize::from(weights > consumed);
    }
    queued
}

fn place_group(out: &mut Vec<UnitOp>, group: Vec<UnitOp>, queue_depth: usize) {
    let lower = earliest(out, &group);
    let mut at = out.len();
    let mut overtaken = 0;
    for i in (lower..out.len()).rev() {
        overtaken += usize::from(is_matrix(&out[i]));
        if overtaken > DISTANCE || queued_loads(&out[..i]) + group.len() > queue_depth {
            break;
        }
        at = i;
    }
    out.splice(at..at, group);
}

fn any_overlap(a: &[Region], b: &[Region]) -> bool {
    a.iter().any(|x| b.iter().any(|y| x.overlaps(y)))
}

/// Whether the order of two instructions matters.
fn conflict(first: &UnitOp, second: &UnitOp) -> bool {
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
fn latest_conflict(ops: &[UnitOp], i: usize, producer: usize, from: usize) -> Option<usize> {
    let is_conflict =
        |&j: &usize| ops[j].insn.unit() as usize == producer && conflict(&ops[j], &ops[i]);
    (from..i).rev().find(is_conflict)
}

/// Adds semaphores to a straight segment that starts and ends with all units idle and all
/// semaphores zero.
fn join(ops: &mut [UnitOp]) {
    let mut known = [[0usize; 4]; 4];
    let mut at_retire: Vec<Clock> = vec![[0; 4]; ops.len()];
    for i in 0..ops.len() {
        let unit = ops[i].insn.unit() as usize;
        // The latest conflict on each unit, latest first: it may already know of the others.
        let mut conflicts: Vec<usize> = (0..4)
            .filter(|&producer| producer != unit)
            .filter_map(|producer| latest_conflict(ops, i, producer, known[unit][producer]))
            .collect();
        conflicts.sort_unstable_by(|a, b| b.cmp(a));
        for j in conflicts {
            let producer = ops[j].insn.unit() as usize;
            if j < known[unit][producer] {
                continue;
            }
            add_mask(&mut ops[j], "post", unit);
            add_mask(&mut ops[i], "wait", producer);
            merge(&mut known[unit], &at_retire[j]);
        }
        at_retire[i] = known[unit];
        at_retire[i][unit] = i + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(text: &str, reads: Vec<Region>, writes: Vec<Region>) -> UnitOp {
        UnitOp {
            insn: Insn::parse(text).unwrap(),
            reads,
            writes,
            label: String::new(),
        }
    }

    fn text(ops: &[UnitOp]) -> Vec<String> {
        ops.iter().map(|o| o.insn.to_string()).collect()
    }

    #[test]
    fn join_orders_producer_and_consumer_once() {
        let v = Region::vmem(0, 8);
        let mut ops = vec![
            op("ld.v count=8", vec![], vec![v]),
            op("vop n=8", vec![v], vec![]),
            op("vop n=4", vec![v], vec![]),
            op("ld.v count=4", vec![], vec![v]),
        ];
        join(&mut ops);
        assert_eq!(
            text(&ops),
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
        let mut ops = vec![
            op("ld.v count=8", vec![], vec![v]),
            op("quant n=8", vec![v], vec![x]),
            op("mv groups=1", vec![x], vec![v]),
        ];
        join(&mut ops);
        // mv overwrites what ld.v wrote, but it knows from quant that ld.v is complete.
        assert_eq!(text(&ops)[2], "mv wait=8 groups=1");
        assert_eq!(text(&ops)[0], "ld.v post=8 count=8");
    }

    #[test]
    fn hoist_moves_weights_over_earlier_matrix_work_but_not_over_the_store_they_read() {
        let kv = Region::dram(0, 64);
        let ops = vec![
            op("ld.w count=1", vec![], vec![]),
            op("mv groups=1", vec![], vec![]),
            op("st.k blocks=1", vec![], vec![kv]),
            op("mv groups=2", vec![], vec![]),
            op("ld.w count=2", vec![kv], vec![]),
            op("mv groups=3", vec![], vec![]),
            op("ld.w count=3", vec![], vec![]),
            op("mv groups=4", vec![], vec![]),
        ];
        let got = text(&hoist_loads(ops, 8));
        assert_eq!(
            got,
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
}
