//! Runs models, also those that are larger than memory.
//!
//! [`Engine::open`] makes a [`Plan`] of all memory, allocates it once, and reads what is to stay
//! resident. What does not fit streams past the computation on every *sweep* over the weights
//! (dense streaming, lossless): the tokens are those of the same model in memory, bit for bit,
//! whatever the budget, the number of threads, the size of batches and the way files are read.
//!
//! ```
//! use std::ops::ControlFlow;
//! use lampyris_runtime::engine::{Engine, FinishReason, Options, Request};
//! use lampyris_runtime::{Sampler, SamplerConfig};
//!
//! let mut engine = Engine::open("tiny", Options { context: 64, ..Options::default() })?;
//! println!("{}", engine.plan());
//! let mut sampler = Sampler::new(SamplerConfig::default())?;
//! let mut tokens = Vec::new();
//! let outcome = engine.generate(
//!     Request {
//!         prompt: &[1, 2, 3],
//!         max_tokens: 5,
//!         sampler: &mut sampler,
//!         stop: &|_| false,
//!         cancelled: &|| false,
//!     },
//!     &mut |token| {
//!         tokens.push(token);
//!         ControlFlow::Continue(())
//!     },
//! )?;
//! assert_eq!(outcome.finish, FinishReason::Length);
//! assert_eq!(tokens.len(), 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod draft;
mod error;
mod forward;
mod generate;
mod kv;
mod layout;
mod memory;
mod net;
mod open;
mod options;
mod plan;
mod planner;
mod shape;
mod stats;
mod stream;
mod weights;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lampyris_import::arch::ModelSpec;
use lampyris_kernels::{Kernels, Pool};

pub use draft::DraftOptions;
pub use error::{EngineError, Shortage};
pub use generate::{FinishReason, Outcome, Request};
pub use options::{Options, Ring};
pub use plan::{Forecast, Limit, MemoryLine, PLAN_SCHEMA, Plan, Rate, Use};
pub use planner::READ_DEPTH;
pub use stats::Stats;

use draft::Adaptive;
use forward::{Executor, Scratch};
use kv::Cache;
use memory::ProcessMemory;
use net::Net;
use shape::Shape;
use weights::Weights;

/// Computes feed-forward networks that are stored as bundles of neurons ("LLM in a flash",
/// section 3).
pub trait SparseFfn: Send {
    /// Writes the network's output for each token to `y`.
    ///
    /// `x` is the normalized input and `stream` the residual stream after attention; all three
    /// are `[tokens, width]`. The caller adds `y` to the stream.
    ///
    /// # Errors
    /// What storage says.
    fn forward(
        &mut self,
        layer: usize,
        tokens: usize,
        x: &[f32],
        stream: &[f32],
        y: &mut [f32],
    ) -> Result<(), EngineError>;

    /// Bytes and requests read, milliseconds waited for them and milliseconds of moving neurons,
    /// all since it was made.
    fn counters(&self) -> SparseCounters;
}

/// See [`SparseFfn::counters`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SparseCounters {
    /// Bytes read from storage.
    pub bytes_read: u64,
    /// Read requests.
    pub reads: u64,
    /// Milliseconds in which computing waited for storage.
    pub io_wait_ms: f64,
    /// Milliseconds of moving neurons within memory.
    pub memory_ms: f64,
}

/// A model with one sequence, ready to run.
pub struct Engine {
    spec: ModelSpec,
    plan: Plan,
    shape: Shape,
    options: Options,
    net: Net,
    kernels: Kernels,
    pool: Arc<Pool>,
    weights: Weights,
    cache: Cache,
    scratch: Scratch,
    sparse: Option<Box<dyn SparseFfn>>,
    /// The sequence: what keys and values are remembered of.
    tokens: Vec<u32>,
    draft: Vec<u32>,
    adaptive: Adaptive,
    stats: Stats,
    /// Time spent in sweeps.
    sweeping: Duration,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.spec.name)
            .field("shape", &self.shape)
            .field("position", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

/// Which logits a sweep is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Nothing,
    Last,
    All,
}

