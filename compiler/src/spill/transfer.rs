//! Moves words between vector memory and their homes in DRAM.

use super::operands::Words;
use crate::lower::{alu, reg};
use crate::program::{Node, Region, UnitOp};
use lampyris_isa::Insn;
use lampyris_isa::insn::{Alu, LdV, StV};

/// Where words have their homes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    /// Home of word 0.
    pub(super) base: u64,
}

/// Selectors and immediate of one run.
#[derive(Clone, Copy)]
struct Run {
    at: u32,
    /// Registers with the offset in words and in bytes.
    offset: (u8, u8),
    count: (u8, u32),
}

impl Home {
    pub(super) fn load(self, words: &Words, label: &str, out: &mut Vec<Node>) {
        self.transfer(words, false, &format!("{label}.load"), out);
    }

    pub(super) fn store(self, words: &Words, label: &str, out: &mut Vec<Node>) {
        self.transfer(words, true, &format!("{label}.store"), out);
    }

    fn transfer(self, words: &Words, store: bool, label: &str, out: &mut Vec<Node>) {
        let mut count = (words.n_reg, words.n);
        if words.n_reg != 0 && words.n_scale != 1 {
            let scale = i64::from(words.n_scale);
            out.push(arithmetic(
                alu::MUL,
                reg::SPILL_COUNT,
                words.n_reg,
                scale,
                label,
            ));
            count.0 = reg::SPILL_COUNT;
        }
        if count == (0, 0) {
            return;
        }
        let one = |at: u32, offset| {
            let run = Run { at, offset, count };
            Node::Unit(self.one(run, &words.extent, store, label))
        };
        let bytes = |of| arithmetic(alu::SHL, reg::SPILL_BYTE, of, 2, label);
        if words.rows_reg == 0 {
            let mut offset = (0, 0);
            if words.at_reg != 0 {
                out.push(bytes(words.at_reg));
                offset = (words.at_reg, reg::SPILL_BYTE);
            }
            let rows = (0..words.rows).map(|row| one(words.at + row * words.stride, offset));
            out.extend(rows);
            return;
        }
        // Runs whose number a register holds: r31 goes from one to the next.
        let step = i64::from(words.stride);
        let word = reg::SPILL_WORD;
        out.push(arithmetic(alu::ADD, word, words.at_reg, 0, label));
        out.push(Node::Loop {
            reg: words.rows_reg,
            count: words.rows,
            body: vec![
                bytes(word),
                one(words.at, (word, reg::SPILL_BYTE)),
                arithmetic(alu::ADD, word, word, step, label),
            ],
            overlapped: false,
            label: label.to_owned(),
        });
    }

    fn one(self, run: Run, extent: &Region, store: bool, label: &str) -> UnitOp {
        let addr = self.base + 4 * u64::from(run.at);
        let (words, rbase) = run.offset;
        let (rcount, count) = run.count;
        let home = Region::dram(
            self.base + 4 * extent.start,
            4 * (extent.end - extent.start),
        );
        let insn: Insn = if store {
            StV {
                rbase,
                rcount,
                rsrc: words,
                addr,
                count,
                src: run.at,
                ..StV::default()
            }
            .into()
        } else {
            LdV {
                rbase,
                rcount,
                rdst: words,
                addr,
                count,
                rows: 1,
                dst: run.at,
                ..LdV::default()
            }
            .into()
        };
        let (reads, writes) = if store {
            (*extent, home)
        } else {
            (home, *extent)
        };
        UnitOp {
            insn,
            reads: vec![reads],
            writes: vec![writes],
            label: label.to_owned(),
        }
    }
}

/// rd = rs func imm.
fn arithmetic(func: u8, rd: u8, rs: u8, imm: i64, label: &str) -> Node {
    let insn = Alu {
        rd,
        rs,
        rt: 0,
        func,
        use_imm: 1,
        imm,
    };
    Node::Sys(insn.into(), label.to_owned())
}
