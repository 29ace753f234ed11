//! From pieces to a program: adds the semaphores and fences that order what touches the same
//! places, and moves parts of operands into registers.

use super::footprint::{Order, footprint};
use super::items::{Item, LoopStyle, Op};
use crate::model::Access;
use crate::rng::Rng;
use lampyris_isa::insn::{Alu, Call, Fence, Halt, Jump, Loop, REG_MASK, REGS, Rdv, Ret};
use lampyris_isa::{HwConfig, Insn, Unit};

/// The first register that counts the words a loop adds to addresses, by depth.
const SHIFT_REG: u8 = 24;

/// The first register that counts the rounds of a loop made of jumps, by depth.
const ROUND_REG: u8 = 28;

/// Words that a loop adds in each round.
pub(super) const SHIFT_STEP: u64 = 8;

/// Loops that may be open at once.
pub(super) const DEPTH_MAX: usize = 3;

/// What is known of the registers at a point of the program.
type Values = [Option<u64>; REGS];

struct Assembler {
    config: HwConfig,
    out: Vec<Insn>,
    order: Order,
    values: Values,
    depth: usize,
    slack: u64,
}

/// The program of the pieces. `prologue` comes first, unchanged, and is followed by a fence.
/// `args` are r1..r8.
pub(super) fn assemble(
    config: &HwConfig,
    prologue: &[Insn],
    items: &[Item],
    args: &[u32; 8],
) -> Vec<Insn> {
    let mut values = [Some(0); REGS];
    for (value, &arg) in values[1..9].iter_mut().zip(args) {
        *value = Some(arg.into());
    }
    let mut a = Assembler {
        config: *config,
        out: prologue.to_vec(),
        order: Order::default(),
        values,
        depth: 0,
        slack: 0,
    };
    a.fence(15);
    a.items(items);
    a.out.push(Halt { code: 1 }.into());
    a.out
}

