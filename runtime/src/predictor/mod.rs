//! Which neurons of a layer will be active, before any of their weights is read
//! ("LLM in a flash", section 3.1, "Predicting ReLU sparsity").
//!
//! Each layer has a low-rank classifier: `scores = expand (project x) + bias`, where `x` is the
//! input of the layer's own feed-forward network, that is, the normed residual stream after this
//! layer's attention. A neuron is predicted where its score reaches the layer's threshold, which
//! is calibrated so that a wanted share of the truly active neurons is found (recall). A neuron
//! that is predicted and not active costs a read and changes nothing, since its activation is
//! zero; one that is active and not predicted is an error of the output, whose size training
//! reports.
//!
//! [`train`] makes predictors from recorded activity ([`Samples`]), [`Predictor`] reads and writes
//! them.

mod file;
mod identity;
mod linalg;
mod metrics;
mod record;
mod samples;
mod score;
mod statistics;
mod train;

pub use file::{Header, LayerReport, PredictorError, SCHEMA_VERSION};
pub use identity::{identity, identity_of};
pub use metrics::Quality;
pub use record::{Active, RecordError, record, shapes, teacher};
pub use samples::{Activity, LayerShape, Recorder, Samples, SamplesError};
pub(crate) use score::Scorer;
pub use statistics::write_statistics;
pub use train::{MIN_TOKENS, Progress, Rank, Teacher, TrainOptions, Trained, train};

use lampyris_flash::TensorType;

/// Stored blocks of the first matrix, which is small and whose errors reach every score.
pub(crate) const PROJECT: TensorType = TensorType::Q8_0;
/// Stored blocks of the second: at equal size, twice the rank in 4 bits finds far more than the
/// rank in 8.
pub(crate) const EXPAND: TensorType = TensorType::Q4_0;
/// Elements of a block of either: widths and ranks are padded to multiples of it.
const BLOCK: usize = PROJECT.block_len();
const _: () = assert!(EXPAND.block_len() == BLOCK);

/// The classifier of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPredictor {
    /// Elements of the input: the width of the residual stream.
    pub inputs: usize,
    /// Rows of `project`, a multiple of 32.
    pub rank: usize,
    /// Neurons: rows of `expand`.
    pub neurons: usize,
    /// `rank` rows of `inputs` elements in Q8_0, padded with zeros to whole blocks.
    pub project: Vec<u8>,
    /// `neurons` rows of `rank` elements in Q4_0.
    pub expand: Vec<u8>,
    /// Added to the scores, one for each neuron.
    pub bias: Vec<f32>,
    /// A neuron whose score is at least this is predicted.
    pub threshold: f32,
}

/// The classifiers of all layers of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictor {
    /// What it was made for, from and how well.
    pub header: Header,
    /// In the model's order.
    pub layers: Vec<LayerPredictor>,
}

impl LayerPredictor {
    /// Quantizes a classifier: `project` is `[rank, inputs]`, `expand` is `[neurons, rank]`, both
    /// row-major. A rank that is no multiple of 32 is padded with zeros.
    pub(crate) fn quantize(project: &[f32], expand: &[f32], bias: &[f32], inputs: usize) -> Self {
        let (rank, neurons) = (project.len() / inputs, bias.len());
        let padded = rank.next_multiple_of(BLOCK);
        let mut first = linalg::quantize(PROJECT, project, inputs);
        let row = inputs.div_ceil(BLOCK) * PROJECT.block_bytes();
        first.resize(padded * row, 0);
        Self {
            inputs,
            rank: padded,
            neurons,
            project: first,
            expand: linalg::quantize(EXPAND, expand, rank),
            bias: bias.to_vec(),
            threshold: 0.0,
        }
    }

    /// Elements of a row of `project` with its padding.
    pub fn padded_inputs(&self) -> usize {
        self.inputs.next_multiple_of(BLOCK)
    }

    /// Bytes in memory, without the bias.
    pub fn bytes(&self) -> usize {
        self.project.len() + self.expand.len()
    }

    /// Puts neurons into another order: entry `i` of the result is what was `order[i]`.
    ///
    /// # Panics
    /// If `order` does not name every neuron once.
    pub fn reorder(&mut self, order: &[u32]) {
        assert_eq!(order.len(), self.neurons, "an order of all neurons");
        let row = self.expand.len() / self.neurons.max(1);
        let rows = |i: &u32| &self.expand[*i as usize * row..][..row];
        let expand = order.iter().flat_map(rows).copied().collect();
        self.bias = order.iter().map(|&i| self.bias[i as usize]).collect();
        self.expand = expand;
    }
}

impl Predictor {
    /// Counts of all layers together, on text that neither training nor calibration saw.
    pub fn quality(&self) -> Quality {
        let layers = self.header.layers.iter();
        layers.fold(Quality::default(), |sum, layer| sum.plus(&layer.quality))
    }

    /// Bytes of all matrices.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(LayerPredictor::bytes).sum()
    }
}
