//! The layer-by-layer schedule that accelerators without fusion have, for comparison: every
//! operator loads its inputs from DRAM, stores its outputs to DRAM, and nothing overlaps with the
//! next one.
//!
//! Instructions with one label in a row are an *operator*. Every word of vector memory has a home
//! in the region `activations`, at four times its address. An operator becomes: loads of what it
//! reads and has not made itself, its instructions, stores of what later operators read ([`live`]),
//! and a fence. What cannot be stored or was constant is made again: quantized blocks are quantized
//! by each operator that multiplies them, constants are loaded by each that reads them. Loads write
//! the very words that the fused program would find there, so results are the same bits.

mod live;
mod operands;
mod transfer;

use crate::error::{Error, Result};
use crate::lower::{Tokens, reg};
use crate::program::{ALL_UNITS, Node, Region, Space, UnitOp};
use lampyris_isa::Insn;
use lampyris_isa::insn::Fence;
use live::{Operators, outputs};
use operands::{Words, reads, writes};
use transfer::Home;

/// Registers that stay zero in the decode entry: offsets of the current token.
const OFFSETS: [u8; 5] = [reg::Q, reg::K, reg::V, reg::ATTN, reg::X];

/// Instructions that nothing parts.
#[derive(Clone, Debug, Default)]
struct Operator {
    /// Words that come from their homes.
    loads: Vec<Words>,
    /// Instructions that make blocks and constants again.
    again: Vec<UnitOp>,
    ops: Vec<UnitOp>,
    /// What its instructions write.
    made: Vec<Words>,
    /// Constants that its instructions load: nobody stores them.
    constants: Vec<Words>,
}

impl Operator {
    /// Sees to it that `words` are there.
    fn need(&mut self, words: Words, makers: &[Maker], zero: &[u8]) {
        let mut here = self.made.iter().chain(&self.constants).chain(&self.loads);
        if here.any(|w| w.cover(&words)) {
            return;
        }
        let maker = makers.iter().rev().find(|m| m.holds(&words.extent));
        let Some(maker) = maker else {
            return self.loads.push(words);
        };
        self.constants.extend(writes(&maker.op, zero));
        self.again.push(maker.op.clone());
    }
}

/// The program as operators and what lies between them.
#[derive(Debug)]
enum Piece {
    /// Index among the operators.
    Operator(usize),
    Other(Node),
    Body(Node, Vec<Piece>),
}

/// The spilled form of an entry point, whose words have their homes from `base` on.
///
/// # Errors
/// Blocks that would have to be quantized again from words that hold something else by then.
pub(crate) fn spill(nodes: Vec<Node>, tokens: Tokens, base: u64) -> Result<Vec<Node>> {
    let zero: &[u8] = match tokens {
        Tokens::One => &OFFSETS,
        Tokens::Counted => &[],
    };
    let mut splitter = Splitter {
        zero,
        operators: Operators::default(),
    };
    let pieces = splitter.split(nodes, &mut Vec::new())?;
    let operators = splitter.operators;
    let home = Home { base };
    Ok(assemble(pieces, &operators, home))
}

/// An instruction whose result later operators make again.
#[derive(Clone, Debug)]
struct Maker {
    op: UnitOp,
    /// What it writes.
    result: Region,
}

impl Maker {
    /// Whether it loads all of a range of words.
    fn holds(&self, words: &Region) -> bool {
        self.result.space == Space::Vmem
            && self.result.start <= words.start
            && words.end <= self.result.end
    }

    /// The maker of an operator's instruction, if it makes blocks or loads constants.
    fn of(op: &UnitOp) -> Option<Maker> {
        let space = match op.insn {
            Insn::Quant(_) => Space::Xbuf,
            Insn::LdV(_) => Space::Vmem,
            _ => return None,
        };
        let result = *op.writes.iter().find(|r| r.space == space)?;
        Some(Maker {
            op: op.clone(),
            result,
        })
    }
}

struct Splitter<'a> {
    /// Registers that are zero.
    zero: &'a [u8],
    operators: Operators,
}

