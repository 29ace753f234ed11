//! Boards whose bitstream only their vendor's tools can make: what this program emits a project for.
//!
//! ```toml
//! name = "kv260"
//! inherit = "base"
//!
//! [accel]                     # as for other boards
//! clock_khz = 200000
//!
//! [budget]                    # 6-input lookup tables, flip-flops, DSP slices, block memories of
//! lut = 117120                # 36 kbit, UltraRAMs of 288 kbit
//! ff = 234240
//! dsp = 1248
//! bram = 144
//! uram = 64
//!
//! [part.xilinx]
//! device = "xck26-sfvc784-2LV-c"
//! family = "zynq_ultrascale_plus"
//!
//! [tools]                     # versions of Vivado and Vitis
//! first = "2022.1"
//! last = "2023.2"             # may be left out, with the next key, which is shown as a warning
//! last_because = "..."
//!
//! [memory.external]
//! kind = "ddr4"               # or "hbm"
//! mebibytes = 4096
//! reserved_mebibytes = 2048   # what others use of it
//! base = 0x8_0000_0000        # where the accelerator's part begins
//! channels = 1
//! peak_mb_per_s = 19200       # of all channels
//!
//! [host.zynq]                 # or [host.xrt]: how a host reaches it
//! board_part = "xilinx.com:kv260_som:part0:1.4"
//! ```

use crate::{Accel, Board, Error, named};
use lampyris_isa::HwConfig;
use serde::Deserialize;

/// What lies around the accelerator on such a board.
#[derive(Clone, Debug, PartialEq)]
pub struct Vendor {
    /// The part.
    pub part: Xilinx,
    /// What the part has.
    pub budget: Budget,
    /// The vendor's tools.
    pub tools: Tools,
    /// The memory that the accelerator uses.
    pub memory: External,
    /// How a host reaches it.
    pub host: Host,
}

/// Resources of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// 6-input lookup tables.
    pub lut: u32,
    /// Flip-flops.
    pub ff: u32,
    /// DSP slices.
    pub dsp: u32,
    /// Block memories of 36 kbit.
    pub bram: u32,
    /// UltraRAMs of 288 kbit.
    pub uram: u32,
}

/// A part of AMD (Xilinx).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xilinx {
    /// Name with package and speed grade, as Vivado spells it.
    pub device: String,
    /// Family.
    pub family: Family,
}

/// Families of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Zynq UltraScale+.
    ZynqUltrascalePlus,
    /// Virtex UltraScale+ with HBM.
    VirtexUltrascalePlus,
    /// Versal HBM.
    VersalHbm,
}

impl Family {
    /// The family as Yosys' `synth_xilinx` knows it; Versal is unknown to it.
    pub fn yosys(self) -> Option<&'static str> {
        match self {
            Family::ZynqUltrascalePlus | Family::VirtexUltrascalePlus => Some("xcup"),
            Family::VersalHbm => None,
        }
    }

    /// Beginning of its parts' names.
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Family::ZynqUltrascalePlus => &["xck", "xczu"],
            Family::VirtexUltrascalePlus => &["xcu", "xcvu"],
            Family::VersalHbm => &["xcvh"],
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Family::ZynqUltrascalePlus => "a name that begins with xck or xczu",
            Family::VirtexUltrascalePlus => "a name that begins with xcu or xcvu",
            Family::VersalHbm => "a name that begins with xcvh",
        }
    }
}

/// Versions of the vendor's tools that know the board.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    /// The first.
    pub first: String,
    /// The last, if there is one.
    pub last: Option<String>,
    /// Why there is a last one.
    pub last_because: Option<String>,
}

impl Tools {
    /// The versions for people.
    pub fn range(&self) -> String {
        match &self.last {
            Some(last) => format!("{} to {last}", self.first),
            None => format!("{} or later", self.first),
        }
    }
}

/// Memory beside the part's logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// What it is.
    pub kind: MemoryKind,
    /// Size, MiB.
    pub mebibytes: u32,
    /// What others use of it, MiB.
    pub reserved_mebibytes: u32,
    /// Address at which the accelerator's part begins, on the bus of the memory.
    pub base: u64,
    /// Channels.
    pub channels: u32,
    /// What all channels carry at most, MB/s.
    pub peak_mb_per_s: u32,
}

