//! Two random layers, as a file in memory and as plain numbers.

use super::super::open::Source;
use super::super::*;
use crate::predictor::{EXPAND, LayerReport, PROJECT, Quality};
use crate::sparse::thresholds::Rule;
use lampyris_flash::{TensorType, block};
use lampyris_io::sim::{SimDevice, SimOptions};
use lampyris_pack::Bundles;

pub(super) const WIDTH: usize = 64;
pub(super) const NEURONS: usize = 90;
pub(super) const TOKENS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Gated,
    GatedWithBias,
    Plain,
}

/// How a run is set up.
#[derive(Clone, Copy)]
pub(super) struct Setup {
    /// Share of the neurons that the cache holds; negative: too little memory.
    pub(super) cache: f64,
    pub(super) align: usize,
    pub(super) threads: usize,
    pub(super) together: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            cache: 0.5,
            align: 512,
            threads: 1,
            together: 1,
        }
    }
}

/// Numbers of one layer, by neuron id, as the file holds them.
#[derive(Clone, Default)]
struct Numbers {
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
    gate_bias: Vec<f32>,
    up_bias: Vec<f32>,
    down_bias: Vec<f32>,
}

#[derive(Clone)]
pub(super) struct Layers {
    kind: Kind,
    activation: Activation,
    ty: TensorType,
    numbers: Vec<Numbers>,
    bundles: Vec<Bundles>,
    file: Vec<u8>,
    /// `[tokens, width]`.
    pub(super) x: Vec<f32>,
}

impl Layers {
    pub(super) fn new(kind: Kind, activation: Activation, ty: TensorType) -> Self {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut random = |n: usize, size: f32, centre: f32| -> Vec<f32> {
            (0..n)
                .map(|_| (rng.f32() - 0.5) * 2.0 * size + centre)
                .collect()
        };
        let round = |values: Vec<f32>| from_blocks(ty, &to_blocks(ty, &values));
        let bias = kind != Kind::Gated;
        let mut layer = || Numbers {
            gate: if kind == Kind::Plain {
                Vec::new()
            } else {
                round(random(NEURONS * WIDTH, 0.2, 0.0))
            },
            up: round(random(NEURONS * WIDTH, 0.2, 0.0)),
            down: round(random(NEURONS * WIDTH, 0.2, 0.0)),
            gate_bias: if kind == Kind::GatedWithBias {
                random(NEURONS, 0.5, -0.5)
            } else {
                Vec::new()
            },
            up_bias: if bias {
                random(NEURONS, 0.5, -0.5)
            } else {
                Vec::new()
            },
            down_bias: if bias {
                random(WIDTH, 0.5, 0.0)
            } else {
                Vec::new()
            },
        };
        let numbers = vec![layer(), layer()];
        let x = random(TOKENS * WIDTH, 1.0, 0.0);
        let mut layers = Self {
            kind,
            activation,
            ty,
            numbers,
            bundles: Vec::new(),
            file: Vec::new(),
            x,
        };
        layers.write(None);
        layers
    }

    /// The same neurons in another order in the file.
    pub(super) fn reordered(&self) -> Self {
        let mut order: Vec<u32> = (0..NEURONS as u32).collect();
        fastrand::Rng::with_seed(3).shuffle(&mut order);
        let mut other = self.clone();
        other.write(Some(order));
        other
    }

