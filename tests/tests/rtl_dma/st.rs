//! ST: bytes in memory, strobes, responses, errors.

use crate::axi::{Pace, WriteSlave};
use crate::port::{Event, UnitPort};
use lampyris_isa::insn::{StK, StT, StV};
use lampyris_isa::num::ActScale;
use lampyris_isa::{HwConfig, Insn};
use lampyris_tests::bench::{Bench, Random, configs, descriptor, put_bits, split};
use std::collections::HashMap;
use verilator_sys::{Input, Output};

const FILES: [&str; 4] = [
    "prim/prim_fifo.sv",
    "dma/st_vector.sv",
    "dma/st_block.sv",
    "dma/st_unit.sv",
];
/// Bits of `lampyris_pkg::act_block_t`.
const ACT_BITS: u32 = 282;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Vector,
    Row,
    Column,
}

/// Absolute operands of a store. `count` is in words or blocks, `row` is a row or a column.
#[derive(Clone, Copy, Debug)]
struct Store {
    kind: Kind,
    address: u64,
    count: u64,
    src: u64,
    row: u64,
    stride: u64,
    /// Codes of 4 bits.
    nibbles: bool,
}

impl Store {
    fn random(random: &mut Random, config: &HwConfig) -> Store {
        let kind = [Kind::Vector, Kind::Row, Kind::Column][random.below(3) as usize];
        let (unit, space, most) = match kind {
            Kind::Vector => (4, config.vmem_words, [4, 40, 900][random.below(3) as usize]),
            _ => (64, config.xbuf_blocks, 4),
        };
        let count = random.below(most);
        let page = random.below(1 << 26) << 12;
        let near = if random.chance(50) {
            4096 - unit * random.below(8)
        } else {
            0
        };
        Store {
            kind,
            address: page + near + unit * random.below(16),
            count,
            src: random.below(u64::from(space) - count + 1),
            row: random.below(1 << 12),
            stride: 64 * random.below(20),
            nibbles: kind != Kind::Vector && random.chance(50),
        }
    }

    fn descriptor(&self, random: &mut Random, seq: u32) -> Vec<u32> {
        let (rest, addr) = split(random, self.address, 1 << 40);
        let (rbase, rindex) = split(random, rest, 1 << 40);
        let (rsrc, src) = split(random, self.src, 1 << 14);
        let blocks = self.count as u8;
        let (insn, second) = match self.kind {
            Kind::Vector => {
                let (rcount, count) = split(random, self.count, 1 << 24);
                let (count, src) = (count as u32, src as u32);
                (
                    Insn::StV(StV {
                        addr,
                        count,
                        src,
                        ..StV::default()
                    }),
                    rcount,
                )
            }
            Kind::Row => {
                let src = src as u16;
                (
                    Insn::StK(StK {
                        addr,
                        blocks,
                        nibbles: self.nibbles.into(),
                        src,
                        ..StK::default()
                    }),
                    self.row,
                )
            }
            Kind::Column => {
                let (src, stride) = (src as u16, self.stride as u32);
                (
                    Insn::StT(StT {
                        addr,
                        blocks,
                        nibbles: self.nibbles.into(),
                        src,
                        stride,
                        ..StT::default()
                    }),
                    self.row,
                )
            }
        };
        descriptor(seq, [rbase, rindex, second, rsrc, 0], &insn)
    }

