//! Options of the engine, as `run`, `chat`, `bench` and `serve` take them, and opening it.

use super::sparse::SparseArgs;
use crate::output::{bytes, note};
use crate::size;
use anyhow::Result;
use clap::ValueEnum;
use lampyris_import::saved::TextTools;
use lampyris_io::EngineKind;
use lampyris_io::probe::Profile;
use lampyris_kernels::KvType;
use lampyris_pack::ModelIndex;
use lampyris_runtime::engine::{DraftOptions, Engine, Options, Plan, Rate, Ring};
use lampyris_runtime::sparse::SparseOptions;
use lampyris_runtime::sparse::chunks::ReadCost;
use std::path::Path;
use verilator_sys::toolchain::Cache;

/// Memory that the command itself uses once the engine is open: text, terminal, JSON.
const COMMAND_BYTES: u64 = 2 << 20;

/// How the engine is opened.
#[derive(clap::Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// Most memory that the whole process may use, such as 2GiB or 512MiB; weights beyond it
    /// stream from storage [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) memory: Option<u64>,
    /// Longest text in tokens, prompt included [default: for `run` what prompt and answer need,
    /// else the model's, at most 4096]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) context: Option<u32>,
    /// Computing threads [default: all processors]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    #[command(flatten)]
    pub(crate) more: MoreArgs,
}

/// Options that `bench` takes too, which has lists for the others.
#[derive(clap::Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct MoreArgs {
    /// Format of the key and value cache
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    kv: Kv,
    /// How files are read: auto, uring, pread, pread:THREADS, buffered, mmap
    #[arg(long, value_name = "HOW", default_value_t = EngineKind::Auto)]
    io: EngineKind,
    /// Guess up to N next tokens from repetitions in the text and check them in one sweep over
    /// the weights; the text stays the same
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true,
        default_missing_value = "7", value_parser = clap::value_parser!(u8).range(1..=64))]
    draft: Option<u8>,
    /// Keep the first N tokens and the most recent ones when the context is full, instead of
    /// ending the text
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true,
        default_missing_value = "4", value_parser = clap::value_parser!(u16).range(0..=1024))]
    sinks: Option<u16>,
    #[command(flatten)]
    sparse: SparseArgs,
}

/// Formats of the key and value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kv {
    /// 16 bits
    F16,
    /// 8 bits with a scale for each head and position
    Q8,
}

impl EngineArgs {
    /// The engine's options. `reserve` is memory that the caller will allocate beside it.
    pub(crate) fn options(&self, reserve: u64) -> Options {
        Options {
            memory: self.memory,
            context: self.context.map_or(0, |n| n as usize),
            threads: self.threads.map_or(0, usize::from),
            reserve: COMMAND_BYTES + reserve,
            ..self.more.options()
        }
    }
}

impl MoreArgs {
    /// The engine's options, without budget, context and threads.
    pub(crate) fn options(&self) -> Options {
        let draft = self.draft.map(|n| DraftOptions {
            max_tokens: n.into(),
            ..DraftOptions::default()
        });
        Options {
            kv: match self.kv {
                Kv::F16 => KvType::F16,
                Kv::Q8 => KvType::Q8,
            },
            io: self.io,
            draft,
            ring: self.sinks.map(|n| Ring { sinks: n.into() }),
            reserve: COMMAND_BYTES,
            ..Options::default()
        }
    }
}

/// A model that is known, and not loaded.
pub(crate) struct Prepared {
    pub(crate) index: ModelIndex,
    pub(crate) tools: TextTools,
    pub(crate) options: Options,
}

impl Prepared {
    /// Reads what a model is and makes its tokenizer.
    pub(crate) fn open(model: &str, options: Options, more: &MoreArgs) -> Result<Self> {
        let index = ModelIndex::open(model)?;
        let tools = index.text_tools()?;
        let profile = match index.files.first() {
            Some(file) => storage(file)?,
            None => None,
        };
        let mut sparse = more.sparse.options(&index)?;
        if let (Some(sparse), Some(cost)) = (&mut sparse, profile.as_ref().and_then(read_cost)) {
            sparse.cost = cost;
        }
        Ok(Self {
            index,
            tools,
            options: Options {
                sparse,
                storage: profile.as_ref().map(Rate::from),
                ..options
            },
        })
    }

    /// Plans for `tokens` in all, unless the user or the model sets a context.
    pub(crate) fn fit_context(&mut self, tokens: usize) {
        if self.options.context == 0 && self.options.ring.is_none() {
            self.options.context = tokens.min(self.index.spec.context_length);
        }
    }

    /// What the engine would use.
    pub(crate) fn plan(&self) -> Result<Plan> {
        Ok(Engine::plan_for(&self.index, &self.options)?)
    }

    /// Loads the model.
    pub(crate) fn load(self) -> Result<(Engine, TextTools)> {
        let engine = Engine::with_index(self.index, self.options)?;
        Ok((engine, self.tools))
    }

    /// Shows the plan on stderr, then loads the model.
    pub(crate) fn load_with_plan(self) -> Result<(Engine, TextTools)> {
        note(self.plan()?.to_string().trim_end());
        self.load()
    }
}

/// What is known of the storage that holds `file`: what `lampyris probe` found, or assumptions.
pub(crate) fn storage(file: &Path) -> Result<Option<Profile>> {
    // Without a place for a cache nothing was saved.
    let Ok(cache) = Cache::locate() else {
        return Ok(None);
    };
    Ok(Some(Profile::for_path(cache.root(), file)?))
}

/// Cost of reads at random with many in flight, by their size.
fn read_cost(profile: &Profile) -> Option<ReadCost> {
    let depth = SparseOptions::default().depth;
    let sizes = (12..=20).map(|bits| 1usize << bits);
    ReadCost::measured(sizes.map(|n| (n, profile.cost(n as u64, depth).as_secs_f64())))
}

/// How the peak of the process compares with its budget, for the line after a run.
pub(crate) fn memory_note(peak: u64, budget: Option<u64>) -> String {
    match budget {
        Some(budget) => format!("peak memory {} of {}", bytes(peak), bytes(budget)),
        None => format!("peak memory {}", bytes(peak)),
    }
}
