//! The memory behind one of the accelerator's AXI4 ports, with latency, limited bandwidth, random
//! stalls and injected errors. Checks the port's rules on the way.

use super::ports::AxiPort;
use crate::dram::{Dram, Handle, interleaved};
use crate::effects::Effects;
use crate::memory::{Memory, PAGE};
use crate::rng::Rng;
use crate::traffic::Monitor;
use std::collections::VecDeque;
use verilator_sys::Model;

/// Timing of a memory port. [`AxiTiming::default`] is a plain DRAM without stalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AxiTiming {
    /// Cycles from an accepted address to the first data, and from the last written beat to its
    /// response. A DRAM model takes its place where there is one.
    pub latency: u32,
    /// Up to so many more cycles, at random.
    pub jitter: u32,
    /// Bursts of each direction that are accepted before one is complete.
    pub outstanding: u32,
    /// Beats in 1000 cycles, reads and writes together.
    pub beats_permille: u32,
    /// Chance, in 1000, that a channel stalls in a cycle in which it could move: AR, R, AW, W, B.
    pub stall_permille: [u32; 5],
    /// Longest stall, cycles.
    pub stall_max: u32,
    /// Answer read bursts of different IDs out of order.
    pub reorder: bool,
    /// Seed of all that is random.
    pub seed: u64,
    /// Answer this read burst (counted from 0 on its port) with an error.
    pub fail_read: Option<u64>,
    /// Answer this write burst (counted from 0 on its port) with an error; nothing is written.
    pub fail_write: Option<u64>,
}

impl Default for AxiTiming {
    fn default() -> Self {
        AxiTiming {
            latency: 40,
            jitter: 0,
            outstanding: 32,
            beats_permille: 1000,
            stall_permille: [0; 5],
            stall_max: 1,
            reorder: false,
            seed: 0,
            fail_read: None,
            fail_write: None,
        }
    }
}

impl AxiTiming {
    /// Everything random: latencies, stalls of every channel, order. Some seeds are fast, some
    /// are slow, some stall one channel much more than the others.
    pub fn random(seed: u64) -> AxiTiming {
        let mut rng = Rng::new(seed ^ 0x6178_6900);
        let level = rng.pick(&[0, 50, 300, 700]);
        let mut stall_permille = [0; 5];
        for channel in &mut stall_permille {
            *channel = if rng.chance(300) {
                rng.below(850) as u32
            } else {
                level
            };
        }
        AxiTiming {
            latency: rng.range(0, 60) as u32,
            jitter: rng.pick(&[0, 3, 90]),
            outstanding: rng.pick(&[1, 2, 4, 32]),
            beats_permille: rng.pick(&[1000, 1000, 600, 150]),
            stall_permille,
            stall_max: rng.pick(&[1, 4, 40]),
            reorder: rng.chance(500),
            seed,
            ..AxiTiming::default()
        }
    }
}

impl AxiTiming {
    /// The same with other random numbers for each channel of a port. Read errors come from the
    /// last channel.
    pub(crate) fn of_channel(self, part: Interleave) -> AxiTiming {
        let last = part.channel + 1 == part.channels;
        AxiTiming {
            seed: self.seed ^ u64::from(part.channel).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            fail_read: self.fail_read.filter(|_| last),
            ..self
        }
    }
}

const OKAY: u64 = 0;
const SLVERR: u64 = 2;
const DECERR: u64 = 3;

/// The channels, in the order of [`AxiTiming::stall_permille`].
#[derive(Clone, Copy)]
enum Channel {
    Ar,
    R,
    Aw,
    W,
    B,
}

/// A read burst, or what is left of it.
struct Read {
    addr: u64,
    beats: u32,
    id: u64,
    due: u64,
    /// The burst in the DRAM model.
    dram: Option<Handle>,
    fail: bool,
}

/// A write burst whose beats are arriving.
struct Write {
    /// First byte of the burst.
    start: u64,
    /// First byte that has not arrived.
    addr: u64,
    beats: u32,
}

