//! Attention to less than everything: what a ring cache and block-sparse masks cost, save and lose.
//!
//! `cargo xtask bench attention`. Single calls run on the Verilated RTL, from the memory that the
//! functional model left; whole prompts are estimated (`bench estimate` says how well).
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use lampyris_compiler::{Mask, Options};
use lampyris_import::Model as Imported;
use lampyris_isa::HwConfig;
use lampyris_runtime::perplexity;
use lampyris_sim::Limits;
use lampyris_sim::estimate::PortTiming;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want};
use lampyris_tests::calls::{estimated, filled, program};
use lampyris_tests::figures::{Figures, Level};
use lampyris_tests::smollm2::{model_path, recorded};
use lampyris_tests::{CompiledDir, compile_with, scores};
use serde_json::json;
use std::path::PathBuf;

/// Positions of the ring.
const RING: usize = 256;
/// Positions of the cache under masks.
const CONTEXT: usize = 2048;
/// Tokens of a call of prefill.
const CALL: usize = HwConfig::BASE.max_tokens as usize;

#[derive(Parser)]
#[command(about = "Ring cache and attention masks")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Tokens of the text that the ring reads
    #[arg(long, default_value_t = 1024)]
    text: usize,
    /// Tokens of the prompt under masks
    #[arg(long, default_value_t = 1024)]
    prompt: usize,
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Parts of the bench.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A decode step of a ring
    Ring,
    /// Perplexity of a ring
    Quality,
    /// Prompts under masks
    Masks,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let text = recorded().perplexity.tokens;
    let allowed = 2 * RING..=text.len().min(CONTEXT);
    ensure!(
        allowed.contains(&args.text),
        "--text is {}, allowed: {allowed:?}",
        args.text
    );
    ensure!(
        (CALL..=text.len().min(CONTEXT)).contains(&args.prompt) && args.prompt % CALL == 0,
        "--prompt is {}, allowed: multiples of {CALL} up to {}",
        args.prompt,
        text.len().min(CONTEXT)
    );
    let model = lampyris_import::open(&model_path()?)?;
    let mut figures = Figures::default();
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Ring) {
        ring_cost(&model, &text, &mut figures)?;
    }
    if wanted(Part::Quality) {
        ring_quality(&model, &text[..args.text], &mut figures)?;
    }
    if wanted(Part::Masks) {
        masks(&model, &text[..args.prompt], &mut figures)?;
    }
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &json!({ "text": args.text, "prompt": args.prompt }))?;
    }
    Ok(())
}

fn compiled(model: &Imported, options: &Options) -> CompiledDir {
    compile_with(model, options, "{}".into())
}

fn with_ring(context: usize, sinks: Option<usize>) -> Options {
    Options {
        sinks,
        ..Options::new(HwConfig::BASE, context)
    }
}

/// One call on the RTL, after what comes before it.
fn on_rtl(dir: &CompiledDir, text: &[u32], from: usize) -> Result<Call> {
    let bundle = &dir.bundle;
    let design = build(&default_rtl_root(), &bundle.config, Features::default())?;
    let before = filled(bundle, &text[..from])?;
    let mut rtl = RtlDevice::new(&design, bundle.config, before, &RtlOptions::default())?;
    let mut session = Session::resume(bundle, &mut rtl, Limits::default(), from)?;
    let mut calls = session.feed(&text[from..], Want::Token)?;
    ensure!(calls.len() == 1, "one call");
    Ok(calls.remove(0))
}

/// A decode step with a full cache, as it is and as a ring before and after it has gone around.
fn ring_cost(model: &Imported, text: &[u32], figures: &mut Figures) -> Result<()> {
    let plain = compiled(model, &with_ring(RING, None));
    let ring = compiled(model, &with_ring(RING, Some(4)));
    for (name, dir, position) in [
        ("plain cache", &plain, RING - 1),
        ("ring, 4 sinks", &ring, RING - 1),
        ("ring, 4 sinks", &ring, 2 * RING - 1),
    ] {
        eprintln!("{name}, position {position}");
        let call = on_rtl(dir, &text[..=position], position)?;
        let label = format!("decode at position {position} of {RING}, {name}");
        for (what, counter, unit) in [("cycles", "cycles", ""), ("beats", "port_beats", "")] {
            let value = call.counters.get(counter) as f64;
            figures.add(format!("{label}: {what}"), value, unit, Level::RtlSimulated);
        }
    }
    Ok(())
}

/// Perplexity of a text longer than the ring, and with everything remembered.
fn ring_quality(model: &Imported, text: &[u32], figures: &mut Figures) -> Result<()> {
    for (name, options) in [
        ("all positions", with_ring(text.len(), None)),
        ("ring of 256, 4 sinks", with_ring(RING, Some(4))),
        ("ring of 256, no sinks", with_ring(RING, Some(0))),
    ] {
        eprintln!("{name}: {} tokens on the functional model", text.len());
        let dir = compiled(model, &options);
        let score = scores::on_model(&dir.bundle, &[text], &|| ())?;
        let label = format!("perplexity, {} tokens, {name}", text.len());
        figures.add(label, perplexity(&score), "", Level::Measured);
    }
    Ok(())
}

fn masks(model: &Imported, text: &[u32], figures: &mut Figures) -> Result<()> {
    let sizes = [None, Some((1, 7)), Some((1, 3)), Some((1, 1))];
    for size in sizes {
        let options = Options {
            mask: size.map(|(first, window)| Mask { first, window }),
            ..Options::new(HwConfig::BASE, CONTEXT)
        };
        let name = match size {
            None => "no mask".to_owned(),
            Some((first, window)) => format!("first:{first},window:{window}"),
        };
        let dir = compiled(model, &options);
        whole_prompt(&dir, text.len(), &name, figures)?;
        if matches!(size, None | Some((1, 3))) {
            eprintln!("{name}: the last call on the RTL");
            let call = on_rtl(&dir, text, text.len() - CALL)?;
            let label = format!("last {CALL} of {} tokens, {name}", text.len());
            for counter in ["cycles", "stream_beats", "mac_steps"] {
                let value = call.counters.get(counter) as f64;
                figures.add(
                    format!("{label}: {counter}"),
                    value,
                    "",
                    Level::RtlSimulated,
                );
            }
        }
    }
    Ok(())
}

/// Adds up the estimates of a prompt's calls.
fn whole_prompt(dir: &CompiledDir, tokens: usize, name: &str, figures: &mut Figures) -> Result<()> {
    let (bundle, port) = (&dir.bundle, PortTiming::FIXED);
    let program = program(bundle)?;
    let (mut cycles, mut steps, mut bytes) = (0.0, 0.0, 0.0);
    for from in (0..tokens).step_by(CALL) {
        let call = estimated(bundle, &program, &bundle.config, port, (from, CALL))?;
        cycles += call.cycles;
        steps += call.mac_steps;
        bytes += call.bytes(&bundle.config);
    }
    let label = |what: &str| format!("prompt of {tokens} tokens, {name}: {what}");
    figures.add(label("cycles"), cycles, "", Level::Modelled);
    figures.add(label("bytes"), bytes, "B", Level::Modelled);
    figures.add(
        label("steps of the multipliers"),
        steps,
        "",
        Level::Modelled,
    );
    let busy = 100.0 * steps / cycles;
    figures.add(
        label("multipliers busy"),
        busy,
        "% of cycles",
        Level::Modelled,
    );
    Ok(())
}
