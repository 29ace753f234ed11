//! Straight-line form of one run of a program: loops unrolled, registers folded into operands.
//!
//! The sequencer is executed; what it knows becomes immediates of the instructions that leave it,
//! which keep their semaphores. Registers that it cannot know stay registers: those that a caller
//! declares unknown, so that one form serves several arguments, what `rdv` reads (the token of an
//! embedding row), and what follows from them. A selector without an immediate (the row of a cache
//! tile) is set by an instruction of its own when its value changes.

use crate::device::Start;
use crate::error::{Result, SimError};
use crate::model::{Action, Sequencer, masks};
use lampyris_isa::insn::{Alu, REG_MASK, REGS, Rdv};
use lampyris_isa::{Insn, Unit};

/// Instructions that are followed at most.
const INSTRUCTIONS_MAX: u64 = 1 << 28;

/// An instruction to put ahead of another.
pub type Ahead<'a> = &'a dyn Fn(&Insn) -> Option<Insn>;

/// How to make a straight-line form.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Registers whose first value is not known, a bit each.
    pub unknown: u32,
    /// Registers that always have this value, whatever the program computes for them.
    pub pinned: &'a [(u8, u64)],
    /// What to put ahead of an instruction of a unit. It takes over that one's waits.
    pub ahead: Option<Ahead<'a>>,
}

/// Makes the straight-line form of a run; `sink` gets the instructions in order.
///
/// # Errors
/// Control flow that depends on an unknown register, an operand that no field holds, and programs
/// that the hardware would refuse or that run very long.
pub fn straighten(
    program: &[Insn],
    start: &Start,
    options: &Options<'_>,
    sink: &mut dyn FnMut(Insn),
) -> Result<()> {
    let mut pass = Pass::new(start, options, Some(sink));
    pass.run(program)?;
    Ok(())
}

/// The number of instructions of the straight-line form, without making it.
///
/// # Errors
/// As [`straighten`], but for operands.
pub fn straight_length(program: &[Insn], start: &Start, options: &Options<'_>) -> Result<u64> {
    Pass::new(start, options, None).run(program)
}

struct Pass<'a, 's> {
    options: &'a Options<'a>,
    sequencer: Sequencer,
    /// Registers that only the hardware will know.
    unknown: u32,
    /// What the hardware's registers hold, as far as it is known.
    held: [Option<u64>; REGS],
    emitted: u64,
    sink: Option<&'s mut dyn FnMut(Insn)>,
}

fn refused(problem: impl Into<String>) -> SimError {
    SimError::Start {
        problem: format!("no straight-line form: {}", problem.into()),
        hint: "leave the registers that loops and jumps use known, or run the program as it is",
    }
}

impl<'a, 's> Pass<'a, 's> {
    fn new(
        start: &Start,
        options: &'a Options<'a>,
        sink: Option<&'s mut dyn FnMut(Insn)>,
    ) -> Pass<'a, 's> {
        let mut sequencer = Sequencer::start(start.entry, &start.args);
        let mut held = [Some(0); REGS];
        for (reg, held) in held.iter_mut().enumerate() {
            *held = Some(sequencer.regs[reg]).filter(|_| options.unknown >> reg & 1 == 0);
        }
        for &(reg, value) in options.pinned {
            sequencer.regs[usize::from(reg)] = value & REG_MASK;
        }
        Pass {
            options,
            sequencer,
            unknown: options.unknown & !1,
            held,
            emitted: 0,
            sink,
        }
    }

    fn run(&mut self, program: &[Insn]) -> Result<u64> {
        for _ in 0..INSTRUCTIONS_MAX {
            let pc = self.sequencer.pc as usize;
            let insn = program.get(pc).ok_or_else(|| {
                refused(format!(
                    "it leaves its {} instructions at {pc}",
                    program.len()
                ))
            })?;
            if insn.unit() == Unit::Sys {
                if self.sys(insn)? {
                    return Ok(self.emitted);
                }
                continue;
            }
            self.unit(insn)?;
            let next = self.sequencer.pc + 1;
            self.sequencer.advance(next);
        }
        Err(refused(format!(
            "more than {INSTRUCTIONS_MAX} instructions"
        )))
    }

    fn is_known(&self, reg: u8) -> bool {
        self.unknown >> reg & 1 == 0
    }

    fn value(&self, reg: u8) -> u64 {
        self.sequencer.regs[usize::from(reg)]
    }

    fn emit(&mut self, insn: Insn) -> Result<()> {
        self.emitted += 1;
        let Some(sink) = &mut self.sink else {
            return Ok(());
        };
        if let Err((field, value)) = insn.check_ranges() {
            return Err(refused(format!(
                "{value} does not fit `{}` of `{insn}`",
                field.name
            )));
        }
        sink(insn);
        Ok(())
    }