/// The response to a write burst.
struct Response {
    due: u64,
    dram: Option<Handle>,
    code: u64,
}

/// A beat of write data that waits for its address.
struct Data {
    bytes: [u8; 64],
    strobe: u64,
    last: bool,
}

/// An address that has been offered and not been accepted: it must not change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Offer {
    addr: u64,
    len: u64,
    id: u64,
}

/// What the memory drives in a cycle.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Driven {
    arready: bool,
    awready: bool,
    wready: bool,
    rvalid: bool,
    rid: u64,
    rlast: bool,
    rresp: u64,
    bvalid: bool,
    bresp: u64,
}

/// Which part of memory a port's channel holds: every so many-th chunk.
#[derive(Clone, Copy)]
pub(crate) struct Interleave {
    /// Channels side by side.
    pub(crate) channels: u32,
    /// This one.
    pub(crate) channel: u32,
}

impl Interleave {
    /// All of it.
    pub(crate) const WHOLE: Interleave = Interleave {
        channels: 1,
        channel: 0,
    };

    /// The address in memory of an address in the channel.
    #[inline]
    fn whole(self, addr: u64) -> u64 {
        interleaved(addr, self.channels, self.channel)
    }
}

/// The memory's side of the port, or of one of the channels behind it.
pub(crate) struct AxiMemory {
    timing: AxiTiming,
    part: Interleave,
    rng: Rng,
    beat: usize,
    cycle: u64,
    now: Driven,
    shown: Option<Driven>,
    rdata: [u32; 16],
    rdata_changed: bool,
    /// Address of the beat that is offered.
    raddr: u64,
    reads: [VecDeque<Read>; 2],
    /// The ID whose burst is being answered.
    answering: Option<usize>,
    read_count: u64,
    write_count: u64,
    writes: VecDeque<Write>,
    data: VecDeque<Data>,
    write_failed: bool,
    responses: VecDeque<Response>,
    budget: u64,
    stalled_until: [u64; 5],
    ar_offer: Option<Offer>,
    aw_offer: Option<Offer>,
    w_offer: Option<(u64, bool, [u32; 16])>,
}

impl AxiMemory {
    pub(crate) fn new(timing: AxiTiming, beat_bytes: usize, part: Interleave) -> AxiMemory {
        AxiMemory {
            rng: Rng::new(timing.seed),
            timing,
            part,
            beat: beat_bytes,
            cycle: 0,
            now: Driven::default(),
            shown: None,
            rdata: [0; 16],
            rdata_changed: false,
            raddr: 0,
            reads: Default::default(),
            answering: None,
            read_count: 0,
            write_count: 0,
            writes: VecDeque::new(),
            data: VecDeque::new(),
            write_failed: false,
            responses: VecDeque::new(),
            budget: 0,
            stalled_until: [0; 5],
            ar_offer: None,
            aw_offer: None,
            w_offer: None,
        }
    }

    /// Sets the inputs of the design that differ from the last cycle's.
    #[inline]
    pub(crate) fn drive(&mut self, model: &mut Model, p: &AxiPort) {
        if self.rdata_changed {
            model.set_words(p.rdata, &self.rdata[..self.beat / 4]);
            self.rdata_changed = false;
        }
        if self.shown == Some(self.now) {
            return;
        }
        let now = self.now;
        model.set(p.arready, now.arready.into());
        model.set(p.awready, now.awready.into());
        model.set(p.wready, now.wready.into());
        model.set(p.rvalid, now.rvalid.into());
        model.set(p.rid, now.rid);
        model.set(p.rlast, now.rlast.into());
        model.set(p.rresp, now.rresp);
        model.set(p.bvalid, now.bvalid.into());
        model.set(p.bresp, now.bresp);
        self.shown = Some(now);
    }

