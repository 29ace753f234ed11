//! `lampyris calibrate`: thresholds for models without exact zeros, and what they cost.

use super::JSON_SCHEMA;
use crate::calibration::Calibration;
use crate::output::{WrongUsage, bar, note, print, table};
use anyhow::{Result, bail};
use lampyris_import::saved::TextTools;
use lampyris_runtime::Reference;
use lampyris_runtime::predictor::identity;
use lampyris_runtime::sparse::thresholds::{
    Measured, Rule, SCHEMA_VERSION, ThresholdFile, Thresholds, distributions, measure,
};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or `tiny`
    model: String,
    #[command(flatten)]
    calibration: Calibration,
    /// What is compared: `gate` skips reading up and down, `product` skips reading down
    #[arg(long, value_delimiter = ',', default_value = "gate,product")]
    rule: Vec<RuleName>,
    /// Neurons to leave out, in percent
    #[arg(long, value_delimiter = ',', default_value = "30,50,70")]
    sparsity: Vec<f64>,
    /// Write the thresholds to this file, for `--thresholds` of other commands
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The names of the rules on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum RuleName {
    /// |act(gate)|
    Gate,
    /// |act(gate) * up|
    Product,
}

impl From<RuleName> for Rule {
    fn from(name: RuleName) -> Self {
        match name {
            RuleName::Gate => Self::Gate,
            RuleName::Product => Self::Product,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(wrong) = args.sparsity.iter().find(|s| !(0.0..100.0).contains(*s)) {
        let message = format!("a sparsity of {wrong} %\n\nhint: give percents from 0 to below 100");
        return Err(WrongUsage(message).into());
    }
    let model = lampyris_import::open(&args.model)?;
    let tools = TextTools::from_model_file(model.file())?;
    let windows = args
        .calibration
        .windows(&tools, model.spec().context_length)?;
    if windows.judging.is_empty() {
        bail!("there is no text to judge with\n\nhint: leave --eval-tokens at its default");
    }
    let rules: Vec<Rule> = args.rule.iter().map(|&r| r.into()).collect();
    note("note: evaluating with the f32 reference executor; this takes minutes");
    let reference = Reference::new(&model)?;
    let progress = bar(windows.calibration_tokens() as u64, "calibrating", false);
    let found = distributions(&reference, &windows.calibration, &rules, &mut |n| {
        progress.set_position(n as u64);
    })?;
    progress.finish_and_clear();
    let runs = 1 + rules.len() * args.sparsity.len();
    let progress = bar((runs * windows.judging_tokens()) as u64, "judging", false);
    let judge = |thresholds: Option<(Rule, &[f32])>| -> Result<Measured> {
        let before = progress.position();
        Ok(measure(
            &reference,
            &windows.judging,
            thresholds,
            &mut |n| {
                progress.set_position(before + n as u64);
            },
        )?)
    };
    let dense = judge(None)?;
    let mut entries = Vec::new();
    for (&rule, layers) in rules.iter().zip(&found) {
        for &percent in &args.sparsity {
            let target = percent / 100.0;
            let values: Vec<f32> = layers.iter().map(|d| d.quantile(target)).collect();
            let measured = judge(Some((rule, &values)))?;
            entries.push(Thresholds {
                rule,
                target,
                values,
                measured,
            });
        }
    }
    progress.finish_and_clear();
    let file = ThresholdFile {
        schema_version: SCHEMA_VERSION,
        model: identity(&model)?,
        model_name: model.spec().name.clone(),
        dense,
        entries,
    };
    if let Some(path) = &args.output {
        file.write(path)?;
        note(&format!("wrote {}", path.display()));
    }
    print(&report(&file, args.json)?);
    Ok(ExitCode::SUCCESS)
}

/// What the thresholds cost, as text or JSON.
fn report(file: &ThresholdFile, json: bool) -> Result<String> {
    if json {
        let rows = file.entries.iter().map(|e| {
            json!({
                "rule": e.rule,
                "target": e.target,
                "sparsity": e.measured.sparsity,
                "perplexity": e.measured.perplexity,
                "loss": e.loss(&file.dense),
            })
        });
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "model": file.model_name,
            "tokens": file.dense.tokens,
            "dense_perplexity": file.dense.perplexity,
            "thresholds": rows.collect::<Vec<_>>(),
        });
        return Ok(format!("{}\n", serde_json::to_string_pretty(&value)?));
    }
    let head = ["rule", "target", "left out", "perplexity", "loss"];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.push(vec![
        "dense".into(),
        "-".into(),
        "-".into(),
        format!("{:.2}", file.dense.perplexity),
        "-".into(),
    ]);
    rows.extend(file.entries.iter().map(|e| {
        vec![
            e.rule.name().into(),
            format!("{:.0} %", e.target * 100.0),
            format!("{:.1} %", e.measured.sparsity * 100.0),
            format!("{:.2}", e.measured.perplexity),
            format!("{:+.1} %", e.loss(&file.dense) * 100.0),
        ]
    }));
    let tokens = file.dense.tokens;
    Ok(format!("{}measured on {tokens} tokens\n", table(&rows)))
}
