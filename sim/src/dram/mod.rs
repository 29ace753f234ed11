//! A DRAM with the timing of a real one: banks, rows, bus turnaround, refresh.
//!
//! Only time is modelled; contents live in [`crate::Memory`]. A request is an AXI burst. It is cut
//! into bursts of the memory, which the scheduler of its channel turns into commands that keep
//! every rule of a [`Timing`]; [`check`] replays the commands and says whether they did.
//!
//! Two clocks: [`Dram::tick`] is a cycle of the accelerator and advances the memory by as many of
//! its own cycles as fit, remainders carried over.

mod channel;
mod check;
mod mapping;
mod queue;
mod timing;

#[cfg(test)]
mod tests;

pub use check::{Violation, check};
pub use mapping::{Field, Mapping, Order, Place};
pub use timing::Timing;

use channel::{Channel, Finished};
use lampyris_isa::format::CHUNK_BYTES;
use queue::Access;
use std::collections::VecDeque;
use thiserror::Error;

/// A memory that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    /// A number that has to be a power of two is not.
    #[error(
        "DRAM: `{parameter}` is {value}\n\nhint: the address is cut into bit fields, so it must be a power of two"
    )]
    Geometry {
        /// What.
        parameter: &'static str,
        /// Value found.
        value: u32,
    },
    /// The slices of an address mapping do not fit the memory.
    #[error(
        "DRAM address mapping: {has} bits for {field:?}, the memory has {needs}\n\nhint: give each field all its bits, in one slice or several"
    )]
    Mapping {
        /// The field.
        field: Field,
        /// Bits that the geometry needs.
        needs: u32,
        /// Bits that the slices give.
        has: u64,
    },
    /// No such kind of memory.
    #[error("no memory is called `{name}`\n\nhint: the kinds are {known}")]
    Kind {
        /// Name given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A value is out of range.
    #[error("DRAM: `{parameter}` is {value}, allowed: {allowed}\n\nhint: change the parameter")]
    Parameter {
        /// What.
        parameter: &'static str,
        /// Value found.
        value: u32,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A configuration with channels side by side and a memory with another number of them.
    #[error(
        "the memory has {has} channel(s), the configuration {needs} side by side\n\nhint: take a memory with as many channels"
    )]
    Channels {
        /// Channels of the memory.
        has: u32,
        /// Channels of the configuration.
        needs: u32,
    },
    /// The contents do not fit.
    #[error(
        "`{name}` holds {capacity} bytes in {channels} channel(s), the memory map ends at {end:#x}\n\nhint: choose a larger memory, more channels or a smaller context"
    )]
    Capacity {
        /// Kind of memory.
        name: &'static str,
        /// Channels.
        channels: u32,
        /// Bytes of all channels.
        capacity: u64,
        /// End of the memory map.
        end: u64,
    },
}

/// Choices of the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Bursts of the memory, per channel, that the schedulers look for in each direction; requests
    /// beyond wait in order before them. 1 to 4096.
    pub window: u32,
    /// Refreshes that may be owed before they are forced; JEDEC's standards allow 8. 1 to 8.
    pub postponed: u32,
    /// Waiting writes (bursts of the memory, per channel) that make it the writes' turn.
    pub write_batch: u32,
    /// Memory cycles after which waiting writes get their turn anyhow.
    pub write_wait: u32,
    /// Memory cycles after which an access goes before hits of its bank's open row.
    pub starved: u32,
    /// Cycles of the accelerator that a request spends in the controller and the PHY, on top of
    /// the memory's own time.
    pub pipeline: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            window: 64,
            postponed: 8,
            write_batch: 32,
            write_wait: 100,
            starved: 2000,
            pipeline: 10,
        }
    }
}

/// A memory behind the accelerator's ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DramConfig {
    /// Kind of memory.
    pub timing: Timing,
    /// Channels, a power of two up to 64.
    pub channels: u32,
    /// Address mapping.
    pub mapping: Mapping,
    /// Controller.
    pub policy: Policy,
}

