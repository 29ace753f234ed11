//! Boards as data: a TOML file names a hardware configuration, what it may use, and what lies
//! around it.
//!
//! ```toml
//! name = "ulx3s-85f"
//! inherit = "small"        # a named configuration that [accel] changes
//! pins = "ulx3s-85f.lpf"   # beside this file; with the tables below
//! loader = "ulx3s"         # the board's name for openFPGALoader; may be left out
//!
//! [accel]
//! clock_khz = 50000
//!
//! [budget]                 # what the part has
//! lut = 83640
//! ff = 83640
//! dsp = 156
//! bram = 208
//!
//! [part.ecp5]              # these tables and `pins` are all there, or none of them:
//! device = "LFE5U-85F"     # without them a board is a configuration that can be simulated,
//! package = "CABGA381"     # with them it can be built
//! speed = 6
//!
//! [clock]
//! input_khz = 25000
//! memory_lead_deg = 45
//!
//! [link.uart]
//! baud = 3000000
//!
//! [memory]
//! read_delay = 0
//!
//! [memory.sdr]             # see `sdr`
//! dq_bits = 16
//! ...
//! ```
//!
//! Boards that need their vendor's tools have other tables: see [`vendor`].
//!
//! Unknown keys and values out of range are errors with their place.

pub mod hardware;
pub mod pll;
pub mod sdr;
pub mod vendor;

pub use hardware::Hardware;
pub use vendor::Vendor;

use hardware::{Clock, Link, Memory, OutOfRange, Part, Pins};
use lampyris_isa::HwConfig;
use lampyris_isa::config::{ConfigError, weight_bits_mask};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A board.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// Name.
    pub name: String,
    /// Configuration of the accelerator.
    pub config: HwConfig,
    /// What the part has, if the file says so.
    pub budget: Option<Budget>,
    /// What lies around the accelerator; boards that are only a configuration have none.
    pub hardware: Option<Hardware>,
    /// The same for a board that needs its vendor's tools.
    pub vendor: Option<Vendor>,
    /// The board's file; empty for a named configuration.
    pub text: String,
}

/// Resources of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// 4-input lookup tables.
    pub lut: u32,
    /// Flip-flops.
    pub ff: u32,
    /// Multiplier blocks.
    pub dsp: u32,
    /// Block memories.
    pub bram: u32,
}

/// Why a board cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}\n\nhint: name a configuration (base, small, wide), a board of this program ({}) or a board's file", path.display(), shipped().collect::<Vec<_>>().join(", "))]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The text is not a board.
    #[error("{file}: {message}\n\nhint: boards/ulx3s-85f.toml shows every key")]
    Parse {
        /// File.
        file: String,
        /// Cause with line and column.
        message: String,
    },
    /// The text is not a board for its vendor's tools.
    #[error("{file}: {message}\n\nhint: boards/kv260.toml shows every key")]
    VendorParse {
        /// File.
        file: String,
        /// Cause with line and column.
        message: String,
    },
    /// A value of such a board is out of range.
    #[error(
        "{file}: {source}\n\nhint: correct this value; boards/kv260.toml and boards/alveo-u280.toml are examples"
    )]
    Vendor {
        /// File.
        file: String,
        /// Key, value and range.
        source: vendor::Refused,
    },
    /// `inherit` names no configuration.
    #[error("{file}: `inherit` is `{found}`\n\nhint: use base, small or wide")]
    Inherit {
        /// File.
        file: String,
        /// Value.
        found: String,
    },
    /// Some of the tables that a bitstream needs are there, others are not.
    #[error(
        "{file}: {found} without {missing}\n\nhint: a board that can be built has `pins`, [part], [clock], [link] and [memory]; a configuration has none of them"
    )]
    Incomplete {
        /// File.
        file: String,
        /// What is there.
        found: String,
        /// What is not.
        missing: String,
    },
    /// A value around the accelerator is out of range.
    #[error("{file}: {source}\n\nhint: correct this value")]
    Hardware {
        /// File.
        file: String,
        /// Key, value and range.
        source: OutOfRange,
    },
    /// The memory cannot be had at this clock.
    #[error("{file}: under [memory]: {source}")]
    Memory {
        /// File.
        file: String,
        /// Key, value, range and hint.
        source: sdr::SdrError,
    },
    /// The accelerator's clock cannot be made.
    #[error("{file}: {source}\n\nhint: set accel.clock_khz to what can be made")]
    Pll {
        /// File.
        file: String,
        /// Frequencies.
        source: pll::NoDividers,
    },
    /// `weight_bits` is no list of widths that the accelerator can have.
    #[error(
        "{file}: `weight_bits` is {found:?}\n\nhint: list widths out of 2, 3, 4, 5, 6 and 8, with 4 and 8 among them"
    )]
    Widths {
        /// File.
        file: String,
        /// List.
        found: Vec<u32>,
    },
    /// A parameter is out of range.
    #[error("{file}: {source}\n\nhint: correct the value under [accel]")]
    Config {
        /// File.
        file: String,
        /// Parameter, value and range.
        source: ConfigError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    inherit: String,
    #[serde(default)]
    accel: Accel,
    budget: Option<Budget>,
    pins: Option<String>,
    part: Option<Part>,
    clock: Option<Clock>,
    link: Option<Link>,
    memory: Option<Memory>,
    loader: Option<String>,
}

