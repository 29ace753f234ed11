//! What lies around the accelerator on a board: part, clock, host link and memory, as the board's
//! file gives them.

use crate::sdr::{SdrChip, SdrError};
use lampyris_isa::HwConfig;
use serde::Deserialize;

/// Everything that a bitstream needs besides the accelerator's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    /// The programmable part, and with it the tools.
    pub part: Part,
    /// Oscillator.
    pub clock: Clock,
    /// Connection to the host.
    pub link: Link,
    /// Memory chip.
    pub memory: Memory,
    /// Places of the ports.
    pub pins: Pins,
    /// Name of the board for openFPGALoader.
    pub loader: Option<String>,
}

/// A file that says on which pin each port lies, in the language of the part's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// Name of the file.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Family of the part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Lattice ECP5: Yosys, nextpnr and ecppack.
    Ecp5(Ecp5),
}

/// A Lattice ECP5.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ecp5 {
    /// Size.
    pub device: Ecp5Device,
    /// Package, such as `CABGA381`.
    pub package: Ecp5Package,
    /// Speed grade: 6, 7 or 8, from slow to fast.
    pub speed: u8,
}

/// Sizes of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)] // names of parts
pub enum Ecp5Device {
    #[serde(rename = "LFE5U-25F")]
    Lfe5u25F,
    #[serde(rename = "LFE5U-45F")]
    Lfe5u45F,
    #[serde(rename = "LFE5U-85F")]
    Lfe5u85F,
}

/// Packages that nextpnr knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, clippy::upper_case_acronyms)] // names of packages
pub enum Ecp5Package {
    CABGA256,
    CSFBGA285,
    CABGA381,
    CABGA554,
    CABGA756,
}

impl Ecp5Device {
    /// The option that tells nextpnr.
    pub fn option(self) -> &'static str {
        match self {
            Ecp5Device::Lfe5u25F => "--25k",
            Ecp5Device::Lfe5u45F => "--45k",
            Ecp5Device::Lfe5u85F => "--85k",
        }
    }
}

impl Ecp5Package {
    /// Name of the package.
    pub fn name(self) -> &'static str {
        match self {
            Ecp5Package::CABGA256 => "CABGA256",
            Ecp5Package::CSFBGA285 => "CSFBGA285",
            Ecp5Package::CABGA381 => "CABGA381",
            Ecp5Package::CABGA554 => "CABGA554",
            Ecp5Package::CABGA756 => "CABGA756",
        }
    }
}

/// The oscillator from which the accelerator's clock is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Its frequency, kHz.
    pub input_khz: u32,
    /// By how much the memory chip's clock leads the accelerator's, degrees of a period, to make
    /// up for the delay of its way out of the part.
    pub memory_lead_deg: u32,
}

/// Connection to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// A serial line.
    Uart(Uart),
}

/// A serial line: 8 data bits, no parity, one stop bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uart {
    /// Bits a second.
    pub baud: u32,
}

/// The memory and its lines.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Clocks between the pins and the register that captures what is read.
    pub read_delay: u32,
    /// The chip.
    pub sdr: SdrChip,
}

impl Memory {
    /// Parameters of the controller at a clock.
    ///
    /// # Errors
    /// A value that the controller cannot have.
    pub fn parameters(&self, clock_khz: u32) -> Result<Vec<(&'static str, u32)>, SdrError> {
        self.sdr.parameters(clock_khz, self.read_delay)
    }
}

/// A value that a board's file may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {value}, allowed: {allowed}")]
pub struct OutOfRange {
    /// Table and key.
    pub key: &'static str,
    /// Value.
    pub value: u32,
    /// What is allowed.
    pub allowed: &'static str,
}

impl Hardware {
    /// Parameters of the board's top module, `rtl/soc/top_sdr.sv`.
    ///
    /// # Panics
    /// If `config` has another clock than the board was opened with, at which its memory cannot run.
    pub fn parameters(&self, config: &HwConfig) -> Vec<(&'static str, u32)> {
        let Link::Uart(uart) = self.link;
        // In 256ths of a clock.
        let per_bit = u64::from(config.clock_khz) * 1000 * 256 / u64::from(uart.baud);
        let mut all = config.parameters().to_vec();
        all.extend([
            ("ConfigHash", config.hash()),
            ("ClockKhz", config.clock_khz),
            ("ClocksPerBit", per_bit as u32),
        ]);
        let memory = self.memory.parameters(config.clock_khz);
        all.extend(memory.expect("opening the board found them possible"));
        all
    }

    /// Size of the memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.sdr.bytes()
    }

    /// What the memory's pins carry at most, at a clock.
    pub fn memory_bytes_per_second(&self, clock_khz: u32) -> u64 {
        u64::from(self.memory.sdr.dq_bits / 8) * u64::from(clock_khz) * 1000
    }

    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// The first value out of range.
    pub(crate) fn check(&self, clock_khz: u32) -> Result<(), OutOfRange> {
        let Part::Ecp5(part) = &self.part;
        let Link::Uart(uart) = &self.link;
        let input = self.clock.input_khz;
        let speed = u32::from(part.speed);
        let checks = [
            ("part.ecp5.speed", speed, (6..=8).contains(&speed), "6 to 8"),
            (
                "clock.input_khz",
                input,
                (8_000..=400_000).contains(&input),
                "8000 to 400000",
            ),
            (
                "clock.memory_lead_deg",
                self.clock.memory_lead_deg,
                self.clock.memory_lead_deg < 360,
                "0 to 359",
            ),
            (
                "link.uart.baud",
                uart.baud,
                // Bits are sampled in the middle: 8 clocks leave an error of a sixteenth.
                uart.baud >= 9_600 && u64::from(uart.baud) * 8 <= u64::from(clock_khz) * 1000,
                "9600 to an eighth of accel.clock_khz",
            ),
        ];
        match checks.into_iter().find(|(_, _, ok, _)| !ok) {
            Some((key, value, _, allowed)) => Err(OutOfRange {
                key,
                value,
                allowed,
            }),
            None => Ok(()),
        }
    }
}
