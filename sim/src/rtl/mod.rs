//! The Verilated RTL as a device.

mod axi;
mod design;
mod ports;
mod trace;

pub use axi::AxiTiming;
pub use design::{Features, build, default_rtl_root};
pub use trace::{Event, SysEvent};

use crate::device::{CTRL_START, Device, Limits, Outcome};
use crate::dram::{self, Dram, DramConfig};
use crate::error::{Result, SimError};
use crate::memory::Memory;
use crate::traffic::{Monitor, Traffic, TrafficMap};
use axi::{AxiMemory, Interleave};
use lampyris_isa::{HwConfig, csr};
use ports::{AXI, AxiPort, AxiShape, Ports};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;
use trace::Trace;
use verilator_sys::{Design, Setup};

/// A waveform file.
#[derive(Clone, Debug)]
pub struct Wave {
    /// FST file to write.
    pub path: PathBuf,
    /// Cycles to record, counted from power-up.
    pub cycles: Range<u64>,
}

/// How to run the RTL.
#[derive(Clone, Debug)]
pub struct RtlOptions {
    /// Timing of memory port 0.
    pub timing: AxiTiming,
    /// Timing of memory port 1, if the configuration has it. `None`: as port 0, with other random
    /// numbers.
    pub timing1: Option<AxiTiming>,
    /// A DRAM behind all ports, at the accelerator's clock of the configuration; without it the
    /// latency is fixed.
    pub dram: Option<DramConfig>,
    /// Waveforms; needs [`Features::waves`].
    pub wave: Option<Wave>,
    /// Seed of the initial state; needs [`Features::random_state`].
    pub seed: u32,
    /// Cycles without any progress after which the run is given up.
    pub stuck_cycles: u64,
    /// Report events: retired instructions with digests of their writes.
    pub events: bool,
    /// Count what the bytes on the ports are; see [`Device::traffic`].
    pub monitor: Option<Arc<TrafficMap>>,
}

impl Default for RtlOptions {
    fn default() -> Self {
        RtlOptions {
            timing: AxiTiming::default(),
            timing1: None,
            dram: None,
            wave: None,
            seed: 0,
            stuck_cycles: 100_000,
            events: false,
            monitor: None,
        }
    }
}

/// Watches a run of the RTL.
pub trait Watch {
    /// Something happened; `Break` ends the run.
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        let _ = event;
        ControlFlow::Continue(())
    }

    /// Called now and then with the cycle since power-up; `Break` ends the run.
    fn progress(&mut self, cycle: u64) -> ControlFlow<()> {
        let _ = cycle;
        ControlFlow::Continue(())
    }
}

/// Watches nothing.
impl Watch for () {}

/// Cycles between two looks at STATUS.
const POLL_CYCLES: Range<u64> = 32..1024;

/// Cycles between two calls of [`Watch::progress`].
const PROGRESS_CYCLES: u64 = 1 << 16;

/// Cycles that a host register access may take.
const LITE_CYCLES_MAX: u64 = 1000;

/// A channel of a memory port.
struct AxiChannel {
    /// For messages.
    name: String,
    port: AxiPort,
    memory: AxiMemory,
}

/// The channels of all memory ports.
fn channels(
    model: &verilator_sys::Model,
    config: &HwConfig,
    timings: [AxiTiming; 2],
) -> verilator_sys::Result<Vec<AxiChannel>> {
    let beat = config.beat_bytes() as usize;
    let mut found = Vec::new();
    for (i, (prefix, timing)) in AXI
        .iter()
        .zip(timings)
        .enumerate()
        .take(config.axi_ports as usize)
    {
        let shape = AxiShape {
            bits: config.axi_bits,
            channels: if i == 0 { config.channels } else { 1 },
        };
        let port = AxiPort::find(model, prefix, &shape)?;
        if shape.channels == 1 {
            found.push(AxiChannel {
                name: format!("{prefix}*"),
                port,
                memory: AxiMemory::new(timing, beat, Interleave::WHOLE),
            });
            continue;
        }
        for channel in 0..shape.channels {
            let part = Interleave {
                channels: shape.channels,
                channel,
            };
            found.push(AxiChannel {
                name: format!("channel {channel} of {prefix}*"),
                port: port.channel(&shape, channel),
                memory: AxiMemory::new(timing.of_channel(part), beat, part),
            });
        }
    }
    Ok(found)
}