    /// The bytes that the store writes.
    fn bytes(&self, vmem: &[u32], xbuf: &[Block]) -> HashMap<u64, u8> {
        let mut out = HashMap::new();
        let mut put = |at: u64, bytes: &[u8]| out.extend((at..).zip(bytes.iter().copied()));
        for i in 0..self.count {
            let at = (self.src + i) as usize;
            match self.kind {
                Kind::Vector => put(self.address + 4 * i, &vmem[at].to_le_bytes()),
                Kind::Row if self.nibbles => {
                    let (tile, row) = (self.address + 320 * i, self.row % 16);
                    let exponent = |more: u8| u32::from((xbuf[at].scale.exponent + more) % 32) ^ 16;
                    let fraction = u32::from(xbuf[at].scale.significand & 127) << 3;
                    let scale = exponent(0) << 10 | fraction;
                    let minimum = 1 << 15 | exponent(3) << 10 | fraction;
                    put(tile + 4 * row, &(minimum << 16 | scale).to_le_bytes());
                    put(tile + 64 + 16 * row, &xbuf[at].pairs());
                }
                Kind::Column if self.nibbles => {
                    for (e, byte) in (32 * i..).step_by(2).zip(xbuf[at].pairs()) {
                        let tile = self.address + self.stride * (e / 16);
                        put(tile + 32 * (e % 16 / 2) + self.row % 32, &[byte]);
                    }
                }
                Kind::Row => {
                    let (tile, row) = (self.address + 576 * i, self.row % 16);
                    let scale = u32::from(xbuf[at].scale.to_f16_bits());
                    put(tile + 4 * row, &scale.to_le_bytes());
                    put(tile + 64 + 32 * row, &xbuf[at].codes);
                }
                Kind::Column => {
                    for (e, code) in (32 * i..).zip(xbuf[at].codes) {
                        let tile = self.address + self.stride * (e / 16);
                        put(tile + 32 * (e % 16) + self.row % 32, &[code]);
                    }
                }
            }
        }
        out
    }
}

struct Block {
    codes: [u8; 32],
    scale: ActScale,
}

impl Block {
    fn random(random: &mut Random) -> Block {
        Block {
            codes: std::array::from_fn(|_| random.bits() as u8),
            scale: ActScale {
                significand: 128 + random.below(128) as u8,
                exponent: random.below(48) as u8,
            },
        }
    }

    /// Codes of 4 bits, plus 8, two in a byte.
    fn pairs(&self) -> [u8; 16] {
        std::array::from_fn(|p| {
            let code = |j: usize| self.codes[j].wrapping_add(8) & 15;
            code(2 * p) | code(2 * p + 1) << 4
        })
    }

    fn packed(&self) -> Vec<u32> {
        let mut words = vec![0; ACT_BITS.div_ceil(32) as usize];
        for (j, &code) in self.codes.iter().enumerate() {
            put_bits(&mut words, 8 * j, 8, code.into());
        }
        put_bits(&mut words, 256, 7, u64::from(self.scale.significand & 0x7f));
        put_bits(&mut words, 263, 6, self.scale.exponent.into());
        words
    }
}

/// A memory's read port: the data of a granted read comes in the next cycle, and only then.
struct ReadPort {
    valid: Output,
    address: Output,
    ready: Input,
    data: Input,
    granted: Option<usize>,
}

impl ReadPort {
    fn new(bench: &Bench, prefix: &str, address: &str, address_bits: u32, bits: u32) -> ReadPort {
        ReadPort {
            valid: bench.output(&format!("{prefix}_valid_o"), 1),
            address: bench.output(&format!("{prefix}_{address}_o"), address_bits),
            ready: bench.input(&format!("{prefix}_ready_i"), 1),
            data: bench.input(&format!("{prefix}_data_i"), bits),
            granted: None,
        }
    }

    fn drive(
        &mut self,
        bench: &mut Bench,
        random: &mut Random,
        stall: u64,
        read: impl Fn(usize) -> Vec<u32>,
    ) -> bool {
        let mut words = vec![0; self.data.width().div_ceil(32) as usize];
        random.fill(&mut words);
        if !self.data.width().is_multiple_of(32) {
            *words.last_mut().expect("a word") &= (1 << (self.data.width() % 32)) - 1;
        }
        bench.set_words(self.data, &self.granted.map_or(words, read));
        let ready = !random.chance(stall);
        bench.model.set(self.ready, ready.into());
        ready
    }

    fn observe(&mut self, bench: &Bench, ready: bool) {
        let granted = ready && bench.model.get(self.valid) == 1;
        self.granted = granted.then(|| bench.model.get(self.address) as usize);
    }
}

struct Unit {
    bench: Bench,
    port: UnitPort,
    slave: WriteSlave,
    vmem_port: ReadPort,
    xbuf_port: ReadPort,
    lanes: usize,
    vmem: Vec<u32>,
    xbuf: Vec<Block>,
}

