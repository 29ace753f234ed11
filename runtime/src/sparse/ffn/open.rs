//! Planning of memory, and reading of what stays in it.

use super::scratch::{Scratch, Sizes};
use super::{Counters, Layer, WindowedFfn, part_of, sweep};
use crate::predictor::{self, LayerPredictor, Predictor};
use crate::sparse::chunks::{Places, Planner};
use crate::sparse::fetch::Fetcher;
use crate::sparse::geometry::{self, Geometry, Resident};
use crate::sparse::options::{Activity, SparseError, SparseOptions};
use crate::sparse::slots::{Slots, touched};
use crate::sparse::thresholds::Rule;
use crate::sparse::usage::{self, Usage};
use lampyris_import::arch::Activation;
use lampyris_io::ReadEngine;
use lampyris_kernels::{Kernels, Pool};
use lampyris_pack::{Bundles, Ffn, ModelIndex};
use std::sync::Arc;

/// What sparse mode does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that it needs whatever the cache: resident rows, predictors, buffers.
    pub least: u64,
    /// Bytes with which every neuron would stay in memory.
    pub most: u64,
    /// Of `least`, rows of gates (and ups) that stay in memory.
    pub rows: u64,
    /// Of `least`, predictors.
    pub predictors: u64,
}

impl Memory {
    /// Of `least`, what holds no weights: buffers, vectors, bookkeeping.
    pub fn buffers(&self) -> u64 {
        self.least - self.rows - self.predictors
    }
}

/// A layer to be opened: its bundles, its activation.
pub(super) type Source<'m> = (&'m Bundles, Activation);

/// What a model's layers are stored as.
fn bundles(index: &ModelIndex) -> Result<Vec<Source<'_>>, SparseError> {
    let layers = index.layers.iter().zip(&index.spec.layers).enumerate();
    let bundles = layers.map(|(i, (layer, spec))| match &layer.ffn {
        Ffn::Bundled(bundles) => Ok((bundles, spec.activation)),
        Ffn::Dense { .. } => Err(SparseError::NotBundled {
            model: index.spec.name.clone(),
            layer: i,
        }),
    });
    bundles.collect()
}

/// What an activity keeps in memory of every neuron.
fn resident(activity: &Activity) -> Resident {
    match activity {
        Activity::All | Activity::Predicted(_) => Resident::Nothing,
        Activity::Exact | Activity::Above(Rule::Gate, _) => Resident::Key,
        Activity::Above(Rule::Product, _) => Resident::KeyAndSecond,
    }
}

