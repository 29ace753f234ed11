//! Which places an instruction with absolute operands reads and writes, and what orders it after
//! earlier instructions that touch them.

use crate::model::Access;
use crate::model::Space::{self, Dram, Vmem, Xbuf};
use lampyris_isa::format::{BLOCK, quant_blocks};
use lampyris_isa::insn::Vop;
use lampyris_isa::{HwConfig, Insn, Unit};
use std::collections::HashMap;

/// Places are followed in granules of this many words, blocks and bytes.
fn granule(space: Space) -> u64 {
    match space {
        Space::Vmem => 32,
        Space::Xbuf => 4,
        Space::Dram => 256,
    }
}

/// `rows` runs of `len`, `stride` apart, as the run that covers them all.
fn hull(start: u64, len: u64, rows: u64, stride: u64) -> (u64, u64) {
    (start, (rows.max(1) - 1) * stride + len)
}

/// Collects the accesses of one instruction.
struct Accesses {
    list: Vec<Access>,
    slack: u64,
}

impl Accesses {
    fn add(&mut self, space: Space, write: bool, (start, len): (u64, u64)) {
        let slack = if space == Space::Vmem { self.slack } else { 0 };
        self.list.push(Access {
            space,
            write,
            start,
            len: len + slack,
        });
    }

    fn reads(&mut self, space: Space, run: (u64, u64)) {
        self.add(space, false, run);
    }

    fn writes(&mut self, space: Space, run: (u64, u64)) {
        self.add(space, true, run);
    }
}

/// The accesses of an instruction whose register selectors are all zero. Vector memory accesses
/// are `slack` words longer, for instructions that a loop shifts.
pub(super) fn footprint(insn: &Insn, slack: u64, hw: &HwConfig) -> Vec<Access> {
    let mut to = Accesses {
        list: Vec::new(),
        slack,
    };
    match insn {
        Insn::Mm(i) => {
            let (tokens, rows) = (
                u64::from(i.tokens),
                u64::from(i.groups) * hw.tile_rows() as u64,
            );
            to.reads(
                Xbuf,
                hull(i.x.into(), i.kblocks.into(), tokens, i.xstride.into()),
            );
            to.writes(Vmem, hull(i.y.into(), rows, tokens, i.ystride.into()));
        }
        Insn::Mv(i) => {
            to.reads(Xbuf, (i.x.into(), i.kblocks.into()));
            to.writes(
                Vmem,
                (i.y.into(), u64::from(i.groups) * hw.tile_rows() as u64),
            );
        }
        Insn::Vop(i) => vop(i, &mut to),
        Insn::Quant(i) => {
            let (n, rows) = (u64::from(i.n), u64::from(i.rows));
            let blocks = quant_blocks(i.n as usize, i.group) as u64;
            to.reads(Vmem, hull(i.a.into(), n, rows, i.astride.into()));
            to.writes(Xbuf, hull(i.x.into(), blocks, rows, i.xstride.into()));
            if i.scale_out == 1 {
                to.writes(Vmem, (i.scale_addr.into(), rows));
            }
        }
        Insn::Deq(i) => {
            let n = u64::from(i.n);
            to.reads(Vmem, (i.a.into(), n * u64::from(i.bits) / 32));
            to.reads(Vmem, (i.scales.into(), n / BLOCK as u64));
            to.writes(Vmem, (i.d.into(), n));
        }
        other => transfer(other, hw, &mut to),
    }
    to.list
}

fn transfer(insn: &Insn, hw: &HwConfig, to: &mut Accesses) {
    match insn {
        Insn::LdW(i) => {
            let bytes = u64::from(i.count) * hw.chunk_bytes() as u64;
            to.reads(Dram, hull(i.addr, bytes, i.rows.into(), i.stride.into()));
        }
        Insn::LdV(i) => {
            let (count, rows) = (u64::from(i.count), u64::from(i.rows));
            to.reads(Dram, hull(i.addr, 4 * count, rows, i.stride.into()));
            to.writes(Vmem, (i.dst.into(), count * rows));
        }
        Insn::StV(i) => {
            to.reads(Vmem, (i.src.into(), i.count.into()));
            to.writes(Dram, (i.addr, 4 * u64::from(i.count)));
        }
        Insn::StK(i) => {
            let bits = if i.nibbles == 1 { 4 } else { 8 };
            let bytes = hw.tile_bytes(bits, true) as u64 * u64::from(i.blocks);
            to.reads(Xbuf, (i.src.into(), i.blocks.into()));
            to.writes(Dram, (i.addr, bytes));
        }
        Insn::StT(i) => {
            let bits = if i.nibbles == 1 { 4 } else { 8 };
            let elements = BLOCK * usize::from(i.blocks);
            let (groups, bytes) = (
                hw.row_groups(elements) as u64,
                hw.tile_bytes(bits, false) as u64,
            );
            to.reads(Xbuf, (i.src.into(), i.blocks.into()));
            to.writes(Dram, hull(i.addr, bytes, groups, i.stride.into()));
        }
        _ => {}
    }
}

