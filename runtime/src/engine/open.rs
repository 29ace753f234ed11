//! Opening: measure, plan, allocate, load.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lampyris_import::arch::Positions;
use lampyris_io::{AlignedBuf, ReadEngine};
use lampyris_kernels::{Activations, Kernels, Matrix, Pool};
use lampyris_pack::ModelIndex;

use super::draft::Adaptive;
use super::forward::Scratch;
use super::kv::Cache;
use super::layout::MatrixDesc;
use super::memory::ProcessMemory;
use super::net::Net;
use super::options::Options;
use super::plan::{Plan, Rate, Use};
use super::planner::{self, Planned, READ_DEPTH, Situation};
use super::stats::Stats;
use super::weights::Weights;
use super::{Engine, EngineError, SparseFfn};
use crate::sparse::WindowedFfn;

/// What a process uses before a model, where the system does not say.
const ASSUMED_PROCESS: u64 = 48 << 20;
/// Code that is not touched yet, small allocations, I/O queues.
const MARGIN: u64 = 3 << 20;
/// Touched stack and allocator pages of a thread.
const THREAD_MARGIN: u64 = 192 << 10;
/// Bytes that a sampler sorts, per token of the vocabulary.
const SAMPLER_BYTES: u64 = 32;
/// Weights with which the speed of computing is measured.
const MEASURED_BYTES: usize = 8 << 20;
const CACHE_LINE: usize = 64;

impl Engine {
    /// What an engine would use, without opening it. Whoever makes a tokenizer should have made
    /// it before, so that it counts.
    ///
    /// # Errors
    /// As [`open`](Self::open), apart from loading.
    pub fn plan_for(index: &ModelIndex, options: &Options) -> Result<Plan, EngineError> {
        let kernels = Kernels::detect()?;
        let pool = Pool::new(threads(options))?;
        let engine = storage(index, options)?;
        let situation = situation(index, options, &kernels, &pool, engine.as_ref())?;
        Ok(planner::make(index, options, &situation)?.plan)
    }

    /// Opens a model: GGUF file, Hugging Face directory, packed file, or `tiny`.
    ///
    /// The budget covers the process as it is now, so a tokenizer should exist already.
    ///
    /// # Errors
    /// A model that cannot be read, a budget that is too small ([`EngineError::Budget`]), options
    /// that the model cannot honour, and what storage says.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, EngineError> {
        Self::with_index(ModelIndex::open(path)?, options)
    }

    /// As [`open`](Self::open), for a model whose index was opened already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_index(index: ModelIndex, options: Options) -> Result<Self, EngineError> {
        let engine = storage(&index, &options)?;
        Self::with_storage(index, options, engine)
    }

    /// As [`with_index`](Self::with_index), reading the index's files through `engine`, which
    /// must take [`READ_DEPTH`](super::READ_DEPTH) requests at a time.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_storage(
        index: ModelIndex,
        options: Options,
        engine: Box<dyn ReadEngine>,
    ) -> Result<Self, EngineError> {
        let start = Instant::now();
        let kernels = Kernels::detect()?;
        let pool = Arc::new(Pool::new(threads(&options))?);
        let situation = situation(&index, &options, &kernels, &pool, engine.as_ref())?;
        let planned = planner::make(&index, &options, &situation)?;
        Self::load(index, options, planned, (kernels, pool), engine, start)
    }

    fn load(
        mut index: ModelIndex,
        mut options: Options,
        planned: Planned,
        (kernels, pool): (Kernels, Arc<Pool>),
        engine: Box<dyn ReadEngine>,
        start: Instant,
    ) -> Result<Self, EngineError> {
        let spec = index.spec.clone();
        let mut weights = Weights::load(&index, &planned, engine)?;
        let learned = learned(&index, &planned, &kernels, &mut weights)?;
        weights.stream.shrink();
        let shape = planned.shape;
        let sparse = match options.sparse.take() {
            Some(sparse) => {
                let machine = (kernels, Arc::clone(&pool));
                let storage = storage(&index, &options)?;
                let plan = &planned.plan;
                let memory = plan.bytes(Use::Neurons) + plan.bytes(Use::NeuronBuffers);
                let ffn = WindowedFfn::open(&index, sparse, storage, machine, memory, shape.batch)?;
                Some(Box::new(ffn) as Box<dyn SparseFfn>)
            }
            None => None,
        };
        let net = Net::new(&mut index, learned);
        let stats = Stats {
            load_bytes: weights.stream.forget_counters(),
            load_ms: start.elapsed().as_secs_f64() * 1e3,
            ..Stats::default()
        };
        Ok(Self {
            cache: Cache::new(&spec, &shape),
            scratch: Scratch::new(&shape, &spec),
            adaptive: Adaptive::new(options.draft.map_or(0, |d| d.max_tokens)),
            tokens: Vec::with_capacity(shape.context),
            draft: Vec::with_capacity(shape.logits + 1),
            plan: planned.plan,
            spec,
            shape,
            options,
            net,
            kernels,
            pool,
            weights,
            sparse,
            stats,
            sweeping: Duration::ZERO,
        })
    }
}

