//! The functional model: executes programs bit-exactly and in program order, without time.
//!
//! Programs whose units are ordered by semaphores and fences give the same results here and on
//! the hardware; [`Check::Races`] verifies that they are.

mod csr;
mod machine;
mod matrix;
mod sequencer;
mod stream;
mod transfer;
mod vector;

pub use machine::{Access, ErrorCode, Space};

use crate::check::{Check, Job, Races, Schedule, Violation};
use crate::device::{Device, Limits, Outcome, Start};
use crate::effects::{ActBlock, Effects, Place};
use crate::error::{Result, SimError};
use crate::memory::Memory;
use csr::HostRegisters;
use lampyris_isa::insn::INSN_BYTES;
use lampyris_isa::{HwConfig, Insn, Unit};
pub(crate) use machine::Regs;
use machine::{Fault, Machine, Work};
pub(crate) use sequencer::{Action, Sequencer};

/// What the model notes about each instruction's writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Observe {
    /// Nothing.
    #[default]
    Off,
    /// A digest.
    Digest,
    /// Digest and all writes.
    Log,
}

/// How a step ended the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// `halt` with this code.
    Halted(u16),
    /// The instruction failed its checks: error code and cause.
    Raised(ErrorCode, String),
}

/// One executed instruction.
#[derive(Clone, Debug)]
pub struct Step {
    /// Sequence number from the start of the program.
    pub seq: u32,
    /// Instruction index.
    pub pc: u32,
    /// The instruction; `None` if it could not be fetched or decoded.
    pub insn: Option<Insn>,
    /// Who executed it.
    pub unit: Unit,
    /// Register written by a SYS instruction, with its value.
    pub register: Option<(u8, u64)>,
    /// Writes of a unit instruction, if observed.
    pub effects: Effects,
    /// Set on the last instruction.
    pub end: Option<End>,
}

/// The functional model.
pub struct Model {
    machine: Machine,
    sequencer: Sequencer,
    host: HostRegisters,
    observe: Observe,
    check: Check,
    schedule: Option<Schedule>,
    races: Option<Races>,
    /// Instructions decoded so far with the bytes that they were decoded from.
    decoded: Vec<Option<([u8; INSN_BYTES], Insn)>>,
    corrupt_at: Option<u32>,
}

/// Instructions that the decode cache holds at most.
const DECODED_MAX: usize = 1 << 20;

impl Model {
    /// A model with zeroed on-chip memories.
    ///
    /// # Errors
    /// A configuration that is out of range.
    pub fn new(config: HwConfig, memory: Memory) -> Result<Model> {
        config.check()?;
        Ok(Model {
            machine: Machine::new(config, memory),
            sequencer: Sequencer::default(),
            host: HostRegisters::default(),
            observe: Observe::Off,
            check: Check::Off,
            schedule: None,
            races: None,
            decoded: Vec::new(),
            corrupt_at: None,
        })
    }

    /// What to note about writes, from the next instruction on.
    pub fn set_observe(&mut self, observe: Observe) {
        self.observe = observe;
    }

    /// Which rules to check; to be set before the first start, because later programs may read
    /// what earlier ones wrote.
    pub fn set_check(&mut self, check: Check) {
        self.check = check;
        let config = &self.machine.config;
        self.races = (check >= Check::Races).then(|| Races::new(config));
    }

    /// Test hook: falsifies one bit of the first value that instruction `seq` writes, so that
    /// tests can show that a wrong result does not go unnoticed.
    pub fn corrupt_at(&mut self, seq: Option<u32>) {
        self.corrupt_at = seq;
    }

    /// The accelerator's DRAM.
    pub fn memory(&self) -> &Memory {
        &self.machine.memory
    }

    /// Vector memory.
    pub fn vmem(&self) -> &[u32] {
        &self.machine.vmem
    }

    /// Vector memory, for tests and fault injection.
    pub fn vmem_mut(&mut self) -> &mut [u32] {
        &mut self.machine.vmem
    }

