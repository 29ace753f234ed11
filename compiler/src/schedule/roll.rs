//! Turns scheduled copies of a loop's body back into a loop whose iterations overlap.
//!
//! The scheduler sees several copies of the body in a row, so that loads move and semaphores
//! reach across the border of two iterations like anywhere else. From the second or third copy
//! on, the order and the semaphores repeat: that period becomes the loop, what comes before and
//! after it stays straight code. (Modulo scheduling with the initiation interval left to the
//! hardware's queues.)

use super::Item;
use crate::program::Node;

/// Copies of a body that are scheduled; loops of fewer iterations become straight code.
pub(super) const COPIES: usize = 6;

/// Where an item of a loop's body comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Index of the loop in the segment.
    pub(super) of: usize,
    /// Copy of the body.
    pub(super) copy: usize,
    /// Index in the body.
    pub(super) index: usize,
}

/// A loop that a segment holds as copies of its body.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    /// Iterations.
    pub(super) count: u32,
    /// Copies in the segment.
    pub(super) copies: usize,
    /// Instructions of the body.
    pub(super) body: usize,
    /// Source.
    pub(super) label: String,
}

/// Copies `from` to `to` (inclusive) of a loop's period are the same.
#[derive(Clone, Copy, Debug)]
struct Steady {
    from: usize,
    to: usize,
}

/// The nodes of a scheduled segment. `None`: a loop never becomes periodic.
pub(super) fn roll(items: Vec<Item>, loops: &[Loop]) -> Option<Vec<Node>> {
    let mut cuts = Vec::new();
    for (of, l) in loops.iter().enumerate() {
        if l.count as usize > l.copies {
            let starts = starts(&items, of, l.copies)?;
            let steady = steady(&items, of, &starts, l.body)?;
            cuts.push((
                starts[steady.from],
                starts[steady.from + 1],
                starts[steady.to + 1],
            ));
        } else {
            cuts.push((0, 0, 0));
        }
    }
    let mut out = Vec::with_capacity(items.len());
    let mut at = 0;
    let mut items = items.into_iter().map(node);
    for (l, &(start, next, end)) in loops.iter().zip(&cuts) {
        if next == start {
            continue;
        }
        // Loops lie behind each other, and what is left of one is not in the period of the next.
        if start < at {
            return None;
        }
        out.extend(items.by_ref().take(start - at));
        let body: Vec<Node> = items.by_ref().take(next - start).collect();
        let rounds = (end - start) / (next - start);
        items.by_ref().take(end - next).for_each(drop);
        out.push(Node::Loop {
            reg: 0,
            count: l.count - l.copies as u32 + rounds as u32,
            body,
            overlapped: true,
            label: l.label.clone(),
        });
        at = end;
    }
    out.extend(items);
    Some(out)
}

fn node(item: Item) -> Node {
    item.into_node()
}

/// Index of the first item of each copy from the second on (entry 0 is unused).
fn starts(items: &[Item], of: usize, copies: usize) -> Option<Vec<usize>> {
    let first = |copy| {
        items
            .iter()
            .position(|item| item.place.is_some_and(|p| p.of == of && p.copy == copy))
    };
    let starts: Option<Vec<usize>> = (0..copies).map(first).collect();
    starts.filter(|s| s.is_sorted())
}

/// The longest run of equal periods, at least two. A period holds as many instructions as the body;
/// at the beginning, where only loads run ahead, the distance from copy to copy is shorter.
fn steady(items: &[Item], of: usize, starts: &[usize], body: usize) -> Option<Steady> {
    let period = |copy: usize| &items[starts[copy]..starts[copy + 1]];
    let same = |copy: usize| {
        let (a, b) = (period(copy), period(copy + 1));
        a.len() == body && b.len() == body && a.iter().zip(b).all(|(a, b)| repeats(a, b, of))
    };
    let mut best: Option<Steady> = None;
    let mut from = 1;
    for copy in 1..starts.len().saturating_sub(2) {
        if !same(copy) {
            from = copy + 1;
            continue;
        }
        if best.is_none_or(|b| copy + 1 - from > b.to - b.from) {
            best = Some(Steady { from, to: copy + 1 });
        }
    }
    best
}

/// Whether `b` is `a` one iteration later, with the same semaphores.
fn repeats(a: &Item, b: &Item, of: usize) -> bool {
    let (Some(p), Some(q)) = (a.place, b.place) else {
        return false;
    };
    p.of == of && q.of == of && q.copy == p.copy + 1 && q.index == p.index && a.op.insn == b.op.insn
}
