//! Finds accesses of two units to one place that nothing orders.
//!
//! Every unit has a vector clock: for each unit (and the sequencer) the number of its
//! instructions that are known to be complete. A wait joins the clock of the instruction that
//! posted, a fence joins the clocks of the units into the sequencer's, dispatch joins the
//! sequencer's into the unit's, and `mm` joins the clocks of the loads whose bytes it used up.
//! An access that meets an earlier one of another unit that its clock does not cover is a race.
//!
//! A read of something that was never written is reported as well: what it finds depends on the
//! state of the memories at power-up.

use super::Violation;
use crate::model::{Access, Space};
use lampyris_isa::{HwConfig, Unit};
use std::collections::VecDeque;

/// Four units and the sequencer.
const AGENTS: usize = 5;

type Clock = [u32; AGENTS];

/// Last accesses of a word or block, as epochs of each agent; 0: none.
#[derive(Clone, Copy, Default)]
struct Cell {
    read: Clock,
    write: Clock,
    /// Written since power-up, by this program or an earlier one.
    written: bool,
}

/// A run of DRAM bytes that LD read or ST wrote and that the other does not know of yet.
struct Range {
    start: u64,
    end: u64,
    epoch: u32,
}

/// State of the race check.
#[derive(Default)]
pub(crate) struct Races {
    clocks: [Clock; AGENTS],
    /// Clocks of posts that are not taken yet, by producer and consumer.
    posted: [[VecDeque<Clock>; 4]; 4],
    /// Weight stream: bytes and clock of each load.
    stream: VecDeque<(u64, Clock)>,
    vmem: Vec<Cell>,
    xbuf: Vec<Cell>,
    dram_reads: Vec<Range>,
    dram_writes: Vec<Range>,
    /// Sequence number and pc of each instruction of each agent, by epoch - 1.
    history: [Vec<(u32, u32)>; AGENTS],
}

/// What the check needs to know about a unit instruction.
pub(crate) struct Event<'a> {
    pub(crate) unit: Unit,
    pub(crate) seq: u32,
    pub(crate) pc: u32,
    pub(crate) wait: u8,
    pub(crate) post: u8,
    /// Bytes put into (LD) or taken from (MM) the weight stream.
    pub(crate) stream: u64,
    pub(crate) accesses: &'a [Access],
}

fn join(into: &mut Clock, from: &Clock) {
    for (a, b) in into.iter_mut().zip(from) {
        *a = (*a).max(*b);
    }
}

impl Races {
    pub(crate) fn new(config: &HwConfig) -> Races {
        Races {
            vmem: vec![Cell::default(); config.vmem_words as usize],
            xbuf: vec![Cell::default(); config.xbuf_blocks as usize],
            ..Races::default()
        }
    }

    /// Another program starts: everything before it is complete.
    pub(crate) fn restart(&mut self) {
        for cell in self.vmem.iter_mut().chain(&mut self.xbuf) {
            *cell = Cell {
                written: cell.written,
                ..Cell::default()
            };
        }
        let (vmem, xbuf) = (
            std::mem::take(&mut self.vmem),
            std::mem::take(&mut self.xbuf),
        );
        *self = Races {
            vmem,
            xbuf,
            ..Races::default()
        };
    }

    /// A fence: the sequencer knows all that the units of the mask have done.
    pub(crate) fn fence(&mut self, mask: u8) {
        let clocks = self.clocks;
        for u in (0..4).filter(|u| mask >> u & 1 == 1) {
            join(&mut self.clocks[Unit::Sys as usize], &clocks[u]);
        }
    }

    /// An instruction with its accesses, in program order. Waits have been checked to be covered
    /// by earlier posts.
    pub(crate) fn instruction(&mut self, event: &Event<'_>) -> Result<(), Violation> {
        let u = event.unit as usize;
        let mut clock = self.clocks[u];
        join(&mut clock, &self.clocks[Unit::Sys as usize]);
        for p in (0..4).filter(|p| event.wait >> p & 1 == 1) {
            if let Some(posted) = self.posted[p][u].pop_front() {
                join(&mut clock, &posted);
            }
        }
        clock[u] += 1;
        self.history[u].push((event.seq, event.pc));
        for access in event.accesses {
            self.access(u, &clock, access)?;
        }
        match event.unit {
            Unit::Ld if event.stream > 0 => self.stream.push_back((event.stream, clock)),
            Unit::Mm => self.consume(event.stream, &mut clock),
            _ => {}
        }
        self.clocks[u] = clock;
        for c in (0..4).filter(|c| event.post >> c & 1 == 1) {
            self.posted[u][c].push_back(clock);
        }
        Ok(())
    }

    fn consume(&mut self, mut bytes: u64, clock: &mut Clock) {
        while let Some((left, loaded)) = self.stream.front_mut() {
            if *left > bytes {
                *left -= bytes;
                return;
            }
            bytes -= *left;
            join(clock, loaded);
            self.stream.pop_front();
        }
    }

