//! `lampyris compile --bitstream`: the model and the board's bitstream as one bundle.

use super::{Args, compile, sbom};
use crate::output::{WrongUsage, bytes, grouped, note};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use lampyris_boards::{Board, Hardware};
use lampyris_bundle::writer::Writer;
use lampyris_bundle::{Build, Bundle, Figure, Manifest, names};
use lampyris_compiler::Compiled;
use lampyris_flow::report::{self, Report};
use lampyris_flow::{Built, Progress, Request};
use lampyris_sim::golden;
use lampyris_sim::rtl::default_rtl_root;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use verilator_sys::toolchain::Cache;

/// How the bitstream is built.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Most placements to try until one meets the board's clock
    #[arg(long, value_name = "N", default_value_t = 4, requires = "bitstream")]
    seeds: u32,
    /// First seed
    #[arg(long, value_name = "N", default_value_t = 1, requires = "bitstream")]
    seed: u32,
    /// Placements at a time, each with one core and 1 GiB
    #[arg(long, value_name = "N", default_value_t = 1, requires = "bitstream")]
    jobs: u32,
    /// Also write a bundle whose design is too slow for the board's clock
    #[arg(long, requires = "bitstream")]
    allow_missed_timing: bool,
    /// Folder for intermediate files and logs, kept [default: a temporary one, kept on failure]
    #[arg(long, value_name = "DIR", requires = "bitstream")]
    work: Option<PathBuf>,
}

/// Compiles, builds, and writes the bundle.
pub(super) fn run(args: &Args) -> Result<Compiled> {
    let board = Board::open(&args.target.config)?;
    let cache = Cache::locate()?;
    lampyris_flow::check(&cache, &board)?;
    let hardware = board.hardware.as_ref().context("the flow checks for it")?;
    // Finds out now whether the bundle can be written, not after a long build.
    let mut writer = Writer::create(&args.output)?;
    let mut work = Work::new(args)?;
    let directory = work.path.join("compiled");
    let mut compiled = compile(args, &directory)?;
    fits(&compiled.manifest, &board, hardware)?;
    note(&forecast(&compiled.manifest, &board, hardware));
    let start = Instant::now();
    let built = build(&cache, &board, args, &work.path).inspect_err(|_| work.keep())?;
    let golden = golden::record(&Bundle::open(&directory)?)?;
    writer.adopt(&directory, &compiled.manifest)?;
    add_files(&mut writer, &board, hardware, &built)?;
    writer.write(names::GOLDEN, serde_json::to_string(&golden)?.as_bytes())?;
    let mut manifest = compiled.manifest.clone();
    manifest.build = Some(description(&board, hardware, &built.report));
    let sbom = serde_json::to_string_pretty(&sbom::document(&manifest))?;
    writer.write(names::SBOM, sbom.as_bytes())?;
    compiled.manifest = writer.finish(manifest)?;
    note(&summary(&built.report, start.elapsed()));
    Ok(compiled)
}

/// Folder for intermediate files.
struct Work {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Work {
    fn new(args: &Args) -> Result<Work> {
        if let Some(path) = &args.build.work {
            let context = || format!("cannot create `{}`", path.display());
            fs::create_dir_all(path).with_context(context)?;
            let path = path.canonicalize().with_context(context)?;
            return Ok(Work {
                path,
                temporary: None,
            });
        }
        let folder = tempfile::Builder::new().prefix("lampyris-build-").tempdir();
        let folder = folder.context("cannot create a temporary folder")?;
        Ok(Work {
            path: folder.path().to_path_buf(),
            temporary: Some(folder),
        })
    }

