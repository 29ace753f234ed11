//! How fast the toolchain and the accelerator are on SmolLM2: compilation, the functional model,
//! and one whole decode step on the Verilated RTL.
//!
//! `cargo xtask bench speed`. Times are of this machine; cycles and bytes are the accelerator's
//! and the same everywhere.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lampyris_bundle::Bundle;
use lampyris_isa::HwConfig;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want, memory};
use lampyris_sim::{Limits, Memory, Model};
use lampyris_tests::compilation::{child, measured};
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::smollm2::{model_path, recorded};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Positions of the KV cache, as `lampyris compile` chooses.
const CONTEXT: usize = 2048;
/// Tokens that the measured decode step sees, itself included.
const KV_LENGTH: usize = 128;
/// Tokens decoded to time the functional model.
const DECODED: usize = 32;

#[derive(Parser)]
#[command(about = "Speed of compiler, functional model and simulated accelerator")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Skip the Verilated RTL
    #[arg(long)]
    no_rtl: bool,
    /// Compile to this directory and print what it took: how the bench starts itself, so that
    /// the memory is the compiler's alone
    #[arg(long, hide = true)]
    compile_to: Option<PathBuf>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let path = model_path()?;
    if let Some(target) = &args.compile_to {
        child(&path, HwConfig::BASE, CONTEXT, target)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut figures = Figures::default();
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let target = folder.path().join("compiled");
    eprintln!("compiling {}", path.display());
    measure_compilation(&path, &target, &mut figures)?;
    let bundle = Bundle::open(&target)?;
    eprintln!("decoding {DECODED} tokens on the functional model");
    let tokens = recorded().perplexity.tokens;
    let context = measure_model(&bundle, &tokens, &mut figures)?;
    if !args.no_rtl {
        measure_rtl(&bundle, &context, &mut figures)?;
    }
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        let details = json!({ "model": bundle.manifest.model.name, "config_hash": bundle.manifest.config_hash });
        figures.write_json(file, &details)?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Seconds that this thread has had a core for itself; without them on a busy machine a time says
/// little. `None` where the system does not tell.
fn core_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

/// Seconds by the clock and seconds of one core that `work` takes on this thread.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64, f64)> {
    let (start, core) = (Instant::now(), core_seconds());
    let done = work()?;
    let clock = start.elapsed().as_secs_f64();
    let core = core.zip(core_seconds()).map_or(clock, |(a, b)| b - a);
    Ok((done, clock, core))
}

fn measure_compilation(path: &Path, target: &Path, figures: &mut Figures) -> Result<()> {
    let took = measured(&["--compile-to".as_ref(), target.as_os_str()])?;
    let file = std::fs::metadata(path)
        .context("the model file vanished")?
        .len();
    let level = Level::Measured;
    figures.judge(
        "compile: time",
        took.seconds,
        "s",
        level,
        Target::AtMost(10.0),
    );
    figures.add(
        "compile: peak memory",
        took.peak_bytes as f64 / 1e6,
        "MB",
        level,
    );
    let ratio = took.peak_bytes as f64 / file as f64;
    figures.judge(
        "compile: peak memory / model file",
        ratio,
        "x",
        level,
        Target::AtMost(1.5),
    );
    Ok(())
}

/// The state before and after the decode step that the RTL repeats.
struct DecodeStep {
    token: u32,
    before: Memory,
    after: Memory,
    next: Option<u32>,
}

