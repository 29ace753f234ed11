//! LD: streams, vectors, order, reserved room, errors.

use crate::axi::{Pace, ReadSlave, word_at};
use crate::port::{Event, UnitPort};
use lampyris_isa::insn::{LdV, LdW};
use lampyris_isa::{HwConfig, Insn};
use lampyris_tests::bench::{Bench, Random, configs, descriptor, split};
use verilator_sys::{Input, Output};

const FILES: [&str; 5] = [
    "prim/prim_fifo.sv",
    "prim/prim_ram_1r1w.sv",
    "mem/ram_fifo.sv",
    "dma/ld_recv.sv",
    "dma/ld_unit.sv",
];

/// Absolute operands of a load.
#[derive(Clone, Copy, Debug)]
struct Load {
    vector: bool,
    address: u64,
    count: u64,
    rows: u64,
    stride: u64,
    dst: u64,
}

impl Load {
    fn random(random: &mut Random, config: &HwConfig) -> Load {
        let vector = random.chance(40);
        let unit = if vector { 4 } else { 64 };
        let space = u64::from(config.vmem_words);
        let rows = if random.chance(60) {
            1
        } else {
            random.below(6)
        };
        let most = [4, 40, 400][random.below(3) as usize];
        let count = random.below(if vector { most } else { most / 4 + 1 });
        // Often close to a 4 KiB boundary.
        let page = random.below(1 << 26) << 12;
        let near = if random.chance(50) {
            4096 - unit * random.below(8)
        } else {
            0
        };
        Load {
            vector,
            address: page + near + unit * random.below(16),
            count,
            rows,
            stride: unit * random.below(200),
            dst: random.below(space - rows * count + 1),
        }
    }

    fn descriptor(&self, random: &mut Random, seq: u32) -> Vec<u32> {
        let (rest, addr) = split(random, self.address, 1 << 40);
        let (rbase, rindex) = split(random, rest, 1 << 40);
        let (rcount, count) = split(random, self.count, 1 << 24);
        let (rdst, dst) = split(random, self.dst, 1 << 18);
        let (count, rows, stride) = (count as u32, self.rows as u16, self.stride as u32);
        let insn = if self.vector {
            let dst = dst as u32;
            Insn::LdV(LdV {
                addr,
                count,
                rows,
                stride,
                dst,
                ..LdV::default()
            })
        } else {
            Insn::LdW(LdW {
                addr,
                count,
                rows,
                stride,
                ..LdW::default()
            })
        };
        descriptor(seq, [rbase, rindex, rcount, rdst, 0], &insn)
    }

    /// The words in the order in which they are loaded.
    fn words(&self) -> Vec<u32> {
        let words = self.count * if self.vector { 1 } else { 16 };
        let run = |row| (0..words).map(move |w| word_at(self.address + row * self.stride + 4 * w));
        (0..self.rows).flat_map(run).collect()
    }
}

/// The unit with models of the stream buffer and of vector memory.
struct Unit {
    bench: Bench,
    config: HwConfig,
    port: UnitPort,
    slave: ReadSlave,
    free: Input,
    write_ready: Input,
    stream_beat: [Output; 2],
    write: [Output; 4],
    vector_beat: Output,
    /// Beats in the stream buffer.
    stored: u64,
    /// Everything that entered the stream.
    stream: Vec<u32>,
    /// Vector words written since the last retirement: address and value.
    writes: Vec<(u64, u32)>,
    vector_beats: u64,
}

impl Unit {
    fn new(config: &HwConfig, seed: u32) -> Unit {
        let names = ["AxiBits", "SfuLanes", "VmemWords", "StreamBeats"];
        let params: Vec<_> = config
            .parameters()
            .into_iter()
            .filter(|(name, _)| names.contains(name))
            .collect();
        let mut bench = Bench::new("ld_unit", &FILES, &params, seed);
        let line_bits = (config.vmem_words / config.sfu_lanes).ilog2();
        Unit {
            port: UnitPort::new(&mut bench),
            slave: ReadSlave::new(&bench, "", config.axi_bits, false),
            free: bench.input("free_i", config.stream_beats.ilog2() + 1),
            write_ready: bench.input("vwr_ready_i", 1),
            stream_beat: [
                bench.output("swr_valid_o", 1),
                bench.output("swr_data_o", config.axi_bits),
            ],
            write: [
                bench.output("vwr_valid_o", 1),
                bench.output("vwr_line_o", line_bits),
                bench.output("vwr_mask_o", config.sfu_lanes),
                bench.output("vwr_data_o", 32 * config.sfu_lanes),
            ],
            vector_beat: bench.output("vector_beat_o", 1),
            config: *config,
            bench,
            stored: 0,
            stream: Vec::new(),
            writes: Vec::new(),
            vector_beats: 0,
        }
    }