    fn access(&mut self, u: usize, clock: &Clock, access: &Access) -> Result<(), Violation> {
        let cells = match access.space {
            Space::Vmem => &mut self.vmem,
            Space::Xbuf => &mut self.xbuf,
            Space::Dram => return self.dram_access(u, clock, access),
        };
        let run = access.start as usize..(access.start + access.len) as usize;
        for (i, cell) in cells[run].iter_mut().enumerate() {
            let unknown = |last: &Clock| (0..AGENTS).find(|&v| v != u && last[v] > clock[v]);
            if let Some(v) = unknown(&cell.write) {
                let epoch = cell.write[v];
                return Err(self.violation(access, i as u64, (v, epoch, true)));
            }
            if access.write {
                if let Some(v) = unknown(&cell.read) {
                    let epoch = cell.read[v];
                    return Err(self.violation(access, i as u64, (v, epoch, false)));
                }
                cell.write[u] = clock[u];
                cell.written = true;
            } else if cell.written {
                cell.read[u] = clock[u];
            } else {
                return Err(Violation {
                    problem: format!(
                        "reads {:?} {:#x}, which was never written",
                        access.space,
                        access.start + i as u64
                    ),
                    hint: "memories hold anything at power-up",
                });
            }
        }
        Ok(())
    }

    /// LD reads and ST writes DRAM; nothing else does.
    fn dram_access(&mut self, u: usize, clock: &Clock, access: &Access) -> Result<(), Violation> {
        let (start, end) = (access.start, access.start + access.len);
        let (v, other_write) = if access.write {
            (Unit::Ld as usize, false)
        } else {
            (Unit::St as usize, true)
        };
        let others = if access.write {
            &mut self.dram_reads
        } else {
            &mut self.dram_writes
        };
        // What this unit knows of is ordered before all that it will do.
        others.retain(|r| r.epoch > clock[v]);
        if let Some(hit) = others.iter().find(|r| r.start < end && start < r.end) {
            let (at, epoch) = (hit.start.max(start) - start, hit.epoch);
            return Err(self.violation(access, at, (v, epoch, other_write)));
        }
        let own = if access.write {
            &mut self.dram_writes
        } else {
            &mut self.dram_reads
        };
        match own.last_mut() {
            Some(last) if last.epoch == clock[u] && last.end == start => last.end = end,
            _ => own.push(Range {
                start,
                end,
                epoch: clock[u],
            }),
        }
        Ok(())
    }

    fn violation(&self, access: &Access, at: u64, other: (usize, u32, bool)) -> Violation {
        let (v, epoch, wrote) = other;
        let (seq, pc) = self.history[v][epoch as usize - 1];
        let verb = |write: bool| if write { "writes" } else { "reads" };
        let name = ["LD", "ST", "MM", "SFU", "SYS"][v];
        Violation {
            problem: format!(
                "race: {} {:?} {:#x}, which {name} instruction {seq} (pc {pc}) {}, unordered",
                verb(access.write),
                access.space,
                access.start + at,
                verb(wrote)
            ),
            hint: "order the two by a semaphore or a fence",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(unit: Unit, seq: u32, wait: u8, post: u8, accesses: &'a [Access]) -> Event<'a> {
        Event {
            unit,
            seq,
            pc: seq,
            wait,
            post,
            stream: 0,
            accesses,
        }
    }

    fn vmem(write: bool, start: u64) -> [Access; 1] {
        [Access {
            space: Space::Vmem,
            write,
            start,
            len: 8,
        }]
    }

    #[test]
    fn semaphore_or_fence_orders_and_their_absence_is_a_race() {
        for order in ["semaphore", "fence", "none"] {
            let mut r = Races::new(&HwConfig::SMALL);
            let by_semaphore = order == "semaphore";
            let (post, wait) = if by_semaphore { (8, 1) } else { (0, 0) };
            r.instruction(&event(Unit::Ld, 0, 0, post, &vmem(true, 16)))
                .unwrap();
            if order == "fence" {
                r.fence(1);
            }
            let result = r.instruction(&event(Unit::Sfu, 1, wait, 0, &vmem(false, 16)));
            assert_eq!(result.is_err(), order == "none");
            if let Err(violation) = result {
                assert!(violation.problem.contains("LD instruction 0 (pc 0) writes"));
                assert!(violation.problem.contains("Vmem 0x10"));
            }
        }
    }

    #[test]
    fn write_after_unordered_read_is_a_race() {
        let mut r = Races::new(&HwConfig::SMALL);
        r.instruction(&event(Unit::Mm, 0, 0, 0, &vmem(true, 0)))
            .unwrap();
        // A new program is ordered after everything and knows what was written.
        r.restart();
        r.instruction(&event(Unit::St, 0, 0, 0, &vmem(false, 0)))
            .unwrap();
        r.instruction(&event(Unit::Sfu, 1, 0, 0, &vmem(false, 0)))
            .unwrap();
        assert!(
            r.instruction(&event(Unit::Mm, 2, 0, 0, &vmem(true, 0)))
                .is_err()
        );
    }

    #[test]
    fn consumed_weights_order_the_load_before_a_store() {
        let dram = |write| {
            [Access {
                space: Space::Dram,
                write,
                start: 64,
                len: 64,
            }]
        };
        for taken in [64, 32] {
            let mut r = Races::new(&HwConfig::SMALL);
            let read = dram(false);
            let load = Event {
                stream: 64,
                ..event(Unit::Ld, 0, 0, 0, &read)
            };
            r.instruction(&load).unwrap();
            r.instruction(&Event {
                stream: taken,
                ..event(Unit::Mm, 1, 0, 2, &[])
            })
            .unwrap();
            let store = r.instruction(&event(Unit::St, 2, 4, 0, &dram(true)));
            assert_eq!(store.is_err(), taken == 32);
        }
    }
}
