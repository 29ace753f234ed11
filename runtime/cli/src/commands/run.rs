//! `lampyris run`: text from a model, also from one that is larger than memory.

mod events;
mod generation;
mod reference;

pub(crate) mod chat;

use super::JSON_SCHEMA;
use super::engine::{EngineArgs, Prepared, memory_note};
use crate::interrupt::{self, Interrupt};
use crate::output::{WrongUsage, bytes, note, print};
use crate::text::Style;
use anyhow::{Result, bail};
use generation::{Ran, generate};
use lampyris_import::saved::TextTools;
use lampyris_runtime::{Reference, Sampler, SamplerConfig};
use lampyris_serve::{Finish, Generate};
use serde_json::json;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, packed file, or `tiny`
    model: String,
    /// Text to continue
    #[arg(long, short, required_unless_present = "plan")]
    prompt: Option<String>,
    #[command(flatten)]
    style: Style,
    #[command(flatten)]
    sampling: Sampling,
    /// Most tokens to generate
    #[arg(long, default_value_t = 64)]
    max_tokens: usize,
    /// Print JSON events, one a line, instead of text
    #[arg(long)]
    json: bool,
    /// Print what would be resident, what would stream, and the expected speed; load nothing
    #[arg(long, conflicts_with = "reference")]
    plan: bool,
    /// Compute with the f32 reference executor: exact, slow, all weights in memory
    #[arg(long, conflicts_with_all = [
        "memory", "context", "threads", "kv", "io", "draft", "sinks",
        "predictor", "thresholds", "all_neurons", "neuron_window", "pinned", "no_bundling", "no_chunks",
    ])]
    reference: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// How the next token is chosen.
#[derive(clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// 0 always takes the most likely token
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Keep only the K most likely tokens
    #[arg(long)]
    top_k: Option<usize>,
    /// Keep the most likely tokens with this total probability
    #[arg(long)]
    top_p: Option<f32>,
    /// Drop tokens less likely than this share of the most likely one
    #[arg(long)]
    min_p: Option<f32>,
    /// Seed of the random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Sampling {
    /// True if every token is the most likely one.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// The sampler.
    pub(crate) fn sampler(&self) -> Result<Sampler> {
        let defaults = SamplerConfig::default();
        let config = SamplerConfig {
            temperature: self.temperature,
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            seed: self.seed,
        };
        Ok(Sampler::new(config).map_err(|e| WrongUsage(e.to_string()))?)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sampler = args.sampling.sampler()?;
    if args.max_tokens == 0 {
        let message = "--max-tokens: 0 tokens are no text\n\nhint: ask for at least one";
        return Err(WrongUsage(message.into()).into());
    }
    if args.reference {
        return run_reference(args, sampler);
    }
    let interrupt = Interrupt::install()?;
    let mut prepared = Prepared::open(&args.model, args.engine.options(0), &args.engine.more)?;
    let Some(prompt) = args.prompt.as_ref().filter(|_| !args.plan) else {
        return show_plan(&prepared, args.json);
    };
    let prompt = args.style.encode(&prepared.tools, prompt)?;
    prepared.fit_context(prompt.len().saturating_add(args.max_tokens));
    let plan = prepared.plan()?;
    let endless = args.engine.options(0).ring.is_some();
    check_length(prompt.len(), plan.context, "the context", endless)?;
    if args.json {
        events::plan(&plan);
    } else {
        note(plan.to_string().trim_end());
    }
    let (mut engine, tools) = prepared.load()?;
    answer(args, &mut engine, &tools, sampler, prompt, &interrupt)
}

fn show_plan(prepared: &Prepared, json: bool) -> Result<ExitCode> {
    let plan = prepared.plan()?;
    if json {
        let value = json!({"schema_version": JSON_SCHEMA, "plan": plan});
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    } else {
        print(&plan.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

fn run_reference(args: &Args, sampler: Sampler) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let model = lampyris_import::open(&args.model)?;
    let tools = TextTools::from_model_file(model.file())?;
    let prompt = args
        .style
        .encode(&tools, args.prompt.as_deref().unwrap_or_default())?;
    let context = model.spec().context_length;
    check_length(prompt.len(), context, "the model's context", false)?;
    note("note: f32 reference executor: exact and slow; it is the arbiter, not the fast path");
    let mut arbiter = reference::Arbiter {
        reference: Reference::new(&model)?,
        context,
    };
    answer(args, &mut arbiter, &tools, sampler, prompt, &interrupt)
}

fn check_length(prompt: usize, context: usize, what: &str, endless: bool) -> Result<()> {
    if prompt >= context && !endless {
        bail!(
            "the prompt has {prompt} tokens, {what} {context}\n\nhint: shorten the prompt, or give a longer --context if the model allows it"
        );
    }
    Ok(())
}

/// Generates and shows the text.
fn answer(
    args: &Args,
    engine: &mut dyn Generate,
    tools: &TextTools,
    mut sampler: Sampler,
    prompt: Vec<u32>,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    let json = args.json;
    let mut show = |id: Option<u32>, text: &str| match id {
        Some(id) if json => events::token(id, text),
        // The last text without a token of its own is in the last event.
        None if json => {}
        _ => print(text),
    };
    let ask = (prompt, args.max_tokens);
    let ran = generate(engine, tools, &mut sampler, ask, interrupt, &mut show)?;
    if json {
        events::done(&ran);
    } else {
        print("\n");
        summary(&ran, args.engine.memory);
    }
    Ok(match interrupt.signal() {
        Some(signal) if ran.finish == Finish::Cancelled => interrupt::code(signal),
        _ => ExitCode::SUCCESS,
    })
}

/// What a run took, on stderr.
fn summary(ran: &Ran, budget: Option<u64>) {
    let shown = |rate: Option<f64>| match rate {
        Some(rate) => format!(" at {rate:.1} tokens/s"),
        None => String::new(),
    };
    let remembered = match ran.reused {
        0 => String::new(),
        n => format!(" ({n} remembered)"),
    };
    note(&format!(
        "prefill {} tokens{}{remembered}, decode {} tokens{} (measured)",
        ran.prompt.len(),
        shown(ran.prefill_rate()),
        ran.tokens.len(),
        shown(ran.decode_rate())
    ));
    let counters = &ran.counters;
    if counters.read_bytes > 0 {
        let total = counters.wait_seconds + counters.compute_seconds;
        note(&format!(
            "storage {} in {} reads, waited {:.2} of {total:.2} s",
            bytes(counters.read_bytes),
            counters.reads,
            counters.wait_seconds,
        ));
    }
    if counters.peak_rss_bytes > 0 {
        note(&memory_note(counters.peak_rss_bytes, budget));
    }
}
