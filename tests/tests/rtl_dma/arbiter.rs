//! The read arbiter: two masters, one port, responses by identifier.

use crate::axi::{Pace, ReadSlave, word_at};
use lampyris_tests::bench::{Bench, Random};
use std::collections::VecDeque;
use verilator_sys::{Input, Output};

const AXI_BITS: u32 = 128;

/// A master that asks for random bursts and checks what comes back.
struct Master {
    valid: Input,
    address: Input,
    length: Input,
    ready: Output,
    data_ready: Input,
    data_valid: Output,
    data: Output,
    last: Output,
    offer: Option<(u64, u64)>,
    taking: bool,
    /// Beats that must come: address, last of the burst.
    expected: VecDeque<(u64, bool)>,
    beats: u64,
}

impl Master {
    fn new(bench: &Bench, prefix: &str) -> Master {
        let input = |name, width| bench.input(&format!("{prefix}_{name}_i"), width);
        let output = |name, width| bench.output(&format!("{prefix}_{name}_o"), width);
        Master {
            valid: input("arvalid", 1),
            address: input("araddr", 40),
            length: input("arlen", 8),
            ready: output("arready", 1),
            data_ready: input("rready", 1),
            data_valid: output("rvalid", 1),
            data: output("rdata", AXI_BITS),
            last: output("rlast", 1),
            offer: None,
            taking: false,
            expected: VecDeque::new(),
            beats: 0,
        }
    }

    fn drive(&mut self, bench: &mut Bench, random: &mut Random, stall: u64, ask: bool) {
        if self.offer.is_none() && ask && self.expected.len() < 100 && !random.chance(stall) {
            self.offer = Some((random.below(1 << 20) << 12, 1 + random.below(8)));
        }
        bench.model.set(self.valid, self.offer.is_some().into());
        let (address, beats) = self.offer.unwrap_or((random.below(1 << 40), 1));
        bench.model.set(self.address, address);
        bench.model.set(self.length, beats - 1);
        self.taking = !random.chance(stall);
        bench.model.set(self.data_ready, self.taking.into());
    }

    fn observe(&mut self, bench: &Bench) {
        let get = |port| bench.model.get(port);
        if get(self.data_valid) == 1 && self.taking {
            let (address, last) = self
                .expected
                .pop_front()
                .expect("a beat that was asked for");
            let want: Vec<u32> = (0..4).map(|i| word_at(address + 4 * i)).collect();
            assert_eq!(bench.words(self.data), want);
            assert_eq!(get(self.last) == 1, last);
            self.beats += 1;
        }
        if let (Some((address, beats)), 1) = (self.offer, get(self.ready)) {
            self.offer = None;
            let beat = u64::from(AXI_BITS / 8);
            self.expected
                .extend((0..beats).map(|b| (address + beat * b, b + 1 == beats)));
        }
    }
}

#[test]
fn both_masters_get_their_own_beats() {
    let mut random = Random::new(41);
    let params = [("AxiBits", AXI_BITS)];
    let mut bench = Bench::new("axi_rd_arb", &["dma/axi_rd_arb.sv"], &params, 1);
    let mut slave = ReadSlave::new(&bench, "m_", AXI_BITS, true);
    let mut masters = ["ld", "ic"].map(|prefix| Master::new(&bench, prefix));
    for cycle in 0..30_000u64 {
        let stall = [0, 30, 60][(cycle / 1000 % 3) as usize];
        let pace = Pace {
            stall,
            latency: 1 + stall,
        };
        slave.drive(&mut bench, &mut random, pace);
        for master in &mut masters {
            master.drive(&mut bench, &mut random, stall, cycle < 25_000);
        }
        bench.settle();
        // The slave sees addresses before the masters record them, as the port is registered.
        slave.observe(&bench, &mut random, pace);
        masters.iter_mut().for_each(|master| master.observe(&bench));
        bench.step();
    }
    assert!(slave.is_idle());
    for master in &masters {
        assert!(
            master.expected.is_empty() && master.offer.is_none(),
            "everything was answered"
        );
        assert!(
            master.beats > 2000,
            "both masters are served: {}",
            master.beats
        );
    }
}
