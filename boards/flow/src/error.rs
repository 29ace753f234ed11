//! What can go wrong between RTL and bitstream.

use std::path::{Path, PathBuf};

/// Why there is no bitstream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The board is only a configuration.
    #[error("{board} has no part, pins and clock, so nothing can be built for it\n\nhint: boards that can be built: {}", lampyris_boards::shipped().collect::<Vec<_>>().join(", "))]
    NoHardware {
        /// Board.
        board: String,
    },
    /// The board needs no vendor's tools, or is only a configuration.
    #[error(
        "{board} has no [part.xilinx], so there is no project of its vendor's tools\n\nhint: kv260 has one"
    )]
    NoVendor {
        /// Board.
        board: String,
    },
    /// The top module's header is not as expected.
    #[error("cannot read the ports of `{}`\n\nhint: one port a line, as rtl/README.md says", path.display())]
    Ports {
        /// The source.
        path: PathBuf,
    },
    /// Yosys cannot synthesise for the part.
    #[error(
        "Yosys has no cells of {device}, so there is no estimate for {board}\n\nhint: ooc.tcl of the board's project asks Vivado; an UltraScale+ board with the same [accel], such as alveo-u55c, can be estimated"
    )]
    NoEstimate {
        /// Board.
        board: String,
        /// Part.
        device: String,
    },
    /// A tool is not installed.
    #[error(
        "{tool} is not installed\n\nhint: run `{}`",
        verilator_sys::toolchain::SETUP_FPGA
    )]
    Missing {
        /// Name.
        tool: &'static str,
    },
    /// A tool cannot be started or its files not be used.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A tool failed.
    #[error("{tool} failed ({status}):\n{end}\n\nhint: the whole log is {}", log.display())]
    Tool {
        /// Name.
        tool: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Last lines of the log.
        end: String,
        /// The log.
        log: PathBuf,
    },
    /// A tool's report is not as expected.
    #[error(
        "{tool} wrote a report that does not read: {message}\n\nhint: is its version the pinned one? `lampyris doctor` tells"
    )]
    Report {
        /// Name.
        tool: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The design needs more than the part has.
    #[error("{board}: the design does not fit: {}\n\nhint: choose a smaller configuration under [accel]", over.join(", "))]
    TooLarge {
        /// Board.
        board: String,
        /// Resources: name, needed, available.
        over: Vec<String>,
    },
    /// No seed met the clock.
    #[error(
        "{board}: no placement reached {target_mhz:.1} MHz; the best of {seeds} (seed {seed}) reached {achieved_mhz:.1} MHz\n{path}\n\nhint: try more --seeds, lower accel.clock_khz, or accept it with --allow-missed-timing"
    )]
    Timing {
        /// Board.
        board: String,
        /// Clock that was asked for.
        target_mhz: f64,
        /// Clock that was reached.
        achieved_mhz: f64,
        /// Number of seeds tried.
        seeds: usize,
        /// The best of them.
        seed: u32,
        /// The slowest path, for people.
        path: String,
    },
    /// The list of sources.
    #[error(transparent)]
    Sources(#[from] verilator_sys::Error),
    /// A path that the tools cannot read.
    #[error("`{}` has a space in its name, which Yosys cannot read\n\nhint: move the project to a folder without one", path.display())]
    Space {
        /// Path.
        path: PathBuf,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An I/O error with what was tried.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }
}
