//! What part of the multipliers' time a prompt keeps them busy.
//!
//! `cargo xtask bench prefill`. The last call of the prompt runs on the Verilated RTL, from the
//! memory that the functional model left; the whole prompt is estimated (`bench estimate` says how
//! well), or run with `--whole`, which takes some ten minutes.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Result, ensure};
use clap::Parser;
use lampyris_isa::HwConfig;
use lampyris_sim::estimate::PortTiming;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want};
use lampyris_sim::{Limits, Memory};
use lampyris_tests::calls::{estimated, filled, program};
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::smollm2::{model_path, recorded};
use lampyris_tests::{CompiledDir, compile};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Positions of the KV cache.
const CONTEXT: usize = 2048;

#[derive(Parser)]
#[command(about = "Use of the multipliers in prefill")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 256)]
    tokens: usize,
    /// Run the whole prompt on the RTL
    #[arg(long)]
    whole: bool,
    /// Estimate alone, without the RTL
    #[arg(long, conflicts_with = "whole")]
    estimate: bool,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let text = recorded().perplexity.tokens;
    let chunk = HwConfig::BASE.max_tokens as usize;
    ensure!(
        (chunk..=text.len().min(CONTEXT)).contains(&args.tokens)
            && args.tokens.is_multiple_of(chunk),
        "--tokens is {}, allowed: multiples of {chunk} up to {}",
        args.tokens,
        text.len().min(CONTEXT)
    );
    let model = lampyris_import::open(&model_path()?)?;
    let compiled = compile(&model, HwConfig::BASE, CONTEXT);
    let text = &text[..args.tokens];
    let mut figures = Figures::default();
    whole_estimated(&compiled, text.len(), chunk, &mut figures)?;
    if args.estimate {
        println!("{}", figures.table());
        return Ok(ExitCode::SUCCESS);
    }
    let from = if args.whole { 0 } else { text.len() - chunk };
    eprintln!("filling the KV cache on the functional model");
    let before = filled(&compiled.bundle, &text[..from])?;
    eprintln!("tokens {} to {} on the RTL", from + 1, text.len());
    let calls = on_rtl(&compiled, before, from, &text[from..])?;
    let name = format!("tokens {} to {}: multipliers busy", from + 1, text.len());
    let busy = share(&calls);
    let target = Target::AtLeast(if args.whole { 80.0 } else { 90.0 });
    figures.judge(name, busy, "% of cycles", Level::RtlSimulated, target);
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &json!({ "tokens": args.tokens }))?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn whole_estimated(
    compiled: &CompiledDir,
    tokens: usize,
    chunk: usize,
    figures: &mut Figures,
) -> Result<()> {
    let (bundle, level) = (&compiled.bundle, Level::Modelled);
    let program = program(bundle)?;
    let (mut steps, mut cycles) = (0.0, 0.0);
    for from in (0..tokens).step_by(chunk) {
        let port = PortTiming::FIXED;
        let call = estimated(bundle, &program, &bundle.config, port, (from, chunk))?;
        (steps, cycles) = (steps + call.mac_steps, cycles + call.cycles);
        if from == 0 || from + chunk == tokens {
            let name = format!(
                "tokens {} to {}: cycles without a step",
                from + 1,
                from + chunk
            );
            figures.add(name, call.cycles - call.mac_steps, "", level);
        }
    }
    let name = |what: &str| format!("prompt of {tokens} tokens: {what}");
    figures.add(name("cycles"), cycles, "", level);
    let (share, target) = (100.0 * steps / cycles, Target::AtLeast(80.0));
    figures.judge(
        name("multipliers busy"),
        share,
        "% of cycles",
        level,
        target,
    );
    Ok(())
}

fn on_rtl(
    compiled: &CompiledDir,
    before: Memory,
    position: usize,
    text: &[u32],
) -> Result<Vec<Call>> {
    let bundle = &compiled.bundle;
    let design = build(&default_rtl_root(), &bundle.config, Features::default())?;
    let mut rtl = RtlDevice::new(&design, bundle.config, before, &RtlOptions::default())?;
    let mut session = Session::resume(bundle, &mut rtl, Limits::default(), position)?;
    Ok(session.feed(text, Want::Token)?)
}

/// Share of the cycles in which the multiplier array took a step, percent.
fn share(calls: &[Call]) -> f64 {
    let sum = |name| calls.iter().map(|c| c.counters.get(name)).sum::<u64>() as f64;
    100.0 * sum("mac_steps") / sum("cycles")
}