fn threads(options: &Options) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

fn storage(index: &ModelIndex, options: &Options) -> Result<Box<dyn ReadEngine>, EngineError> {
    Ok(lampyris_io::open(&index.files, options.io, READ_DEPTH)?)
}

fn situation(
    index: &ModelIndex,
    options: &Options,
    kernels: &Kernels,
    pool: &Pool,
    engine: &dyn ReadEngine,
) -> Result<Situation, EngineError> {
    let compute = measure(&planner::matrices(index), kernels, pool);
    let used = ProcessMemory::now();
    if let (Some(memory), Some(budget)) = (used, options.memory)
        && memory.peak > budget
    {
        return Err(planner::peaked(index, memory.peak, budget));
    }
    let margin = MARGIN
        + THREAD_MARGIN * pool.threads() as u64
        + SAMPLER_BYTES * index.spec.vocab_size as u64;
    let process = used.map_or(ASSUMED_PROCESS, |m| m.resident) + margin;
    let neurons = options.sparse.as_ref();
    let neurons = neurons.map(|sparse| {
        let batch = options.batch.max(planner::MOST_BATCH);
        WindowedFfn::memory(index, sparse, engine.alignment(), batch)
    });
    let neurons = neurons.transpose()?;
    Ok(Situation {
        // Predictors are in memory already; they count with the neurons.
        process: process.saturating_sub(neurons.map_or(0, |n| n.predictors)),
        align: engine.alignment(),
        threads: pool.threads(),
        isa: kernels.isa().name(),
        io: engine.name().to_owned(),
        notes: engine.notes().iter().map(ToString::to_string).collect(),
        compute,
        neurons,
    })
}

/// Multiplies with weights of the model's most frequent format for a few milliseconds.
fn measure(matrices: &[MatrixDesc], kernels: &Kernels, pool: &Pool) -> Rate {
    let assumed = || Rate {
        bytes_per_second: 1e9,
        source: "assumed".to_owned(),
    };
    let Some(desc) = matrices.iter().max_by_key(|m| m.bytes()) else {
        return assumed();
    };
    let rows = (MEASURED_BYTES / desc.row_bytes).clamp(1, desc.rows);
    // Not from the allocator, which would keep it: the plan made next would count it as used.
    let Ok(mut data) = AlignedBuf::new(rows * desc.row_bytes, CACHE_LINE) else {
        return assumed();
    };
    data.fill(1);
    let x = vec![0.5; desc.cols];
    let mut acts = Activations::with_capacity(1, desc.cols);
    acts.quantize(kernels, &x, desc.cols);
    let mut out = vec![0.0; rows];
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let start = Instant::now();
        let w = Matrix {
            ty: desc.ty,
            rows,
            cols: desc.cols,
            data: &data,
        };
        kernels.matmul(pool, w, &acts, &mut out, rows, 0);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Rate {
        bytes_per_second: data.len() as f64 / best.max(1e-9),
        source: format!("measured on {}", desc.ty),
    }
}

/// The table of learned positions as f32, as far as the context goes.
fn learned(
    index: &ModelIndex,
    planned: &Planned,
    kernels: &Kernels,
    weights: &mut Weights,
) -> Result<Option<Vec<f32>>, EngineError> {
    let (Some(stored), Positions::Learned { offset }) =
        (&index.position_embd, &index.spec.positions)
    else {
        return Ok(None);
    };
    let context = planned.shape.context;
    let mut table = vec![0.0; context * stored.cols];
    weights.read_rows(kernels, stored, *offset, &mut table)?;
    Ok(Some(table))
}
