//! Boards as data: a TOML file names a hardware configuration and what it may use.
//!
//! ```toml
//! name = "lfe5u-85f"
//! inherit = "small"        # a named configuration that [accel] changes
//!
//! [accel]
//! clock_khz = 65000
//!
//! [budget]
//! lut = 83640
//! ff = 83640
//! dsp = 156
//! bram = 208
//! ```
//!
//! Unknown keys and values out of range are errors with their place.

pub mod sdr;

use lampyris_isa::HwConfig;
use lampyris_isa::config::ConfigError;
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
    #[error("{}: {source}\n\nhint: name a configuration (base, small, wide) or an existing board file", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The text is not a board.
    #[error("{file}: {message}\n\nhint: boards/lfe5u-85f.toml shows every key")]
    Parse {
        /// File.
        file: String,
        /// Cause with line and column.
        message: String,
    },
    /// `inherit` names no configuration.
    #[error("{file}: `inherit` is `{found}`\n\nhint: use base, small or wide")]
    Inherit {
        /// File.
        file: String,
        /// Value.
        found: String,
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
}

macro_rules! accel {
    ($($field:ident),*) => {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Accel { $( $field: Option<u32>, )* }

        impl Accel {
            fn apply(&self, base: HwConfig) -> HwConfig {
                HwConfig { $( $field: self.$field.unwrap_or(base.$field), )* }
            }
        }
    };
}
accel!(
    axi_bits,
    axi_ports,
    mac_rows,
    sfu_lanes,
    max_tokens,
    vmem_words,
    xbuf_blocks,
    stream_beats,
    icache_lines,
    queue_depth,
    clock_khz
);

/// The configuration with this name.
pub fn named(name: &str) -> Option<HwConfig> {
    HwConfig::NAMED
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, c)| *c)
}

impl Board {
    /// Parses a board file; `file` is its name in messages.
    ///
    /// # Errors
    /// Syntax, unknown keys, and values out of range, with their place.
    pub fn parse(file: &str, text: &str) -> Result<Board, Error> {
        let parsed: File = toml::from_str(text).map_err(|e| Error::Parse {
            file: file.into(),
            message: e.to_string(),
        })?;
        let base = named(&parsed.inherit).ok_or_else(|| Error::Inherit {
            file: file.into(),
            found: parsed.inherit.clone(),
        })?;
        let config = parsed.accel.apply(base);
        config.check().map_err(|source| Error::Config {
            file: file.into(),
            source,
        })?;
        Ok(Board {
            name: parsed.name,
            config,
            budget: parsed.budget,
        })
    }

    /// A named configuration, or the board of a file.
    ///
    /// # Errors
    /// As [`Board::parse`], and files that cannot be read.
    pub fn open(name_or_path: &str) -> Result<Board, Error> {
        if let Some(config) = named(name_or_path) {
            return Ok(Board {
                name: name_or_path.into(),
                config,
                budget: None,
            });
        }
        let path = Path::new(name_or_path);
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.into(),
            source,
        })?;
        Board::parse(name_or_path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_board_is_legal() {
        let board = Board::parse("lfe5u-85f.toml", include_str!("../lfe5u-85f.toml")).unwrap();
        assert_eq!(board.name, "lfe5u-85f");
        assert_eq!(board.budget.map(|b| b.dsp), Some(156));
    }

    #[test]
    fn errors_name_the_place() {
        let parse = |text: &str| Board::parse("x.toml", text).unwrap_err().to_string();
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
    }
}
