//! How close the cycle estimator comes to the Verilated RTL, and how much faster it is.
//!
//! `cargo xtask bench estimate`. Every case is a call of a compiled model, run once on the RTL from
//! the memory that the functional model left.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lampyris_isa::HwConfig;
use lampyris_sim::Limits;
use lampyris_sim::dram::{DramConfig, Timing};
use lampyris_sim::estimate::{Estimate, PortTiming};
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Session, Want};
use lampyris_tests::calls::{estimated, filled, program};
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::smollm2::{model_path, recorded};
use lampyris_tests::{CompiledDir, compile};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Positions of the KV cache.
const CONTEXT: usize = 2048;

#[derive(Parser)]
#[command(about = "Cycle estimator against the Verilated RTL")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// One call that is estimated and run.
struct Case {
    config: (&'static str, HwConfig),
    memory: Option<&'static str>,
    /// Tokens in the cache, and tokens of the call.
    position: usize,
    tokens: usize,
}

fn cases() -> Vec<Case> {
    let base = ("base", HwConfig::BASE);
    let wide = ("wide", HwConfig::WIDE);
    let case = |config, memory, position, tokens| Case {
        config,
        memory,
        position,
        tokens,
    };
    vec![
        case(base, None, 127, 1),
        case(base, None, 1023, 1),
        case(base, None, 0, 16),
        case(base, None, 128, 5),
        case(base, Some("ddr3-800"), 127, 1),
        case(wide, None, 127, 1),
        case(wide, Some("ddr4-2400"), 511, 1),
        case(wide, Some("ddr4-2400"), 0, 16),
    ]
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let model = lampyris_import::open(&model_path()?)?;
    let mut figures = Figures::default();
    let mut compiled: Vec<(&str, CompiledDir)> = Vec::new();
    let (mut worst, mut least) = (0f64, f64::INFINITY);
    for case in cases() {
        if !compiled.iter().any(|(name, _)| *name == case.config.0) {
            let dir = compile(&model, case.config.1, CONTEXT);
            compiled.push((case.config.0, dir));
        }
        let dir = compiled.iter().find(|(name, _)| *name == case.config.0);
        let (off, gain) = one(&case, &dir.context("just compiled")?.1, &mut figures)?;
        (worst, least) = (worst.max(off), least.min(gain));
    }
    let target = Target::AtMost(3.0);
    figures.judge("largest difference", worst, "%", Level::Modelled, target);
    let target = Target::AtLeast(1000.0);
    figures.judge(
        "least gain over Verilator",
        least,
        "x",
        Level::Measured,
        target,
    );
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &json!({}))?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Size of the difference, percent, and how many times faster the estimate was.
fn one(case: &Case, compiled: &CompiledDir, figures: &mut Figures) -> Result<(f64, f64)> {
    let (name, mut config) = case.config;
    let dram = case.memory.map(Timing::named).transpose()?;
    let dram = dram.map(DramConfig::new).transpose()?;
    if let Some(dram) = &dram {
        config.clock_khz = dram.matching_clock_khz(config.beat_bytes());
    }
    let label = format!(
        "{name}, {}, {} + {}",
        case.memory.unwrap_or("fixed latency"),
        case.position,
        case.tokens
    );
    eprintln!("{label}");
    let (rtl, rtl_seconds) = on_rtl(case, compiled, config, dram.as_ref())?;
    let port = match &dram {
        Some(dram) => PortTiming::of_dram(dram, &config)?,
        None => PortTiming::FIXED,
    };
    let (ours, seconds) = timed(case, compiled, &config, port)?;
    let level = Level::Modelled;
    figures.add(format!("{label}: RTL"), rtl, "cycles", Level::RtlSimulated);
    let error = 100.0 * (ours.cycles / rtl - 1.0);
    figures.add(format!("{label}: estimate"), ours.cycles, "cycles", level);
    figures.add(format!("{label}: difference"), error, "%", level);
    let gain = rtl_seconds / seconds;
    figures.add(
        format!("{label}: faster than Verilator"),
        gain,
        "x",
        Level::Measured,
    );
    Ok((error.abs(), gain))
}

/// The estimate, and the seconds that one takes.
fn timed(
    case: &Case,
    compiled: &CompiledDir,
    config: &HwConfig,
    port: PortTiming,
) -> Result<(Estimate, f64)> {
    let bundle = &compiled.bundle;
    let program = program(bundle)?;
    let rounds = 20;
    let clock = Instant::now();
    let mut last = Estimate::default();
    for _ in 0..rounds {
        let call = (case.position, case.tokens);
        last = estimated(bundle, &program, config, port, call)?;
    }
    Ok((last, clock.elapsed().as_secs_f64() / f64::from(rounds)))
}

/// Cycles on the RTL, and the seconds that the simulation took.
fn on_rtl(
    case: &Case,
    compiled: &CompiledDir,
    config: HwConfig,
    dram: Option<&DramConfig>,
) -> Result<(f64, f64)> {
    let bundle = &compiled.bundle;
    let text = recorded().perplexity.tokens;
    ensure!(case.position + case.tokens <= text.len(), "text too short");
    let before = filled(bundle, &text[..case.position])?;
    let design = build(&default_rtl_root(), &config, Features::default())?;
    let options = RtlOptions {
        dram: dram.cloned(),
        ..RtlOptions::default()
    };
    let mut rtl = RtlDevice::new(&design, config, before, &options)?;
    let clock = Instant::now();
    let mut session = Session::resume(bundle, &mut rtl, Limits::default(), case.position)?;
    let calls = session.feed(&text[case.position..][..case.tokens], Want::Token)?;
    ensure!(calls.len() == 1, "the case takes several calls");
    Ok((
        calls[0].counters.get("cycles") as f64,
        clock.elapsed().as_secs_f64(),
    ))
}