impl DramConfig {
    /// One channel with the default controller and mapping.
    ///
    /// # Errors
    /// A geometry that is not of powers of two.
    pub fn new(timing: Timing) -> Result<DramConfig, Error> {
        Self::with_channels(timing, 1)
    }

    /// Several channels, interleaved by address.
    ///
    /// # Errors
    /// As [`DramConfig::new`].
    pub fn with_channels(timing: Timing, channels: u32) -> Result<DramConfig, Error> {
        Ok(DramConfig {
            timing,
            channels,
            mapping: Mapping::ordered(&timing, channels, Order::default())?,
            policy: Policy::default(),
        })
    }

    /// Channels side by side, as a configuration with so many sees them: every chunk of 64 bytes
    /// lies in the next channel.
    ///
    /// # Errors
    /// As [`DramConfig::new`]; bursts of more than a chunk.
    pub fn side_by_side(timing: Timing, channels: u32) -> Result<DramConfig, Error> {
        Ok(DramConfig {
            mapping: Mapping::side_by_side(&timing, channels)?,
            ..Self::with_channels(timing, channels)?
        })
    }

    /// Bytes a second at the data pins of all channels.
    pub fn peak(&self) -> u64 {
        self.timing.peak() * u64::from(self.channels)
    }

    /// What part of the peak `bytes` in `seconds` are.
    pub fn share(&self, bytes: f64, seconds: f64) -> f64 {
        bytes / (self.peak() as f64 * seconds)
    }

    /// The lowest clock, kHz, at which a port with beats of `beat_bytes` carries the peak.
    pub fn matching_clock_khz(&self, beat_bytes: u32) -> u32 {
        let khz = self.peak().div_ceil(1000 * u64::from(beat_bytes.max(1)));
        u32::try_from(khz).unwrap_or(u32::MAX)
    }

    /// Bytes of all channels.
    pub fn bytes(&self) -> u64 {
        self.timing.bytes() * u64::from(self.channels)
    }

    /// Checks the numbers that are not checked by the mapping.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let (t, p) = (&self.timing, &self.policy);
        let limits = [
            ("channels", self.channels, 1..=64, "1 to 64"),
            ("window", p.window, 1..=4096, "1 to 4096"),
            ("postponed", p.postponed, 1..=8, "1 to 8"),
            ("pipeline", p.pipeline, 0..=1000, "0 to 1000"),
            ("clock_khz", t.clock_khz, 1..=u32::MAX, "more than 0"),
            (
                "refi",
                t.refi,
                t.rfc.saturating_add(1)..=u32::MAX,
                "more than rfc",
            ),
            (
                "ccd_s",
                t.ccd_s,
                t.burst_cycles()..=u32::MAX,
                "at least the cycles of a burst",
            ),
        ];
        match limits
            .into_iter()
            .find(|(_, v, range, _)| !range.contains(v))
        {
            None => Ok(()),
            Some((parameter, value, _, allowed)) => Err(Error::Parameter {
                parameter,
                value,
                allowed,
            }),
        }
    }
}

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Opens a row.
    Activate,
    /// Reads a burst of the open row.
    Read,
    /// Writes a burst of the open row.
    Write,
    /// Closes the bank's row.
    Precharge,
    /// Closes all rows of the channel.
    PrechargeAll,
    /// Refreshes all banks of the channel.
    Refresh,
}

/// A command on a channel's command bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// Memory cycle.
    pub at: u64,
    /// Channel.
    pub channel: u32,
    /// What.
    pub kind: Kind,
    /// Bank, counted over all groups; 0 where the command has none.
    pub bank: u32,
    /// Row; 0 where the command has none.
    pub row: u32,
    /// Burst within the row; 0 where the command has none.
    pub column: u32,
}

/// Commands issued, all channels together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Bursts read.
    pub reads: u64,
    /// Bursts written.
    pub writes: u64,
    /// Rows opened.
    pub activates: u64,
    /// Refreshes.
    pub refreshes: u64,
}

/// A request that has been pushed and not released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle(u32);

/// Time of a burst that has not been issued.
const NEVER: u64 = u64::MAX;

