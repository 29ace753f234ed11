//! Sequencer, queues, semaphores and units, each advanced as far as its inputs are known.

use super::icache::Icache;
use super::stream::Progress;
use super::work::{self, Product, Runs, Work};
use super::{Control, Estimate, INSTRUCTIONS_MAX, PortTiming, refused};
use crate::device::Start;
use crate::error::Result;
use crate::model::{Action, Sequencer, masks};
use lampyris_isa::insn::Fence;
use lampyris_isa::{HwConfig, Insn, Unit};
use std::collections::VecDeque;

/// Cycles from a start to the first fetch, and from a halt to the end.
const START: f64 = 33.0;
const HALT: f64 = 9.0;
/// LD: cycles from taking an instruction to its first burst, and between bursts.
const LD_DECODE: f64 = 4.0;
const LD_BURST: f64 = 2.0;
/// Bursts of LD under way, and beats of one.
const OUTSTANDING: usize = 16;
const BURST: u64 = 64;
/// MM: cycles from taking an instruction to the first step, and from the last step of a group to
/// the first of its outputs.
const MM_DECODE: f64 = 3.0;
const MM_PIPELINE: f64 = 16.0;
/// ST: cycles to check an instruction.
const ST_DECODE: f64 = 2.0;
/// Beats of tiles that are followed at once.
const PIECE: f64 = 64.0;

#[derive(Clone, Copy)]
struct Job {
    work: Work,
    wait: u8,
    post: u8,
    /// Cycle in which it enters the queue.
    at: f64,
}

/// A load under way: runs and beats left.
struct Load {
    job: Job,
    runs: Runs,
    left: u64,
    rows: u64,
    /// When the next burst can be issued.
    next: f64,
    last: f64,
}

/// A product under way: tiles left of the group, groups left.
struct Multiply {
    job: Job,
    product: Product,
    started: f64,
    now: f64,
    groups: u64,
    tiles: u64,
    /// When the accumulators of the last groups, newest last, are read out.
    drained: [f64; 2],
}

/// One unit's queue and history.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Cycles in which the last jobs left the queue, as many as it has entries.
    granted: VecDeque<f64>,
    taken: u64,
    pushed: u64,
    /// When the unit can take the next job.
    free: f64,
    /// When its last job retired.
    done: f64,
}

pub(super) struct Network {
    hw: HwConfig,
    port: PortTiming,
    control: Control,
    queues: [Queue; 4],
    posted: [[VecDeque<f64>; 4]; 4],
    load: Option<Load>,
    multiply: Option<Multiply>,
    arrived: Progress,
    taken: Progress,
    asked: f64,
    /// Cycle from which the data channel of the port with the weights is free.
    bus: f64,
    /// The same for the port with instructions and stores; with one port unused.
    bus1: f64,
    /// Ends of LD's bursts under way.
    bursts: VecDeque<f64>,
    /// When the words of vector loads have been written.
    words: f64,
    estimate: Estimate,
}

impl Network {
    pub(super) fn new(hw: HwConfig, port: PortTiming, control: Control) -> Network {
        Network {
            hw,
            port,
            control,
            queues: Default::default(),
            posted: Default::default(),
            load: None,
            multiply: None,
            arrived: Progress::default(),
            taken: Progress::default(),
            asked: 0.0,
            bus: 0.0,
            bus1: 0.0,
            bursts: VecDeque::new(),
            words: 0.0,
            estimate: Estimate::default(),
        }
    }

    pub(super) fn run(mut self, program: &[Insn], start: &Start) -> Result<Estimate> {
        let vmem = vec![0u32; self.hw.vmem_words as usize];
        let mut sequencer = Sequencer::start(start.entry, &start.args);
        let mut icache = Icache::new(self.hw.icache_lines, self.hw.axi_bits);
        let mut now = START;
        while self.estimate.instructions < INSTRUCTIONS_MAX {
            let Some(insn) = program.get(sequencer.pc as usize) else {
                return Err(refused(format!(
                    "the program leaves its {} instructions at {}",
                    program.len(),
                    sequencer.pc
                )));
            };
            let there = match self.control {
                Control::Timed => {
                    icache.fetch(sequencer.pc, now, |at, beats| self.fetch(at, beats))
                }
                Control::Free => now,
            };
            self.estimate.instructions += 1;
            if insn.unit() != Unit::Sys {
                now = self.dispatch(insn, &sequencer, there + 1.0)?;
                let next = sequencer.pc + 1;
                sequencer.advance(next);
                // The end of a loop's body takes a cycle.
                let jumps = self.control == Control::Timed && sequencer.pc != next;
                now += f64::from(u8::from(jumps));
                continue;
            }
            now = self.sys(insn, there)?;
            let action = sequencer
                .execute(insn, &vmem)
                .map_err(|fault| refused(fault.detail))?;
            if let Action::Halted(_) = action {
                self.estimate.cycles = now + HALT;
                return Ok(self.estimate);
            }
        }
        Err(refused(format!(
            "more than {INSTRUCTIONS_MAX} instructions"
        )))
    }

