//! Which results other operators read, so that they must be stored.

use super::Operator;
use super::operands::Words;
use crate::program::Region;
use std::ops::Range;

/// All operators of an entry point in program order.
#[derive(Debug, Default)]
pub(super) struct Operators {
    pub(super) all: Vec<Operator>,
    /// Operators of each loop's body.
    pub(super) loops: Vec<Range<usize>>,
}

/// What operator `at` must store.
pub(super) fn outputs(operators: &Operators, at: usize) -> Vec<Words> {
    let mut out: Vec<Words> = Vec::new();
    for words in &operators.all[at].made {
        if !out.contains(words) && is_live(operators, at, words) {
            out.push(*words);
        }
    }
    out
}

fn is_live(operators: &Operators, at: usize, words: &Words) -> bool {
    let after = at + 1..operators.all.len();
    let around = operators.loops.iter().filter(|l| l.contains(&at));
    // In the next round of a loop, up to the operator itself.
    let rounds = around.map(|l| l.start..at + 1);
    std::iter::once(after)
        .chain(rounds)
        .any(|range| are_read(&operators.all[range], words.extent))
}

/// Whether operators, one after the other, load some of the words before others take their place.
/// Words that an instruction may write are lost to every program that reads them afterwards.
fn are_read(operators: &[Operator], words: Region) -> bool {
    let mut left = vec![words];
    for operator in operators {
        let mut loads = operator.loads.iter();
        if loads.any(|load| left.iter().any(|l| l.overlaps(&load.extent))) {
            return true;
        }
        let written = operator.made.iter().chain(&operator.constants);
        for words in written.filter(|w| w.at_reg == 0) {
            left = left
                .iter()
                .flat_map(|l| without(l, &words.extent))
                .collect();
        }
    }
    false
}

/// What remains of a range.
fn without(range: &Region, taken: &Region) -> Vec<Region> {
    if !range.overlaps(taken) {
        return vec![*range];
    }
    let before = Region {
        end: taken.start.max(range.start),
        ..*range
    };
    let after = Region {
        start: taken.end.min(range.end),
        ..*range
    };
    let parts = [before, after];
    parts.into_iter().filter(|r| r.start < r.end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_of_a_range_leaves_both_sides() {
        let at = |start, words| Region::vmem(start, words);
        assert_eq!(without(&at(0, 10), &at(3, 4)), [at(0, 3), at(7, 3)]);
        assert_eq!(without(&at(4, 4), &at(0, 6)), [at(6, 2)]);
        assert_eq!(without(&at(4, 4), &at(4, 4)), []);
        assert_eq!(without(&at(4, 4), &at(8, 4)), [at(4, 4)]);
    }
}
