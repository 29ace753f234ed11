//! Eight HBM2 pseudo-channels side by side: decode steps of layers in the shape of LLaMA-2-7B on the
//! Verilated RTL with the DRAM model behind every channel, as a share of what the pins carry; and
//! what four such cores would make of a U280.
//!
//! `cargo xtask bench channels`. A layer is the difference of models of three layers and of two,
//! so that neither the first loads nor the output projection blur it. Weights and the contents of
//! the KV cache are random; model and RTL must agree on all that the step writes.
#![expect(clippy::print_stdout, reason = "the report is this program's result")]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use lampyris_bundle::{Bundle, ContentKind};
use lampyris_flash::{Gguf, TensorType};
use lampyris_isa::HwConfig;
use lampyris_sim::dram::{DramConfig, Timing};
use lampyris_sim::estimate::PortTiming;
use lampyris_sim::rtl::{Features, RtlDevice, RtlOptions, build, default_rtl_root};
use lampyris_sim::session::{Call, Session, Want, memory};
use lampyris_sim::{Limits, Memory, Model};
use lampyris_tests::calls::{estimated, program};
use lampyris_tests::figures::{Figures, Level, Target};
use lampyris_tests::synth::{Shape, Synthetic};
use lampyris_tests::{CompiledDir, compile_without_text};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use verilator_sys::Design;

/// Pseudo-channels of a core; four such cores take the 32 of a U280.
const CHANNELS: u32 = 8;

/// Positions of the KV cache.
const CONTEXT: usize = 1024;

/// Layers of the two models whose difference is a layer.
const LAYERS: [usize; 2] = [2, 3];

/// The token of every step.
const TOKEN: u32 = 7;