    /// Looks at the settled outputs of this cycle, moves data, and decides what to drive in the
    /// next cycle. Bytes written are noted in `stored`, beats in `monitor`. `dram` decides when
    /// data move, if it is there. Returns whether data moved.
    pub(crate) fn sample(
        &mut self,
        model: &Model,
        p: &AxiPort,
        memory: &mut Memory,
        mut dram: Option<&mut Dram>,
        mut stored: Option<&mut Effects>,
        mut monitor: Option<&mut Monitor>,
    ) -> Result<bool, String> {
        let mut moved = false;
        self.accept_read(model, p, dram.as_deref_mut())?;
        if self.now.rvalid && model.get(p.rready) == 1 {
            self.now.rvalid = false;
            moved = true;
            if let Some(monitor) = &mut monitor {
                monitor.read(self.raddr, self.beat as u64);
            }
        }
        self.accept_write(model, p)?;
        moved |= self.accept_data(model, p)?;
        while self.store_beat(memory, dram.as_deref_mut(), &mut stored, &mut monitor)? {}
        if self.now.bvalid && model.get(p.bready) == 1 {
            self.now.bvalid = false;
        }
        self.cycle += 1;
        self.plan(memory, dram);
        Ok(moved)
    }

    fn offer(&self, what: &str, addr: u64, len: u64, id: u64) -> Result<Offer, String> {
        let bytes = (len + 1) * self.beat as u64;
        let first = addr & !(self.beat as u64 - 1);
        if first / PAGE != (first + bytes - 1) / PAGE {
            return Err(format!(
                "{what} burst of {bytes} bytes at {addr:#x} crosses 4 KiB"
            ));
        }
        Ok(Offer {
            addr: first,
            len,
            id,
        })
    }

    fn accept_read(
        &mut self,
        model: &Model,
        p: &AxiPort,
        dram: Option<&mut Dram>,
    ) -> Result<(), String> {
        if model.get(p.arvalid) == 0 {
            return withdrawn("ARVALID", self.ar_offer.is_some());
        }
        let (addr, len, id) = (model.get(p.araddr), model.get(p.arlen), model.get(p.arid));
        let offer = self.offer("read", addr, len, id)?;
        unchanged("AR", self.ar_offer, offer)?;
        self.ar_offer = Some(offer);
        if !self.now.arready {
            return Ok(());
        }
        self.ar_offer = None;
        self.check_shape("read", model.get(p.arsize), model.get(p.arburst))?;
        let fail = self.timing.fail_read == Some(self.read_count);
        self.read_count += 1;
        let due = self.due(dram.is_some());
        let beats = len as u32 + 1;
        let bytes = u64::from(beats) * self.beat as u64;
        let dram = dram.map(|d| match self.part.channels {
            1 => d.push(false, offer.addr, bytes),
            _ => d.push_read(self.part.channel, offer.addr, bytes),
        });
        self.reads[id as usize & 1].push_back(Read {
            addr: offer.addr,
            beats,
            id,
            due,
            dram,
            fail,
        });
        Ok(())
    }

    fn check_shape(&self, what: &str, size: u64, burst: u64) -> Result<(), String> {
        if 1 << size != self.beat || burst != 1 {
            return Err(format!("{what} burst has size code {size}, type {burst}"));
        }
        Ok(())
    }

    /// When data or a response may come, as far as it is not the DRAM model that decides.
    fn due(&mut self, modelled: bool) -> u64 {
        let jitter = self.rng.below(u64::from(self.timing.jitter) + 1);
        let latency = if modelled { 0 } else { self.timing.latency };
        self.cycle + u64::from(latency) + jitter
    }

