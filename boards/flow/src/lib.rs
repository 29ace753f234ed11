//! From a board and the RTL to a bitstream, with open tools: Yosys synthesises, nextpnr places and
//! routes, ecppack writes the bitstream. All of them are pinned; the same inputs give the same
//! bitstream, byte for byte. For other boards, a project for their vendor's tools: [`vendor`].

mod error;
pub mod formal;
mod nextpnr;
pub mod report;
pub mod resources;
mod script;
mod tool;
pub mod vendor;
pub mod yosys;

pub use error::{Error, Result};
pub use report::Report;
pub use script::{Scripts, scripts};

use lampyris_boards::hardware::Part;
use lampyris_boards::pll::Ecp5Pll;
use lampyris_boards::{Board, Hardware};
use report::Placed;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use verilator_sys::source_tree;
use verilator_sys::toolchain::{Cache, Pins};

/// Top module of boards with an SDR SDRAM.
pub const TOP: &str = "top_sdr";

/// What is built.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Board; it must have hardware and a budget.
    pub board: &'a Board,
    /// Folder of the RTL.
    pub rtl: &'a Path,
    /// Folder for intermediate files, logs and the bitstream; it exists.
    pub folder: &'a Path,
    /// First seed.
    pub first_seed: u32,
    /// Most seeds that are tried.
    pub seeds: u32,
    /// Placements at a time; each takes one core and about 1 GiB.
    pub jobs: u32,
    /// Whether a design that is too slow for the board's clock is still packed.
    pub allow_missed_timing: bool,
}

/// A finished build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The bitstream.
    pub bitstream: PathBuf,
    /// Figures.
    pub report: Report,
    /// Sources below the RTL folder.
    pub sources: Vec<PathBuf>,
    /// The generated clock module.
    pub pll: PathBuf,
}

/// What a build is doing, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Yosys runs a pass.
    Synthesis(String),
    /// nextpnr works on a seed.
    Placement(u32, String),
    /// ecppack.
    Packing,
}

/// Refuses boards that cannot be built and tools that are missing, before anything long begins.
///
/// # Errors
/// As said.
pub fn check(cache: &Cache, board: &Board) -> Result<()> {
    hardware(board)?;
    tool::require(cache, tool::YOSYS)?;
    tool::require(cache, tool::NEXTPNR)
}

/// The programs of the flow with their pinned versions.
pub fn tools() -> impl Iterator<Item = (&'static str, &'static str)> {
    [tool::YOSYS, tool::NEXTPNR].into_iter().filter_map(|name| {
        let pin = Pins::get().python(name)?;
        Some((name, pin.version.as_str()))
    })
}