impl Splitter<'_> {
    /// Divides nodes; `makers` are those whose results are still there.
    fn split(&mut self, nodes: Vec<Node>, makers: &mut Vec<Maker>) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut pending: Vec<UnitOp> = Vec::new();
        for node in nodes {
            if let Node::Unit(op) = node {
                if pending.last().is_some_and(|last| last.label != op.label) {
                    self.close(&mut pending, makers, &mut pieces)?;
                }
                pending.push(op);
                continue;
            }
            self.close(&mut pending, makers, &mut pieces)?;
            pieces.push(match node {
                Node::Loop { .. } | Node::If { .. } => self.split_body(node, makers)?,
                other => Piece::Other(other),
            });
        }
        self.close(&mut pending, makers, &mut pieces)?;
        Ok(pieces)
    }

    /// As [`Splitter::split`] for the body of a loop or a condition.
    fn split_body(&mut self, mut node: Node, makers: &mut Vec<Maker>) -> Result<Piece> {
        let is_loop = matches!(node, Node::Loop { .. });
        let (Node::Loop { body, .. } | Node::If { body, .. }) = &mut node else {
            unreachable!("called for bodies only");
        };
        let body = std::mem::take(body);
        // From the second round on the body finds what it has written itself.
        let mut written = Vec::new();
        all_writes(&body, &mut written);
        makers.retain(|maker| !written.iter().any(|w| disturbs(w, maker)));
        let first = self.operators.all.len();
        let pieces = self.split(body, &mut makers.clone())?;
        if is_loop {
            self.operators.loops.push(first..self.operators.all.len());
        }
        Ok(Piece::Body(node, pieces))
    }

    /// Makes an operator of the instructions that have come together.
    fn close(
        &mut self,
        pending: &mut Vec<UnitOp>,
        makers: &mut Vec<Maker>,
        pieces: &mut Vec<Piece>,
    ) -> Result<()> {
        let ops = std::mem::take(pending);
        if ops.is_empty() {
            return Ok(());
        }
        let mut operator = Operator::default();
        let mut blocks: Vec<Region> = Vec::new();
        for op in &ops {
            for words in reads(op, self.zero) {
                operator.need(words, makers, self.zero);
            }
            for region in op.reads.iter().filter(|r| r.space == Space::Xbuf) {
                if !blocks.iter().any(|b| b.overlaps(region)) {
                    blocks.push(self.quantize_again(&mut operator, region, makers, &op.label)?);
                }
            }
            blocks.extend(op.writes.iter().filter(|r| r.space == Space::Xbuf));
            match op.insn {
                Insn::LdV(_) => operator.constants.extend(writes(op, self.zero)),
                _ => operator.made.extend(writes(op, self.zero)),
            }
            makers.retain(|maker| !op.writes.iter().any(|w| disturbs(w, maker)));
            makers.extend(Maker::of(op));
        }
        let used = |at: usize| is_used(&ops[at], &ops[at + 1..]);
        operator.ops = (0..ops.len())
            .filter(|&at| used(at))
            .map(|at| ops[at].clone())
            .collect();
        if operator.ops.is_empty() {
            return Ok(());
        }
        pieces.push(Piece::Operator(self.operators.all.len()));
        self.operators.all.push(operator);
        Ok(())
    }

    /// Adds the instruction that made blocks; returns what it makes.
    fn quantize_again(
        &self,
        operator: &mut Operator,
        blocks: &Region,
        makers: &[Maker],
        label: &str,
    ) -> Result<Region> {
        let maker = makers.iter().rev().find(|m| m.result.overlaps(blocks));
        let maker = maker.ok_or_else(|| stale(label))?;
        for words in reads(&maker.op, self.zero) {
            operator.need(words, makers, self.zero);
        }
        operator.again.push(maker.op.clone());
        Ok(maker.result)
    }
}

/// Whether an operator keeps an instruction: not if it quantizes for others only, which do it again.
fn is_used(op: &UnitOp, later: &[UnitOp]) -> bool {
    let blocks = |r: &&Region| r.space == Space::Xbuf;
    let mut made = op.writes.iter().filter(blocks).peekable();
    let read = |w: &Region| later.iter().any(|l| l.reads.iter().any(|r| r.overlaps(w)));
    made.peek().is_none() || made.any(read)
}

fn stale(label: &str) -> Error {
    Error::unsupported(
        label,
        "reads blocks whose source has been overwritten",
        "compile with --schedule fused, and report this model",
    )
}

/// Whether a write takes away what a maker made, or what it would make it from.
fn disturbs(write: &Region, maker: &Maker) -> bool {
    write.overlaps(&maker.result) || maker.op.reads.iter().any(|r| write.overlaps(r))
}

/// What the instructions of a tree write.
fn all_writes(nodes: &[Node], out: &mut Vec<Region>) {
    for node in nodes {
        match node {
            Node::Unit(op) => out.extend(&op.writes),
            Node::Loop { body, .. } | Node::If { body, .. } => all_writes(body, out),
            Node::Sys(..) => {}
        }
    }
}

/// Puts loads, instructions, stores and fences together.
fn assemble(pieces: Vec<Piece>, operators: &Operators, home: Home) -> Vec<Node> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Other(node) => out.push(node),
            Piece::Body(mut node, pieces) => {
                if let Node::Loop { body, .. } | Node::If { body, .. } = &mut node {
                    *body = assemble(pieces, operators, home);
                }
                out.push(node);
            }
            Piece::Operator(at) => step(at, operators, home, &mut out),
        }
    }
    out
}

fn step(at: usize, operators: &Operators, home: Home, out: &mut Vec<Node>) {
    let operator = &operators.all[at];
    let label = &operator.ops[0].label;
    for words in &operator.loads {
        home.load(words, label, out);
    }
    let ops = operator.again.iter().chain(&operator.ops);
    out.extend(ops.cloned().map(Node::Unit));
    for words in outputs(operators, at) {
        home.store(&words, label, out);
    }
    out.push(Node::Sys(Fence { units: ALL_UNITS }.into(), label.clone()));
}
