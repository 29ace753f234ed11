//! What each step away from exact arithmetic costs: the model file as it is with a KV cache of 8
//! bits, of 4 bits rotated and of 4 bits as they are, and files that `lampyris compress` made of
//! it, all teacher-forced over the same text and compared with the f32 reference executor.
//!
//! `cargo xtask bench steps --file "3.5 bpw=small.gguf" --file "2:4=pruned.gguf"`. The functional
//! model equals the RTL at every instruction, so its figures are the accelerator's.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result};
use clap::Parser;
use lampyris_compiler::KvFormat;
use lampyris_import::Model as Imported;
use lampyris_isa::HwConfig;
use lampyris_runtime::{Reference, WindowScore, perplexity};
use lampyris_tests::compile_cached;
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::scores::{agreement, on_model};
use lampyris_tests::smollm2::{model_path, recorded};
use std::path::PathBuf;
use std::process::ExitCode;

/// Most that the perplexity of rotated 4-bit codes may exceed that of 8-bit codes, percent.
const KV4_PERCENT: f64 = 2.0;

#[derive(Parser)]
#[command(about = "Accuracy after each step from exact arithmetic to narrow formats")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Tokens of the text, one window
    #[arg(long, default_value_t = 512)]
    tokens: usize,
    /// A compressed form of the model, as NAME=PATH; may be repeated
    #[arg(long, value_parser = named_file)]
    file: Vec<(String, PathBuf)>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("wanted: NAME=PATH".to_owned()),
    }
}

/// The text's score on the accelerator with a form of the cache.
fn score(model: &Imported, kv: KvFormat, tokens: &[u32]) -> Result<Vec<WindowScore>> {
    let dir = compile_cached(model, HwConfig::BASE, tokens.len(), kv);
    Ok(on_model(&dir.bundle, &[tokens], &|| ())?)
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let model = lampyris_import::open(model_path()?)?;
    let text = recorded().perplexity.tokens;
    anyhow::ensure!(
        (2..=text.len()).contains(&args.tokens),
        "--tokens is {}, but the recorded text has {} (at least 2 are needed)",
        args.tokens,
        text.len()
    );
    let tokens = &text[..args.tokens];
    let exact = Reference::new(&model)?.score(&[tokens])?;
    let mut figures = Figures::default();
    let reference = perplexity(&exact);
    figures.add("f32 reference, perplexity", reference, "", Level::Measured);
    let mut report = |name: &str, scores: &[WindowScore]| {
        let (same, all) = agreement(scores, &exact);
        let share = 100.0 * same as f64 / all as f64;
        let perplexity = perplexity(scores);
        eprintln!("{name}: perplexity {perplexity:.3}, {same} of {all}");
        figures.add(format!("{name}, perplexity"), perplexity, "", Level::Model);
        figures.add(format!("{name}, top-1 as f32"), share, "%", Level::Model);
        perplexity
    };
    let eight = report("KV8", &score(&model, KvFormat::Int8, tokens)?);
    let four = report("KV4 rotated", &score(&model, KvFormat::Int4, tokens)?);
    let plain = score(&model, KvFormat::Int4Plain, tokens)?;
    report("KV4 not rotated", &plain);
    for (name, path) in &args.file {
        let model = lampyris_import::open(path)
            .with_context(|| format!("step `{name}`, file {}", path.display()))?;
        for (cache, kv) in [("KV8", KvFormat::Int8), ("KV4", KvFormat::Int4)] {
            report(&format!("{name}, {cache}"), &score(&model, kv, tokens)?);
        }
    }
    figures.judge(
        "KV4 rotated against KV8",
        100.0 * (four / eight - 1.0),
        "%",
        Level::Model,
        Target::AtMost(KV4_PERCENT),
    );
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        figures.write_json(file, &serde_json::json!({ "tokens": args.tokens }))?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
