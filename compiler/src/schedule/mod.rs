//! Orders loads ahead of their consumers and joins the units with semaphores.
//!
//! A *segment* is a run of instructions between control structures and fences: those of units, and
//! register arithmetic between them. Loops whose body is one segment, with a count known here, are
//! part of the segment around them (see [`roll`]), so that the weight stream does not stop at the
//! border of a layer. Within a segment, program order defines the result; the passes keep it:
//!
//! 1. [`hoist::hoist_loads`] moves the load instructions that feed a matrix instruction (the weight
//!    stream itself, and vector loads that come before it) ahead of earlier matrix instructions.
//! 2. [`join::join`] adds the fewest semaphore pairs such that every pair of conflicting
//!    instructions on different units is ordered.
//! 3. [`roll::roll`] makes loops again of the copies of their bodies.
//!
//! Hoisting cannot deadlock: every wait is for an instruction earlier in program order, a weight
//! load is never ahead of a vector load that its consumer needs, and never so far ahead that
//! the load queue could fill before the matrix instruction that drains the stream is dispatched.

mod hoist;
mod join;
mod roll;

use crate::program::{Node, Region, UnitOp};
use lampyris_isa::Insn;
use roll::{COPIES, Loop, Place};

/// An instruction of a segment.
#[derive(Clone, Debug)]
struct Item {
    /// Of a unit, or register arithmetic, which touches no storage.
    op: UnitOp,
    /// Where in which loop it comes from.
    place: Option<Place>,
}

impl Item {
    fn into_node(self) -> Node {
        match self.op.insn {
            Insn::Alu(_) => Node::Sys(self.op.insn, self.op.label),
            _ => Node::Unit(self.op),
        }
    }
}

/// A segment under construction.
#[derive(Default)]
struct Segment {
    items: Vec<Item>,
    loops: Vec<Loop>,
    /// What it was made of, should its loops not overlap.
    nodes: Vec<Node>,
}

/// Schedules a tree of nodes for load queues of `queue_depth` entries.
pub fn schedule(nodes: Vec<Node>, queue_depth: usize) -> Vec<Node> {
    let mut out = Vec::with_capacity(nodes.len());
    let mut segment = Segment::default();
    for node in nodes {
        if segment.take(&node) {
            segment.nodes.push(node);
            continue;
        }
        out.append(&mut std::mem::take(&mut segment).finish(queue_depth));
        out.push(with_body_scheduled(node, queue_depth));
    }
    out.append(&mut segment.finish(queue_depth));
    out
}

fn with_body_scheduled(mut node: Node, queue_depth: usize) -> Node {
    if let Node::Loop { body, .. } | Node::If { body, .. } = &mut node {
        *body = schedule(std::mem::take(body), queue_depth);
    }
    node
}

/// The instruction of a node that can be part of a segment.
fn straight(node: &Node) -> Option<UnitOp> {
    match node {
        Node::Unit(op) => Some(op.clone()),
        Node::Sys(insn @ Insn::Alu(_), label) => Some(UnitOp {
            insn: *insn,
            reads: vec![],
            writes: vec![],
            label: label.clone(),
        }),
        _ => None,
    }
}

impl Segment {
    /// Adds a node, if it can be part of a segment.
    fn take(&mut self, node: &Node) -> bool {
        if let Some(op) = straight(node) {
            self.items.push(Item { op, place: None });
            return true;
        }
        let Node::Loop {
            reg: 0,
            count,
            body,
            label,
            ..
        } = node
        else {
            return false;
        };
        let Some(body) = body.iter().map(straight).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let (of, copies) = (self.loops.len(), COPIES.min(*count as usize));
        for copy in 0..copies {
            let item = |(index, op): (usize, &UnitOp)| Item {
                op: op.clone(),
                place: Some(Place { of, copy, index }),
            };
            self.items.extend(body.iter().enumerate().map(item));
        }
        self.loops.push(Loop {
            count: *count,
            copies,
            label: label.clone(),
        });
        true
    }

    fn finish(self, queue_depth: usize) -> Vec<Node> {
        let mut items = hoist::hoist_loads(self.items, queue_depth);
        join::join(&mut items);
        if let Some(nodes) = roll::roll(items, &self.loops) {
            return nodes;
        }
        // Fences around and within such a loop cost time, but are always right.
        let mut out = Vec::new();
        let mut straight = Segment::default();
        for node in self.nodes {
            if matches!(node, Node::Loop { .. }) {
                out.append(&mut std::mem::take(&mut straight).finish(queue_depth));
                out.push(with_body_scheduled(node, queue_depth));
            } else {
                straight.take(&node);
                straight.nodes.push(node);
            }
        }
        out.append(&mut straight.finish(queue_depth));
        out
    }
}

fn any_overlap(a: &[Region], b: &[Region]) -> bool {
    a.iter().any(|x| b.iter().any(|y| x.overlaps(y)))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn item(text: &str, reads: Vec<Region>, writes: Vec<Region>) -> Item {
        Item {
            op: UnitOp {
                insn: Insn::parse(text).unwrap(),
                reads,
                writes,
                label: String::new(),
            },
            place: None,
        }
    }

    pub(super) fn text(items: &[Item]) -> Vec<String> {
        items.iter().map(|item| item.op.insn.to_string()).collect()
    }
}
