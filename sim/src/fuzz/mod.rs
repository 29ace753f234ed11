//! Seeded random programs that are free of races by construction, and the search for the
//! smallest part of one that still shows a difference.

mod assemble;
mod footprint;
mod items;
mod shrink;

pub use items::{Arena, Item, LoopStyle, Op};
pub use shrink::shrink;

use crate::check::Check;
use crate::device::{Device, Limits, Outcome, Start};
use crate::error::Result;
use crate::lockstep::Lockstep;
use crate::memory::{Memory, SharedBytes};
use crate::model::Model;
use crate::rng::Rng;
use crate::rtl::{AxiTiming, RtlDevice, RtlOptions};
use items::Maker;
use lampyris_isa::insn::{Alu, LdV, Quant};
use lampyris_isa::{HwConfig, Insn};
use std::sync::Arc;
use verilator_sys::Design;

/// A random program with its data and the memory's timing.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// The configuration that it runs on.
    pub config: HwConfig,
    /// Where it puts things.
    pub arena: Arena,
    /// Values of r1..r8.
    pub args: [u32; 8],
    /// Address of the program.
    pub prog_base: u64,
    /// The program in pieces.
    pub items: Vec<Item>,
    /// The memory's timing.
    pub timing: AxiTiming,
}

/// Words that one load of the prologue brings.
const FILL_WORDS: u64 = 512;

impl Case {
    /// The program of a seed. The same seed gives the same program on every machine.
    pub fn new(seed: u64, config: &HwConfig) -> Case {
        let mut rng = Rng::new(seed);
        let arena = Maker::arena(&mut rng, config);
        let mut args = [0; 8];
        for arg in &mut args {
            *arg = match rng.below(3) {
                0 => rng.below(4) as u32,
                1 => rng.below(300) as u32,
                _ => rng.bits() as u32,
            };
        }
        let timing = if rng.chance(150) {
            AxiTiming::default()
        } else {
            AxiTiming::random(rng.bits())
        };
        let prog_base = (rng.below(1 << 10) << 30) + (rng.below(30) << 7);
        let mut maker = Maker {
            rng: &mut rng,
            config: *config,
            arena,
            slack: 0,
        };
        let count = maker.rng.range(3, 24);
        let items = maker.items(count, 0);
        Case {
            seed,
            config: *config,
            arena,
            args,
            prog_base,
            items,
            timing,
        }
    }

    /// The encoded order of instructions.
    pub fn program(&self) -> Vec<Insn> {
        assemble::assemble(&self.config, &self.prologue(), &self.items, &self.args)
    }

    /// Fills what the program may read: vector memory from data, the activation buffer by
    /// quantizing.
    fn prologue(&self) -> Vec<Insn> {
        let a = &self.arena;
        let mut out: Vec<Insn> = Vec::new();
        let loads = a.vmem_len.div_ceil(FILL_WORDS);
        for i in 0..loads {
            let load = LdV {
                addr: a.data + 4 * FILL_WORDS * i,
                count: FILL_WORDS.min(a.vmem_len - FILL_WORDS * i) as u32,
                rows: 1,
                dst: (a.vmem + FILL_WORDS * i) as u32,
                ..LdV::default()
            };
            // The last load orders all of them before the first quantization.
            out.push(
                if i + 1 == loads {
                    LdV { post: 8, ..load }
                } else {
                    load
                }
                .into(),
            );
        }
        out.push(
            Quant {
                wait: 1,
                a: a.vmem as u32,
                x: a.xbuf as u16,
                n: (a.xbuf_len * 32).min(a.vmem_len) as u32,
                rows: 1,
                ..Quant::default()
            }
            .into(),
        );
        out
    }

