//! `cargo xtask bench`: sets up what the benches compare with, then runs them in release mode.

mod accelerator;

use crate::process::{cargo, echoed};
use crate::{setup, synth};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// One bench.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// The accelerator's claims beside published ones: runs the benches that measure them
    Accelerator,
    /// Perplexity, top-1 agreement and continuations against llama.cpp and the f32 reference
    Accuracy,
    /// Perplexity and top-1 agreement with f32 after each step: 4-bit cache, compressed files
    Steps,
    /// Compilation, functional model, a decode step on the RTL
    Speed,
    /// Share of the peak of DDR3-800 and DDR4-2400 that a decode step reaches
    Memory,
    /// A layer of LLaMA-2-7B on eight HBM2 channels side by side, and what a U280 would make of it
    Channels,
    /// A decode step on the RTL, fused and layer by layer through DRAM
    Schedules,
    /// Instruction bytes for all lengths: straight-line, in buckets, one program
    Lengths,
    /// One layer in every weight width and sparsity on the RTL
    Formats,
    /// Flash-offloaded inference against llama.cpp, under memory limits (needs control groups)
    Flash,
    /// The cycle estimator against the Verilated RTL
    Estimate,
    /// Compilation of a model in the shape of LLaMA-2-7B
    Scale,
    /// Use of the multipliers by a prompt
    Prefill,
    /// A ring cache and block-sparse masks: cost, saving, loss
    Attention,
    /// Random programs and a whole layer, model and RTL compared at every instruction
    Lockstep,
    /// Resources of the smallest configuration, as `cargo xtask synth`
    Synth,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install nothing; a bench says what it misses
    #[arg(long)]
    no_setup: bool,
    /// Write the bench's figures to this file as well
    #[arg(long, requires = "bench")]
    json: Option<PathBuf>,
    /// Which bench; all, one after the other, by default
    bench: Option<Bench>,
    /// Further arguments of the bench, after `--`
    #[arg(last = true, requires = "bench")]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let benches = match &arguments.bench {
        Some(bench) => std::slice::from_ref(bench),
        // The table of claims repeats the others.
        None => &Bench::value_variants()[1..],
    };
    if !arguments.no_setup {
        // Only these need llama.cpp, which takes minutes to compile.
        let needs = [Bench::Accuracy, Bench::Flash];
        let bench = benches.iter().any(|bench| needs.contains(bench));
        setup::run(&setup::Arguments { bench, fpga: false })?;
    }
    let mut failed = Vec::new();
    for bench in benches {
        if let Err(error) = one(*bench, arguments) {
            // The others still tell something.
            eprintln!("error: {error:#}");
            failed.push(name(*bench));
        }
    }
    if !failed.is_empty() {
        bail!(
            "failed or missed a target: {}\n\nhint: the tables above mark missed targets with FAIL",
            failed.join(", ")
        );
    }
    Ok(())
}

fn name(bench: Bench) -> String {
    let value = bench.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn one(bench: Bench, arguments: &Arguments) -> Result<()> {
    if bench == Bench::Synth {
        if arguments.json.is_some() || !arguments.rest.is_empty() {
            bail!("the synthesis bench takes no arguments\n\nhint: see `cargo xtask synth --help`");
        }
        return synth::run(&synth::Arguments::default());
    }
    if bench == Bench::Accelerator {
        if arguments.json.is_some() || !arguments.rest.is_empty() {
            bail!(
                "the table of claims takes no arguments\n\nhint: run one of its benches with --json"
            );
        }
        return accelerator::run();
    }
    let json = match &arguments.json {
        // Cargo runs benches in the folder of their package.
        Some(file) => Some(
            std::path::absolute(file)
                .with_context(|| format!("cannot resolve `{}`", file.display()))?,
        ),
        None => None,
    };
    cargo_bench(bench, json.as_deref(), &arguments.rest)
}

/// Runs a bench that writes its figures to a file.
fn one_with_json(bench: Bench, file: &Path) -> Result<()> {
    cargo_bench(bench, Some(file), &[])
}

fn cargo_bench(bench: Bench, json: Option<&Path>, rest: &[String]) -> Result<()> {
    let mut command = cargo();
    command.current_dir(crate::root()?);
    command.args(["bench", "--quiet", "--package", "lampyris-tests"]);
    command.args(["--bench", &name(bench), "--"]);
    if let Some(file) = json {
        command.arg("--json").arg(file);
    }
    echoed(command.args(rest))
}
