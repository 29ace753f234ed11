//! `lampyris train-predictor`: low-rank predictors of active neurons, trained on this machine.

use super::JSON_SCHEMA;
use super::calibrate::RuleName;
use crate::calibration::{Calibration, Windows};
use crate::output::{WrongUsage, bar, bytes, note, print, table};
use anyhow::{Context, Result};
use lampyris_import::{Model, saved::TextTools};
use lampyris_kernels::{Kernels, Pool};
use lampyris_pack::Statistics;
use lampyris_runtime::Reference;
use lampyris_runtime::predictor::{
    Active, Header, LayerReport, Predictor, Quality, Rank, RecordError, Recorder, SCHEMA_VERSION,
    Samples, TrainOptions, Trained, identity, record, shapes, teacher, train, write_statistics,
};
use lampyris_runtime::sparse::thresholds::{Measured, ThresholdFile, measure, measure_predictor};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or `tiny`
    model: String,
    #[command(flatten)]
    calibration: Calibration,
    /// Predictor to write
    #[arg(long, short)]
    output: PathBuf,
    /// Rank of all layers, or `auto` for the smallest that suffices in each
    #[arg(long, default_value = "auto", value_parser = parse_rank)]
    rank: Rank,
    /// Share of active neurons to find
    #[arg(long, default_value_t = TrainOptions::default().recall)]
    recall: f64,
    /// Passes over the recorded tokens
    #[arg(long, default_value_t = TrainOptions::default().epochs)]
    epochs: usize,
    /// Seed of training
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Layers trained at the same time [default: one for each processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Also write how often each neuron was active, for `lampyris pack --order hot`
    #[arg(long, value_name = "FILE")]
    statistics: Option<PathBuf>,
    /// Train on what these thresholds leave, for models without ReLU
    #[arg(long, value_name = "FILE", requires = "rule", requires = "sparsity")]
    thresholds: Option<PathBuf>,
    /// Which of the thresholds
    #[arg(long, requires = "thresholds")]
    rule: Option<RuleName>,
    /// Which of the thresholds: neurons left out, in percent
    #[arg(long, requires = "thresholds")]
    sparsity: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_rank(text: &str) -> Result<Rank, String> {
    match text {
        "auto" => Ok(Rank::default()),
        text => match text.parse() {
            Ok(rank) if rank > 0 => Ok(Rank::Fixed(rank)),
            _ => Err("expected a positive number or `auto`".into()),
        },
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !(0.5..=1.0).contains(&args.recall) {
        let message = format!("a recall of {}\n\nhint: give 0.5 to 1", args.recall);
        return Err(WrongUsage(message).into());
    }
    let model = lampyris_import::open(&args.model)?;
    let active = active(args, &model)?;
    active.check(&model)?;
    let tools = TextTools::from_model_file(model.file())?;
    let windows = args
        .calibration
        .windows(&tools, model.spec().context_length)?;
    note("note: running the model with the f32 reference executor; this takes minutes");
    let reference = Reference::new(&model)?;
    let (samples, statistics) = recorded(args, &model, &reference, &windows, &active)?;
    if let Some(path) = &args.statistics {
        write_statistics(&statistics, path)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        note(&format!("wrote {}", path.display()));
    }
    let trained = trained(args, &model, &samples)?;
    let predictor = assemble(args, &model, &active, &samples, trained)?;
    predictor.write(&args.output)?;
    note(&format!("wrote {}", args.output.display()));
    let effect = match windows.judging.is_empty() {
        true => None,
        false => Some(effect(&reference, &windows, &predictor)?),
    };
    let weights = model.summary()?.parameters;
    print(&match args.json {
        true => json_report(&predictor, weights, effect.as_ref())?,
        false => text_report(&predictor, weights, effect.as_ref()),
    });
    Ok(ExitCode::SUCCESS)
}

/// What counts as active.
fn active(args: &Args, model: &Model) -> Result<Active> {
    let (Some(path), Some(rule), Some(percent)) = (&args.thresholds, args.rule, args.sparsity)
    else {
        return Ok(Active::NonZero);
    };
    let file = ThresholdFile::read(path)?;
    let identity = identity(model)?;
    let layers = model.spec().layers.len();
    let name = path.display().to_string();
    let entry = file.find(rule.into(), percent / 100.0, &identity, layers, &name)?;
    note(&format!(
        "note: these thresholds change perplexity by {:+.1} % before any prediction",
        entry.loss(&file.dense) * 100.0
    ));
    Ok(Active::Above(entry.rule, entry.values.clone()))
}

fn recorded(
    args: &Args,
    model: &Model,
    reference: &Reference<'_>,
    windows: &Windows,
    active: &Active,
) -> Result<(Samples, Statistics)> {
    let folder = match args.output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let tokens = windows.calibration_tokens();
    let mut recorder = Recorder::new(folder, shapes(model), tokens)?;
    let progress = bar(tokens as u64, "recording", false);
    let windows = &windows.calibration;
    let statistics = record(model, reference, windows, active, &mut recorder, &mut |n| {
        progress.set_position(n as u64);
    })?;
    progress.finish_and_clear();
    Ok((recorder.finish(1)?, statistics))
}

fn trained(args: &Args, model: &Model, samples: &Samples) -> Result<Vec<Trained>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let options = TrainOptions {
        rank: args.rank,
        recall: args.recall,
        epochs: args.epochs,
        seed: args.seed,
        threads: args.threads.unwrap_or(processors),
        ..TrainOptions::default()
    };
    let progress = bar(samples.shapes().len() as u64, "training layers", false);
    let thresholds = args.thresholds.is_some();
    let gate = |layer: usize| -> Result<_, RecordError> {
        match thresholds {
            // A magnitude above a threshold is not the sign of a projection.
            true => Ok(None),
            false => teacher(model, layer),
        }
    };
    let trained = train(&Kernels::detect()?, samples, &gate, &options, &|p| {
        progress.set_position(p.done as u64)
    })?;
    progress.finish_and_clear();
    Ok(trained)
}

fn assemble(
    args: &Args,
    model: &Model,
    active: &Active,
    samples: &Samples,
    trained: Vec<Trained>,
) -> Result<Predictor> {
    let report = |t: &Trained| LayerReport {
        inputs: t.predictor.inputs,
        rank: t.predictor.rank,
        neurons: t.predictor.neurons,
        threshold: t.predictor.threshold,
        quality: t.quality,
    };
    let header = Header {
        schema_version: SCHEMA_VERSION,
        model: identity(model)?,
        model_name: model.spec().name.clone(),
        activity: active.name().into(),
        target_recall: args.recall,
        tokens: samples.tokens() as u64,
        seed: args.seed,
        layers: trained.iter().map(report).collect(),
    };
    let layers = trained.into_iter().map(|t| t.predictor).collect();
    Ok(Predictor { header, layers })
}

/// Perplexity without and with the predictor.
fn effect(
    reference: &Reference<'_>,
    windows: &Windows,
    predictor: &Predictor,
) -> Result<(Measured, Measured)> {
    let tokens = windows.judging_tokens() as u64;
    let progress = bar(2 * tokens, "judging", false);
    let windows = &windows.judging;
    let dense = measure(reference, windows, None, &mut |n| {
        progress.set_position(n as u64)
    })?;
    let (kernels, pool) = (Kernels::detect()?, Pool::new(1)?);
    let (predicted, _) =
        measure_predictor(&kernels, &pool, reference, windows, predictor, &mut |n| {
            progress.set_position(tokens + n as u64);
        })?;
    progress.finish_and_clear();
    Ok((dense, predicted))
}

fn text_report(
    predictor: &Predictor,
    weights: u64,
    effect: Option<&(Measured, Measured)>,
) -> String {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let head = [
        "layer",
        "rank",
        "active",
        "recall",
        "missed",
        "false alarms",
        "predicted/active",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    let row = |name: String, rank: String, q: &Quality| {
        vec![
            name,
            rank,
            percent(q.density()),
            percent(q.recall()),
            percent(q.false_negatives()),
            percent(q.false_positives()),
            format!("{:.2}", q.over_prediction()),
        ]
    };
    for (i, layer) in predictor.header.layers.iter().enumerate() {
        rows.push(row(i.to_string(), layer.rank.to_string(), &layer.quality));
    }
    rows.push(row("all".into(), "-".into(), &predictor.quality()));
    let size = predictor.bytes();
    let share = parameters(predictor) as f64 / weights as f64;
    let mut text = format!(
        "{}{} in memory, with {:.2} % as many weights as the model; judged on tokens that training did not see\n",
        table(&rows),
        bytes(size as u64),
        share * 100.0
    );
    if let Some((dense, predicted)) = effect {
        text.push_str(&format!(
            "perplexity {:.3} → {:.3} ({:+.2} %) on {} tokens, computing {:.1} % of the neurons\n",
            dense.perplexity,
            predicted.perplexity,
            (predicted.perplexity / dense.perplexity - 1.0) * 100.0,
            dense.tokens,
            (1.0 - predicted.sparsity) * 100.0
        ));
    }
    text
}

fn parameters(predictor: &Predictor) -> usize {
    let layers = predictor.layers.iter();
    layers
        .map(|l| l.rank * (l.inputs + l.neurons) + l.neurons)
        .sum()
}

fn json_report(
    predictor: &Predictor,
    weights: u64,
    effect: Option<&(Measured, Measured)>,
) -> Result<String> {
    let quality = |q: &Quality| {
        json!({
            "active": q.density(),
            "recall": q.recall(),
            "false_negatives": q.false_negatives(),
            "false_positives": q.false_positives(),
            "over_prediction": q.over_prediction(),
        })
    };
    let layers = predictor.header.layers.iter().map(|layer| {
        json!({
            "rank": layer.rank,
            "threshold": layer.threshold,
            "quality": quality(&layer.quality),
        })
    });
    let value = json!({
        "schema_version": JSON_SCHEMA,
        "model": predictor.header.model_name,
        "tokens": predictor.header.tokens,
        "bytes": predictor.bytes(),
        "share_of_weights": parameters(predictor) as f64 / weights as f64,
        "quality": quality(&predictor.quality()),
        "layers": layers.collect::<Vec<_>>(),
        "perplexity": effect.map(|(dense, predicted)| json!({
            "tokens": dense.tokens,
            "dense": dense.perplexity,
            "predicted": predicted.perplexity,
            "computed_neurons": 1.0 - predicted.sparsity,
        })),
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&value)?))
}
