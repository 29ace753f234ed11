//! Which places an instruction with absolute operands reads and writes, and what orders it after
//! earlier instructions that touch them.

use crate::model::{Access, Space};
use lampyris_isa::format::{BLOCK, TILE_ROWS, code_bytes, tile_bytes};
use lampyris_isa::{Insn, Unit};
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

/// The accesses of an instruction whose register selectors are all zero. Vector memory accesses
/// are `slack` words longer, for instructions that a loop shifts.
pub(super) fn footprint(insn: &Insn, slack: u64) -> Vec<Access> {
    let mut list = Vec::new();
    let mut add = |space, write, (start, len): (u64, u64)| {
        let len = if space == Space::Vmem {
            len + slack
        } else {
            len
        };
        list.push(Access {
            space,
            write,
            start,
            len,
        });
    };
    use Space::{Dram, Vmem, Xbuf};
    match insn {
        Insn::LdW(i) => {
            let bytes = u64::from(i.count) * 64;
            add(
                Dram,
                false,
                hull(i.addr, bytes, i.rows.into(), i.stride.into()),
            );
        }
        Insn::LdV(i) => {
            let (count, rows) = (u64::from(i.count), u64::from(i.rows));
            add(Dram, false, hull(i.addr, 4 * count, rows, i.stride.into()));
            add(Vmem, true, (i.dst.into(), count * rows));
        }
        Insn::StV(i) => {
            add(Vmem, false, (i.src.into(), i.count.into()));
            add(Dram, true, (i.addr, 4 * u64::from(i.count)));
        }
        Insn::StK(i) => {
            add(Xbuf, false, (i.src.into(), i.blocks.into()));
            add(
                Dram,
                true,
                (i.addr, tile_bytes(8, true) as u64 * u64::from(i.blocks)),
            );
        }
        Insn::StT(i) => {
            add(Xbuf, false, (i.src.into(), i.blocks.into()));
            let groups = 2 * u64::from(i.blocks);
            add(
                Dram,
                true,
                hull(i.addr, code_bytes(8) as u64, groups, i.stride.into()),
            );
        }
        Insn::Mm(i) => {
            let tokens = u64::from(i.tokens);
            add(
                Xbuf,
                false,
                hull(i.x.into(), i.kblocks.into(), tokens, i.xstride.into()),
            );
            let rows = u64::from(i.groups) * TILE_ROWS as u64;
            add(Vmem, true, hull(i.y.into(), rows, tokens, i.ystride.into()));
        }
        Insn::Mv(i) => {
            add(Xbuf, false, (i.x.into(), i.kblocks.into()));
            add(
                Vmem,
                true,
                (i.y.into(), u64::from(i.groups) * TILE_ROWS as u64),
            );
        }
        Insn::Vop(i) => {
            // One word more: with `swap` and an odd n the partner of the last element is read.
            let (n, rows) = (u64::from(i.n) + 1, u64::from(i.rows));
            add(Vmem, false, hull(i.a.into(), n, rows, i.astride.into()));
            if i.mul == 1 || i.add == 1 {
                add(Vmem, false, hull(i.b.into(), n, rows, i.bstride.into()));
            }
            if (i.mul == 2 || i.add == 2) && i.s1_mem == 1 {
                add(Vmem, false, (i.s1.into(), rows));
            }
            if i.add == 3 {
                add(Vmem, false, (i.s2.into(), rows));
            }
            if i.write == 1 {
                add(Vmem, true, hull(i.d.into(), n, rows, i.dstride.into()));
            }
            if i.red != 0 {
                add(Vmem, true, (i.red_addr.into(), 2 * rows));
            }
        }
        Insn::Quant(i) => {
            let (n, rows) = (u64::from(i.n), u64::from(i.rows));
            add(Vmem, false, hull(i.a.into(), n, rows, i.astride.into()));
            let blocks = n.div_ceil(BLOCK as u64);
            add(Xbuf, true, hull(i.x.into(), blocks, rows, i.xstride.into()));
            if i.scale_out == 1 {
                add(Vmem, true, (i.scale_addr.into(), rows));
            }
        }
        Insn::Deq(i) => {
            let n = u64::from(i.n);
            add(Vmem, false, (i.a.into(), n * u64::from(i.bits) / 32));
            add(Vmem, false, (i.scales.into(), n / BLOCK as u64));
            add(Vmem, true, (i.d.into(), n));
        }
        _ => {}
    }
    list
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