    /// The activation buffer.
    pub fn xbuf(&self) -> &[ActBlock] {
        &self.machine.xbuf
    }

    /// Whether a program has been started and has not ended.
    pub fn is_running(&self) -> bool {
        self.host.running
    }

    pub(crate) fn begin(&mut self) {
        if self.host.holds_error() {
            return;
        }
        self.sequencer = Sequencer::start(self.host.entry, &self.host.args);
        self.machine.work = Work::default();
        self.machine.stream = stream::Stream::default();
        self.host.begin();
        let config = &self.machine.config;
        self.schedule = (self.check >= Check::Schedule).then(|| Schedule::new(config));
        if let Some(races) = &mut self.races {
            races.restart();
        }
    }

    /// Executes the next instruction of a running program.
    ///
    /// # Errors
    /// [`SimError::Start`] if nothing runs; [`SimError::Program`] if the program breaks a rule
    /// that is being checked, or would wait for ever.
    pub fn step(&mut self) -> Result<Step> {
        if !self.host.running {
            return Err(SimError::Start {
                problem: "no program is running".into(),
                hint: "start one first",
            });
        }
        let (seq, pc) = (self.sequencer.seq, self.sequencer.pc);
        let mut step = Step {
            seq,
            pc,
            insn: None,
            unit: Unit::Sys,
            register: None,
            effects: Effects::default(),
            end: None,
        };
        let done = match self.fetch(pc) {
            Ok(insn) => {
                step.insn = Some(insn);
                step.unit = unit_of(&insn);
                self.execute(&insn, &mut step)?
            }
            Err(fault) => Err(fault),
        };
        if let Err(fault) = done {
            match fault.kind {
                Ok(code) => step.end = Some(End::Raised(code, fault.detail)),
                Err(hint) => return Err(self.program_error(&step, fault.detail, hint)),
            }
        }
        match &step.end {
            Some(End::Halted(code)) => self.host.halted(*code, self.sequencer.results()),
            Some(End::Raised(code, _)) => self.host.raised(*code as u8, pc),
            None => {}
        }
        Ok(step)
    }

    fn fetch(&mut self, pc: u32) -> Result<Insn, Fault> {
        let addr = self.host.prog_base + u64::from(pc) * INSN_BYTES as u64;
        let mut bytes = [0; INSN_BYTES];
        match self.machine.memory.slice(addr, INSN_BYTES) {
            Some(found) => bytes.copy_from_slice(found),
            None => {
                let read = self.machine.memory.read(addr, &mut bytes);
                read.map_err(|e| Fault::new(ErrorCode::Memory, e.to_string()))?;
            }
        }
        let at = pc as usize;
        if let Some(Some((raw, insn))) = self.decoded.get(at)
            && *raw == bytes
        {
            return Ok(*insn);
        }
        let insn =
            Insn::from_bytes(&bytes).map_err(|e| Fault::new(ErrorCode::Illegal, e.to_string()))?;
        if at < DECODED_MAX {
            if self.decoded.len() <= at {
                self.decoded.resize(at + 1, None);
            }
            self.decoded[at] = Some((bytes, insn));
        }
        Ok(insn)
    }

