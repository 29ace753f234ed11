//! The sequencer: registers, loops, calls, and the instructions that it executes itself.

use super::machine::{ErrorCode, Fault, Regs};
use lampyris_isa::insn::{Alu, Insn, Jump, REG_MASK, REGS, STACK_DEPTH};

/// Mask of an instruction index (24 bits).
pub(crate) const PC_MASK: u32 = (1 << 24) - 1;

/// A loop under way.
#[derive(Clone, Copy, Debug)]
struct Loop {
    start: u32,
    end: u32,
    remaining: u32,
    /// Calls that were open when the loop began; its end is looked for at this depth only.
    depth: usize,
}

/// What the sequencer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Executed the instruction; `Some`: wrote a register.
    Executed(Option<(u8, u64)>),
    /// Waited for the units of the mask.
    Fenced(u8),
    /// The program ended with this code.
    Halted(u16),
}

/// State of the sequencer.
#[derive(Clone, Default)]
pub(crate) struct Sequencer {
    pub(crate) regs: [u64; REGS],
    pub(crate) pc: u32,
    pub(crate) seq: u32,
    loops: Vec<Loop>,
    returns: Vec<u32>,
}

impl Sequencer {
    /// The state at start: r1..r8 from the host, everything else zero.
    pub(crate) fn start(entry: u32, args: &[u32; 8]) -> Sequencer {
        let mut sequencer = Sequencer {
            pc: entry & PC_MASK,
            ..Sequencer::default()
        };
        for (reg, &arg) in sequencer.regs[1..9].iter_mut().zip(args) {
            *reg = arg.into();
        }
        sequencer
    }

