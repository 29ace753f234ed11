//! How many cycles a program takes, without RTL: a few thousand times faster than Verilator.
//!
//! The sequencer is executed, the units are not: of each instruction only how long it takes
//! matters, which follows from its operands ([`work`]). Units, queues and semaphores form a network
//! of processes that never choose (as in [`crate::check`]), so each can be advanced as far as its
//! inputs are known, and the time of every event is the maximum of what it waits for
//! ([`network`]). The weight stream couples LD and MM in pieces of a burst ([`stream`]). What stays
//! approximate: the order in which instructions, loads and stores share a memory port, and
//! addresses that come from vector memory (the embedding row), which are taken as zero. How close
//! it comes is measured by `cargo xtask bench estimate`.

mod icache;
mod network;
mod stream;
mod work;

use crate::device::Start;
use crate::dram::{Dram, DramConfig};
use crate::error::{Result, SimError};
use lampyris_isa::{HwConfig, Insn};
use network::Network;

/// Instructions that an estimate follows at most.
const INSTRUCTIONS_MAX: u64 = 1 << 28;

/// A memory port as the estimator sees it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PortTiming {
    /// Cycles from an address to its first beat, and from the last written beat to its response.
    pub latency: f64,
    /// Beats a cycle of a long stream, at most 1.
    pub rate: f64,
}

impl PortTiming {
    /// A memory of fixed latency that never makes the port wait, as the simulator has by default.
    pub const FIXED: PortTiming = PortTiming {
        latency: 42.0,
        rate: 1.0,
    };

    /// What a DRAM gives a stream of reads: one is run through its timing model.
    ///
    /// # Errors
    /// Parameters of the memory that are out of range.
    pub fn of_dram(config: &DramConfig, hw: &HwConfig) -> Result<PortTiming> {
        let mut dram = Dram::new(config, hw.clock_khz)?;
        let bytes = u64::from(hw.beat_bytes()) * BURST_BEATS;
        let (mut sent, mut pending) = (0, std::collections::VecDeque::new());
        let (mut cycle, mut first, mut last) = (0u64, 0u64, 0u64);
        while last == 0 {
            while pending.len() < 16 && sent < STREAM_BURSTS {
                // Channels side by side work in step: one stands for all.
                let burst = match hw.channels {
                    1 => dram.push(false, sent * bytes, bytes),
                    _ => dram.push_read(0, sent * bytes, bytes),
                };
                pending.push_back((burst, sent));
                sent += 1;
            }
            dram.tick();
            cycle += 1;
            while let Some(&(handle, index)) = pending.front() {
                if !dram.complete(handle) {
                    break;
                }
                dram.release(handle);
                pending.pop_front();
                match index {
                    0 => first = cycle,
                    i if i == STREAM_BURSTS - 1 => last = cycle,
                    _ => {}
                }
            }
        }
        let rate = ((STREAM_BURSTS - 1) * BURST_BEATS) as f64 / (last - first) as f64;
        let rate = rate.min(1.0);
        Ok(PortTiming {
            latency: (first as f64 - BURST_BEATS as f64 / rate).max(1.0),
            rate,
        })
    }
}

/// Beats of a burst, and bursts of the stream that a DRAM is measured with: several refresh
/// intervals of every memory.
const BURST_BEATS: u64 = 64;
const STREAM_BURSTS: u64 = 2048;

/// What a program will take.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Estimate {
    /// Cycles from start to halt.
    pub cycles: f64,
    /// Beats read by LD.
    pub read_beats: f64,
    /// Beats written by ST.
    pub write_beats: f64,
    /// Beats of instructions.
    pub fetch_beats: f64,
    /// Cycles in which LD, ST, MM and SFU execute instructions.
    pub busy: [f64; 4],
    /// Steps of the multiplier array, `mac_rows` x 32 products of every channel each.
    pub mac_steps: f64,
    /// Instructions that left the sequencer.
    pub instructions: u64,
}

impl Estimate {
    /// Share of the cycles in which the multiplier array works.
    pub fn mac_share(&self) -> f64 {
        self.mac_steps / self.cycles.max(1.0)
    }

    /// Bytes moved over the memory ports.
    pub fn bytes(&self, hw: &HwConfig) -> f64 {
        let narrow = (self.write_beats + self.fetch_beats) * f64::from(hw.beat_bytes());
        self.read_beats * f64::from(hw.load_beat_bytes()) + narrow
    }
}

/// What the sequencer's own work costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Control {
    /// What it costs in the hardware.
    #[default]
    Timed,
    /// Nothing: no cycle for register arithmetic, loops, jumps, `rdv`, register operands and
    /// instruction fetch. What remains is dispatch, a cycle an instruction, and fences, which
    /// straight-line code needs as well.
    Free,
}

/// Estimates a run of `program` (decoded, index 0 at `start.prog_base`) on a configuration.
///
/// # Errors
/// A program that the hardware would refuse or never finish, and one that runs very long.
pub fn estimate(
    program: &[Insn],
    start: &Start,
    hw: &HwConfig,
    port: PortTiming,
) -> Result<Estimate> {
    estimate_with(program, start, hw, port, Control::Timed)
}

/// [`estimate`] with or without the sequencer's own work. The difference is what control costs:
/// the cycles in which everything waits for the sequencer alone.
///
/// # Errors
/// As [`estimate`].
pub fn estimate_with(
    program: &[Insn],
    start: &Start,
    hw: &HwConfig,
    port: PortTiming,
    control: Control,
) -> Result<Estimate> {
    hw.check()?;
    Network::new(*hw, port, control).run(program, start)
}

/// A program that cannot be estimated.
fn refused(problem: impl Into<String>) -> SimError {
    SimError::Start {
        problem: format!("no estimate: {}", problem.into()),
        hint: "run the program on the functional model, which says what is wrong with it",
    }
}
