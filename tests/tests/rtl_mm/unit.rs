//! The matrix unit with models of what surrounds it, and what a product must give.

use lampyris_isa::format::{BLOCK, HEADER_BYTES, TILE_ROWS, tile_bytes, unpack_code};
use lampyris_isa::insn::{Mm, Mv};
use lampyris_isa::num::{ActScale, acc_to_f32, block_term};
use lampyris_isa::{HwConfig, Insn};
use lampyris_tests::bench::{Bench, DESC_BITS, Random, descriptor, put_bits, split};
use std::collections::VecDeque;
use verilator_sys::{Input, Output};

const FILES: [&str; 7] = [
    "prim/fix_to_fp.sv",
    "mm/mm_acc.sv",
    "mm/mm_check.sv",
    "mm/mm_drain.sv",
    "mm/mm_row.sv",
    "mm/mm_unpack.sv",
    "mm/mm_unit.sv",
];
/// Bits of `lampyris_pkg::act_block_t`.
const ACT_BITS: u32 = 282;

#[derive(Clone)]
pub(crate) struct ActBlock {
    codes: [i8; BLOCK],
    scale: ActScale,
}

impl ActBlock {
    fn random(random: &mut Random) -> ActBlock {
        let extreme = random.chance(10);
        let code = |random: &mut Random| match (extreme, random.chance(50)) {
            (true, true) => 127,
            (true, false) => -127,
            _ => (random.below(255) as i32 - 127) as i8,
        };
        ActBlock {
            codes: std::array::from_fn(|_| code(random)),
            scale: ActScale {
                significand: 128 + random.below(128) as u8,
                exponent: random.below(48) as u8,
            },
        }
    }

    fn sum(&self) -> i32 {
        self.codes.iter().map(|&c| i32::from(c)).sum()
    }

    fn packed(&self) -> Vec<u32> {
        let mut words = vec![0; ACT_BITS.div_ceil(32) as usize];
        for (j, &code) in self.codes.iter().enumerate() {
            put_bits(&mut words, 8 * j, 8, code as u8 as u64);
        }
        put_bits(&mut words, 256, 7, u64::from(self.scale.significand & 0x7f));
        put_bits(&mut words, 263, 6, self.scale.exponent.into());
        put_bits(&mut words, 269, 13, self.sum() as u64);
        words
    }
}

/// Absolute operands of an `mm`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) x: u64,
    pub(crate) xstride: u64,
    pub(crate) y: u64,
    pub(crate) ystride: u64,
    pub(crate) kblocks: u64,
    pub(crate) groups: u64,
    pub(crate) tokens: u64,
    pub(crate) bits: u8,
    pub(crate) header: u8,
    pub(crate) sparsity: u8,
}

impl Product {
    /// A legal product that fits the configuration.
    pub(crate) fn random(random: &mut Random, config: &HwConfig, blocks: u64) -> Product {
        let tokens = 1 + random.below(config.max_tokens.into());
        let kblocks = 1 + random.below(6);
        let groups = random.below(5);
        let xstride = random.below((blocks - kblocks) / tokens);
        let ystride = 8 * random.below(32);
        let xend = (tokens - 1) * xstride + kblocks;
        let yend = (tokens - 1) * ystride + 16 * groups;
        Product {
            x: random.below(blocks - xend + 1),
            xstride,
            y: 8 * random.below((u64::from(config.vmem_words) - yend) / 8 + 1),
            ystride,
            kblocks,
            groups,
            tokens,
            bits: if random.chance(50) { 4 } else { 8 },
            header: random.chance(30).into(),
            sparsity: 0,
        }
    }

    /// The descriptor; one token without strides may become an `mv`.
    pub(crate) fn descriptor(&self, random: &mut Random, seq: u32) -> Vec<u32> {
        let (rx, x) = split(random, self.x, 1 << 14);
        let (ry, y) = split(random, self.y, 1 << 18);
        let (rk, kblocks) = split(random, self.kblocks, 1 << 12);
        let (rgroups, groups) = split(random, self.groups, 1 << 16);
        let (rtokens, tokens) = split(random, self.tokens, 1 << 6);
        let vector = self.tokens == 1 && random.chance(70);
        let insn = if vector {
            Insn::Mv(Mv {
                x: x as _,
                y: y as _,
                kblocks: kblocks as _,
                groups: groups as _,
                bits: self.bits,
                header: self.header,
                sparsity: self.sparsity,
                ..Mv::default()
            })
        } else {
            Insn::Mm(Mm {
                x: x as _,
                xstride: self.xstride as _,
                y: y as _,
                ystride: self.ystride as _,
                kblocks: kblocks as _,
                groups: groups as _,
                tokens: tokens as _,
                bits: self.bits,
                header: self.header,
                sparsity: self.sparsity,
                ..Mm::default()
            })
        };
        descriptor(seq, [rx, ry, rk, rgroups, rtokens], &insn)
    }

