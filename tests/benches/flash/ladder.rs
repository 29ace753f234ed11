//! The ladder of "LLM in a flash" (arXiv 2312.11514, table 2): one technique after the other, on
//! the ReLU models, with half of the weights in memory and storage as slow as eMMC.
//!
//! Every step evaluates the same tokens, one at a time, so that perplexities compare too; only
//! drafts, which need a model that writes, continue a prompt instead.

use super::child::{self, Job, Outcome, Resident, Sparse};
use super::{Report, mib, models, plot, storage};
use anyhow::{Context, Result, bail, ensure};
use lampyris_runtime::predictor::SCHEMA_VERSION;
use lampyris_tests::cage::{Limits, Throttle, disk_of};
use lampyris_tests::figures::{Level, Target, columns};
use lampyris_tests::smollm2::recorded;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An eMMC 5.1 device as phones have it: sequential bytes and requests per second.
const BYTES_PER_SECOND: u64 = 250_000_000;
const REQUESTS_PER_SECOND: u64 = 10_000;
/// Tokens that fill caches before anything is measured, and tokens measured.
const WARM: usize = 32;
const MEASURED: usize = 96;
const CONTEXT: usize = 256;
/// Tokens that the model writes to train its predictor on.
const WRITTEN: usize = 8192;

/// Index of the step with all techniques but drafts.
const CHUNKS: usize = 5;

/// A model on the ladder.
struct Subject {
    name: &'static str,
    gguf: PathBuf,
    /// Bytes of its file.
    bytes: u64,
    /// Held-out text.
    tokens: Vec<u32>,
    /// Recall that its predictor is trained for: as low as perplexity allows.
    recall: &'static str,
    /// Whether its figures must reach the targets.
    judged: bool,
}

impl Subject {
    fn new(
        (name, recall): (&'static str, &'static str),
        gguf: PathBuf,
        tokens: Vec<u32>,
        judged: bool,
    ) -> Result<Self> {
        let metadata = std::fs::metadata(&gguf);
        let bytes = metadata
            .with_context(|| format!("cannot read `{}`", gguf.display()))?
            .len();
        Ok(Self {
            name,
            gguf,
            bytes,
            tokens,
            recall,
            judged,
        })
    }
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let subjects = [
        Subject::new(
            ("relu-small", "0.9"),
            models::relu_small(),
            models::relu_small_tokens()?,
            true,
        )?,
        Subject::new(
            ("SmolLM2-135M-ReLU", "0.98"),
            models::relu_smollm2()?,
            recorded().perplexity.tokens,
            false,
        )?,
    ];
    for subject in &subjects {
        climb(report, subject)?;
    }
    Ok(())
}

/// What sparse mode needs beside the model.
struct Prepared {
    packed: PathBuf,
    predictor: PathBuf,
}

/// Runs this project's command.
fn lampyris(arguments: &[&std::ffi::OsStr]) -> Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--package", "lampyris", "--"])
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`lampyris` with {arguments:?} failed ({})", output.status);
    }
    Ok(output.stdout)
}

/// Lets the model write, trains its predictor on that, and packs it; once.
fn prepare(subject: &Subject) -> Result<Prepared> {
    let folder = models::folder()?;
    let file = |end: &str| folder.join(format!("{}.{end}", subject.name));
    let text = file("txt");
    let predictor = file(&format!(
        "recall-{}.predictor-v{SCHEMA_VERSION}.safetensors",
        subject.recall
    ));
    let (usage, packed) = (file("usage.json"), file("lampack"));
    let model = subject.gguf.as_os_str();
    if !text.exists() {
        let job = Job {
            model: subject.gguf.clone(),
            prompt: subject.tokens[..1].to_vec(),
            write: Some(WRITTEN),
            context: CONTEXT,
            ..Job::default()
        };
        let (outcome, _) = child::caged(&job, Limits::default())?;
        std::fs::write(&text, outcome.text).context("cannot write the calibration text")?;
    }
    if !predictor.exists() || !usage.exists() {
        let words: [&std::ffi::OsStr; 10] = [
            "train-predictor".as_ref(),
            model,
            "--calib".as_ref(),
            text.as_ref(),
            "--recall".as_ref(),
            subject.recall.as_ref(),
            "-o".as_ref(),
            predictor.as_ref(),
            "--statistics".as_ref(),
            usage.as_ref(),
        ];
        eprint!("{}", String::from_utf8_lossy(&lampyris(&words)?));
    }
    if !packed.exists() {
        let words: [&std::ffi::OsStr; 6] = [
            "pack".as_ref(),
            model,
            "-o".as_ref(),
            packed.as_ref(),
            "--order".as_ref(),
            usage.as_ref(),
        ];
        lampyris(&words)?;
    }
    Ok(Prepared { packed, predictor })
}