/// The address in memory of byte `addr` of a channel that holds every `channels`-th chunk.
#[inline]
pub(crate) fn interleaved(addr: u64, channels: u32, channel: u32) -> u64 {
    let chunk = CHUNK_BYTES as u64;
    (addr / chunk * u64::from(channels) + u64::from(channel)) * chunk + addr % chunk
}

/// Requests that share a place before the schedulers: those for any channel, or those of a
/// channel's own port.
struct Lane {
    /// Requests that the schedulers have not seen: reads, writes.
    waiting: [VecDeque<u32>; 2],
    /// Bursts that the schedulers see: reads, writes.
    in_window: [usize; 2],
    /// Most of them.
    window: usize,
}

impl Lane {
    fn new(window: u32) -> Lane {
        Lane {
            waiting: Default::default(),
            in_window: [0; 2],
            window: window as usize,
        }
    }
}

#[derive(Default)]
struct Request {
    addr: u64,
    write: bool,
    /// 0, or 1 and the channel in which all of it lies.
    lane: usize,
    /// When each burst of the memory is complete, memory cycles.
    done: Vec<u64>,
    issued: usize,
    free: bool,
}

/// The memory: schedulers of all channels and the requests under way.
pub struct Dram {
    config: DramConfig,
    channels: Vec<Channel>,
    /// Accelerator's clock, kHz.
    clock_khz: u64,
    /// Memory cycles, in units of 1 / `clock_khz` of one, that did not make a whole one.
    phase: u64,
    now: u64,
    requests: Vec<Request>,
    free: Vec<u32>,
    /// The first for requests to all channels, then one for each channel's own.
    lanes: Vec<Lane>,
    seq: u64,
    finished: Vec<Finished>,
    log: Option<Vec<Command>>,
    pipeline: u64,
}

impl Dram {
    /// An idle memory, seen from an accelerator with a clock of `clock_khz`.
    ///
    /// # Errors
    /// Parameters out of range; a clock of 0.
    pub fn new(config: &DramConfig, clock_khz: u32) -> Result<Dram, Error> {
        config.check()?;
        if clock_khz == 0 {
            return Err(Error::Parameter {
                parameter: "the accelerator's clock_khz",
                value: 0,
                allowed: "more than 0",
            });
        }
        let memory_khz = u64::from(config.timing.clock_khz);
        let pipeline = u64::from(config.policy.pipeline) * memory_khz;
        Ok(Dram {
            channels: (0..config.channels)
                .map(|i| Channel::new(config.timing, config.policy, i, config.channels))
                .collect(),
            config: config.clone(),
            clock_khz: clock_khz.into(),
            phase: 0,
            now: 0,
            requests: Vec::new(),
            free: Vec::new(),
            lanes: [config.policy.window * config.channels]
                .into_iter()
                .chain((0..config.channels).map(|_| config.policy.window))
                .map(Lane::new)
                .collect(),
            seq: 0,
            finished: Vec::new(),
            log: None,
            pipeline: pipeline.div_ceil(clock_khz.into()),
        })
    }

    /// Keeps all commands from now on, for [`check`].
    pub fn keep_log(&mut self) {
        self.log = Some(Vec::new());
    }

    /// The commands since [`Dram::keep_log`].
    pub fn log(&self) -> &[Command] {
        self.log.as_deref().unwrap_or(&[])
    }

    /// What this memory is.
    pub fn config(&self) -> &DramConfig {
        &self.config
    }

