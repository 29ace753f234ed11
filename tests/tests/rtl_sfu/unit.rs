//! The unit between a vector memory and an activation buffer that stall at random.

use lampyris_isa::HwConfig;
use lampyris_isa::format::BLOCK;
use lampyris_tests::bench::{Bench, DESC_BITS, Random};
use verilator_sys::{Input, Output};

const FILES: [&str; 18] = [
    "prim/fp_pkg.sv",
    "prim/fix_to_fp.sv",
    "prim/fp_add.sv",
    "prim/fp_func.sv",
    "prim/fp_mul.sv",
    "prim/prim_fifo.sv",
    "sfu/sfu_pkg.sv",
    "sfu/sfu_codes.sv",
    "sfu/sfu_decode.sv",
    "sfu/sfu_deq.sv",
    "sfu/sfu_lane.sv",
    "sfu/sfu_pipe.sv",
    "sfu/sfu_quant.sv",
    "sfu/sfu_rect.sv",
    "sfu/sfu_reduce.sv",
    "sfu/sfu_scale.sv",
    "sfu/sfu_vop.sv",
    "sfu/sfu_walk.sv",
];
const LAST_FILES: [&str; 2] = ["sfu/sfu_write.sv", "sfu/sfu_unit.sv"];
/// Bits of `lampyris_pkg::act_block_t`.
const ACT_BITS: u32 = 282;

/// A block of the activation buffer as the hardware packs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    pub(crate) codes: [i8; BLOCK],
    pub(crate) significand: u8,
    pub(crate) exponent: u8,
    pub(crate) sum: i32,
}

impl Block {
    fn unpack(words: &[u32]) -> Block {
        let bits = |lsb: usize, width: usize| {
            (0..width).fold(0u32, |v, i| {
                v | (words[(lsb + i) / 32] >> ((lsb + i) % 32) & 1) << i
            })
        };
        Block {
            codes: std::array::from_fn(|j| bits(8 * j, 8) as u8 as i8),
            significand: bits(256, 7) as u8 | 128,
            exponent: bits(263, 6) as u8,
            sum: (bits(269, 13) << 19) as i32 >> 19,
        }
    }
}

/// What the unit did with an instruction.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It retired so many cycles after it was accepted.
    Done(u64),
    /// It failed with this code.
    Error(u64),
}

pub(crate) struct Unit {
    pub(crate) bench: Bench,
    pub(crate) vmem: Vec<u32>,
    pub(crate) xbuf: Vec<Option<Block>>,
    pub(crate) writes: u64,
    lanes: usize,
    clr: Input,
    desc_valid: Input,
    desc: Input,
    desc_ready: Output,
    done: Output,
    done_seq: Output,
    busy: Output,
    err_valid: Output,
    err_code: Output,
    vrd: (Output, Output, Input, Input),
    vwr: (Output, Output, Output, Output, Input),
    xwr: (Output, Output, Output),
}

impl Unit {
    pub(crate) fn new(config: &HwConfig, seed: u32) -> Unit {
        let names = [
            "SfuLanes",
            "VmemWords",
            "XbufBlocks",
            "WeightBits",
            "Sparsity",
        ];
        let params: Vec<_> = config
            .parameters()
            .into_iter()
            .filter(|(name, _)| names.contains(name))
            .collect();
        let files: Vec<_> = FILES.into_iter().chain(LAST_FILES).collect();
        let bench = Bench::new("sfu_unit", &files, &params, seed);
        let line_bits = (config.vmem_words / config.sfu_lanes).ilog2();
        let data_bits = 32 * config.sfu_lanes;
        let input = |name, width| bench.input(name, width);
        let output = |name, width| bench.output(name, width);
        let mut unit = Unit {
            clr: input("clr_i", 1),
            desc_valid: input("desc_valid_i", 1),
            desc: input("desc_i", DESC_BITS),
            desc_ready: output("desc_ready_o", 1),
            done: output("done_o", 1),
            done_seq: output("done_seq_o", 32),
            busy: output("busy_o", 1),
            err_valid: output("err_valid_o", 1),
            err_code: output("err_code_o", 8),
            vrd: (
                output("vrd_valid_o", 1),
                output("vrd_line_o", line_bits),
                input("vrd_ready_i", 1),
                input("vrd_data_i", data_bits),
            ),
            vwr: (
                output("vwr_valid_o", 1),
                output("vwr_line_o", line_bits),
                output("vwr_mask_o", config.sfu_lanes),
                output("vwr_data_o", data_bits),
                input("vwr_ready_i", 1),
            ),
            xwr: (
                output("xwr_valid_o", 1),
                output("xwr_addr_o", config.xbuf_blocks.ilog2()),
                output("xwr_data_o", ACT_BITS),
            ),
            vmem: vec![0; config.vmem_words as usize],
            xbuf: vec![None; config.xbuf_blocks as usize],
            writes: 0,
            lanes: config.sfu_lanes as usize,
            bench,
        };
        for port in [unit.clr, unit.desc_valid] {
            unit.bench.model.set(port, 0);
        }
        unit
    }