    /// An instruction of the sequencer; whether the program ends.
    fn sys(&mut self, insn: &Insn) -> Result<bool> {
        match insn {
            Insn::Halt(_) | Insn::Fence(_) => self.emit(*insn)?,
            Insn::Alu(alu) => self.alu(alu)?,
            Insn::Rdv(rdv) => self.rdv(rdv)?,
            Insn::Loop(i) if !self.is_known(i.rs) => {
                return Err(refused(format!("a loop runs R[{}] times", i.rs)));
            }
            Insn::Jump(i) if i.cond != 0 && !self.is_known(i.rs) => {
                return Err(refused(format!("a jump depends on R[{}]", i.rs)));
            }
            _ => {}
        }
        let action = match insn {
            // The word is unknown; its address may be as well.
            Insn::Rdv(_) => {
                let next = self.sequencer.pc + 1;
                self.sequencer.advance(next);
                return Ok(false);
            }
            _ => self.sequencer.execute(insn, &[]),
        };
        let action = action.map_err(|fault| refused(fault.detail))?;
        self.pin(insn);
        Ok(matches!(action, Action::Halted(_)))
    }

    /// Gives a pinned register its value back.
    fn pin(&mut self, insn: &Insn) {
        if let Insn::Alu(alu) = insn
            && let Some(&(reg, value)) = self.options.pinned.iter().find(|p| p.0 == alu.rd)
        {
            self.sequencer.regs[usize::from(reg)] = value & REG_MASK;
        }
    }

    fn alu(&mut self, alu: &Alu) -> Result<()> {
        let pinned = self.options.pinned.iter().any(|p| p.0 == alu.rd);
        let known = self.is_known(alu.rs) && (alu.use_imm == 1 || self.is_known(alu.rt));
        if pinned || known || alu.rd == 0 {
            if alu.rd != 0 {
                self.unknown &= !(1 << alu.rd);
            }
            return Ok(());
        }
        let mut folded = *alu;
        if alu.use_imm == 0 {
            let commutes = matches!(alu.func, 0 | 2 | 3 | 6 | 7);
            if self.is_known(alu.rs) && commutes {
                (folded.rs, folded.rt) = (alu.rt, alu.rs);
            }
            if self.is_known(folded.rt) {
                // Sign-extended from 40 bits, as the field is.
                let value = self.value(folded.rt) << 24;
                (folded.use_imm, folded.imm, folded.rt) = (1, value as i64 >> 24, 0);
            }
        }
        if self.is_known(folded.rs) {
            self.hold(folded.rs)?;
        }
        self.emit(folded.into())?;
        self.forget(alu.rd);
        Ok(())
    }

    fn rdv(&mut self, rdv: &Rdv) -> Result<()> {
        let mut folded = *rdv;
        if self.is_known(rdv.rs) {
            folded.addr = (u64::from(rdv.addr) + self.value(rdv.rs)) as u32;
            folded.rs = 0;
        }
        self.emit(folded.into())?;
        self.forget(rdv.rd);
        Ok(())
    }

    fn forget(&mut self, reg: u8) {
        if reg != 0 {
            self.unknown |= 1 << reg;
            self.held[usize::from(reg)] = None;
        }
    }

    /// Sees to it that the hardware's register holds the value that is known here.
    fn hold(&mut self, reg: u8) -> Result<()> {
        let value = self.value(reg);
        if reg == 0 || self.held[usize::from(reg)] == Some(value) {
            return Ok(());
        }
        self.held[usize::from(reg)] = Some(value);
        let set = Alu {
            rd: reg,
            use_imm: 1,
            imm: (value << 24) as i64 >> 24,
            ..Alu::default()
        };
        self.emit(set.into())
    }

    fn unit(&mut self, insn: &Insn) -> Result<()> {
        let ahead = self.options.ahead.and_then(|ahead| ahead(insn));
        let Some(first) = ahead else {
            return self.one(insn);
        };
        let waits = u64::from(masks(insn).0);
        let with = |insn: &Insn, mask| insn.with_field("wait", mask);
        let (Some(first), Some(insn)) = (with(&first, waits), with(insn, 0)) else {
            return Err(refused("an instruction of the sequencer ahead of a unit's"));
        };
        self.one(&first)?;
        self.one(&insn)
    }

    /// Emits an instruction of a unit with what is known folded in.
    fn one(&mut self, insn: &Insn) -> Result<()> {
        let row = match insn {
            Insn::StK(i) => i.rrow,
            Insn::StT(i) => i.rrow,
            _ => 0,
        };
        if row != 0 && self.is_known(row) {
            self.hold(row)?;
        }
        if self.sink.is_none() {
            self.emitted += 1;
            return Ok(());
        }
        let mut folded = *insn;
        for &(selector, operand) in operands(insn) {
            let reg = folded.field(selector).unwrap_or(0) as u8;
            if reg == 0 || !self.is_known(reg) {
                continue;
            }
            let sum = folded
                .field(operand)
                .unwrap_or(0)
                .wrapping_add(self.value(reg))
                & REG_MASK;
            let set = folded.with_field(operand, sum);
            let set = set.and_then(|i| i.with_field(selector, 0));
            folded = set.ok_or_else(|| refused(format!("`{insn}` has no `{operand}`")))?;
        }
        self.emit(folded)
    }
}