/// Times decoding on the functional model up to [`KV_LENGTH`]; keeps the last step.
fn measure_model(bundle: &Bundle, text: &[u32], figures: &mut Figures) -> Result<DecodeStep> {
    let mut device = Model::new(bundle.config, memory(bundle)?)?;
    let (last, start) = (KV_LENGTH - 1, KV_LENGTH - 1 - DECODED);
    Session::new(bundle, &mut device, Limits::default())?.feed(&text[..start], Want::Nothing)?;
    let ((), clock, core) = timed(|| {
        let mut session = Session::resume(bundle, &mut device, Limits::default(), start)?;
        for token in &text[start..last] {
            session.feed(&[*token], Want::Token)?;
        }
        Ok(())
    })?;
    let rate = DECODED as f64 / core;
    let (level, target) = (Level::Measured, Target::AtLeast(5.0));
    figures.judge(
        "functional model: decode, one core",
        rate,
        "tokens/s",
        level,
        target,
    );
    figures.add(
        "functional model: decode, by the clock",
        DECODED as f64 / clock,
        "tokens/s",
        level,
    );
    let before = device.memory().clone();
    let mut session = Session::resume(bundle, &mut device, Limits::default(), last)?;
    let next = session
        .feed(&text[last..=last], Want::Token)?
        .remove(0)
        .next;
    Ok(DecodeStep {
        token: text[last],
        before,
        after: device.memory().clone(),
        next,
    })
}

/// One decode step on the RTL, from the functional model's memory; its results must be the same.
fn measure_rtl(bundle: &Bundle, step: &DecodeStep, figures: &mut Figures) -> Result<()> {
    eprintln!("building the RTL with Verilator");
    let design = build(&default_rtl_root(), &bundle.config, Features::default())?;
    let memory = step.before.clone();
    let mut rtl = RtlDevice::new(&design, bundle.config, memory, &RtlOptions::default())?;
    eprintln!("decoding one token on the RTL");
    let (call, clock, core) = timed(|| {
        let mut session = Session::resume(bundle, &mut rtl, Limits::default(), KV_LENGTH - 1)?;
        Ok(session.feed(&[step.token], Want::Token)?.remove(0))
    })?;
    ensure!(
        call.next == step.next,
        "the RTL chose {:?}, the model {:?}",
        call.next,
        step.next
    );
    for ((name, _, ours), (_, _, theirs)) in step.after.writable().zip(rtl.memory().writable()) {
        ensure!(
            ours == theirs,
            "`{name}` differs between model and RTL\n\nhint: `lampyris sim --engine lockstep` finds the first difference"
        );
    }
    let (level, target) = (Level::Measured, Target::AtMost(20.0));
    figures.judge("RTL: one decode step, one core", core, "s", level, target);
    figures.add("RTL: one decode step, by the clock", clock, "s", level);
    let cycles = call.counters.get("cycles") as f64;
    figures.add("RTL: simulated", cycles / core / 1e6, "M cycles/s", level);
    accelerator(bundle, &call, figures);
    Ok(())
}

/// What the RTL counted.
fn accelerator(bundle: &Bundle, call: &Call, figures: &mut Figures) {
    let level = Level::RtlSimulated;
    let get = |name| call.counters.get(name) as f64;
    let (cycles, beat) = (get("cycles"), f64::from(bundle.config.beat_bytes()));
    let add = |figures: &mut Figures, name: &str, value, unit| {
        figures.add(
            format!("decode at {KV_LENGTH} positions: {name}"),
            value,
            unit,
            level,
        );
    };
    add(figures, "cycles per token", cycles, "");
    let clock = f64::from(bundle.config.clock_khz) * 1e3;
    let name = format!("at {} MHz", clock / 1e6);
    add(figures, &name, clock / cycles, "tokens/s");
    add(
        figures,
        "DRAM bytes per token",
        call.counters.dram_read_bytes(&bundle.config) as f64 + get("write_beats") * beat,
        "B",
    );
    add(
        figures,
        "instruction bytes per token",
        get("fetch_beats") * beat,
        "B",
    );
    let share = 100.0 * call.counters.port_share(&bundle.config);
    let name = format!("decode at {KV_LENGTH} positions: memory port busy");
    figures.judge(name, share, "% of cycles", level, Target::AtLeast(85.0));
    for unit in [
        "busy_ld",
        "busy_st",
        "busy_mm",
        "busy_sfu",
        "mm_starved",
        "stall_fence",
    ] {
        add(figures, unit, 100.0 * get(unit) / cycles, "% of cycles");
    }
}
