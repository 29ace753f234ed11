//! llama.cpp under the same limits.

use super::child::{self, steady};
use anyhow::{Context, Result, bail};
use lampyris_tests::cage::{Cage, Evidence, Limits};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use verilator_sys::toolchain::Cache;

/// What `llama_speed.py` takes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Job<'a> {
    pub(crate) model: &'a Path,
    pub(crate) prompt: &'a [u32],
    pub(crate) generate: usize,
    pub(crate) threads: usize,
    pub(crate) context: usize,
    pub(crate) batch: usize,
}

impl<'a> Job<'a> {
    /// What our engine is to do, with prompts in parts of `batch` tokens.
    pub(crate) fn like(job: &'a child::Job, batch: usize) -> Self {
        Self {
            model: &job.model,
            prompt: &job.prompt,
            generate: job.generate,
            threads: job.threads,
            context: job.context,
            batch,
        }
    }
}

/// What it gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) engine: String,
    pub(crate) prefill_seconds: f64,
    pub(crate) token_seconds: Vec<f64>,
    pub(crate) tokens: Vec<u32>,
}

impl Outcome {
    /// Seconds of a token once the run is steady.
    pub(crate) fn steady(&self) -> f64 {
        steady(&self.token_seconds)
    }
}

fn python() -> Result<PathBuf> {
    let cache = Cache::locate()?;
    if cache.python_package("llama-cpp-python").is_none() {
        bail!(
            "llama-cpp-python is not installed, and every part but `ladder` and `scale` compares \
             with it\n\nhint: run `cargo xtask setup --bench`"
        );
    }
    Ok(cache.python())
}

/// Runs llama.cpp in a control group of its own.
pub(crate) fn caged(job: &Job<'_>, limits: Limits) -> Result<(Outcome, Evidence)> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("job.json");
    std::fs::write(&file, serde_json::to_string(job)?).context("cannot write the job")?;
    let cage = Cage::new(limits)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/flash/llama_speed.py");
    let output = cage
        .command(python()?)
        .arg(script)
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start llama.cpp")?;
    let evidence = cage.evidence()?;
    if !output.status.success() {
        bail!("llama.cpp failed ({}, {evidence:?})", output.status);
    }
    let outcome = serde_json::from_slice(&output.stdout).context("llama.cpp's result")?;
    Ok((outcome, evidence))
}
