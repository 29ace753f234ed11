//! `lampyris explore`: what a model would do on many configurations, and what they would cost.

mod plot;

use super::forecast::{self, Forecast};
use super::{JSON_SCHEMA, Target};
use crate::output::{WrongUsage, bar, note, print, table};
use anyhow::Result;
use lampyris_flow::resources::{Resources, resources};
use lampyris_import::Model;
use lampyris_isa::HwConfig;
use lampyris_sim::dram::{DramConfig, Timing};
use lampyris_sim::estimate::PortTiming;
use serde::Serialize;
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Clock over the lowest one at which a port carries the peak of its memory: as `bench memory`
/// runs the RTL.
const HEADROOM: f64 = 1.1;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or `tiny`
    model: String,
    #[command(flatten)]
    target: Target,
    /// Bits of the memory port
    #[arg(long, value_delimiter = ',', default_value = "128,256,512")]
    axi_bits: Vec<u32>,
    /// Rows of the multiplier array, 32 lanes each
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16")]
    mac_rows: Vec<u32>,
    /// Lanes of the special-function unit
    #[arg(long, value_delimiter = ',', default_value = "2,4,8")]
    sfu_lanes: Vec<u32>,
    /// Beats of the weight stream's buffer
    #[arg(long, value_delimiter = ',', default_value = "512,2048")]
    stream_beats: Vec<u32>,
    /// Kinds of memory, such as ddr3-800 or ddr4-2400; without, one that never makes the port wait
    #[arg(long, value_delimiter = ',')]
    memory: Vec<String>,
    /// Channels of the memory, interleaved
    #[arg(long, default_value_t = 1)]
    channels: u32,
    /// Highest clock, MHz; the configuration's own without --memory
    #[arg(long, default_value_t = 350.0)]
    max_clock: f64,
    /// Position of the decoded token
    #[arg(long, default_value_t = 128)]
    position: u64,
    /// Leave out what takes more LUTs
    #[arg(long)]
    max_lut: Option<u64>,
    /// Leave out what takes more multiplier blocks
    #[arg(long)]
    max_dsp: Option<u64>,
    /// Leave out what takes more block memories
    #[arg(long)]
    max_bram: Option<u64>,
    /// List all configurations, not only those that nothing cheaper beats
    #[arg(long)]
    all: bool,
    /// Draw speed against LUTs, as SVG
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One configuration with its forecast.
#[derive(Clone, Debug, Serialize)]
struct Point {
    memory: Option<String>,
    axi_bits: u32,
    mac_rows: u32,
    sfu_lanes: u32,
    stream_beats: u32,
    clock_khz: u32,
    decode: Forecast,
    resources: Resources,
    /// No other point is at least as fast with no more LUTs.
    best: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let model = lampyris_import::open(&args.model)?;
    let options = args.target.options(&model)?;
    if !(1..=options.context as u64).contains(&args.position) {
        let problem = format!(
            "--position is {}, allowed: 1 to {}\n\nhint: --context sets the most positions",
            args.position, options.context
        );
        return Err(WrongUsage(problem).into());
    }
    let configs = configurations(args, options.config)?;
    let mut points = sweep(args, &model, options.context, &configs)?;
    mark_best(&mut points);
    points.sort_by_key(|p| p.resources.lut);
    if let Some(file) = &args.plot {
        plot::write(file, &model.spec().name, &points)?;
    }
    if args.json {
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "level": "modelled",
            "position": args.position,
            "points": points,
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
        return Ok(ExitCode::SUCCESS);
    }
    print(&text(args, &points));
    Ok(ExitCode::SUCCESS)
}

/// Every combination with its memory; a combination out of range is an error.
fn configurations(args: &Args, base: HwConfig) -> Result<Vec<(Option<String>, HwConfig)>> {
    let memories: Vec<Option<String>> = if args.memory.is_empty() {
        vec![None]
    } else {
        args.memory.iter().cloned().map(Some).collect()
    };
    let mut out = Vec::new();
    for memory in &memories {
        for &axi_bits in &args.axi_bits {
            for &mac_rows in &args.mac_rows {
                for &sfu_lanes in &args.sfu_lanes {
                    for &stream_beats in &args.stream_beats {
                        let config = HwConfig {
                            axi_bits,
                            mac_rows,
                            sfu_lanes,
                            stream_beats,
                            ..base
                        };
                        config.check()?;
                        out.push((memory.clone(), config));
                    }
                }
            }
        }
    }
    Ok(out)
}

