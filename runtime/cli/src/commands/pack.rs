//! `lampyris pack`.

use super::JSON_SCHEMA;
use super::engine::storage;
use crate::output::{WrongUsage, bar, bytes, grouped, note, print, table};
use anyhow::{Result, bail};
use lampyris_flash::{TensorType, block::CAN_QUANTIZE};
use lampyris_io::probe::Origin;
use lampyris_pack::{Forecast, Layout, Options, Packed, Plan, Report, Requantized, Statistics};
use lampyris_runtime::sparse::SparseOptions;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or `tiny`; with --verify a packed file
    model: String,
    /// File to write
    #[arg(long, short, required_unless_present = "verify")]
    output: Option<PathBuf>,
    /// How FFNs lie: `dense` as in the model, `bundled` neuron by neuron; `auto` bundles ReLU models
    #[arg(long, default_value = "auto")]
    layout: LayoutArg,
    /// Format of the down projection in bundles [default: Q8_0, or the model's if it has no blocks]
    #[arg(long, value_parser = tensor_type, value_name = "TYPE")]
    down_type: Option<TensorType>,
    /// Bytes that one read of neurons should have [default: by what `lampyris probe` found of the
    /// storage of the output, else 64 KiB]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    group: Option<u32>,
    /// Statistics of neurons: the busy ones come first in their layer
    #[arg(long, value_name = "FILE")]
    order: Option<PathBuf>,
    /// Compare every byte of a packed file with its hashes
    #[arg(long, conflicts_with_all = ["output", "layout", "down_type", "group", "order"])]
    verify: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LayoutArg {
    Auto,
    Dense,
    Bundled,
}

fn tensor_type(name: &str) -> Result<TensorType, String> {
    let found = TensorType::all().find(|ty| ty.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("no such format; {CAN_QUANTIZE}"))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.verify {
        return verify(Path::new(&args.model), args.json);
    }
    let Some(output) = &args.output else {
        return Err(WrongUsage("give the file to write with -o".into()).into());
    };
    let layout = match args.layout {
        LayoutArg::Auto => None,
        LayoutArg::Dense => Some(Layout::Dense),
        LayoutArg::Bundled => Some(Layout::Bundled),
    };
    let options = Options {
        layout,
        down_type: args.down_type,
        group_bytes: match args.group {
            Some(bytes) => Some(bytes as usize),
            None => probed_group(output)?,
        },
        statistics: args.order.as_ref().map(Statistics::open).transpose()?,
    };
    let start = Instant::now();
    let plan = Plan::new(&args.model, &options)?;
    let forecast = plan.forecast();
    note(&forecast_text(&args.model, output, &forecast));
    let progress = bar(forecast.bytes, "packing", true);
    let report = plan.write(output, &mut |done, _| progress.set_position(done));
    progress.finish_and_clear();
    let report = report?;
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let value = json_report(output, &forecast, &report, seconds);
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
        return Ok(ExitCode::SUCCESS);
    }
    note(&requantized_text(&report.requantized));
    if report.resumed > 0 {
        note(&format!(
            "continued: {} of {} sections were complete from an earlier run",
            report.resumed, report.sections
        ));
    }
    note(&format!(
        "packed {} into {} in {seconds:.1} s: {}, layout {}",
        args.model,
        output.display(),
        bytes(report.bytes),
        forecast.layout.name()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The group that suits the storage of `output`, if it was probed.
fn probed_group(output: &Path) -> Result<Option<usize>> {
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        // Writing will say what is wrong with it.
        return Ok(None);
    }
    let profile = storage(folder)?.filter(|p| p.origin == Origin::Measured);
    let depth = SparseOptions::default().depth;
    Ok(profile.map(|p| p.economical_read(depth) as usize))
}

fn forecast_text(model: &str, output: &Path, forecast: &Forecast) -> String {
    let mut text = format!(
        "{model}: {} will become {}, layout {}",
        bytes(forecast.source_bytes),
        bytes(forecast.bytes),
        forecast.layout.name()
    );
    if let Some((neurons, group)) = forecast.groups {
        text += &format!(", {neurons} neurons in each {}", bytes(group as u64));
    }
    if let Some(free) = lampyris_pack::free_bytes(output) {
        text += &format!("; {} are free there", bytes(free));
    }
    if let Some((from, to)) = forecast.requantize {
        text += &format!(
            "\nnote: down projections are re-quantized from {from} to {to}, as blocks must run along neurons; everything else stays as it is"
        );
    }
    text
}

/// Errors layer by layer, in one line if they are alike.
fn requantized_text(requantized: &[Requantized]) -> String {
    let errors = requantized.iter().map(|r| r.relative_rms);
    let (Some(first), Some(last)) = (requantized.first(), requantized.last()) else {
        return "every weight has its value from the model".into();
    };
    let least = errors.clone().fold(f32::INFINITY, f32::min);
    let most = errors.fold(0.0, f32::max);
    format!(
        "re-quantized {} to {}: {} to {}, RMS error {least:.2e} to {most:.2e} of the weights' RMS (--json lists every layer)",
        first.from, first.to, first.tensor, last.tensor
    )
}

fn json_report(output: &Path, forecast: &Forecast, report: &Report, seconds: f64) -> Value {
    let requantized = report.requantized.iter().map(|r| {
        json!({
            "tensor": r.tensor, "from": r.from.name(), "to": r.to.name(),
            "relative_rms": r.relative_rms,
        })
    });
    json!({
        "schema_version": JSON_SCHEMA,
        "output": output,
        "layout": forecast.layout.name(),
        "source_bytes": forecast.source_bytes,
        "bytes": report.bytes,
        "sections": report.sections,
        "sections_resumed": report.resumed,
        "group_neurons": forecast.groups.map(|g| g.0),
        "group_bytes": forecast.groups.map(|g| g.1),
        "requantized": requantized.collect::<Vec<_>>(),
        "seconds": seconds,
    })
}

fn verify(path: &Path, as_json: bool) -> Result<ExitCode> {
    let packed = Packed::open(path)?;
    let progress = bar(packed.bytes(), "verifying", true);
    let found = packed.verify(&mut |done| progress.set_position(done));
    progress.finish_and_clear();
    let found = found?;
    let damaged: Vec<&str> = found
        .sections
        .iter()
        .filter(|(.., intact)| !intact)
        .map(|(name, ..)| name.as_str())
        .collect();
    if as_json {
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "file": path,
            "layout": packed.layout().name(),
            "bytes": packed.bytes(),
            "intact": found.is_intact(),
            "sections": found.sections.iter().map(|(name, bytes, intact)| {
                json!({"name": name, "bytes": bytes, "intact": intact})
            }).collect::<Vec<_>>(),
            "bad_units": found.bad_units.iter().map(|(section, offset)| {
                json!({"section": section, "offset": offset})
            }).collect::<Vec<_>>(),
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    } else {
        let row = |(name, size, intact): &(String, u64, bool)| {
            let state = if *intact { "intact" } else { "DAMAGED" };
            vec![name.clone(), bytes(*size), state.into()]
        };
        print(&table(&found.sections.iter().map(row).collect::<Vec<_>>()));
    }
    if found.is_intact() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "`{}`: {} damaged sections ({}), {} bad units\n\nhint: pack the model again; if it happens again, suspect the storage",
        path.display(),
        damaged.len(),
        damaged.join(", "),
        grouped(found.bad_units.len() as u64)
    )
}