/// The RTL in Verilator, with its memory.
pub struct RtlDevice {
    config: HwConfig,
    memory: Memory,
    model: verilator_sys::Model,
    ports: Ports,
    /// The channels of the memory ports that the configuration has.
    axi: Vec<AxiChannel>,
    dram: Option<Dram>,
    trace: Trace,
    monitor: Option<Monitor>,
    stuck_cycles: u64,
    waves: bool,
    cycle: u64,
    /// Cycle of the last sign of life.
    moved: u64,
}

impl RtlDevice {
    /// An instance of `design`, which was built for `config`, after reset.
    ///
    /// # Errors
    /// A design that is not the accelerator of this configuration; a waveform file that cannot
    /// be written; a DRAM that cannot be or that is too small for the memory's contents.
    pub fn new(
        design: &Design,
        config: HwConfig,
        memory: Memory,
        options: &RtlOptions,
    ) -> Result<RtlDevice> {
        config.check()?;
        let create = |source| SimError::Verilator {
            context: "creating the RTL",
            source,
        };
        let mut model = design
            .instantiate(&Setup { seed: options.seed })
            .map_err(create)?;
        let ports = Ports::find(&model, "", &config).map_err(create)?;
        let second = options.timing1.unwrap_or(AxiTiming {
            seed: !options.timing.seed,
            ..options.timing
        });
        let timings = [options.timing, second];
        let axi = channels(&model, &config, timings).map_err(create)?;
        if let Some(wave) = &options.wave {
            model
                .trace_open(&wave.path, wave.cycles.clone())
                .map_err(create)?;
        }
        let dram = match &options.dram {
            Some(dram) => Some(dram_for(dram, &config, &memory)?),
            None => None,
        };
        let mut device = RtlDevice {
            axi,
            dram,
            trace: Trace::new(&config, options.events, false),
            monitor: options.monitor.clone().map(Monitor::new),
            config,
            memory,
            model,
            ports,
            stuck_cycles: options.stuck_cycles,
            waves: options.wave.is_some(),
            cycle: 0,
            moved: 0,
        };
        device.power_up()?;
        Ok(device)
    }

    fn power_up(&mut self) -> Result<()> {
        let p = &self.ports;
        for (port, value) in [
            (p.rst_n, 0),
            (p.lite_awvalid, 0),
            (p.lite_wvalid, 0),
            (p.lite_wstrb, 15),
            (p.lite_bready, 0),
            (p.lite_arvalid, 0),
            (p.lite_rready, 0),
        ] {
            self.model.set(port, value);
        }
        for channel in &self.axi {
            self.model.set(channel.port.bid, 0);
        }
        for _ in 0..16 {
            self.settle()?;
            self.edge()?;
        }
        self.model.set(self.ports.rst_n, 1);
        self.tick()?;
        self.check_identity()
    }

    /// Reports events from now on, with all writes and not only their digest.
    pub(crate) fn log_events(&mut self) {
        self.trace = Trace::new(&self.config, true, true);
    }

    /// Cycles since power-up.
    pub fn cycle(&self) -> u64 {
        self.cycle
    }

    /// The accelerator's DRAM.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The DRAM's timing, if it is modelled.
    pub fn dram(&self) -> Option<&Dram> {
        self.dram.as_ref()
    }

    /// The same, to keep its log.
    pub fn dram_mut(&mut self) -> Option<&mut Dram> {
        self.dram.as_mut()
    }

    /// What the RTL printed.
    pub fn take_output(&mut self) -> String {
        self.model.take_output()
    }

    /// Clock low: the design settles with this cycle's inputs.
    #[inline]
    fn settle(&mut self) -> Result<()> {
        for AxiChannel { port, memory, .. } in &mut self.axi {
            memory.drive(&mut self.model, port);
        }
        self.half(0)
    }

    /// Rising edge.
    #[inline]
    fn edge(&mut self) -> Result<()> {
        self.half(1)?;
        self.cycle += 1;
        Ok(())
    }

    #[inline]
    fn half(&mut self, clock: u64) -> Result<()> {
        let halted = |source| SimError::Verilator {
            context: "running the RTL",
            source,
        };
        self.model.set_time(2 * self.cycle + clock);
        self.model.set(self.ports.clk, clock);
        self.model.eval().map_err(halted)?;
        if self.waves {
            self.model.trace_dump().map_err(halted)?;
        }
        Ok(())
    }

