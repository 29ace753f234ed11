//! The chip alone: driving its pins, and what its array and bursts do.

use lampyris_tests::bench::{Bench, Random};
use verilator_sys::{Input, Output};

/// Short times, all different where rules must be told apart.
pub(crate) const PARAMS: [(&str, u32); 13] = [
    ("RowBits", 11),
    ("ColBits", 8),
    ("TRcd", 3),
    ("TRp", 4),
    ("TRas", 7),
    ("TRasMax", 200),
    ("TRc", 13),
    ("TRrd", 2),
    ("TRfc", 9),
    ("TWr", 3),
    ("TMrd", 2),
    ("PowerUp", 20),
    ("RefreshWindow", 400),
];
/// Refreshes that a window must hold.
pub(crate) const REFRESHES: u32 = 4;

/// The pins {ras_n, cas_n, we_n}.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Command {
    Mode = 0,
    Refresh = 1,
    Precharge = 2,
    Activate = 3,
    Write = 4,
    Read = 5,
    Stop = 6,
}

/// A10: all banks of a precharge, or an automatic one.
pub(crate) const A10: u64 = 1 << 10;

/// The chip on a bench.
pub(crate) struct Chip {
    bench: Bench,
    control: [Input; 5],
    ba: Input,
    a: Input,
    dqm: Input,
    dq: Input,
    dq_oe: Input,
    out: Output,
    out_oe: Output,
    violations: Output,
    first: Output,
    masked: u64,
    driven: Option<u64>,
}

impl Chip {
    /// A chip at power-on.
    pub(crate) fn new() -> Chip {
        let files = ["../sim/chips/sdr_rules.sv", "../sim/chips/sdr_sdram.sv"];
        let params = [&PARAMS[..], &[("RefreshCount", REFRESHES)]].concat();
        let mut bench = Bench::new("sdr_sdram", &files, &params, 7);
        let names = ["cke_i", "cs_ni", "ras_ni", "cas_ni", "we_ni"];
        let mut chip = Chip {
            control: names.map(|name| bench.input(name, 1)),
            ba: bench.input("ba_i", 2),
            a: bench.input("a_i", 11),
            dqm: bench.input("dqm_i", 2),
            dq: bench.input("dq_i", 16),
            dq_oe: bench.input("dq_oe_i", 1),
            out: bench.output("dq_o", 16),
            out_oe: bench.output("dq_oe_o", 2),
            violations: bench.output("violations_o", 19),
            first: bench.output("violation_o", 5),
            masked: 0,
            driven: None,
            bench: {
                bench.settle();
                bench
            },
        };
        // The bench's reset ran with pins that nobody had set.
        let reset = chip.bench.input("rst_ni", 1);
        chip.bench.model.set(reset, 0);
        chip.nop(1);
        chip.bench.model.set(reset, 1);
        chip
    }

    /// A chip after its start sequence in the given mode, with all times past.
    pub(crate) fn started(mode: u64) -> Chip {
        let mut chip = Chip::new();
        chip.nop(20);
        chip.command(Command::Precharge, 0, A10);
        chip.nop(3);
        for _ in 0..2 {
            chip.command(Command::Refresh, 0, 0);
            chip.nop(8);
        }
        chip.command(Command::Mode, 0, mode);
        chip.nop(20);
        chip
    }

    fn edge(&mut self, code: u64, cs_n: u64) {
        let bits = [1, cs_n, code >> 2 & 1, code >> 1 & 1, code & 1];
        for (port, bit) in self.control[1..].iter().zip(&bits[1..]) {
            self.bench.model.set(*port, *bit);
        }
        self.bench.model.set(self.dqm, self.masked);
        self.bench
            .model
            .set(self.dq_oe, self.driven.is_some().into());
        self.bench.model.set(self.dq, self.driven.unwrap_or(0xdead));
        self.bench.step();
    }

    /// A command at one clock edge.
    pub(crate) fn command(&mut self, command: Command, bank: u64, address: u64) {
        self.bench.model.set(self.control[0], 1);
        self.bench.model.set(self.ba, bank);
        self.bench.model.set(self.a, address);
        self.edge(command as u64, 0);
    }

    /// Clock edges without a command; half of them deselect the chip.
    pub(crate) fn nop(&mut self, edges: u32) {
        self.bench.model.set(self.control[0], 1);
        (0..edges).for_each(|edge| self.edge(7, u64::from(edge % 2)));
    }

    /// A clock edge with CKE low.
    pub(crate) fn pause(&mut self) {
        self.bench.model.set(self.control[0], 0);
        self.edge(7, 1);
    }

    /// Bytes that DQM masks at the next edges.
    pub(crate) fn mask(&mut self, bytes: u64) {
        self.masked = bytes;
    }

    /// What the outside drives at the next edges.
    pub(crate) fn drive(&mut self, word: Option<u64>) {
        self.driven = word;
    }

    /// Activation, and edges until the row can be used.
    pub(crate) fn open(&mut self, bank: u64, row: u64) {
        self.command(Command::Activate, bank, row);
        self.nop(2);
    }