    fn write(&mut self, order: Option<Vec<u32>>) {
        self.file = vec![0xee; 16384];
        self.bundles.clear();
        for (i, numbers) in self.numbers.iter().enumerate() {
            let bytes = self.ty.row_bytes(WIDTH).unwrap();
            let gated = self.kind != Kind::Plain;
            let part = |at: usize| Part {
                ty: self.ty,
                offset: at * bytes,
                bytes,
            };
            let parts = if gated { 3 } else { 2 };
            let some = |v: &Vec<f32>| (!v.is_empty()).then(|| v.clone());
            let bundles = Bundles {
                name: format!("blk.{i}.ffn"),
                neurons: NEURONS,
                width: WIDTH,
                gate: gated.then(|| part(0)),
                up: part(parts - 2),
                down: part(parts - 1),
                bundle_bytes: parts * bytes + 24,
                group_neurons: 7,
                group_bytes: (7 * (parts * bytes + 24)).next_multiple_of(4096),
                file: 0,
                offset: self.file.len() as u64,
                order: order.clone(),
                gate_bias: some(&numbers.gate_bias),
                up_bias: some(&numbers.up_bias),
                down_bias: some(&numbers.down_bias),
                down_error: 0.0,
            };
            let row = |m: &[f32], id: usize| to_blocks(self.ty, &m[id * WIDTH..][..WIDTH]);
            for p in 0..NEURONS {
                let id = bundles.id(p);
                let gate = if gated {
                    row(&numbers.gate, id)
                } else {
                    Vec::new()
                };
                let data = [gate, row(&numbers.up, id), row(&numbers.down, id)].concat();
                let at = bundles.place(p) as usize;
                self.file
                    .resize(self.file.len().max(at + bundles.bundle_bytes), 0xee);
                self.file[at..at + data.len()].copy_from_slice(&data);
            }
            self.file
                .resize(self.file.len().next_multiple_of(16384), 0xee);
            self.bundles.push(bundles);
        }
    }