/// Selectors of an instruction with the immediates that their registers are added to.
fn operands(insn: &Insn) -> &'static [(&'static str, &'static str)] {
    match insn {
        Insn::LdW(_) => &[("rbase", "addr"), ("rindex", "addr"), ("rcount", "count")],
        Insn::LdV(_) => &[
            ("rbase", "addr"),
            ("rindex", "addr"),
            ("rcount", "count"),
            ("rdst", "dst"),
        ],
        Insn::StV(_) => &[
            ("rbase", "addr"),
            ("rindex", "addr"),
            ("rcount", "count"),
            ("rsrc", "src"),
        ],
        Insn::StK(_) | Insn::StT(_) => &[("rbase", "addr"), ("rindex", "addr"), ("rsrc", "src")],
        Insn::Mm(_) => &[
            ("rx", "x"),
            ("ry", "y"),
            ("rk", "kblocks"),
            ("rgroups", "groups"),
            ("rtokens", "tokens"),
        ],
        Insn::Mv(_) => &[
            ("rx", "x"),
            ("ry", "y"),
            ("rk", "kblocks"),
            ("rgroups", "groups"),
        ],
        Insn::Vop(_) => &[
            ("ra", "a"),
            ("rb", "b"),
            ("rd", "d"),
            ("rn", "n"),
            ("rrows", "rows"),
        ],
        Insn::Quant(_) => &[("ra", "a"), ("rx", "x"), ("rn", "n"), ("rrows", "rows")],
        Insn::Deq(_) => &[("ra", "a"), ("rd", "d")],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_isa::asm::parse_program;

    fn straight(text: &str, start: &Start, options: &Options<'_>) -> Result<Vec<String>> {
        let program = parse_program(text).unwrap();
        let mut out = Vec::new();
        straighten(&program, start, options, &mut |insn| {
            out.push(insn.to_string())
        })?;
        let length = straight_length(&program, start, options)?;
        assert_eq!(length, out.len() as u64);
        Ok(out)
    }

    const LOOP: &str = "alu rd=9 rs=2 use_imm=1 imm=3\nloop rs=1 body=2\n\
                        st.k rbase=9 rrow=9 addr=64 blocks=1\nalu rd=9 rs=9 use_imm=1 imm=64\n\
                        fence units=15\nhalt code=5";

    fn start(args: [u32; 8]) -> Start {
        Start {
            args,
            ..Start::default()
        }
    }

    #[test]
    fn loops_unroll_and_registers_fold() {
        let found = straight(LOOP, &start([2, 61, 0, 0, 0, 0, 0, 0]), &Options::default());
        assert_eq!(
            found.unwrap(),
            [
                "alu rd=9 use_imm=1 imm=64",
                "st.k rrow=9 addr=128 blocks=1",
                "alu rd=9 use_imm=1 imm=128",
                "st.k rrow=9 addr=192 blocks=1",
                "fence units=15",
                "halt code=5"
            ]
        );
    }

    #[test]
    fn unknown_registers_stay_and_control_flow_must_not_need_them() {
        let options = |unknown| Options {
            unknown,
            ..Options::default()
        };
        let args = start([2, 0, 0, 0, 0, 0, 0, 0]);
        let found = straight(LOOP, &args, &options(1 << 2)).unwrap();
        let step = "alu rd=9 rs=9 use_imm=1 imm=64";
        let store = "st.k rbase=9 rrow=9 addr=64 blocks=1";
        let first = "alu rd=9 rs=2 use_imm=1 imm=3";
        assert_eq!(
            found,
            [
                first,
                store,
                step,
                store,
                step,
                "fence units=15",
                "halt code=5"
            ]
        );
        let error = straight(LOOP, &args, &options(1 << 1)).unwrap_err();
        assert!(
            error.to_string().contains("a loop runs R[1] times"),
            "{error}"
        );
    }

    #[test]
    fn pinned_registers_keep_their_value_and_an_instruction_ahead_takes_the_waits() {
        let text = "alu rd=13 rs=2 use_imm=1 imm=1\nvop wait=4 rn=13 a=8 rows=1 red=2\nhalt";
        let ahead = |insn: &Insn| match insn {
            Insn::Vop(v) => Some(Insn::Vop(lampyris_isa::insn::Vop {
                red: 0,
                write: 1,
                ..*v
            })),
            _ => None,
        };
        let options = Options {
            unknown: 1 << 2,
            pinned: &[(13, 16)],
            ahead: Some(&ahead),
        };
        let found = straight(text, &Start::default(), &options).unwrap();
        assert_eq!(
            found,
            [
                "vop wait=4 write=1 a=8 n=16 rows=1",
                "vop red=2 a=8 n=16 rows=1",
                "halt"
            ]
        );
    }

    #[test]
    fn what_fits_no_field_is_refused() {
        let text = "alu rd=9 use_imm=1 imm=4000000\nvop ra=9 n=8 rows=1\nhalt";
        let error = straight(text, &Start::default(), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("does not fit `a`"), "{error}");
    }
}