    /// Memory cycles since the start.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Commands issued so far.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for stats in self.channels.iter().map(Channel::stats) {
            sum.reads += stats.reads;
            sum.writes += stats.writes;
            sum.activates += stats.activates;
            sum.refreshes += stats.refreshes;
        }
        sum
    }

    /// A read or write of `bytes` (at least 1) bytes from `addr`. [`Dram::release`] it once done.
    pub fn push(&mut self, write: bool, addr: u64, bytes: u64) -> Handle {
        self.push_to(0, write, addr, bytes)
    }

    /// A read of `bytes` bytes from `addr` of one channel, all of which hold every so many-th chunk
    /// of memory; see [`DramConfig::side_by_side`].
    pub fn push_read(&mut self, channel: u32, addr: u64, bytes: u64) -> Handle {
        self.push_to(1 + channel as usize, false, addr, bytes)
    }

    fn push_to(&mut self, lane: usize, write: bool, addr: u64, bytes: u64) -> Handle {
        let burst = u64::from(self.config.timing.burst_bytes());
        let first = addr / burst;
        let count = (addr + bytes.max(1) - 1) / burst - first + 1;
        let handle = self.free.pop().unwrap_or_else(|| {
            self.requests.push(Request::default());
            self.requests.len() as u32 - 1
        });
        let request = &mut self.requests[handle as usize];
        request.addr = first * burst;
        request.write = write;
        request.lane = lane;
        request.done.clear();
        request.done.resize(count as usize, NEVER);
        request.issued = 0;
        request.free = false;
        self.lanes[lane].waiting[usize::from(write)].push_back(handle);
        self.refill(lane, write);
        Handle(handle)
    }

    /// Shows waiting requests of one direction to the schedulers while the window has room.
    fn refill(&mut self, lane: usize, write: bool) {
        let direction = usize::from(write);
        while self.lanes[lane].in_window[direction] < self.lanes[lane].window {
            let Some(handle) = self.lanes[lane].waiting[direction].pop_front() else {
                return;
            };
            let request = &self.requests[handle as usize];
            self.lanes[lane].in_window[direction] += request.done.len();
            let burst = u64::from(self.config.timing.burst_bytes());
            for part in 0..request.done.len() as u32 {
                let mut addr = request.addr + u64::from(part) * burst;
                if let Some(channel) = lane.checked_sub(1) {
                    addr = interleaved(addr, self.config.channels, channel as u32);
                }
                let place = self.config.mapping.place(addr);
                let access = Access {
                    seq: self.seq,
                    request: handle,
                    part,
                    column: place.column,
                    since: self.now,
                };
                self.seq += 1;
                self.channels[place.channel as usize].push(place, write, access);
            }
        }
    }

    /// A cycle of the accelerator.
    pub fn tick(&mut self) {
        self.phase += u64::from(self.config.timing.clock_khz);
        let to = self.now + self.phase / self.clock_khz;
        self.phase %= self.clock_khz;
        for channel in &mut self.channels {
            channel.advance(self.now, to, &mut self.finished, self.log.as_mut());
        }
        self.now = to;
        for finished in self.finished.drain(..) {
            let request = &mut self.requests[finished.request as usize];
            request.done[finished.part as usize] = finished.at + self.pipeline;
            request.issued += 1;
            self.lanes[request.lane].in_window[usize::from(request.write)] -= 1;
        }
        for lane in 0..self.lanes.len() {
            self.refill(lane, false);
            self.refill(lane, true);
        }
    }

    /// Whether the bytes `addr .. addr + bytes` of a request have been moved.
    #[inline]
    pub fn done(&self, handle: Handle, addr: u64, bytes: u64) -> bool {
        let request = &self.requests[handle.0 as usize];
        debug_assert!(!request.free && addr >= request.addr, "not of this request");
        let burst = u64::from(self.config.timing.burst_bytes());
        let first = (addr - request.addr) / burst;
        let last = (addr + bytes.max(1) - 1 - request.addr) / burst;
        request.done[first as usize..=last as usize]
            .iter()
            .all(|&at| at <= self.now)
    }

    /// Whether all of a request has been moved.
    #[inline]
    pub fn complete(&self, handle: Handle) -> bool {
        let request = &self.requests[handle.0 as usize];
        request.issued == request.done.len() && request.done.iter().all(|&at| at <= self.now)
    }

    /// Forgets a complete request.
    pub fn release(&mut self, handle: Handle) {
        debug_assert!(self.complete(handle), "released before it was complete");
        self.requests[handle.0 as usize].free = true;
        self.free.push(handle.0);
    }
}