#[derive(Parser)]
#[command(about = "Share of eight HBM2 channels' peak that a layer of LLaMA-2-7B reaches")]
struct Args {
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Tokens that the measured step sees, itself included; several lengths one after the other
    #[arg(long, value_delimiter = ',', default_value = "128,1024")]
    kv_length: Vec<usize>,
    /// Clock over the one at which the ports carry the pins' peak
    #[arg(long, default_value_t = 1.2)]
    headroom: f64,
    /// Only the estimator, without the RTL
    #[arg(long)]
    estimate: bool,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Eight channels of 512 bits with four rows of multipliers each.
fn config(dram: &DramConfig, headroom: f64) -> HwConfig {
    let mut config = HwConfig {
        channels: CHANNELS,
        max_tokens: 1,
        xbuf_blocks: 1 << 11,
        stream_beats: 4096,
        icache_lines: 1024,
        queue_depth: 16,
        weight_bits: 1 << 4 | 1 << 6 | 1 << 8,
        sparsity: 1,
        ..HwConfig::WIDE
    };
    let matching = f64::from(dram.matching_clock_khz(config.load_beat_bytes()));
    config.clock_khz = (matching * headroom).round() as u32;
    config
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    ensure!(
        args.headroom.is_finite() && (0.1..=10.0).contains(&args.headroom),
        "--headroom is {}, allowed: 0.1 to 10",
        args.headroom
    );
    if let Some(bad) = args.kv_length.iter().find(|&l| !(1..=CONTEXT).contains(l)) {
        bail!("--kv-length is {bad}, allowed: 1 to {CONTEXT}");
    }
    let dram = DramConfig::side_by_side(Timing::HBM2, CHANNELS)?;
    // A U280 has no headroom: 225 MHz beside memory of 900 MHz.
    let (config, matched) = (config(&dram, args.headroom), config(&dram, 1.0));
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut figures = Figures::default();
    let dense = models(folder.path(), TensorType::Q4_0, matched)?;
    if !args.estimate {
        eprintln!("building the RTL with {CHANNELS} channels");
        let design = build(&default_rtl_root(), &config, Features::default())?;
        for &length in &args.kv_length {
            rtl(&design, (&dram, config), &dense, length, &mut figures)?;
        }
    }
    let port = PortTiming::of_dram(&dram, &matched)?;
    for &length in &args.kv_length {
        let layer = estimated_layer(&dense, port, length)?;
        let name = format!("INT4 at {length}: cycles of a layer without headroom, estimator");
        figures.add(name, layer.cycles, "", Level::Modelled);
        let name = format!("INT4 at {length}: beats of a layer");
        figures.add(name, layer.beats, "", Level::Modelled);
    }
    drop(dense);
    let sparse = models(folder.path(), TensorType::Q4_2OF4, matched)?;
    u280::report(&sparse, port, &args.kv_length, &mut figures)?;
    println!("{}", figures.table());
    if let Some(file) = &args.json {
        let details = json!({ "kv_length": args.kv_length, "headroom": args.headroom });
        figures.write_json(file, &details)?;
    }
    Ok(if figures.pass() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Compiled models of [`LAYERS`] layers.
fn models(folder: &Path, ty: TensorType, config: HwConfig) -> Result<[CompiledDir; 2]> {
    let tokenizer = Gguf::parse(lampyris_import::tiny_gguf())?;
    let model = |layers| -> Result<CompiledDir> {
        eprintln!("{layers} layers in {}", ty.name());
        let path = folder.join("model.gguf");
        let synthetic = Synthetic {
            shape: Shape {
                layers,
                ..Shape::LLAMA2_7B
            },
            ty,
            seed: 1,
            holes: false,
            relu: false,
        };
        synthetic.write(&tokenizer, &path)?;
        Ok(compile_without_text(
            &lampyris_import::open(&path)?,
            config,
            CONTEXT,
        ))
    };
    Ok([model(LAYERS[0])?, model(LAYERS[1])?])
}

/// A memory whose KV cache holds random keys and values of all positions.
fn with_cache(bundle: &Bundle) -> Result<Memory> {
    let mut memory = memory(bundle)?;
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (tile, header) = (
        bundle.config.tile_bytes(8, true),
        bundle.config.header_bytes(),
    );
    for content in &bundle.contents {
        let ContentKind::Cache {
            key_bytes,
            value_bytes,
            scale_bytes,
            ..
        } = content.kind
        else {
            continue;
        };
        let (keys, values) = (key_bytes as usize, (key_bytes + value_bytes) as usize);
        let mut head = vec![0u8; (key_bytes + value_bytes + scale_bytes) as usize];
        for at in (content.base..content.base + content.bytes).step_by(head.len()) {
            for (i, word) in head.chunks_exact_mut(4).enumerate() {
                let scale = 1.0 + (random() >> 40) as f32 / (1 << 24) as f32;
                let bytes = if 4 * i < keys && 4 * i % tile < header {
                    // An f16 scale of about 1/64 and no minimum.
                    (u32::from(half::f16::from_f32(scale / 64.0).to_bits())).to_le_bytes()
                } else if 4 * i < values {
                    (random() as u32).to_le_bytes()
                } else {
                    (scale / 64.0).to_le_bytes()
                };
                word.copy_from_slice(&bytes);
            }
            memory.write(at, &head)?;
        }
    }
    Ok(memory)
}

/// A decode step on the functional model and on the RTL.
fn step(
    design: &Design,
    (dram, config): (&DramConfig, HwConfig),
    compiled: &CompiledDir,
    length: usize,
) -> Result<Call> {
    let bundle = &compiled.bundle;
    let before = with_cache(bundle)?;
    let mut model = Model::new(bundle.config, before.clone())?;
    let mut session = Session::resume(bundle, &mut model, Limits::default(), length - 1)?;
    let expected = session.feed(&[TOKEN], Want::Token)?.remove(0).next;
    let options = RtlOptions {
        dram: Some(dram.clone()),
        ..RtlOptions::default()
    };
    let mut rtl = RtlDevice::new(design, config, before, &options)?;
    let mut session = Session::resume(bundle, &mut rtl, Limits::default(), length - 1)?;
    let call = session.feed(&[TOKEN], Want::Token)?.remove(0);
    ensure!(
        call.next == expected,
        "the RTL chose {:?}, the model {expected:?}",
        call.next
    );
    for ((name, _, ours), (_, _, theirs)) in model.memory().writable().zip(rtl.memory().writable())
    {
        ensure!(ours == theirs, "`{name}` differs between model and RTL");
    }
    Ok(call)
}

/// Measures a layer on the RTL.
fn rtl(
    design: &Design,
    (dram, config): (&DramConfig, HwConfig),
    models: &[CompiledDir; 2],
    length: usize,
    figures: &mut Figures,
) -> Result<()> {
    let mut calls = Vec::new();
    for (compiled, layers) in models.iter().zip(LAYERS) {
        eprintln!("decoding a token with {layers} layers at {length} on the RTL");
        calls.push(step(design, (dram, config), compiled, length)?);
    }
    let clock = f64::from(config.clock_khz) * 1e3;
    let bytes = |call: &Call| {
        let written = call.counters.get("write_beats") as f64 * f64::from(config.beat_bytes());
        call.counters.dram_read_bytes(&config) as f64 + written
    };
    let cycles = |call: &Call| call.counters.get("cycles") as f64;
    let share = |bytes, cycles: f64| 100.0 * dram.share(bytes, cycles / clock);
    let layer_cycles = cycles(&calls[1]) - cycles(&calls[0]);
    let layer_bytes = bytes(&calls[1]) - bytes(&calls[0]);
    let level = Level::RtlSimulated;
    let name = |what: &str| format!("INT4 at {length}: {what}");
    figures.judge(
        name("a layer, share of the pins' peak, refresh included"),
        share(layer_bytes, layer_cycles),
        "%",
        level,
        Target::AtLeast(90.0),
    );
    let whole = format!(
        "whole call of {} layers, share of the pins' peak",
        LAYERS[1]
    );
    figures.add(
        name(&whole),
        share(bytes(&calls[1]), cycles(&calls[1])),
        "%",
        level,
    );
    let limit = 100.0 * dram.timing.refresh_limit();
    figures.add(name("left by refresh"), limit, "% of the pins' peak", level);
    figures.add(name("cycles of a layer"), layer_cycles, "", level);
    figures.add(name("bytes of a layer"), layer_bytes, "B", level);
    figures.add(name("accelerator's clock"), clock / 1e6, "MHz", level);
    for unit in ["busy_mm", "busy_sfu", "mm_starved", "stream_full"] {
        let of = |call: &Call| call.counters.get(unit) as f64;
        let part = 100.0 * (of(&calls[1]) - of(&calls[0])) / layer_cycles;
        figures.add(name(unit), part, "% of a layer's cycles", level);
    }
    Ok(())
}

/// What the estimator says of a layer.
struct Layer {
    cycles: f64,
    /// Beats of weights, keys and values.
    beats: f64,
}

fn estimated_layer(models: &[CompiledDir; 2], port: PortTiming, length: usize) -> Result<Layer> {
    let of = |compiled: &CompiledDir| {
        let bundle = &compiled.bundle;
        let program = program(bundle)?;
        estimated(bundle, &program, &bundle.config, port, (length - 1, 1))
    };
    let (few, more) = (of(&models[0])?, of(&models[1])?);
    Ok(Layer {
        cycles: more.cycles - few.cycles,
        beats: more.read_beats - few.read_beats,
    })
}

#[path = "channels/u280.rs"]
mod u280;
