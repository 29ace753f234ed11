//! AXI slaves with random delays that check what the protocol asks of the master.

use lampyris_tests::bench::{Bench, Random};
use std::collections::{HashMap, VecDeque};
use verilator_sys::{Input, Output};

/// Delays of a slave.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Chance in percent that a channel pauses for a cycle.
    pub(crate) stall: u64,
    /// Most cycles before a response; a response takes at least one.
    pub(crate) latency: u64,
}

/// The word at a byte address of the memory that is read: different everywhere.
pub(crate) fn word_at(address: u64) -> u32 {
    (Random::new(address / 4).bits() >> 7) as u32
}

/// What a channel offered in the cycle before without being taken.
#[derive(Default)]
struct Held(Option<Vec<u64>>);

impl Held {
    /// Checks that an offer stays as it is until it is taken.
    fn check(&mut self, channel: &str, valid: bool, ready: bool, payload: Vec<u64>) {
        if let Some(before) = &self.0 {
            assert!(valid, "{channel}: valid was withdrawn");
            assert_eq!(
                *before, payload,
                "{channel}: the payload changed while valid"
            );
        }
        self.0 = (valid && !ready).then_some(payload);
    }
}

fn check_burst(channel: &str, address: u64, beats: u64, beat_bytes: u64) {
    assert!(beats <= 64, "{channel}: {beats} beats");
    assert_eq!(address % beat_bytes, 0, "{channel}: address of a beat");
    let last = address + beats * beat_bytes - 1;
    assert_eq!(
        address >> 12,
        last >> 12,
        "{channel}: {address:#x} crosses 4 KiB"
    );
}

struct ReadBurst {
    address: u64,
    beats: u64,
    id: u64,
    due: u64,
}

/// Slave of the address and data channels of reads.
pub(crate) struct ReadSlave {
    beat_bytes: u64,
    valid: Output,
    address: Output,
    length: Output,
    id: Option<(Output, Input)>,
    ready: Input,
    data_valid: Input,
    data: Input,
    response: Input,
    last: Input,
    data_ready: Output,
    bursts: VecDeque<ReadBurst>,
    held: Held,
    taking: bool,
    /// Index in `bursts` of the burst whose beat is offered.
    offered: Option<usize>,
    /// Beats until one with an error response.
    pub(crate) error_in: Option<u64>,
    /// Cycles in which a beat was taken.
    pub(crate) beat_cycles: Vec<u64>,
    /// Most bursts under way.
    pub(crate) most: usize,
}

impl ReadSlave {
    /// Connects to ports that start with `prefix`; `id` says whether there are identifiers.
    pub(crate) fn new(bench: &Bench, prefix: &str, axi_bits: u32, id: bool) -> ReadSlave {
        let output = |name: &str, width| bench.output(&format!("{prefix}{name}_o"), width);
        let input = |name: &str, width| bench.input(&format!("{prefix}{name}_i"), width);
        ReadSlave {
            beat_bytes: u64::from(axi_bits / 8),
            valid: output("arvalid", 1),
            address: output("araddr", 40),
            length: output("arlen", 8),
            id: id.then(|| (output("arid", 1), input("rid", 1))),
            ready: input("arready", 1),
            data_valid: input("rvalid", 1),
            data: input("rdata", axi_bits),
            response: input("rresp", 2),
            last: input("rlast", 1),
            data_ready: output("rready", 1),
            bursts: VecDeque::new(),
            held: Held::default(),
            taking: false,
            offered: None,
            error_in: None,
            beat_cycles: Vec::new(),
            most: 0,
        }
    }

    /// Sets the inputs of a cycle.
    pub(crate) fn drive(&mut self, bench: &mut Bench, random: &mut Random, pace: Pace) {
        self.taking = !random.chance(pace.stall);
        bench.model.set(self.ready, self.taking.into());
        if self.offered.is_none() && !random.chance(pace.stall) {
            self.offered = self.choose(bench.cycle, random);
        }
        bench
            .model
            .set(self.data_valid, self.offered.is_some().into());
        let mut words = vec![0; self.beat_bytes as usize / 4];
        let (mut last, mut response, mut id) = (random.chance(50), random.below(4), 0);
        random.fill(&mut words);
        if let Some(burst) = self.offered.map(|index| &self.bursts[index]) {
            (0..)
                .zip(&mut words)
                .for_each(|(i, w)| *w = word_at(burst.address + 4 * i));
            last = burst.beats == 1;
            response = if self.error_in == Some(0) { 2 } else { 0 };
            id = burst.id;
        }
        bench.set_words(self.data, &words);
        bench.model.set(self.last, last.into());
        bench.model.set(self.response, response);
        if let Some((_, port)) = self.id {
            bench.model.set(port, id);
        }
    }

    /// The first burst of a random identifier, if it is due.
    fn choose(&self, now: u64, random: &mut Random) -> Option<usize> {
        let id = if self.id.is_some() {
            random.below(2)
        } else {
            0
        };
        let first = self.bursts.iter().position(|b| b.id == id)?;
        (self.bursts[first].due <= now).then_some(first)
    }

