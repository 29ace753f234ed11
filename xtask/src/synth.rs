//! `cargo xtask synth`: a board's configuration through Yosys, against its budget.

mod formats;

use crate::progress::Step;
use crate::setup;
use anyhow::{Context, Result, bail};
use lampyris_boards::Board;
use lampyris_flow::report::{Resource, table, utilisation};
use lampyris_flow::yosys::{Design, Family, Netlist, synthesise};
use lampyris_flow::{Error, vendor};
use lampyris_isa::HwConfig;
use std::fs;
use verilator_sys::source_tree;
use verilator_sys::toolchain::Cache;

/// The smallest configuration on the part that it must fit.
const DEFAULT_BOARD: &str = "ulx3s-85f";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Board with a budget: a name or a file
    #[arg(long, default_value = DEFAULT_BOARD)]
    board: String,
    /// Another top module, to see one unit's share; parameters of other names are dropped
    #[arg(long)]
    top: Option<String>,
    /// What weight formats cost: the matrix unit of a board or configuration with fewer and with
    /// more of them
    #[arg(long, conflicts_with = "top")]
    formats: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments {
            board: DEFAULT_BOARD.into(),
            top: None,
            formats: false,
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is this command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let board = Board::open(&arguments.board)?;
    if arguments.formats {
        if board.vendor.is_some() {
            bail!(
                "--formats counts cells of ECP5, which {} has not\n\nhint: name a configuration, such as --board base",
                board.name
            );
        }
        setup::run(&setup::Arguments::default())?;
        print!("{}", formats::compare(&Cache::locate()?, &board)?);
        return Ok(());
    }
    let family = family(&board)?;
    if board.vendor.is_none() && board.budget.is_none() {
        bail!(
            "{} has no [budget]\n\nhint: add the resources of the part",
            arguments.board
        );
    }
    setup::run(&setup::Arguments::default())?;
    let cache = Cache::locate()?;
    let top = arguments.top.as_deref().unwrap_or("lampyris");
    let netlist = netlist(&cache, &board.config, family, top, "synthesis")?;
    let resources = resources(&board, &netlist)?;
    println!(
        "synthesis for {}\n{}",
        board.name,
        table(&resources).trim_end()
    );
    if family != Family::Ecp5 {
        println!("an estimate by Yosys: the accelerator alone, and no tool of the vendor was run");
    }
    let over: Vec<_> = resources
        .iter()
        .filter(|resource| resource.used > resource.available)
        .map(|resource| resource.name.as_str())
        .collect();
    if !over.is_empty() {
        bail!(
            "the configuration does not fit {}: too many {}\n\nhint: the log {} lists the cells of \
             each module",
            board.name,
            over.join(", "),
            cache.logs().join("yosys.log").display()
        );
    }
    Ok(())
}

/// The family that Yosys synthesises a board for.
fn family(board: &Board) -> Result<Family> {
    let Some(vendor) = &board.vendor else {
        return Ok(Family::Ecp5);
    };
    let name = vendor.part.family.yosys();
    let name = name.ok_or_else(|| Error::NoEstimate {
        board: board.name.clone(),
        device: vendor.part.device.clone(),
    })?;
    Ok(Family::Xilinx(name))
}

/// What the cells take of the board's part.
fn resources(board: &Board, netlist: &Netlist) -> Result<Vec<Resource>> {
    if let Some(vendor) = &board.vendor {
        return Ok(vendor::utilisation(&netlist.cells, &vendor.budget));
    }
    let budget = board.budget.context("checked before the synthesis")?;
    Ok(utilisation(&netlist.cells, &budget))
}

/// The netlist of module `top` in a configuration; `name` is the step's.
fn netlist(
    cache: &Cache,
    config: &HwConfig,
    family: Family,
    top: &str,
    name: &str,
) -> Result<Netlist> {
    let rtl = crate::root()?.join("rtl");
    let sources = source_tree(&rtl)?;
    let top_source = sources
        .iter()
        .find(|path| path.file_stem().is_some_and(|stem| stem == top))
        .with_context(|| format!("no RTL file is called `{top}.sv`"))?;
    let text = fs::read_to_string(top_source)
        .with_context(|| format!("cannot read `{}`", top_source.display()))?;
    // slang refuses a parameter that the top module does not have.
    let parameters: Vec<_> = config
        .parameters()
        .into_iter()
        .filter(|(name, _)| text.contains(&format!(" {name} ")))
        .collect();
    let design = Design {
        top,
        sources: &sources,
        primitives: &[],
        parameters: &parameters,
        root: &rtl,
    };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let step = Step::start(name, "running Yosys");
    let result = synthesise(cache, &design, family, folder.path(), &mut |_| {});
    // The log outlives the folder, and is most wanted after a failure.
    fs::create_dir_all(cache.logs()).context("cannot create the folder of logs")?;
    let _ = fs::copy(
        folder.path().join("yosys.log"),
        cache.logs().join("yosys.log"),
    );
    let netlist = result?;
    step.done("done");
    Ok(netlist)
}