    /// When a line of instructions that is asked for at a time has arrived.
    fn fetch(&mut self, at: f64, beats: f64) -> f64 {
        self.estimate.fetch_beats += beats;
        let most = OUTSTANDING as f64 * BURST as f64 / self.port.rate;
        let bus = if self.hw.axi_ports == 2 {
            &mut self.bus1
        } else {
            &mut self.bus
        };
        let begin = (at + self.port.latency + 3.0).max(bus.min(at + self.port.latency + most));
        *bus = bus.max(begin) + beats / self.port.rate;
        begin + beats
    }

    /// Cycle after an instruction of the sequencer, which is decoded at `at`.
    fn sys(&mut self, insn: &Insn, at: f64) -> Result<f64> {
        Ok(match insn {
            Insn::Fence(Fence { units }) => (self.drained(*units)? + 1.0).max(at + 2.0) + 1.0,
            Insn::Halt(_) => (self.drained(15)? + 1.0).max(at + 2.0) + 1.0,
            _ if self.control == Control::Free => at,
            Insn::Rdv(_) => at + 5.0,
            // A product takes eight cycles.
            Insn::Alu(alu) if alu.func == 2 => at + 11.0,
            _ => at + 4.0,
        })
    }

    /// When all jobs of the units are done.
    fn drained(&mut self, units: u8) -> Result<f64> {
        let mut at: f64 = 0.0;
        for u in (0..4).filter(|u| units >> u & 1 == 1) {
            self.until(
                |n| n.idle(u),
                || format!("a fence waits for {} for ever", name(u)),
            )?;
            at = at.max(self.queues[u].done);
        }
        Ok(at)
    }

    fn idle(&self, u: usize) -> bool {
        self.queues[u].jobs.is_empty()
            && !(u == Unit::Ld as usize && self.load.is_some())
            && !(u == Unit::Mm as usize && self.multiply.is_some())
    }

    /// Puts a job into its unit's queue; the cycle after.
    fn dispatch(&mut self, insn: &Insn, sequencer: &Sequencer, at: f64) -> Result<f64> {
        let u = insn.unit() as usize;
        let selectors = match self.control {
            Control::Timed => {
                let word = insn.encode()[0];
                (0..5).filter(|i| word >> (16 + 5 * i) & 31 != 0).count()
            }
            Control::Free => 0,
        };
        let (wait, post) = masks(insn);
        let mut at = at + selectors as f64;
        let depth = u64::from(self.hw.queue_depth);
        if self.queues[u].pushed >= depth {
            let must = self.queues[u].pushed - depth;
            self.until(
                |n| n.queues[u].taken > must,
                || format!("the queue of {} stays full", name(u)),
            )?;
            let queue = &mut self.queues[u];
            while queue.granted.len() as u64 > queue.taken - must {
                queue.granted.pop_front();
            }
            at = at.max(queue.granted.front().copied().unwrap_or(0.0) + 1.0);
        }
        let work = work::of(insn, &sequencer.regs(), &self.hw);
        if let Work::Product(p) = work {
            let steps = 16 / u64::from(self.hw.mac_rows);
            self.estimate.mac_steps += (p.groups * p.tiles * p.tokens * steps) as f64;
        }
        self.queues[u].pushed += 1;
        self.queues[u].jobs.push_back(Job {
            work,
            wait,
            post,
            at,
        });
        Ok(at + 1.0)
    }

    /// Advances units until `done`.
    fn until(
        &mut self,
        done: impl Fn(&Network) -> bool,
        problem: impl Fn() -> String,
    ) -> Result<()> {
        while !done(self) {
            let mut moved = false;
            for u in 0..4 {
                while self.advance(u) {
                    moved = true;
                }
            }
            if !moved && !done(self) {
                return Err(refused(problem()));
            }
        }
        Ok(())
    }

    /// One step of a unit, if what it needs is known.
    fn advance(&mut self, u: usize) -> bool {
        if u == Unit::Ld as usize && self.load.is_some() {
            return self.burst();
        }
        if u == Unit::Mm as usize && self.multiply.is_some() {
            return self.piece();
        }
        let Some((job, at)) = self.take(u) else {
            return false;
        };
        match job.work {
            Work::Nothing => self.retire(u, &job, at + 3.0, at),
            Work::Weights(runs) | Work::Vector { runs, .. } => {
                self.load = Some(Load {
                    job,
                    runs,
                    left: runs.beats,
                    rows: runs.rows,
                    next: at + LD_DECODE,
                    last: 0.0,
                });
            }
            Work::Product(product) => {
                self.multiply = Some(Multiply {
                    job,
                    product,
                    started: at,
                    now: at + MM_DECODE,
                    groups: product.groups,
                    tiles: product.tiles,
                    drained: [0.0; 2],
                });
            }
            Work::Special(cycles) => self.retire(u, &job, at + cycles, at),
            Work::Store { beats, cycles } => self.store(&job, at, beats, cycles),
        }
        true
    }

