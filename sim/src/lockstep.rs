//! Runs the functional model and the RTL side by side and compares them at each retired
//! instruction: registers that the sequencer writes, words, blocks and bytes that units write,
//! then results, how the program ended, and memory.

use crate::device::{Counters, Device, Limits, Outcome, Start};
use crate::effects::{Effects, Place};
use crate::error::{Result, SimError};
use crate::model::{End, Model, Observe, Step};
use crate::rtl::{Event, RtlDevice, SysEvent, Watch};
use crate::timeline::Timeline;
use crate::traffic::Traffic;
use lampyris_isa::{HwConfig, Insn, Unit};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Gives the source of an instruction (operation and layer) for reports.
pub type Labels = Box<dyn Fn(u32) -> Option<String>>;

/// The first difference between model and RTL.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Sequence number from the start of the program.
    pub seq: u32,
    /// Instruction index, if known.
    pub pc: Option<u32>,
    /// The instruction, if known.
    pub insn: Option<Insn>,
    /// Its source: operation and layer.
    pub label: Option<String>,
    /// Cycle since power-up in which the RTL retired it.
    pub cycle: u64,
    /// What differs: a place, a register, the order.
    pub what: String,
    /// What the model has.
    pub model: String,
    /// What the RTL has.
    pub rtl: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "model and RTL differ at instruction {}", self.seq)?;
        if let Some(pc) = self.pc {
            write!(f, " (pc {pc})")?;
        }
        if let Some(insn) = &self.insn {
            write!(f, " `{insn}`")?;
        }
        if let Some(label) = &self.label {
            write!(f, " from {label}")?;
        }
        write!(f, ", cycle {}: {}", self.cycle, self.what)?;
        write!(f, "\n  model: {}\n  rtl:   {}", self.model, self.rtl)
    }
}

/// Model and RTL as one device.
pub struct Lockstep {
    model: Model,
    rtl: RtlDevice,
    labels: Labels,
    progress: Option<Box<dyn FnMut(u64)>>,
    timeline: Option<Timeline>,
}

impl Lockstep {
    /// Joins a model and an RTL device of the same configuration and memory contents, both
    /// freshly made.
    ///
    /// # Errors
    /// Different configurations.
    pub fn new(mut model: Model, mut rtl: RtlDevice) -> Result<Lockstep> {
        if model.config().hash() != rtl.config().hash() {
            return Err(SimError::Start {
                problem: "model and RTL have different configurations".into(),
                hint: "build both for the same board",
            });
        }
        model.set_observe(Observe::Log);
        rtl.log_events();
        Ok(Lockstep {
            model,
            rtl,
            labels: Box::new(|_| None),
            progress: None,
            timeline: None,
        })
    }

    /// Where reports find the source of an instruction.
    pub fn set_labels(&mut self, labels: Labels) {
        self.labels = labels;
    }

    /// Called now and then with the cycle since power-up.
    pub fn set_progress(&mut self, progress: Box<dyn FnMut(u64)>) {
        self.progress = Some(progress);
    }

    /// Records from now on which instruction ran when.
    pub fn record_timeline(&mut self) {
        self.timeline = Some(Timeline::new());
    }

    /// The recording, if one was begun.
    pub fn timeline(&self) -> Option<&Timeline> {
        self.timeline.as_ref()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model, for checks and fault injection.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// The RTL.
    pub fn rtl(&self) -> &RtlDevice {
        &self.rtl
    }

    fn compare_run(&mut self, limits: &Limits) -> Result<Outcome> {
        let mut judge = Judge {
            model: &mut self.model,
            labels: &self.labels,
            progress: self.progress.as_deref_mut(),
            timeline: self.timeline.as_mut(),
            expected: Default::default(),
            end: None,
            failure: None,
            cycle: 0,
        };
        let ended = self.rtl.run_watched(limits, &mut judge);
        if let Some(failure) = judge.failure {
            return Err(failure);
        }
        let outcome = match ended {
            Ok(outcome) => outcome.expect("only a failure ends the run early"),
            // The RTL stopped moving, but what the model would have done tells more.
            Err(e @ (SimError::Stuck { .. } | SimError::Limit { .. })) => {
                return Err(judge.explain_stop(e));
            }
            Err(e) => return Err(e),
        };
        judge.cycle = self.rtl.cycle();
        let ours = judge.finish(&outcome, limits)?;
        self.compare_results()?;
        if matches!(ours, Outcome::Halted(_)) {
            self.compare_memory()?;
        }
        Ok(ours)
    }

    fn whole_program(&self, what: String, model: String, rtl: String) -> SimError {
        SimError::Mismatch(Box::new(Mismatch {
            seq: 0,
            pc: None,
            insn: None,
            label: None,
            cycle: self.rtl.cycle(),
            what,
            model,
            rtl,
        }))
    }

    fn compare_results(&mut self) -> Result<()> {
        let (ours, theirs) = (self.model.results()?, self.rtl.results()?);
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            if a != b {
                let what = format!("result register RES{i}");
                return Err(self.whole_program(what, format!("{a:#x}"), format!("{b:#x}")));
            }
        }
        Ok(())
    }