/// [`WindowedFfn::memory`] for layers that were not indexed.
pub(super) fn needs(
    model: &str,
    layers: &[Source<'_>],
    options: &SparseOptions,
    align: usize,
    batch: usize,
) -> Result<Memory, SparseError> {
    Ok(Plan::new(model, layers, options, align.max(1), batch)?.memory)
}

fn check(model: &str, layers: &[Source<'_>], activity: &Activity) -> Result<(), SparseError> {
    let dense = layers.iter().position(|(_, a)| *a != Activation::Relu);
    match (activity, dense) {
        (Activity::Exact, Some(layer)) => Err(SparseError::NoZeros {
            model: model.into(),
            layer,
        }),
        _ => Ok(()),
    }
}

/// Everything that memory is planned from.
struct Plan {
    geometries: Vec<Geometry>,
    resident: Resident,
    sizes: Sizes,
    largest_read: usize,
    memory: Memory,
    /// Bytes of a row of the cache with what belongs to it, the largest of all layers.
    row: u64,
}

impl Plan {
    fn new(
        model: &str,
        layers: &[Source<'_>],
        options: &SparseOptions,
        align: usize,
        batch: usize,
    ) -> Result<Self, SparseError> {
        check(model, layers, &options.activity)?;
        let geometries = layers.iter().map(|(b, _)| Geometry::new(b));
        let geometries = geometries.collect::<Result<Vec<_>, _>>()?;
        let resident = resident(&options.activity);
        // A neuron may begin just before the end of an aligned unit.
        let one = |g: &Geometry| g.span(Resident::Nothing).bytes.next_multiple_of(align) + align;
        let one = geometries.iter().map(one).max().unwrap_or(align);
        let largest_read = options.largest_read.max(one).next_multiple_of(align);
        let predictor = match &options.activity {
            Activity::Predicted(predictor) => Some(&**predictor),
            _ => None,
        };
        let sizes = sizes(
            &geometries,
            resident,
            options,
            predictor,
            batch,
            align,
            largest_read,
        );
        let rows = |g: &Geometry| (g.neurons * g.resident_bytes(resident)) as u64;
        let rows = geometries.iter().map(rows).sum();
        let predictors = predictor.map_or(0, Predictor::bytes) as u64;
        let buffers = (options.depth * largest_read + Scratch::bytes(&sizes)) as u64;
        let usage = |g: &Geometry| (Usage::bytes(g.neurons) + 8 * g.neurons) as u64;
        let usage: u64 = geometries.iter().map(usage).sum();
        let stride = |g: &Geometry| Slots::stride(g.span(resident).bytes) as u64 + 4;
        let all: u64 = geometries
            .iter()
            .map(|g| g.neurons as u64 * stride(g))
            .sum();
        let least = rows + predictors + buffers + usage;
        Ok(Self {
            row: geometries.iter().map(stride).max().unwrap_or(1),
            geometries,
            resident,
            sizes,
            largest_read,
            memory: Memory {
                least,
                most: least + all,
                rows,
                predictors,
            },
        })
    }
}

fn sizes(
    geometries: &[Geometry],
    resident: Resident,
    options: &SparseOptions,
    predictor: Option<&Predictor>,
    batch: usize,
    align: usize,
    largest_read: usize,
) -> Sizes {
    let most = |f: &dyn Fn(&Geometry) -> usize| geometries.iter().map(f).max().unwrap_or(0);
    let chunk = |g: &Geometry| {
        let ranges = geometry::sweep(g.span(resident), 0, align, largest_read);
        ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(1)
    };
    let sweep = most(&chunk);
    let part = |g: &Geometry| g.key.bytes.max(g.second.map_or(0, |p| p.bytes));
    let ranks = predictor
        .into_iter()
        .flat_map(|p| &p.layers)
        .map(|l| l.rank);
    let assembly = match options.bundle {
        true => 0,
        false => options.depth * most(&|g| g.span(resident).bytes),
    };
    Sizes {
        batch: batch.max(1),
        together: options.together.max(1),
        width: most(&|g| g.width),
        neurons: most(&|g| g.neurons),
        rank: ranks.max().unwrap_or(0),
        sweep,
        sweep_bytes: sweep * most(&part),
        assembly,
    }
}

impl WindowedFfn {
    /// What sparse mode of this model needs of memory, for calls of up to `batch` tokens and
    /// storage that wants multiples of `align` bytes.
    ///
    /// # Errors
    /// A model that is not bundled or has no such activity.
    pub fn memory(
        index: &ModelIndex,
        options: &SparseOptions,
        align: usize,
        batch: usize,
    ) -> Result<Memory, SparseError> {
        needs(&index.spec.name, &bundles(index)?, options, align, batch)
    }

    /// Reads what stays in memory and prepares the rest, within `memory` bytes in all, for calls
    /// of up to `batch` tokens. `engine` reads the index's files.
    ///
    /// # Errors
    /// A model that is not bundled or has no such activity; a predictor or thresholds of another
    /// model; less memory than [`memory`](Self::memory) says; what storage says.
    pub fn open(
        index: &ModelIndex,
        options: SparseOptions,
        engine: Box<dyn ReadEngine>,
        machine: (Kernels, Arc<Pool>),
        memory: u64,
        batch: usize,
    ) -> Result<Self, SparseError> {
        let layers = bundles(index)?;
        if let Activity::Predicted(predictor) = &options.activity {
            let id = predictor::identity_of(index)?;
            let sizes = layers.iter().map(|(b, _)| (b.width, b.neurons));
            predictor.check_model(&id, sizes, &predictor.header.model_name)?;
        }
        Self::from_bundles(
            &index.spec.name,
            &layers,
            options,
            engine,
            machine,
            memory,
            batch,
        )
    }

    /// [`open`](Self::open) without a look at whom the predictor was made for.
    pub(super) fn from_bundles(
        model: &str,
        sources: &[Source<'_>],
        mut options: SparseOptions,
        engine: Box<dyn ReadEngine>,
        (kernels, pool): (Kernels, Arc<Pool>),
        memory: u64,
        batch: usize,
    ) -> Result<Self, SparseError> {
        options.together = options.together.max(1);
        options.depth = options.depth.clamp(3, engine.capacity().max(3));
        let align = engine.alignment().max(1);
        let plan = Plan::new(model, sources, &options, align, batch)?;
        let Some(cache) = memory.checked_sub(plan.memory.least) else {
            return Err(SparseError::Memory {
                needed: plan.memory.least,
                what: "resident rows, predictors and buffers",
                available: memory,
            });
        };
        let predictor = match &mut options.activity {
            // From here on the layers own their parts.
            Activity::Predicted(predictor) => std::mem::take(&mut Arc::make_mut(predictor).layers),
            _ => Vec::new(),
        };
        let neurons: Vec<usize> = plan.geometries.iter().map(|g| g.neurons).collect();
        let rows = (cache / plan.row) as usize;
        let rows = usage::divide(rows, &demand(&options, &neurons), &neurons);
        let fetcher = Fetcher::new(engine, options.depth, plan.largest_read)?;
        let mut predictors = predictor.into_iter();
        let mut layers = Vec::with_capacity(plan.geometries.len());
        let parts = plan.geometries.into_iter().zip(sources).zip(rows);
        for (i, ((geometry, &(bundles, activation)), rows)) in parts.enumerate() {
            let predictor = predictors.next();
            let known = geometry.neurons * geometry.resident_bytes(plan.resident);
            let layer = NewLayer {
                geometry,
                bundles,
                activation,
                resident: plan.resident,
                rows,
            };
            layers.push(layer.build(&options, i, touched(known), predictor));
        }
        let mut this = Self {
            kernels,
            pool,
            planner: Planner::new(&options.cost, align, plan.largest_read),
            largest_read: plan.largest_read,
            options,
            layers,
            fetcher,
            scratch: Scratch::new(&plan.sizes),
            counters: Counters::default(),
        };
        for layer in 0..this.layers.len() {
            this.load(layer)?;
        }
        this.forget_counters();
        Ok(this)
    }

    /// Reads the rows that stay in memory, and the pinned neurons.
    fn load(&mut self, layer: usize) -> Result<(), SparseError> {
        let this = &mut self.layers[layer];
        let (geometry, pinned) = (&this.geometry, this.slots.pinned());
        let end = match this.resident {
            Resident::Nothing => pinned,
            _ => geometry.neurons,
        };
        let whole = geometry.span(Resident::Nothing);
        let align = self.fetcher.alignment();
        let mut ranges = geometry::sweep(whole, 0, align, self.largest_read);
        ranges.retain(|range| (range.start as usize) < end);
        let demand = geometry.span(this.resident);
        self.fetcher.begin()?;
        for (i, range) in ranges.iter().enumerate() {
            while self.fetcher.submitted() < ranges.len() && self.fetcher.has_room() {
                let next = &ranges[self.fetcher.submitted()];
                self.fetcher
                    .submit(sweep::request(geometry, Resident::Nothing, next, align))?;
            }
            self.fetcher.wait(i + 1, &geometry.name)?;
            let offset = whole.start(range.start) / align as u64 * align as u64;
            for p in range.clone() {
                let from = (whole.start(p) - offset) as usize;
                let row = &self.fetcher.filled.bytes_of(i)[from..][..whole.bytes];
                let (n, p_) = (geometry.neurons, p as usize);
                let key = geometry.key.bytes;
                if this.resident != Resident::Nothing {
                    let shifted = shift(geometry.key, whole.from);
                    this.known[p_ * key..][..key].copy_from_slice(part_of(row, shifted));
                }
                if let (Resident::KeyAndSecond, Some(second)) = (this.resident, geometry.second) {
                    let to = n * key + p_ * second.bytes;
                    let shifted = shift(second, whole.from);
                    this.known[to..][..second.bytes].copy_from_slice(part_of(row, shifted));
                }
                if let (true, Some(slot)) = (p_ < pinned, this.slots.row_mut(p)) {
                    slot.copy_from_slice(&row[demand.from - whole.from..]);
                }
            }
            self.fetcher.release(i + 1);
        }
        Ok(())
    }
}

fn shift(part: lampyris_pack::Part, from: usize) -> lampyris_pack::Part {
    lampyris_pack::Part {
        offset: part.offset - from,
        ..part
    }
}

/// How many neurons a token is expected to want, for each layer.
fn demand(options: &SparseOptions, neurons: &[usize]) -> Vec<f64> {
    let expected = |(i, &n): (usize, &usize)| match &options.activity {
        Activity::Predicted(predictor) => {
            let q = &predictor.header.layers[i].quality;
            q.predicted as f64 / q.decisions.max(1) as f64 * n as f64
        }
        _ => n as f64,
    };
    neurons.iter().enumerate().map(expected).collect()
}

/// What a layer is made from.
struct NewLayer<'b> {
    geometry: Geometry,
    bundles: &'b Bundles,
    activation: Activation,
    resident: Resident,
    /// Rows of its neuron cache.
    rows: usize,
}

impl NewLayer<'_> {
    fn build(
        self,
        options: &SparseOptions,
        layer: usize,
        known: Vec<u8>,
        mut predictor: Option<LayerPredictor>,
    ) -> Layer {
        let neurons = self.geometry.neurons;
        if let (Some(predictor), Some(order)) = (&mut predictor, &self.bundles.order) {
            predictor.reorder(order);
        }
        let by_position = |bias: &Option<Vec<f32>>| match bias {
            Some(bias) => (0..neurons).map(|p| bias[self.bundles.id(p)]).collect(),
            None => Vec::new(),
        };
        let (key_bias, second_bias) = match self.geometry.second {
            Some(_) => (
                by_position(&self.bundles.gate_bias),
                by_position(&self.bundles.up_bias),
            ),
            None => (by_position(&self.bundles.up_bias), Vec::new()),
        };
        let span = self.geometry.span(self.resident);
        let part =
            |part: lampyris_pack::Part| (part.offset >= span.from).then(|| shift(part, span.from));
        let pinned = (options.pinned.clamp(0.0, 1.0) * self.rows as f64) as usize;
        let threshold = match &options.activity {
            Activity::Above(rule, values) => Some((*rule, values[layer])),
            _ => None,
        };
        Layer {
            activation: self.activation,
            resident: self.resident,
            key: part(self.geometry.key),
            second: self.geometry.second.and_then(part),
            down: shift(self.geometry.down, span.from),
            key_bias,
            second_bias,
            down_bias: self.bundles.down_bias.clone().unwrap_or_default(),
            known,
            predictor,
            threshold,
            slots: Slots::new(neurons, span.bytes, self.rows, pinned),
            usage: Usage::new(neurons, options.window, None),
            geometry: self.geometry,
        }
    }
}