macro_rules! accel {
    ($($field:ident),*) => {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Accel {
            weight_bits: Option<Vec<u32>>,
            $( $field: Option<u32>, )*
        }

        impl Accel {
            fn apply(&self, file: &str, base: HwConfig) -> Result<HwConfig, Error> {
                let weight_bits = match &self.weight_bits {
                    None => base.weight_bits,
                    Some(widths) => weight_bits_mask(widths).ok_or_else(|| Error::Widths {
                        file: file.into(),
                        found: widths.clone(),
                    })?,
                };
                let config = HwConfig {
                    weight_bits,
                    $( $field: self.$field.unwrap_or(base.$field), )*
                };
                config.check().map_err(|source| Error::Config {
                    file: file.into(),
                    source,
                })?;
                Ok(config)
            }
        }
    };
}
accel!(
    axi_bits,
    axi_ports,
    channels,
    mac_rows,
    sfu_lanes,
    max_tokens,
    vmem_words,
    xbuf_blocks,
    stream_beats,
    icache_lines,
    queue_depth,
    sparsity,
    mul_pack,
    clock_khz
);

/// The configuration with this name.
pub fn named(name: &str) -> Option<HwConfig> {
    HwConfig::NAMED
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, c)| *c)
}

/// Boards that this program brings along: name, file and pin file, if there is one.
const SHIPPED: [(&str, &str, &str); 5] = [
    (
        "ulx3s-85f",
        include_str!("../ulx3s-85f.toml"),
        include_str!("../ulx3s-85f.lpf"),
    ),
    ("kv260", include_str!("../kv260.toml"), ""),
    ("alveo-u55c", include_str!("../alveo-u55c.toml"), ""),
    ("alveo-u280", include_str!("../alveo-u280.toml"), ""),
    ("vhk158", include_str!("../vhk158.toml"), ""),
];

/// Names of the boards that this program brings along.
pub fn shipped() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, ..)| *name)
}

impl Board {
    /// Parses a board file; `file` is its name in messages, and `pins` reads the pin file that it
    /// names.
    ///
    /// # Errors
    /// Syntax, unknown and missing keys, and values out of range, with their place.
    pub fn parse(
        file: &str,
        text: &str,
        pins: impl FnOnce(&str) -> Result<String, Error>,
    ) -> Result<Board, Error> {
        if vendor::is_vendor(text) {
            return vendor::parse(file, text);
        }
        let parsed: File = toml::from_str(text).map_err(|e| Error::Parse {
            file: file.into(),
            message: e.to_string(),
        })?;
        let base = named(&parsed.inherit).ok_or_else(|| Error::Inherit {
            file: file.into(),
            found: parsed.inherit.clone(),
        })?;
        let config = parsed.accel.apply(file, base)?;
        Ok(Board {
            hardware: parsed.hardware(file, &config, pins)?,
            vendor: None,
            name: parsed.name,
            config,
            budget: parsed.budget,
            text: text.to_owned(),
        })
    }

