//! The program while it is built: a tree of unit operations, sequencer instructions and
//! structured control, and its flattening to instructions with resolved offsets.

use lampyris_isa::insn::{Fence, Jump, Loop};
use lampyris_isa::{Insn, Unit};

/// Storage that instructions of different units share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Space {
    /// Words of vector memory.
    Vmem,
    /// Blocks of the activation buffer.
    Xbuf,
    /// Bytes of DRAM that the program writes (the KV cache, results).
    Dram,
}

/// A half-open range of addresses that an instruction may touch, over all values of its
/// registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Which storage.
    pub space: Space,
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
}

impl Region {
    /// A range of vector memory words.
    pub fn vmem(start: u32, words: u32) -> Region {
        Region {
            space: Space::Vmem,
            start: u64::from(start),
            end: u64::from(start + words),
        }
    }

    /// A range of activation blocks.
    pub fn xbuf(start: u32, blocks: u32) -> Region {
        Region {
            space: Space::Xbuf,
            start: u64::from(start),
            end: u64::from(start + blocks),
        }
    }

    /// A range of DRAM bytes.
    pub fn dram(start: u64, bytes: u64) -> Region {
        Region {
            space: Space::Dram,
            start,
            end: start + bytes,
        }
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Region) -> bool {
        self.space == other.space && self.start < other.end && other.start < self.end
    }
}

/// An instruction of a unit with what it touches.
#[derive(Clone, Debug)]
pub struct UnitOp {
    /// The instruction; `wait` and `post` are filled in by [`crate::schedule`].
    pub insn: Insn,
    /// What it reads.
    pub reads: Vec<Region>,
    /// What it writes.
    pub writes: Vec<Region>,
    /// Where it comes from, such as `blk.3.ffn_down`.
    pub label: String,
}

/// A node of the program tree.
#[derive(Clone, Debug)]
pub enum Node {
    /// Unit instruction.
    Unit(UnitOp),
    /// Sequencer instruction without control flow.
    Sys(Insn, String),
    /// Counted loop, R[reg] + count times.
    Loop {
        /// Register added to the count.
        reg: u8,
        /// Count.
        count: u32,
        /// Body, executed from and to a state where all units are idle unless `overlapped`.
        body: Vec<Node>,
        /// An iteration begins while the units are still busy with the one before: the body's
        /// semaphores reach from one to the next. Set by [`crate::schedule`].
        overlapped: bool,
        /// Source.
        label: String,
    },
    /// The body is skipped when R[reg] is zero.
    If {
        /// Tested register.
        reg: u8,
        /// Body.
        body: Vec<Node>,
        /// Source.
        label: String,
    },
}

/// Instructions with the source of each.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Instructions.
    pub insns: Vec<Insn>,
    /// Source of each instruction.
    pub labels: Vec<String>,
}

/// Mask of all queued units.
pub const ALL_UNITS: u8 = 15;

impl Code {
    fn push(&mut self, insn: Insn, label: &str) {
        self.insns.push(insn);
        self.labels.push(label.to_owned());
    }

    fn fence(&mut self, label: &str) {
        self.push(Fence { units: ALL_UNITS }.into(), label);
    }

    /// Appends scheduled nodes. Fences separate the bodies of control structures from what
    /// surrounds them, so that semaphores only ever join instructions of one segment; register
    /// arithmetic and overlapped loops are part of it.
    pub fn append(&mut self, nodes: &[Node]) {
        let busy = self.append_from(nodes, false);
        debug_assert!(!busy, "programs end with halt");
    }

    /// Returns whether units may be busy at the end.
    fn append_from(&mut self, nodes: &[Node], mut busy: bool) -> bool {
        for node in nodes {
            busy = self.append_node(node, busy);
        }
        busy
    }

    fn append_node(&mut self, node: &Node, busy: bool) -> bool {
        match node {
            Node::Unit(op) => {
                debug_assert!(op.insn.unit() != Unit::Sys);
                self.push(op.insn, &op.label);
                return true;
            }
            Node::Sys(insn @ Insn::Alu(_), label) => {
                self.push(*insn, label);
                return busy;
            }
            Node::Sys(insn, label) => {
                let waits = matches!(
                    insn,
                    Insn::Fence(Fence { units: ALL_UNITS }) | Insn::Halt(_)
                );
                if busy && !waits {
                    self.fence(label);
                }
                self.push(*insn, label);
            }
            Node::Loop {
                reg,
                count,
                body,
                overlapped,
                label,
            } => {
                if busy && !overlapped {
                    self.fence(label);
                }
                let inner = body_code(body, *overlapped, label);
                let size = u16::try_from(inner.insns.len())
                    .expect("bodies are far below 64 Ki instructions");
                self.push(
                    Loop {
                        rs: *reg,
                        body: size,
                        imm: *count,
                    }
                    .into(),
                    label,
                );
                self.extend(inner);
                return *overlapped;
            }
            Node::If { reg, body, label } => {
                if busy {
                    self.fence(label);
                }
                let inner = body_code(body, false, label);
                self.push(
                    Jump {
                        rs: *reg,
                        cond: 1,
                        offset: inner.insns.len() as i64 + 1,
                    }
                    .into(),
                    label,
                );
                self.extend(inner);
            }
        }
        false
    }

    fn extend(&mut self, other: Code) {
        self.insns.extend(other.insns);
        self.labels.extend(other.labels);
    }
}

fn body_code(body: &[Node], overlapped: bool, label: &str) -> Code {
    let mut inner = Code::default();
    if inner.append_from(body, overlapped) && !overlapped {
        inner.fence(label);
    }
    inner
}
