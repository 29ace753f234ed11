//! What the accelerator makes of a real memory: one whole SmolLM2 decode step on the Verilated
//! RTL with the DRAM model behind its port, as a share of what the data pins could carry.
//!
//! `cargo xtask bench memory`. For each memory the accelerator runs at the lowest clock at which
//! its port can carry the pins' peak, times `--headroom`.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use lampyris_isa::HwConfig;
use lampyris_sim::dram::{DramConfig, Stats, Timing};
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want, memory};
use lampyris_sim::{Limits, Memory, Model};
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::smollm2::{model_path, recorded};
use lampyris_tests::{CompiledDir, compile};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Positions of the KV cache, as `lampyris compile` chooses.
const CONTEXT: usize = 2048;

#[derive(Parser)]
#[command(about = "Share of the memory's peak that a decode step reaches")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Kinds of memory
    #[arg(long, value_delimiter = ',', default_value = "ddr3-800,ddr4-2400")]
    memory: Vec<String>,
    /// Tokens that the measured step sees, itself included; several lengths one after the other
    #[arg(long, value_delimiter = ',', default_value = "128,1024")]
    kv_length: Vec<usize>,
    /// Clock over the lowest one that matches the memory
    #[arg(long, default_value_t = 1.1)]
    headroom: f64,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    ensure!(
        args.headroom.is_finite() && (0.1..=10.0).contains(&args.headroom),
        "--headroom is {}, allowed: 0.1 to 10",
        args.headroom
    );
    let model = lampyris_import::open(&model_path()?)?;
    let tokens = recorded().perplexity.tokens;
    let longest = tokens.len().min(CONTEXT);
    if let Some(bad) = args.kv_length.iter().find(|&l| !(2..=longest).contains(l)) {
        bail!("--kv-length is {bad}, allowed: 2 to {longest}");
    }
    let mut figures = Figures::default();
    for name in &args.memory {
        let timing = Timing::named(name)?;
        let config = config_for(&timing);
        eprintln!("compiling for a port of {} bits", config.axi_bits);
        let compiled = compile(&model, config, CONTEXT);
        for &length in &args.kv_length {
            let step = prepare(&compiled, &tokens[..length])?;
            measure(&args, timing, &compiled, &step, &mut figures)?;
        }
    }
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        let details = json!({ "kv_length": args.kv_length, "headroom": args.headroom });
        figures.write_json(file, &details)?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The configuration whose port suits a memory at a clock that an FPGA can have.
fn config_for(timing: &Timing) -> HwConfig {
    let (wide, narrow) = (HwConfig::WIDE, HwConfig::BASE);
    let config = if timing.peak() > 6_400_000_000 {
        wide
    } else {
        narrow
    };
    // More lanes than single products need: heads that share keys and values are as many products
    // a weight. A longer stream buffer: it bridges the softmax.
    HwConfig {
        mac_rows: 2 * config.mac_rows,
        stream_beats: 4096,
        ..config
    }
}

/// The state before and after the decode step that the RTL repeats.
struct Step {
    token: u32,
    position: usize,
    before: Memory,
    after: Memory,
    next: Option<u32>,
}

/// Fills the KV cache on the functional model, then decodes the last token of `text`.
fn prepare(compiled: &CompiledDir, text: &[u32]) -> Result<Step> {
    let bundle = &compiled.bundle;
    let (&token, prompt) = text.split_last().context("no token")?;
    eprintln!("filling the KV cache on the functional model");
    let mut device = Model::new(bundle.config, memory(bundle)?)?;
    Session::new(bundle, &mut device, Limits::default())?.feed(prompt, Want::Nothing)?;
    let before = device.memory().clone();
    let mut session = Session::resume(bundle, &mut device, Limits::default(), prompt.len())?;
    let next = session.feed(&[token], Want::Token)?.remove(0).next;
    Ok(Step {
        token,
        position: prompt.len(),
        before,
        after: device.memory().clone(),
        next,
    })
}