impl Engine {
    /// The model's description.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The plan that the engine was opened with.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Positions for prompt and answer together; with a ring cache, positions remembered.
    pub fn context(&self) -> usize {
        self.shape.context
    }

    /// Tokens of the current sequence.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// Forgets the sequence.
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.cache.reset();
    }

    /// Counters since the engine was opened.
    pub fn stats(&self) -> Stats {
        let sparse = match &self.sparse {
            Some(sparse) => sparse.counters(),
            None => SparseCounters::default(),
        };
        let stream = &self.weights.stream;
        let io_wait_ms = stream.waited.as_secs_f64() * 1e3 + sparse.io_wait_ms;
        let sweeping = self.sweeping.as_secs_f64() * 1e3;
        Stats {
            bytes_read: stream.bytes + sparse.bytes_read,
            reads: stream.reads + sparse.reads,
            io_wait_ms,
            compute_ms: (sweeping - io_wait_ms - sparse.memory_ms).max(0.0),
            memory_ms: sparse.memory_ms,
            peak_rss: ProcessMemory::now().map(|m| m.peak),
            ..self.stats
        }
    }

    /// Evaluates `tokens` after the current sequence and shows the logits after each:
    /// `visit(index in tokens, logits)`. For teacher-forced scores; [`reset`](Self::reset) begins
    /// a new sequence.
    ///
    /// # Errors
    /// A token outside the vocabulary or a full context (then nothing has been evaluated), and
    /// what storage says.
    pub fn logits(
        &mut self,
        tokens: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.check(tokens, self.tokens.len())?;
        let vocab = self.spec.vocab_size;
        let mut index = 0;
        while index < tokens.len() {
            let step = self.most().min(self.shape.logits).min(tokens.len() - index);
            let part = &tokens[index..index + step];
            self.sweep(part, Want::All, true, &|| false)?;
            self.tokens.extend_from_slice(part);
            for row in self.scratch.logits[..part.len() * vocab].chunks_exact(vocab) {
                visit(index, row);
                index += 1;
            }
        }
        Ok(())
    }

    /// Checks tokens that are to be evaluated from `position` on.
    fn check(&self, tokens: &[u32], position: usize) -> Result<(), EngineError> {
        let size = self.spec.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= size) {
            return Err(EngineError::Token { token, size });
        }
        let wanted = position.saturating_add(tokens.len());
        if self.options.ring.is_none() && wanted > self.shape.context {
            return Err(EngineError::Context {
                wanted,
                limit: self.shape.context,
            });
        }
        Ok(())
    }

    /// Tokens of the next sweep at most.
    fn most(&self) -> usize {
        self.shape.batch.min(self.cache.most(self.tokens.len()))
    }

    /// One pass over the weights with up to a batch of tokens, which follow the sequence (and do
    /// not become part of it). Logits are at the start of the scratch, a row a token that has
    /// some. `next` guesses whether the next sweep makes logits.
    fn sweep(
        &mut self,
        tokens: &[u32],
        want: Want,
        next: bool,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), EngineError> {
        let start = Instant::now();
        let n = tokens.len();
        self.weights.stream.begin(want != Want::Nothing, next)?;
        let mut executor = Executor {
            net: &self.net,
            kernels: &self.kernels,
            pool: &self.pool,
            weights: &mut self.weights,
            cache: &mut self.cache,
            scratch: &mut self.scratch,
            sparse: self.sparse.as_deref_mut(),
            cancelled,
        };
        executor.layers(tokens, self.tokens.len())?;
        match want {
            Want::Nothing => {}
            Want::Last => executor.logits(n - 1..n)?,
            Want::All => executor.logits(0..n)?,
        }
        self.stats.tokens += n as u64;
        self.stats.sweeps += 1;
        self.sweeping += start.elapsed();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