    /// Program and data.
    ///
    /// # Errors
    /// The arena's segments clash; only possible for a hand-made arena.
    pub fn memory(&self) -> Result<Memory> {
        let mut rng = Rng::new(self.seed ^ 0x6461_7461);
        // Vectors in the first half, tiles (any bits) in the second.
        let a = &self.arena;
        let mut data = Vec::with_capacity(a.data_len as usize);
        while (data.len() as u64) < a.data_len / 2 {
            data.extend_from_slice(&items::special_f32(&mut rng).to_le_bytes());
        }
        while (data.len() as u64) < a.data_len {
            data.extend_from_slice(&rng.bits().to_le_bytes());
        }
        let store: Vec<u8> = (0..a.store_len).map(|_| rng.bits() as u8).collect();
        let program: Vec<u8> = self.program().iter().flat_map(|i| i.to_bytes()).collect();
        let offset = (self.prog_base % crate::memory::PAGE) as usize;
        let mut image = vec![0xff; offset];
        image.extend_from_slice(&program);
        let mut memory = Memory::new();
        let shared: SharedBytes = Arc::new(data);
        memory.add_shared("data", a.data, shared)?;
        memory.add_data("store", a.store, store)?;
        let image: SharedBytes = Arc::new(image);
        memory.add_shared("program", self.prog_base - offset as u64, image)?;
        Ok(memory)
    }

    /// Start parameters.
    pub fn start(&self) -> Start {
        Start {
            prog_base: self.prog_base,
            entry: 0,
            args: self.args,
        }
    }

    /// Runs the program on a model that checks all rules, and on `design` beside it.
    ///
    /// # Errors
    /// The first difference, or a rule that the program breaks.
    pub fn check(&self, design: &Design) -> Result<Outcome> {
        self.check_with(design, |_| {})
    }

    /// As [`Case::check`], with a chance to change the model first.
    ///
    /// # Errors
    /// As [`Case::check`].
    pub fn check_with(&self, design: &Design, prepare: impl FnOnce(&mut Model)) -> Result<Outcome> {
        let memory = self.memory()?;
        let mut model = Model::new(self.config, memory.clone())?;
        model.set_check(Check::Races);
        prepare(&mut model);
        let options = RtlOptions {
            timing: self.timing,
            timing1: self.timing1(),
            seed: self.seed as u32,
            ..RtlOptions::default()
        };
        let rtl = RtlDevice::new(design, self.config, memory, &options)?;
        let mut both = Lockstep::new(model, rtl)?;
        both.start(&self.start())?;
        both.run(&Limits {
            instructions: 1 << 20,
            cycles: 1 << 26,
        })
    }

    /// Timing of the second memory port: plain like the first, or as random but different.
    fn timing1(&self) -> Option<AxiTiming> {
        let random = self.timing != AxiTiming::default();
        random.then(|| AxiTiming::random(!self.timing.seed))
    }

    /// The program as assembler text with its seed and timing.
    pub fn listing(&self) -> String {
        let mut text = format!(
            "; seed {:#x}, r1..r8 {:?}, program at {:#x}\n; {:?}\n",
            self.seed, self.args, self.prog_base, self.timing
        );
        for (pc, insn) in self.program().iter().enumerate() {
            text += &format!("{insn} ; {pc}\n");
        }
        text
    }
}

