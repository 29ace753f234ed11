//! What lies behind the link's buses: registers and memory, with random delays. They check what
//! the protocol asks of a master.

use lampyris_tests::bench::{Bench, Random};
use std::collections::VecDeque;
use verilator_sys::{Input, Output};

const OKAY: u64 = 0;
const SLVERR: u64 = 2;
const DECERR: u64 = 3;

/// Chance in percent that a channel pauses for a clock.
const STALL: u64 = 30;

/// What a channel offered without being taken.
#[derive(Default)]
struct Held(Option<Vec<u32>>);

impl Held {
    fn check(&mut self, channel: &str, valid: bool, ready: bool, payload: Vec<u32>) {
        if let Some(before) = &self.0 {
            assert!(valid, "{channel}: valid was withdrawn");
            assert_eq!(*before, payload, "{channel}: the payload changed");
        }
        self.0 = (valid && !ready).then_some(payload);
    }
}

/// A channel into a slave.
struct Sink {
    name: &'static str,
    valid: Output,
    ready: Input,
    held: Held,
}

impl Sink {
    fn new(bench: &Bench, port: &str, name: &'static str) -> Sink {
        Sink {
            name,
            valid: bench.output(&format!("{port}_{name}valid"), 1),
            ready: bench.input(&format!("{port}_{name}ready"), 1),
            held: Held::default(),
        }
    }

    /// Offers to take what is there; whether it moves in this clock.
    fn take(&mut self, bench: &mut Bench, ready: bool, payload: Vec<u32>) -> bool {
        bench.model.set(self.ready, ready.into());
        let valid = bench.model.get(self.valid) == 1;
        self.held.check(self.name, valid, ready, payload);
        valid && ready
    }
}

/// A channel out of a slave: what it offers stays until it is taken.
struct Source {
    valid: Input,
    ready: Output,
    offered: bool,
}

impl Source {
    fn new(bench: &Bench, port: &str, name: &str) -> Source {
        Source {
            valid: bench.input(&format!("{port}_{name}valid"), 1),
            ready: bench.output(&format!("{port}_{name}ready"), 1),
            offered: false,
        }
    }

    /// Offers when `new` or still; whether it moves in this clock.
    fn offer(&mut self, bench: &mut Bench, new: bool) -> bool {
        self.offered |= new;
        bench.model.set(self.valid, self.offered.into());
        let moves = self.offered && bench.model.get(self.ready) == 1;
        self.offered &= !moves;
        moves
    }
}

/// The registers of an accelerator: 512 that can be written, and errors above.
pub(crate) struct Registers {
    aw: Sink,
    w: Sink,
    ar: Sink,
    b: Source,
    r: Source,
    awaddr: Output,
    wdata: Output,
    wstrb: Output,
    araddr: Output,
    bresp: Input,
    rdata: Input,
    rresp: Input,
    random: Random,
    address: Option<u32>,
    data: Option<u32>,
    read: Option<u32>,
    /// Values.
    pub(crate) values: Vec<u32>,
    /// Every write that was executed.
    pub(crate) written: Vec<(u32, u32)>,
    /// Takes everything and answers nothing.
    pub(crate) mute: bool,
}

impl Registers {
    pub(crate) fn new(bench: &Bench, seed: u64) -> Registers {
        let port = "m_axi_control";
        let output = |name: &str, width| bench.output(&format!("{port}_{name}"), width);
        let input = |name: &str, width| bench.input(&format!("{port}_{name}"), width);
        Registers {
            aw: Sink::new(bench, port, "aw"),
            w: Sink::new(bench, port, "w"),
            ar: Sink::new(bench, port, "ar"),
            b: Source::new(bench, port, "b"),
            r: Source::new(bench, port, "r"),
            awaddr: output("awaddr", 12),
            wdata: output("wdata", 32),
            wstrb: output("wstrb", 4),
            araddr: output("araddr", 12),
            bresp: input("bresp", 2),
            rdata: input("rdata", 32),
            rresp: input("rresp", 2),
            random: Random::new(seed),
            address: None,
            data: None,
            read: None,
            values: vec![0; 512],
            written: Vec::new(),
            mute: false,
        }
    }

    /// Forgets what is under way, as a reset does.
    pub(crate) fn reset(&mut self) {
        (self.address, self.data, self.read) = (None, None, None);
        (self.b.offered, self.r.offered) = (false, false);
        for sink in [&mut self.aw, &mut self.w, &mut self.ar] {
            sink.held = Held(None);
        }
    }

