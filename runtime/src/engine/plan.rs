//! What an engine will use, before it uses it.

use std::fmt;

use lampyris_io::probe::{Origin, Profile};
use serde::Serialize;

/// Version of the plan's JSON form.
pub const PLAN_SCHEMA: u32 = 1;

/// A rate and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rate {
    /// Bytes per second.
    pub bytes_per_second: f64,
    /// How it is known: measured, or assumed.
    pub source: String,
}

impl From<&Profile> for Rate {
    fn from(profile: &Profile) -> Self {
        Self {
            bytes_per_second: profile.sequential().max(1.0),
            source: match profile.origin {
                Origin::Measured => "measured by `lampyris probe`".to_owned(),
                Origin::Assumed => "assumed; `lampyris probe` measures it".to_owned(),
            },
        }
    }
}

/// Why memory is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// The process before the model: code, tokenizer, allocator, and a margin.
    Process,
    /// Keys and values of the context.
    KvCache,
    /// Vectors between the operations, logits, scores.
    Activations,
    /// Weights that are small or always needed whole: norms and biases.
    Vectors,
    /// Buffers into which streamed weights are read.
    Buffers,
    /// Weights that stay.
    Weights,
    /// Neurons kept by sparse mode, gate rows that stay, and its predictor.
    Neurons,
    /// Buffers and vectors of sparse mode.
    NeuronBuffers,
}

impl Use {
    fn label(self) -> &'static str {
        match self {
            Self::Process => "process (code, tokenizer, margin)",
            Self::KvCache => "key and value cache",
            Self::Activations => "activations and logits",
            Self::Vectors => "norms and biases",
            Self::Buffers => "read buffers",
            Self::Weights => "resident weights",
            Self::Neurons => "neuron cache and predictor",
            Self::NeuronBuffers => "neuron read buffers and vectors",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One line of the plan: an amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryLine {
    /// Its use.
    pub what: Use,
    /// Bytes.
    pub bytes: u64,
}

/// What limits the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Reading the streamed weights.
    Storage,
    /// Computing.
    Compute,
}

/// Expected time of a token during decoding, without drafts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// Seconds of reading, overlapped with computing.
    pub storage_seconds: f64,
    /// Seconds of computing.
    pub compute_seconds: f64,
    /// Tokens per second at best: the larger of the two times decides.
    pub tokens_per_second: f64,
    /// Which of the two.
    pub limit: Limit,
}

/// The plan of an engine: made before anything is loaded, kept while it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// [`PLAN_SCHEMA`].
    pub schema_version: u32,
    /// The model's name.
    pub model: String,
    /// Bytes of all weights.
    pub model_bytes: u64,
    /// The budget, if there is one.
    pub budget: Option<u64>,
    /// All memory that will be used, by use. The sum never exceeds the budget.
    pub memory: Vec<MemoryLine>,
    /// The least budget that works with these options.
    pub minimum: u64,
    /// The budget from which on nothing streams.
    pub all_resident: u64,
    /// Bytes of weights that are read for every token (for every sweep, with drafts).
    pub streamed_bytes: u64,
    /// The same with the alignment of direct I/O.
    pub read_bytes_per_token: u64,
    /// Read requests per token.
    pub reads_per_token: usize,
    /// Bytes of the largest request.
    pub request_bytes: usize,
    /// Buffers for requests in flight or waiting for their use.
    pub request_buffers: usize,
    /// Longest sequence; with attention sinks the number of positions that are remembered.
    pub context: usize,
    /// Format of the key and value cache.
    pub kv: &'static str,
    /// First positions that are kept for ever, if the cache is a ring.
    pub sinks: Option<usize>,
    /// Tokens of a prompt that share a sweep.
    pub batch: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub isa: &'static str,
    /// How files are read: `pread`, `io_uring`, ...
    pub io: String,
    /// Sequential rate of the storage.
    pub storage: Rate,
    /// Rate at which a token's weights are computed with.
    pub compute: Rate,
    /// Expected speed.
    pub forecast: Forecast,
    /// Where files are read in another way than was asked for, and why.
    pub notes: Vec<String>,
    /// What would make it faster, the most effective first.
    pub advice: Vec<String>,
}

impl Plan {
    /// All memory that will be used.
    pub fn total(&self) -> u64 {
        self.memory.iter().map(|line| line.bytes).sum()
    }

    /// Memory for one use.
    pub fn bytes(&self, what: Use) -> u64 {
        let lines = self.memory.iter().filter(|line| line.what == what);
        lines.map(|line| line.bytes).sum()
    }
}