impl Maker<'_> {
    fn items(&mut self, count: u64, depth: usize) -> Vec<Item> {
        (0..count).map(|_| self.one_item(depth)).collect()
    }

    fn one_item(&mut self, depth: usize) -> Item {
        match self.rng.below(100) {
            0..=57 => Item::Op(self.any_op()),
            58..=69 => self.product(),
            70..=81 => Item::Alu(self.alu()),
            82..=84 => Item::Fence(self.rng.below(16) as u8),
            85..=87 => {
                let rd = self.rng.below(24) as u8;
                let at = self.arena.vmem + self.rng.below(self.arena.vmem_len);
                Item::ReadWord {
                    rd,
                    addr: at as u32,
                }
            }
            _ if depth == assemble::DEPTH_MAX => Item::Op(self.any_op()),
            88..=93 => self.a_loop(depth),
            94..=96 => {
                let count = self.rng.range(1, 5);
                Item::Call {
                    twice: self.rng.chance(400),
                    body: self.items(count, depth + 1),
                }
            }
            _ => {
                let count = self.rng.range(1, 5);
                let taken = self.rng.chance(600);
                let cond = if taken {
                    self.rng.pick(&[0, 1, 2])
                } else {
                    self.rng.pick(&[1, 2])
                };
                Item::Skip {
                    cond,
                    taken,
                    body: self.items(count, depth + 1),
                }
            }
        }
    }

    fn a_loop(&mut self, depth: usize) -> Item {
        let style = self
            .rng
            .pick(&[LoopStyle::FenceFirst, LoopStyle::FenceLast, LoopStyle::Jump]);
        let low = u64::from(style == LoopStyle::Jump);
        let count = self.rng.range(low, 4);
        let outer = self.slack;
        self.slack = assemble::SHIFT_STEP * count.saturating_sub(1);
        let length = self.rng.range(1, 5);
        let body = self.items(length, depth + 1);
        self.slack = outer;
        Item::Loop {
            count: count as u32,
            style,
            body,
        }
    }

    fn alu(&mut self) -> Alu {
        // Mostly small numbers in registers that operands can use.
        let simple = self.rng.chance(600);
        let imm = if simple {
            self.rng.below(40) as i64
        } else {
            (self.rng.bits() as i64) >> (24 + self.rng.below(38))
        };
        Alu {
            rd: self.rng.below(24) as u8,
            rs: if simple { 0 } else { self.rng.below(32) as u8 },
            rt: self.rng.below(32) as u8,
            func: if simple { 0 } else { self.rng.below(8) as u8 },
            use_imm: if simple { 1 } else { self.rng.below(2) as u8 },
            imm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_isa::format::HEADER_PAIRED;

    /// What a program executes and how it ends, on the model alone.
    fn run(case: &Case) -> Result<Outcome> {
        let mut model = Model::new(case.config, case.memory()?)?;
        model.set_check(Check::Races);
        model.run_to_halt(
            &case.start(),
            &Limits {
                instructions: 1 << 20,
                cycles: 0,
            },
        )
    }

    #[test]
    fn random_programs_keep_all_rules_and_halt() {
        for (name, config) in HwConfig::NAMED {
            for seed in 0..150 {
                let case = Case::new(seed, &config);
                match run(&case) {
                    Ok(outcome) => assert_eq!(outcome, Outcome::Halted(1)),
                    Err(e) => panic!("{name} seed {seed}: {e}\n{}", case.listing()),
                }
            }
        }
    }

    #[test]
    fn random_programs_contain_every_instruction_and_format() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..60 {
            for insn in Case::new(seed, &HwConfig::SMALL).program() {
                seen.insert(insn.spec().mnemonic);
            }
        }
        let all: Vec<_> = lampyris_isa::insn::INSNS
            .iter()
            .map(|s| s.mnemonic)
            .collect();
        assert!(all.iter().all(|m| seen.contains(m)), "{seen:?}");
        let mut forms = std::collections::BTreeSet::new();
        for seed in 0..150 {
            for insn in Case::new(seed, &HwConfig::BASE).program() {
                forms.extend(match insn {
                    Insn::Mm(i) if i.header == HEADER_PAIRED => Some(("paired", 0, 0)),
                    Insn::Mv(i) if i.header == HEADER_PAIRED => Some(("paired", 1, 0)),
                    Insn::Mm(i) => Some(("product", i.bits, i.sparsity)),
                    Insn::Mv(i) => Some(("product", i.bits, i.sparsity)),
                    Insn::Deq(i) => Some(("deq", i.bits, 0)),
                    Insn::Quant(i) => Some(("quant", i.group, i.nibbles)),
                    Insn::StK(i) => Some(("st.k", i.nibbles, 0)),
                    Insn::StT(i) => Some(("st.t", i.nibbles, 0)),
                    _ => None,
                });
            }
        }
        let count = |name| forms.iter().filter(|form| form.0 == name).count();
        // Six widths, of which four also with 2:4 and two with 4:16.
        let counts = (count("product"), count("deq"), count("quant"));
        assert_eq!(counts, (6 + 4 + 2, 6, 2 * 4), "{forms:?}");
        let counts = (count("paired"), count("st.k"), count("st.t"));
        assert_eq!(counts, (2, 2, 2), "{forms:?}");
    }

    #[test]
    fn every_part_of_a_program_is_correct_without_the_others() {
        for seed in 0..20 {
            let case = Case::new(seed, &HwConfig::SMALL);
            for at in 0..case.items.len() {
                let mut part = case.clone();
                part.items.remove(at);
                assert_eq!(run(&part).unwrap(), Outcome::Halted(1));
            }
        }
    }

    #[test]
    fn shrinking_keeps_only_what_matters() {
        let case = Case::new(3, &HwConfig::SMALL);
        let has_product = |c: &Case| c.program().iter().any(|i| matches!(i, Insn::LdW(_)));
        let small = shrink(&case, |c| has_product(c));
        assert!(has_product(&small));
        assert_eq!(small.items.len(), 1);
    }
}