    /// Executes a decoded instruction; the outer error ends the simulation, the inner one is the
    /// accelerator's.
    fn execute(&mut self, insn: &Insn, step: &mut Step) -> Result<Result<(), Fault>> {
        if step.unit == Unit::Sys {
            return self.execute_sys(insn, step);
        }
        let observe = if self.corrupt_at == Some(step.seq) {
            Observe::Log
        } else {
            self.observe
        };
        self.machine.effects = match observe {
            Observe::Off => None,
            Observe::Digest => Some(Effects::new(false)),
            Observe::Log => Some(Effects::new(true)),
        };
        self.machine.accesses = self.races.is_some().then(Vec::new);
        let before = self.machine.stream.len();
        let regs = self.sequencer.regs();
        let m = &mut self.machine;
        let done = match insn {
            Insn::LdW(i) => m.ld_w(&regs, i),
            Insn::LdV(i) => m.ld_v(&regs, i),
            Insn::StV(i) => m.st_v(&regs, i),
            Insn::StK(i) => m.st_k(&regs, i),
            Insn::StT(i) => m.st_t(&regs, i),
            Insn::Mm(i) => m.mm(&regs, i),
            Insn::Mv(i) => m.mv(&regs, i),
            Insn::Vop(i) => m.vop(&regs, i),
            Insn::Quant(i) => m.quant(&regs, i),
            Insn::Deq(i) => m.deq(&regs, i),
            Insn::Halt(_)
            | Insn::Fence(_)
            | Insn::Alu(_)
            | Insn::Loop(_)
            | Insn::Jump(_)
            | Insn::Call(_)
            | Insn::Ret(_)
            | Insn::Rdv(_) => unreachable!("executed by the sequencer"),
        };
        if let Err(fault) = done {
            return Ok(Err(fault));
        }
        let stream = self.machine.stream.len().abs_diff(before);
        self.apply_checks(insn, step, stream)?;
        if self.corrupt_at == Some(step.seq) {
            self.corrupt();
        }
        step.effects = self.machine.effects.take().unwrap_or_default();
        self.host.insns += 1;
        self.sequencer.advance((step.pc + 1) & sequencer::PC_MASK);
        Ok(Ok(()))
    }

    fn execute_sys(&mut self, insn: &Insn, step: &mut Step) -> Result<Result<(), Fault>> {
        let action = match self.sequencer.execute(insn, &self.machine.vmem) {
            Ok(action) => action,
            Err(fault) => return Ok(Err(fault)),
        };
        self.host.insns += 1;
        let checked = match action {
            Action::Executed(register) => {
                step.register = register;
                self.check_word_read(insn, step)
            }
            Action::Fenced(mask) => self.check_fence(mask),
            Action::Halted(code) => {
                step.end = Some(End::Halted(code));
                self.schedule.as_mut().map_or(Ok(()), Schedule::halt)
            }
        };
        if self.corrupt_at == Some(step.seq)
            && let Some((rd, value)) = &mut step.register
        {
            *value ^= 1;
            self.sequencer.regs[*rd as usize] = *value;
        }
        match checked {
            Ok(()) => Ok(Ok(())),
            Err(v) => Err(self.program_error(step, v.problem, v.hint)),
        }
    }

    fn check_fence(&mut self, mask: u8) -> Result<(), Violation> {
        if let Some(races) = &mut self.races {
            races.fence(mask);
        }
        self.schedule.as_mut().map_or(Ok(()), |s| s.fence(mask))
    }

    /// `rdv` reads vector memory and must be ordered like any other reader.
    fn check_word_read(&mut self, insn: &Insn, step: &Step) -> Result<(), Violation> {
        let (Some(races), Insn::Rdv(i)) = (&mut self.races, insn) else {
            return Ok(());
        };
        // The destination may be the address register, so that only the immediate is known now;
        // recompute from the register file only if it was not overwritten.
        if i.rd == i.rs && i.rs != 0 {
            return Ok(());
        }
        let start = self.sequencer.regs().add(i.rs, i.addr.into());
        let accesses = [Access {
            space: Space::Vmem,
            write: false,
            start,
            len: 1,
        }];
        races.instruction(&crate::check::Event {
            unit: Unit::Sys,
            seq: step.seq,
            pc: step.pc,
            wait: 0,
            post: 0,
            stream: 0,
            accesses: &accesses,
        })
    }

    fn apply_checks(&mut self, insn: &Insn, step: &Step, stream: u64) -> Result<()> {
        let (wait, post) = masks(insn);
        let (seq, pc) = (step.seq, step.pc);
        if let Some(schedule) = &mut self.schedule {
            let job = Job {
                seq,
                pc,
                wait,
                post,
                stream,
            };
            if let Err(v) = schedule.dispatch(step.unit, job) {
                return Err(self.program_error(step, v.problem, v.hint));
            }
        }
        if let Some(races) = &mut self.races {
            let accesses = self.machine.accesses.take().unwrap_or_default();
            let unit = step.unit;
            let event = crate::check::Event {
                unit,
                seq,
                pc,
                wait,
                post,
                stream,
                accesses: &accesses,
            };
            if let Err(v) = races.instruction(&event) {
                return Err(self.program_error(step, v.problem, v.hint));
            }
        }
        Ok(())
    }