/// Kinds of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// DDR4 SDRAM.
    Ddr4,
    /// High-bandwidth memory in the part's package.
    Hbm,
}

impl MemoryKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            MemoryKind::Ddr4 => "DDR4",
            MemoryKind::Hbm => "HBM",
        }
    }
}

impl External {
    /// Bytes for the accelerator.
    pub fn bytes(&self) -> u64 {
        u64::from(self.mebibytes.saturating_sub(self.reserved_mebibytes)) << 20
    }

    /// Bytes that others use.
    pub fn reserved_bytes(&self) -> u64 {
        u64::from(self.reserved_mebibytes) << 20
    }
}

/// How a host reaches the accelerator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// Processors of the same part, which load the logic from Linux.
    Zynq(Zynq),
    /// A kernel that the host's program manages itself, under XRT.
    Xrt(Xrt),
}

/// Ports of 128 bits from the logic of a Zynq UltraScale+ to the memory of its processors.
pub const ZYNQ_PORTS: u32 = 4;

/// A board with processors in its part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zynq {
    /// Board definition, from which the settings of processors and memory come.
    pub board_part: String,
    /// Connections of the module to its carrier card.
    pub board_connections: Option<String>,
}

/// A board with a platform of Vitis.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xrt {
    /// Name of the platform; whoever builds names one if it is left out.
    pub platform: Option<String>,
    /// The platform's name of the memory, such as `HBM[0:31]`.
    pub memory: String,
}

/// A value that a board's file may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {value}, allowed: {allowed}")]
pub struct Refused {
    /// Table and key.
    pub key: &'static str,
    /// Value.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl Vendor {
    /// What the accelerator can read of its memory at most: by its ports, or by the memory.
    pub fn memory_bytes_per_second(&self, config: &HwConfig) -> u64 {
        // Weights come over one port.
        let port = u64::from(config.beat_bytes()) * u64::from(config.clock_khz) * 1000;
        port.min(u64::from(self.memory.peak_mb_per_s) * 1_000_000)
    }

    fn check(&self, config: &HwConfig) -> Result<(), Refused> {
        let clock_khz = config.clock_khz;
        let refused = |key, value: String, allowed| {
            Err(Refused {
                key,
                value,
                allowed,
            })
        };
        let counts = [
            ("budget.lut", self.budget.lut),
            ("budget.ff", self.budget.ff),
            ("budget.dsp", self.budget.dsp),
            ("memory.external.channels", self.memory.channels),
            ("memory.external.peak_mb_per_s", self.memory.peak_mb_per_s),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return refused(key, "0".into(), "at least 1");
        }
        let part = &self.part;
        let prefixes = part.family.prefixes();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !prefixes.iter().any(|p| part.device.starts_with(p)) || !part.device.chars().all(plain) {
            let device = part.device.clone();
            return refused("part.xilinx.device", device, part.family.allowed());
        }
        if !(50_000..=400_000).contains(&clock_khz) {
            let allowed = "50000 to 400000";
            return refused("accel.clock_khz", clock_khz.to_string(), allowed);
        }
        if config.channels != 1 {
            // Channels share the lines of their addresses, which no bus of these boards does.
            let value = config.channels.to_string();
            return refused("accel.channels", value, "1 on a vendor's board");
        }
        if matches!(self.host, Host::Zynq(_)) && config.axi_ports > ZYNQ_PORTS {
            let value = config.axi_ports.to_string();
            return refused("accel.axi_ports", value, "at most 4 with [host.zynq]");
        }
        self.check_tools()?;
        self.check_memory()?;
        self.check_names()
    }

    fn check_tools(&self) -> Result<(), Refused> {
        let refused = |key, value: &str, allowed| Refused {
            key,
            value: value.to_owned(),
            allowed,
        };
        let form = "a version such as 2023.2";
        let tools = &self.tools;
        let first =
            version(&tools.first).ok_or_else(|| refused("tools.first", &tools.first, form))?;
        let Some(last) = &tools.last else {
            return match &tools.last_because {
                Some(text) => Err(refused("tools.last_because", text, "only with `last`")),
                None => Ok(()),
            };
        };
        let number = version(last).ok_or_else(|| refused("tools.last", last, form))?;
        if number < first {
            return Err(refused("tools.last", last, "not before `first`"));
        }
        match tools.last_because.as_deref().unwrap_or_default().trim() {
            "" => Err(refused("tools.last_because", "missing", "a reason")),
            _ => Ok(()),
        }
    }

