//! `lampyris bench`: tokens per second of prompts (pp) and of answers (tg), as llama-bench counts.
//!
//! `ppN` evaluates a prompt of N random tokens; `tgN` evaluates N tokens one after another from an
//! empty cache. Each is measured `--repetitions` times after a run that does not count.

mod measure;
mod plot;
mod report;

use super::engine::MoreArgs;
use crate::interrupt::{self, Interrupt};
use crate::output::{WrongUsage, bar, note, print};
use crate::size::{self, Budget};
use anyhow::Result;
use clap::ValueEnum;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, packed file, or `tiny`
    model: String,
    /// Lengths of prompts, separated by commas; 0 measures none
    #[arg(long, short = 'p', value_delimiter = ',', value_name = "N", default_value = "512",
        value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    prompt: Vec<u32>,
    /// Lengths of answers, separated by commas; 0 measures none
    #[arg(long = "gen", short = 'n', value_delimiter = ',', value_name = "N", default_value = "128",
        value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    generate: Vec<u32>,
    /// Measurements of each
    #[arg(long, short, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repetitions: u16,
    /// Numbers of computing threads, separated by commas [default: all processors]
    #[arg(long, short, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Memory budgets, separated by commas, smallest first; `none` is no limit
    #[arg(long, value_delimiter = ',', value_name = "SIZE", default_value = "none", value_parser = size::parse_or_none)]
    memory: Vec<Budget>,
    /// Format of the result
    #[arg(long, short, value_enum, default_value_t = Format::Md)]
    output: Format,
    /// Also draw the result
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    engine: MoreArgs,
}

/// How the result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Markdown table
    Md,
    /// Comma-separated values
    Csv,
    /// One JSON document
    Json,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    /// A prompt of this many tokens.
    Prompt(u32),
    /// This many tokens, one after another.
    Generate(u32),
}

impl Test {
    fn name(self) -> String {
        match self {
            Self::Prompt(n) => format!("pp{n}"),
            Self::Generate(n) => format!("tg{n}"),
        }
    }

    fn tokens(self) -> u32 {
        match self {
            Self::Prompt(n) | Self::Generate(n) => n,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let prompts = args.prompt.iter().map(|&n| Test::Prompt(n));
    let answers = args.generate.iter().map(|&n| Test::Generate(n));
    let tests: Vec<_> = prompts.chain(answers).filter(|t| t.tokens() > 0).collect();
    if tests.is_empty() {
        let message = "there is nothing to measure\n\nhint: give a length above 0 with -p or -n";
        return Err(WrongUsage(message.into()).into());
    }
    let interrupt = Interrupt::install()?;
    // The peak of a process cannot fall again, so larger budgets come later.
    let mut budgets: Vec<_> = args.memory.iter().map(|b| b.0).collect();
    budgets.sort_by_key(|b| b.unwrap_or(u64::MAX));
    let threads = match args.threads.as_slice() {
        [] => vec![0],
        some => some.iter().map(|&n| usize::from(n)).collect(),
    };
    let mut configurations = Vec::new();
    for &budget in &budgets {
        configurations.extend(threads.iter().map(|&n| (budget, n)));
    }
    let rounds = configurations.len() * tests.len() * usize::from(args.repetitions);
    let progress = bar(rounds as u64, "measuring", false);
    let mut rows = Vec::new();
    for (budget, threads) in configurations {
        let (mut bench, subject) = measure::Bench::open(args, &tests, budget, threads)?;
        for &test in &tests {
            let samples = bench.measure(test, args.repetitions, &interrupt, &|| progress.inc(1))?;
            if let Some(signal) = interrupt.signal() {
                progress.finish_and_clear();
                note("stopped: what was measured so far is dropped");
                return Ok(interrupt::code(signal));
            }
            rows.push(report::Row {
                subject: subject.clone(),
                test: test.name(),
                samples,
            });
        }
    }
    progress.finish_and_clear();
    print(&match args.output {
        Format::Md => report::markdown(&rows),
        Format::Csv => report::csv(&rows),
        Format::Json => report::json(&rows)?,
    });
    if let Some(path) = &args.plot {
        plot::write(path, &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}