impl Assembler {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            self.item(item);
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Op(op) => {
                let accesses = self.accesses(op);
                let missing = self.order.missing(op.insn.unit(), &accesses);
                let wait = self.post_to(op.insn.unit(), missing, op.salt);
                self.emit(op, wait, &accesses);
            }
            Item::Product { loads, products } => self.product(loads, products),
            Item::Alu(alu) => self.alu(alu),
            Item::Fence(mask) => self.fence(*mask),
            Item::ReadWord { rd, addr } => self.read_word(*rd, *addr),
            Item::Loop { count, style, body } => self.repeat(*count, *style, body),
            Item::Call { twice, body } => self.call(*twice, body),
            Item::Skip { cond, taken, body } => self.skip(*cond, *taken, body),
        }
    }

    fn accesses(&self, op: &Op) -> Vec<Access> {
        let slack = if op.shifted { self.slack } else { 0 };
        footprint(&op.insn, slack, &self.config)
    }

    /// Lets the latest instructions of the units in `mask` post to `unit`, or fences them, and
    /// returns the wait mask.
    fn post_to(&mut self, unit: Unit, mask: u8, salt: u64) -> u8 {
        if mask != 0 && salt.is_multiple_of(8) {
            self.fence(mask);
            return 0;
        }
        for u in (0..4).filter(|u| mask >> u & 1 == 1) {
            let at = self.order.latest(u).expect("it touched something");
            let post = self.out[at].field("post").unwrap_or(0) | u64::from(unit.mask());
            self.out[at] = self.out[at]
                .with_field("post", post)
                .expect("a unit instruction");
        }
        self.order.joined(unit, mask);
        mask
    }

    fn emit(&mut self, op: &Op, wait: u8, accesses: &[Access]) {
        let insn = self.with_registers(op);
        let insn = insn
            .with_field("wait", wait.into())
            .expect("a unit instruction");
        self.order.emitted(insn.unit(), self.out.len(), accesses);
        self.out.push(insn);
    }

    /// What the products need must be posted by instructions before their loads: a load may not
    /// retire before the product has made room in the stream.
    fn product(&mut self, loads: &[Op], products: &[Op]) {
        let all: Vec<Access> = products.iter().flat_map(|op| self.accesses(op)).collect();
        let missing = self.order.missing(Unit::Mm, &all);
        let mut wait = self.post_to(Unit::Mm, missing, loads.first().map_or(1, |op| op.salt));
        for op in loads {
            let accesses = self.accesses(op);
            let missing = self.order.missing(Unit::Ld, &accesses);
            let wait = self.post_to(Unit::Ld, missing, op.salt | 1);
            self.emit(op, wait, &accesses);
        }
        for op in products {
            let accesses = self.accesses(op);
            self.emit(op, std::mem::take(&mut wait), &accesses);
        }
    }

    /// Replaces parts of operands by registers whose values are known.
    fn with_registers(&self, op: &Op) -> Insn {
        let mut rng = Rng::new(op.salt);
        let mut insn = op.insn;
        for &(selector, operand, is_vmem) in selectors(&insn) {
            if is_vmem && op.shifted {
                let reg = SHIFT_REG + (self.depth - 1) as u8;
                insn = set(&insn, selector, reg.into());
                continue;
            }
            if !rng.chance(350) {
                continue;
            }
            let reg = rng.below(REGS as u64) as u8;
            let have = insn.field(operand).expect("selectors name fields");
            match self.values[reg as usize] {
                Some(value) if operand == "addr" => {
                    insn = set(&insn, selector, reg.into());
                    insn = set(&insn, operand, have.wrapping_sub(value) & REG_MASK);
                }
                Some(value) if value <= have => {
                    insn = set(&insn, selector, reg.into());
                    insn = set(&insn, operand, have - value);
                }
                _ => {}
            }
        }
        insn
    }

    fn fence(&mut self, mask: u8) {
        self.out.push(Fence { units: mask }.into());
        self.order.joined(Unit::Sys, mask);
    }

    fn alu(&mut self, alu: &Alu) {
        self.out.push((*alu).into());
        let a = self.values[alu.rs as usize];
        let b = if alu.use_imm == 1 {
            Some(alu.imm as u64 & REG_MASK)
        } else {
            self.values[alu.rt as usize]
        };
        let result = a.zip(b).map(|(a, b)| match alu.func {
            0 => a.wrapping_add(b),
            1 => a.wrapping_sub(b),
            2 => a.wrapping_mul(b),
            3 => a & b,
            4 => a << (b & 63),
            5 => a >> (b & 63),
            6 => a.min(b),
            _ => a.max(b),
        });
        self.forget(alu.rd, result.map(|v| v & REG_MASK));
    }

    fn forget(&mut self, rd: u8, value: Option<u64>) {
        if rd != 0 {
            self.values[rd as usize] = value;
        }
    }

    fn read_word(&mut self, rd: u8, addr: u32) {
        let access = Access {
            space: crate::Space::Vmem,
            write: false,
            start: addr.into(),
            len: 1,
        };
        let missing = self.order.missing(Unit::Sys, &[access]);
        if missing != 0 {
            self.fence(missing);
        }
        self.out.push(Rdv { rd, rs: 0, addr }.into());
        self.order.emitted(Unit::Sys, 0, &[access]);
        self.forget(rd, None);
    }

    fn set_register(&mut self, rd: u8, value: u64) {
        let imm = ((value << 24) as i64) >> 24;
        self.out.push(
            Alu {
                rd,
                use_imm: 1,
                imm,
                ..Alu::default()
            }
            .into(),
        );
    }

    fn add_register(&mut self, rd: u8, imm: i64) {
        self.out.push(
            Alu {
                rd,
                rs: rd,
                use_imm: 1,
                imm,
                ..Alu::default()
            }
            .into(),
        );
    }

    /// Forgets registers that the body changes: on entry they differ from round to round.
    fn forget_written(&mut self, body: &[Item]) {
        for item in body {
            match item {
                Item::Alu(alu) => self.forget(alu.rd, None),
                Item::ReadWord { rd, .. } => self.forget(*rd, None),
                Item::Loop { body, .. } | Item::Call { body, .. } | Item::Skip { body, .. } => {
                    self.forget_written(body);
                }
                Item::Op(_) | Item::Product { .. } | Item::Fence(_) => {}
            }
        }
        for reg in SHIFT_REG..REGS as u8 {
            self.forget(reg, None);
        }
    }

    fn repeat(&mut self, count: u32, style: LoopStyle, body: &[Item]) {
        if self.depth == DEPTH_MAX {
            return;
        }
        let before = (self.order.clone(), self.values);
        let (shift, round) = (SHIFT_REG + self.depth as u8, ROUND_REG + self.depth as u8);
        let outer_slack = self.slack;
        self.forget_written(body);
        self.depth += 1;
        self.slack = SHIFT_STEP * u64::from(count.saturating_sub(1));
        self.set_register(shift, SHIFT_STEP.wrapping_neg() & REG_MASK);
        if style == LoopStyle::Jump {
            self.set_register(round, count.into());
        }
        if style == LoopStyle::FenceLast {
            self.fence(15);
        }
        let head = self.out.len();
        if style != LoopStyle::Jump {
            self.out.push(
                Loop {
                    rs: 0,
                    body: 0,
                    imm: count,
                }
                .into(),
            );
        }
        self.add_register(shift, SHIFT_STEP as i64);
        if style != LoopStyle::FenceLast {
            self.fence(15);
        }
        self.items(body);
        if style == LoopStyle::FenceLast {
            self.fence(15);
        }
        if style == LoopStyle::Jump {
            self.add_register(round, -1);
            let offset = head as i64 - self.out.len() as i64;
            self.out.push(
                Jump {
                    rs: round,
                    cond: 2,
                    offset,
                }
                .into(),
            );
        } else {
            let body = (self.out.len() - head - 1) as u16;
            self.out[head] = Loop {
                rs: 0,
                body,
                imm: count,
            }
            .into();
        }
        self.depth -= 1;
        self.slack = outer_slack;
        if count == 0 && style != LoopStyle::Jump {
            (self.order, self.values) = before;
            self.forget(shift, None);
            return;
        }
        self.forget(shift, None);
        self.forget(round, None);
        if style != LoopStyle::FenceLast {
            self.fence(15);
        }
    }

    /// The body lies where it is called, behind a jump.
    fn call(&mut self, twice: bool, body: &[Item]) {
        let over = self.out.len();
        self.out.push(Jump::default().into());
        if twice {
            self.forget_written(body);
            self.fence(15);
        }
        self.items(body);
        self.out.push(Ret {}.into());
        let target = self.out.len() as i64;
        self.out[over] = Jump {
            rs: 0,
            cond: 0,
            offset: target - over as i64,
        }
        .into();
        for _ in 0..=u8::from(twice) {
            let offset = over as i64 + 1 - self.out.len() as i64;
            self.out.push(Call { offset }.into());
        }
        if twice {
            self.fence(15);
        }
    }

    fn skip(&mut self, cond: u8, taken: bool, body: &[Item]) {
        // A register that decides as wanted; otherwise one is set.
        let wants_zero = (cond == 1) == taken;
        let fits = |v: &Option<u64>| v.is_some_and(|v| (v == 0) == wants_zero);
        let rs = match self.values.iter().position(fits) {
            Some(reg) => reg as u8,
            None => {
                self.set_register(9, u64::from(!wants_zero));
                self.forget(9, Some(u64::from(!wants_zero)));
                9
            }
        };
        let before = (self.order.clone(), self.values);
        if taken {
            // Nothing in the body happens; it must not make earlier instructions post.
            self.order = Order::default();
        }
        let at = self.out.len();
        self.out.push(Jump::default().into());
        self.items(body);
        let offset = (self.out.len() - at) as i64;
        self.out[at] = Jump { rs, cond, offset }.into();
        if taken {
            (self.order, self.values) = before;
        }
    }
}

