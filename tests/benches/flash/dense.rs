//! A dense model larger than memory: what no sparsity helps.

use super::child::{self, Job};
use super::storage::Rates;
use super::{Report, llama, mib, models, plot, storage};
use anyhow::{Result, ensure};
use lampyris_tests::cage::Limits;
use lampyris_tests::figures::{Level, Target, columns};
use serde_json::json;
use std::path::Path;

/// Tokens made, and positions.
const GENERATE: usize = 12;
const CONTEXT: usize = 256;
/// Share of the model's size in percent, and what this project must be ahead of llama.cpp.
const LIMITS: [(u64, f64); 3] = [(93, 6.0), (75, 3.5), (50, 1.9)];
/// A prompt; the model's weights are random, so its meaning is nothing.
const PROMPT: [u32; 4] = [504, 2365, 282, 253];

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let model = models::seven_b()?;
    let size = std::fs::metadata(&model)?.len();
    println!(
        "Dense: {} ({} MiB, synthetic weights), {GENERATE} tokens, context {CONTEXT}",
        model.display(),
        mib(size)
    );
    let whole = in_memory(&model)?;
    let mut rows = vec![
        [
            "limit",
            "threads",
            "llama.cpp tok/s",
            "ours tok/s",
            "ratio",
            "bound tok/s",
            "of bound",
            "unseen",
            "storage GB/s",
            "read/token MiB",
        ]
        .map(str::to_owned),
    ];
    for (percent, target) in LIMITS {
        one(
            report,
            &model,
            size * percent / 100,
            percent,
            target,
            &whole,
            &mut rows,
        )?;
    }
    let groups: Vec<_> = rows[1..]
        .iter()
        .map(|row| {
            let number = |i: usize| row[i].parse().unwrap_or(0.0);
            let label = format!("{}, {} threads", row[0], row[1]);
            (label, vec![number(2), number(3), number(5)])
        })
        .collect();
    println!("{}", columns(rows));
    plot::bars(
        report.plots.as_deref(),
        "dense",
        "7B-shaped model under a memory limit (measured)",
        "tokens/s",
        &["llama.cpp", "lampyris", "bound"],
        &groups,
    )
}

/// Our tokens and seconds per token with all weights in memory, for one and two threads.
struct Whole {
    tokens: Vec<u32>,
    seconds: [f64; 2],
}

fn job(model: &Path, threads: usize) -> Job {
    Job {
        model: model.into(),
        prompt: PROMPT.to_vec(),
        generate: GENERATE,
        threads,
        context: CONTEXT,
        ..Job::default()
    }
}

fn in_memory(model: &Path) -> Result<Whole> {
    storage::forget(model)?;
    let run = |threads| child::caged(&job(model, threads), Limits::default());
    let (one, _) = run(1)?;
    let (two, _) = run(2)?;
    ensure!(
        one.tokens == two.tokens,
        "the number of threads changed the tokens"
    );
    println!(
        "in memory: {:.2} tok/s with 1 thread, {:.2} with 2",
        1.0 / one.steady(),
        1.0 / two.steady()
    );
    let seconds = [one.steady(), two.steady()];
    Ok(Whole {
        tokens: one.tokens,
        seconds,
    })
}

/// One limit: both programs with one thread and with two. The ratio is judged where llama.cpp is
/// faster, the share of the bound with two threads: what is used unless told otherwise.
fn one(
    report: &mut Report,
    model: &Path,
    limit: u64,
    percent: u64,
    target: f64,
    whole: &Whole,
    rows: &mut Vec<[String; 10]>,
) -> Result<()> {
    let limits = Limits {
        memory: Some(limit),
        disk: None,
    };
    let mut theirs = [0.0; 2];
    let mut ours = [0.0; 2];
    let mut share = [0.0; 2];
    for threads in [1, 2] {
        storage::forget(model)?;
        let mut job = job(model, threads);
        let (llama, _) = llama::caged(&llama::Job::like(&job, 64), limits)?;
        storage::forget(model)?;
        let before = Rates::measure(model)?;
        job.memory = Some(limit);
        job.storage = Some(before.seen);
        let (outcome, evidence) = child::caged(&job, limits)?;
        let rate = before.mean(Rates::measure(model)?);
        ensure!(
            outcome.tokens == whole.tokens,
            "tokens under a limit of {percent} % differ from those in memory"
        );
        report.budget(
            &format!("7B, {percent} %, {threads} threads"),
            limit,
            evidence,
        );
        let i = threads - 1;
        let bound = |rate: f64| (outcome.bytes_per_token() / rate).max(whole.seconds[i]);
        let (bound, unseen) = (bound(rate.seen), bound(rate.read));
        theirs[i] = 1.0 / llama.steady();
        ours[i] = 1.0 / outcome.steady();
        share[i] = bound / outcome.steady();
        rows.push([
            format!("{percent} %"),
            threads.to_string(),
            format!("{:.2}", theirs[i]),
            format!("{:.2}", ours[i]),
            format!("{:.2}", ours[i] / theirs[i]),
            format!("{:.2}", 1.0 / bound),
            format!("{:.0} %", 100.0 * share[i]),
            format!("{:.0} %", 100.0 * unseen / outcome.steady()),
            format!("{:.2} / {:.2}", rate.seen / 1e9, rate.read / 1e9),
            mib(outcome.bytes_per_token() as u64),
        ]);
        report.details.push(json!({
            "part": "dense", "percent": percent, "threads": threads, "storage_rate": rate,
            "ours": outcome, "llama": llama, "evidence": evidence,
        }));
    }
    let best = usize::from(theirs[1] > theirs[0]);
    let figures = &mut report.figures;
    figures.judge(
        format!("7B at {percent} % of its size, tokens/s against llama.cpp"),
        ours[best] / theirs[best],
        "x",
        Level::Measured,
        Target::AtLeast(target),
    );
    figures.judge(
        format!("7B at {percent} % of its size, share of the bound, 2 threads"),
        100.0 * share[1],
        "%",
        Level::Measured,
        Target::AtLeast(90.0),
    );
    Ok(())
}
