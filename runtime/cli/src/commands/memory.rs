//! The memory behind the simulated accelerator, and the clock that goes with it.

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use lampyris_isa::HwConfig;
use lampyris_sim::dram::{DramConfig, Timing};
use serde::Serialize;

/// Without a DRAM: fixed latency, the port is the limit.
const IDEAL: &str = "ideal";

fn kinds() -> PossibleValuesParser {
    let names = Timing::ALL.map(|timing| timing.name);
    PossibleValuesParser::new(std::iter::once(IDEAL).chain(names))
}

/// Options.
#[derive(clap::Args)]
pub(crate) struct MemoryArgs {
    /// Memory behind the port, with the timing of its banks, rows, bus and refresh; `ideal` has a
    /// fixed latency (rtl, lockstep)
    #[arg(long, value_name = "KIND", value_parser = kinds(), default_value = IDEAL)]
    memory: String,
    /// Channels of the memory, interleaved by address: a power of two. A configuration with
    /// channels side by side has as many
    #[arg(long, default_value_t = 1)]
    channels: u32,
    /// Clock of the accelerator, MHz [default: the configuration's; with a --memory, the lowest at
    /// which the port carries the peak of the memory's pins]
    #[arg(long, value_name = "MHZ")]
    clock: Option<f64>,
}

/// What is simulated: the accelerator's configuration and the memory behind its port.
pub(crate) struct Hardware {
    pub(crate) config: HwConfig,
    pub(crate) dram: Option<DramConfig>,
}

impl MemoryArgs {
    /// Whether a memory is modelled.
    pub(crate) fn is_modelled(&self) -> bool {
        self.memory != IDEAL
    }

    pub(crate) fn hardware(&self, config: &HwConfig) -> Result<Hardware> {
        let mut hardware = Hardware {
            config: *config,
            dram: None,
        };
        if self.is_modelled() {
            let timing = Timing::named(&self.memory)?;
            let dram = match config.channels {
                1 => DramConfig::with_channels(timing, self.channels)?,
                channels => DramConfig::side_by_side(timing, channels.max(self.channels))?,
            };
            dram.check()?;
            hardware.config.clock_khz = dram.matching_clock_khz(config.load_beat_bytes());
            hardware.dram = Some(dram);
        } else if self.channels != 1 {
            bail!("--channels: the ideal memory has none\n\nhint: add --memory KIND");
        }
        if let Some(clock) = self.clock {
            // The cast saturates, and the check refuses what is out of range.
            hardware.config.clock_khz = (clock * 1e3).round() as u32;
        }
        if let Err(error) = hardware.config.check() {
            bail!("{error}\n\nhint: choose a clock with --clock MHZ");
        }
        Ok(hardware)
    }
}

/// How much of a memory was used.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PinUse {
    /// Kind of memory.
    pub(crate) memory: &'static str,
    /// Bytes a second that the pins of all channels can carry.
    pub(crate) pins_peak: u64,
    /// Bytes a second that the accelerator's port can carry.
    pub(crate) port_peak: u64,
    /// Share of the pins' peak that was used.
    pub(crate) pins_share: f64,
    /// Share that refresh leaves at most.
    pub(crate) refresh_limit: f64,
}

impl PinUse {
    /// Of `bytes` in `cycles`.
    pub(crate) fn new(hardware: &Hardware, bytes: u64, cycles: u64) -> Option<PinUse> {
        let dram = hardware.dram.as_ref().filter(|_| cycles > 0)?;
        let clock = u64::from(hardware.config.clock_khz) * 1000;
        Some(PinUse {
            memory: dram.timing.name,
            pins_peak: dram.peak(),
            port_peak: clock * u64::from(hardware.config.load_beat_bytes()),
            pins_share: dram.share(bytes as f64, cycles as f64 / clock as f64),
            refresh_limit: dram.timing.refresh_limit(),
        })
    }

    /// Which of the two is slower, with both rates.
    pub(crate) fn bound(&self) -> String {
        let rates = |a: u64, b: u64| format!("{:.2} of {:.2} GB/s", a as f64 / 1e9, b as f64 / 1e9);
        if self.port_peak < self.pins_peak {
            format!("port, {}", rates(self.port_peak, self.pins_peak))
        } else {
            format!("pins, {}", rates(self.pins_peak, self.port_peak))
        }
    }
}
