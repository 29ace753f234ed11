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
    /// The last weight load of a matrix instruction; set by [`hoist::hoist_loads`].
    feeds: bool,
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
            self.items.push(Item {
                op,
                place: None,
                feeds: false,
            });
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
                feeds: false,
            };
            self.items.extend(body.iter().enumerate().map(item));
        }
        self.loops.push(Loop {
            count: *count,
            copies,
            body: body.len(),
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
    use lampyris_isa::Unit;

    pub(super) fn item(text: &str, reads: Vec<Region>, writes: Vec<Region>) -> Item {
        Item {
            op: UnitOp {
                insn: Insn::parse(text).unwrap(),
                reads,
                writes,
                label: String::new(),
            },
            place: None,
            feeds: false,
        }
    }

    pub(super) fn text(items: &[Item]) -> Vec<String> {
        items.iter().map(|item| item.op.insn.to_string()).collect()
    }

    /// A layer in small: weights, product, an operation on its result, and the step to the next.
    fn layer(with_store: bool) -> Vec<Node> {
        let (x, y) = (Region::xbuf(0, 4), Region::vmem(0, 64));
        let kv = Region::dram(4096, 64);
        let mut items = vec![
            item("ld.w rbase=9 count=20 rows=1", vec![], vec![]),
            item("mv kblocks=4 groups=4", vec![x], vec![y]),
            item("quant n=64 rows=1", vec![y], vec![x]),
        ];
        if with_store {
            items.push(item("st.k rbase=10 blocks=1", vec![x], vec![kv]));
        }
        items.push(item("alu rd=9 rs=9 use_imm=1 imm=1280", vec![], vec![]));
        items.push(item("alu rd=10 rs=10 use_imm=1 imm=64", vec![], vec![]));
        items.into_iter().map(Item::into_node).collect()
    }

    fn looped(count: u32, body: Vec<Node>) -> Node {
        Node::Loop {
            reg: 0,
            count,
            body,
            overlapped: false,
            label: String::new(),
        }
    }

    /// The instructions as they are executed.
    fn executed(nodes: &[Node]) -> Vec<Insn> {
        let mut out = Vec::new();
        for node in nodes {
            match node {
                Node::Unit(op) => out.push(op.insn),
                Node::Sys(insn, _) => out.push(*insn),
                Node::Loop { count, body, .. } => {
                    (0..*count).for_each(|_| out.extend(executed(body)));
                }
                Node::If { .. } => panic!("not in these programs"),
            }
        }
        out
    }

    fn overlapped_loops(nodes: &[Node]) -> usize {
        let is = |node: &&Node| {
            matches!(
                node,
                Node::Loop {
                    overlapped: true,
                    ..
                }
            )
        };
        nodes.iter().filter(is).count()
    }

    /// Semaphores posted less taken, by producer and consumer.
    fn balance(insns: &[Insn]) -> [[i32; 4]; 4] {
        let mut sum = [[0; 4]; 4];
        for insn in insns.iter().filter(|insn| insn.unit() != Unit::Sys) {
            let u = insn.unit() as usize;
            let mask = |field| insn.field(field).unwrap_or(0);
            let (post, wait) = (mask("post"), mask("wait"));
            for v in [0, 1, 2, 3] {
                let bit = |mask: u64| (mask >> v & 1) as i32;
                sum[u][v] += bit(post);
                sum[v][u] -= bit(wait);
            }
        }
        sum
    }

    #[test]
    fn iterations_of_a_loop_overlap_and_none_is_lost() {
        for (count, store) in [(2, false), (7, false), (30, true), (1000, true)] {
            let body = layer(store);
            // A queue of two lets loads run two products ahead.
            let nodes = schedule(vec![looped(count, body.clone())], 2);
            let insns = executed(&nodes);
            assert_eq!(insns.len(), count as usize * body.len(), "{count}");
            assert_eq!(balance(&insns), [[0; 4]; 4], "{count}");
            let rolled = count as usize > COPIES;
            assert_eq!(overlapped_loops(&nodes), usize::from(rolled), "{count}");
            // The next layer's weights are asked for before this layer's product is quantized.
            let of = |m: &str| insns.iter().position(|i| i.spec().mnemonic == m);
            let loads = insns.iter().take(of("quant").unwrap());
            assert!(loads.filter(|i| matches!(i, Insn::LdW(_))).count() > 1);
        }
    }

    #[test]
    fn a_loop_whose_loads_run_ahead_by_more_than_the_copies_stays_closed() {
        let body = layer(false);
        let nodes = schedule(vec![looped(30, body.clone())], 16);
        assert_eq!(overlapped_loops(&nodes), 0);
        assert_eq!(executed(&nodes).len(), 30 * body.len());
    }

    #[test]
    fn loops_that_count_by_a_register_or_hold_loops_stay_closed() {
        let mut inner = looped(0, layer(false));
        if let Node::Loop { reg, .. } = &mut inner {
            *reg = 1;
        }
        let nodes = schedule(vec![looped(30, vec![inner])], 8);
        let [
            Node::Loop {
                overlapped, body, ..
            },
        ] = &nodes[..]
        else {
            panic!("one loop");
        };
        assert!(!overlapped);
        assert_eq!(overlapped_loops(body), 0);
    }
}
