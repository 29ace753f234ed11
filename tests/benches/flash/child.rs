//! One run of this project's engine in a process of its own, so that the memory is its alone.

use anyhow::{Context, Result, bail};
use lampyris_pack::ModelIndex;
use lampyris_runtime::engine::{
    DraftOptions, Engine, EngineError, MemoryLine, Options, Plan, Rate, Request, Stats, Use,
};
use lampyris_runtime::predictor::Predictor;
use lampyris_runtime::sparse::chunks::ReadCost;
use lampyris_runtime::sparse::{Activity, SparseOptions};
use lampyris_runtime::{Sampler, SamplerConfig, nll};
use lampyris_tests::cage::{Cage, Evidence, Limits};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

/// How exactly a budget is searched for.
const BUDGET_STEP: u64 = 16 << 10;

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
    /// Which weights may be in memory, beside what the budget says.
    pub(crate) resident: Resident,
    /// Sparse mode.
    pub(crate) sparse: Option<Sparse>,
    /// Tokens to evaluate one after another behind the prompt, in place of writing.
    pub(crate) score: Vec<u32>,
    /// Tokens to write at temperature 1, in texts of their own that begin with the prompt.
    pub(crate) write: Option<usize>,
}

/// Which weights may be in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Resident {
    /// All that fit the budget.
    #[default]
    All,
    /// So many bytes: weights, cached neurons, gate rows that stay, and predictors together.
    Bytes(u64),
    /// None: each is read for every token.
    Nothing,
}

/// Techniques of sparse mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sparse {
    /// Names the active neurons; without it, resident gates do.
    pub(crate) predictor: Option<PathBuf>,
    /// Tokens whose neurons stay.
    pub(crate) window: usize,
    /// Whether a neuron is read at once.
    pub(crate) bundle: bool,
    /// Whether neighbours are read together where that is cheaper.
    pub(crate) chunks: bool,
    /// Cost of reads.
    pub(crate) bytes_per_second: f64,
    /// Cost of reads.
    pub(crate) seconds_per_read: f64,
}

/// What it did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Opening the engine.
    pub(crate) load_seconds: f64,
    /// Evaluating the prompt, up to the first token.
    pub(crate) prefill_seconds: f64,
    /// Each token after the prompt.
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
    /// Perplexity of the scored tokens.
    pub(crate) perplexity: f64,
    /// What was written.
    pub(crate) text: String,
}

impl Outcome {
    /// Seconds of a token, all counted: what drafts save comes in bursts.
    pub(crate) fn mean(&self) -> f64 {
        self.token_seconds.iter().sum::<f64>() / self.token_seconds.len() as f64
    }

    /// Seconds of a token once the run is steady: the mean of the last three quarters.
    pub(crate) fn steady(&self) -> f64 {
        steady(&self.token_seconds)
    }

    /// The share of one token in a sum over all.
    pub(crate) fn per_token(&self, sum: f64) -> f64 {
        sum / self.token_seconds.len().max(1) as f64
    }

