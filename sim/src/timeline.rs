//! Which instruction each unit executed when, as a trace file for Perfetto and other viewers of
//! the Chrome trace format: one track a unit.
//!
//! The RTL reports when instructions retire. An instruction is shown from when it could have
//! started: its unit was free, the semaphores that it takes were posted, and the sequencer had
//! passed the last fence before it.

use crate::model::{Step, masks};
use lampyris_isa::Unit;
use serde::Serialize;
use std::collections::VecDeque;
use std::io::Write;

/// Most instructions that a timeline keeps; later ones are counted only.
pub const RECORDS_MAX: usize = 1 << 20;

/// One executed instruction.
#[derive(Clone, Debug)]
pub struct Record {
    /// Who executed it.
    pub unit: Unit,
    /// Sequence number in its call of the accelerator.
    pub seq: u32,
    /// Instruction index.
    pub pc: u32,
    /// Assembler text.
    pub text: String,
    /// Operation and layer.
    pub label: Option<String>,
    /// First cycle, from power-up.
    pub start: u64,
    /// Cycle in which it retired.
    pub end: u64,
}

/// A recording.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    records: Vec<Record>,
    /// Instructions beyond [`RECORDS_MAX`].
    left_out: u64,
    /// Cycle in which each unit, and last the sequencer, retired its last instruction.
    free: [u64; 5],
    /// Cycles of posts that are not taken yet, by producer and consumer.
    posted: [[VecDeque<u64>; 4]; 4],
}

impl Timeline {
    /// An empty recording.
    pub fn new() -> Timeline {
        Timeline::default()
    }

    /// The instructions recorded so far, in the order in which they retired.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Instructions that retired after the recording was full.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// A program starts: semaphores are zero.
    pub(crate) fn begin(&mut self, cycle: u64) {
        self.posted = Default::default();
        self.free = [cycle; 5];
    }

    /// An instruction retired.
    pub(crate) fn retired(&mut self, step: &Step, cycle: u64, label: Option<String>) {
        let Some(insn) = step.insn else { return };
        let u = step.unit as usize;
        let mut start = self.free[u];
        if u < 4 {
            let (wait, post) = masks(&insn);
            start = start.max(self.free[Unit::Sys as usize].min(cycle));
            for p in (0..4).filter(|p| wait >> p & 1 == 1) {
                start = start.max(self.posted[p][u].pop_front().unwrap_or(start));
            }
            for c in (0..4).filter(|c| post >> c & 1 == 1) {
                self.posted[u][c].push_back(cycle);
            }
        }
        self.free[u] = cycle;
        if self.records.len() == RECORDS_MAX {
            self.left_out += 1;
            return;
        }
        let (seq, pc, text) = (step.seq, step.pc, insn.to_string());
        let start = start.min(cycle);
        self.records.push(Record {
            unit: step.unit,
            seq,
            pc,
            text,
            label,
            start,
            end: cycle,
        });
    }

    /// Writes the trace as JSON; times are those of a clock of `clock_khz`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, mut out: impl Write, clock_khz: u32) -> std::io::Result<()> {
        let us = |cycles: u64| cycles as f64 * 1e3 / f64::from(clock_khz);
        write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        for (tid, name) in TRACKS.iter().enumerate() {
            let comma = if tid == 0 { "\n" } else { ",\n" };
            write!(
                out,
                "{comma}{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{tid},\
                 \"args\":{{\"name\":\"{name}\"}}}}"
            )?;
        }
        for record in &self.records {
            let mnemonic = record.text.split(' ').next().unwrap_or_default();
            let event = TraceEvent {
                name: record.label.as_deref().unwrap_or(mnemonic),
                cat: mnemonic,
                ph: "X",
                ts: us(record.start),
                dur: us(record.end - record.start),
                pid: 1,
                tid: record.unit as u8,
                args: TraceArgs {
                    seq: record.seq,
                    pc: record.pc,
                    insn: &record.text,
                    cycles: record.end - record.start,
                },
            };
            writeln!(out, ",")?;
            serde_json::to_writer(&mut out, &event)?;
        }
        writeln!(out, "\n]}}")?;
        out.flush()
    }
}

/// Names of the tracks, by unit.
const TRACKS: [&str; 5] = ["LD", "ST", "MM", "SFU", "sequencer"];

#[derive(Serialize)]
struct TraceEvent<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'static str,
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u8,
    args: TraceArgs<'a>,
}

#[derive(Serialize)]
struct TraceArgs<'a> {
    seq: u32,
    pc: u32,
    insn: &'a str,
    cycles: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Effects;
    use lampyris_isa::Insn;

    fn step(seq: u32, unit: Unit, text: &str) -> Step {
        Step {
            seq,
            pc: seq,
            insn: Some(Insn::parse(text).unwrap()),
            unit,
            register: None,
            effects: Effects::default(),
            end: None,
        }
    }

    #[test]
    fn waits_and_fences_delay_the_start() {
        let mut t = Timeline::new();
        t.begin(100);
        t.retired(&step(0, Unit::Ld, "ld.v post=8"), 150, None);
        t.retired(&step(1, Unit::Sfu, "vop wait=1"), 180, Some("norm".into()));
        t.retired(&step(2, Unit::Sys, "fence units=15"), 181, None);
        t.retired(&step(3, Unit::Ld, "ld.v"), 200, None);
        let spans: Vec<_> = t.records().iter().map(|r| (r.start, r.end)).collect();
        assert_eq!(spans, [(100, 150), (150, 180), (100, 181), (181, 200)]);
    }

    #[test]
    fn json_is_valid_and_scaled_by_the_clock() {
        let mut t = Timeline::new();
        t.begin(1000);
        t.retired(
            &step(7, Unit::Mm, "mv bits=4"),
            3000,
            Some("a \"q\" name".into()),
        );
        let mut out = Vec::new();
        t.write(&mut out, 200_000).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let event = &value["traceEvents"][5];
        assert_eq!((&event["ts"], &event["dur"]), (&5.0.into(), &10.0.into()));
        assert_eq!(
            (&event["name"], &event["tid"]),
            (&"a \"q\" name".into(), &2.into())
        );
        assert_eq!(event["args"]["insn"], "mv bits=4");
    }
}