    fn check_memory(&self) -> Result<(), Refused> {
        let memory = &self.memory;
        let refused = |key, value: String, allowed| {
            Err(Refused {
                key,
                value,
                allowed,
            })
        };
        if !(1..=1 << 20).contains(&memory.mebibytes) {
            // The accelerator's addresses have 40 bits.
            let value = memory.mebibytes.to_string();
            return refused("memory.external.mebibytes", value, "1 to 1048576");
        }
        if memory.reserved_mebibytes >= memory.mebibytes {
            let value = memory.reserved_mebibytes.to_string();
            let key = "memory.external.reserved_mebibytes";
            return refused(key, value, "less than `mebibytes`");
        }
        if !memory.base.is_multiple_of(4096) || memory.base.checked_add(memory.bytes()).is_none() {
            let value = format!("{:#x}", memory.base);
            let allowed = "a multiple of 4096, with the whole memory below 2^64";
            return refused("memory.external.base", value, allowed);
        }
        Ok(())
    }

    /// Names go into scripts, where brackets, quotes and dollars have meanings.
    fn check_names(&self) -> Result<(), Refused> {
        let plain = |text: &str, more: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
            !text.is_empty() && text.chars().all(|c| good(c) || more.contains(c))
        };
        let letters = "letters, digits and _ . : -";
        let names = match &self.host {
            Host::Zynq(zynq) => vec![
                ("host.zynq.board_part", Some(&zynq.board_part), "", letters),
                (
                    "host.zynq.board_connections",
                    zynq.board_connections.as_ref(),
                    " ",
                    "letters, digits, spaces and _ . : -",
                ),
            ],
            Host::Xrt(xrt) => vec![
                ("host.xrt.platform", xrt.platform.as_ref(), "", letters),
                (
                    "host.xrt.memory",
                    Some(&xrt.memory),
                    "[]",
                    "a name such as HBM[0:31]",
                ),
            ],
        };
        for (key, name, more, allowed) in names {
            if let Some(name) = name.filter(|name| !plain(name, more)) {
                return Err(Refused {
                    key,
                    value: format!("`{name}`"),
                    allowed,
                });
            }
        }
        let processors = self.part.family == Family::ZynqUltrascalePlus;
        if matches!(self.host, Host::Zynq(_)) && !processors {
            return Err(Refused {
                key: "part.xilinx.family",
                value: format!("{:?}", self.part.family),
                allowed: "zynq_ultrascale_plus with [host.zynq]",
            });
        }
        Ok(())
    }
}

/// Year and release of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let (year, release) = text.split_once('.')?;
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    };
    let (year, release) = (number(year)?, number(release)?);
    ((2000..2100).contains(&year) && (1..=4).contains(&release)).then_some((year, release))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    inherit: String,
    #[serde(default)]
    accel: Accel,
    budget: Budget,
    part: PartTable,
    tools: Tools,
    memory: MemoryTable,
    host: Host,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartTable {
    xilinx: Xilinx,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryTable {
    external: External,
}

/// Whether a board's file is one of these.
pub(crate) fn is_vendor(text: &str) -> bool {
    // What is no TOML at all is the other reader's to refuse.
    let table: Option<toml::Table> = text.parse().ok();
    let part = table.as_ref().and_then(|table| table.get("part"));
    part.is_some_and(|part| part.get("xilinx").is_some())
}

/// Reads a board's file.
pub(crate) fn parse(file: &str, text: &str) -> Result<Board, Error> {
    let parsed: File = toml::from_str(text).map_err(|e| Error::VendorParse {
        file: file.into(),
        message: e.to_string(),
    })?;
    let base = named(&parsed.inherit).ok_or_else(|| Error::Inherit {
        file: file.into(),
        found: parsed.inherit.clone(),
    })?;
    let config = parsed.accel.apply(file, base)?;
    let vendor = Vendor {
        part: parsed.part.xilinx,
        budget: parsed.budget,
        tools: parsed.tools,
        memory: parsed.memory.external,
        host: parsed.host,
    };
    vendor.check(&config).map_err(|source| Error::Vendor {
        file: file.into(),
        source,
    })?;
    Ok(Board {
        name: parsed.name,
        config,
        budget: None,
        hardware: None,
        vendor: Some(vendor),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests;