    /// Bytes read for one token.
    pub(crate) fn bytes_per_token(&self) -> f64 {
        self.per_token(self.bytes_read as f64)
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

fn options(job: &Job) -> Result<Options> {
    let mut options = Options {
        memory: job.memory,
        context: job.context,
        threads: job.threads,
        draft: job.draft.then(DraftOptions::default),
        storage: job.storage.map(|bytes_per_second| Rate {
            bytes_per_second,
            source: "measured by the bench".into(),
        }),
        ..Options::default()
    };
    if let Some(sparse) = &job.sparse {
        options.sparse = Some(sparse_options(sparse)?);
    }
    match job.resident {
        Resident::All => {}
        Resident::Nothing => options.resident = Some(0),
        Resident::Bytes(bytes) => options.memory = Some(budget(&job.model, &options, bytes)?),
    }
    Ok(options)
}

fn sparse_options(sparse: &Sparse) -> Result<SparseOptions> {
    let activity = match &sparse.predictor {
        Some(file) => Activity::Predicted(Predictor::read(file)?.into()),
        None => Activity::Exact,
    };
    Ok(SparseOptions {
        activity,
        window: sparse.window,
        bundle: sparse.bundle,
        chunks: sparse.chunks,
        cost: ReadCost::affine(sparse.seconds_per_read, sparse.bytes_per_second),
        ..SparseOptions::default()
    })
}

/// The largest budget with which no more than `weights` bytes of the model are in memory. What is
/// no weight (the process, buffers, caches of keys and values) comes on top, and how much that is
/// depends on the budget, so that it is searched for.
fn budget(model: &Path, options: &Options, weights: u64) -> Result<u64> {
    let index = ModelIndex::open(model)?;
    let planned = |memory| {
        let options = Options {
            memory,
            ..options.clone()
        };
        Engine::plan_for(&index, &options)
    };
    let fits = |memory| match planned(Some(memory)) {
        Ok(plan) => Ok(held(&plan) <= weights),
        // Below the minimum nothing is held.
        Err(EngineError::Budget(_)) => Ok(true),
        Err(error) => Err(error),
    };
    let (mut low, mut high) = (0, planned(None)?.total() + 1);
    while high - low > BUDGET_STEP {
        let middle = low + (high - low) / 2;
        *(if fits(middle)? { &mut low } else { &mut high }) = middle;
    }
    Ok(low)
}

/// Bytes of weights in all forms.
fn held(plan: &Plan) -> u64 {
    let weights = |line: &&MemoryLine| matches!(line.what, Use::Weights | Use::Neurons);
    let lines = plan.memory.iter().filter(weights);
    lines.map(|line| line.bytes).sum()
}

fn execute(job: &Job) -> Result<Outcome> {
    let start = Instant::now();
    let mut engine = Engine::open(&job.model, options(job)?)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let mut outcome = match job.write {
        Some(tokens) => write(&mut engine, job, tokens)?,
        None if job.score.is_empty() => generate(&mut engine, job)?,
        None => score(&mut engine, job)?,
    };
    outcome.load_seconds = load_seconds;
    outcome.forecast = engine.plan().forecast.tokens_per_second;
    Ok(outcome)
}

/// Evaluates the prompt, then generates: the prompt's last token is evaluated again, so that every
/// token of the answer is a decode step that is timed and counted.
fn generate(engine: &mut Engine, job: &Job) -> Result<Outcome> {
    let start = Instant::now();
    answer(engine, job, 1, &mut |_| {})?;
    let prefill_seconds = start.elapsed().as_secs_f64();
    let mut tokens = Vec::with_capacity(job.generate);
    let mut token_seconds = Vec::with_capacity(job.generate);
    let before = engine.stats();
    let mut last = Instant::now();
    answer(engine, job, job.generate, &mut |token| {
        tokens.push(token);
        token_seconds.push(last.elapsed().as_secs_f64());
        last = Instant::now();
    })?;
    if tokens.is_empty() {
        bail!("the model made no token");
    }
    Ok(Outcome {
        prefill_seconds,
        token_seconds,
        tokens,
        ..costs(&engine.stats().since(&before))
    })
}

fn answer(
    engine: &mut Engine,
    job: &Job,
    max_tokens: usize,
    on_token: &mut dyn FnMut(u32),
) -> Result<()> {
    let mut sampler = Sampler::new(SamplerConfig::default())?;
    let request = Request {
        prompt: &job.prompt,
        max_tokens,
        sampler: &mut sampler,
        stop: &|_| false,
        cancelled: &|| false,
    };
    engine.generate(request, &mut |token| {
        on_token(token);
        ControlFlow::Continue(())
    })?;
    Ok(())
}

/// Evaluates the tokens one by one, so that each is a decode step.
fn score(engine: &mut Engine, job: &Job) -> Result<Outcome> {
    let mut last = Vec::new();
    let start = Instant::now();
    engine.logits(&job.prompt, &mut |_, logits| {
        last.clear();
        last.extend_from_slice(logits);
    })?;
    let prefill_seconds = start.elapsed().as_secs_f64();
    let before = engine.stats();
    let (mut seconds, mut sum) = (Vec::with_capacity(job.score.len()), 0.0);
    for &token in &job.score {
        sum += nll(&last, token as usize);
        let start = Instant::now();
        engine.logits(&[token], &mut |_, logits| last.copy_from_slice(logits))?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Outcome {
        prefill_seconds,
        token_seconds: seconds,
        perplexity: (sum / job.score.len() as f64).exp(),
        ..costs(&engine.stats().since(&before))
    })
}

fn costs(cost: &Stats) -> Outcome {
    Outcome {
        bytes_read: cost.bytes_read,
        reads: cost.reads,
        io_wait_ms: cost.io_wait_ms,
        compute_ms: cost.compute_ms,
        memory_ms: cost.memory_ms,
        ..Outcome::default()
    }
}

/// Lets the model write texts until there are enough tokens.
fn write(engine: &mut Engine, job: &Job, wanted: usize) -> Result<Outcome> {
    let tools = ModelIndex::open(&job.model)?.text_tools()?;
    let mut sampler = Sampler::new(SamplerConfig {
        temperature: 1.0,
        ..SamplerConfig::default()
    })?;
    let (mut text, mut made) = (String::new(), 0);
    while made < wanted {
        engine.reset();
        let mut stream = tools.tokenizer.decode_stream();
        let mut failed = None;
        let request = Request {
            prompt: &job.prompt,
            max_tokens: job.context - job.prompt.len(),
            sampler: &mut sampler,
            stop: &|token| tools.tokenizer.is_eos(token),
            cancelled: &|| false,
        };
        let outcome = engine.generate(request, &mut |token| match stream.push(token) {
            Ok(piece) => {
                text.push_str(&piece);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        text.push_str("\n\n");
        // An empty text counts too, so that this ends.
        made += outcome.generated.max(1);
    }
    Ok(Outcome {
        text,
        ..Outcome::default()
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