/// The expected speed of reading `streamed` and computing `computed` bytes per token.
pub(crate) fn forecast(streamed: u64, storage: &Rate, computed: u64, compute: &Rate) -> Forecast {
    let storage_seconds = streamed as f64 / storage.bytes_per_second;
    let compute_seconds = computed as f64 / compute.bytes_per_second;
    let slower = storage_seconds.max(compute_seconds);
    Forecast {
        storage_seconds,
        compute_seconds,
        tokens_per_second: 1.0 / slower.max(1e-9),
        limit: match storage_seconds > compute_seconds {
            true => Limit::Storage,
            false => Limit::Compute,
        },
    }
}

/// What would make a planned engine faster.
pub(crate) fn advice(plan: &Plan, drafts: bool) -> Vec<String> {
    let mut advice = Vec::new();
    let forecast = &plan.forecast;
    if plan.streamed_bytes > 0 && forecast.limit == Limit::Storage {
        // The budget at which reading takes as long as computing.
        let hidden = forecast.compute_seconds * plan.storage.bytes_per_second;
        let more = (plan.streamed_bytes as f64 - hidden).max(0.0) as u64;
        advice.push(format!(
            "a budget of {} hides all reading behind computing ({:.2} tokens/s); {} keeps all weights resident",
            Bytes(plan.total() + more),
            1.0 / forecast.compute_seconds.max(1e-9),
            Bytes(plan.all_resident),
        ));
        if !drafts {
            advice.push(
                "drafts (prompt lookup) check several tokens per sweep at almost the same cost"
                    .to_owned(),
            );
        }
        if plan.kv == "f16" && plan.bytes(Use::KvCache) > plan.streamed_bytes / 20 {
            advice.push(format!(
                "a key and value cache in 8 bits frees {} for weights",
                Bytes(plan.bytes(Use::KvCache) * 15 / 32),
            ));
        }
    }
    if forecast.limit == Limit::Compute {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if plan.threads < cores {
            advice.push(format!(
                "computing is the limit: {} of {cores} processors are used",
                plan.threads
            ));
        }
    }
    advice
}

/// Bytes for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0 as f64 / (1 << 20) as f64;
        match mib {
            _ if mib >= 10_240.0 => write!(f, "{:.1} GiB", mib / 1024.0),
            _ if mib >= 100.0 => write!(f, "{mib:.0} MiB"),
            _ if mib >= 1.0 => write!(f, "{mib:.1} MiB"),
            _ => write!(f, "{:.0} KiB", mib * 1024.0),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = match self.budget {
            Some(budget) => format!("budget {}", Bytes(budget)),
            None => "no budget".to_owned(),
        };
        writeln!(
            f,
            "{}: {} of weights, {budget}, {} planned (minimum {})",
            self.model,
            Bytes(self.model_bytes),
            Bytes(self.total()),
            Bytes(self.minimum),
        )?;
        for line in &self.memory {
            // Padded here, since `Bytes` ignores widths.
            let bytes = Bytes(line.bytes).to_string();
            writeln!(f, "  {bytes:>10}  {}", line.what)?;
        }
        let ring = match self.sinks {
            Some(sinks) => format!(", ring with {sinks} sinks"),
            None => String::new(),
        };
        writeln!(
            f,
            "  context {} ({}{ring}), prompts in parts of {}, {} threads, {}",
            self.context, self.kv, self.batch, self.threads, self.isa
        )?;
        match self.streamed_bytes {
            0 => writeln!(f, "  all weights are resident; nothing streams")?,
            _ => writeln!(
                f,
                "  streams {} per token in {} reads of up to {} ({}, {} buffers)",
                Bytes(self.read_bytes_per_token),
                self.reads_per_token,
                Bytes(self.request_bytes as u64),
                self.io,
                self.request_buffers,
            )?,
        }
        let forecast = &self.forecast;
        writeln!(
            f,
            "  forecast {:.2} tokens/s: reading {:.1} ms at {:.0} MB/s ({}), computing {:.1} ms at {:.1} GB/s ({})",
            forecast.tokens_per_second,
            forecast.storage_seconds * 1e3,
            self.storage.bytes_per_second / 1e6,
            self.storage.source,
            forecast.compute_seconds * 1e3,
            self.compute.bytes_per_second / 1e9,
            self.compute.source,
        )?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for advice in &self.advice {
            writeln!(f, "  faster: {advice}")?;
        }
        Ok(())
    }
}