    pub(crate) fn tiles(&self) -> u64 {
        self.groups * self.kblocks
    }

    pub(crate) fn tile_bytes(&self) -> usize {
        tile_bytes(self.bits.into(), self.header == 0)
    }

    /// Words that the product writes, from the definition.
    pub(crate) fn expected(&self, weights: &[u8], xbuf: &[ActBlock]) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        for g in 0..self.groups {
            for t in 0..self.tokens {
                for r in 0..TILE_ROWS {
                    let mut acc = 0i128;
                    for k in 0..self.kblocks {
                        let at = (g * self.kblocks + k) as usize * self.tile_bytes();
                        let tile = &weights[at..at + self.tile_bytes()];
                        let block = &xbuf[(self.x + t * self.xstride + k) as usize];
                        acc = acc.wrapping_add(self.term(tile, r, block));
                    }
                    let word = self.y + t * self.ystride + 16 * g + r as u64;
                    out.push((word, acc_to_f32(acc).to_bits()));
                }
            }
        }
        out
    }

    fn term(&self, tile: &[u8], row: usize, act: &ActBlock) -> i128 {
        let half = |at: usize| u16::from_le_bytes([tile[at], tile[at + 1]]);
        let (scale, min, codes) = if self.header == 0 {
            (half(4 * row), half(4 * row + 2), &tile[HEADER_BYTES..])
        } else {
            (0x3c00, 0, tile)
        };
        let bits = usize::from(self.bits);
        let codes = &codes[row * BLOCK * bits / 8..];
        let dot = (0..BLOCK)
            .map(|j| unpack_code(codes, bits, j) * i32::from(act.codes[j]))
            .sum::<i32>();
        block_term(scale, min, dot, act.sum(), act.scale)
    }
}

/// The unit with models of its stream, activation buffer and vector memory.
pub(crate) struct Unit {
    bench: Bench,
    pub(crate) config: HwConfig,
    clr: Input,
    desc_valid: Input,
    desc: Input,
    desc_ready: Output,
    done: Output,
    done_seq: Output,
    busy: Output,
    err_valid: Output,
    err_code: Output,
    srd_valid: Input,
    srd_data: Input,
    srd_ready: Output,
    xrd_ready: Input,
    xrd_data: Input,
    xrd_valid: Output,
    xrd_addr: Output,
    vwr: [Output; 4],
    step: Output,
    pub(crate) xbuf: Vec<ActBlock>,
    pub(crate) vmem: Vec<Option<u32>>,
    pub(crate) stream: VecDeque<u8>,
    pub(crate) stream_valid: bool,
    pub(crate) steps: u64,
    pub(crate) beat_cycles: Vec<u64>,
}

impl Unit {
    /// The unit after its reset, with random activations.
    pub(crate) fn new(config: &HwConfig, random: &mut Random) -> Unit {
        let mut unit = Unit::connect(config, random.bits() as u32);
        unit.xbuf = (0..config.xbuf_blocks)
            .map(|_| ActBlock::random(random))
            .collect();
        for port in [unit.clr, unit.desc_valid, unit.srd_valid] {
            unit.bench.model.set(port, 0);
        }
        unit.bench.model.set(unit.bench.input("vwr_ready_i", 1), 1);
        unit
    }

    fn connect(config: &HwConfig, seed: u32) -> Unit {
        let names = [
            "AxiBits",
            "MacRows",
            "SfuLanes",
            "MaxTokens",
            "VmemWords",
            "XbufBlocks",
        ];
        let params: Vec<_> = config
            .parameters()
            .into_iter()
            .filter(|(name, _)| names.contains(name))
            .collect();
        let bench = Bench::new("mm_unit", &FILES, &params, seed);
        let line_bits = (config.vmem_words / config.sfu_lanes).ilog2();
        let input = |name, width| bench.input(name, width);
        let output = |name, width| bench.output(name, width);
        Unit {
            clr: input("clr_i", 1),
            desc_valid: input("desc_valid_i", 1),
            desc: input("desc_i", DESC_BITS),
            desc_ready: output("desc_ready_o", 1),
            done: output("done_o", 1),
            done_seq: output("done_seq_o", 32),
            busy: output("busy_o", 1),
            err_valid: output("err_valid_o", 1),
            err_code: output("err_code_o", 8),
            srd_valid: input("srd_valid_i", 1),
            srd_data: input("srd_data_i", config.axi_bits),
            srd_ready: output("srd_ready_o", 1),
            xrd_ready: input("xrd_ready_i", 1),
            xrd_data: input("xrd_data_i", ACT_BITS),
            xrd_valid: output("xrd_valid_o", 1),
            xrd_addr: output("xrd_addr_o", config.xbuf_blocks.ilog2()),
            vwr: [
                output("vwr_valid_o", 1),
                output("vwr_line_o", line_bits),
                output("vwr_mask_o", config.sfu_lanes),
                output("vwr_data_o", 32 * config.sfu_lanes),
            ],
            step: output("step_o", 1),
            xbuf: Vec::new(),
            vmem: vec![None; config.vmem_words as usize],
            stream: VecDeque::new(),
            stream_valid: false,
            steps: 0,
            beat_cycles: Vec::new(),
            config: *config,
            bench,
        }
    }

