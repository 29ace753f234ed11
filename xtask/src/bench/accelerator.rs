//! `cargo xtask bench accelerator`: the accelerator's claims in one table, each beside what others
//! published. Runs the benches that measure them and takes their figures.

use super::{Bench, name, one_with_json};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::HashMap;

/// What a bench reports.
#[derive(Deserialize)]
struct Report {
    figures: Vec<Figure>,
}

#[derive(Clone, Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    level: String,
    pass: Option<bool>,
}

/// A figure that others published.
struct Published {
    value: f64,
    /// What it is, and where it stands.
    source: &'static str,
}

/// A row of the table: a figure of a bench, and with what it compares.
struct Claim {
    bench: Bench,
    figure: &'static str,
    published: Option<Published>,
    /// Whether less is better.
    less: bool,
}

const fn claim(bench: Bench, figure: &'static str) -> Claim {
    Claim {
        bench,
        figure,
        published: None,
        less: false,
    }
}

impl Claim {
    const fn beside(self, value: f64, source: &'static str) -> Claim {
        Claim {
            published: Some(Published { value, source }),
            ..self
        }
    }

    const fn less_is_better(self) -> Claim {
        Claim { less: true, ..self }
    }
}

const HUMMINGBIRD: &str = "Hummingbird, KV260, DDR4 (ICCAD 2025)";
const FLIGHTLLM: &str = "FlightLLM, U280, HBM, claimed (arXiv 2401.03868)";
const FLIGHTLLM_LAYERS: &str = "FlightLLM, layer by layer (same, section 6)";
const FLIGHTLLM_CHIP: &str = "FlightLLM, 35.6 % to 65.9 % by on-chip decode (same, section 6)";
const FLIGHTLLM_STRAIGHT: &str = "FlightLLM, programs for every length (same, section 5)";
const FLIGHTLLM_BUCKETS: &str = "FlightLLM, in buckets (same, section 5)";
const FLIGHTLLM_SPEED: &str =
    "FlightLLM, U280, claimed (same); run by others: 57.1 at 128, 52.7 at 512";
const FLIGHTLLM_SPARSE: &str = "FlightLLM, gain of sparsity and sparse chain (same, section 6)";
const FLIGHTLLM_LENGTHS: &str = "FlightLLM, 3.25 GB for all lengths to 2,048 (same, section 5)";

/// The table, in the order of the ideas.
const CLAIMS: &[Claim] = &[
    claim(
        Bench::Memory,
        "ddr3-800 at 128: share of the pins' peak, with the DRAM model",
    )
    .beside(94.0, HUMMINGBIRD),
    claim(
        Bench::Memory,
        "ddr3-800 at 1024: share of the pins' peak, with the DRAM model",
    )
    .beside(94.0, HUMMINGBIRD),
    claim(
        Bench::Memory,
        "ddr4-2400 at 128: share of the pins' peak, with the DRAM model",
    )
    .beside(94.0, HUMMINGBIRD),
    claim(
        Bench::Memory,
        "ddr4-2400 at 1024: share of the pins' peak, with the DRAM model",
    )
    .beside(65.9, FLIGHTLLM),
    claim(
        Bench::Channels,
        "INT4 at 128: a layer, share of the pins' peak, refresh included",
    )
    .beside(65.9, FLIGHTLLM),
    claim(
        Bench::Channels,
        "INT4 at 1024: a layer, share of the pins' peak, refresh included",
    )
    .beside(65.9, FLIGHTLLM),
    claim(Bench::Channels, "U280 at 128, 2:4 INT4: tokens per second")
        .beside(55.0, FLIGHTLLM_SPEED),
    claim(
        Bench::Schedules,
        "layer by layer: weights and KV cache, of what the port could carry",
    )
    .beside(35.6, FLIGHTLLM_LAYERS),
    claim(
        Bench::Schedules,
        "fused: weights and KV cache, of what the port could carry",
    )
    .beside(65.9, FLIGHTLLM),
    claim(Bench::Schedules, "gain in share").beside(65.9 / 35.6, FLIGHTLLM_CHIP),
    claim(Bench::Schedules, "fused: bytes of activations").less_is_better(),
    claim(Bench::Formats, "decode, 2:4 against dense 4-bit").beside(1.15, FLIGHTLLM_SPARSE),
    claim(Bench::Formats, "decode, 4:16 against dense 4-bit").beside(1.15, FLIGHTLLM_SPARSE),
    claim(Bench::Formats, "GEMM, 2:4 against dense 4-bit"),
    claim(Bench::Prefill, "prompt of 256 tokens: multipliers busy"),
    claim(Bench::Prefill, "tokens 241 to 256: multipliers busy"),
    claim(
        Bench::Lengths,
        "LLaMA-2-7B, lengths 1-2048: straight-line, both",
    )
    .beside(1.67e12, FLIGHTLLM_STRAIGHT)
    .less_is_better(),
    claim(Bench::Lengths, "LLaMA-2-7B, lengths 1-2048: buckets, both")
        .beside(4.77e9, FLIGHTLLM_BUCKETS)
        .less_is_better(),
    claim(Bench::Lengths, "LLaMA-2-7B, lengths 1-2048: ours, both")
        .beside(3.25e9, FLIGHTLLM_LENGTHS)
        .less_is_better(),
    claim(Bench::Scale, "LLaMA-2-7B shape: program for all lengths")
        .beside(3.25e9 / 1024.0, FLIGHTLLM_LENGTHS)
        .less_is_better(),
    claim(Bench::Scale, "LLaMA-2-7B shape: compilation, time").less_is_better(),
    claim(Bench::Scale, "LLaMA-2-7B shape: compilation, peak memory").less_is_better(),
    claim(Bench::Estimate, "largest difference").less_is_better(),
    claim(Bench::Estimate, "least gain over Verilator"),
];

