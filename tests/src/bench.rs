//! Driving one unit of the RTL: clock, reset, ports, descriptors and random numbers.

use lampyris_isa::config::ALL_WEIGHT_BITS;
use lampyris_isa::{HwConfig, Insn};
use std::path::PathBuf;
use verilator_sys::{Build, InitialState, Input, Model, Output, Setup};

/// Fixed sequence of pseudo-random numbers (splitmix64).
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number from 0 to `limit` - 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Fills a slice.
    pub fn fill(&mut self, words: &mut [u32]) {
        words.iter_mut().for_each(|w| *w = self.bits() as u32);
    }
}

/// A module with `clk_i` and `rst_ni`.
pub struct Bench {
    /// The Verilated module.
    pub model: Model,
    clk: Input,
    reset_n: Input,
    /// Rising edges since the reset.
    pub cycle: u64,
}

impl Bench {
    /// Builds `top` from files below `rtl/` (after the two packages) and resets it. Registers
    /// start with random values of `seed`.
    ///
    /// # Panics
    /// When the design does not build.
    pub fn new(top: &str, files: &[&str], params: &[(&str, u32)], seed: u32) -> Bench {
        let rtl = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../rtl");
        let packages = ["gen/lampyris_isa_pkg.sv", "core/lampyris_pkg.sv"];
        let mut build = Build::new(top)
            .sources(packages.iter().chain(files).map(|file| rtl.join(file)))
            .initial_state(InitialState::Random)
            .opt(1);
        for (name, value) in params {
            build = build.param(*name, value);
        }
        let design = build
            .build()
            .unwrap_or_else(|error| panic!("{top}: {error}"));
        let model = design.instantiate(&Setup { seed }).expect("a model");
        let mut bench = Bench {
            clk: model.input("clk_i", 1).expect("clk_i"),
            reset_n: model.input("rst_ni", 1).expect("rst_ni"),
            model,
            cycle: 0,
        };
        bench.model.set(bench.clk, 0);
        bench.model.set(bench.reset_n, 0);
        (0..3).for_each(|_| bench.step());
        bench.model.set(bench.reset_n, 1);
        bench.cycle = 0;
        bench
    }

    /// The input `name`.
    ///
    /// # Panics
    /// When the port does not exist or has another width.
    pub fn input(&self, name: &str, width: u32) -> Input {
        self.model.input(name, width).expect("an input")
    }

    /// The output `name`.
    ///
    /// # Panics
    /// When the port does not exist or has another width.
    pub fn output(&self, name: &str, width: u32) -> Output {
        self.model.output(name, width).expect("an output")
    }

    /// Lets the inputs reach the outputs without a clock edge.
    ///
    /// # Panics
    /// When the design stops the simulation.
    pub fn settle(&mut self) {
        self.model.eval().expect("the design runs");
    }

    /// One clock cycle.
    ///
    /// # Panics
    /// When the design stops the simulation.
    pub fn step(&mut self) {
        for level in [1, 0] {
            self.model.set(self.clk, level);
            self.model.eval().expect("the design runs");
        }
        self.cycle += 1;
    }

    /// An output of any width as 32-bit words.
    pub fn words(&self, port: Output) -> Vec<u32> {
        if port.width() > 64 {
            let mut words = vec![0; port.width().div_ceil(32) as usize];
            self.model.get_words(port, &mut words);
            words
        } else {
            let value = self.model.get(port);
            let words = [value as u32, (value >> 32) as u32];
            words[..port.width().div_ceil(32) as usize].to_vec()
        }
    }

    /// Sets an input of any width from 32-bit words.
    pub fn set_words(&mut self, port: Input, words: &[u32]) {
        if port.width() > 64 {
            self.model.set_words(port, words);
        } else {
            let high = words.get(1).map_or(0, |w| u64::from(*w));
            self.model.set(port, u64::from(words[0]) | high << 32);
        }
    }
}

/// Bits of `lampyris_pkg::desc_t`.
pub const DESC_BITS: u32 = 32 + 5 * 40 + 256;

/// Packs a `lampyris_pkg::desc_t`.
pub fn descriptor(seq: u32, rval: [u64; 5], insn: &Insn) -> Vec<u32> {
    let mut words = vec![0; DESC_BITS.div_ceil(32) as usize];
    let word = insn.encode();
    (0..4).for_each(|i| put_bits(&mut words, 64 * i, 64, word[i]));
    (0..5).for_each(|i| put_bits(&mut words, 256 + 40 * i, 40, rval[i]));
    put_bits(&mut words, 456, 32, seq.into());
    words
}

/// Writes the low `width` bits of a value at bit `lsb`.
pub fn put_bits(words: &mut [u32], lsb: usize, width: usize, value: u64) {
    for bit in 0..width {
        let at = lsb + bit;
        let mask = 1 << (at % 32);
        words[at / 32] = words[at / 32] & !mask | ((value >> bit & 1) as u32) << (at % 32);
    }
}

/// Splits a 40-bit operand into a register value and an immediate below `limit`, so that the sum
/// wraps now and then.
pub fn split(random: &mut Random, operand: u64, limit: u64) -> (u64, u64) {
    let immediate = random.below(limit);
    (
        operand.wrapping_sub(immediate) & lampyris_isa::insn::REG_MASK,
        immediate,
    )
}

/// Configurations for unit tests: the named ones and corners of the parameter space.
pub fn configs() -> Vec<(&'static str, HwConfig)> {
    let small = HwConfig::SMALL;
    let odd = |axi_bits, mac_rows, sfu_lanes, max_tokens| HwConfig {
        axi_bits,
        mac_rows,
        sfu_lanes,
        max_tokens,
        stream_beats: 64,
        weight_bits: ALL_WEIGHT_BITS,
        ..small
    };
    let without = |bits: u32| ALL_WEIGHT_BITS & !(1 << bits);
    let mut all = HwConfig::NAMED.to_vec();
    all.push((
        "128x16",
        HwConfig {
            mul_pack: 1,
            ..odd(128, 16, 4, 3)
        },
    ));
    all.push((
        "512x1",
        HwConfig {
            sparsity: 2,
            ..odd(512, 1, 2, 1)
        },
    ));
    all.push((
        "256x8",
        HwConfig {
            sparsity: 1,
            weight_bits: without(3) & without(5),
            ..odd(256, 8, 8, 32)
        },
    ));
    all.push((
        "512x16",
        HwConfig {
            sparsity: 2,
            mul_pack: 2,
            weight_bits: without(6),
            ..odd(512, 16, 4, 1)
        },
    ));
    all
}