    /// The outputs of this cycle have settled: let the memory and the trace see them.
    #[inline]
    fn observe(&mut self) -> Result<()> {
        let (model, ports, cycle) = (&self.model, &self.ports, self.cycle);
        if let Some(dram) = &mut self.dram {
            dram.tick();
        }
        let mut moved = false;
        for AxiChannel { name, port, memory } in &mut self.axi {
            let stored = self.trace.stores();
            let dram = self.dram.as_mut();
            let monitor = self.monitor.as_mut();
            let sampled = memory.sample(model, port, &mut self.memory, dram, stored, monitor);
            moved |= sampled.map_err(|problem| SimError::Protocol {
                cycle,
                problem: format!("{name}: {problem}"),
            })?;
        }
        if self.trace.sample(model, ports, cycle) || moved {
            self.moved = cycle;
        }
        Ok(())
    }

    #[inline]
    fn tick(&mut self) -> Result<()> {
        self.settle()?;
        self.observe()?;
        self.edge()
    }

    /// One register access: sets the given inputs, clocks until `done` sees the outputs that
    /// answer it, and returns what it saw.
    fn lite(
        &mut self,
        done: impl Fn(&mut verilator_sys::Model, &Ports) -> Option<u64>,
    ) -> Result<u64> {
        for _ in 0..LITE_CYCLES_MAX {
            self.settle()?;
            self.observe()?;
            let answer = done(&mut self.model, &self.ports);
            self.edge()?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        let problem = "the host registers do not answer".into();
        Err(SimError::Protocol {
            cycle: self.cycle,
            problem,
        })
    }

    /// Runs the started program; see [`Device::run`].
    ///
    /// # Errors
    /// As [`Device::run`]. `None`: the watcher ended the run.
    pub fn run_watched(
        &mut self,
        limits: &Limits,
        watch: &mut dyn Watch,
    ) -> Result<Option<Outcome>> {
        let begin = self.cycle;
        let mut poll = POLL_CYCLES.start;
        self.moved = self.cycle;
        let mut next_progress = self.cycle;
        loop {
            for _ in 0..poll {
                self.tick()?;
                while let Some(event) = self.trace.next_event() {
                    if watch.event(event).is_break() {
                        return Ok(None);
                    }
                }
            }
            let status = self.read_register(csr::STATUS)?;
            while let Some(event) = self.trace.next_event() {
                if watch.event(event).is_break() {
                    return Ok(None);
                }
            }
            if let Some(outcome) = self.outcome(status)? {
                return Ok(Some(outcome));
            }
            if self.cycle - begin > limits.cycles {
                return Err(SimError::Limit {
                    used: self.cycle - begin,
                    unit: "cycles",
                });
            }
            if self.cycle - self.moved > self.stuck_cycles {
                return Err(self.stuck()?);
            }
            if self.cycle >= next_progress {
                next_progress = self.cycle + PROGRESS_CYCLES;
                if watch.progress(self.cycle).is_break() {
                    return Ok(None);
                }
            }
            poll = (poll * 2).min(POLL_CYCLES.end);
        }
    }

    fn outcome(&mut self, status: u32) -> Result<Option<Outcome>> {
        let code = (status >> 8) as u8;
        if code != 0 {
            let pc = self.read_register(csr::ERROR_PC)?;
            return Ok(Some(Outcome::Raised {
                code,
                pc,
                detail: String::new(),
            }));
        }
        if status & 2 != 0 && status & 1 == 0 {
            let code = self.read_register(csr::HALT_CODE)? as u16;
            return Ok(Some(Outcome::Halted(code)));
        }
        Ok(None)
    }

    /// Describes what the units wait for: the stall and busy counters that still move.
    fn stuck(&mut self) -> Result<SimError> {
        let cycles = self.cycle - self.moved;
        let before = self.counters()?;
        for _ in 0..100 {
            self.tick()?;
        }
        let after = self.counters()?;
        let moving: Vec<&str> = csr::COUNTERS
            .iter()
            .zip(before.0.iter().zip(&after.0))
            .filter(|((name, _), (a, b))| a != b && *name != "cycles")
            .map(|((_, meaning), _)| {
                meaning
                    .trim_start_matches("Cycles in which ")
                    .trim_end_matches('.')
            })
            .collect();
        let state = format!(
            "{}; last retired: {}",
            moving.join("; "),
            self.trace.last_retired()
        );
        Ok(SimError::Stuck {
            cycles,
            cycle: self.cycle,
            state,
        })
    }
}

impl Device for RtlDevice {
    fn config(&self) -> &HwConfig {
        &self.config
    }