    fn compare_memory(&self) -> Result<()> {
        let segments = self
            .model
            .memory()
            .writable()
            .zip(self.rtl.memory().writable());
        for ((name, base, ours), (_, _, theirs)) in segments {
            if ours == theirs {
                continue;
            }
            let at = ours
                .iter()
                .zip(theirs)
                .position(|(a, b)| a != b)
                .unwrap_or(ours.len());
            let what = format!("`{name}` {} at the end", Place::Dram(base + at as u64));
            let show = |bytes: &[u8]| {
                bytes
                    .get(at)
                    .map_or("absent".into(), |b| format!("{b:#04x}"))
            };
            return Err(self.whole_program(what, show(ours), show(theirs)));
        }
        Ok(())
    }
}

/// Compares the RTL's events with the model's steps.
struct Judge<'a> {
    model: &'a mut Model,
    labels: &'a Labels,
    progress: Option<&'a mut (dyn FnMut(u64) + 'static)>,
    timeline: Option<&'a mut Timeline>,
    /// Steps of the model that the RTL has not retired yet, by unit.
    expected: [VecDeque<Step>; 5],
    /// The model's last step, once it has ended.
    end: Option<Step>,
    failure: Option<SimError>,
    cycle: u64,
}

impl Judge<'_> {
    /// The model's next instruction of a unit; steps the model as far as needed.
    fn next(&mut self, unit: Unit) -> Result<Option<Step>> {
        while self.expected[unit as usize].is_empty() && self.end.is_none() {
            self.step()?;
        }
        Ok(self.expected[unit as usize].pop_front())
    }

    fn step(&mut self) -> Result<()> {
        let step = self.model.step()?;
        let raised = matches!(step.end, Some(End::Raised(..)));
        if step.end.is_some() {
            self.end = Some(step.clone());
        }
        if !raised {
            self.expected[step.unit as usize].push_back(step);
        }
        Ok(())
    }

    fn mismatch(
        &self,
        step: Option<&Step>,
        seq: u32,
        what: String,
        values: [String; 2],
    ) -> SimError {
        let [model, rtl] = values;
        SimError::Mismatch(Box::new(Mismatch {
            seq,
            pc: step.map(|s| s.pc),
            insn: step.and_then(|s| s.insn),
            label: step.and_then(|s| (self.labels)(s.pc)),
            cycle: self.cycle,
            what,
            model,
            rtl,
        }))
    }

    /// Whether the RTL may have executed `seq` although the model stopped with an error before:
    /// units run ahead of the one that fails.
    fn ran_ahead(&self, seq: u32) -> bool {
        self.end
            .as_ref()
            .is_some_and(|s| matches!(s.end, Some(End::Raised(..))) && seq > s.seq)
    }

    fn record(&mut self, step: &Step, cycle: u64) {
        if let Some(timeline) = &mut self.timeline {
            timeline.retired(step, cycle, (self.labels)(step.pc));
        }
    }

    fn sys(&mut self, event: SysEvent) -> Result<()> {
        self.cycle = event.cycle;
        let Some(step) = self.next(Unit::Sys)? else {
            if self.ran_ahead(event.seq) {
                return Ok(());
            }
            let values = ["no further instruction".into(), format!("pc {}", event.pc)];
            return Err(self.mismatch(None, event.seq, "sequencer".into(), values));
        };
        if (step.seq, step.pc) != (event.seq, event.pc) {
            let show = |seq: u32, pc: u32| format!("instruction {seq} at pc {pc}");
            let values = [show(step.seq, step.pc), show(event.seq, event.pc)];
            return Err(self.mismatch(Some(&step), step.seq, "control flow".into(), values));
        }
        if step.register != event.register {
            let show = |r: Option<(u8, u64)>| match r {
                Some((rd, value)) => format!("r{rd} = {value:#x}"),
                None => "no register".into(),
            };
            let values = [show(step.register), show(event.register)];
            return Err(self.mismatch(Some(&step), step.seq, "register write".into(), values));
        }
        self.record(&step, event.cycle);
        Ok(())
    }

    fn retired(&mut self, unit: Unit, seq: u32, effects: &Effects) -> Result<()> {
        let Some(step) = self.next(unit)? else {
            if self.ran_ahead(seq) {
                return Ok(());
            }
            let values = ["nothing more".into(), format!("instruction {seq}")];
            return Err(self.mismatch(None, seq, format!("retirement by {unit:?}"), values));
        };
        if step.seq != seq {
            let values = [
                format!("instruction {}", step.seq),
                format!("instruction {seq}"),
            ];
            return Err(self.mismatch(Some(&step), step.seq, format!("order of {unit:?}"), values));
        }
        if step.effects.same(effects) {
            self.record(&step, self.cycle);
            return Ok(());
        }
        let missing = || "not written".to_string();
        let (what, values) = match step.effects.first_difference(effects) {
            Some((place, ours, theirs)) => (
                place.to_string(),
                [ours.unwrap_or_else(missing), theirs.unwrap_or_else(missing)],
            ),
            None => (
                "number of writes".into(),
                [step.effects.writes.to_string(), effects.writes.to_string()],
            ),
        };
        Err(self.mismatch(Some(&step), seq, what, values))
    }

    /// Runs the model to its end and compares how the two ended.
    fn finish(&mut self, theirs: &Outcome, limits: &Limits) -> Result<Outcome> {
        for _ in 0..limits.instructions {
            if self.end.is_some() {
                break;
            }
            self.step()?;
        }
        let Some(last) = self.end.take() else {
            return Err(SimError::Limit {
                used: limits.instructions,
                unit: "instructions",
            });
        };
        let (ours, same) = match (&last.end, theirs) {
            (Some(End::Halted(a)), Outcome::Halted(b)) => (Outcome::Halted(*a), a == b),
            (Some(End::Halted(a)), _) => (Outcome::Halted(*a), false),
            (Some(End::Raised(code, detail)), _) => {
                let code = *code as u8;
                let same = matches!(theirs, Outcome::Raised { code: c, .. } if *c == code);
                (
                    Outcome::Raised {
                        code,
                        pc: last.pc,
                        detail: detail.clone(),
                    },
                    same,
                )
            }
            (None, _) => unreachable!("kept only when the program ended"),
        };
        if !same {
            let values = [ours.to_string(), theirs.to_string()];
            return Err(self.mismatch(Some(&last), last.seq, "how it ended".into(), values));
        }
        if matches!(ours, Outcome::Halted(_))
            && let Some(step) = self.expected.iter().find_map(VecDeque::front)
        {
            let values = ["retired".into(), "never retired".into()];
            return Err(self.mismatch(Some(step), step.seq, "retirement".into(), values));
        }
        Ok(ours)
    }

    /// Adds to a stop of the RTL which instructions the model expects next.
    fn explain_stop(&mut self, error: SimError) -> SimError {
        let mut waiting = Vec::new();
        for unit in Unit::QUEUED.into_iter().chain([Unit::Sys]) {
            // A program that never ends must not be followed for ever.
            for _ in 0..10_000 {
                if !self.expected[unit as usize].is_empty() || self.end.is_some() {
                    break;
                }
                if let Err(e) = self.step() {
                    return e;
                }
            }
            if let Some(step) = self.expected[unit as usize].front() {
                let text = step.insn.map_or_else(String::new, |i| i.to_string());
                waiting.push(format!(
                    "{unit:?} instruction {} (pc {}) `{text}`",
                    step.seq, step.pc
                ));
            }
        }
        match error {
            SimError::Stuck {
                cycles,
                cycle,
                state,
            } => {
                let state = format!("{state}; to be retired next: {}", waiting.join(", "));
                SimError::Stuck {
                    cycles,
                    cycle,
                    state,
                }
            }
            other => other,
        }
    }
}

