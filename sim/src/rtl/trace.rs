//! From the trace ports to events: which instruction retired, with its writes.

use super::ports::Ports;
use crate::effects::{ActBlock, Effects};
use lampyris_isa::num::ActScale;
use lampyris_isa::{HwConfig, Unit};
use std::collections::VecDeque;
use verilator_sys::Model;

/// A SYS instruction that the sequencer executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysEvent {
    /// Sequence number.
    pub seq: u32,
    /// Instruction index.
    pub pc: u32,
    /// Register and value, if it writes one.
    pub register: Option<(u8, u64)>,
    /// Cycle since power-up.
    pub cycle: u64,
}

/// Something that the RTL did.
#[derive(Clone, Debug)]
pub enum Event {
    /// The sequencer executed an instruction.
    Sys(SysEvent),
    /// A unit retired an instruction.
    Retired {
        /// The unit.
        unit: Unit,
        /// Sequence number.
        seq: u32,
        /// Cycle since power-up.
        cycle: u64,
        /// Its writes.
        effects: Effects,
    },
}

/// Follows the trace ports.
pub(crate) struct Trace {
    lanes: usize,
    enabled: bool,
    log: bool,
    /// Writes of each unit since its last retirement.
    effects: [Effects; 4],
    events: VecDeque<Event>,
    last: [Option<u32>; 4],
}

impl Trace {
    pub(crate) fn new(config: &HwConfig, enabled: bool, log: bool) -> Trace {
        Trace {
            lanes: config.sfu_lanes as usize,
            enabled,
            log,
            effects: std::array::from_fn(|_| Effects::new(log)),
            events: VecDeque::new(),
            last: [None; 4],
        }
    }

    /// Where to note the bytes that ST writes.
    #[inline]
    pub(crate) fn stores(&mut self) -> Option<&mut Effects> {
        self.enabled.then_some(&mut self.effects[Unit::St as usize])
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The last sequence number that each unit retired.
    pub(crate) fn last_retired(&self) -> String {
        let show = |(name, seq): (&str, &Option<u32>)| match seq {
            Some(seq) => format!("{name} {seq}"),
            None => format!("{name} none"),
        };
        ["LD", "ST", "MM", "SFU"]
            .into_iter()
            .zip(&self.last)
            .map(show)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Looks at the settled outputs of a cycle; whether an instruction made progress.
    #[inline]
    pub(crate) fn sample(&mut self, model: &Model, p: &Ports, cycle: u64) -> bool {
        let retired = model.get(p.retire_valid);
        let sys = model.get(p.sys_valid) == 1;
        let (vmem, xbuf) = (model.get(p.vwr_valid) == 1, model.get(p.xwr_valid) == 1);
        let alive = retired != 0 || sys || vmem || xbuf;
        if !self.enabled {
            if retired != 0 {
                self.note_retired(model, p, retired);
            }
            return alive;
        }
        if vmem {
            self.vmem_write(model, p);
        }
        if xbuf {
            self.xbuf_write(model, p);
        }
        if sys {
            let register = (model.get(p.sys_we) == 1)
                .then(|| (model.get(p.sys_rd) as u8, model.get(p.sys_value)));
            let seq = model.get(p.sys_seq) as u32;
            let pc = model.get(p.sys_pc) as u32;
            self.events.push_back(Event::Sys(SysEvent {
                seq,
                pc,
                register,
                cycle,
            }));
        }
        if retired != 0 {
            self.note_retired(model, p, retired);
            for unit in Unit::QUEUED
                .into_iter()
                .filter(|&u| retired >> u as u32 & 1 == 1)
            {
                let fresh = Effects::new(self.log);
                let effects = std::mem::replace(&mut self.effects[unit as usize], fresh);
                let seq = self.last[unit as usize].unwrap_or(0);
                self.events.push_back(Event::Retired {
                    unit,
                    seq,
                    cycle,
                    effects,
                });
            }
        }
        alive
    }

    fn note_retired(&mut self, model: &Model, p: &Ports, retired: u64) {
        let mut seqs = [0; 4];
        model.get_words(p.retire_seq, &mut seqs);
        for (u, seq) in seqs.into_iter().enumerate() {
            if retired >> u & 1 == 1 {
                self.last[u] = Some(seq);
            }
        }
    }

    fn vmem_write(&mut self, model: &Model, p: &Ports) {
        let mut words = [0; 8];
        if self.lanes == 2 {
            // 64 bits: a scalar port.
            let both = model.get(p.vwr_data);
            words[0] = both as u32;
            words[1] = (both >> 32) as u32;
        } else {
            model.get_words(p.vwr_data, &mut words[..self.lanes]);
        }
        let mask = model.get(p.vwr_mask);
        let line = model.get(p.vwr_line) as u32;
        let effects = &mut self.effects[model.get(p.vwr_unit) as usize & 3];
        for (lane, &word) in words[..self.lanes].iter().enumerate() {
            if mask >> lane & 1 == 1 {
                effects.vmem_word(line * self.lanes as u32 + lane as u32, word);
            }
        }
    }

    fn xbuf_write(&mut self, model: &Model, p: &Ports) {
        let mut words = [0; 9];
        model.get_words(p.xwr_data, &mut words);
        let block = unpack_block(&words);
        let at = model.get(p.xwr_addr) as u32;
        self.effects[Unit::Sfu as usize].xbuf_block(at, &block);
    }
}

/// An `act_block_t`: codes in bits 255:0, significand without its leading one in 262:256,
/// exponent in 268:263, sum in 281:269.
fn unpack_block(words: &[u32; 9]) -> ActBlock {
    let mut codes = [0; 32];
    for (four, word) in codes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *four = word.to_le_bytes().map(|b| b as i8);
    }
    let top = words[8];
    let significand = 128 | (top & 0x7f) as u8;
    let exponent = (top >> 7 & 0x3f) as u8;
    // Sign-extends 13 bits.
    let sum = ((top >> 13 << 3) as u16 as i16) >> 3;
    ActBlock {
        codes,
        scale: ActScale {
            significand,
            exponent,
        },
        sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_fields_are_where_the_package_puts_them() {
        let mut words = [0; 9];
        words[0] = 0x81_02_ff_01;
        words[8] = 5 | 33 << 7 | 0x1ffd << 13;
        let block = unpack_block(&words);
        assert_eq!(block.codes[..4], [1, -1, 2, -127]);
        assert_eq!(
            (block.scale.significand, block.scale.exponent, block.sum),
            (133, 33, -3)
        );
    }
}