    fn accept_write(&mut self, model: &Model, p: &AxiPort) -> Result<(), String> {
        if model.get(p.awvalid) == 0 {
            return withdrawn("AWVALID", self.aw_offer.is_some());
        }
        let (addr, len, id) = (model.get(p.awaddr), model.get(p.awlen), model.get(p.awid));
        let offer = self.offer("write", addr, len, id)?;
        unchanged("AW", self.aw_offer, offer)?;
        self.aw_offer = Some(offer);
        if !self.now.awready {
            return Ok(());
        }
        self.aw_offer = None;
        self.check_shape("write", model.get(p.awsize), model.get(p.awburst))?;
        self.writes.push_back(Write {
            start: offer.addr,
            addr: offer.addr,
            beats: len as u32 + 1,
        });
        Ok(())
    }

    /// Takes a beat of write data; whether one moved.
    fn accept_data(&mut self, model: &Model, p: &AxiPort) -> Result<bool, String> {
        if model.get(p.wvalid) == 0 {
            withdrawn("WVALID", self.w_offer.is_some())?;
            return Ok(false);
        }
        let mut words = [0; 16];
        model.get_words(p.wdata, &mut words[..self.beat / 4]);
        let strobe = model.get(p.wstrb);
        let last = model.get(p.wlast) == 1;
        unchanged("W", self.w_offer, (strobe, last, words))?;
        if !self.now.wready {
            self.w_offer = Some((strobe, last, words));
            return Ok(false);
        }
        self.w_offer = None;
        self.budget = self.budget.saturating_sub(1000);
        let mut bytes = [0; 64];
        for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        self.data.push_back(Data {
            bytes,
            strobe,
            last,
        });
        Ok(true)
    }

    /// Joins one beat of data with its address and writes it; whether there was one.
    fn store_beat(
        &mut self,
        memory: &mut Memory,
        dram: Option<&mut Dram>,
        stored: &mut Option<&mut Effects>,
        monitor: &mut Option<&mut Monitor>,
    ) -> Result<bool, String> {
        let (Some(write), Some(data)) = (self.writes.front_mut(), self.data.front()) else {
            return Ok(false);
        };
        if data.last != (write.beats == 1) {
            return Err(format!(
                "WLAST is {} with {} beats to go",
                data.last, write.beats
            ));
        }
        let fail = self.timing.fail_write == Some(self.write_count);
        for i in (0..self.beat).filter(|i| data.strobe >> i & 1 == 1 && !fail) {
            let at = write.addr + i as u64;
            if memory.write(at, &[data.bytes[i]]).is_err() {
                self.write_failed = true;
            } else if let Some(effects) = stored {
                effects.dram_byte(at, data.bytes[i]);
            }
        }
        if let Some(monitor) = monitor {
            let written = u64::from(data.strobe.count_ones());
            monitor.write(write.addr, written, self.beat as u64 - written);
        }
        write.addr += self.beat as u64;
        write.beats -= 1;
        let (start, end, done) = (write.start, write.addr, write.beats == 0);
        self.data.pop_front();
        if done {
            self.writes.pop_front();
            self.write_count += 1;
            let failed = std::mem::take(&mut self.write_failed);
            let code = if fail {
                SLVERR
            } else if failed {
                DECERR
            } else {
                OKAY
            };
            let due = self.due(dram.is_some());
            let dram = dram.map(|d| d.push(true, start, end - start));
            self.responses.push_back(Response { due, dram, code });
        }
        Ok(true)
    }

    /// Whether the channel stalls now; draws a new stall if none is under way.
    fn stalls(&mut self, channel: Channel) -> bool {
        let c = channel as usize;
        let permille = self.timing.stall_permille[c];
        if permille == 0 {
            return false;
        }
        if self.cycle < self.stalled_until[c] {
            return true;
        }
        if self.rng.chance(permille) {
            let length = self.rng.range(1, u64::from(self.timing.stall_max.max(1)));
            self.stalled_until[c] = self.cycle + length;
            return true;
        }
        false
    }

