//! Compiles a model in the shape of LLaMA-2-7B, with random weights: time, memory, size of the
//! program, and what the estimator makes of it.
//!
//! `cargo xtask bench scale`. Needs some 9 GB in the folder for temporary files.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result};
use clap::Parser;
use lampyris_bundle::{Bundle, RegionKind};
use lampyris_flash::TensorType;
use lampyris_isa::HwConfig;
use lampyris_sim::estimate::PortTiming;
use lampyris_tests::calls::{estimated, program};
use lampyris_tests::compilation::{child, measured, synthesize};
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::synth::{Shape, Synthetic};
use serde_json::json;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Positions of the KV cache.
const CONTEXT: usize = 2048;

#[derive(Parser)]
#[command(about = "Compilation of a model in the shape of LLaMA-2-7B")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// A model file in place of the synthetic one
    #[arg(long)]
    model: Option<PathBuf>,
    /// Compile to this directory and print what it took: how the bench starts itself
    #[arg(long, hide = true, requires = "model")]
    compile_to: Option<PathBuf>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// A port of 512 bits with four rows of multipliers and memories for vectors of 11,008.
fn config() -> HwConfig {
    HwConfig {
        vmem_words: 1 << 18,
        xbuf_blocks: 1 << 13,
        ..HwConfig::WIDE
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let (Some(target), Some(model)) = (&args.compile_to, &args.model) {
        child(model, config(), CONTEXT, target)?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let model = match &args.model {
        Some(model) => std::path::absolute(model).context("cannot resolve the model's path")?,
        None => {
            let path = folder.path().join("7b.gguf");
            eprintln!("writing a model in the shape of LLaMA-2-7B");
            let shape = Shape::SEVEN_B;
            let synthetic = Synthetic {
                shape,
                ty: TensorType::Q4_0,
                seed: 1,
                holes: false,
                relu: false,
            };
            synthesize(&synthetic, &path)?;
            path
        }
    };
    let target = folder.path().join("compiled");
    eprintln!("compiling");
    let arguments: [&OsStr; 4] = [
        "--model".as_ref(),
        model.as_os_str(),
        "--compile-to".as_ref(),
        target.as_os_str(),
    ];
    let took = measured(&arguments)?;
    let mut figures = Figures::default();
    let level = Level::Measured;
    let name = |what: &str| format!("LLaMA-2-7B shape: {what}");
    figures.judge(
        name("compilation, time"),
        took.seconds,
        "s",
        level,
        Target::AtMost(120.0),
    );
    figures.judge(
        name("compilation, peak memory"),
        took.peak_bytes as f64 / f64::from(1 << 30),
        "GiB",
        level,
        Target::AtMost(1.0),
    );
    report(&Bundle::open(&target)?, &mut figures)?;
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &json!({ "context": CONTEXT }))?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report(bundle: &Bundle, figures: &mut Figures) -> Result<()> {
    let name = |what: &str| format!("LLaMA-2-7B shape: {what}");
    let region = bundle.manifest.region(RegionKind::Program);
    let bytes = region.context("the bundle has no program")?.bytes;
    figures.judge(
        name("program for all lengths"),
        bytes as f64 / 1024.0,
        "KiB",
        Level::Model,
        Target::AtMost(256.0),
    );
    let program = program(bundle)?;
    for position in [128, 1024] {
        let call = (position - 1, 1);
        let e = estimated(bundle, &program, &bundle.config, PortTiming::FIXED, call)?;
        let name = name(&format!("decode at {position}, port busy"));
        let share = 100.0 * e.read_beats / e.cycles;
        figures.add(name, share, "% of cycles", Level::Modelled);
    }
    Ok(())
}
