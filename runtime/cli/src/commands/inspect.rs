//! `lampyris inspect`.

use super::forecast::{self, Forecast, PROMPT};
use super::{JSON_SCHEMA, Target};
use crate::output::{bytes, grouped, print, table};
use anyhow::Result;
use lampyris_compiler::format::{stored, tiles};
use lampyris_import::Model;
use lampyris_import::graph::Op;
use lampyris_isa::HwConfig;
use lampyris_sim::estimate::PortTiming;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or `tiny`
    model: String,
    #[command(flatten)]
    target: Target,
    /// List every operation of the graph
    #[arg(long)]
    graph: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Fit {
    config: String,
    #[serde(skip)]
    hw: HwConfig,
    #[serde(skip)]
    port: PortTiming,
    context: usize,
    /// Why it does not compile, if it does not.
    blocker: Option<String>,
    prefill_tokens: Option<u32>,
    dram_bytes: Option<u64>,
    program_bytes: Option<u64>,
    forecasts: Vec<Forecast>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let model = lampyris_import::open(&args.model)?;
    let fit = fit(&model, &args.target)?;
    if args.json {
        print(&format!("{}\n", json_report(&model, &fit)?));
        return Ok(ExitCode::SUCCESS);
    }
    print(&text_report(&model, &fit)?);
    if args.graph {
        print(&graph_listing(&model));
    }
    Ok(ExitCode::SUCCESS)
}

fn fit(model: &Model, target: &Target) -> Result<Fit> {
    let board = target.board()?;
    let options = target.options(model)?;
    let port = forecast::port(&board);
    let mut fit = Fit {
        config: target.config.clone(),
        hw: options.config,
        port,
        context: options.context,
        blocker: None,
        prefill_tokens: None,
        dram_bytes: None,
        program_bytes: None,
        forecasts: Vec::new(),
    };
    match lampyris_compiler::plan(model, &options) {
        Err(e) => fit.blocker = Some(e.to_string()),
        Ok(plan) => {
            fit.prefill_tokens = Some(plan.buffers.tokens);
            fit.dram_bytes = plan.regions.iter().map(|r| r.base + r.bytes).max();
            fit.program_bytes = plan.regions.first().map(|r| r.bytes);
            for position in [128, 1024]
                .into_iter()
                .filter(|&p| p <= options.context as u64)
            {
                fit.forecasts
                    .push(forecast::decode(&plan, &options.config, port, position)?);
            }
            let prompt = PROMPT.min(options.context as u64);
            fit.forecasts
                .push(forecast::prefill(&plan, &options.config, port, prompt)?);
        }
    }
    Ok(fit)
}

/// Tensors by stored type: count, bytes, and how they are packed.
fn by_type(model: &Model, hw: &HwConfig) -> Result<BTreeMap<&'static str, (u64, u64, String)>> {
    let mut types = BTreeMap::new();
    for tensor in model.tensors() {
        let view = model.tensor_view(tensor)?;
        let packed = match (view.shape.len(), tiles(view.ty, hw)) {
            (1, _) => "f32".to_owned(),
            (_, None) => "needs `sparsity`, which the configuration lacks".to_owned(),
            (_, Some(tiles)) if stored(view.ty).is_some() => format!("{tiles}, lossless"),
            (_, Some(tiles)) => format!("{tiles}, re-quantized"),
        };
        let entry = types.entry(view.ty.name()).or_insert((0, 0, packed));
        entry.0 += 1;
        entry.1 += view.data.len() as u64;
    }
    Ok(types)
}