/// How a memory looks at a port, and the clock that suits both.
fn memory_port(args: &Args, name: &str, config: &mut HwConfig) -> Result<PortTiming> {
    let timing = Timing::named(name)?;
    let dram = match config.channels {
        1 => DramConfig::with_channels(timing, args.channels)?,
        channels => DramConfig::side_by_side(timing, channels)?,
    };
    let matching = f64::from(dram.matching_clock_khz(config.load_beat_bytes()));
    config.clock_khz = (matching * HEADROOM).min(args.max_clock * 1e3).round() as u32;
    Ok(PortTiming::of_dram(&dram, config)?)
}

fn sweep(
    args: &Args,
    model: &Model,
    context: usize,
    configs: &[(Option<String>, HwConfig)],
) -> Result<Vec<Point>> {
    let progress = bar(configs.len() as u64, "estimating", false);
    let mut ports: HashMap<(String, u32), (PortTiming, u32)> = HashMap::new();
    let (mut points, mut blocked) = (Vec::new(), None);
    for (memory, config) in configs {
        progress.inc(1);
        let mut config = *config;
        let cost = resources(&config);
        let over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used > limit);
        if over(args.max_lut, cost.lut)
            || over(args.max_dsp, cost.dsp)
            || over(args.max_bram, cost.bram)
        {
            continue;
        }
        let mut port = PortTiming::FIXED;
        if let Some(name) = memory {
            let key = (name.clone(), config.axi_bits);
            if !ports.contains_key(&key) {
                let port = memory_port(args, name, &mut config)?;
                ports.insert(key.clone(), (port, config.clock_khz));
            }
            (port, config.clock_khz) = ports[&key];
        }
        let options = lampyris_compiler::Options {
            kv: args.target.kv_bits,
            ..lampyris_compiler::Options::new(config, context)
        };
        let plan = match lampyris_compiler::plan(model, &options) {
            Ok(plan) => plan,
            Err(error) => {
                blocked.get_or_insert(error);
                continue;
            }
        };
        points.push(Point {
            memory: memory.clone(),
            axi_bits: config.axi_bits,
            mac_rows: config.mac_rows,
            sfu_lanes: config.sfu_lanes,
            stream_beats: config.stream_beats,
            clock_khz: config.clock_khz,
            decode: forecast::decode(&plan, &config, port, args.position)?,
            resources: cost,
            best: false,
        });
    }
    progress.finish_and_clear();
    match (points.is_empty(), blocked) {
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(WrongUsage(nothing_fits(configs)).into()),
        (false, Some(error)) => {
            let left = configs.len() - points.len();
            note(&format!(
                "note: {left} configurations left out, the first because: {error}"
            ));
            Ok(points)
        }
        (false, None) => Ok(points),
    }
}

/// Names the cheapest, so that the user knows by how much to raise a limit.
fn nothing_fits(configs: &[(Option<String>, HwConfig)]) -> String {
    let costs = configs.iter().map(|(_, config)| resources(config));
    let least = costs.min_by_key(|cost| cost.lut).unwrap_or(Resources {
        lut: 0,
        dsp: 0,
        bram: 0,
    });
    format!(
        "no configuration is within the limits\n\nhint: the one with the fewest LUTs takes {} LUTs, {} \
         multipliers and {} block memories; raise --max-lut, --max-dsp or --max-bram, or sweep smaller ones",
        least.lut, least.dsp, least.bram
    )
}

fn mark_best(points: &mut [Point]) {
    let cost = |p: &Point| {
        (
            p.resources.lut,
            p.decode.tokens_per_second,
            p.memory.clone(),
        )
    };
    let all: Vec<_> = points.iter().map(cost).collect();
    for point in points {
        let (lut, speed, memory) = cost(point);
        point.best = !all
            .iter()
            .any(|(l, s, m)| *m == memory && *l <= lut && *s >= speed && (*l < lut || *s > speed));
    }
}

fn text(args: &Args, points: &[Point]) -> String {
    let heads = [
        "memory",
        "port",
        "lanes",
        "SFU",
        "stream",
        "MHz",
        "tokens/s",
        "port busy",
        "LUT",
        "DSP",
        "BRAM",
    ];
    let mut rows = vec![heads.map(String::from).to_vec()];
    for p in points.iter().filter(|p| args.all || p.best) {
        rows.push(vec![
            p.memory.clone().unwrap_or_else(|| "ideal".into()),
            p.axi_bits.to_string(),
            (32 * p.mac_rows).to_string(),
            p.sfu_lanes.to_string(),
            p.stream_beats.to_string(),
            format!("{:.0}", f64::from(p.clock_khz) / 1e3),
            format!("{:.1}", p.decode.tokens_per_second),
            format!("{:.0} %", 100.0 * p.decode.port_share),
            p.resources.lut.to_string(),
            p.resources.dsp.to_string(),
            p.resources.bram.to_string(),
        ]);
    }
    format!(
        "{}modelled: decode at position {}; LUT, MULT18 and 18-kbit memories of an ECP5\n",
        table(&rows),
        args.position
    )
}