    /// A write burst.
    pub(crate) fn write(&mut self, bank: u64, column: u64, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.drive(Some(*word));
            if index == 0 {
                self.command(Command::Write, bank, column);
            } else {
                self.nop(1);
            }
        }
        self.drive(None);
    }

    /// Word and driven bytes that the next edge would sample.
    pub(crate) fn output(&self) -> (u64, u64) {
        (
            self.bench.model.get(self.out),
            self.bench.model.get(self.out_oe),
        )
    }

    /// Words that the chip drives at the edges after a command, `None` where it drives no byte.
    pub(crate) fn outputs(&mut self, edges: u32) -> Vec<Option<u64>> {
        let mut words = Vec::new();
        for _ in 0..edges {
            let (word, driven) = self.output();
            words.push((driven == 3).then_some(word));
            self.nop(1);
        }
        words
    }

    /// Rules that were broken, and the first of them.
    pub(crate) fn broken(&self) -> (Vec<u64>, Option<u64>) {
        let bits = self.bench.model.get(self.violations);
        let rules = (0..19).filter(|rule| bits >> rule & 1 == 1).collect();
        (rules, self.bench.model.get(self.first).checked_sub(1))
    }
}

/// Mode words: latency, interleaved, log2 of the burst.
pub(crate) fn mode(latency: u64, interleaved: bool, length: u64) -> u64 {
    latency << 4 | u64::from(interleaved) << 3 | length
}

/// Column of a burst's word.
fn column(first: u64, index: u64, length: u64, interleaved: bool) -> u64 {
    let low = length - 1;
    if interleaved {
        first ^ index
    } else {
        first & !low | (first + index) & low
    }
}

#[test]
fn bursts_of_every_mode_go_where_they_must() {
    let mut random = Random::new(21);
    for (latency, interleaved, log) in [
        (2, false, 3),
        (3, false, 3),
        (2, true, 2),
        (3, true, 3),
        (2, false, 0),
        (3, false, 1),
    ] {
        let length = 1 << log;
        let mut chip = Chip::started(mode(latency, interleaved, log));
        chip.open(1, 5);
        let words: Vec<_> = (0..8).map(|_| random.below(1 << 16)).collect();
        // Eight known words from column 16 on, written in bursts.
        for at in (0..8).step_by(length as usize) {
            chip.write(1, 16 + at, &words[at as usize..(at + length) as usize]);
        }
        chip.nop(4);
        let first = 16 + random.below(8);
        chip.command(Command::Read, 1, first);
        let got = chip.outputs(latency as u32 + length as u32 + 2);
        let mut wanted = vec![None; latency as usize - 1];
        wanted.extend((0..length).map(|index| {
            let at = column(first, index, length, interleaved) - 16;
            Some(words[at as usize])
        }));
        wanted.extend([None; 3]);
        assert_eq!(
            got, wanted,
            "latency {latency}, {interleaved}, {length}, from {first}"
        );
        assert_eq!(chip.broken(), (vec![], None));
    }
}

#[test]
fn dqm_masks_writes_at_once_and_reads_after_two_edges() {
    for latency in [2, 3] {
        let mut chip = Chip::started(mode(latency, false, 2));
        chip.open(0, 0);
        chip.write(0, 8, &[0x1111, 0x2222, 0x3333, 0x4444]);
        for (index, masked) in [0, 1, 2, 3].into_iter().enumerate() {
            chip.mask(masked);
            chip.drive(Some(0xabcd));
            match index {
                0 => chip.command(Command::Write, 0, 8),
                _ => chip.nop(1),
            }
        }
        chip.mask(0);
        chip.drive(None);
        chip.command(Command::Read, 0, 8);
        // The edge of the command is edge 0; data of edge `latency` on.
        let mut seen = Vec::new();
        for edge in 1..latency + 5 {
            // Masks the low byte of the data at edge `latency` + 1, the second word.
            chip.mask(u64::from(edge == latency - 1));
            seen.push(chip.output());
            chip.nop(1);
        }
        let words = &seen[latency as usize - 1..];
        assert_eq!(words[0], (0xabcd, 3));
        assert_eq!((words[1].0 >> 8, words[1].1), (0xab, 2));
        assert_eq!(words[2], (0x33cd, 3));
        assert_eq!(words[3], (0x4444, 3));
        assert_eq!(words[4].1, 0);
        assert_eq!(chip.broken(), (vec![], None));
    }
}

#[test]
fn bursts_end_when_they_are_stopped() {
    for stop in [Command::Stop, Command::Precharge] {
        let mut chip = Chip::started(mode(2, false, 3));
        chip.open(0, 0);
        chip.write(0, 0, &[1, 2, 3, 4, 5, 6, 7, 8]);
        chip.nop(4);
        chip.command(Command::Read, 0, 0);
        chip.nop(2);
        chip.command(stop, 0, 0);
        // Words 0 and 1 were at edges 2 and 3; word 2 is the last.
        assert_eq!(chip.outputs(3), [Some(3), None, None]);
        assert_eq!(chip.broken(), (vec![], None));
    }
}