    pub(crate) fn regs(&self) -> Regs<'_> {
        Regs(&self.regs)
    }

    /// The low halves of r1..r8.
    pub(crate) fn results(&self) -> [u32; 8] {
        std::array::from_fn(|i| self.regs[i + 1] as u32)
    }

    fn set(&mut self, rd: u8, value: u64) -> Action {
        // A write to register 0 is executed and traced but has no effect.
        if rd != 0 {
            self.regs[rd as usize] = value & REG_MASK;
        }
        Action::Executed(Some((rd, value & REG_MASK)))
    }

    /// Executes a SYS instruction and moves to the next one.
    pub(crate) fn execute(&mut self, insn: &Insn, vmem: &[u32]) -> Result<Action, Fault> {
        let after = self.pc.wrapping_add(1) & PC_MASK;
        let target = |offset: i64| self.pc.wrapping_add(offset as u32) & PC_MASK;
        let mut next = after;
        let mut action = Action::Executed(None);
        match insn {
            Insn::Halt(i) => action = Action::Halted(i.code),
            Insn::Fence(i) => action = Action::Fenced(i.units),
            Insn::Alu(i) => action = self.set(i.rd, self.alu(i)),
            Insn::Loop(i) => {
                if i.body == 0 {
                    return Err(Fault::new(ErrorCode::Stack, "the body of a loop is empty"));
                }
                let count = (self.regs().add(i.rs, i.imm.into()) & 0xff_ffff) as u32;
                let end = after.wrapping_add(i.body.into()) & PC_MASK;
                if count == 0 {
                    next = end;
                } else {
                    self.push_loop(Loop {
                        start: after,
                        end,
                        remaining: count,
                        depth: self.returns.len(),
                    })?;
                }
            }
            Insn::Jump(i) => {
                if self.taken(i)? {
                    next = target(i.offset);
                }
            }
            Insn::Call(i) => {
                if self.returns.len() == STACK_DEPTH {
                    let detail = format!("more than {STACK_DEPTH} nested calls");
                    return Err(Fault::new(ErrorCode::Stack, detail));
                }
                next = target(i.offset);
                self.returns.push(after);
            }
            Insn::Ret(_) => match self.returns.pop() {
                Some(address) => next = address,
                None => return Err(Fault::new(ErrorCode::Stack, "return without a call")),
            },
            Insn::Rdv(i) => {
                let at = self.regs().add(i.rs, i.addr.into());
                let Some(&word) = vmem.get(at as usize) else {
                    let detail = format!("word {at} of {} of vector memory", vmem.len());
                    return Err(Fault::new(ErrorCode::Address, detail));
                };
                action = self.set(i.rd, word.into());
            }
            Insn::LdW(_)
            | Insn::LdV(_)
            | Insn::StV(_)
            | Insn::StK(_)
            | Insn::StT(_)
            | Insn::Mm(_)
            | Insn::Mv(_)
            | Insn::Vop(_)
            | Insn::Quant(_)
            | Insn::Deq(_) => unreachable!("executed by a unit"),
        }
        self.advance(next);
        Ok(action)
    }

    /// Goes to `next`, or back to the start of every loop that ends there and has rounds left.
    pub(crate) fn advance(&mut self, next: u32) {
        self.pc = next;
        self.seq = self.seq.wrapping_add(1);
        while let Some(top) = self.loops.last_mut() {
            if top.end != self.pc || top.depth != self.returns.len() {
                return;
            }
            top.remaining -= 1;
            if top.remaining > 0 {
                self.pc = top.start;
                return;
            }
            self.loops.pop();
        }
    }

    fn taken(&self, i: &Jump) -> Result<bool, Fault> {
        let zero = self.regs[i.rs as usize] == 0;
        match i.cond {
            0 => Ok(true),
            1 => Ok(zero),
            2 => Ok(!zero),
            other => Err(Fault::new(ErrorCode::Illegal, format!("condition {other}"))),
        }
    }

    fn push_loop(&mut self, new: Loop) -> Result<(), Fault> {
        if self.loops.len() == STACK_DEPTH {
            let detail = format!("more than {STACK_DEPTH} nested loops");
            return Err(Fault::new(ErrorCode::Stack, detail));
        }
        self.loops.push(new);
        Ok(())
    }

    fn alu(&self, i: &Alu) -> u64 {
        let a = self.regs[i.rs as usize];
        let b = match i.use_imm {
            1 => i.imm as u64 & REG_MASK,
            _ => self.regs[i.rt as usize],
        };
        let amount = (b & 63) as u32;
        let value = match i.func {
            0 => a.wrapping_add(b),
            1 => a.wrapping_sub(b),
            2 => a.wrapping_mul(b),
            3 => a & b,
            4 => a << amount,
            5 => a >> amount,
            6 => a.min(b),
            _ => a.max(b),
        };
        value & REG_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_isa::asm::parse_program;

    fn run(text: &str) -> Result<(Sequencer, Vec<u32>), ErrorCode> {
        let program = parse_program(text).unwrap();
        let mut s = Sequencer::start(0, &[0; 8]);
        let mut pcs = Vec::new();
        loop {
            pcs.push(s.pc);
            match s.execute(&program[s.pc as usize], &[7, 8]) {
                Ok(Action::Halted(_)) => return Ok((s, pcs)),
                Ok(_) => assert!(pcs.len() < 1000),
                Err(fault) => return Err(fault.kind.unwrap()),
            }
        }
    }

    #[test]
    fn nested_loops_may_end_together() {
        let text = "loop imm=3 body=3\nloop imm=2 body=2\nalu rd=1 rs=1 use_imm=1 imm=1\n\
                    alu rd=2 rs=2 use_imm=1 imm=-1\nhalt";
        let (s, pcs) = run(text).unwrap();
        assert_eq!((s.regs[1], s.regs[2]), (6, REG_MASK - 5));
        assert_eq!(pcs.len(), 1 + 3 + 12 + 1);
    }

    #[test]
    fn zero_loops_and_loops_around_calls() {
        let text = "loop imm=2 body=3\nloop imm=0 body=1\nret\ncall offset=2\nhalt\n\
                    alu rd=3 rs=3 use_imm=1 imm=5\nret";
        assert_eq!(run(text).unwrap().0.regs[3], 10);
    }

    #[test]
    fn alu_wraps_at_40_bits() {
        let text = "alu rd=1 use_imm=1 imm=-1\nalu func=4 rd=2 rs=1 use_imm=1 imm=39\n\
                    alu func=5 rd=3 rs=1 use_imm=1 imm=40\nalu func=2 rd=4 rs=1 rt=1\n\
                    alu func=6 rd=5 rs=1 use_imm=1 imm=9\nrdv rd=6 addr=1\nhalt";
        let (s, _) = run(text).unwrap();
        assert_eq!(s.regs[1..7], [REG_MASK, 1 << 39, 0, 1, 9, 8]);
    }

    #[test]
    fn stack_errors() {
        assert_eq!(run("ret").err(), Some(ErrorCode::Stack));
        assert_eq!(run("call").err(), Some(ErrorCode::Stack));
        assert_eq!(run("loop imm=1").err(), Some(ErrorCode::Stack));
        assert_eq!(run("rdv addr=2").err(), Some(ErrorCode::Address));
        assert_eq!(run("jump cond=3").err(), Some(ErrorCode::Illegal));
        let deep: String = (0..9).map(|_| "loop imm=2 body=10\n").collect();
        assert_eq!(run(&(deep + "halt")).err(), Some(ErrorCode::Stack));
    }
}
