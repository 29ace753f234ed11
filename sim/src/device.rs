//! A device that runs programs: the functional model, the Verilated RTL, later a board.

use crate::error::{Result, SimError};
use crate::traffic::Traffic;
use lampyris_isa::{HwConfig, ISA_VERSION, csr};

/// Where a program starts and with which arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Start {
    /// Byte address of the program, a multiple of 128.
    pub prog_base: u64,
    /// Index of the first instruction.
    pub entry: u32,
    /// Values of r1..r8.
    pub args: [u32; 8],
}

/// How long a program may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Instructions, for devices without a clock.
    pub instructions: u64,
    /// Clock cycles, for devices with one.
    pub cycles: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            instructions: 1 << 32,
            cycles: 1 << 40,
        }
    }
}

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It executed `halt` with this code.
    Halted(u16),
    /// The accelerator raised an error.
    Raised {
        /// Error code; see `lampyris_isa::csr::ERRORS`.
        code: u8,
        /// Instruction index that the sequencer was at. A unit may be some instructions behind.
        pc: u32,
        /// What failed, if the device can tell.
        detail: String,
    },
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Halted(code) => write!(f, "halted with code {code}"),
            Outcome::Raised { code, pc, detail } => {
                let meaning = csr::ERRORS
                    .iter()
                    .find(|e| e.0 == *code)
                    .map_or("unknown", |e| e.1);
                write!(f, "error {code} ({meaning}) at pc {pc}")?;
                if !detail.is_empty() {
                    write!(f, ": {detail}")?;
                }
                Ok(())
            }
        }
    }
}

/// The performance counters, in the order of `lampyris_isa::csr::COUNTERS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters(pub [u64; csr::COUNTERS.len()]);

impl Counters {
    /// The counter with this name.
    ///
    /// # Panics
    /// If the table has no such counter; names are fixed at compile time.
    pub fn get(&self, name: &str) -> u64 {
        let at = csr::COUNTERS.iter().position(|c| c.0 == name);
        self.0[at.unwrap_or_else(|| panic!("no counter `{name}`"))]
    }
}

impl Counters {
    /// Bytes read over all memory ports. The read counter is that of loads; on a second port only
    /// instructions are read.
    pub fn dram_read_bytes(&self, config: &HwConfig) -> u64 {
        let second = if config.axi_ports == 2 {
            self.get("fetch_beats")
        } else {
            0
        };
        self.get("read_beats") * u64::from(config.load_beat_bytes())
            + second * u64::from(config.beat_bytes())
    }

    /// Share of the cycles in which a memory port moved a beat, averaged over the ports.
    pub fn port_share(&self, config: &HwConfig) -> f64 {
        let slots = self.get("cycles") * u64::from(config.axi_ports);
        (self.get("port_beats") + self.get("port1_beats")) as f64 / slots.max(1) as f64
    }
}

/// One accelerator with its memory. Object safe, so that model and RTL can face each other.
pub trait Device {
    /// The configuration.
    fn config(&self) -> &HwConfig;

    /// Copies bytes out of the accelerator's DRAM.
    ///
    /// # Errors
    /// The range is not mapped.
    fn read_memory(&self, addr: u64, out: &mut [u8]) -> Result<()>;

    /// Copies bytes into the accelerator's DRAM.
    ///
    /// # Errors
    /// The range is not mapped or read-only.
    fn write_memory(&mut self, addr: u64, data: &[u8]) -> Result<()>;

    /// Reads a host register.
    ///
    /// # Errors
    /// Offsets without a register; failures of the device.
    fn read_register(&mut self, offset: u32) -> Result<u32>;

    /// Writes a host register.
    ///
    /// # Errors
    /// Offsets without a writable register; failures of the device.
    fn write_register(&mut self, offset: u32, value: u32) -> Result<()>;

    /// Runs the started program until it halts or raises an error.
    ///
    /// # Errors
    /// [`SimError::Limit`], [`SimError::Stuck`], and failures of the device.
    fn run(&mut self, limits: &Limits) -> Result<Outcome>;

    /// Loads the start registers and starts. A device that holds an error is reset first.
    ///
    /// # Errors
    /// A misaligned or too large program address; as [`Device::write_register`].
    fn start(&mut self, start: &Start) -> Result<()> {
        start.check()?;
        if self.read_register(csr::STATUS)? >> 8 & 0xff != 0 {
            self.write_register(csr::CTRL, CTRL_RESET)?;
        }
        self.write_register(csr::PROG_BASE, start.prog_base as u32)?;
        self.write_register(csr::PROG_BASE + 4, (start.prog_base >> 32) as u32)?;
        self.write_register(csr::ENTRY, start.entry)?;
        for (i, &arg) in start.args.iter().enumerate() {
            self.write_register(csr::ARG + 4 * i as u32, arg)?;
        }
        self.write_register(csr::CTRL, CTRL_START)
    }

    /// The results of a halted program: the low halves of r1..r8.
    ///
    /// # Errors
    /// As [`Device::read_register`].
    fn results(&mut self) -> Result<[u32; 8]> {
        let mut out = [0; 8];
        for (i, value) in out.iter_mut().enumerate() {
            *value = self.read_register(csr::RES + 4 * i as u32)?;
        }
        Ok(out)
    }

    /// All performance counters.
    ///
    /// # Errors
    /// As [`Device::read_register`].
    fn counters(&mut self) -> Result<Counters> {
        let mut out = Counters::default();
        for (i, value) in out.0.iter_mut().enumerate() {
            let at = csr::COUNTER + 8 * i as u32;
            let low = self.read_register(at)?;
            *value = u64::from(low) | u64::from(self.read_register(at + 4)?) << 32;
        }
        Ok(out)
    }

    /// What the bytes on the memory ports were since the last start, from a device that watches
    /// them.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Checks that the device is the accelerator that the configuration describes.
    ///
    /// # Errors
    /// Names the register and both values.
    fn check_identity(&mut self) -> Result<()> {
        let hash = self.config().hash();
        for (name, offset, want) in [
            ("ID", csr::ID, csr::ID_VALUE),
            ("ISA_VERSION", csr::ISA_VERSION, ISA_VERSION),
            ("CONFIG_HASH", csr::CONFIG_HASH, hash),
        ] {
            let found = self.read_register(offset)?;
            if found != want {
                return Err(SimError::Start {
                    problem: format!("{name} is {found:#010x}, expected {want:#010x}"),
                    hint: "compile the program for the configuration of this device",
                });
            }
        }
        Ok(())
    }
}

/// CTRL bit 0.
pub const CTRL_START: u32 = 1;

/// CTRL bit 1.
pub const CTRL_RESET: u32 = 2;

impl Start {
    fn check(&self) -> Result<()> {
        if !self.prog_base.is_multiple_of(128) || self.prog_base >= crate::memory::SPACE {
            return Err(SimError::Start {
                problem: format!("program address {:#x}", self.prog_base),
                hint: "a program lies at a multiple of 128 below 1 TiB",
            });
        }
        if self.entry >> 24 != 0 {
            return Err(SimError::Start {
                problem: format!("entry {}", self.entry),
                hint: "instruction indices have 24 bits",
            });
        }
        Ok(())
    }
}