    pub(super) fn sources(&self) -> Vec<Source<'_>> {
        self.bundles.iter().map(|b| (b, self.activation)).collect()
    }

    pub(super) fn file(&self) -> Vec<u8> {
        self.file.clone()
    }

    pub(super) fn open(
        &self,
        options: &SparseOptions,
        setup: &Setup,
    ) -> Result<WindowedFfn, SparseError> {
        let sim = SimOptions {
            alignment: setup.align,
            ..SimOptions::default()
        };
        let device = SimDevice::new(vec![self.file()], 16, sim).unwrap();
        self.open_on(device, options, setup)
    }

    pub(super) fn open_on(
        &self,
        device: SimDevice,
        options: &SparseOptions,
        setup: &Setup,
    ) -> Result<WindowedFfn, SparseError> {
        let sources = self.sources();
        let needs = open::needs("test", &sources, options, setup.align, TOKENS)?;
        let most = (needs.most - needs.least) as f64;
        let memory = match setup.cache {
            ..0.0 => 1000,
            share => (needs.least as f64 + most * share) as u64,
        };
        let machine = (
            Kernels::detect().unwrap(),
            Arc::new(Pool::new(setup.threads).unwrap()),
        );
        let device = Box::new(device);
        WindowedFfn::from_bundles(
            "test",
            &sources,
            options.clone(),
            device,
            machine,
            memory,
            TOKENS,
        )
    }

    /// Outputs `[tokens, layers, width]` of both layers for all tokens.
    pub(super) fn run(
        &self,
        ffn: &mut WindowedFfn,
        together: usize,
    ) -> Result<Vec<f32>, SparseError> {
        let mut outputs = vec![0.0; TOKENS * 2 * WIDTH];
        for (call, x) in self.x.chunks(together * WIDTH).enumerate() {
            for layer in 0..2 {
                let tokens = x.len() / WIDTH;
                let mut y = vec![f32::NAN; x.len()];
                ffn.compute(layer, tokens, x, &mut y)?;
                for (t, y) in y.chunks(WIDTH).enumerate() {
                    let at = ((call * together + t) * 2 + layer) * WIDTH;
                    outputs[at..at + WIDTH].copy_from_slice(y);
                }
            }
        }
        Ok(outputs)
    }

    fn products(&self, layer: usize, token: usize, id: usize) -> (f64, f64) {
        let numbers = &self.numbers[layer];
        let x = &self.x[token * WIDTH..][..WIDTH];
        let dot = |m: &[f32], bias: &[f32]| {
            let row = m[id * WIDTH..][..WIDTH].iter().zip(x);
            let sum: f64 = row.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            sum + f64::from(bias.get(id).copied().unwrap_or(0.0))
        };
        let act = |v: f64| match self.activation {
            Activation::Relu => v.max(0.0),
            Activation::Silu => v / (1.0 + (-v).exp()),
        };
        let up = dot(&numbers.up, &numbers.up_bias);
        match self.kind {
            Kind::Plain => (act(up), 1.0),
            _ => (act(dot(&numbers.gate, &numbers.gate_bias)), up),
        }
    }

    /// What [`run`](Self::run) should give, in f64, with neurons for which `keep(layer, token *
    /// neurons + id)` holds.
    pub(super) fn dense(&self, keep: &dyn Fn(usize, usize) -> bool) -> Vec<f64> {
        let mut outputs = Vec::new();
        for token in 0..TOKENS {
            for layer in 0..2 {
                let numbers = &self.numbers[layer];
                let bias = |j: usize| f64::from(numbers.down_bias.get(j).copied().unwrap_or(0.0));
                let mut y: Vec<f64> = (0..WIDTH).map(bias).collect();
                for id in (0..NEURONS).filter(|id| keep(layer, token * NEURONS + id)) {
                    let (h, u) = self.products(layer, token, id);
                    let down = &numbers.down[id * WIDTH..][..WIDTH];
                    y.iter_mut()
                        .zip(down)
                        .for_each(|(y, d)| *y += h * u * f64::from(*d));
                }
                outputs.extend(y);
            }
        }
        outputs
    }

    /// `[layer][token * neurons + id]`: what a rule keeps.
    pub(super) fn above(&self, rule: Rule, threshold: f32) -> Vec<Vec<bool>> {
        let keeps = |layer: usize, i: usize| {
            let (h, u) = self.products(layer, i / NEURONS, i % NEURONS);
            let value = if rule == Rule::Gate { h } else { h * u };
            value.abs() > f64::from(threshold)
        };
        (0..2)
            .map(|l| (0..TOKENS * NEURONS).map(|i| keeps(l, i)).collect())
            .collect()
    }

    pub(super) fn report(&self, threshold: f32) -> LayerReport {
        LayerReport {
            inputs: WIDTH,
            rank: 32,
            neurons: NEURONS,
            threshold,
            quality: Quality::default(),
        }
    }

    pub(super) fn predictor(&self, seed: u64, threshold: f32) -> LayerPredictor {
        let mut rng = fastrand::Rng::with_seed(100 + seed);
        let mut random = |n: usize| (0..n).map(|_| rng.f32() - 0.5).collect::<Vec<_>>();
        let (project, expand) = (random(32 * WIDTH), random(NEURONS * 32));
        let mut layer = LayerPredictor::quantize(&project, &expand, &random(NEURONS), WIDTH);
        layer.threshold = threshold;
        layer
    }

    /// `[token * neurons + id]`: what a predictor names, with the arithmetic of the kernels.
    pub(super) fn predict(&self, predictor: &LayerPredictor) -> Vec<bool> {
        use lampyris_kernels::{Activations, Matrix};
        let (kernels, pool) = (Kernels::detect().unwrap(), Pool::new(1).unwrap());
        let product = |(ty, data): (TensorType, &[u8]), rows: usize, x: &[f32], cols: usize| {
            let mut acts = Activations::with_capacity(TOKENS, cols);
            acts.quantize(&kernels, x, cols);
            let mut out = vec![0.0; TOKENS * rows];
            let w = Matrix {
                ty,
                rows,
                cols,
                data,
            };
            kernels.matmul(&pool, w, &acts, &mut out, rows, 0);
            out
        };
        let hidden = product((PROJECT, &predictor.project), 32, &self.x, WIDTH);
        let scores = product((EXPAND, &predictor.expand), NEURONS, &hidden, 32);
        let biased = scores
            .chunks(NEURONS)
            .flat_map(|row| row.iter().zip(&predictor.bias));
        biased.map(|(s, b)| s + b >= predictor.threshold).collect()
    }
}

fn to_blocks(ty: TensorType, values: &[f32]) -> Vec<u8> {
    let mut out = vec![0; ty.row_bytes(values.len()).unwrap()];
    block::quantize_row(ty, values, &mut out).unwrap();
    out
}

fn from_blocks(ty: TensorType, data: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; data.len() / ty.block_bytes() * ty.block_len()];
    block::dequantize_row(ty, data, &mut out).unwrap();
    out
}

pub(super) fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*a) - b).abs();
        assert!(
            off <= tolerance * (1.0 + b.abs()),
            "value {i}: {a}, not {b}"
        );
    }
}

pub(super) fn exact(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "value {i}: {a}, not {b}");
    }
}
