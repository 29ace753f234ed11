//! Divides the budget.

use lampyris_import::arch::ModelSpec;
use lampyris_kernels::KvType;
use lampyris_pack::{Ffn, ModelIndex, Stored};

use super::layout::{Grain, Layout, MatrixDesc};
use super::options::Options;
use super::plan::{self, Bytes, MemoryLine, PLAN_SCHEMA, Plan, Rate, Use};
use super::shape::Shape;
use super::stream::{Buffers, CHECKED};
use super::{EngineError, Shortage};
use crate::sparse::Memory;

/// Requests that an engine has in flight at most.
pub const READ_DEPTH: usize = 64;
/// Single rows (of the embedding) that are read at once.
const ROW_BUFFERS: usize = 16;
/// Tokens per sweep of a prompt, from comfortable to cramped, with the number of read buffers.
const STEPS: [(usize, usize); 5] = [(128, 24), (64, 16), (32, 12), (16, 8), (8, 6)];
/// Most tokens of a sweep, unless options say otherwise.
pub(crate) const MOST_BATCH: usize = STEPS[0].0;
/// Largest head that the attention kernels take.
const MOST_HEAD: usize = 512;
/// Rate assumed for storage that was never probed.
const ASSUMED_RATE: f64 = 1.0e9;

/// What is known of the process and the machine when the plan is made.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    /// Memory that the process uses already, with a margin for what it will use besides weights.
    pub(crate) process: u64,
    /// Alignment of reads.
    pub(crate) align: usize,
    pub(crate) threads: usize,
    pub(crate) isa: &'static str,
    pub(crate) io: String,
    /// What the reader says about itself.
    pub(crate) notes: Vec<String>,
    pub(crate) compute: Rate,
    /// What a sparse FFN needs.
    pub(crate) neurons: Option<Memory>,
}

/// The plan and everything that must be allocated for it.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) matrices: Vec<MatrixDesc>,
    pub(crate) layout: Layout,
    pub(crate) buffers: Buffers,
    pub(crate) grain: Grain,
    pub(crate) shape: Shape,
    /// Matrices of the layers; the output matrix and a resident embedding follow.
    pub(crate) body: usize,
    /// Whether the embedding is a matrix of its own that stays in memory.
    pub(crate) table: bool,
}

/// The matrices of a sweep in order, then those outside of it.
pub(crate) fn matrices(index: &ModelIndex) -> Vec<MatrixDesc> {
    let describe = |stored: &Stored, group: usize| MatrixDesc {
        name: stored.name.clone(),
        ty: stored.ty,
        rows: stored.rows,
        cols: stored.cols,
        row_bytes: stored.row_bytes(),
        file: stored.file,
        offset: stored.offset,
        group,
    };
    let mut all = Vec::new();
    for (group, layer) in index.layers.iter().enumerate() {
        all.extend(layer.matrices().map(|m| describe(m, group)));
    }
    let head = index.output.as_ref().unwrap_or(&index.token_embd);
    all.push(describe(head, index.layers.len()));
    all
}

/// What one way of dividing the budget needs besides weights.
struct Division {
    shape: Shape,
    buffers: Buffers,
    grain: Grain,
    lines: Vec<MemoryLine>,
}

impl Division {
    fn fixed(&self) -> u64 {
        self.lines.iter().map(|l| l.bytes).sum()
    }

    fn bytes(&self, what: Use) -> u64 {
        let lines = self.lines.iter().filter(|l| l.what == what);
        lines.map(|l| l.bytes).sum()
    }
}

struct Planner<'a> {
    index: &'a ModelIndex,
    options: &'a Options,
    situation: &'a Situation,
    matrices: Vec<MatrixDesc>,
}

/// Makes the plan.
///
/// # Errors
/// [`EngineError::Budget`] if it cannot be kept, [`EngineError::Unsupported`] for a context that
/// the model does not have.
pub(crate) fn make(
    index: &ModelIndex,
    options: &Options,
    situation: &Situation,
) -> Result<Planned, EngineError> {
    let planner = Planner {
        index,
        options,
        situation,
        matrices: matrices(index),
    };
    planner.check()?;
    planner.make()
}