    /// Decides what to drive in the next cycle.
    fn plan(&mut self, memory: &Memory, mut dram: Option<&mut Dram>) {
        self.budget = (self.budget + u64::from(self.timing.beats_permille)).min(16_000);
        let limit = self.timing.outstanding.max(1) as usize;
        let reads = self.reads[0].len() + self.reads[1].len();
        self.now.arready = reads < limit && !self.stalls(Channel::Ar);
        let writes = self.writes.len() + self.responses.len();
        self.now.awready = writes < limit && !self.stalls(Channel::Aw);
        // Data may come before its address; a few beats of it are kept.
        self.now.wready = self.data.len() < 8 && self.budget >= 1000 && !self.stalls(Channel::W);
        if !self.now.rvalid {
            self.offer_read(memory, dram.as_deref_mut());
        }
        if !self.now.bvalid {
            self.offer_response(dram);
        }
    }

    fn offer_response(&mut self, dram: Option<&mut Dram>) {
        let Some(&Response {
            due,
            dram: burst,
            code,
        }) = self.responses.front()
        else {
            return;
        };
        let burst = dram.zip(burst);
        let written = burst.as_ref().is_none_or(|(d, b)| d.complete(*b));
        if due > self.cycle || !written || self.stalls(Channel::B) {
            return;
        }
        if let Some((dram, burst)) = burst {
            dram.release(burst);
        }
        self.responses.pop_front();
        self.now.bvalid = true;
        self.now.bresp = code;
    }

    /// The ID to answer: a burst under way is finished first.
    fn choose(&mut self, dram: Option<&Dram>) -> Option<usize> {
        let beat = self.beat as u64;
        let ready = |r: &&Read| {
            let burst = dram.zip(r.dram);
            r.due <= self.cycle && burst.is_none_or(|(d, b)| d.done(b, r.addr, beat))
        };
        let due = |id: usize| self.reads[id].front().filter(ready);
        if let Some(id) = self.answering {
            return due(id).map(|_| id);
        }
        match (due(0), due(1)) {
            (None, None) => None,
            (Some(_), None) => Some(0),
            (None, Some(_)) => Some(1),
            (Some(_), Some(_)) if self.timing.reorder => Some(self.rng.below(2) as usize),
            (Some(a), Some(b)) => Some(usize::from(b.due < a.due)),
        }
    }

    fn offer_read(&mut self, memory: &Memory, dram: Option<&mut Dram>) {
        let Some(id) = self.choose(dram.as_deref()) else {
            return;
        };
        if self.budget < 1000 || self.stalls(Channel::R) {
            return;
        }
        self.budget -= 1000;
        let Some(read) = self.reads[id].front_mut() else {
            return;
        };
        let mut response = if read.fail { SLVERR } else { OKAY };
        let beat = self.beat;
        let addr = self.part.whole(read.addr);
        if let Some(bytes) = memory.slice(addr, beat) {
            for (word, bytes) in self.rdata.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
        } else {
            let mut bytes = [0; 64];
            if memory.read(addr, &mut bytes[..beat]).is_err() {
                response = DECERR;
            }
            for (word, bytes) in self.rdata.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
        }
        self.rdata_changed = true;
        self.raddr = addr;
        read.addr += beat as u64;
        read.beats -= 1;
        self.now.rvalid = true;
        self.now.rid = read.id;
        self.now.rresp = response;
        self.now.rlast = read.beats == 0;
        self.answering = Some(id);
        if read.beats == 0 {
            if let Some((dram, burst)) = dram.zip(read.dram) {
                dram.release(burst);
            }
            self.reads[id].pop_front();
            self.answering = None;
        }
    }
}

fn withdrawn(signal: &str, was_offered: bool) -> Result<(), String> {
    if was_offered {
        return Err(format!("{signal} fell before READY"));
    }
    Ok(())
}

fn unchanged<T: PartialEq>(channel: &str, before: Option<T>, now: T) -> Result<(), String> {
    match before {
        Some(before) if before != now => {
            Err(format!("{channel} changed while it waited for READY"))
        }
        _ => Ok(()),
    }
}