    fn get(&self, port: Output) -> u64 {
        self.bench.model.get(port)
    }

    /// One cycle; `stall` is the chance in percent that the stream pauses after a beat.
    pub(crate) fn cycle(&mut self, random: &mut Random, stall: u64) {
        let beat = self.config.beat_bytes() as usize;
        self.stream_valid |= self.stream.len() >= beat && !random.chance(stall);
        let mut data = vec![0; beat / 4];
        random.fill(&mut data);
        if self.stream_valid {
            for (i, word) in data.iter_mut().enumerate() {
                *word = u32::from_le_bytes(std::array::from_fn(|b| self.stream[4 * i + b]));
            }
        }
        self.bench
            .model
            .set(self.srd_valid, self.stream_valid.into());
        self.bench.set_words(self.srd_data, &data);
        let grant = stall == 0 || random.chance(90);
        self.bench.model.set(self.xrd_ready, grant.into());
        self.bench.settle();
        self.write_vmem();
        if self.stream_valid && self.get(self.srd_ready) == 1 {
            self.stream.drain(..beat);
            self.stream_valid = false;
            self.beat_cycles.push(self.bench.cycle);
        }
        self.steps += self.get(self.step);
        let granted = grant && self.get(self.xrd_valid) == 1;
        let block = self.get(self.xrd_addr) as usize;
        self.bench.step();
        let mut act = vec![0; ACT_BITS.div_ceil(32) as usize];
        random.fill(&mut act);
        act[8] &= (1 << (ACT_BITS % 32)) - 1;
        if granted {
            act = self.xbuf[block].packed();
        }
        self.bench.set_words(self.xrd_data, &act);
    }

    fn write_vmem(&mut self) {
        let [valid, line, mask, data] = self.vwr;
        if self.get(valid) == 0 {
            return;
        }
        let lanes = self.config.sfu_lanes as usize;
        let (line, mask) = (self.get(line) as usize, self.get(mask));
        for (lane, word) in self.bench.words(data).into_iter().enumerate() {
            if mask >> lane & 1 == 1 {
                self.vmem[line * lanes + lane] = Some(word);
            }
        }
    }

    pub(crate) fn offer(&mut self, random: &mut Random, stall: u64, desc: &[u32]) {
        self.bench.set_words(self.desc, desc);
        self.bench.model.set(self.desc_valid, 1);
        loop {
            self.bench.settle();
            let taken = self.get(self.desc_ready) == 1;
            self.cycle(random, stall);
            if taken {
                break;
            }
        }
        self.bench.model.set(self.desc_valid, 0);
    }

    /// Runs until the unit retires or raises an error; the result is the error code.
    pub(crate) fn finish(&mut self, random: &mut Random, stall: u64, seq: u32) -> u64 {
        for _ in 0..200_000 {
            self.bench.settle();
            let (done, error) = (self.get(self.done), self.get(self.err_valid));
            let (done_seq, code) = (self.get(self.done_seq), self.get(self.err_code));
            self.cycle(random, stall);
            if error == 1 {
                assert_eq!(done, 0, "a failed instruction must not retire");
                return code;
            }
            if done == 1 {
                assert_eq!(done_seq, u64::from(seq));
                self.bench.settle();
                assert_eq!(self.get(self.busy), 0, "idle after the only instruction");
                return 0;
            }
        }
        panic!("the instruction neither retires nor fails");
    }

    pub(crate) fn soft_reset(&mut self, random: &mut Random) {
        self.bench.model.set(self.clr, 1);
        self.cycle(random, 0);
        self.bench.model.set(self.clr, 0);
        self.stream.clear();
        self.stream_valid = false;
    }
}
