//! Projects for boards that only their vendor's tools can build: sources, scripts and notes, complete
//! enough to start from an empty folder. Nothing of this was run by those tools, and every file that
//! could hide that says so.
//!
//! ```text
//!  rtl/ (top_axi and below) ---+
//!  lampyris_kernel.v ----------+--> package.tcl --> IP, lampyris.xo
//!  kernel.xml, clock_ooc.xdc --+                    |         |
//!                                  [host.zynq]      v         v      [host.xrt]
//!                     block design of build.tcl: .bit    v++ and link.cfg: .xclbin or .xsa
//!                     bootgen, dtc: .bit.bin, .dtbo
//! ```

mod kernel;
pub mod ports;
pub mod tcl;
mod xrt;
mod zynq;

use crate::error::{Error, Result};
use lampyris_boards::vendor::{Host, Tools, Vendor};
use lampyris_boards::{Board, vendor};
use ports::Port;
use std::fs;
use std::path::{Path, PathBuf};
use verilator_sys::source_tree;

/// Top module of the sources, which the generated one fixes for a board.
pub const TOP: &str = "top_axi";
/// The generated module: what the vendor's tools know as kernel and as IP.
pub const KERNEL: &str = "lampyris_kernel";
/// Beginning of the names of memory ports.
const MEMORY_PORT: &str = "m_axi_gmem";
/// Offset of the register with the base of the accelerator's memory, 64 bits, low half first: see
/// `rtl/soc/axi_base.sv`, which a test reads and writes at this offset.
pub const MEM_BASE: u32 = 0x800;
/// Bytes of the host's registers.
pub const REGISTER_BYTES: u32 = 0x1000;
/// How far a project was tried.
pub const LEVEL: &str = "emitted, never built";

/// Files of a project, by their names from its own folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Name and text, but for the RTL.
    pub files: Vec<(String, String)>,
    /// Sources below the RTL folder that belong to the design.
    pub sources: Vec<PathBuf>,
    /// What to run, in order, in the project's folder.
    pub build: Vec<String>,
    /// What to run afterwards, where the board is.
    pub load: Vec<String>,
}

/// The parts of a board that has such a project.
///
/// # Errors
/// Other boards.
pub fn of(board: &Board) -> Result<&Vendor> {
    board.vendor.as_ref().ok_or_else(|| Error::NoVendor {
        board: board.name.clone(),
    })
}

/// What to say of the tools' versions, if only some will do.
pub fn pinned(board: &str, tools: &Tools) -> Option<String> {
    let (last, why) = (tools.last.as_ref()?, tools.last_because.as_ref()?);
    Some(format!(
        "warning: {board} is pinned to Vivado and Vitis {} ({why}); {last} is the last that can build it",
        tools.range()
    ))
}

/// Writes the project of a board; the RTL lies in `rtl`.
///
/// # Errors
/// Boards without vendor's tools, and an RTL folder that cannot be read or lacks the top module.
pub fn project(board: &Board, rtl: &Path) -> Result<Project> {
    let vendor = of(board)?;
    let sources = sources(rtl)?;
    let top = rtl.join("soc").join(format!("{TOP}.sv"));
    let header = fs::read_to_string(&top).map_err(Error::io("read", &top))?;
    let parsed =
        ports::of_module(&header, TOP).ok_or_else(|| Error::Ports { path: top.clone() })?;
    let (ports, idle) = resolve(board, &parsed).ok_or(Error::Ports { path: top })?;
    let design = Design {
        board,
        vendor,
        ports,
        idle,
        sources: sources.iter().map(|path| below(rtl, path)).collect(),
    };
    let mut files = kernel::files(&design);
    let (more, build, load) = match &vendor.host {
        Host::Zynq(zynq) => zynq::files(&design, zynq),
        Host::Xrt(xrt) => xrt::files(&design, xrt),
    };
    files.extend(more);
    Ok(Project {
        files,
        sources,
        build,
        load,
    })
}

/// What the files are made from.
struct Design<'a> {
    board: &'a Board,
    vendor: &'a Vendor,
    ports: Vec<Port>,
    /// Ports of the top module that the configuration does not use.
    idle: Vec<Port>,
    /// Sources as the project has them.
    sources: Vec<String>,
}

impl Design<'_> {
    fn clock_mhz(&self) -> f64 {
        f64::from(self.board.config.clock_khz) / 1000.0
    }

    /// Memory ports that the configuration uses.
    fn memory_ports(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.board.config.axi_ports).map(|index| format!("{MEMORY_PORT}{index}"))
    }
}

