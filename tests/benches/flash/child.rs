//! One run of this project's engine in a process of its own, so that the memory is its alone.

use anyhow::{Context, Result, bail};
use lampyris_runtime::engine::{DraftOptions, Engine, Options, Rate, Request, Stats};
use lampyris_runtime::{Sampler, SamplerConfig};
use lampyris_tests::cage::{Cage, Evidence, Limits};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

/// What to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The model.
    pub(crate) model: PathBuf,
    /// Tokens of the prompt.
    pub(crate) prompt: Vec<u32>,
    /// Tokens to make.
    pub(crate) generate: usize,
    /// Computing threads.
    pub(crate) threads: usize,
    /// Positions.
    pub(crate) context: usize,
    /// The budget.
    pub(crate) memory: Option<u64>,
    /// Whether to draft tokens.
    pub(crate) draft: bool,
    /// Measured sequential rate of the storage.
    pub(crate) storage: Option<f64>,
}

/// What it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Opening the engine.
    pub(crate) load_seconds: f64,
    /// Until the first token.
    pub(crate) prefill_seconds: f64,
    /// Each later token.
    pub(crate) token_seconds: Vec<f64>,
    /// The tokens.
    pub(crate) tokens: Vec<u32>,
    /// Bytes read from storage while decoding.
    pub(crate) bytes_read: u64,
    /// Read requests while decoding.
    pub(crate) reads: u64,
    /// Milliseconds in which computing waited for storage.
    pub(crate) io_wait_ms: f64,
    /// Milliseconds of computing.
    pub(crate) compute_ms: f64,
    /// Milliseconds of moving weights within memory.
    pub(crate) memory_ms: f64,
    /// What the plan promised, in tokens per second.
    pub(crate) forecast: f64,
}

impl Outcome {
    /// Seconds of a token once the run is steady: the mean of the last three quarters.
    pub(crate) fn steady(&self) -> f64 {
        steady(&self.token_seconds)
    }

    /// Bytes read for one token.
    pub(crate) fn bytes_per_token(&self) -> f64 {
        self.bytes_read as f64 / self.token_seconds.len().max(1) as f64
    }
}

/// The mean of the last three quarters.
pub(crate) fn steady(seconds: &[f64]) -> f64 {
    let part = &seconds[seconds.len() / 4..];
    part.iter().sum::<f64>() / part.len() as f64
}

/// Runs a job in this process and prints its outcome.
pub(crate) fn run(request: &Path) -> Result<()> {
    let text = std::fs::read_to_string(request)
        .with_context(|| format!("cannot read `{}`", request.display()))?;
    let outcome = execute(&serde_json::from_str(&text)?)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn options(job: &Job) -> Options {
    Options {
        memory: job.memory,
        context: job.context,
        threads: job.threads,
        draft: job.draft.then(DraftOptions::default),
        storage: job.storage.map(|bytes_per_second| Rate {
            bytes_per_second,
            source: "measured by the bench".into(),
        }),
        ..Options::default()
    }
}

fn execute(job: &Job) -> Result<Outcome> {
    let start = Instant::now();
    let mut engine = Engine::open(&job.model, options(job))?;
    let load_seconds = start.elapsed().as_secs_f64();
    let forecast = engine.plan().forecast.tokens_per_second;
    let mut sampler = Sampler::new(SamplerConfig::default())?;
    let mut tokens = Vec::with_capacity(job.generate);
    let mut times = Vec::with_capacity(job.generate);
    let before = engine.stats();
    let start = Instant::now();
    let request = Request {
        prompt: &job.prompt,
        max_tokens: job.generate,
        sampler: &mut sampler,
        stop: &|_| false,
        cancelled: &|| false,
    };
    engine.generate(request, &mut |token| {
        tokens.push(token);
        times.push(start.elapsed().as_secs_f64());
        ControlFlow::Continue(())
    })?;
    let cost = engine.stats().since(&before);
    outcome(load_seconds, forecast, tokens, &times, &cost)
}

fn outcome(
    load_seconds: f64,
    forecast: f64,
    tokens: Vec<u32>,
    times: &[f64],
    cost: &Stats,
) -> Result<Outcome> {
    let Some(first) = times.first() else {
        bail!("the model made no token");
    };
    Ok(Outcome {
        load_seconds,
        prefill_seconds: *first,
        token_seconds: times.windows(2).map(|pair| pair[1] - pair[0]).collect(),
        tokens,
        bytes_read: cost.bytes_read,
        reads: cost.reads,
        io_wait_ms: cost.io_wait_ms,
        compute_ms: cost.compute_ms,
        memory_ms: cost.memory_ms,
        forecast,
    })
}

/// Runs a job in a process and control group of its own.
pub(crate) fn caged(job: &Job, limits: Limits) -> Result<(Outcome, Evidence)> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("job.json");
    std::fs::write(&file, serde_json::to_string(job)?).context("cannot write the job")?;
    let cage = Cage::new(limits)?;
    let myself = std::env::current_exe().context("cannot find this program")?;
    let output = cage
        .command(&myself)
        .arg("--child")
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the engine's process")?;
    let evidence = cage.evidence()?;
    if !output.status.success() {
        bail!(
            "the engine failed ({}, {evidence:?}) on `{}`",
            output.status,
            job.model.display()
        );
    }
    let outcome = serde_json::from_slice(&output.stdout).context("the engine's result")?;
    Ok((outcome, evidence))
}