    fn read_memory(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        self.memory.read(addr, out)
    }

    fn write_memory(&mut self, addr: u64, data: &[u8]) -> Result<()> {
        self.memory.write(addr, data)
    }

    fn read_register(&mut self, offset: u32) -> Result<u32> {
        check_offset(offset)?;
        self.model.set(self.ports.lite_araddr, offset.into());
        self.model.set(self.ports.lite_arvalid, 1);
        self.model.set(self.ports.lite_rready, 1);
        self.lite(|m, p| (m.get(p.lite_arready) == 1).then_some(0))?;
        self.model.set(self.ports.lite_arvalid, 0);
        let answer = |m: &mut verilator_sys::Model, p: &Ports| {
            (m.get(p.lite_rvalid) == 1).then(|| m.get(p.lite_rdata) | m.get(p.lite_rresp) << 32)
        };
        let value = self.lite(answer)?;
        self.model.set(self.ports.lite_rready, 0);
        if value >> 32 != 0 {
            return Err(SimError::Register {
                offset,
                problem: "refused by the device",
            });
        }
        Ok(value as u32)
    }

    fn write_register(&mut self, offset: u32, value: u32) -> Result<()> {
        check_offset(offset)?;
        if let Some(monitor) = &mut self.monitor
            && offset == csr::CTRL
            && value & CTRL_START != 0
        {
            monitor.start();
        }
        self.model.set(self.ports.lite_awaddr, offset.into());
        self.model.set(self.ports.lite_wdata, value.into());
        self.model.set(self.ports.lite_bready, 1);
        self.model.set(self.ports.lite_awvalid, 1);
        self.model.set(self.ports.lite_wvalid, 1);
        // Address and data are accepted in any order; each is withdrawn after the edge at which
        // it was taken.
        let (mut address, mut data) = (false, false);
        while !(address && data) {
            let seen = self.lite(|m, p| {
                let seen = m.get(p.lite_awready) | m.get(p.lite_wready) << 1;
                let useful = seen & (u64::from(!address) | u64::from(!data) << 1);
                (useful != 0).then_some(useful)
            })?;
            address |= seen & 1 != 0;
            data |= seen & 2 != 0;
            self.model.set(self.ports.lite_awvalid, u64::from(!address));
            self.model.set(self.ports.lite_wvalid, u64::from(!data));
        }
        let response =
            self.lite(|m, p| (m.get(p.lite_bvalid) == 1).then(|| m.get(p.lite_bresp)))?;
        self.model.set(self.ports.lite_bready, 0);
        if response != 0 {
            return Err(SimError::Register {
                offset,
                problem: "refused by the device",
            });
        }
        Ok(())
    }

    fn traffic(&self) -> Option<Traffic> {
        self.monitor.as_ref().map(Monitor::traffic)
    }

    fn run(&mut self, limits: &Limits) -> Result<Outcome> {
        match self.run_watched(limits, &mut ())? {
            Some(outcome) => Ok(outcome),
            None => unreachable!("nothing watches"),
        }
    }
}

fn dram_for(dram: &DramConfig, config: &HwConfig, memory: &Memory) -> Result<Dram> {
    if config.channels > 1 && dram.channels != config.channels {
        return Err(SimError::Dram(dram::Error::Channels {
            has: dram.channels,
            needs: config.channels,
        }));
    }
    let (end, capacity) = (memory.end(), dram.bytes());
    if end > capacity {
        return Err(SimError::Dram(dram::Error::Capacity {
            name: dram.timing.name,
            channels: dram.channels,
            capacity,
            end,
        }));
    }
    Ok(Dram::new(dram, config.clock_khz)?)
}

fn check_offset(offset: u32) -> Result<()> {
    let exists = |c: &csr::Csr| (c.offset..c.offset + 4 * c.count).contains(&offset);
    if !offset.is_multiple_of(4) || !csr::CSRS.iter().any(exists) {
        return Err(SimError::Register {
            offset,
            problem: "no such register",
        });
    }
    Ok(())
}