impl Unit {
    fn new(config: &HwConfig, random: &mut Random) -> Unit {
        let names = ["AxiBits", "SfuLanes", "VmemWords", "XbufBlocks"];
        let params: Vec<_> = config
            .parameters()
            .into_iter()
            .filter(|(name, _)| names.contains(name))
            .collect();
        let mut bench = Bench::new("st_unit", &FILES, &params, random.bits() as u32);
        let lanes = config.sfu_lanes;
        let line_bits = (config.vmem_words / lanes).ilog2();
        let mut vmem = vec![0; config.vmem_words as usize];
        random.fill(&mut vmem);
        Unit {
            port: UnitPort::new(&mut bench),
            slave: WriteSlave::new(&bench, config.axi_bits),
            vmem_port: ReadPort::new(&bench, "vrd", "line", line_bits, 32 * lanes),
            xbuf_port: ReadPort::new(&bench, "xrd", "addr", config.xbuf_blocks.ilog2(), ACT_BITS),
            lanes: lanes as usize,
            vmem,
            xbuf: (0..config.xbuf_blocks)
                .map(|_| Block::random(random))
                .collect(),
            bench,
        }
    }

    fn cycle(&mut self, random: &mut Random, pace: Pace, clr: bool) -> Option<Event> {
        self.port.drive(&mut self.bench, clr);
        self.slave.drive(&mut self.bench, random, pace);
        let (lanes, vmem, xbuf) = (self.lanes, &self.vmem, &self.xbuf);
        let line = |i: usize| vmem[i * lanes..(i + 1) * lanes].to_vec();
        let line_ready = self
            .vmem_port
            .drive(&mut self.bench, random, pace.stall, line);
        let block = |i: usize| xbuf[i].packed();
        let block_ready = self
            .xbuf_port
            .drive(&mut self.bench, random, pace.stall, block);
        self.bench.settle();
        let idle = self.slave.is_idle();
        self.slave.observe(&self.bench, random, pace);
        self.vmem_port.observe(&self.bench, line_ready);
        self.xbuf_port.observe(&self.bench, block_ready);
        let event = self.port.observe(&self.bench);
        if matches!(event, Some(Event::Done(_))) {
            assert!(idle, "retired before the last response");
        }
        self.bench.step();
        event
    }

    fn until_event(&mut self, random: &mut Random, pace: Pace) -> Event {
        (0..100_000)
            .find_map(|_| self.cycle(random, pace, false))
            .expect("the unit neither retires nor fails")
    }

    fn run(&mut self, random: &mut Random, stores: &[Store], pace: Pace) {
        for (seq, store) in (0..).zip(stores) {
            self.port.queue.push_back(store.descriptor(random, seq));
        }
        for (seq, store) in (0..).zip(stores) {
            self.slave.bytes.clear();
            assert_eq!(
                self.until_event(random, pace),
                Event::Done(seq),
                "{store:?}"
            );
            assert!(
                self.slave.bytes == store.bytes(&self.vmem, &self.xbuf),
                "{store:?}"
            );
        }
        self.cycle(random, pace, false);
        assert!(!self.port.is_busy(&self.bench) && self.slave.is_idle());
    }

    fn soft_reset(&mut self, random: &mut Random, pace: Pace) {
        self.port.queue.clear();
        self.cycle(random, pace, true);
    }
}

const PACES: [Pace; 4] = [
    Pace {
        stall: 0,
        latency: 1,
    },
    Pace {
        stall: 0,
        latency: 60,
    },
    Pace {
        stall: 30,
        latency: 20,
    },
    Pace {
        stall: 70,
        latency: 50,
    },
];

#[test]
fn stores_write_their_bytes_in_every_configuration() {
    for (name, config) in configs() {
        eprintln!("{name}");
        let mut random = Random::new(31);
        let mut unit = Unit::new(&config, &mut random);
        for round in 0..40 {
            let pace = PACES[round % PACES.len()];
            let stores: Vec<_> = (0..6)
                .map(|_| Store::random(&mut random, &config))
                .collect();
            unit.run(&mut random, &stores, pace);
        }
    }
}