impl Planner<'_> {
    fn spec(&self) -> &ModelSpec {
        &self.index.spec
    }

    fn check(&self) -> Result<(), EngineError> {
        let (options, spec) = (self.options, self.spec());
        let refuse = |what: String, hint: &str| {
            Err(EngineError::Unsupported {
                what,
                hint: hint.to_owned(),
            })
        };
        if let Some(ring) = options.ring {
            if spec.rope().is_none() {
                return refuse(
                    format!(
                        "`{}` has learned positions, which attention sinks cannot shift",
                        spec.name
                    ),
                    "run it without a ring cache; its context ends where its table ends",
                );
            }
            if options.context <= ring.sinks + 1 && options.context > 0 {
                return refuse(
                    format!(
                        "a context of {} leaves no room beside {} sinks",
                        options.context, ring.sinks
                    ),
                    "give a longer context or fewer sinks",
                );
            }
        }
        if options.context > spec.context_length {
            return refuse(
                format!(
                    "a context of {} is longer than the {} that `{}` was made for",
                    options.context, spec.context_length, spec.name
                ),
                "choose a context up to the model's; a ring cache goes on past it",
            );
        }
        for (i, layer) in spec.layers.iter().enumerate() {
            let (k, v) = (layer.head_dim_k, layer.head_dim_v);
            if k != v || k > MOST_HEAD {
                return refuse(
                    format!(
                        "layer {i} of `{}` has heads of {k} and {v} elements; they must be equal and at most {MOST_HEAD}",
                        spec.name
                    ),
                    "run it with the reference executor (`--engine reference`)",
                );
            }
        }
        let bundled = |f: &Ffn| matches!(f, Ffn::Bundled(_));
        if self.situation.neurons.is_none() && index_has(self.index, bundled) {
            return refuse(
                format!(
                    "the packed file of `{}` is laid out for sparse mode",
                    spec.name
                ),
                "run it in sparse mode, or pack the model again with `--layout dense`",
            );
        }
        Ok(())
    }

    fn chunk(&self) -> usize {
        let bytes: u64 = self.matrices.iter().map(MatrixDesc::bytes).sum();
        let tables = [&self.index.token_embd]
            .into_iter()
            .chain(&self.index.position_embd);
        let rows = self.matrices.iter().map(|m| m.row_bytes);
        let widest = rows.chain(tables.map(Stored::row_bytes)).max().unwrap_or(0);
        let chunk = match self.options.request {
            // Large reads, but small against the model: the budget is used to the last part.
            0 => ((bytes / 128) as usize).clamp(128 << 10, 2 << 20),
            n => n,
        };
        chunk.max(widest).next_multiple_of(self.situation.align)
    }

    fn divide(&self, batch: usize, requests: usize, options: &Options) -> Division {
        let (spec, situation) = (self.spec(), self.situation);
        let shape = Shape::new(spec, options, batch, situation.threads);
        let grain = Grain {
            align: situation.align,
            chunk: self.chunk(),
        };
        let row = self.index.token_embd.row_bytes();
        // The first read of a unit takes in what shares checksums with it.
        let margins = match self.index.packed() {
            Some(_) => 2 * (CHECKED as usize).next_multiple_of(situation.align),
            None => 0,
        };
        let buffers = Buffers {
            units: requests,
            unit_bytes: grain.buffer() + margins,
            rows: ROW_BUFFERS.min(shape.batch),
            row_bytes: row.next_multiple_of(situation.align) + situation.align,
        };
        let line = |what, bytes| MemoryLine { what, bytes };
        let mut lines = vec![
            line(Use::Process, situation.process + options.reserve),
            line(Use::KvCache, shape.kv_bytes(spec)),
            line(Use::Activations, shape.activation_bytes(spec)),
            line(Use::Vectors, self.vector_bytes(shape.context)),
            line(Use::Buffers, buffers.bytes()),
        ];
        if let Some(neurons) = situation.neurons {
            lines.push(line(Use::NeuronBuffers, neurons.buffers()));
            lines.push(line(Use::Neurons, neurons.least - neurons.buffers()));
        }
        Division {
            shape,
            buffers,
            grain,
            lines,
        }
    }

    /// Norms, biases, and the table of learned positions as f32.
    fn vector_bytes(&self, context: usize) -> u64 {
        let d = self.spec().d_model;
        let mut floats = 2 * d * (2 * self.index.layers.len() + 1);
        for layer in &self.index.layers {
            let ffn = match &layer.ffn {
                Ffn::Dense { gate, up, down } => [gate.as_ref(), Some(up), Some(down)],
                Ffn::Bundled(_) => [None; 3],
            };
            let linear = [&layer.q, &layer.k, &layer.v, &layer.o].into_iter();
            for l in linear.chain(ffn.into_iter().flatten()) {
                floats += l.bias.as_ref().map_or(0, Vec::len);
            }
        }
        if self.index.position_embd.is_some() {
            floats += context * d;
        }
        // The index holds them, and the executor its own copy while it opens.
        floats as u64 * 4 * 2
    }

    fn make(&self) -> Result<Planned, EngineError> {
        let all = Layout::fit(&self.matrices, self.grain(), u64::MAX);
        let table = self.index.output.as_ref().map(|_| &self.index.token_embd);
        let table_bytes = table.map_or(0, Stored::bytes);
        let whole = all.arena_bytes as u64 + table_bytes;
        let limit = self.options.resident.unwrap_or(u64::MAX);
        let best_neurons = self
            .situation
            .neurons
            .map_or(0, |neurons| neurons.most - neurons.least);
        let steps = self.steps();
        let comfortable = self.divide(steps[0].0, steps[0].1, self.options);
        let all_resident = comfortable.fixed() + whole + best_neurons;
        let Some(budget) = self.options.memory else {
            let layout = match limit {
                u64::MAX => all,
                _ => Layout::fit(&self.matrices, comfortable.grain, limit),
            };
            return Ok(self.finish(comfortable, layout, u64::MAX, all_resident));
        };
        // The first step whose buffers and vectors take no more than a sixth of what is left for
        // them and the weights; the last that fits otherwise.
        let mut chosen = None;
        for &(batch, requests) in &steps {
            let division = self.divide(batch, requests, self.options);
            let fixed = division.fixed();
            if fixed > budget {
                continue;
            }
            let own = division.bytes(Use::Activations) + division.bytes(Use::Buffers);
            let roomy = fixed + whole <= budget || own <= (budget - fixed + own) / 6;
            chosen = Some(division);
            if roomy {
                break;
            }
        }
        let Some(division) = chosen else {
            return Err(self.too_small(budget));
        };
        let arena = (budget - division.fixed()).min(limit);
        let layout = Layout::fit(&self.matrices, division.grain, arena);
        if layout.held_at_most() >= division.buffers.units {
            return Err(self.too_small(budget));
        }
        Ok(self.finish(division, layout, budget, all_resident))
    }

    fn grain(&self) -> Grain {
        Grain {
            align: self.situation.align,
            chunk: self.chunk(),
        }
    }

    fn steps(&self) -> Vec<(usize, usize)> {
        match self.options.batch {
            0 => STEPS.to_vec(),
            batch => STEPS.iter().map(|s| (batch, s.1)).collect(),
        }
    }

    fn least(&self, options: &Options) -> u64 {
        let last = STEPS[STEPS.len() - 1];
        let batch = if options.batch == 0 {
            last.0
        } else {
            options.batch
        };
        self.divide(batch, last.1, options).fixed()
    }

    fn finish(
        &self,
        division: Division,
        layout: Layout,
        budget: u64,
        all_resident: u64,
    ) -> Planned {
        let situation = self.situation;
        let mut lines = division.lines;
        let table = self.give_out(&mut lines, &layout, budget);
        let storage = self.options.storage.clone().unwrap_or(Rate {
            bytes_per_second: ASSUMED_RATE,
            source: "assumed; `lampyris probe` measures it".to_owned(),
        });
        let computed: u64 = self.matrices.iter().map(MatrixDesc::bytes).sum();
        let mut plan = Plan {
            schema_version: PLAN_SCHEMA,
            model: self.spec().name.clone(),
            model_bytes: self.index.weight_bytes(),
            budget: self.options.memory,
            memory: lines,
            minimum: self.least(self.options),
            all_resident,
            streamed_bytes: layout.payload_bytes,
            read_bytes_per_token: layout.read_bytes,
            reads_per_token: layout.units.len(),
            request_bytes: layout.largest_unit(),
            request_buffers: division.buffers.units,
            context: division.shape.context,
            kv: kv_name(division.shape.kv),
            sinks: self.options.ring.map(|r| r.sinks),
            batch: division.shape.batch,
            threads: situation.threads,
            isa: situation.isa,
            io: situation.io.clone(),
            notes: situation.notes.clone(),
            forecast: plan::forecast(layout.read_bytes, &storage, computed, &situation.compute),
            storage,
            compute: situation.compute.clone(),
            advice: Vec::new(),
        };
        plan.advice = plan::advice(&plan, self.options.draft.is_some());
        Planned {
            plan,
            body: self.matrices.len() - 1,
            matrices: self.matrices.clone(),
            layout,
            buffers: division.buffers,
            grain: division.grain,
            shape: division.shape,
            table,
        }
    }

    /// Adds the weights to the lines. What remains goes to an embedding of its own (then true is
    /// returned) and to neurons.
    fn give_out(&self, lines: &mut Vec<MemoryLine>, layout: &Layout, budget: u64) -> bool {
        let mut weights = layout.arena_bytes as u64;
        let used: u64 = lines.iter().map(|l| l.bytes).sum();
        let mut left = budget.saturating_sub(used + weights);
        let table = self.index.output.is_some()
            && layout.units.is_empty()
            && self.index.token_embd.bytes() <= left;
        if table {
            weights += self.index.token_embd.bytes();
            left -= self.index.token_embd.bytes();
        }
        if let Some(neurons) = self.situation.neurons {
            for line in lines.iter_mut().filter(|l| l.what == Use::Neurons) {
                line.bytes += left.min(neurons.most - neurons.least);
            }
        }
        lines.push(MemoryLine {
            what: Use::Weights,
            bytes: weights,
        });
        table
    }

    /// The error for a budget below the minimum, with the nearest setting that fits.
    fn too_small(&self, budget: u64) -> EngineError {
        let minimum = self.least(self.options);
        let fits = |options: &Options| self.least(options) <= budget;
        let with = |kv, context| Options {
            kv,
            context,
            ..self.options.clone()
        };
        let context = Shape::new(self.spec(), self.options, 1, 1).context;
        let shorter =
            std::iter::successors(Some(context), |c| Some(c / 2)).take_while(|c| *c >= 64);
        let settings = shorter.flat_map(|c| [(self.options.kv, c), (KvType::Q8, c)]);
        let hint = settings
            .filter(|&(kv, c)| fits(&with(kv, c)))
            .map(|(kv, c)| match (kv == self.options.kv, c == context) {
                (false, true) => "an 8-bit key and value cache fits (`--kv q8`)".to_owned(),
                (true, _) => format!("a context of {c} fits (`--context {c}`)"),
                (false, false) => format!(
                    "a context of {c} with an 8-bit key and value cache fits (`--context {c} --kv q8`)"
                ),
            })
            .next()
            .unwrap_or_else(|| format!("give at least `--memory {}`", minimum.div_ceil(1 << 20) << 20));
        let last = STEPS[STEPS.len() - 1];
        let mut lines = self.divide(last.0, last.1, self.options).lines;
        lines.sort_by_key(|l| std::cmp::Reverse(l.bytes));
        let needs: Vec<String> = lines[..3]
            .iter()
            .map(|l| format!("{} for {}", Bytes(l.bytes), l.what))
            .collect();
        EngineError::Budget(Box::new(Shortage {
            model: self.spec().name.clone(),
            budget: Bytes(budget).to_string(),
            minimum: Bytes(minimum).to_string(),
            needs: needs.join(", "),
            hint,
            minimum_bytes: minimum,
        }))
    }
}

/// The error for a process that was too large before the engine was opened.
pub(crate) fn peaked(index: &ModelIndex, peak: u64, budget: u64) -> EngineError {
    EngineError::Budget(Box::new(Shortage {
        model: index.spec.name.clone(),
        budget: Bytes(budget).to_string(),
        minimum: Bytes(peak).to_string(),
        needs: format!("the process used {} before loading", Bytes(peak)),
        hint: "give a larger budget; code and tokenizer alone exceed this one".to_owned(),
        minimum_bytes: peak,
    }))
}

fn index_has(index: &ModelIndex, test: impl Fn(&Ffn) -> bool) -> bool {
    index.layers.iter().any(|l| test(&l.ffn))
}

/// Name in plans and options.
pub(crate) fn kv_name(kv: KvType) -> &'static str {
    match kv {
        KvType::F16 => "f16",
        KvType::Q8 => "q8",
    }
}