    /// A named configuration, a board that this program brings along, or the board of a file.
    ///
    /// # Errors
    /// As [`Board::parse`], and files that cannot be read.
    pub fn open(name_or_path: &str) -> Result<Board, Error> {
        if let Some(config) = named(name_or_path) {
            return Ok(Board {
                name: name_or_path.into(),
                config,
                budget: None,
                hardware: None,
                vendor: None,
                text: String::new(),
            });
        }
        if let Some((name, text, pins)) = SHIPPED.iter().find(|(name, ..)| *name == name_or_path) {
            return Board::parse(&format!("{name}.toml"), text, |_| Ok((*pins).into()));
        }
        let path = Path::new(name_or_path);
        let text = read(path)?;
        Board::parse(name_or_path, &text, |pins| read(&path.with_file_name(pins)))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })
}

impl File {
    /// What lies around the accelerator: all of it or nothing.
    fn hardware(
        &self,
        file: &str,
        config: &HwConfig,
        pins: impl FnOnce(&str) -> Result<String, Error>,
    ) -> Result<Option<Hardware>, Error> {
        let (Some(name), Some(part), Some(clock), Some(link), Some(memory)) =
            (&self.pins, &self.part, self.clock, self.link, self.memory)
        else {
            return self.bare(file);
        };
        let hardware = Hardware {
            part: part.clone(),
            clock,
            link,
            memory,
            loader: self.loader.clone(),
            pins: Pins {
                name: name.clone(),
                text: pins(name)?,
            },
        };
        let clock_khz = config.clock_khz;
        hardware
            .check(clock_khz)
            .map_err(|source| Error::Hardware {
                file: file.into(),
                source,
            })?;
        memory
            .parameters(clock_khz)
            .map_err(|source| Error::Memory {
                file: file.into(),
                source,
            })?;
        pll::Ecp5Pll::new(clock.input_khz, clock_khz).map_err(|source| Error::Pll {
            file: file.into(),
            source,
        })?;
        Ok(Some(hardware))
    }