/// The steps of the ladder: name and what is switched on.
fn steps(subject: &Subject, prepared: &Prepared) -> Vec<(&'static str, Job)> {
    let half = Resident::Bytes(subject.bytes / 2);
    let job = |model: &Path, resident| Job {
        model: model.into(),
        prompt: subject.tokens[..WARM].to_vec(),
        score: subject.tokens[WARM..][..MEASURED].to_vec(),
        context: CONTEXT,
        // Storage is the limit; a second thread would mostly be woken and put to sleep.
        threads: 1,
        resident,
        storage: Some(BYTES_PER_SECOND as f64),
        ..Job::default()
    };
    let sparse = |window, bundle, chunks, predict: bool| {
        let mut job = job(&prepared.packed, half);
        job.sparse = Some(Sparse {
            predictor: predict.then(|| prepared.predictor.clone()),
            window,
            bundle,
            chunks,
            bytes_per_second: BYTES_PER_SECOND as f64,
            seconds_per_read: 1.0 / REQUESTS_PER_SECOND as f64,
        });
        job
    };
    vec![
        ("naive", job(&subject.gguf, Resident::Nothing)),
        ("half resident", job(&subject.gguf, half)),
        ("+ predictor", sparse(0, false, false, true)),
        ("+ windowing", sparse(4, false, false, true)),
        ("+ bundling", sparse(4, true, false, true)),
        ("+ chunks", sparse(4, true, true, true)),
        (
            "exact gates instead of predictor",
            sparse(4, true, true, false),
        ),
    ]
}

fn climb(report: &mut Report, subject: &Subject) -> Result<()> {
    let prepared = prepare(subject)?;
    let limits = Limits {
        memory: None,
        disk: Some(Throttle {
            device: disk_of(&prepared.packed)?,
            bytes_per_second: BYTES_PER_SECOND,
            requests_per_second: REQUESTS_PER_SECOND,
        }),
    };
    println!(
        "Ladder: {}, half of {} MiB in memory, storage {} MB/s and {REQUESTS_PER_SECOND} requests/s, {MEASURED} tokens",
        subject.name,
        mib(subject.bytes),
        BYTES_PER_SECOND / 1_000_000
    );
    let mut rows = vec![head()];
    let mut outcomes = Vec::new();
    for (name, job) in steps(subject, &prepared) {
        storage::forget(&job.model)?;
        let (outcome, evidence) = child::caged(&job, limits)?;
        let naive = outcomes.first().map_or(&outcome, |(_, first)| first);
        rows.push(row(name, &outcome, naive));
        report.details.push(json!({
            "part": "ladder", "model": subject.name, "step": name, "outcome": outcome, "evidence": evidence,
        }));
        outcomes.push((name, outcome));
    }
    println!("{}", columns(rows));
    let own = drafts(report, subject, &prepared, limits)?;
    judge(report, subject, &outcomes, &own);
    let groups: Vec<_> = outcomes
        .iter()
        .map(|(name, o)| {
            let times = [o.io_wait_ms, o.memory_ms, o.compute_ms];
            ((*name).to_owned(), times.map(|ms| o.per_token(ms)).to_vec())
        })
        .collect();
    plot::bars(
        report.plots.as_deref(),
        &format!("ladder-{}", subject.name),
        &format!(
            "{} with half of its weights in memory (measured)",
            subject.name
        ),
        "ms/token",
        &["waiting for storage", "managing memory", "computing"],
        &groups,
    )
}

fn head() -> [String; 10] {
    [
        "step",
        "ms/token",
        "KiB/token",
        "of naive",
        "MB/s",
        "reads",
        "I/O ms",
        "memory ms",
        "compute ms",
        "perplexity",
    ]
    .map(str::to_owned)
}