/// Builds the bitstream.
///
/// # Errors
/// Boards without hardware, missing tools, designs that do not fit, missed timing, and whatever
/// the tools say.
pub fn build(
    cache: &Cache,
    request: &Request<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Built> {
    let (hardware, budget) = hardware(request.board)?;
    let sources = source_tree(request.rtl)?;
    let pll = write_pll(request, hardware)?;
    let parameters = hardware.parameters(&request.board.config);
    let design = yosys::Design {
        top: TOP,
        sources: &sources,
        primitives: std::slice::from_ref(&pll),
        parameters: &parameters,
        root: request.rtl,
    };
    let family = yosys::Family::Ecp5;
    let netlist = yosys::synthesise(cache, &design, family, request.folder, &mut |line| {
        if let Some(pass) = yosys::pass(line) {
            progress(Progress::Synthesis(pass));
        }
    })?;
    let utilisation = report::utilisation(&netlist.cells, &budget);
    fits(request.board, &utilisation)?;
    let (placed, config, tried) = place(cache, request, hardware, &netlist.path, progress)?;
    progress(Progress::Packing);
    let bitstream = request.folder.join("top.bit");
    nextpnr::pack(cache, &config, &bitstream, request.folder)?;
    Ok(Built {
        bitstream,
        report: Report {
            schema_version: report::SCHEMA_VERSION,
            level: "placed and routed, static timing analysis; not run on hardware".into(),
            board: request.board.name.clone(),
            target_mhz: target_mhz(request.board),
            achieved_mhz: placed.achieved_mhz,
            seed: placed.seed,
            seeds: tried,
            utilisation,
            memories: report::memories(&netlist.memories),
            critical_path: placed.critical_path,
        },
        sources,
        pll,
    })
}

/// The parts of a board that can be built.
fn hardware(board: &Board) -> Result<(&Hardware, lampyris_boards::Budget)> {
    let missing = || Error::NoHardware {
        board: board.name.clone(),
    };
    let hardware = board.hardware.as_ref().ok_or_else(missing)?;
    Ok((hardware, board.budget.ok_or_else(missing)?))
}

fn target_mhz(board: &Board) -> f64 {
    f64::from(board.config.clock_khz) / 1000.0
}

/// The clock generator with this board's dividers.
fn write_pll(request: &Request<'_>, hardware: &Hardware) -> Result<PathBuf> {
    let (input, output) = (hardware.clock.input_khz, request.board.config.clock_khz);
    // Opening the board found them possible.
    let pll = Ecp5Pll::new(input, output).map_err(|error| Error::Report {
        tool: "the board",
        message: error.to_string(),
    })?;
    let path = request.folder.join("soc_pll.v");
    fs::write(&path, pll.verilog(input, hardware.clock.memory_lead_deg))
        .map_err(Error::io("write", &path))?;
    Ok(path)
}

/// Refuses what cannot be placed before hours are spent on it.
fn fits(board: &Board, utilisation: &[report::Resource]) -> Result<()> {
    let over: Vec<_> = utilisation
        .iter()
        .filter(|resource| resource.used > resource.available)
        .map(|r| format!("{} {} of {}", r.used, r.name, r.available))
        .collect();
    if over.is_empty() {
        return Ok(());
    }
    Err(Error::TooLarge {
        board: board.name.clone(),
        over,
    })
}

/// A placement, its file and the clock that every seed reached.
type Sweep = (Placed, PathBuf, Vec<(u32, f64)>);

/// Tries seeds, some at a time, until one meets the clock. The result depends on the seeds alone,
/// not on how many run at a time: of those that meet it the first in order counts.
fn place(
    cache: &Cache,
    request: &Request<'_>,
    hardware: &Hardware,
    netlist: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Sweep> {
    let pins = request.folder.join(&hardware.pins.name);
    fs::write(&pins, &hardware.pins.text).map_err(Error::io("write", &pins))?;
    let Part::Ecp5(part) = &hardware.part;
    let target = target_mhz(request.board);
    let seeds: Vec<u32> = (0..request.seeds.max(1))
        .map(|i| request.first_seed + i)
        .collect();
    let mut placed: Vec<(Placed, PathBuf)> = Vec::new();
    for batch in seeds.chunks(request.jobs.max(1) as usize) {
        let job = |seed| nextpnr::Job {
            part,
            netlist,
            pins: &pins,
            target_mhz: target,
            seed,
        };
        let jobs: Vec<_> = batch.iter().map(|seed| job(*seed)).collect();
        placed.extend(at_once(cache, &jobs, request.folder, progress)?);
        if let Some(first) = placed.iter().position(|p| p.0.achieved_mhz >= target) {
            placed.truncate(first + 1);
            break;
        }
    }
    let tried: Vec<_> = placed
        .iter()
        .map(|p| (p.0.seed, p.0.achieved_mhz))
        .collect();
    let best = placed
        .into_iter()
        .max_by(|a, b| a.0.achieved_mhz.total_cmp(&b.0.achieved_mhz))
        .expect("at least one seed was placed");
    let met = best.0.achieved_mhz >= target;
    if !met && !request.allow_missed_timing {
        return Err(Error::Timing {
            board: request.board.name.clone(),
            target_mhz: target,
            achieved_mhz: best.0.achieved_mhz,
            seeds: tried.len(),
            seed: best.0.seed,
            path: report::path_text(&best.0.critical_path),
        });
    }
    Ok((best.0, best.1, tried))
}

/// Runs placements at the same time; results come in the order of the jobs.
fn at_once(
    cache: &Cache,
    jobs: &[nextpnr::Job<'_>],
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<(Placed, PathBuf)>> {
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let running: Vec<_> = jobs
            .iter()
            .map(|job| {
                let tell = tell.clone();
                scope.spawn(move || {
                    nextpnr::place(cache, job, folder, &mut |line| {
                        if let Some(text) = nextpnr::progress(line) {
                            // Nobody listens any more after another seed's failure.
                            let _ = tell.send(Progress::Placement(job.seed, text));
                        }
                    })
                })
            })
            .collect();
        drop(tell);
        told.iter().for_each(&mut *progress);
        running
            .into_iter()
            .map(|thread| thread.join().expect("the thread does not panic"))
            .collect()
    })
}
