//! `lampyris sim`.

use super::generation::{Wanted, generate, json_report, text_report};
use super::memory::{Hardware, MemoryArgs};
use super::run::Sampling;
use super::trace::TraceFile;
use crate::output::{WrongUsage, grouped, note, print};
use crate::text::Prompt;
use anyhow::Result;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use lampyris_bundle::{Bundle, names};
use lampyris_import::saved::TextTools;
use lampyris_sim::lockstep::Lockstep;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, Wave, build, default_rtl_root};
use lampyris_sim::session::{Session, memory};
use lampyris_sim::traffic::TrafficMap;
use lampyris_sim::{Device, Limits, Model};
use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory that `lampyris compile` wrote
    directory: PathBuf,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Most tokens to generate
    #[arg(long, default_value_t = 16)]
    max_tokens: usize,
    /// What executes the program
    #[arg(long, value_enum, default_value_t = Engine::Model)]
    engine: Engine,
    /// RTL sources [default: those that this program was built with]
    #[arg(long)]
    rtl: Option<PathBuf>,
    /// Record waveforms of these cycles, A..B, to an FST file (rtl)
    #[arg(long, value_parser = parse_range)]
    wave: Option<Range<u64>>,
    /// FST file for --wave
    #[arg(long, default_value = "lampyris.fst", requires = "wave")]
    wave_file: PathBuf,
    /// Write which instruction ran when to a trace file for Perfetto (lockstep). An instruction
    /// is drawn to the cycle in which it retired, from the earliest cycle in which it can have
    /// begun: its unit free, its semaphores posted, the last fence passed
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Executor.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Functional model: bit-exact, no cycles
    Model,
    /// Verilated RTL
    Rtl,
    /// Both, compared at each retired instruction
    Lockstep,
}

impl Engine {
    /// How its figures are found.
    fn level(self) -> &'static str {
        match self {
            Engine::Model => "functional model",
            Engine::Rtl => "RTL-simulated",
            Engine::Lockstep => "RTL-simulated, equal to the model",
        }
    }
}

fn parse_range(text: &str) -> std::result::Result<Range<u64>, String> {
    let parsed = text
        .split_once("..")
        .and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    match parsed {
        Some(range) if range.start < range.end => Ok(range),
        _ => Err("expected two cycles A..B with A < B".into()),
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    check_engine(args)?;
    let sampler = args.sampling.sampler()?;
    let bundle = Bundle::open(&args.directory)?;
    let hardware = args.memory.hardware(&bundle.config)?;
    let document = bundle.map(names::TOKENIZER)?;
    let tools = TextTools::from_json(&document)?;
    let prompt = args.prompt.encode(&tools)?;
    let trace = args.trace.as_deref().map(TraceFile::create).transpose()?;
    let mut machine = machine(args, &bundle, &hardware)?;
    let mut session = Session::new(&bundle, machine.device(), Limits::default())?;
    let start = Instant::now();
    let wanted = Wanted {
        max_tokens: args.max_tokens,
        greedy: args.sampling.is_greedy(),
        json: args.json,
    };
    let run = generate(&wanted, sampler, &tools, &prompt, &mut session);
    let elapsed = start.elapsed();
    if let (Some(trace), Machine::Both(both)) = (trace, &machine) {
        // Also after a failure: the recording shows what came before it.
        trace.write(both.timeline(), &hardware.config)?;
    }
    let run = run?;
    if run.context_full {
        note(match bundle.manifest.ring {
            None => {
                "note: the text ends because the KV cache is full; compile with a longer --context, or with --ring to go on past it"
            }
            Some(_) => "note: the text ends because the program has no angles for more positions",
        });
    }
    if args.json {
        print(&format!(
            "{}\n",
            json_report(&bundle, &hardware, &prompt, &run, elapsed)?
        ));
    } else {
        print("\n");
        note(&text_report(args.engine.level(), &hardware, &run, elapsed));
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses options that the engine cannot serve.
fn check_engine(args: &Args) -> Result<(), WrongUsage> {
    let no_time = "the functional model has no time";
    let model = args.engine == Engine::Model;
    let (option, problem, engine) = if args.wave.is_some() && args.engine != Engine::Rtl {
        ("--wave", "needs the RTL alone", "rtl")
    } else if args.memory.is_modelled() && model {
        ("--memory", no_time, "rtl")
    } else if args.rtl.is_some() && model {
        ("--rtl", "the functional model needs no RTL", "rtl")
    } else if args.trace.is_some() && model {
        ("--trace", no_time, "lockstep")
    } else if args.trace.is_some() && args.engine == Engine::Rtl {
        let problem = "the RTL alone does not say which instruction it retires";
        ("--trace", problem, "lockstep")
    } else {
        return Ok(());
    };
    Err(WrongUsage(format!(
        "{option}: {problem}\n\nhint: add --engine {engine}"
    )))
}

/// What executes the program.
enum Machine {
    One(Box<dyn Device>),
    Both(Box<Lockstep>),
}

impl Machine {
    fn device(&mut self) -> &mut dyn Device {
        match self {
            Machine::One(device) => device.as_mut(),
            Machine::Both(both) => both.as_mut(),
        }
    }
}

fn machine(args: &Args, bundle: &Bundle, hardware: &Hardware) -> Result<Machine> {
    let config = hardware.config;
    let model = || Model::new(config, memory(bundle)?);
    if args.engine == Engine::Model {
        return Ok(Machine::One(Box::new(model()?)));
    }
    let rtl = rtl_device(args, bundle, hardware)?;
    if args.engine == Engine::Rtl {
        return Ok(Machine::One(Box::new(rtl)));
    }
    let mut both = Lockstep::new(model()?, rtl)?;
    let labels = bundle.labels.clone();
    both.set_labels(Box::new(move |pc| labels.get(pc as usize).cloned()));
    let spinner = spinner("cycles");
    both.set_progress(Box::new(move |cycle| spinner.set_message(grouped(cycle))));
    if args.trace.is_some() {
        both.record_timeline();
    }
    Ok(Machine::Both(Box::new(both)))
}

fn rtl_device(args: &Args, bundle: &Bundle, hardware: &Hardware) -> Result<RtlDevice> {
    let root = args.rtl.clone().unwrap_or_else(default_rtl_root);
    let spinner = spinner("building the RTL with Verilator");
    let features = Features {
        waves: args.wave.is_some(),
        ..Features::default()
    };
    let design = build(&root, &hardware.config, features)?;
    spinner.finish_and_clear();
    let options = RtlOptions {
        dram: hardware.dram.clone(),
        wave: args.wave.clone().map(|cycles| Wave {
            path: args.wave_file.clone(),
            cycles,
        }),
        events: args.engine == Engine::Lockstep,
        monitor: Some(Arc::new(TrafficMap::new(bundle))),
        ..RtlOptions::default()
    };
    Ok(RtlDevice::new(
        &design,
        hardware.config,
        memory(bundle)?,
        &options,
    )?)
}

fn spinner(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}")
        .expect("the template is fixed");
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_prefix(what);
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}