    fn get(&self, port: Output) -> u64 {
        self.bench.model.get(port)
    }

    /// One cycle; `stall` is the chance in percent that a request waits.
    fn cycle(&mut self, random: &mut Random, stall: u64) {
        let read_ready = !random.chance(stall);
        let write_ready = !random.chance(stall);
        self.bench.model.set(self.vrd.2, read_ready.into());
        self.bench.model.set(self.vwr.4, write_ready.into());
        self.bench.settle();
        let mut data = vec![0; self.lanes];
        random.fill(&mut data);
        if read_ready && self.get(self.vrd.0) == 1 {
            let at = self.get(self.vrd.1) as usize * self.lanes;
            data.copy_from_slice(&self.vmem[at..at + self.lanes]);
        }
        if write_ready && self.get(self.vwr.0) == 1 {
            let (line, mask) = (self.get(self.vwr.1) as usize, self.get(self.vwr.2));
            for (lane, word) in self.bench.words(self.vwr.3).into_iter().enumerate() {
                if mask >> lane & 1 == 1 {
                    self.vmem[line * self.lanes + lane] = word;
                    self.writes += 1;
                }
            }
        }
        if self.get(self.xwr.0) == 1 {
            let block = Block::unpack(&self.bench.words(self.xwr.2));
            let at = self.get(self.xwr.1) as usize;
            self.xbuf[at] = Some(block);
            self.writes += 1;
        }
        self.bench.step();
        self.bench.set_words(self.vrd.3, &data);
    }

    /// Hands over one descriptor and runs until it retires or fails.
    pub(crate) fn run(
        &mut self,
        random: &mut Random,
        stall: u64,
        seq: u32,
        desc: &[u32],
    ) -> Outcome {
        self.bench.set_words(self.desc, desc);
        self.bench.model.set(self.desc_valid, 1);
        self.bench.settle();
        assert_eq!(self.get(self.desc_ready), 1, "an idle unit accepts");
        self.cycle(random, stall);
        self.bench.model.set(self.desc_valid, 0);
        for waited in 1..1_000_000 {
            self.bench.settle();
            let (done, error) = (self.get(self.done), self.get(self.err_valid));
            let (done_seq, code) = (self.get(self.done_seq), self.get(self.err_code));
            assert_eq!(self.get(self.busy), 1);
            self.cycle(random, stall);
            if error == 1 {
                assert_eq!(done, 0, "a failed instruction must not retire");
                return Outcome::Error(code);
            }
            if done == 1 {
                assert_eq!(done_seq, u64::from(seq));
                self.bench.settle();
                assert_eq!(self.get(self.busy), 0, "idle after the only instruction");
                return Outcome::Done(waited);
            }
        }
        panic!("the instruction neither retires nor fails");
    }

    /// Hands over a descriptor and resets the unit in the middle of it.
    pub(crate) fn abandon(&mut self, random: &mut Random, desc: &[u32]) {
        self.bench.set_words(self.desc, desc);
        self.bench.model.set(self.desc_valid, 1);
        let cycles = 1 + random.below(40);
        for _ in 0..cycles {
            self.cycle(random, 20);
            self.bench.model.set(self.desc_valid, 0);
        }
        self.soft_reset(random);
    }

    /// A pulse of the CSR's reset.
    pub(crate) fn soft_reset(&mut self, random: &mut Random) {
        self.bench.model.set(self.clr, 1);
        self.cycle(random, 0);
        self.bench.model.set(self.clr, 0);
    }

    /// Runs idle cycles and expects that nothing happens.
    pub(crate) fn expect_quiet(&mut self, random: &mut Random) {
        let writes = self.writes;
        for _ in 0..40 {
            self.bench.settle();
            assert_eq!((self.get(self.done), self.get(self.busy)), (0, 0));
            self.cycle(random, 0);
        }
        assert_eq!(self.writes, writes, "an idle unit writes");
    }
}
