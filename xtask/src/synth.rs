//! `cargo xtask synth`: a board's configuration through Yosys for ECP5, against its budget.

use crate::process::logged;
use crate::progress::Step;
use crate::setup;
use anyhow::{Context, Result, bail};
use lampyris_boards::{Board, Budget};
use lampyris_isa::HwConfig;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use verilator_sys::source_tree;
use verilator_sys::toolchain::Cache;

const SCRIPT: &str = include_str!("synth.py");

/// The smallest configuration on the part that it must fit.
const DEFAULT_BOARD: &str = "boards/lfe5u-85f.toml";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Board file with a budget
    #[arg(long, default_value = DEFAULT_BOARD)]
    board: String,
    /// Another top module, to see one unit's share; parameters of other names are dropped
    #[arg(long)]
    top: Option<String>,
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments {
            board: DEFAULT_BOARD.into(),
            top: None,
        }
    }
}

/// One kind of resource: how many the cells take and how many the device has.
struct Resource {
    name: &'static str,
    available: u64,
    used: u64,
}

/// What the cells take of a budget.
///
/// LUTs: a carry cell takes two; a 16x4 distributed RAM takes four, and the slice that writes it
/// is lost for logic, which is two more.
fn resources(cells: &BTreeMap<String, u64>, budget: &Budget) -> [Resource; 4] {
    let count = |name: &str| cells.get(name).copied().unwrap_or(0);
    let luts = count("LUT4") + 2 * count("CCU2C") + 6 * count("TRELLIS_DPR16X4");
    [
        ("LUT4", budget.lut, luts),
        ("flip-flop", budget.ff, count("TRELLIS_FF")),
        ("MULT18X18D", budget.dsp, count("MULT18X18D")),
        ("DP16KD", budget.bram, count("DP16KD") + count("PDPW16KD")),
    ]
    .map(|(name, available, used)| Resource {
        name,
        available: available.into(),
        used,
    })
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let path = crate::root()?.join(&arguments.board);
    let board = Board::open(&path.to_string_lossy())?;
    let budget = board.budget.with_context(|| {
        format!(
            "{} has no [budget]\n\nhint: add the resources of the part",
            arguments.board
        )
    })?;
    setup::run(&setup::Arguments::default())?;
    let cache = Cache::locate()?;
    let cells = synthesise(&cache, &board.config, arguments)?;
    let resources = resources(&cells, &budget);
    print_table(&board.name, &resources);
    let over: Vec<_> = resources
        .iter()
        .filter(|resource| resource.used > resource.available)
        .map(|resource| resource.name)
        .collect();
    if !over.is_empty() {
        bail!(
            "the configuration does not fit {}: too many {}\n\nhint: the log {} lists the cells of \
             each module",
            board.name,
            over.join(", "),
            cache.logs().join("synth.log").display()
        );
    }
    Ok(())
}

/// Cells by type after mapping.
fn synthesise(
    cache: &Cache,
    config: &HwConfig,
    arguments: &Arguments,
) -> Result<BTreeMap<String, u64>> {
    let top = arguments.top.as_deref().unwrap_or("lampyris");
    let root = crate::root()?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let stat = folder.path().join("stat.json");
    let sources = source_tree(&root.join("rtl"))?;
    let top_source = sources
        .iter()
        .find(|path| path.file_stem().is_some_and(|stem| stem == top))
        .with_context(|| format!("no RTL file is called `{top}.sv`"))?;
    let text = fs::read_to_string(top_source)
        .with_context(|| format!("cannot read `{}`", top_source.display()))?;
    let mut read = format!("read_slang --top {top}");
    for (name, value) in config.parameters() {
        // slang refuses a parameter that the top module does not have.
        if text.contains(&format!(" {name} ")) {
            read.push_str(&format!(" -G {name}={value}"));
        }
    }
    for source in &sources {
        read.push_str(&format!(" {}", relative(source, &root)?));
    }
    let step = Step::start("synthesis", "running Yosys");
    let mut command = Command::new(cache.python());
    command.current_dir(&root).args(["-c", SCRIPT, &read]);
    command.arg(format!("synth_ecp5 -top {top}"));
    command.arg(format!("tee -q -o {} stat -json", stat.display()));
    logged(&mut command, &cache.logs().join("synth.log"))?;
    step.done("done");
    cells(&stat)
}

/// Yosys splits commands at spaces, so paths are given from the root, where the project has none.
fn relative(path: &Path, root: &Path) -> Result<String> {
    let path = path.strip_prefix(root).unwrap_or(path);
    let text = path.to_string_lossy().into_owned();
    if text.contains(char::is_whitespace) {
        bail!("`{text}` has a space in its name, which Yosys cannot read");
    }
    Ok(text)
}

fn cells(stat: &Path) -> Result<BTreeMap<String, u64>> {
    #[derive(serde::Deserialize)]
    struct Stat {
        design: Design,
    }
    #[derive(serde::Deserialize)]
    struct Design {
        num_cells_by_type: BTreeMap<String, u64>,
    }
    let text = fs::read_to_string(stat).context("Yosys wrote no statistics")?;
    let stat: Stat = serde_json::from_str(&text).context("Yosys' statistics do not read")?;
    Ok(stat.design.num_cells_by_type)
}

#[expect(clippy::print_stdout, reason = "the table is this command's result")]
fn print_table(board: &str, resources: &[Resource]) {
    println!("synthesis for {board}");
    println!(
        "{:<12} {:>8} {:>10} {:>7}",
        "resource", "used", "available", "share"
    );
    for Resource {
        name,
        available,
        used,
    } in resources
    {
        let share = 100.0 * *used as f64 / *available as f64;
        println!("{name:<12} {used:>8} {available:>10} {share:>6.1}%");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_charged_to_resources() {
        let text = r#"{"creator": "Yosys", "design": {"num_cells": 9, "num_cells_by_type": {
            "LUT4": 100, "CCU2C": 10, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "MULT18X18D": 157,
            "DP16KD": 3, "PFUMX": 5}}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat.json");
        fs::write(&path, text).unwrap();
        let budget = Budget {
            lut: 200,
            ff: 200,
            dsp: 156,
            bram: 8,
        };
        let used = resources(&cells(&path).unwrap(), &budget).map(|resource| resource.used);
        assert_eq!(used, [132, 7, 157, 3]);
    }
}