#[test]
fn illegal_operands_have_no_effect() {
    let config = HwConfig::SMALL;
    let mut random = Random::new(32);
    let mut unit = Unit::new(&config, &mut random);
    let (words, blocks) = (u64::from(config.vmem_words), u64::from(config.xbuf_blocks));
    let far = 1 << 39;
    let store = |kind, count, src| Store {
        nibbles: false,
        kind,
        address: 0x8000,
        count,
        src,
        row: 5,
        stride: 64,
    };
    let v = store(Kind::Vector, 9, words - 9);
    let k = store(Kind::Row, 2, blocks - 2);
    let t = store(Kind::Column, 2, blocks - 2);
    let bad = [
        Store {
            address: 0x8002,
            ..v
        },
        Store {
            src: v.src + 1,
            ..v
        },
        Store { src: far, ..v },
        Store {
            count: far,
            src: 0,
            ..v
        },
        Store { count: 10, ..v },
        Store {
            address: 0x8020,
            ..k
        },
        Store {
            src: k.src + 1,
            ..k
        },
        Store { src: far, ..k },
        Store { count: 3, ..k },
        Store {
            address: 0x8004,
            ..t
        },
        Store { stride: 96, ..t },
        Store {
            src: t.src + 1,
            ..t
        },
    ];
    for (seq, store) in (0..).zip(bad) {
        unit.port
            .queue
            .push_back(store.descriptor(&mut random, seq));
        assert_eq!(
            unit.until_event(&mut random, PACES[0]),
            Event::Error(3),
            "{store:?}"
        );
        for _ in 0..50 {
            assert_eq!(unit.cycle(&mut random, PACES[0], false), None);
        }
        assert!(
            unit.slave.bytes.is_empty() && unit.slave.is_idle(),
            "{store:?}"
        );
        unit.soft_reset(&mut random, PACES[0]);
    }
    let none = [
        Store {
            count: 0,
            address: 1,
            ..v
        },
        Store {
            count: 0,
            src: far,
            ..t
        },
    ];
    unit.run(&mut random, &[none[0], v, none[1], k, t], PACES[2]);
}

#[test]
fn error_response_is_reported_and_nothing_retires() {
    let config = HwConfig::BASE;
    let mut random = Random::new(33);
    let mut unit = Unit::new(&config, &mut random);
    for round in 0..20 {
        let pace = PACES[round % PACES.len()];
        let mut store = Store::random(&mut random, &config);
        (store.count, store.src) = (if store.kind == Kind::Vector { 700 } else { 3 }, 0);
        unit.port.queue.push_back(store.descriptor(&mut random, 1));
        unit.slave.error_in = Some(0);
        assert_eq!(
            unit.until_event(&mut random, pace),
            Event::Error(4),
            "{store:?}"
        );
        unit.slave.error_in = None;
        for _ in 0..300 {
            assert_eq!(unit.cycle(&mut random, pace, false), None);
        }
        unit.soft_reset(&mut random, pace);
        let store = Store::random(&mut random, &config);
        unit.run(&mut random, &[store], pace);
    }
}

#[test]
fn soft_reset_completes_the_bursts_and_leaves_no_trace() {
    for config in [HwConfig::SMALL, HwConfig::WIDE] {
        let mut random = Random::new(34);
        let mut unit = Unit::new(&config, &mut random);
        for round in 0..60 {
            let pace = PACES[round % PACES.len()];
            for seq in 0..4 {
                let store = Store::random(&mut random, &config);
                unit.port
                    .queue
                    .push_back(store.descriptor(&mut random, seq));
            }
            for _ in 0..random.below(400) {
                unit.cycle(&mut random, pace, false);
            }
            unit.soft_reset(&mut random, pace);
            let mut left = 20_000;
            while unit.port.is_busy(&unit.bench) {
                assert_eq!(unit.cycle(&mut random, pace, false), None);
                left -= 1;
                assert!(left > 0, "the soft reset does not end");
            }
            let stores: Vec<_> = (0..4)
                .map(|_| Store::random(&mut random, &config))
                .collect();
            unit.run(&mut random, &stores, pace);
        }
    }
}