    fn program_error(&self, step: &Step, problem: String, hint: &'static str) -> SimError {
        let text = step.insn.map_or_else(|| "?".into(), |i| i.to_string());
        SimError::Program {
            seq: step.seq,
            pc: step.pc,
            text,
            problem,
            hint,
        }
    }

    /// Flips the lowest bit of the first value that the current instruction wrote.
    fn corrupt(&mut self) {
        let Some(old) = self.machine.effects.take() else {
            return;
        };
        let mut new = Effects::new(true);
        let mut first = old.first_place();
        for &(at, value) in &old.vmem {
            let flip = u32::from(first.take_if(|p| *p == Place::Vmem(at)).is_some());
            self.machine.vmem[at as usize] ^= flip;
            new.vmem_word(at, value ^ flip);
        }
        for &(at, mut block) in &old.xbuf {
            if first.take_if(|p| *p == Place::Xbuf(at)).is_some() {
                block.codes[0] ^= 1;
                self.machine.xbuf[at as usize] = block;
            }
            new.xbuf_block(at, &block);
        }
        for &(at, value) in &old.dram {
            let flip = u8::from(first.take_if(|p| *p == Place::Dram(at)).is_some());
            if flip != 0 {
                let write = self.machine.memory.write(at, &[value ^ flip]);
                write.expect("the instruction has just written there");
            }
            new.dram_byte(at, value ^ flip);
        }
        self.machine.effects = Some(new);
    }

    /// Starts a program and runs it to its end.
    ///
    /// # Errors
    /// As [`Device::start`] and [`Device::run`].
    pub fn run_to_halt(&mut self, start: &Start, limits: &Limits) -> Result<Outcome> {
        self.start(start)?;
        self.run(limits)
    }
}

/// The `wait` and `post` masks of an instruction.
pub(crate) fn masks(insn: &Insn) -> (u8, u8) {
    match insn {
        Insn::LdW(i) => (i.wait, i.post),
        Insn::LdV(i) => (i.wait, i.post),
        Insn::StV(i) => (i.wait, i.post),
        Insn::StK(i) => (i.wait, i.post),
        Insn::StT(i) => (i.wait, i.post),
        Insn::Mm(i) => (i.wait, i.post),
        Insn::Mv(i) => (i.wait, i.post),
        Insn::Vop(i) => (i.wait, i.post),
        Insn::Quant(i) => (i.wait, i.post),
        Insn::Deq(i) => (i.wait, i.post),
        Insn::Halt(_)
        | Insn::Fence(_)
        | Insn::Alu(_)
        | Insn::Loop(_)
        | Insn::Jump(_)
        | Insn::Call(_)
        | Insn::Ret(_)
        | Insn::Rdv(_) => (0, 0),
    }
}

/// The executing unit, without the search in the table that `Insn::unit` does.
fn unit_of(insn: &Insn) -> Unit {
    match insn {
        Insn::LdW(_) | Insn::LdV(_) => Unit::Ld,
        Insn::StV(_) | Insn::StK(_) | Insn::StT(_) => Unit::St,
        Insn::Mm(_) | Insn::Mv(_) => Unit::Mm,
        Insn::Vop(_) | Insn::Quant(_) | Insn::Deq(_) => Unit::Sfu,
        Insn::Halt(_)
        | Insn::Fence(_)
        | Insn::Alu(_)
        | Insn::Loop(_)
        | Insn::Jump(_)
        | Insn::Call(_)
        | Insn::Ret(_)
        | Insn::Rdv(_) => Unit::Sys,
    }
}

#[cfg(test)]
mod tests;
