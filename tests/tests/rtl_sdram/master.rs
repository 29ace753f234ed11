//! An AXI master that stalls at random and checks each answer against a reference.

use crate::system::Reference;
use lampyris_tests::bench::{Bench, Random};
use std::collections::VecDeque;
use verilator_sys::{Input, Output};

/// A transaction.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    /// Byte address.
    pub(crate) address: u64,
    /// Beats, 1 to 256.
    pub(crate) beats: u64,
    /// Identifier, 0 or 1.
    pub(crate) id: u64,
    /// AXI burst type; 1 is INCR.
    pub(crate) kind: u64,
    /// How many times smaller a beat claims to be, as log2.
    pub(crate) narrower: u64,
    /// The answer must be SLVERR.
    pub(crate) wrong: bool,
}

impl Burst {
    /// A legal transaction.
    pub(crate) fn new(address: u64, beats: u64) -> Burst {
        Burst {
            address,
            beats,
            id: 0,
            kind: 1,
            narrower: 0,
            wrong: false,
        }
    }
}

/// A beat of W.
struct Beat {
    data: Vec<u32>,
    strobes: Vec<u32>,
    last: bool,
}

/// AR or AW.
struct AddressChannel {
    valid: Input,
    ready: Output,
    address: Input,
    id: Input,
    length: Input,
    size: Input,
    kind: Input,
    queue: VecDeque<Burst>,
    offered: bool,
}

impl AddressChannel {
    fn new(bench: &Bench, prefix: &str) -> AddressChannel {
        let input = |name: &str, width| bench.input(&format!("{prefix}{name}_i"), width);
        AddressChannel {
            valid: input("valid", 1),
            ready: bench.output(&format!("{prefix}ready_o"), 1),
            address: input("addr", 40),
            id: input("id", 1),
            length: input("len", 8),
            size: input("size", 3),
            kind: input("burst", 2),
            queue: VecDeque::new(),
            offered: false,
        }
    }

    fn drive(&mut self, bench: &mut Bench, random: &mut Random, stall: u64, beat_log: u64) {
        self.offered |= !self.queue.is_empty() && !random.chance(stall);
        bench.model.set(self.valid, self.offered.into());
        let noise = Burst::new(random.bits() & 0xff_ffff_ffff, 1 + random.below(256));
        let burst = self
            .queue
            .front()
            .filter(|_| self.offered)
            .unwrap_or(&noise);
        for (port, value) in [
            (self.address, burst.address),
            (self.id, burst.id),
            (self.length, burst.beats - 1),
            (self.size, beat_log - burst.narrower),
            (self.kind, burst.kind),
        ] {
            bench.model.set(port, value);
        }
    }

    fn taken(&mut self, bench: &Bench) -> Option<Burst> {
        if self.offered && bench.model.get(self.ready) == 1 {
            self.offered = false;
            return self.queue.pop_front();
        }
        None
    }
}

/// An answer that was offered and not taken.
type Held = Option<(Vec<u32>, [u64; 3])>;

fn check_held(held: &mut Held, valid: bool, ready: bool, payload: (Vec<u32>, [u64; 3])) {
    if let Some(before) = held.take() {
        assert!(valid, "valid was withdrawn");
        assert_eq!(before, payload, "the payload changed while it waited");
    }
    *held = (valid && !ready).then_some(payload);
}

/// One of the two masters.
pub(crate) struct Master {
    read_address: AddressChannel,
    write_address: AddressChannel,
    beat_bytes: u64,
    r: [Output; 5],
    r_ready: Input,
    r_data: Output,
    r_taking: bool,
    r_held: Held,
    w: [Input; 4],
    w_ready: Output,
    w_offered: bool,
    b: [Output; 3],
    b_ready: Input,
    b_taking: bool,
    b_held: Held,
    beats: VecDeque<Beat>,
    /// Transactions that are not answered, in order; for reads with the beats that came.
    reads: VecDeque<(Burst, u64)>,
    writes: VecDeque<Burst>,
    /// Beats of W may be offered.
    pub(crate) data_allowed: bool,
    /// Beats that were read, and that were written and acknowledged.
    pub(crate) done: [u64; 2],
    acknowledged: VecDeque<u64>,
}

impl Master {
    /// The master of the ports that start with `prefix`.
    pub(crate) fn new(bench: &Bench, prefix: &str, axi_bits: u32) -> Master {
        let input = |name: &str, width| bench.input(&format!("{prefix}{name}_i"), width);
        let output = |name: &str, width| bench.output(&format!("{prefix}{name}_o"), width);
        let r = [("rvalid", 1), ("rid", 1), ("rresp", 2), ("rlast", 1)].map(|(n, w)| output(n, w));
        Master {
            read_address: AddressChannel::new(bench, &format!("{prefix}ar")),
            write_address: AddressChannel::new(bench, &format!("{prefix}aw")),
            beat_bytes: u64::from(axi_bits / 8),
            r: [r[0], r[1], r[2], r[3], output("rdata", axi_bits)],
            r_ready: input("rready", 1),
            r_data: output("rdata", axi_bits),
            r_taking: false,
            r_held: None,
            w: [
                input("wvalid", 1),
                input("wlast", 1),
                input("wdata", axi_bits),
                input("wstrb", axi_bits / 8),
            ],
            w_ready: output("wready", 1),
            w_offered: false,
            b: [("bvalid", 1), ("bid", 1), ("bresp", 2)].map(|(n, w)| output(n, w)),
            b_ready: input("bready", 1),
            b_taking: false,
            b_held: None,
            beats: VecDeque::new(),
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            data_allowed: true,
            done: [0; 2],
            acknowledged: VecDeque::new(),
        }
    }

