//! The flash-offload runtime against llama.cpp and against what the storage allows.
//!
//! `cargo xtask bench flash`; `-- --only dense,small` runs parts of it. Each program runs in a
//! control group of its own, with the same memory limit, threads, model file and tokens, after the
//! file left the page cache. Times are of this machine and of this hour, so every target is a
//! ratio of two numbers of the same run.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

mod child;
mod dense;
mod in_memory;
mod ladder;
mod llama;
mod models;
mod plot;
mod scale;
mod small;
mod storage;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use lampyris_tests::cage::Evidence;
use lampyris_tests::figures::{Figures, Level, Target};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    /// A 4 GB model of 7B shape under limits of 93, 75 and 50 % of its size
    Dense,
    /// SmolLM2 under 110 MiB
    Small,
    /// SmolLM2 without a limit
    Memory,
    /// The techniques of "LLM in a flash", one after the other, on the ReLU models
    Ladder,
    /// Packing and planning a file of 40 GB
    Scale,
}

#[derive(Parser)]
#[command(about = "Flash-offloaded inference against llama.cpp")]
struct Args {
    /// Parts to run
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "dense,small,memory,ladder,scale"
    )]
    only: Vec<Part>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw them: an SVG file for each part, in this folder
    #[arg(long)]
    plots: Option<PathBuf>,
    /// Run one model as this file says: how the bench starts itself in a control group
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
    /// Pack a model to a file: likewise
    #[arg(long, hide = true, num_args = 2, value_names = ["FROM", "TO"])]
    pack: Vec<PathBuf>,
    /// Plan a run of a model: likewise
    #[arg(long, hide = true)]
    plan: Option<PathBuf>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the parts add to.
#[derive(Default)]
struct Report {
    figures: Figures,
    details: Vec<Value>,
    plots: Option<PathBuf>,
    /// Runs under a budget: name, budget, evidence.
    budgets: Vec<(String, u64, Evidence)>,
}

impl Report {
    /// Notes what a run under a budget took.
    fn budget(&mut self, name: &str, budget: u64, evidence: Evidence) {
        self.budgets.push((name.into(), budget, evidence));
    }

    /// The verdict on all budgets together.
    fn judge_budgets(&mut self) {
        if self.budgets.is_empty() {
            return;
        }
        println!("Budgets (measured by the kernel, page cache included)");
        let mut worst = 0.0f64;
        let mut kills = 0;
        let mut rows = vec![
            [
                "run",
                "budget MiB",
                "peak MiB",
                "limit hits",
                "major faults",
                "killed",
            ]
            .map(str::to_owned),
        ];
        for (name, budget, evidence) in &self.budgets {
            worst = worst.max(evidence.peak_bytes as f64 / *budget as f64);
            kills += evidence.oom_kills;
            rows.push([
                name.clone(),
                mib(*budget),
                mib(evidence.peak_bytes),
                evidence.limit_hits.to_string(),
                evidence.major_faults.to_string(),
                evidence.oom_kills.to_string(),
            ]);
        }
        println!("{}", lampyris_tests::figures::columns(rows));
        let figures = &mut self.figures;
        let name = "highest peak memory / budget, all runs";
        figures.judge(
            name,
            100.0 * worst,
            "%",
            Level::Measured,
            Target::AtMost(100.0),
        );
        figures.judge(
            "runs killed for lack of memory",
            kills as f64,
            "",
            Level::Measured,
            Target::AtMost(0.0),
        );
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// What this program does when the bench started it in a control group.
fn inner(args: &Args) -> Option<Result<()>> {
    if let Some(request) = &args.child {
        return Some(child::run(request));
    }
    if let [from, to] = args.pack.as_slice() {
        return Some(scale::pack(from, to));
    }
    args.plan.as_ref().map(|model| scale::plan(model))
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(result) = inner(&args) {
        return result.map(|()| ExitCode::SUCCESS);
    }
    let mut report = Report {
        plots: args.plots.clone(),
        ..Report::default()
    };
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    for part in &args.only {
        eprintln!("part: {part:?}");
        match part {
            Part::Dense => dense::run(&mut report)?,
            Part::Small => small::run(&mut report)?,
            Part::Memory => in_memory::run(&mut report)?,
            Part::Ladder => ladder::run(&mut report)?,
            Part::Scale => scale::run(&mut report)?,
        }
    }
    report.judge_budgets();
    println!("{}", report.figures.table());
    if let Some(file) = &args.json {
        report
            .figures
            .write_json(file, &json!({ "runs": report.details }))?;
    }
    Ok(if report.figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