fn text_report(model: &Model, fit: &Fit) -> Result<String> {
    let spec = model.spec();
    let summary = model.summary()?;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let layer = &spec.layers[0];
    let uniform = spec.layers.iter().all(|l| l == layer);
    let shape = format!(
        "{} × (d {}, {} heads, {} kv heads, head {}, ffn {}){}",
        spec.layers.len(),
        spec.d_model,
        layer.n_heads,
        layer.n_kv_heads,
        layer.head_dim_k,
        layer.ffn_dim,
        if uniform {
            ""
        } else {
            " and others: see --graph"
        }
    );
    let mut rows = vec![
        row("model", spec.name.clone()),
        row("architecture", spec.architecture.to_string()),
        row("layers", shape),
        row("vocabulary", grouped(spec.vocab_size as u64)),
        row("context", grouped(spec.context_length as u64)),
        row("parameters", grouped(summary.parameters)),
        row(
            "multiplications per token",
            grouped(summary.linear_macs_per_token),
        ),
        row(
            "KV elements per token",
            grouped(summary.kv_elements_per_token),
        ),
    ];
    for (name, (count, size, packed)) in by_type(model, &fit.hw)? {
        rows.push(row(
            &format!("{name} × {count}"),
            format!("{} → {packed}", bytes(size)),
        ));
    }
    let mut out = left_table(&rows);
    out.push_str(&format!(
        "\nconfiguration `{}`, {} positions\n",
        fit.config,
        grouped(fit.context as u64)
    ));
    if let Some(blocker) = &fit.blocker {
        out.push_str(&format!("does not fit: {blocker}\n"));
        return Ok(out);
    }
    let mut rows = vec![
        row(
            "tokens per prefill call",
            fit.prefill_tokens.unwrap_or(0).to_string(),
        ),
        row("DRAM", bytes(fit.dram_bytes.unwrap_or(0))),
        row("program", bytes(fit.program_bytes.unwrap_or(0))),
    ];
    for f in &fit.forecasts {
        let text = format!(
            "{:.1} tokens/s, {} cycles, {}, port busy {:.0} %, multipliers {:.0} %, bound by {} (modelled)",
            f.tokens_per_second,
            grouped(f.cycles),
            bytes(f.bytes),
            100.0 * f.port_share,
            100.0 * f.mac_share,
            f.bound(fit.port),
        );
        let name = if f.tokens == 1 {
            format!("decode at position {}", f.position)
        } else {
            format!("prompt of {} tokens", f.tokens)
        };
        rows.push(row(&name, text));
    }
    out.push_str(&left_table(&rows));
    Ok(out)
}

/// Two columns, both to the left.
fn left_table(rows: &[Vec<String>]) -> String {
    let width = rows.iter().map(|r| r[0].chars().count()).max().unwrap_or(0);
    rows.iter()
        .map(|r| {
            format!(
                "{}{}  {}\n",
                r[0],
                " ".repeat(width - r[0].chars().count()),
                r[1]
            )
        })
        .collect()
}

fn graph_listing(model: &Model) -> String {
    let graph = model.graph();
    let mut rows = vec![
        ["operation", "kind", "width", "inputs"]
            .map(String::from)
            .to_vec(),
    ];
    for (id, node) in graph.nodes() {
        let inputs: Vec<&str> = graph
            .inputs(id)
            .into_iter()
            .map(|i| graph.node(i).name.as_str())
            .collect();
        let shape = match &node.op {
            Op::Linear {
                in_features,
                out_features,
                ..
            }
            | Op::LmHead {
                in_features,
                out_features,
                ..
            } => {
                format!("{out_features}×{in_features}")
            }
            _ => node.width.to_string(),
        };
        rows.push(vec![
            node.name.clone(),
            node.op.kind().into(),
            shape,
            inputs.join(" "),
        ]);
    }
    format!("\n{}", table(&rows))
}

fn json_report(model: &Model, fit: &Fit) -> Result<String> {
    let spec = model.spec();
    let summary = model.summary()?;
    let types: Vec<_> = by_type(model, &fit.hw)?
        .into_iter()
        .map(|(name, (count, size, packed))| json!({"type": name, "tensors": count, "bytes": size, "packed": packed}))
        .collect();
    let value = json!({
        "schema_version": JSON_SCHEMA,
        "model": {
            "name": spec.name,
            "architecture": spec.architecture.to_string(),
            "layers": spec.layers.len(),
            "d_model": spec.d_model,
            "vocab_size": spec.vocab_size,
            "context_length": spec.context_length,
            "parameters": summary.parameters,
            "macs_per_token": summary.linear_macs_per_token,
            "kv_elements_per_token": summary.kv_elements_per_token,
            "tensors": types,
        },
        "fit": fit,
        "forecast_level": "modelled",
    });
    Ok(serde_json::to_string_pretty(&value)?)
}
