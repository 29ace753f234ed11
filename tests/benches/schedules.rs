//! What keeping activations on the chip is worth: one SmolLM2 decode step on the Verilated RTL,
//! fused and layer by layer through DRAM, with every byte on the memory port classified.
//!
//! `cargo xtask bench schedules`. The memory has a fixed latency and never makes the port wait, so
//! that what is lost is the schedule's.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lampyris_compiler::Schedule;
use lampyris_import::Model as Imported;
use lampyris_isa::HwConfig;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want, memory};
use lampyris_sim::traffic::{Class, TrafficMap};
use lampyris_sim::{Limits, Model};
use lampyris_tests::compile_scheduled;
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::smollm2::{model_path, recorded};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Positions of the KV cache.
const CONTEXT: usize = 2048;

/// Shares of the peak bandwidth that FlightLLM reports without and with always-on-chip decode.
const FLIGHTLLM: [f64; 2] = [35.6, 65.9];

#[derive(Parser)]
#[command(about = "A decode step, fused and layer by layer through DRAM")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Tokens that the measured step sees, itself included
    #[arg(long, default_value_t = 128)]
    kv_length: usize,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let model = lampyris_import::open(&model_path()?)?;
    let tokens = recorded().perplexity.tokens;
    let longest = tokens.len().min(CONTEXT);
    ensure!(
        (2..=longest).contains(&args.kv_length),
        "--kv-length is {}, allowed: 2 to {longest}",
        args.kv_length
    );
    let mut figures = Figures::default();
    let text = &tokens[..args.kv_length];
    let spilled = step(&model, Schedule::Spilled, text)?;
    let fused = step(&model, Schedule::Fused, text)?;
    ensure!(
        spilled.next == fused.next,
        "the schedules chose {:?} and {:?}",
        spilled.next,
        fused.next
    );
    let before = report("layer by layer", &spilled, &mut figures)?;
    let after = report("fused", &fused, &mut figures)?;
    let activations = traffic(&fused)?.of(Class::Activations).total();
    figures.judge(
        "fused: bytes of activations",
        activations as f64,
        "B",
        Level::RtlSimulated,
        Target::AtMost(0.0),
    );
    let speedup = spilled.counters.get("cycles") as f64 / fused.counters.get("cycles") as f64;
    let level = Level::RtlSimulated;
    figures.judge(
        "gain in share",
        after / before,
        "x",
        level,
        Target::AtLeast(1.0),
    );
    figures.add("gain in speed", speedup, "x", level);
    let [without, with] = FLIGHTLLM;
    let name = |what: &str| format!("FlightLLM (arXiv 2401.03868): {what}");
    figures.add(
        name("layer by layer"),
        without,
        "% of the peak",
        Level::Quoted,
    );
    figures.add(name("on chip"), with, "% of the peak", Level::Quoted);
    figures.add(name("gain in share"), with / without, "x", Level::Quoted);
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &json!({ "kv_length": args.kv_length }))?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Fills the KV cache on the functional model, then decodes the last token of `text` on the RTL.
fn step(model: &Imported, schedule: Schedule, text: &[u32]) -> Result<Call> {
    eprintln!("compiling, {schedule:?}");
    let compiled = compile_scheduled(model, HwConfig::BASE, CONTEXT, schedule);
    let bundle = &compiled.bundle;
    let (&token, prompt) = text.split_last().context("no token")?;
    let mut device = Model::new(bundle.config, memory(bundle)?)?;
    Session::new(bundle, &mut device, Limits::default())?.feed(prompt, Want::Nothing)?;
    let design = build(&default_rtl_root(), &bundle.config, Features::default())?;
    let options = RtlOptions {
        monitor: Some(Arc::new(TrafficMap::new(bundle))),
        ..RtlOptions::default()
    };
    let before = device.memory().clone();
    let mut rtl = RtlDevice::new(&design, bundle.config, before, &options)?;
    eprintln!("decoding one token on the RTL");
    let mut session = Session::resume(bundle, &mut rtl, Limits::default(), prompt.len())?;
    let call = session.feed(&[token], Want::Token)?.remove(0);
    let mut session = Session::resume(bundle, &mut device, Limits::default(), prompt.len())?;
    let expected = session.feed(&[token], Want::Token)?.remove(0).next;
    ensure!(
        call.next == expected,
        "the RTL chose {:?}, the model {expected:?}",
        call.next
    );
    Ok(call)
}

fn traffic(call: &Call) -> Result<&lampyris_sim::traffic::Traffic> {
    call.traffic
        .as_ref()
        .context("the device does not watch its port")
}

/// Adds the figures of a schedule; returns its share of the port's peak.
fn report(name: &str, call: &Call, figures: &mut Figures) -> Result<f64> {
    let level = Level::RtlSimulated;
    let traffic = traffic(call)?;
    let config = HwConfig::BASE;
    let beat = f64::from(config.beat_bytes());
    let cycles = call.counters.get("cycles") as f64;
    let total = traffic.total();
    let fetched = call.counters.get("fetch_beats") * u64::from(config.beat_bytes());
    let read = call.counters.dram_read_bytes(&config) - fetched;
    let counted = total.read - traffic.of(Class::Program).read;
    ensure!(
        counted == read
            && total.written + total.masked
                == call.counters.get("write_beats") * u64::from(config.beat_bytes()),
        "{name}: the monitor and the counters of the port differ"
    );
    let share = 100.0 * traffic.useful() as f64 / (cycles * beat);
    figures.add(format!("{name}: cycles"), cycles, "", level);
    let what = format!("{name}: weights and KV cache, of what the port could carry");
    figures.add(what, share, "%", level);
    for (class, bytes) in &traffic.0 {
        figures.add(format!("{name}: {class}"), bytes.total() as f64, "B", level);
    }
    figures.judge(
        format!("{name}: unclassified"),
        traffic.of(Class::Unclassified).total() as f64,
        "B",
        level,
        Target::AtMost(0.0),
    );
    for unit in ["busy_ld", "busy_mm", "busy_sfu", "stall_fence"] {
        let value = 100.0 * call.counters.get(unit) as f64 / cycles;
        figures.add(format!("{name}: {unit}"), value, "% of cycles", level);
    }
    Ok(share)
}
