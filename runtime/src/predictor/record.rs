//! Recording of activity with the reference executor.

use super::Teacher;
use super::samples::{LayerShape, Recorder, SamplesError};
use super::statistics::count;
use crate::reference::{Reference, ReferenceError};
use crate::sparse::thresholds::{Rule, Site};
use lampyris_import::arch::Activation;
use lampyris_import::{ImportError, Model};
use lampyris_pack::Statistics;

/// Why activity could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The model could not be run.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A tensor could not be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Samples could not be kept or read.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// Nothing is ever exactly zero.
    #[error(
        "`{model}` has no ReLU: none of its activations are exactly zero\nhint: calibrate thresholds with `lampyris calibrate` and give them with --thresholds"
    )]
    NoZeros {
        /// The model.
        model: String,
    },
}

/// Which neurons count as active.
#[derive(Clone, Debug, PartialEq)]
pub enum Active {
    /// Those whose activation is not zero, for ReLU.
    NonZero,
    /// Those above their layer's threshold.
    Above(Rule, Vec<f32>),
}

impl Active {
    /// Name in headers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NonZero => "nonzero",
            Self::Above(rule, _) => rule.name(),
        }
    }

    /// Where in the graph the decision falls, and a layer's threshold.
    fn at(&self, layer: usize) -> (Site, f32) {
        match self {
            Self::NonZero => (Site::Gate, 0.0),
            Self::Above(rule, thresholds) => (rule.site(), thresholds[layer]),
        }
    }

    /// Checks that `model` has such activity.
    ///
    /// # Errors
    /// [`RecordError::NoZeros`].
    pub fn check(&self, model: &Model) -> Result<(), RecordError> {
        let spec = model.spec();
        let relu = spec.layers.iter().all(|l| l.activation == Activation::Relu);
        match self {
            Self::NonZero if !relu => Err(RecordError::NoZeros {
                model: spec.name.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// The sizes that a [`Recorder`] for `model` needs.
pub fn shapes(model: &Model) -> Vec<LayerShape> {
    let spec = model.spec();
    let layers = spec.layers.iter();
    let shape = layers.map(|layer| LayerShape {
        inputs: spec.d_model,
        neurons: layer.ffn_dim,
    });
    shape.collect()
}

/// Runs `windows` of text (each a sequence of its own) and records every layer's FFN input and
/// activity, until `recorder` is full. Returns the counts of activity; `progress` hears the
/// number of tokens after each window.
///
/// # Errors
/// As [`RecordError`].
pub fn record(
    model: &Model,
    reference: &Reference<'_>,
    windows: &[Vec<u32>],
    active: &Active,
    recorder: &mut Recorder,
    progress: &mut dyn FnMut(usize),
) -> Result<Statistics, RecordError> {
    active.check(model)?;
    let empty = shapes(model).into_iter().map(|s| vec![0; s.neurons]);
    let mut statistics = Statistics::new(0, empty.collect());
    for window in windows {
        if recorder.is_full() {
            break;
        }
        let mut failed = None;
        reference.session().walk(window, &mut |node, values| {
            let (Some(layer), None) = (node.layer, &failed) else {
                return;
            };
            let (site, threshold) = active.at(layer);
            let result = if Site::Input.is(node) {
                recorder.inputs(layer, values)
            } else if site.is(node) {
                count(&mut statistics, layer, values, threshold);
                recorder.activity(layer, values, threshold)
            } else {
                return;
            };
            failed = result.err();
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        statistics.tokens += window.len() as u64;
        progress(statistics.tokens as usize);
    }
    Ok(statistics)
}

/// The gate projection of a layer (up, where there is no gate), of which a ReLU's activity is the
/// sign.
///
/// # Errors
/// Tensors that cannot be read.
pub fn teacher(model: &Model, layer: usize) -> Result<Option<Teacher>, RecordError> {
    let spec = &model.spec().layers[layer];
    if spec.activation != Activation::Relu {
        return Ok(None);
    }
    let name = if spec.gated { "ffn_gate" } else { "ffn_up" };
    let Some(id) = model.graph().find(&format!("blk.{layer}.{name}")) else {
        return Ok(None);
    };
    let mut teacher = Teacher::default();
    let mut tensors = model.graph().node(id).op.tensors();
    if let Some(weight) = tensors.next() {
        teacher.weight = model.tensor_f32(weight)?;
    }
    if let Some(bias) = tensors.next() {
        teacher.bias = model.tensor_f32(bias)?;
    }
    Ok(Some(teacher))
}
