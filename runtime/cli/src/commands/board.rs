//! `lampyris board`: the host's side of a board with a bundle's bitstream on it.

mod port;

use super::bundle::build_of;
use super::generation::{Wanted, generate, json_report, text_report};
use super::memory::Hardware;
use super::run::Sampling;
use crate::output::{bar, note, print};
use crate::text::Prompt;
use anyhow::{Context, Result};
use lampyris_bundle::{Bundle, names};
use lampyris_import::saved::TextTools;
use lampyris_sim::golden::{self, Golden};
use lampyris_sim::session::Session;
use lampyris_sim::{Limits, smoke};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Load a bundle's model and continue a prompt
    Run(RunArgs),
    /// Go from the link to a token step by step, and say where the board first differs from what
    /// the functional model computed
    Smoke {
        #[command(flatten)]
        target: Target,
    },
}

/// Which board.
#[derive(clap::Args)]
struct Target {
    /// Directory that `lampyris compile --bitstream` wrote
    bundle: PathBuf,
    /// Serial port, such as /dev/ttyUSB0; `sim:` is the bundle's board simulated with its pins and
    /// its memory chip, `sim:BAUD` the same with a faster serial line
    #[arg(long)]
    port: String,
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    sampling: Sampling,
    /// Most tokens to generate
    #[arg(long, default_value_t = 16)]
    max_tokens: usize,
    /// The model is in the board's memory already
    #[arg(long)]
    loaded: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Run(args) => generate_text(args),
        Command::Smoke { target } => smoke_test(target),
    }
}

fn generate_text(args: &RunArgs) -> Result<ExitCode> {
    let sampler = args.sampling.sampler()?;
    let bundle = Bundle::open(&args.target.bundle)?;
    build_of(&bundle.manifest, &args.target.bundle)?;
    let document = bundle.map(names::TOKENIZER)?;
    let tools = TextTools::from_json(&document)?;
    let prompt = args.prompt.encode(&tools)?;
    let mut device = port::open(&args.target.port, &bundle)?;
    if !args.loaded {
        let progress = bar(0, "loading", true);
        smoke::write_image(&bundle, device.as_mut(), &mut |done, total| {
            progress.set_length(total);
            progress.set_position(done);
        })?;
        progress.finish_and_clear();
    }
    let mut session = Session::new(&bundle, device.as_mut(), Limits::default())?;
    let wanted = Wanted {
        max_tokens: args.max_tokens,
        greedy: args.sampling.is_greedy(),
        json: args.json,
    };
    let start = Instant::now();
    let run = generate(&wanted, sampler, &tools, &prompt, &mut session)?;
    let elapsed = start.elapsed();
    let hardware = Hardware {
        config: bundle.config,
        dram: None,
    };
    if args.json {
        let report = json_report(&bundle, &hardware, &prompt, &run, elapsed)?;
        print(&format!("{report}\n"));
    } else {
        print("\n");
        let level = port::level(&args.target.port);
        note(&text_report(level, &hardware, &run, elapsed));
    }
    Ok(ExitCode::SUCCESS)
}

fn smoke_test(target: &Target) -> Result<ExitCode> {
    let bundle = Bundle::open(&target.bundle)?;
    let build = build_of(&bundle.manifest, &target.bundle)?;
    let data = bundle.map(names::GOLDEN)?;
    let golden: Golden =
        serde_json::from_slice(&data).context("the bundle's golden results do not read")?;
    anyhow::ensure!(
        golden.schema_version == golden::SCHEMA_VERSION,
        "the bundle's golden results have version {}, expected {}\n\nhint: build the bundle again",
        golden.schema_version,
        golden::SCHEMA_VERSION
    );
    let mut device = port::open(&target.port, &bundle)?;
    note("link: passed");
    let passed = &mut |step: smoke::Step| note(&format!("{}: passed", step.name()));
    let fault = smoke::run(
        &bundle,
        &golden,
        device.as_mut(),
        build.memory_bytes,
        passed,
    )?;
    let Some(fault) = fault else {
        note("the board computes what the functional model computes");
        return Ok(ExitCode::SUCCESS);
    };
    anyhow::bail!(
        "{}: {}\n\nhint: every step before this one passed, so look for the fault here",
        fault.step.name(),
        fault.message
    )
}