    /// One clock.
    pub(crate) fn cycle(&mut self, bench: &mut Bench) {
        let get = |bench: &Bench, port| bench.model.get(port) as u32;
        let (awaddr, araddr) = (get(bench, self.awaddr), get(bench, self.araddr));
        let (wdata, wstrb) = (get(bench, self.wdata), get(bench, self.wstrb));
        let answer = !self.mute && !self.random.chance(STALL);
        self.write_response(bench, answer);
        self.read_response(bench, answer);
        let ready = self.address.is_none() && !self.random.chance(STALL);
        if self.aw.take(bench, ready, vec![awaddr]) {
            self.address = Some(awaddr);
        }
        let ready = self.data.is_none() && !self.random.chance(STALL);
        if self.w.take(bench, ready, vec![wdata, wstrb]) {
            assert_eq!(wstrb, 15);
            self.data = Some(wdata);
        }
        let ready = self.read.is_none() && !self.random.chance(STALL);
        if self.ar.take(bench, ready, vec![araddr]) {
            self.read = Some(araddr);
        }
    }

    fn write_response(&mut self, bench: &mut Bench, answer: bool) {
        let new = match (self.address, self.data) {
            (Some(address), Some(data)) if answer && !self.b.offered => {
                let register = self.values.get_mut(address as usize / 4);
                bench
                    .model
                    .set(self.bresp, [SLVERR, OKAY][usize::from(register.is_some())]);
                if let Some(register) = register {
                    *register = data;
                    self.written.push((address, data));
                }
                true
            }
            _ => false,
        };
        if self.b.offer(bench, new) {
            (self.address, self.data) = (None, None);
        }
    }

    fn read_response(&mut self, bench: &mut Bench, answer: bool) {
        let new = match self.read {
            Some(address) if answer && !self.r.offered => {
                let value = self.values.get(address as usize / 4);
                bench
                    .model
                    .set(self.rresp, [SLVERR, OKAY][usize::from(value.is_some())]);
                bench
                    .model
                    .set(self.rdata, value.map_or(0xdead, |v| u64::from(*v)));
                true
            }
            _ => false,
        };
        if self.r.offer(bench, new) {
            self.read = None;
        }
    }
}

/// First byte of the memory.
pub(crate) const BASE: u64 = 0x92_3450_0000;

/// What the memory does not do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mute {
    /// It does everything.
    Nothing,
    /// It takes addresses and data, and answers nothing.
    Answers,
    /// It takes addresses, and neither takes data nor answers.
    Data,
    /// It takes nothing.
    All,
}

/// Memory behind an AXI4 port.
pub(crate) struct Memory {
    beat: u64,
    aw: Sink,
    w: Sink,
    ar: Sink,
    b: Source,
    r: Source,
    /// Address, length, size, burst type, ID.
    aw_payload: [Output; 5],
    ar_payload: [Output; 5],
    wdata: Output,
    wstrb: Output,
    wlast: Output,
    bresp: Input,
    rdata: Input,
    rresp: Input,
    rlast: Input,
    random: Random,
    reads: VecDeque<(u64, u64)>,
    writes: VecDeque<(u64, u64)>,
    data: VecDeque<(Vec<u32>, u64, bool)>,
    responses: VecDeque<u64>,
    failed: bool,
    /// Contents from [`BASE`] on.
    pub(crate) bytes: Vec<u8>,
    pub(crate) mute: Mute,
    /// Bursts that were accepted.
    pub(crate) bursts: u64,
}

impl Memory {
    pub(crate) fn new(bench: &Bench, axi_bits: u32, size: usize, seed: u64) -> Memory {
        let port = "m_axi_gmem";
        let output = |name: &str, width| bench.output(&format!("{port}_{name}"), width);
        let input = |name: &str, width| bench.input(&format!("{port}_{name}"), width);
        let address = |channel: &str| {
            [
                ("addr", 40),
                ("len", 8),
                ("size", 3),
                ("burst", 2),
                ("id", 1),
            ]
            .map(|(name, width)| output(&format!("{channel}{name}"), width))
        };
        let mut random = Random::new(seed);
        let bytes = (0..size).map(|_| random.bits() as u8).collect();
        Memory {
            beat: u64::from(axi_bits / 8),
            aw: Sink::new(bench, port, "aw"),
            w: Sink::new(bench, port, "w"),
            ar: Sink::new(bench, port, "ar"),
            b: Source::new(bench, port, "b"),
            r: Source::new(bench, port, "r"),
            aw_payload: address("aw"),
            ar_payload: address("ar"),
            wdata: output("wdata", axi_bits),
            wstrb: output("wstrb", axi_bits / 8),
            wlast: output("wlast", 1),
            bresp: input("bresp", 2),
            rdata: input("rdata", axi_bits),
            rresp: input("rresp", 2),
            rlast: input("rlast", 1),
            random,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            data: VecDeque::new(),
            responses: VecDeque::new(),
            failed: false,
            bytes,
            mute: Mute::Nothing,
            bursts: 0,
        }
    }