    /// One cycle; `drained` is the chance in percent that the stream buffer loses a beat.
    fn cycle(&mut self, random: &mut Random, pace: Pace, drained: u64, clr: bool) -> Option<Event> {
        let depth = u64::from(self.config.stream_beats);
        self.port.drive(&mut self.bench, clr);
        self.slave.drive(&mut self.bench, random, pace);
        self.bench.model.set(self.free, depth - self.stored);
        let write_ready = !random.chance(pace.stall);
        self.bench.model.set(self.write_ready, write_ready.into());
        self.bench.settle();
        let get = |port| self.bench.model.get(port);
        if get(self.stream_beat[0]) == 1 {
            self.stored += 1;
            assert!(self.stored <= depth, "the stream buffer overflows");
            self.stream.extend(self.bench.words(self.stream_beat[1]));
        }
        if self.stored > 0 && random.chance(drained) {
            self.stored -= 1;
        }
        self.vector_beats += get(self.vector_beat);
        if get(self.write[0]) == 1 && write_ready {
            let (line, mask) = (get(self.write[1]), get(self.write[2]));
            for (lane, word) in (0..).zip(self.bench.words(self.write[3])) {
                if mask >> lane & 1 == 1 {
                    self.writes
                        .push((line * u64::from(self.config.sfu_lanes) + lane, word));
                }
            }
        }
        self.slave.observe(&self.bench, random, pace);
        let event = self.port.observe(&self.bench);
        self.bench.step();
        event
    }

    /// Runs loads that are queued together and checks each at its retirement.
    fn run(&mut self, random: &mut Random, loads: &[Load], pace: Pace, drained: u64) {
        for (seq, load) in (0..).zip(loads) {
            self.port.queue.push_back(load.descriptor(random, seq));
        }
        let mut entered = self.stream.len();
        let start = entered;
        for (seq, load) in (0..).zip(loads) {
            self.writes.clear();
            let event = self.until_event(random, pace, drained);
            assert_eq!(event, Event::Done(seq), "{load:?}");
            let words = load.words();
            if load.vector {
                let want: Vec<_> = (load.dst..).zip(words).collect();
                assert_eq!(self.writes, want, "{load:?}");
            } else {
                assert_eq!(self.writes, [], "vector words before their turn");
                entered += words.len();
                assert!(self.stream.len() >= entered, "retired before its last beat");
            }
        }
        let want: Vec<u32> = loads
            .iter()
            .filter(|l| !l.vector)
            .flat_map(Load::words)
            .collect();
        assert!(self.stream[start..] == want, "the stream's words");
        self.cycle(random, pace, drained, false);
        assert!(!self.port.is_busy(&self.bench) && self.slave.is_idle());
    }

    fn until_event(&mut self, random: &mut Random, pace: Pace, drained: u64) -> Event {
        (0..100_000)
            .find_map(|_| self.cycle(random, pace, drained, false))
            .expect("the unit neither retires nor fails")
    }

    fn soft_reset(&mut self, random: &mut Random, pace: Pace) {
        self.port.queue.clear();
        self.cycle(random, pace, 0, true);
        self.stored = 0;
        self.stream.clear();
    }
}

const PACES: [(Pace, u64); 4] = [
    (
        Pace {
            stall: 0,
            latency: 1,
        },
        100,
    ),
    (
        Pace {
            stall: 0,
            latency: 200,
        },
        90,
    ),
    (
        Pace {
            stall: 30,
            latency: 20,
        },
        50,
    ),
    (
        Pace {
            stall: 70,
            latency: 50,
        },
        20,
    ),
];

#[test]
fn loads_arrive_in_order_in_every_configuration() {
    for (name, config) in configs() {
        eprintln!("{name}");
        let mut random = Random::new(21);
        let mut unit = Unit::new(&config, random.bits() as u32);
        for round in 0..40 {
            let (pace, drained) = PACES[round % PACES.len()];
            let number = 1 + random.below(40) as usize;
            let loads: Vec<_> = (0..number)
                .map(|_| Load::random(&mut random, &config))
                .collect();
            unit.run(&mut random, &loads, pace, drained);
        }
        assert!(unit.slave.most > 4, "bursts overlap: {}", unit.slave.most);
        assert!(
            unit.slave.most <= 16,
            "at most 16 bursts: {}",
            unit.slave.most
        );
        assert!(unit.vector_beats > 0);
    }
}