    /// Lets the folder stay: it holds the logs of what failed.
    fn keep(&mut self) {
        if let Some(folder) = self.temporary.take() {
            let _ = folder.keep();
        }
    }
}

/// Refuses a model that the board's memory cannot hold, and says what it could.
fn fits(manifest: &Manifest, board: &Board, hardware: &Hardware) -> Result<()> {
    let (need, have) = (manifest.dram_bytes(), hardware.memory_bytes());
    if need <= have {
        return Ok(());
    }
    let model = &manifest.model;
    let cache = model.kv_bytes_per_token * u64::from(manifest.context);
    let rest = need - cache;
    let hint = match have
        .checked_sub(rest)
        .map(|room| room / model.kv_bytes_per_token.max(1))
    {
        Some(context) if context >= 32 => {
            format!("--context {} fits", context / 32 * 32)
        }
        _ => {
            let bits = 8.0 * model.weight_bytes_per_token as f64 / model.parameters as f64;
            let parameters = (have * 8) as f64 / bits.max(0.1) * 0.9;
            format!(
                "a model of at most {} million parameters fits at {bits:.1} bits each, or this one at {:.1} bits",
                (parameters / 1e6).floor(),
                (have * 8) as f64 * 0.9 / model.parameters as f64,
            )
        }
    };
    bail!(
        "{} needs {} of memory, {} has {}: {} too little\n\nhint: {hint}",
        model.name,
        bytes(need),
        board.name,
        bytes(have),
        bytes(need - have),
    )
}

/// What to expect of the board, from its memory's peak alone.
fn forecast(manifest: &Manifest, board: &Board, hardware: &Hardware) -> String {
    let peak = hardware.memory_bytes_per_second(board.config.clock_khz);
    let load = manifest.model.weight_bytes_per_token;
    format!(
        "forecast for {} (modelled): {} of {} memory; at most {:.1} tokens/s, since a token reads {} of \
         weights at no more than {:.0} MB/s; a build takes 10 to 60 minutes",
        board.name,
        bytes(manifest.dram_bytes()),
        bytes(hardware.memory_bytes()),
        peak as f64 / load.max(1) as f64,
        bytes(load),
        peak as f64 / 1e6,
    )
}

fn build(cache: &Cache, board: &Board, args: &Args, work: &Path) -> Result<Built> {
    let options = &args.build;
    if options.seeds == 0 || options.jobs == 0 {
        return Err(WrongUsage("--seeds and --jobs must not be 0".into()).into());
    }
    let request = Request {
        board,
        rtl: &default_rtl_root(),
        folder: work,
        first_seed: options.seed,
        seeds: options.seeds,
        jobs: options.jobs,
        allow_missed_timing: options.allow_missed_timing,
    };
    let built = with_progress(|progress| lampyris_flow::build(cache, &request, progress));
    if built.is_err() {
        note(&format!("note: logs are in {}", work.display()));
    }
    Ok(built?)
}

/// Shows progress: as a spinner on a terminal, as a line for each stage elsewhere.
pub(crate) fn with_progress<T>(work: impl FnOnce(&mut dyn FnMut(Progress)) -> T) -> T {
    let spinner = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    spinner.set_style(style.expect("the template is fixed"));
    spinner.enable_steady_tick(Duration::from_millis(120));
    let terminal = std::io::stderr().is_terminal();
    let mut last = String::new();
    let result = work(&mut |progress| {
        let (stage, text) = match progress {
            Progress::Synthesis(pass) => ("synthesis".to_owned(), pass),
            Progress::Placement(seed, text) => (format!("place and route, seed {seed}"), text),
            Progress::Packing => ("packing the bitstream".to_owned(), String::new()),
        };
        if !terminal && stage != last {
            note(&format!("{stage} ..."));
        }
        spinner.set_message(format!("{stage}: {text}"));
        last = stage;
    });
    spinner.finish_and_clear();
    result
}

/// Everything that belongs to the bitstream.
fn add_files(writer: &mut Writer, board: &Board, hardware: &Hardware, built: &Built) -> Result<()> {
    let rtl = default_rtl_root();
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read `{}`", path.display()));
    writer.write(names::BITSTREAM, &read(&built.bitstream)?)?;
    writer.write(names::BOARD, board.text.as_bytes())?;
    let folder = names::FPGA;
    writer.write(
        &format!("{folder}/{}", hardware.pins.name),
        hardware.pins.text.as_bytes(),
    )?;
    let report = serde_json::to_string_pretty(&built.report)?;
    writer.write(names::REPORT, report.as_bytes())?;
    writer.write(&format!("{folder}/soc_pll.v"), &read(&built.pll)?)?;
    for source in &built.sources {
        let name = source.strip_prefix(&rtl).unwrap_or(source);
        let name = format!("{}/{}", names::RTL, name.display());
        writer.write(&name, &read(source)?)?;
    }
    let scripts = lampyris_flow::scripts(board, &rtl, &built.sources, built.report.seed)?;
    writer.write(&format!("{folder}/synth.ys"), scripts.synthesis.as_bytes())?;
    writer.write(&format!("{folder}/build.sh"), scripts.shell.as_bytes())?;
    Ok(())
}

fn description(board: &Board, hardware: &Hardware, report: &Report) -> Build {
    let figure = |name: &str, value: f64, unit: &str| Figure {
        name: name.into(),
        value,
        unit: unit.into(),
        level: report.level.clone(),
    };
    let mut figures = vec![
        figure("clock", report.target_mhz, "MHz"),
        figure("highest clock", report.achieved_mhz, "MHz"),
    ];
    let used = |r: &report::Resource| figure(&r.name, r.used as f64, "cells");
    figures.extend(report.utilisation.iter().map(used));
    Build {
        board: board.name.clone(),
        memory_bytes: hardware.memory_bytes(),
        link_protocol: lampyris_isa::link::PROTOCOL_VERSION,
        tools: lampyris_flow::tools()
            .map(|(name, version)| (name.into(), version.into()))
            .collect(),
        seed: report.seed,
        source_revision: revision(),
        figures,
    }
}

/// The revision of the RTL's repository, if it lies in one.
fn revision() -> Option<String> {
    let output = std::process::Command::new("git")
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ])
        .current_dir(default_rtl_root())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