    /// Forgets what is under way, as a reset does.
    pub(crate) fn reset(&mut self) {
        self.reads.clear();
        self.writes.clear();
        self.data.clear();
        self.responses.clear();
        (self.b.offered, self.r.offered) = (false, false);
        for sink in [&mut self.aw, &mut self.w, &mut self.ar] {
            sink.held = Held(None);
        }
    }

    /// One clock.
    pub(crate) fn cycle(&mut self, bench: &mut Bench) {
        self.answer_read(bench);
        let response = self.responses.front().copied();
        let may = !matches!(self.mute, Mute::Answers | Mute::Data) && !self.random.chance(STALL);
        if let Some(code) = response {
            bench.model.set(self.bresp, code);
        }
        if self.b.offer(bench, response.is_some() && may) {
            self.responses.pop_front();
        }
        self.take_addresses(bench);
        self.take_data(bench);
    }

    fn address(&self, bench: &Bench, ports: [Output; 5]) -> (u64, u64, Vec<u32>) {
        let [addr, len, size, burst, id] = ports.map(|port| bench.model.get(port));
        let payload = [addr, addr >> 32, len, size, burst, id].map(|v| v as u32);
        (addr, len + 1, payload.to_vec())
    }

    fn check(&self, payload: &[u32], addr: u64, beats: u64) {
        assert_eq!(1 << payload[3], self.beat, "size");
        assert_eq!((payload[4], payload[5]), (1, 0), "burst type and ID");
        assert_eq!(addr % self.beat, 0, "address of a beat");
        let last = addr + beats * self.beat - 1;
        assert_eq!(addr >> 12, last >> 12, "{addr:#x} crosses 4 KiB");
    }

    fn take_addresses(&mut self, bench: &mut Bench) {
        let open = self.mute != Mute::All;
        let (addr, beats, payload) = self.address(bench, self.ar_payload);
        let ready = open && !self.random.chance(STALL);
        if self.ar.take(bench, ready, payload.clone()) {
            self.check(&payload, addr, beats);
            self.reads.push_back((addr, beats));
            self.bursts += 1;
        }
        let (addr, beats, payload) = self.address(bench, self.aw_payload);
        let ready = open && !self.random.chance(STALL);
        if self.aw.take(bench, ready, payload.clone()) {
            self.check(&payload, addr, beats);
            self.writes.push_back((addr, beats));
            self.bursts += 1;
        }
    }

    fn take_data(&mut self, bench: &mut Bench) {
        let words = bench.words(self.wdata);
        let strobe = bench.model.get(self.wstrb);
        let last = bench.model.get(self.wlast) == 1;
        let open = !matches!(self.mute, Mute::All | Mute::Data);
        let ready = open && self.data.len() < 2 && !self.random.chance(STALL);
        let mut payload = words.clone();
        payload.extend([strobe as u32, (strobe >> 32) as u32, last.into()]);
        if self.w.take(bench, ready, payload) {
            self.data.push_back((words, strobe, last));
        }
        let Some((addr, beats)) = self.writes.front_mut() else {
            return;
        };
        let Some((words, strobe, last)) = self.data.pop_front() else {
            return;
        };
        assert_eq!(last, *beats == 1, "WLAST");
        let at = *addr;
        *addr += self.beat;
        *beats -= 1;
        for i in (0..self.beat as usize).filter(|i| strobe >> i & 1 == 1) {
            let index = at.wrapping_sub(BASE) as usize + i;
            match self.bytes.get_mut(index) {
                Some(byte) => *byte = words[i / 4].to_le_bytes()[i % 4],
                None => self.failed = true,
            }
        }
        if last {
            self.writes.pop_front();
            let code = if self.failed { DECERR } else { OKAY };
            self.failed = false;
            self.responses.push_back(code);
        }
    }

    fn answer_read(&mut self, bench: &mut Bench) {
        let may = self.mute == Mute::Nothing && !self.random.chance(STALL);
        let next = self.reads.front().copied();
        if let Some((addr, beats)) = next {
            let start = addr.wrapping_sub(BASE) as usize;
            let end = start.saturating_add(self.beat as usize);
            let found = self.bytes.get(start..end);
            let words: Vec<u32> = match found {
                Some(bytes) => bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| u32::from_le_bytes(*b))
                    .collect(),
                None => vec![0xbad0_bad0; self.beat as usize / 4],
            };
            let code = if found.is_some() { OKAY } else { DECERR };
            bench.model.set(self.rresp, code);
            bench.model.set(self.rlast, (beats == 1).into());
            bench.set_words(self.rdata, &words);
        }
        if self.r.offer(bench, next.is_some() && may)
            && let Some((addr, beats)) = self.reads.front_mut()
        {
            *addr += self.beat;
            *beats -= 1;
            if *beats == 0 {
                self.reads.pop_front();
            }
        }
    }
}
