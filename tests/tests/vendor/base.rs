//! `axi_base`: the register for the memory's base, and everything else for the accelerator.

use lampyris_flow::vendor::MEM_BASE;
use lampyris_tests::bench::{Bench, Random};
use std::collections::BTreeMap;
use verilator_sys::{Input, Output};

const INPUTS: [(&str, u32); 17] = [
    ("awvalid_i", 1),
    ("awaddr_i", 12),
    ("wvalid_i", 1),
    ("wdata_i", 32),
    ("wstrb_i", 4),
    ("bready_i", 1),
    ("arvalid_i", 1),
    ("araddr_i", 12),
    ("rready_i", 1),
    ("awready_i", 1),
    ("wready_i", 1),
    ("bvalid_i", 1),
    ("bresp_i", 2),
    ("arready_i", 1),
    ("rvalid_i", 1),
    ("rdata_i", 32),
    ("rresp_i", 2),
];
const OUTPUTS: [(&str, u32); 18] = [
    ("base_o", 64),
    ("awready_o", 1),
    ("wready_o", 1),
    ("bvalid_o", 1),
    ("bresp_o", 2),
    ("arready_o", 1),
    ("rvalid_o", 1),
    ("rdata_o", 32),
    ("rresp_o", 2),
    ("awvalid_o", 1),
    ("awaddr_o", 12),
    ("wvalid_o", 1),
    ("wdata_o", 32),
    ("wstrb_o", 4),
    ("bready_o", 1),
    ("arvalid_o", 1),
    ("araddr_o", 12),
    ("rready_o", 1),
];

/// How the accelerator's side answers: with an error to writes, so that answers can be told apart.
const SLAVE_ERROR: u64 = 2;

/// The module between a host and registers that remember what is written.
struct System {
    bench: Bench,
    inputs: BTreeMap<&'static str, Input>,
    outputs: BTreeMap<&'static str, Output>,
    random: Random,
    registers: BTreeMap<u32, u32>,
    /// Address and data of a write, address of a read that the registers have taken.
    taken: (Option<u32>, Option<u32>, Option<u32>),
    answering: bool,
    /// Whether the registers take address and data only together.
    together: bool,
}

/// What the host wants.
#[derive(Clone, Copy)]
enum Access {
    Write { at: u32, word: u32, strobes: u32 },
    Read { at: u32 },
}

impl System {
    fn new(seed: u32) -> System {
        let mut bench = Bench::new("axi_base", &["soc/axi_base.sv"], &[], seed);
        let inputs = INPUTS.map(|(name, width)| (name, bench.input(name, width)));
        let outputs = OUTPUTS.map(|(name, width)| (name, bench.output(name, width)));
        for (_, input) in inputs {
            bench.model.set(input, 0);
        }
        System {
            bench,
            inputs: inputs.into(),
            outputs: outputs.into(),
            random: Random::new(u64::from(seed)),
            registers: BTreeMap::new(),
            taken: (None, None, None),
            answering: false,
            together: seed.is_multiple_of(2),
        }
    }

    fn set(&mut self, name: &str, value: u64) {
        self.bench.model.set(self.inputs[name], value);
    }

    fn get(&mut self, name: &str) -> u64 {
        self.bench.settle();
        self.bench.model.get(self.outputs[name])
    }

    /// Drives the registers' side for a clock; returns which of address, data and read it would take.
    fn offer(&mut self) -> (bool, bool, bool) {
        let (address, data, read) = self.taken;
        let mut ready = (
            self.random.chance(50),
            self.random.chance(50),
            self.random.chance(50),
        );
        if self.together {
            let both = self.get("awvalid_o") == 1 && self.get("wvalid_o") == 1;
            ready.0 &= both;
            ready.1 = ready.0;
        }
        let ready = (
            ready.0 && address.is_none(),
            ready.1 && data.is_none(),
            ready.2 && read.is_none(),
        );
        // Once shown, an answer stays.
        self.answering |= self.random.chance(40);
        self.answering &= address.is_some() && data.is_some();
        self.set("awready_i", ready.0.into());
        self.set("wready_i", ready.1.into());
        self.set("arready_i", ready.2.into());
        self.set("bvalid_i", self.answering.into());
        self.set("bresp_i", SLAVE_ERROR);
        let word = read.map(|at| self.registers.get(&at).copied().unwrap_or(!at));
        self.set("rvalid_i", word.is_some().into());
        self.set("rdata_i", word.unwrap_or(0).into());
        self.set("rresp_i", 0);
        ready
    }

