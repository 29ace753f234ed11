//! The functional model against the Verilated RTL at every retired instruction: seeded random
//! programs with random latency and back-pressure on the memory port, then one whole layer of
//! SmolLM2 at prefill and at decode.
//!
//! `cargo xtask bench lockstep`.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lampyris_bundle::Bundle;
use lampyris_flash::ModelFile;
use lampyris_flash::gguf::{Builder, Gguf, Value};
use lampyris_import::Model as ImportedModel;
use lampyris_isa::{HwConfig, Insn};
use lampyris_sim::fuzz::{Case, shrink};
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want, memory};
use lampyris_sim::{Limits, Model, Outcome};
use lampyris_tests::figures::{Figures, Level};
use lampyris_tests::smollm2::{model_path, recorded};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Positions of the layer's KV cache.
const CONTEXT: usize = 128;

#[derive(Parser)]
#[command(about = "Functional model and RTL compared at every retired instruction")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Random programs
    #[arg(long, default_value_t = 1000)]
    programs: u64,
    /// Seed of the first program; the others follow
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Named configuration that the programs run on
    #[arg(long, default_value = "small")]
    config: String,
    /// Prompt tokens of the layer's prefill; one more is decoded. 0: no layer
    #[arg(long, default_value_t = 40)]
    prefill: usize,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut figures = Figures::default();
    let mut details = json!({ "seeds": [args.seed, args.seed + args.programs] });
    if args.programs > 0 {
        let programs = random_programs(&args)?;
        let insns: u64 = programs.values().sum();
        figures.add(
            "random programs that agree",
            args.programs as f64,
            "",
            Level::RtlSimulated,
        );
        figures.add("their instructions", insns as f64, "", Level::RtlSimulated);
        details["instructions_by_mnemonic"] = json!(programs);
    }
    if args.prefill > 0 {
        whole_layer(args.prefill, &mut figures)?;
    }
    println!("\n{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &details)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The RTL with its assertions and random initial state.
fn design(config: &HwConfig) -> Result<verilator_sys::Design> {
    let features = Features {
        assertions: true,
        random_state: true,
        ..Features::default()
    };
    Ok(build(&default_rtl_root(), config, features)?)
}

/// Runs all programs; counts their instructions by mnemonic. The first program that shows a
/// difference ends the bench with its smallest part that does.
fn random_programs(args: &Args) -> Result<BTreeMap<&'static str, u64>> {
    let named = HwConfig::NAMED
        .into_iter()
        .find(|(name, _)| *name == args.config);
    let names = HwConfig::NAMED.map(|(name, _)| name).join(", ");
    let (_, config) = named
        .with_context(|| format!("no configuration `{}`\n\nhint: one of {names}", args.config))?;
    let design = design(&config)?;
    let last = args
        .seed
        .checked_add(args.programs)
        .context("the seeds exceed 64 bits")?;
    let bar = bar("random programs", args.programs);
    let start = Instant::now();
    let mut counts = BTreeMap::new();
    for seed in args.seed..last {
        let case = Case::new(seed, &config);
        match case.check(&design) {
            Ok(Outcome::Halted(1)) => {}
            Ok(other) => bail!("seed {seed}: the program {other}, expected to halt with code 1"),
            Err(error) => {
                let small = shrink(&case, |c| c.check(&design).is_err());
                let cause = small
                    .check(&design)
                    .err()
                    .map(|e| e.to_string())
                    .unwrap_or_default();
                let listing = small.listing();
                bail!("seed {seed}: {error}\n\nshrunk to:\n{listing}\n{cause}");
            }
        }
        for insn in case.program() {
            *counts.entry(insn.spec().mnemonic).or_default() += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let absent = lampyris_isa::insn::INSNS.iter().map(|s| s.mnemonic);
    let absent: Vec<_> = absent.filter(|m| !counts.contains_key(m)).collect();
    ensure!(
        absent.is_empty() || args.programs < 100,
        "no program has {}",
        absent.join(", ")
    );
    println!(
        "random programs: {} on `{}`, seeds {}..{last}, equal at every retired instruction, {:.0} s",
        args.programs,
        args.config,
        args.seed,
        start.elapsed().as_secs_f64()
    );
    let insns = lampyris_isa::insn::INSNS.iter();
    let shown = insns.filter_map(|s| {
        counts
            .get(s.mnemonic)
            .map(|n| format!("{} {n}", s.mnemonic))
    });
    println!(
        "  instructions in them: {}",
        shown.collect::<Vec<_>>().join(", ")
    );
    Ok(counts)
}

/// The model cut after its first layer: embedding, layer, final norm and head stay as they are.
fn first_layer(path: &Path) -> Result<ImportedModel> {
    let gguf = Gguf::open(path)?;
    let blocks = gguf.metadata().iter().map(|(key, _)| key);
    let blocks = blocks
        .filter(|key| key.ends_with(".block_count"))
        .map(str::to_owned);
    let blocks = blocks.collect::<Vec<_>>();
    ensure!(
        blocks.len() == 1,
        "{} keys `*.block_count`, expected one",
        blocks.len()
    );
    let mut cut = Builder::new();
    for (key, value) in gguf.metadata().iter() {
        let value = if key == blocks[0] {
            Value::U32(1)
        } else {
            value.clone()
        };
        cut = cut.metadata(key, value);
    }
    for tensor in gguf.tensors() {
        if tensor.name.starts_with("blk.") && !tensor.name.starts_with("blk.0.") {
            continue;
        }
        let data = gguf.tensor_data(&tensor.name)?;
        cut = cut.tensor(&tensor.name, &tensor.shape, tensor.ty, data);
    }
    let file = ModelFile::Gguf(Gguf::parse(cut.build()?)?);
    Ok(ImportedModel::from_file(file)?)
}

/// One layer of the real model on the base configuration.
fn whole_layer(prefill: usize, figures: &mut Figures) -> Result<()> {
    ensure!(
        prefill < CONTEXT,
        "--prefill {prefill}: at most {} fit the layer's cache",
        CONTEXT - 1
    );
    let config = HwConfig::BASE;
    let path = model_path()?;
    let compiled = lampyris_tests::compile(&first_layer(&path)?, config, CONTEXT);
    let bundle = &compiled.bundle;
    let rtl = RtlDevice::new(
        &design(&config)?,
        config,
        memory(bundle)?,
        &RtlOptions::default(),
    )?;
    let mut both = Lockstep::new(Model::new(config, memory(bundle)?)?, rtl)?;
    let labels = bundle.labels.clone();
    both.set_labels(Box::new(move |pc| labels.get(pc as usize).cloned()));
    let text = recorded().perplexity.tokens;
    let mut session = Session::new(bundle, &mut both, Limits::default())?;
    let start = Instant::now();
    let mut calls = session.feed(&text[..prefill], Want::Nothing)?;
    let split = start.elapsed();
    calls.extend(session.feed(&text[prefill..=prefill], Want::Logits)?);
    let seconds = [split, start.elapsed() - split].map(|d| d.as_secs_f64());
    report_layer(bundle, &calls, seconds, figures);
    Ok(())
}

fn report_layer(bundle: &Bundle, calls: &[Call], seconds: [f64; 2], figures: &mut Figures) {
    let layer_of = |insn: &Insn| insn.spec().mnemonic;
    let mnemonics: std::collections::BTreeSet<_> = bundle.program.iter().map(layer_of).collect();
    println!(
        "one layer of {} on `base`, with embedding and head: equal at every retired instruction ({})",
        bundle.manifest.model.name,
        mnemonics.into_iter().collect::<Vec<_>>().join(", ")
    );
    for (entry, seconds) in ["prefill", "decode"].into_iter().zip(seconds) {
        let of = calls.iter().filter(|c| c.entry == entry);
        let sum = |name| of.clone().map(|c| c.counters.get(name)).sum::<u64>() as f64;
        let tokens: usize = of.clone().map(|c| c.tokens).sum();
        println!(
            "  {entry}: {} calls, {tokens} tokens, {seconds:.1} s",
            of.clone().count()
        );
        let add = |figures: &mut Figures, what: &str, value| {
            figures.add(
                format!("layer, {entry}: {what}"),
                value,
                "",
                Level::RtlSimulated,
            );
        };
        add(figures, "instructions that agree", sum("insns"));
        add(figures, "cycles", sum("cycles"));
    }
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len}, {eta} left")
        .expect("the template is fixed");
    ProgressBar::new(total).with_style(style).with_message(what)
}