/// The accelerator and what `top_axi` adds: no host link and memory controller of other boards.
fn sources(rtl: &Path) -> Result<Vec<PathBuf>> {
    let mut all = source_tree(rtl)?;
    all.retain(|path| {
        let stem = path.file_stem().unwrap_or_default();
        let soc = path.starts_with(rtl.join("soc"));
        (!soc || stem == TOP || stem == "axi_base") && stem != "lampyris_link_pkg"
    });
    Ok(all)
}

fn below(rtl: &Path, path: &Path) -> String {
    let rest = path.strip_prefix(rtl).unwrap_or(path);
    format!("rtl/{}", rest.display())
}

/// All ports with their widths: those that a configuration uses, and idle memory ports.
fn resolve(board: &Board, parsed: &ports::Module) -> Option<(Vec<Port>, Vec<Port>)> {
    let parameters = board.config.parameters();
    let value = |name: &str| {
        let found = parameters.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| *value)
    };
    let resolved = parsed.ports.iter().map(|port| port.resolve(&value));
    let all: Vec<Port> = resolved.collect::<Option<_>>()?;
    let used = |port: &Port| {
        let Some(rest) = port.name.strip_prefix(MEMORY_PORT) else {
            return true;
        };
        let index = rest.split('_').next().and_then(|index| index.parse().ok());
        index.is_some_and(|index: u32| index < board.config.axi_ports)
    };
    Some(all.into_iter().partition(used))
}

/// Replaces `@name@` by its value.
///
/// # Panics
/// If a template and its values do not match, which every test of a project would show.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        let mark = format!("@{name}@");
        assert!(text.contains(&mark), "the template has no {mark}");
        text = text.replace(&mark, value);
    }
    text
}

/// What every file of a board says about itself.
fn provenance(design: &Design<'_>) -> String {
    format!(
        "Written by lampyris for {} ({}). {}: no tool of the vendor was run on it.",
        design.board.name,
        design.vendor.part.device,
        capital(LEVEL)
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// Resources by kind, as `vendor::Budget` has them, of a netlist's cells.
///
/// LUTs: a distributed RAM takes eight, a shift register one. Inverters vanish into what they feed, and
/// two small LUTs may share one, which is not counted.
pub fn utilisation(
    cells: &std::collections::BTreeMap<String, u64>,
    budget: &vendor::Budget,
) -> Vec<crate::report::Resource> {
    let count = |name: &str| cells.get(name).copied().unwrap_or(0);
    let all = |names: &[&str]| names.iter().map(|name| count(name)).sum::<u64>();
    let luts = all(&["LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6"])
        + all(&["SRL16E", "SRLC16E", "SRLC32E"])
        + 8 * all(&["RAM32M16", "RAM64M8"])
        + 4 * all(&["RAM32M", "RAM64M"])
        + 2 * all(&["RAM32X1D", "RAM64X1D"]);
    let block = count("RAMB36E2") + count("RAMB18E2").div_ceil(2);
    [
        ("LUT", budget.lut, luts),
        (
            "flip-flop",
            budget.ff,
            all(&["FDRE", "FDSE", "FDCE", "FDPE"]),
        ),
        ("DSP48E2", budget.dsp, count("DSP48E2")),
        ("RAMB36", budget.bram, block),
        ("URAM288", budget.uram, count("URAM288")),
    ]
    .map(|(name, available, used)| crate::report::Resource {
        name: name.to_owned(),
        used,
        available: available.into(),
    })
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        assert_eq!(fill("a @x@ b @x@", &[("x", "1")]), "a 1 b 1");
        let wrong = std::panic::catch_unwind(|| fill("a", &[("x", "1")]));
        assert!(wrong.is_err());
    }

    #[test]
    fn only_what_has_a_last_version_is_pinned() {
        let tools = |name: &str| Board::open(name).unwrap().vendor.unwrap().tools;
        assert_eq!(pinned("kv260", &tools("kv260")), None);
        let warning = pinned("alveo-u280", &tools("alveo-u280")).unwrap();
        assert!(
            warning.starts_with(
                "warning: alveo-u280 is pinned to Vivado and Vitis 2022.1 to 2023.2 ("
            )
        );
    }

    #[test]
    fn cells_of_xilinx_are_charged_to_resources() {
        let cells = [
            ("LUT2", 10),
            ("LUT6", 5),
            ("RAM32M16", 2),
            ("SRL16E", 3),
            ("FDRE", 7),
            ("FDSE", 1),
            ("INV", 100),
            ("RAMB18E2", 3),
            ("RAMB36E2", 4),
            ("URAM288", 6),
            ("DSP48E2", 8),
        ];
        let cells = cells.map(|(name, n)| (name.to_owned(), n)).into();
        let budget = Board::open("kv260").unwrap().vendor.unwrap().budget;
        let used: Vec<_> = utilisation(&cells, &budget)
            .iter()
            .map(|r| r.used)
            .collect();
        assert_eq!(used, [34, 8, 8, 6, 6]);
    }
}