    /// Bytes of a beat.
    pub(crate) fn beat_bytes(&self) -> u64 {
        self.beat_bytes
    }

    /// Transactions that wait or are under way: reads, writes.
    pub(crate) fn pending(&self) -> [usize; 2] {
        [self.reads.len(), self.writes.len()]
    }

    /// Whether a transaction of the given kind may be asked for: one that no open transaction of
    /// the other kind overlaps. AXI does not order those.
    pub(crate) fn is_free(&self, burst: &Burst, write: bool) -> bool {
        let end = |b: &Burst| b.address + b.beats * self.beat_bytes;
        let apart = |other: &Burst| {
            other.wrong || end(other) <= burst.address || end(burst) <= other.address
        };
        if write {
            self.reads.iter().all(|(other, _)| apart(other))
        } else {
            self.writes.iter().all(apart)
        }
    }

    /// Asks for a read.
    pub(crate) fn read(&mut self, burst: Burst) {
        self.reads.push_back((burst.clone(), 0));
        self.read_address.queue.push_back(burst);
    }

    /// Asks for a write of random data with strobes that are set `strobes` times in a hundred. The
    /// reference changes at once.
    pub(crate) fn write(
        &mut self,
        burst: Burst,
        random: &mut Random,
        strobes: u64,
        reference: &mut Reference,
    ) {
        for index in 0..burst.beats {
            let mut data = vec![0; self.beat_bytes as usize / 4];
            random.fill(&mut data);
            let mut mask = vec![0; self.beat_bytes.div_ceil(32) as usize];
            for byte in 0..self.beat_bytes as usize {
                if random.chance(strobes) {
                    mask[byte / 32] |= 1 << (byte % 32);
                    let value = (data[byte / 4] >> (8 * (byte % 4))) as u8;
                    if !burst.wrong {
                        let address = burst.address + index * self.beat_bytes + byte as u64;
                        reference.set(address, value);
                    }
                }
            }
            self.beats.push_back(Beat {
                data,
                strobes: mask,
                last: index + 1 == burst.beats,
            });
        }
        self.writes.push_back(burst.clone());
        self.write_address.queue.push_back(burst);
    }

    /// Sets the inputs of a cycle.
    pub(crate) fn drive(&mut self, bench: &mut Bench, random: &mut Random, stall: u64) {
        let beat_log = self.beat_bytes.ilog2().into();
        self.read_address.drive(bench, random, stall, beat_log);
        self.write_address.drive(bench, random, stall, beat_log);
        self.w_offered |= self.data_allowed && !self.beats.is_empty() && !random.chance(stall);
        bench.model.set(self.w[0], self.w_offered.into());
        if let Some(beat) = self.beats.front().filter(|_| self.w_offered) {
            bench.model.set(self.w[1], beat.last.into());
            bench.set_words(self.w[2], &beat.data);
            bench.set_words(self.w[3], &beat.strobes);
        }
        self.r_taking = !random.chance(stall);
        bench.model.set(self.r_ready, self.r_taking.into());
        self.b_taking = !random.chance(stall);
        bench.model.set(self.b_ready, self.b_taking.into());
    }

    /// Takes the outputs of a cycle.
    pub(crate) fn observe(&mut self, bench: &Bench, reference: &Reference) {
        self.read_address.taken(bench);
        self.write_address.taken(bench);
        if self.w_offered && bench.model.get(self.w_ready) == 1 {
            self.w_offered = false;
            let beat = self.beats.pop_front().expect("a beat was offered");
            self.acknowledged.extend(beat.last.then_some(1));
        }
        self.observe_read(bench, reference);
        self.observe_response(bench);
    }

    fn observe_read(&mut self, bench: &Bench, reference: &Reference) {
        let get = |port| bench.model.get(port);
        let valid = get(self.r[0]) == 1;
        if !valid {
            assert!(self.r_held.is_none(), "R: valid was withdrawn");
            return;
        }
        let [id, response, last] = [1, 2, 3].map(|i| get(self.r[i]));
        let data = bench.words(self.r_data);
        check_held(
            &mut self.r_held,
            valid,
            self.r_taking,
            (data.clone(), [id, response, last]),
        );
        if !self.r_taking {
            return;
        }
        let (burst, index) = self.reads.front_mut().expect("R: nobody asked for a beat");
        let address = burst.address + *index * self.beat_bytes;
        *index += 1;
        let whole = *index == burst.beats;
        assert_eq!(
            (id, last == 1),
            (burst.id, whole),
            "R: {burst:?}, beat {index}"
        );
        assert_eq!(response, if burst.wrong { 2 } else { 0 }, "R: {burst:?}");
        if !burst.wrong {
            reference.check(address, &data);
            self.done[0] += 1;
        }
        if whole {
            self.reads.pop_front();
        }
    }

    fn observe_response(&mut self, bench: &Bench) {
        let get = |port| bench.model.get(port);
        let valid = get(self.b[0]) == 1;
        let [id, response] = [1, 2].map(|i| get(self.b[i]));
        check_held(
            &mut self.b_held,
            valid,
            self.b_taking,
            (Vec::new(), [id, response, 0]),
        );
        if !valid || !self.b_taking {
            return;
        }
        let burst = self
            .writes
            .pop_front()
            .expect("B: nobody asked for a write");
        assert!(
            self.acknowledged.pop_front().is_some(),
            "B came before the last beat"
        );
        let wanted = if burst.wrong { 2 } else { 0 };
        assert_eq!((id, response), (burst.id, wanted), "B: {burst:?}");
        if !burst.wrong {
            self.done[1] += burst.beats;
        }
    }
}