    /// Clocks once and does what the registers do.
    fn clock(&mut self, ready: (bool, bool, bool)) {
        let address = (ready.0 && self.get("awvalid_o") == 1).then(|| self.get("awaddr_o") as u32);
        let data = (ready.1 && self.get("wvalid_o") == 1).then(|| self.get("wdata_o") as u32);
        let read = (ready.2 && self.get("arvalid_o") == 1).then(|| self.get("araddr_o") as u32);
        let answered = self.answering && self.get("bready_o") == 1;
        let fetched = self.taken.2.is_some() && self.get("rready_o") == 1;
        self.bench.step();
        for at in address.iter().chain(&read) {
            assert!(*at < MEM_BASE, "{at:#x} reached the accelerator");
        }
        if answered {
            let (at, word) = (self.taken.0.take(), self.taken.1.take());
            let (at, word) = (at.expect("an address"), word.expect("data"));
            self.registers.insert(at, word);
            self.answering = false;
        }
        if fetched {
            self.taken.2 = None;
        }
        self.taken.0 = self.taken.0.or(address);
        self.taken.1 = self.taken.1.or(data);
        self.taken.2 = self.taken.2.or(read);
    }

    /// An access from the host, its parts at random times; returns response and data.
    fn access(&mut self, access: Access) -> (u64, u32) {
        let (write, at) = match access {
            Access::Write { at, word, strobes } => {
                self.set("wdata_i", word.into());
                self.set("wstrb_i", strobes.into());
                (true, at)
            }
            Access::Read { at } => (false, at),
        };
        self.set("awaddr_i", at.into());
        self.set("araddr_i", at.into());
        let (mut shown, mut done) = ([false; 2], [false; 2]);
        let (valids, readies) = match write {
            true => (["awvalid_i", "wvalid_i"], ["awready_o", "wready_o"]),
            false => (["arvalid_i"; 2], ["arready_o"; 2]),
        };
        for _ in 0..1000 {
            let ready = self.offer();
            let accept = self.random.chance(50);
            self.set("bready_i", (write && accept).into());
            self.set("rready_i", (!write && accept).into());
            for part in 0..if write { 2 } else { 1 } {
                shown[part] |= self.random.chance(40);
                self.set(valids[part], (shown[part] && !done[part]).into());
            }
            for part in 0..if write { 2 } else { 1 } {
                done[part] |= shown[part] && self.get(readies[part]) == 1;
            }
            let valid = if write { "bvalid_o" } else { "rvalid_o" };
            let answer = (accept && self.get(valid) == 1).then(|| match write {
                true => (self.get("bresp_o"), 0),
                false => (self.get("rresp_o"), self.get("rdata_o") as u32),
            });
            self.clock(ready);
            if let Some(answer) = answer {
                for name in ["bready_i", "rready_i"].into_iter().chain(valids) {
                    self.set(name, 0);
                }
                return answer;
            }
        }
        panic!("no answer at {at:#x}");
    }

    fn write(&mut self, at: u32, word: u32) -> u64 {
        let strobes = 15;
        self.access(Access::Write { at, word, strobes }).0
    }

    fn read(&mut self, at: u32) -> u32 {
        self.access(Access::Read { at }).1
    }
}

#[test]
fn the_base_is_kept_and_everything_else_passes() {
    for seed in 1..=8 {
        let mut system = System::new(seed);
        assert_eq!(system.get("base_o"), 0);
        let mut base = 0u64;
        let mut mine = BTreeMap::new();
        for turn in 0..200u32 {
            let word = system.random.bits() as u32;
            let at = 4 * system.random.below(16) as u32;
            match turn % 4 {
                0 => {
                    let high = system.random.chance(50);
                    let offset = MEM_BASE + if high { 4 } else { 0 };
                    assert_eq!(system.write(offset, word), 0, "an answer of the base");
                    let shift = if high { 32 } else { 0 };
                    base = base & !(0xffff_ffff << shift) | u64::from(word) << shift;
                    base &= !0xfff;
                }
                1 => {
                    assert_eq!(system.write(at, word), SLAVE_ERROR, "an answer from behind");
                    mine.insert(at, word);
                }
                2 => {
                    let wanted = mine.get(&at).copied().unwrap_or(!at);
                    assert_eq!(system.read(at), wanted, "{at:#x}");
                }
                _ => {
                    assert_eq!(system.read(MEM_BASE), base as u32);
                    assert_eq!(system.read(MEM_BASE + 4), (base >> 32) as u32);
                    assert_eq!(system.read(MEM_BASE + 8), 0);
                }
            }
            assert_eq!(system.get("base_o"), base);
        }
        assert_eq!(system.registers, mine);
    }
}

#[test]
fn bytes_that_are_not_strobed_stay() {
    let mut system = System::new(1);
    system.write(MEM_BASE + 4, 0x1122_3344);
    let (at, word, strobes) = (MEM_BASE + 4, 0xaabb_ccdd, 0b0110);
    system.access(Access::Write { at, word, strobes });
    assert_eq!(system.read(at), 0x11bb_cc44);
    // Neither an unused register nor one of the accelerator with the same low bits changes it.
    system.write(MEM_BASE + 8, u32::MAX);
    system.write(0x104, u32::MAX);
    assert_eq!(system.get("base_o"), 0x11bb_cc44 << 32);
}
