//! `lampyris run`: the f32 reference executor, on this machine's CPU.

use super::JSON_SCHEMA;
use crate::output::{WrongUsage, note, print};
use crate::text::Prompt;
use anyhow::{Result, bail};
use lampyris_import::saved::TextTools;
use lampyris_runtime::{Reference, Sampler, SamplerConfig};
use serde_json::json;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or `tiny`
    model: String,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    sampling: Sampling,
    /// Most tokens to generate
    #[arg(long, default_value_t = 64)]
    max_tokens: usize,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// How the next token is chosen.
#[derive(clap::Args)]
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
    let mut sampler = args.sampling.sampler()?;
    let model = lampyris_import::open(&args.model)?;
    let tools = TextTools::from_model_file(model.file())?;
    let prompt = args.prompt.encode(&tools)?;
    let limit = model.spec().context_length;
    if prompt.len() >= limit {
        bail!(
            "the prompt has {} tokens, the model's context {limit}\n\nhint: shorten the prompt",
            prompt.len()
        );
    }
    note("note: f32 reference executor: exact and slow; it is the arbiter, not the fast path");
    let reference = Reference::new(&model)?;
    let mut session = reference.session();
    let start = Instant::now();
    let mut logits = session.prefill(&prompt)?;
    let prefill = start.elapsed();
    let mut stream = tools.tokenizer.decode_stream();
    let mut generated = Vec::new();
    let mut text = String::new();
    while generated.len() < args.max_tokens && prompt.len() + generated.len() < limit {
        let token = sampler.sample(&logits)?;
        if tools.tokenizer.is_eos(token) {
            break;
        }
        generated.push(token);
        let piece = stream.push(token)?;
        emit(&piece, args.json, &mut text);
        logits = session.step(token)?;
    }
    emit(&stream.finish()?, args.json, &mut text);
    let decode = start.elapsed() - prefill;
    let rate = |n: usize, t: std::time::Duration| n as f64 / t.as_secs_f64().max(1e-9);
    if args.json {
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "text": text,
            "prompt_tokens": prompt,
            "tokens": generated,
            "prefill_tokens_per_second": rate(prompt.len(), prefill),
            "decode_tokens_per_second": rate(generated.len(), decode),
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    } else {
        print("\n");
        note(&format!(
            "prefill {} tokens at {:.1} tokens/s, decode {} tokens at {:.1} tokens/s (measured)",
            prompt.len(),
            rate(prompt.len(), prefill),
            generated.len(),
            rate(generated.len(), decode)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn emit(piece: &str, json: bool, text: &mut String) {
    text.push_str(piece);
    if !json {
        print(piece);
    }
}