impl Watch for Judge<'_> {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        let result = match event {
            Event::Sys(event) => self.sys(event),
            Event::Retired {
                unit,
                seq,
                cycle,
                effects,
            } => {
                self.cycle = cycle;
                self.retired(unit, seq, &effects)
            }
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                self.failure = Some(e);
                ControlFlow::Break(())
            }
        }
    }

    fn progress(&mut self, cycle: u64) -> ControlFlow<()> {
        if let Some(progress) = &mut self.progress {
            progress(cycle);
        }
        ControlFlow::Continue(())
    }
}

impl Device for Lockstep {
    fn config(&self) -> &HwConfig {
        self.rtl.config()
    }

    fn traffic(&self) -> Option<Traffic> {
        self.rtl.traffic()
    }

    fn read_memory(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        self.rtl.read_memory(addr, out)
    }

    fn write_memory(&mut self, addr: u64, data: &[u8]) -> Result<()> {
        self.model.write_memory(addr, data)?;
        self.rtl.write_memory(addr, data)
    }

    fn read_register(&mut self, offset: u32) -> Result<u32> {
        self.rtl.read_register(offset)
    }

    fn write_register(&mut self, offset: u32, value: u32) -> Result<()> {
        self.model.write_register(offset, value)?;
        self.rtl.write_register(offset, value)
    }

    fn start(&mut self, start: &Start) -> Result<()> {
        if let Some(timeline) = &mut self.timeline {
            timeline.begin(self.rtl.cycle());
        }
        self.model.start(start)?;
        self.rtl.start(start)
    }

    fn run(&mut self, limits: &Limits) -> Result<Outcome> {
        self.compare_run(limits)
    }

    fn counters(&mut self) -> Result<Counters> {
        self.rtl.counters()
    }
}
