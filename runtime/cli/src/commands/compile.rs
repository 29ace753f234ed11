//! `lampyris compile`.

mod bitstream;
mod fit;
mod sbom;
mod vendor;

pub(crate) use bitstream::with_progress;

use super::{JSON_SCHEMA, Target};
use crate::output::{bar, bytes, grouped, note, print};
use anyhow::Result;
use clap::ValueEnum;
use lampyris_bundle::{Mask, Ring};
use lampyris_compiler::{Compiled, Options, Schedule, Tokenization};
use lampyris_import::Model;
use lampyris_import::saved::TextTools;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or `tiny`
    model: String,
    /// Directory to write
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    target: Target,
    /// How operators follow each other
    #[arg(long, value_enum, default_value_t = Order::Fused)]
    schedule: Order,
    /// Make the KV cache a ring: texts go on past its positions, remembering their first tokens
    /// and the most recent ones
    #[arg(long)]
    ring: bool,
    /// First tokens that a ring never forgets
    #[arg(long, value_name = "N", default_value_t = 4, requires = "ring")]
    sinks: usize,
    /// Tokens see only the first F blocks of 64 tokens and the last W, their own included; others
    /// are neither loaded nor multiplied
    #[arg(long, value_name = "first:F,window:W", value_parser = parse_mask)]
    attention_mask: Option<Mask>,
    /// Also build the board's bitstream, or a project for its vendor's tools, and write everything as
    /// one bundle
    #[arg(long)]
    bitstream: bool,
    #[command(flatten)]
    build: bitstream::Options,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_mask(text: &str) -> Result<Mask, String> {
    let blocks = |part: &str, name: &str| part.strip_prefix(name)?.parse().ok();
    let parsed = text.split_once(',').and_then(|(first, window)| {
        Some(Mask {
            first: blocks(first, "first:")?,
            window: blocks(window, "window:")?,
        })
    });
    parsed.ok_or_else(|| {
        "expected numbers of blocks of 64 tokens, such as first:1,window:4".to_owned()
    })
}

/// [`Schedule`] as an argument.
#[derive(Clone, Copy, ValueEnum)]
enum Order {
    /// Activations stay on the chip, loads go ahead
    Fused,
    /// Layer by layer: every operator reads and writes DRAM and overlaps with none; slow, to
    /// compare with
    Spilled,
}

impl From<Order> for Schedule {
    fn from(order: Order) -> Schedule {
        match order {
            Order::Fused => Schedule::Fused,
            Order::Spilled => Schedule::Spilled,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let compiled = if args.bitstream {
        bitstream::run(args)?
    } else {
        compile(args, &args.output)?
    };
    let manifest = &compiled.manifest;
    if args.json {
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "output": args.output,
            "seconds": start.elapsed().as_secs_f64(),
            "manifest": manifest,
            "widened": compiled.widened.iter().map(|w| json!({"from": w.from, "tensors": w.tensors, "stored_bits": w.stored_bits, "bits": w.bits})).collect::<Vec<_>>(),
            "requantized": compiled.requantized.iter().map(|r| json!({"tensor": r.tensor, "from": r.from, "relative_error": r.relative_error})).collect::<Vec<_>>(),
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
        return Ok(ExitCode::SUCCESS);
    }
    let size = |name: &str| {
        manifest
            .files
            .iter()
            .find(|f| f.name == name)
            .map_or(0, |f| f.bytes)
    };
    note(&format!(
        "compiled {} ({} parameters) to {} in {:.1} s: {} of weights, {} of program for all lengths up to {}{}, DRAM {}",
        manifest.model.name,
        grouped(manifest.model.parameters),
        args.output.display(),
        start.elapsed().as_secs_f64(),
        bytes(size("weights.bin")),
        bytes(size("program.bin")),
        grouped(u64::from(manifest.context)),
        manifest.ring.map_or(String::new(), ring_note),
        bytes(manifest.dram_bytes()),
    ));
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args, model: &Model) -> Result<Options> {
    Ok(Options {
        schedule: args.schedule.into(),
        sinks: args.ring.then_some(args.sinks),
        mask: args.attention_mask,
        ..args.target.options(model)?
    })
}

/// What a ring adds to the lengths of a program.
fn ring_note(ring: Ring) -> String {
    let (sinks, positions) = (ring.sinks, grouped(u64::from(ring.positions)));
    format!(" and, with {sinks} sinks, past it up to {positions}")
}

/// Compiles to `output` and says what was not kept losslessly.
fn compile(args: &Args, output: &Path) -> Result<Compiled> {
    let model = lampyris_import::open(&args.model)?;
    let options = options(args, &model)?;
    let json = TextTools::from_model_file(model.file())?.to_json()?;
    let progress = bar(0, "packing", true);
    let compiled = lampyris_compiler::compile(
        &model,
        &Tokenization { json },
        &options,
        output,
        &mut |done, total| {
            progress.set_length(total);
            progress.set_position(done);
        },
    )?;
    progress.finish_and_clear();
    for r in &compiled.requantized {
        note(&format!(
            "note: `{}` re-quantized from {} to 8 bits, relative error {:.2e}",
            r.tensor, r.from, r.relative_error
        ));
    }
    for w in &compiled.widened {
        note(&format!(
            "note: {} tensors of {} take codes of {} bits in place of {}, which the configuration lacks; nothing is lost but room",
            w.tensors, w.from, w.bits, w.stored_bits
        ));
    }
    Ok(compiled)
}