    /// A board without hardware, which has no part of it.
    fn bare(&self, file: &str) -> Result<Option<Hardware>, Error> {
        let parts = [
            ("`pins`", self.pins.is_some()),
            ("[part]", self.part.is_some()),
            ("[clock]", self.clock.is_some()),
            ("[link]", self.link.is_some()),
            ("[memory]", self.memory.is_some()),
        ];
        let list = |there: bool| {
            let names = parts.iter().filter(|(_, is)| *is == there).map(|p| p.0);
            names.collect::<Vec<_>>().join(", ")
        };
        if list(true).is_empty() {
            return Ok(None);
        }
        Err(Error::Incomplete {
            file: file.into(),
            found: list(true),
            missing: list(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Board, Error> {
        Board::parse("x.toml", text, |_| Ok(String::new()))
    }

    #[test]
    fn shipped_boards_are_legal() {
        for name in shipped() {
            let board = Board::open(name).unwrap();
            assert_eq!(board.name, name);
            let open = board.budget.is_some() && board.hardware.is_some();
            assert!(open != board.vendor.is_some(), "{name}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        let parse = |text: &str| parse_text(text).unwrap_err().to_string();
        let head = "name = \"x\"\ninherit = \"small\"\n";
        assert!(
            parse("name = \"x\"\ninherit = \"huge\"\n").starts_with("x.toml: `inherit` is `huge`")
        );
        assert!(parse(&format!("{head}[accel]\nlanes = 4\n")).contains("line 4, column 1"));
        let range = parse(&format!("{head}[accel]\nmac_rows = 3\n"));
        assert!(
            range.starts_with("x.toml: `mac_rows` is 3, allowed: 1, 2, 4, 8 or 16"),
            "{range}"
        );
        for list in ["4, 7, 8", "4, 5", "4, 8, 40"] {
            let message = parse(&format!("{head}[accel]\nweight_bits = [{list}]\n"));
            assert!(
                message.starts_with(&format!("x.toml: `weight_bits` is [{list}]\n\nhint: ")),
                "{message}"
            );
        }
        let sparse = parse(&format!("{head}[accel]\nsparsity = 3\n"));
        assert!(
            sparse.contains("`sparsity` is 3, allowed: 0, 1 or 2"),
            "{sparse}"
        );
    }

    #[test]
    fn widths_come_as_a_list() {
        let text =
            "name = \"x\"\ninherit = \"small\"\n[accel]\nweight_bits = [8, 5, 4]\nsparsity = 1\n";
        let config = parse_text(text).unwrap().config;
        assert_eq!(config.weight_widths().collect::<Vec<_>>(), [4, 5, 8]);
        assert_eq!(config.sparsity, 1);
    }

    const PARTS: &str = "[part.ecp5]\ndevice = \"LFE5U-85F\"\npackage = \"CABGA381\"\nspeed = 6\n";

    const MEMORY: &str = "[memory]\nread_delay = 0\n[memory.sdr]\ndq_bits = 16\nrow_bits = 13\ncol_bits = 9\n\
        bank_bits = 2\ntrcd_ns = 15\ntrp_ns = 15\ntras_ns = 37\ntras_max_us = 100\ntrc_ns = 60\ntrrd_ns = 14\n\
        trfc_ns = 60\ntwr_ns = 14\ntmrd_clocks = 2\nrefresh_ms = 64\npower_up_us = 100\n\
        cas2_max_khz = 100000\ncas3_max_khz = 143000\n";

    fn built(part: &str, clock: u32, baud: u32) -> String {
        format!(
            "name = \"x\"\ninherit = \"small\"\npins = \"x.lpf\"\n{part}[clock]\ninput_khz = {clock}\nmemory_lead_deg = 0\n[link.uart]\nbaud = {baud}\n{MEMORY}"
        )
    }

    #[test]
    fn hardware_is_whole_and_in_range() {
        let board = parse_text(&built(PARTS, 25_000, 1_000_000)).unwrap();
        assert_eq!(board.hardware.unwrap().clock.input_khz, 25_000);
        let error = |text: &str| parse_text(text).unwrap_err().to_string();
        let part = PARTS.replace("LFE5U-85F", "LFE5U-99F");
        let message = error(&built(&part, 25_000, 1_000_000));
        assert!(
            message.contains("line 5, column 10") && message.contains("LFE5U-85F"),
            "{message}"
        );
        let message = error(&built(
            &PARTS.replace("speed = 6", "speed = 9"),
            25_000,
            1_000_000,
        ));
        assert!(
            message.starts_with("x.toml: `part.ecp5.speed` is 9, allowed: 6 to 8"),
            "{message}"
        );
        let message = error(&built(PARTS, 25_000, 12_000_000));
        assert!(
            message.starts_with("x.toml: `link.uart.baud` is 12000000"),
            "{message}"
        );
        let message = error(&built(PARTS, 33_333, 1_000_000));
        assert!(
            message.contains("no clock of 50000 kHz can be made from 33333 kHz"),
            "{message}"
        );
        let slow = built(PARTS, 25_000, 1_000_000).replace("trcd_ns = 15", "trcd_ns = 0");
        let message = error(&slow);
        assert!(
            message.starts_with("x.toml: under [memory]: `trcd_ns` is 0"),
            "{message}"
        );
        let message = error(&built("", 25_000, 1_000_000));
        assert!(
            message.starts_with("x.toml: `pins`, [clock], [link], [memory] without [part]"),
            "{message}"
        );
        let message = error(&built(PARTS, 25_000, 1_000_000).replace("baud", "bauds"));
        assert!(message.contains("unknown field `bauds`"), "{message}");
    }

    #[test]
    fn pin_files_lie_beside_the_board() {
        let folder = std::env::temp_dir().join(format!("lampyris-boards-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x.toml");
        std::fs::write(&path, built(PARTS, 25_000, 1_000_000)).unwrap();
        let missing = Board::open(&path.to_string_lossy())
            .unwrap_err()
            .to_string();
        assert!(missing.contains("x.lpf"), "{missing}");
        std::fs::write(folder.join("x.lpf"), "LOCATE").unwrap();
        let board = Board::open(&path.to_string_lossy()).unwrap();
        assert_eq!(board.hardware.unwrap().pins.text, "LOCATE");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