    /// The head of a queue and when its unit takes it, if its semaphores are known.
    fn take(&mut self, u: usize) -> Option<(Job, f64)> {
        let job = *self.queues[u].jobs.front()?;
        let producers = || (0..4).filter(|p| job.wait >> p & 1 == 1);
        let mut at = (job.at + 1.0).max(self.queues[u].free);
        for p in producers() {
            at = at.max(*self.posted[p][u].front()? + 1.0);
        }
        for p in producers() {
            self.posted[p][u].pop_front();
        }
        let queue = &mut self.queues[u];
        queue.jobs.pop_front();
        queue.taken += 1;
        queue.granted.push_back(at);
        Some((job, at + 1.0))
    }

    fn retire(&mut self, u: usize, job: &Job, at: f64, began: f64) {
        let queue = &mut self.queues[u];
        queue.done = at;
        queue.free = queue.free.max(at);
        self.estimate.busy[u] += at - began;
        for c in (0..4).filter(|c| job.post >> c & 1 == 1) {
            self.posted[u][c].push_back(at);
        }
    }

    fn store(&mut self, job: &Job, at: f64, beats: u64, cycles: f64) {
        self.estimate.write_beats += beats as f64;
        let first = at + ST_DECODE;
        let bus = if self.hw.axi_ports == 2 {
            &mut self.bus1
        } else {
            &mut self.bus
        };
        *bus += beats as f64 / self.port.rate;
        self.retire(
            Unit::St as usize,
            job,
            first + cycles + self.port.latency,
            at,
        );
    }

    /// Issues the next burst of the load under way, if there is room for it.
    fn burst(&mut self) -> bool {
        let Some(mut load) = self.load.take() else {
            return false;
        };
        let weights = matches!(load.job.work, Work::Weights(_));
        let beats = load
            .left
            .min(BURST.min(u64::from(self.hw.stream_beats) / 4).max(1));
        let mut issue = load.next;
        if weights {
            let room = self.asked + beats as f64 - f64::from(self.hw.stream_beats);
            let Some(at) = self.taken.when(room) else {
                self.load = Some(load);
                return false;
            };
            issue = issue.max(at);
            self.asked += beats as f64;
        }
        if self.bursts.len() == OUTSTANDING {
            issue = issue.max(self.bursts.pop_front().unwrap_or(0.0));
        }
        let begin = (issue + 1.0 + self.port.latency).max(self.bus);
        let end = begin + beats as f64 / self.port.rate;
        self.bus = end;
        self.bursts.push_back(end);
        self.estimate.read_beats += beats as f64;
        if weights {
            self.arrived.push(beats as f64, begin, end);
        }
        load.next = issue + LD_BURST;
        load.last = end;
        load.left -= beats;
        if load.left == 0 {
            load.rows -= 1;
            load.left = load.runs.beats;
        }
        if load.rows > 0 {
            self.load = Some(load);
            return true;
        }
        if let Work::Vector { words, .. } = load.job.work {
            self.words = (begin + 2.0).max(self.words) + words as f64;
            load.last = self.words.max(end) + 1.0;
        }
        let ld = Unit::Ld as usize;
        let done = load.last.max(self.queues[ld].done);
        self.queues[ld].free = load.next - 1.0;
        let free = self.queues[ld].free;
        self.retire(ld, &load.job, done, done);
        self.queues[ld].free = free;
        true
    }

    /// Multiplies some tiles of the product under way, if their beats are known.
    fn piece(&mut self) -> bool {
        let Some(mut m) = self.multiply.take() else {
            return false;
        };
        let p = m.product;
        let most = PIECE.min(f64::from(self.hw.stream_beats) / 4.0);
        let tiles = ((most / p.beats).floor().max(1.0) as u64).min(m.tiles);
        let beats = tiles as f64 * p.beats;
        let Some(arrived) = self.arrived.when(self.taken.total + beats) else {
            self.multiply = Some(m);
            return false;
        };
        if m.tiles == p.tiles {
            // A bank of accumulators must have been read out.
            m.now = m.now.max(m.drained[0]);
        }
        let begin = m.now;
        m.now = (m.now + tiles as f64 * p.cycles).max(arrived + 2.0);
        self.taken.push(beats, begin, m.now);
        m.tiles -= tiles;
        if m.tiles == 0 {
            let drained = m.drained[1].max(m.now + MM_PIPELINE - 6.0) + p.drain;
            m.drained = [m.drained[1], drained];
            m.groups -= 1;
            m.tiles = p.tiles;
        }
        if m.groups > 0 {
            self.multiply = Some(m);
            return true;
        }
        let done = m.drained[1] + 6.0;
        self.retire(Unit::Mm as usize, &m.job, done, m.started);
        true
    }
}

fn name(u: usize) -> &'static str {
    ["LD", "ST", "MM", "the special-function unit"][u]
}