fn row(name: &str, outcome: &Outcome, naive: &Outcome) -> [String; 10] {
    let seconds: f64 = outcome.token_seconds.iter().sum();
    [
        name.to_owned(),
        format!("{:.2}", 1e3 * outcome.mean()),
        format!("{:.0}", outcome.bytes_per_token() / 1024.0),
        format!(
            "{:.1} %",
            100.0 * outcome.bytes_per_token() / naive.bytes_per_token()
        ),
        format!("{:.0}", outcome.bytes_read as f64 / seconds / 1e6),
        format!("{:.0}", outcome.per_token(outcome.reads as f64)),
        format!("{:.2}", outcome.per_token(outcome.io_wait_ms)),
        format!("{:.2}", outcome.per_token(outcome.memory_ms)),
        format!("{:.2}", outcome.per_token(outcome.compute_ms)),
        match outcome.perplexity {
            // Nothing was scored.
            0.0 => "-".into(),
            perplexity => format!("{perplexity:.3}"),
        },
    ]
}

/// Costs on the model's own greedy text, which drafts need.
struct Own {
    naive: Outcome,
    plain: Outcome,
    drafted: Outcome,
}

/// A continuation with and without drafts, which must be the same tokens, and the naive run over
/// these very tokens.
fn drafts(
    report: &mut Report,
    subject: &Subject,
    prepared: &Prepared,
    limits: Limits,
) -> Result<Own> {
    let mut steps = steps(subject, prepared);
    let mut job = steps.swap_remove(CHUNKS).1;
    job.score.clear();
    job.generate = MEASURED;
    let (plain, _) = child::caged(&job, limits)?;
    job.draft = true;
    let (drafted, _) = child::caged(&job, limits)?;
    ensure!(plain.tokens == drafted.tokens, "drafts changed the tokens");
    let mut naive = steps.swap_remove(0).1;
    naive.score.clone_from(&plain.tokens);
    let (naive, _) = child::caged(&naive, limits)?;
    println!("The model's own greedy text, from the same prompt; the same tokens in all three");
    let mut rows = vec![head()];
    for (name, outcome) in [
        ("naive", &naive),
        ("all up to + chunks", &plain),
        ("+ drafts", &drafted),
    ] {
        rows.push(row(name, outcome, &naive));
        report.details.push(json!({
            "part": "ladder", "model": subject.name, "step": name, "text": "own", "outcome": outcome,
        }));
    }
    println!("{}", columns(rows));
    Ok(Own {
        naive,
        plain,
        drafted,
    })
}

/// The last rung, drafts, is judged on text that drafts can be made for; what the rungs before it
/// reach on held-out text stands beside it.
fn judge(report: &mut Report, subject: &Subject, outcomes: &[(&str, Outcome)], own: &Own) {
    let naive = &outcomes[0].1;
    let (bundled, chunks) = (&outcomes[CHUNKS - 1].1, &outcomes[CHUNKS].1);
    let times = |a: &Outcome, b: &Outcome| a.mean() / b.mean();
    let bytes = |a: &Outcome, b: &Outcome| 100.0 * b.bytes_per_token() / a.bytes_per_token();
    let memory = |o: &Outcome| o.per_token(o.memory_ms) / (10.0 * o.mean());
    let loss = 100.0 * (chunks.perplexity / naive.perplexity - 1.0);
    let (faster, fewer) = (Target::AtLeast(5.0), Target::AtMost(8.0));
    let figures = [
        (
            "own text, end to end against naive",
            times(&own.naive, &own.drafted),
            "x",
            Some(faster),
        ),
        (
            "own text, bytes per token, share of naive",
            bytes(&own.naive, &own.drafted),
            "%",
            Some(fewer),
        ),
        (
            "own text without drafts, against naive",
            times(&own.naive, &own.plain),
            "x",
            None,
        ),
        (
            "held-out text, + chunks against naive",
            times(naive, chunks),
            "x",
            Some(faster),
        ),
        (
            "held-out text, + chunks, bytes, share of naive",
            bytes(naive, chunks),
            "%",
            None,
        ),
        (
            "held-out text, + bundling, bytes, share of naive",
            bytes(naive, bundled),
            "%",
            Some(fewer),
        ),
        (
            "held-out text, perplexity against all neurons",
            loss,
            "%",
            Some(Target::AtMost(2.0)),
        ),
        (
            "held-out text, managing memory, share of the time",
            memory(chunks),
            "%",
            Some(Target::AtMost(10.0)),
        ),
    ];
    for (what, value, unit, target) in figures {
        let what = format!("{}: {what}", subject.name);
        match target.filter(|_| subject.judged) {
            Some(target) => report
                .figures
                .judge(what, value, unit, Level::Measured, target),
            None => report.figures.add(what, value, unit, Level::Measured),
        }
    }
}