/// What was built, for people.
fn summary(report: &Report, elapsed: Duration) -> String {
    let tried: Vec<_> = report
        .seeds
        .iter()
        .map(|(seed, mhz)| format!("seed {seed}: {mhz:.1} MHz"))
        .collect();
    let blocks = report.memories.values().sum::<u64>();
    let missed = if report.achieved_mhz < report.target_mhz {
        " (MISSED)"
    } else {
        ""
    };
    format!(
        "{}bitstream for {} in {:.0} s: {:.1} MHz of {:.1} MHz{missed} ({}; {}); {} block memories in {} buffers\n{}",
        report::table(&report.utilisation),
        report.board,
        elapsed.as_secs_f64(),
        report.achieved_mhz,
        report.target_mhz,
        report.level,
        tried.join(", "),
        grouped(blocks),
        report.memories.len(),
        report::path_text(&report.critical_path),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyris_bundle::RegionKind;
    use lampyris_compiler::{Options, Tokenization};

    /// `tiny` for the ULX3S, with a KV cache and weights of these sizes.
    fn message(cache: u64, weights: u64) -> Option<String> {
        let board = Board::open("ulx3s-85f").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = lampyris_import::open("tiny").unwrap();
        let options = Options {
            config: board.config,
            context: 64,
            schedule: Default::default(),
            kv: Default::default(),
        };
        let text = Tokenization { json: "{}".into() };
        let target = folder.path().join("tiny");
        let compiled = lampyris_compiler::compile(&model, &text, &options, &target, &mut |_, _| {});
        let mut manifest = compiled.unwrap().manifest;
        let mut base = 0;
        for region in &mut manifest.regions {
            match region.kind {
                RegionKind::Kv => region.bytes = cache,
                RegionKind::Weights => region.bytes = weights,
                _ => {}
            }
            region.base = base;
            base += region.bytes;
        }
        manifest.context = (cache / manifest.model.kv_bytes_per_token) as u32;
        let hardware = board.hardware.as_ref().unwrap();
        fits(&manifest, &board, hardware)
            .err()
            .map(|e| e.to_string())
    }

    #[test]
    fn a_model_that_does_not_fit_is_told_what_would() {
        assert_eq!(message(1 << 20, 1 << 20), None);
        let cache = message(32 << 20, 1 << 20).unwrap();
        assert!(
            cache.starts_with(
                "tiny needs 33.0 MiB of memory, ulx3s-85f has 32.0 MiB: 1.0 MiB too little"
            ),
            "{cache}"
        );
        assert!(
            cache.contains("hint: --context ") && cache.ends_with(" fits"),
            "{cache}"
        );
        let weights = message(1 << 20, 32 << 20).unwrap();
        assert!(weights.contains("hint: a model of at most"), "{weights}");
    }
}
