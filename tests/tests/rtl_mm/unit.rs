//! The matrix unit with models of what surrounds it, and what a product must give.

use lampyris_isa::format::{
    BLOCK, HEADER_BYTES, HEADER_PAIRED, Sparsity, TILE_ROWS, tile_bytes, unpack_code,
};
use lampyris_isa::insn::{Mm, Mv};
use lampyris_isa::num::{ActScale, acc_to_f32, block_term};
use lampyris_isa::{HwConfig, Insn};
use lampyris_tests::bench::{Bench, DESC_BITS, Random, descriptor, put_bits, split};
use std::collections::VecDeque;
use verilator_sys::{Input, Output};

const FILES: [&str; 13] = [
    "prim/fix_to_fp.sv",
    "prim/prim_fifo.sv",
    "mm/mm_acc.sv",
    "mm/mm_candidates.sv",
    "mm/mm_check.sv",
    "mm/mm_drain.sv",
    "mm/mm_intake.sv",
    "mm/mm_products.sv",
    "mm/mm_products_pair.sv",
    "mm/mm_row.sv",
    "mm/mm_sparse_mux.sv",
    "mm/mm_unpack.sv",
    "mm/mm_unit.sv",
];
/// Bits of `lampyris_pkg::act_block_t`.
const ACT_BITS: u32 = 282;

/// Blocks that a read of the activation buffer brings.
fn reads(config: &HwConfig) -> u32 {
    if config.sparsity == 0 { 1 } else { 4 }
}

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
        let mut formats = Vec::new();
        for sparsity in Sparsity::ALL {
            let widths = (0..=8).filter(|&bits| config.has_tiles(sparsity, bits));
            formats.extend(widths.map(|bits| (bits as u8, sparsity)));
        }
        let (bits, sparsity) = formats[random.below(formats.len() as u64) as usize];
        let span = sparsity.span() as u64;
        let tokens = 1 + random.below(config.max_tokens.into());
        let kblocks = span * (1 + random.below(6));
        let groups = random.below(5);
        let xstride = span * random.below((blocks - kblocks) / tokens / span + 1);
        let ystride = 8 * random.below(32);
        let xend = (tokens - 1) * xstride + kblocks;
        let yend = (tokens - 1) * ystride + 16 * groups;
        Product {
            x: span * random.below((blocks - xend) / span + 1),
            xstride,
            y: 8 * random.below((u64::from(config.vmem_words) - yend) / 8 + 1),
            ystride,
            kblocks,
            groups,
            tokens,
            bits,
            header: match (bits, sparsity) {
                (4, Sparsity::Dense) if config.has_kv4() && random.chance(50) => HEADER_PAIRED,
                _ => random.chance(30).into(),
            },
            sparsity: sparsity as u8,
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

    fn sparsity(&self) -> Sparsity {
        Sparsity::from_field(self.sparsity).expect("a legal product")
    }

    pub(crate) fn tiles(&self) -> u64 {
        self.groups * self.kblocks / self.sparsity().span() as u64
    }

    fn field_bits(&self) -> usize {
        usize::from(self.bits) + self.sparsity().index_bits()
    }

    pub(crate) fn tile_bytes(&self) -> usize {
        tile_bytes(self.field_bits(), self.header == 0)
    }

    /// Words that the product writes, from the definition.
    pub(crate) fn expected(&self, weights: &[u8], xbuf: &[ActBlock]) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        for g in 0..self.groups {
            for t in 0..self.tokens {
                for r in 0..TILE_ROWS {
                    let mut acc = 0i128;
                    let span = self.sparsity().span();
                    for k in (0..self.kblocks).step_by(span) {
                        let at = (g * self.kblocks + k) as usize / span * self.tile_bytes();
                        let tile = &weights[at..at + self.tile_bytes()];
                        let block = (self.x + t * self.xstride + k) as usize;
                        acc = acc.wrapping_add(self.term(tile, r, &xbuf[block..block + span]));
                    }
                    let word = self.y + t * self.ystride + 16 * g + r as u64;
                    out.push((word, acc_to_f32(acc).to_bits()));
                }
            }
        }
        out
    }

    fn term(&self, tile: &[u8], row: usize, acts: &[ActBlock]) -> i128 {
        let half = |at: usize| u16::from_le_bytes([tile[at], tile[at + 1]]);
        let (scale, mut min, codes) = if self.header == 0 {
            (half(4 * row), half(4 * row + 2), &tile[HEADER_BYTES..])
        } else {
            (0x3c00, 0, tile)
        };
        if self.header == HEADER_PAIRED {
            let byte = |j: usize| tile[row / 2 * BLOCK + j];
            let code = |j| i32::from(byte(j) >> (4 * (row % 2)) & 15) - 8;
            let products = (0..BLOCK).map(|j| code(j) * i32::from(acts[0].codes[j]));
            return block_term(scale, 0, products.sum(), acts[0].sum(), acts[0].scale);
        }
        let (sparsity, field_bits) = (self.sparsity(), self.field_bits());
        if sparsity != Sparsity::Dense {
            min = 0;
        }
        let codes = &codes[row * BLOCK * field_bits / 8..];
        let dot = (0..BLOCK)
            .map(|j| {
                let field = unpack_code(codes, field_bits, j);
                let (code, index) = sparsity.split(field, self.bits.into());
                let column = sparsity.column(j, index);
                code * i32::from(acts[column / BLOCK].codes[column % BLOCK])
            })
            .sum::<i32>();
        block_term(scale, min, dot, acts[0].sum(), acts[0].scale)
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
            "WeightBits",
            "Sparsity",
        ];
        let params: Vec<_> = config
            .parameters()
            .into_iter()
            .filter(|(name, _)| names.contains(name))
            .collect();
        let bench = Bench::new("mm_unit", &FILES, &params, seed);
        let line_bits = (config.vmem_words / config.sfu_lanes).ilog2();
        let read_bits = ACT_BITS * reads(config);
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
            xrd_data: input("xrd_data_i", read_bits),
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
        let data = self.read_xbuf(random, granted.then_some(block));
        self.bench.set_words(self.xrd_data, &data);
    }

    /// The blocks that a read brings, or random bits.
    fn read_xbuf(&self, random: &mut Random, block: Option<usize>) -> Vec<u32> {
        let reads = reads(&self.config) as usize;
        let width = ACT_BITS as usize;
        let mut words = vec![0; (reads * width).div_ceil(32)];
        for number in 0..reads {
            let mut act = vec![0; width.div_ceil(32)];
            random.fill(&mut act);
            // Only what the alignment of the address promises.
            let align = (number + 1).next_power_of_two();
            if let Some(at) = block.filter(|at| at % align == 0) {
                act = self.xbuf[at + number].packed();
            }
            for bit in 0..width {
                put_bits(
                    &mut words,
                    number * width + bit,
                    1,
                    u64::from(act[bit / 32] >> (bit % 32)),
                );
            }
        }
        words
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