    /// Looks at the outputs of a settled cycle.
    pub(crate) fn observe(&mut self, bench: &Bench, random: &mut Random, pace: Pace) {
        let get = |port| bench.model.get(port);
        let valid = get(self.valid) == 1;
        let id = self.id.map_or(0, |(port, _)| get(port));
        let (address, beats) = (get(self.address), get(self.length) + 1);
        self.held
            .check("AR", valid, self.taking, vec![address, beats, id]);
        if let (Some(index), 1) = (self.offered, get(self.data_ready)) {
            self.offered = None;
            self.beat_cycles.push(bench.cycle);
            self.error_in = self.error_in.and_then(|n| n.checked_sub(1));
            let burst = &mut self.bursts[index];
            burst.address += self.beat_bytes;
            burst.beats -= 1;
            if burst.beats == 0 {
                self.bursts.remove(index);
            }
        }
        if valid && self.taking {
            check_burst("AR", address, beats, self.beat_bytes);
            let due = bench.cycle + 1 + random.below(pace.latency.max(1));
            self.bursts.push_back(ReadBurst {
                address,
                beats,
                id,
                due,
            });
            self.most = self.most.max(self.bursts.len());
        }
    }

    /// True when nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.bursts.is_empty() && self.held.0.is_none()
    }
}

/// Slave of the three channels of writes, with the bytes that were written.
pub(crate) struct WriteSlave {
    beat_bytes: u64,
    address_valid: Output,
    address: Output,
    length: Output,
    address_ready: Input,
    data_valid: Output,
    data: Output,
    strobe: Output,
    last: Output,
    data_ready: Input,
    response_valid: Input,
    response: Input,
    response_ready: Output,
    addresses: VecDeque<(u64, u64)>,
    beats: VecDeque<(Vec<u32>, u64, bool)>,
    done_beats: u64,
    responses: VecDeque<u64>,
    held: [Held; 2],
    taking: [bool; 2],
    responding: bool,
    /// Responses until one with an error.
    pub(crate) error_in: Option<u64>,
    /// Bytes by address.
    pub(crate) bytes: HashMap<u64, u8>,
}

impl WriteSlave {
    /// Connects to the ports of a unit.
    pub(crate) fn new(bench: &Bench, axi_bits: u32) -> WriteSlave {
        WriteSlave {
            beat_bytes: u64::from(axi_bits / 8),
            address_valid: bench.output("awvalid_o", 1),
            address: bench.output("awaddr_o", 40),
            length: bench.output("awlen_o", 8),
            address_ready: bench.input("awready_i", 1),
            data_valid: bench.output("wvalid_o", 1),
            data: bench.output("wdata_o", axi_bits),
            strobe: bench.output("wstrb_o", axi_bits / 8),
            last: bench.output("wlast_o", 1),
            data_ready: bench.input("wready_i", 1),
            response_valid: bench.input("bvalid_i", 1),
            response: bench.input("bresp_i", 2),
            response_ready: bench.output("bready_o", 1),
            addresses: VecDeque::new(),
            beats: VecDeque::new(),
            done_beats: 0,
            responses: VecDeque::new(),
            held: Default::default(),
            taking: [false; 2],
            responding: false,
            error_in: None,
            bytes: HashMap::new(),
        }
    }

    /// Sets the inputs of a cycle.
    pub(crate) fn drive(&mut self, bench: &mut Bench, random: &mut Random, pace: Pace) {
        self.taking = [0; 2].map(|_| !random.chance(pace.stall));
        bench.model.set(self.address_ready, self.taking[0].into());
        bench.model.set(self.data_ready, self.taking[1].into());
        let due = self
            .responses
            .front()
            .is_some_and(|due| *due <= bench.cycle);
        self.responding |= due && !random.chance(pace.stall);
        bench.model.set(self.response_valid, self.responding.into());
        let error = self.responding && self.error_in == Some(0);
        bench.model.set(self.response, if error { 3 } else { 0 });
    }

    /// Looks at the outputs of a settled cycle.
    pub(crate) fn observe(&mut self, bench: &Bench, random: &mut Random, pace: Pace) {
        let get = |port| bench.model.get(port);
        let valid = get(self.address_valid) == 1;
        let (address, beats) = (get(self.address), get(self.length) + 1);
        self.held[0].check("AW", valid, self.taking[0], vec![address, beats]);
        if valid && self.taking[0] {
            check_burst("AW", address, beats, self.beat_bytes);
            self.addresses.push_back((address, beats));
        }
        let valid = get(self.data_valid) == 1;
        let (words, strobe, last) = (bench.words(self.data), get(self.strobe), get(self.last));
        let mut payload: Vec<u64> = words.iter().map(|w| u64::from(*w)).collect();
        payload.extend([strobe, last]);
        self.held[1].check("W", valid, self.taking[1], payload);
        if valid && self.taking[1] {
            self.beats.push_back((words, strobe, last == 1));
        }
        if self.responding && get(self.response_ready) == 1 {
            self.responding = false;
            self.responses.pop_front();
            self.error_in = self.error_in.and_then(|n| n.checked_sub(1));
        }
        self.commit(bench.cycle + 1 + random.below(pace.latency.max(1)));
    }

    /// Joins beats with their addresses.
    fn commit(&mut self, due: u64) {
        while let (Some(&(address, beats)), false) = (self.addresses.front(), self.beats.is_empty())
        {
            let (words, strobe, last) = self.beats.pop_front().expect("a beat");
            let start = address + self.done_beats * self.beat_bytes;
            for (i, byte) in (0..).zip(words.iter().flat_map(|w| w.to_le_bytes())) {
                if strobe >> i & 1 == 1 {
                    self.bytes.insert(start + i, byte);
                }
            }
            self.done_beats += 1;
            assert_eq!(
                last,
                self.done_beats == beats,
                "WLAST at beat {}",
                self.done_beats
            );
            if last {
                self.done_beats = 0;
                self.addresses.pop_front();
                let after = self.responses.back().map_or(0, |due| *due);
                self.responses.push_back(due.max(after));
            }
        }
    }

    /// True when nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.addresses.is_empty()
            && self.beats.is_empty()
            && self.responses.is_empty()
            && self.held.iter().all(|held| held.0.is_none())
    }
}