#[test]
fn consecutive_streams_join_without_a_bubble() {
    for (name, config) in HwConfig::NAMED {
        let mut random = Random::new(22);
        let mut unit = Unit::new(&config, 1);
        let load = Load {
            vector: false,
            address: 0x1_0000_0fc0,
            count: 97,
            rows: 1,
            stride: 0,
            dst: 0,
        };
        let loads: Vec<_> = (0..20)
            .map(|i| Load {
                address: load.address + 0x4240 * i,
                ..load
            })
            .collect();
        unit.run(
            &mut random,
            &loads,
            Pace {
                stall: 0,
                latency: 12,
            },
            100,
        );
        let cycles = &unit.slave.beat_cycles;
        let beats = loads.len() as u64 * load.count * 64 / u64::from(config.beat_bytes());
        assert_eq!(cycles.len() as u64, beats);
        // The first bursts may show the latency; afterwards a beat arrives in every cycle.
        let steady = &cycles[cycles.len() / 8..];
        let span = steady[steady.len() - 1] - steady[0] + 1;
        assert_eq!(span, steady.len() as u64, "{name}: cycles and beats");
    }
}

#[test]
fn illegal_operands_have_no_effect() {
    let config = HwConfig::SMALL;
    let mut random = Random::new(23);
    let mut unit = Unit::new(&config, 1);
    let space = u64::from(config.vmem_words);
    let w = Load {
        vector: false,
        address: 0x4000,
        count: 3,
        rows: 2,
        stride: 192,
        dst: 0,
    };
    let v = Load {
        vector: true,
        address: 0x4004,
        count: 3,
        rows: 2,
        stride: 12,
        dst: space - 6,
    };
    let far = 1 << 39;
    let bad = [
        Load {
            address: w.address + 32,
            ..w
        },
        Load { stride: 96, ..w },
        Load {
            address: v.address + 2,
            ..v
        },
        Load { stride: 6, ..v },
        Load {
            dst: v.dst + 1,
            ..v
        },
        Load { dst: far, ..v },
        Load { count: 4, ..v },
        Load { count: far, ..v },
        Load { rows: 3, ..v },
        Load {
            count: space / 2,
            rows: 4095,
            dst: 0,
            ..v
        },
    ];
    let pace = PACES[0].0;
    for (seq, load) in (0..).zip(bad) {
        unit.port.queue.push_back(load.descriptor(&mut random, seq));
        let event = unit.until_event(&mut random, pace, 100);
        assert_eq!(event, Event::Error(3), "{load:?}");
        for _ in 0..50 {
            assert_eq!(unit.cycle(&mut random, pace, 100, false), None);
        }
        assert!(unit.slave.most == 0, "an address was issued: {load:?}");
        unit.soft_reset(&mut random, pace);
    }
    // Nothing to load is not an error, whatever the addresses are.
    let none = [
        Load {
            count: 0,
            address: 1,
            ..w
        },
        Load {
            rows: 0,
            dst: far,
            ..v
        },
    ];
    unit.run(&mut random, &[none[0], w, none[1], v, none[0]], pace, 100);
}

#[test]
fn error_response_is_reported_once_and_nothing_retires() {
    let config = HwConfig::BASE;
    let mut random = Random::new(24);
    let mut unit = Unit::new(&config, 1);
    for round in 0..20 {
        let (pace, drained) = PACES[round % PACES.len()];
        let load = Load {
            count: 150,
            rows: 2,
            ..Load::random(&mut random, &config)
        };
        let load = Load { dst: 0, ..load };
        unit.port.queue.push_back(load.descriptor(&mut random, 1));
        unit.slave.error_in = Some(random.below(20));
        assert_eq!(
            unit.until_event(&mut random, pace, drained),
            Event::Error(4)
        );
        for _ in 0..300 {
            assert_eq!(unit.cycle(&mut random, pace, drained, false), None);
        }
        unit.slave.error_in = None;
        unit.soft_reset(&mut random, pace);
        // The next error must not fall on a beat that is thrown away.
        let mut left = 20_000;
        while unit.port.is_busy(&unit.bench) {
            assert_eq!(unit.cycle(&mut random, pace, drained, false), None);
            left -= 1;
            assert!(left > 0, "the soft reset does not end");
        }
    }
}

#[test]
fn soft_reset_completes_the_transfers_and_leaves_no_trace() {
    let config = HwConfig::SMALL;
    let mut random = Random::new(25);
    let mut unit = Unit::new(&config, 1);
    for round in 0..60 {
        let (pace, drained) = PACES[round % PACES.len()];
        for seq in 0..8 {
            let load = Load::random(&mut random, &config);
            unit.port.queue.push_back(load.descriptor(&mut random, seq));
        }
        for _ in 0..random.below(300) {
            unit.cycle(&mut random, pace, drained, false);
        }
        unit.soft_reset(&mut random, pace);
        let loads: Vec<_> = (0..6).map(|_| Load::random(&mut random, &config)).collect();
        unit.run(&mut random, &loads, pace, drained);
    }
}