fn vop(i: &Vop, to: &mut Accesses) {
    // One word more: with `swap` and an odd n the partner of the last element is read.
    let (n, rows) = (u64::from(i.n) + 1, u64::from(i.rows));
    to.reads(Vmem, hull(i.a.into(), n, rows, i.astride.into()));
    if i.mul == 1 || i.add == 1 {
        to.reads(Vmem, hull(i.b.into(), n, rows, i.bstride.into()));
    }
    if (i.mul == 2 || i.add == 2) && i.s1_mem == 1 {
        to.reads(Vmem, (i.s1.into(), rows));
    }
    if i.add == 3 {
        to.reads(Vmem, (i.s2.into(), rows));
    }
    if i.write == 1 {
        to.writes(Vmem, hull(i.d.into(), n, rows, i.dstride.into()));
    }
    if i.red != 0 {
        to.writes(Vmem, (i.red_addr.into(), 2 * rows));
    }
}

/// Units and the sequencer.
const AGENTS: usize = 5;

/// How many instructions of each unit are known to be complete.
type Known = [u32; AGENTS];

/// What has been emitted so far and who knows of it.
#[derive(Clone, Default)]
pub(super) struct Order {
    known: [Known; AGENTS],
    /// Position of each unit's latest instruction in the program.
    latest: [Option<usize>; 4],
    /// Latest write and read of each unit, by granule.
    touched: HashMap<(Space, u64), [Known; 2]>,
}

impl Order {
    /// Units (other than `unit`) that must have finished something before `unit` may touch these
    /// places, and are not known to have.
    pub(super) fn missing(&self, unit: Unit, accesses: &[Access]) -> u8 {
        let mut need = [0; AGENTS];
        for access in accesses {
            for key in granules(access) {
                let Some([write, read]) = self.touched.get(&key) else {
                    continue;
                };
                for v in 0..AGENTS {
                    need[v] = need[v].max(write[v]);
                    if access.write {
                        need[v] = need[v].max(read[v]);
                    }
                }
            }
        }
        let u = unit as usize;
        let at_dispatch = |v: usize| self.known[u][v].max(self.known[Unit::Sys as usize][v]);
        (0..4)
            .filter(|&v| v != u && need[v] > at_dispatch(v))
            .fold(0, |mask, v| mask | 1 << v)
    }

    /// Where the latest instruction of a unit lies.
    pub(super) fn latest(&self, unit: usize) -> Option<usize> {
        self.latest[unit]
    }

    /// `unit` has waited for the latest instructions of the units in `mask`.
    pub(super) fn joined(&mut self, unit: Unit, mask: u8) {
        for v in (0..4).filter(|v| mask >> v & 1 == 1) {
            let clock = self.known[v];
            for (a, b) in self.known[unit as usize].iter_mut().zip(clock) {
                *a = (*a).max(b);
            }
        }
    }

    /// An instruction of `unit` was emitted at position `at`.
    pub(super) fn emitted(&mut self, unit: Unit, at: usize, accesses: &[Access]) {
        let u = unit as usize;
        let sys = self.known[Unit::Sys as usize];
        for (a, b) in self.known[u].iter_mut().zip(sys) {
            *a = (*a).max(b);
        }
        self.known[u][u] += 1;
        if u < 4 {
            self.latest[u] = Some(at);
        }
        for access in accesses {
            for key in granules(access) {
                let cell = self.touched.entry(key).or_default();
                cell[usize::from(!access.write)][u] = self.known[u][u];
            }
        }
    }
}

fn granules(access: &Access) -> impl Iterator<Item = (Space, u64)> + use<> {
    let size = granule(access.space);
    let space = access.space;
    (access.start / size..(access.start + access.len).div_ceil(size)).map(move |g| (space, g))
}
