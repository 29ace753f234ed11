//! Synthesis with Yosys: SystemVerilog to a netlist of the part's cells.

use crate::error::{Error, Result};
use crate::tool::{self, YOSYS};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use verilator_sys::toolchain::Cache;

/// Runs Yosys' commands one by one.
pub(crate) const SCRIPT: &str = include_str!("yosys.py");

/// What is synthesised.
#[derive(Clone, Debug)]
pub struct Design<'a> {
    /// Top module.
    pub top: &'a str,
    /// SystemVerilog sources, packages first.
    pub sources: &'a [PathBuf],
    /// Verilog sources with cells of the part, which the SystemVerilog front end does not take.
    pub primitives: &'a [PathBuf],
    /// Parameters of the top module.
    pub parameters: &'a [(&'static str, u32)],
    /// Folder that source paths are written relative to: Yosys splits commands at spaces.
    pub root: &'a Path,
}

/// Cells that a design becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Lattice ECP5.
    Ecp5,
    /// A family of `synth_xilinx`, for an estimate: inputs and outputs have no cells.
    Xilinx(&'static str),
}

impl Family {
    /// The command that synthesises, and the types of its block memories.
    fn synthesis(self, top: &str, netlist: &str) -> (String, &'static str) {
        match self {
            Family::Ecp5 => (
                format!("synth_ecp5 -top {top} -json {netlist}"),
                "t:DP16KD t:PDPW16KD",
            ),
            Family::Xilinx(family) => (
                format!(
                    "synth_xilinx -family {family} -top {top} -flatten -noiopad -uram -json {netlist}"
                ),
                "t:RAMB36E2 t:RAMB18E2 t:URAM288",
            ),
        }
    }
}

/// A netlist.
#[derive(Clone, Debug)]
pub struct Netlist {
    /// The netlist as JSON.
    pub path: PathBuf,
    /// Cells by type.
    pub cells: BTreeMap<String, u64>,
    /// Names of the block memories, with their place in the hierarchy.
    pub memories: Vec<String>,
}

/// Synthesises for a family; files go to `folder`.
///
/// # Errors
/// Yosys is missing or fails, or sources lie at paths that it cannot read.
pub fn synthesise(
    cache: &Cache,
    design: &Design<'_>,
    family: Family,
    folder: &Path,
    watch: &mut dyn FnMut(&str),
) -> Result<Netlist> {
    tool::require(cache, YOSYS)?;
    let path = folder.join("netlist.json");
    let stat = folder.join("stat.json");
    let memories = folder.join("memories.txt");
    let mut command = Command::new(cache.python());
    command.current_dir(design.root).args(["-c", SCRIPT]);
    command.args(reading(design)?);
    let (synthesis, blocks) = family.synthesis(design.top, &plain(&path)?);
    command.arg(synthesis);
    command.arg(format!("tee -q -o {} stat -json", plain(&stat)?));
    let list = plain(&memories)?;
    command.arg(format!("tee -q -o {list} select -list {blocks}"));
    tool::run("Yosys", &mut command, &folder.join("yosys.log"), watch)?;
    Ok(Netlist {
        cells: cells(&read(&stat)?)?,
        memories: read(&memories)?.lines().map(str::to_owned).collect(),
        path,
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

/// The commands that read the sources.
pub(crate) fn reading(design: &Design<'_>) -> Result<Vec<String>> {
    let mut commands = Vec::new();
    if !design.primitives.is_empty() {
        commands.push("read_verilog -lib +/lattice/cells_bb_ecp5.v".to_owned());
    }
    for file in design.primitives {
        commands.push(format!("read_verilog {}", source(file, design.root)?));
    }
    let mut read = format!("read_slang --top {}", design.top);
    for (name, value) in design.parameters {
        read.push_str(&format!(" -G {name}={value}"));
    }
    for file in design.sources {
        read.push_str(&format!(" {}", source(file, design.root)?));
    }
    commands.push(read);
    Ok(commands)
}

/// A source as Yosys can read it: from the folder that it runs in, so that a space further up does
/// no harm.
fn source(path: &Path, root: &Path) -> Result<String> {
    plain(path.strip_prefix(root).unwrap_or(path))
}

/// A path as Yosys can read it.
pub(crate) fn plain(path: &Path) -> Result<String> {
    let text = path.to_string_lossy().into_owned();
    if text.contains(char::is_whitespace) {
        return Err(Error::Space { path: path.into() });
    }
    Ok(text)
}

/// The pass that a line of Yosys' output announces: `12.4. Executing ABC9 pass (...)`.
pub(crate) fn pass(line: &str) -> Option<String> {
    let (number, rest) = line.split_once(". Executing ")?;
    let numbered = number.starts_with(|c: char| c.is_ascii_digit());
    let (name, _) = rest.split_once(" pass")?;
    numbered.then(|| name.to_lowercase())
}

/// Cells by type out of Yosys' statistics.
fn cells(text: &str) -> Result<BTreeMap<String, u64>> {
    #[derive(Deserialize)]
    struct Stat {
        design: Totals,
    }
    #[derive(Deserialize)]
    struct Totals {
        num_cells_by_type: BTreeMap<String, u64>,
    }
    let stat: Stat = serde_json::from_str(text).map_err(|error| Error::Report {
        tool: "Yosys",
        message: error.to_string(),
    })?;
    Ok(stat.design.num_cells_by_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_sources_from_the_root() {
        let sources = [
            PathBuf::from("/p/rtl/a_pkg.sv"),
            PathBuf::from("/p/rtl/b.sv"),
        ];
        let mut design = Design {
            top: "b",
            sources: &sources,
            primitives: &[],
            parameters: &[("Width", 8)],
            root: Path::new("/p"),
        };
        assert_eq!(
            reading(&design).unwrap(),
            ["read_slang --top b -G Width=8 rtl/a_pkg.sv rtl/b.sv"]
        );
        assert_eq!(
            pass("2.4. Executing ABC9_OPS pass (x).").as_deref(),
            Some("abc9_ops")
        );
        let pll = [PathBuf::from("/p/with space/pll.v")];
        design.primitives = &pll;
        assert!(matches!(reading(&design), Err(Error::Space { .. })));
    }
}
