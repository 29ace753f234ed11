//! The multiplexer alone, in front of a slave that takes write data before its address.

use lampyris_tests::bench::{Bench, Random, put_bits};
use std::collections::VecDeque;
use verilator_sys::{Input, Output};

const FILES: [&str; 3] = [
    "prim/prim_fifo.sv",
    "soc/axi_mux2_addr.sv",
    "soc/axi_mux2.sv",
];
const BITS: u32 = 128;

/// A write: its number is its address; the master is in the low bit.
struct Write {
    number: u64,
    beats: u64,
}

/// A master that writes; each beat holds the number of the transaction and its index.
#[derive(Default)]
struct Writer {
    addresses: VecDeque<Write>,
    beats: VecDeque<(u64, u64, bool)>,
    offers: [bool; 2],
}

impl Writer {
    fn ask(&mut self, random: &mut Random, number: u64) {
        let beats = 1 + random.below(5);
        let of = |index| (number, index, index + 1 == beats);
        self.beats.extend((0..beats).map(of));
        self.addresses.push_back(Write { number, beats });
    }
}

struct Mux {
    bench: Bench,
    master_in: [Input; 5],
    master_data: Input,
    master_ready: [Output; 2],
    slave_ready: [Input; 2],
    slave_valid: [Output; 2],
    slave_address: Output,
    slave_length: Output,
    slave_id: Output,
    slave_data: Output,
    slave_last: Output,
}

impl Mux {
    fn new() -> Mux {
        let bench = Bench::new("axi_mux2", &FILES, &[("AxiBits", BITS)], 3);
        let input = |name: &str, width| bench.input(name, width);
        let output = |name: &str, width| bench.output(name, width);
        Mux {
            master_in: [
                input("s_awvalid_i", 2),
                input("s_awaddr_i", 80),
                input("s_awlen_i", 16),
                input("s_wvalid_i", 2),
                input("s_wlast_i", 2),
            ],
            master_data: input("s_wdata_i", 2 * BITS),
            master_ready: [output("s_awready_o", 2), output("s_wready_o", 2)],
            slave_ready: [input("m_awready_i", 1), input("m_wready_i", 1)],
            slave_valid: [output("m_awvalid_o", 1), output("m_wvalid_o", 1)],
            slave_address: output("m_awaddr_o", 40),
            slave_length: output("m_awlen_o", 8),
            slave_id: output("m_awid_o", 2),
            slave_data: output("m_wdata_o", BITS),
            slave_last: output("m_wlast_o", 1),
            bench,
        }
    }

    fn drive(&mut self, writers: &mut [Writer; 2], random: &mut Random, stall: u64) {
        let mut address = vec![0; 3];
        let mut data = vec![0; 2 * BITS as usize / 32];
        let [mut address_valid, mut length, mut data_valid, mut last] = [0; 4];
        for (m, writer) in writers.iter_mut().enumerate() {
            writer.offers[0] |= !writer.addresses.is_empty() && !random.chance(stall);
            writer.offers[1] |= !writer.beats.is_empty() && !random.chance(stall);
            if let Some(write) = writer.addresses.front().filter(|_| writer.offers[0]) {
                address_valid |= 1 << m;
                put_bits(&mut address, 40 * m, 40, write.number);
                length |= (write.beats - 1) << (8 * m);
            }
            if let Some((number, index, end)) = writer.beats.front().filter(|_| writer.offers[1]) {
                data_valid |= 1 << m;
                last |= u64::from(*end) << m;
                put_bits(&mut data, BITS as usize * m, 64, number << 8 | index);
            }
        }
        let [valid, addr, len, wvalid, wlast] = self.master_in;
        self.bench.set_words(addr, &address);
        self.bench.set_words(self.master_data, &data);
        let values = [
            (valid, address_valid),
            (len, length),
            (wvalid, data_valid),
            (wlast, last),
        ];
        for (port, value) in values {
            self.bench.model.set(port, value);
        }
    }
}

/// Runs writes and returns the cycles and the masters of the addresses in order.
fn run(count: u64, stall: u64, seed: u64) -> (u64, Vec<u64>) {
    let mut random = Random::new(seed);
    let mut mux = Mux::new();
    let mut writers = [Writer::default(), Writer::default()];
    for number in 0..count {
        writers[(number % 2) as usize].ask(&mut random, number);
    }
    let mut next = [0, 1];
    let mut masters = Vec::new();
    // Beats that must come, and beats that came before their address.
    let (mut wanted, mut early) = (VecDeque::new(), VecDeque::new());
    let mut cycles = 0;
    while masters.len() < count as usize || !wanted.is_empty() {
        mux.drive(&mut writers, &mut random, stall);
        let taking = [0, 1].map(|_| !random.chance(stall));
        for (port, taking) in mux.slave_ready.iter().zip(taking) {
            mux.bench.model.set(*port, taking.into());
        }
        mux.bench.settle();
        let get = |port| mux.bench.model.get(port);
        if taking[0] && get(mux.slave_valid[0]) == 1 {
            let (number, master) = (get(mux.slave_address), get(mux.slave_id) >> 1);
            assert_eq!(number % 2, master, "the identifier names the master");
            assert_eq!(
                number, next[master as usize],
                "addresses of a master in order"
            );
            next[master as usize] += 2;
            masters.push(master);
            let beats = get(mux.slave_length) + 1;
            wanted.extend((0..beats).map(|i| (number << 8 | i, i + 1 == beats)));
        }
        if taking[1] && get(mux.slave_valid[1]) == 1 {
            let words = mux.bench.words(mux.slave_data);
            let beat = u64::from(words[0]) | u64::from(words[1]) << 32;
            early.push_back((beat, get(mux.slave_last) == 1));
        }
        while let (Some(beat), Some(want)) = (early.front(), wanted.front()) {
            assert_eq!(beat, want, "data in the order of the addresses");
            early.pop_front();
            wanted.pop_front();
        }
        for (m, writer) in writers.iter_mut().enumerate() {
            for (channel, ready) in mux.master_ready.iter().enumerate() {
                if writer.offers[channel] && get(*ready) >> m & 1 == 1 {
                    writer.offers[channel] = false;
                    match channel {
                        0 => drop(writer.addresses.pop_front()),
                        _ => drop(writer.beats.pop_front()),
                    }
                }
            }
        }
        mux.bench.step();
        cycles += 1;
        assert!(cycles < 100 * count, "the multiplexer stands still");
    }
    assert!(early.is_empty() && writers.iter().all(|w| w.beats.is_empty()));
    (cycles, masters)
}

#[test]
fn write_data_follow_their_addresses() {
    for (stall, seed) in [(30, 1), (70, 2), (50, 3)] {
        run(1000, stall, seed);
    }
}

#[test]
fn masters_alternate_at_full_rate() {
    let (cycles, masters) = run(400, 0, 4);
    assert!(
        masters.chunks(2).all(|pair| pair[0] != pair[1]),
        "{masters:?}"
    );
    // Three beats a write on average, one a cycle.
    let mut random = Random::new(4);
    let beats: u64 = (0..400).map(|_| 1 + random.below(5)).sum();
    assert!(cycles < beats + 10, "{cycles} cycles for {beats} beats");
}
