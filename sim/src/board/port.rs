//! The serial port of a simulated board: the very top level that a bitstream is made of, with its
//! pins and a model of its memory chip.

use crate::error::{Result, SimError};
use crate::rtl::default_rtl_root;
use lampyris_boards::{Board, Hardware};
use lampyris_link::Transport;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use verilator_sys::{Build, InitialState, Input, Model, Output, Setup, source_tree};

/// Top module: the board's top level and its memory chip.
const TOP: &str = "sim_sdr";

/// Clocks without a byte after which [`SimPort::receive`] gives up: twice the link's own time-out.
const PATIENCE: u64 = 1 << 21;

/// A simulated board.
pub struct SimPort {
    model: Model,
    clk: Input,
    rx: Input,
    tx: Output,
    violation: Output,
    cycle: u64,
    /// 256ths of a clock that a bit takes.
    per_bit: u64,
    received: VecDeque<u8>,
    listener: Listener,
}

/// Samples the board's serial output.
#[derive(Default)]
struct Listener {
    /// When the start bit began, in 256ths of a clock.
    start: Option<u64>,
    bits: u32,
    byte: u8,
}

impl Listener {
    /// Takes the line's level at a time; returns a byte when its stop bit is there.
    fn hear(&mut self, now: u64, level: bool, per_bit: u64) -> Option<u8> {
        let Some(start) = self.start else {
            if !level {
                *self = Listener {
                    start: Some(now),
                    ..Listener::default()
                };
            }
            return None;
        };
        // Bit 0 is the start bit; each is looked at in its middle.
        if now < start + u64::from(self.bits) * per_bit + per_bit / 2 {
            return None;
        }
        match self.bits {
            1..=8 => self.byte |= u8::from(level) << (self.bits - 1),
            9 => {
                self.start = None;
                return level.then_some(self.byte);
            }
            _ => {}
        }
        self.bits += 1;
        None
    }
}

impl SimPort {
    /// Builds the board's top level for a board, or finds it in the cache, and powers it up.
    ///
    /// # Errors
    /// Boards without hardware, missing tools or sources, or what Verilator or the compiler say.
    pub fn new(board: &Board, seed: u32) -> Result<SimPort> {
        let hardware = board.hardware.as_ref().ok_or_else(|| SimError::Start {
            problem: format!("{} has no part, pins and memory", board.name),
            hint: "name a board that can be built, such as ulx3s-85f",
        })?;
        let failed = |source| SimError::Verilator {
            context: "building the board's top level",
            source,
        };
        let model = build(board, hardware)
            .and_then(|design| design.instantiate(&Setup { seed }))
            .map_err(failed)?;
        let input = |name| model.input(name, 1).map_err(failed);
        let (clk, rx, power) = (input("clk_i")?, input("uart_rx_i")?, input("power_ni")?);
        let tx = model.output("uart_tx_o", 1).map_err(failed)?;
        let violation = model.output("violation_o", 5).map_err(failed)?;
        let parameters = hardware.parameters(&board.config);
        let per_bit = parameters.iter().find(|(name, _)| *name == "ClocksPerBit");
        let mut port = SimPort {
            per_bit: per_bit.map_or(1, |(_, value)| u64::from(*value)),
            model,
            clk,
            rx,
            tx,
            violation,
            cycle: 0,
            received: VecDeque::new(),
            listener: Listener::default(),
        };
        port.model.set(rx, 1);
        for level in [0, 1] {
            port.model.set(power, level);
            port.advance(8).map_err(io_error)?;
        }
        Ok(port)
    }

    /// Clock cycles since power-up.
    pub fn cycles(&self) -> u64 {
        self.cycle
    }

    fn advance(&mut self, clocks: u64) -> io::Result<()> {
        for _ in 0..clocks {
            for level in [1, 0] {
                self.model.set(self.clk, level);
                self.model.eval().map_err(io::Error::other)?;
            }
            self.cycle += 1;
            let level = self.model.get(self.tx) != 0;
            let byte = self.listener.hear(self.cycle << 8, level, self.per_bit);
            self.received.extend(byte);
        }
        match self.model.get(self.violation) {
            0 => Ok(()),
            rule => Err(io::Error::other(format!(
                "the board broke rule {} of its memory chip (sim/chips/sdr_rules.sv) before cycle {}",
                rule - 1,
                self.cycle
            ))),
        }
    }

    /// Sends one byte: a start bit, eight bits and a stop bit.
    fn transmit(&mut self, byte: u8) -> io::Result<()> {
        let frame = u64::from(byte) << 1 | 1 << 9;
        let begin = self.cycle << 8;
        for bit in 0..10 {
            self.model.set(self.rx, frame >> bit & 1);
            let end = (begin + (bit + 1) * self.per_bit) >> 8;
            self.advance(end - self.cycle)?;
        }
        Ok(())
    }
}

/// Verilates the top level with its chip.
fn build(board: &Board, hardware: &Hardware) -> verilator_sys::Result<verilator_sys::Design> {
    let chips = Path::new(env!("CARGO_MANIFEST_DIR")).join("chips");
    let mut sources = source_tree(&default_rtl_root())?;
    sources.extend(source_tree(&chips)?);
    let mut build = Build::new(TOP)
        .sources(sources)
        .assertions(true)
        .initial_state(InitialState::Random);
    let clock_khz = board.config.clock_khz;
    for (name, value) in hardware.parameters(&board.config) {
        build = build.param(name, value);
    }
    for (name, value) in hardware.memory.sdr.limits(clock_khz) {
        build = build.param(name, value);
    }
    build.build()
}

fn io_error(error: io::Error) -> SimError {
    SimError::Start {
        problem: format!("the simulated board stopped: {error}"),
        hint: "this is a bug in the RTL, not in the program",
    }
}

impl Transport for SimPort {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.iter().try_for_each(|byte| self.transmit(*byte))
    }

    fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.cycle + PATIENCE;
        while self.received.is_empty() && self.cycle < end {
            self.advance(64)?;
        }
        let count = out.len().min(self.received.len());
        for (byte, got) in out.iter_mut().zip(self.received.drain(..count)) {
            *byte = got;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_reads_bytes_at_any_speed() {
        for per_bit in [2048, 4267, 5000] {
            let mut listener = Listener::default();
            let bytes = [0x00, 0xff, 0xa5, 0x5a];
            let bits = bytes.iter().flat_map(|byte| {
                let frame = u64::from(*byte) << 1 | 1 << 9;
                (0..10).map(move |bit| frame >> bit & 1 == 1)
            });
            let line: Vec<bool> = bits.chain([true; 3]).collect();
            let end = line.len() as u64 * per_bit / 256;
            let heard: Vec<u8> = (0..end)
                .filter_map(|clock| {
                    let now = clock << 8;
                    listener.hear(now, line[(now / per_bit) as usize], per_bit)
                })
                .collect();
            assert_eq!(heard, bytes);
        }
    }
}