fn set(insn: &Insn, name: &str, value: u64) -> Insn {
    insn.with_field(name, value)
        .expect("a field of this instruction")
}

/// Register selectors of an instruction: selector, operand that it is added to, and whether that
/// is an address in vector memory which a loop may shift.
fn selectors(insn: &Insn) -> &'static [(&'static str, &'static str, bool)] {
    match insn {
        Insn::LdW(_) => &[
            ("rbase", "addr", false),
            ("rindex", "addr", false),
            ("rcount", "count", false),
        ],
        Insn::LdV(_) => &[
            ("rbase", "addr", false),
            ("rindex", "addr", false),
            ("rcount", "count", false),
            ("rdst", "dst", true),
        ],
        Insn::StV(_) => &[
            ("rbase", "addr", false),
            ("rindex", "addr", false),
            ("rcount", "count", false),
            ("rsrc", "src", true),
        ],
        Insn::StK(_) | Insn::StT(_) => &[
            ("rbase", "addr", false),
            ("rindex", "addr", false),
            ("rsrc", "src", false),
        ],
        Insn::Mm(_) => &[
            ("rx", "x", false),
            ("ry", "y", true),
            ("rk", "kblocks", false),
            ("rgroups", "groups", false),
            ("rtokens", "tokens", false),
        ],
        Insn::Mv(_) => &[
            ("rx", "x", false),
            ("ry", "y", true),
            ("rk", "kblocks", false),
            ("rgroups", "groups", false),
        ],
        Insn::Vop(_) => &[
            ("ra", "a", true),
            ("rb", "b", true),
            ("rd", "d", true),
            ("rn", "n", false),
            ("rrows", "rows", false),
        ],
        Insn::Quant(_) => &[
            ("ra", "a", true),
            ("rx", "x", false),
            ("rn", "n", false),
            ("rrows", "rows", false),
        ],
        Insn::Deq(_) => &[("ra", "a", true), ("rd", "d", true)],
        _ => &[],
    }
}