/// Runs the benches and prints the table.
#[expect(clippy::print_stdout, reason = "the table is this command's result")]
pub(super) fn run() -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut figures: HashMap<(String, String), Figure> = HashMap::new();
    let (mut benches, mut failed) = (Vec::new(), Vec::new());
    for claim in CLAIMS {
        if benches.contains(&claim.bench) {
            continue;
        }
        benches.push(claim.bench);
        let bench = name(claim.bench);
        let file = folder.path().join(format!("{bench}.json"));
        // A missed target is in its figures; only a bench without figures is lost.
        let result = one_with_json(claim.bench, &file);
        let Ok(text) = std::fs::read_to_string(&file) else {
            let reason = result
                .err()
                .map_or_else(String::new, |e| format!(": {e:#}"));
            failed.push(format!("{bench}{reason}"));
            continue;
        };
        let report: Report = serde_json::from_str(&text)
            .with_context(|| format!("`{bench}` wrote figures of another form"))?;
        for figure in report.figures {
            figures.insert((bench.clone(), figure.name.clone()), figure);
        }
    }
    let mut rows = vec![
        [
            "claim",
            "ours",
            "level",
            "",
            "published",
            "ours / theirs",
            "by",
        ]
        .map(String::from),
    ];
    let mut missed = Vec::new();
    for claim in CLAIMS {
        let key = (name(claim.bench), claim.figure.to_owned());
        let Some(figure) = figures.get(&key) else {
            missed.push(claim.figure);
            continue;
        };
        if figure.pass == Some(false) {
            missed.push(claim.figure);
        }
        rows.push(row(claim, figure));
    }
    print!("{}", columns(&rows));
    println!("quoted: the published figures, each from the source beside it");
    if !failed.is_empty() || !missed.is_empty() {
        bail!(
            "benches that failed: {}; claims missed or without a figure: {}\n\nhint: `cargo xtask bench NAME` shows one bench alone",
            list(&failed.iter().map(String::as_str).collect::<Vec<_>>()),
            list(&missed)
        );
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.join(", ")
}

fn row(claim: &Claim, figure: &Figure) -> [String; 7] {
    let verdict = match figure.pass {
        Some(true) => "pass",
        Some(false) => "FAIL",
        None => "",
    };
    let (published, ratio, source) = match &claim.published {
        Some(p) => (
            number(p.value),
            format!(
                "{}{}",
                number(figure.value / p.value),
                if claim.less { " (less is better)" } else { "" }
            ),
            p.source,
        ),
        None => (String::new(), String::new(), ""),
    };
    [
        figure.name.clone(),
        format!("{} {}", number(figure.value), figure.unit),
        figure.level.clone(),
        verdict.into(),
        published,
        ratio,
        source.into(),
    ]
}

/// Three significant digits, large and small ones with an exponent.
fn number(value: f64) -> String {
    match value.abs() {
        v if v != 0.0 && !(1e-3..1e6).contains(&v) => format!("{value:.2e}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Lines up the cells.
fn columns(rows: &[[String; 7]]) -> String {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, w)| format!("{cell:w$}  "));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_ratio_to_what_others_published() {
        let figure = Figure {
            name: "share".into(),
            value: 95.5,
            unit: "%".into(),
            level: "RTL-simulated".into(),
            pass: Some(true),
        };
        let claim = claim(Bench::Memory, "share").beside(95.5 / 2.0, "someone");
        let row = row(&claim, &figure);
        assert_eq!(row[1], "95.5 %");
        assert_eq!((&*row[3], &*row[5], &*row[6]), ("pass", "2.000", "someone"));
        assert!(columns(&[row]).starts_with("share  95.5 %  RTL-simulated  pass  47.8"));
    }
}