fn measure(
    args: &Args,
    timing: Timing,
    compiled: &CompiledDir,
    step: &Step,
    figures: &mut Figures,
) -> Result<()> {
    let bundle = &compiled.bundle;
    let dram = DramConfig::new(timing)?;
    let mut config = bundle.config;
    let lowest = f64::from(dram.matching_clock_khz(config.beat_bytes()));
    config.clock_khz = (lowest * args.headroom).round() as u32;
    let design = build(&default_rtl_root(), &config, Features::default())?;
    let options = RtlOptions {
        dram: Some(dram.clone()),
        ..RtlOptions::default()
    };
    let mut rtl = RtlDevice::new(&design, config, step.before.clone(), &options)?;
    let stats = |rtl: &RtlDevice| rtl.dram().map(|d| d.stats()).unwrap_or_default();
    let begin = stats(&rtl);
    eprintln!("decoding one token on the RTL with {}", timing.name);
    let call = {
        let mut session = Session::resume(bundle, &mut rtl, Limits::default(), step.position)?;
        session.feed(&[step.token], Want::Token)?.remove(0)
    };
    let end = stats(&rtl);
    if call.next != step.next {
        bail!("the RTL chose {:?}, the model {:?}", call.next, step.next);
    }
    for ((name, _, ours), (_, _, theirs)) in step.after.writable().zip(rtl.memory().writable()) {
        ensure!(
            ours == theirs,
            "`{name}` differs between model and RTL\n\nhint: `lampyris sim --engine lockstep` finds the first difference"
        );
    }
    report(&dram, &config, &call, (begin, end), figures);
    Ok(())
}

fn report(
    dram: &DramConfig,
    config: &HwConfig,
    call: &Call,
    (begin, end): (Stats, Stats),
    figures: &mut Figures,
) {
    let level = Level::RtlSimulated;
    let get = |name| call.counters.get(name) as f64;
    let cycles = get("cycles");
    let clock = f64::from(config.clock_khz) * 1e3;
    let read = call.counters.dram_read_bytes(config) as f64;
    let bytes = read + get("write_beats") * f64::from(config.beat_bytes());
    let share = dram.share(bytes, cycles / clock);
    let label = |what: &str| format!("{} at {}: {what}", dram.timing.name, call.position + 1);
    let name = label("share of the pins' peak, with the DRAM model");
    let target = match dram.timing.name {
        "ddr3-800" => Some(95.0),
        "ddr4-2400" => Some(94.5),
        _ => None,
    };
    match target {
        Some(target) => {
            let target = Target::AtLeast(target);
            figures.judge(name, 100.0 * share, "%", level, target);
        }
        None => figures.add(name, 100.0 * share, "%", level),
    }
    let port = f64::from(config.beat_bytes()) * clock;
    let mut add = |what: &str, value, unit| figures.add(label(what), value, unit, level);
    add("pins' peak", dram.peak() as f64 / 1e9, "GB/s");
    add("port's peak", port / 1e9, "GB/s");
    let limit = dram.timing.refresh_limit();
    add("left by refresh", 100.0 * limit, "% of the pins' peak");
    add("accelerator's clock", clock / 1e6, "MHz");
    add("cycles per token", cycles, "");
    add("tokens per second", clock / cycles, "tokens/s");
    add("bytes per token", bytes, "B");
    let rows = end.activates - begin.activates;
    add("rows opened", rows as f64, "");
    let bursts = end.reads + end.writes - begin.reads - begin.writes;
    let moved = bursts as f64 * f64::from(dram.timing.burst_bytes());
    add("bytes used of those moved", 100.0 * bytes / moved, "%");
    for unit in [
        "busy_ld",
        "busy_mm",
        "busy_sfu",
        "mm_starved",
        "stall_fence",
    ] {
        add(unit, 100.0 * get(unit) / cycles, "% of cycles");
    }
}
