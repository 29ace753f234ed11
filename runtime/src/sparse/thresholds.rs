//! Thresholds that make models without exact zeros sparse, and what they cost.
//!
//! Two rules. *Gate* (CATS): a neuron is left out where `|act(gate)|` is small; the gate must be
//! known, up and down need not be read. *Product*: left out where `|act(gate) * up|` is small; only
//! down need not be read, or, with a predictor of this set, nothing of the neuron. A layer's
//! threshold is the quantile of these magnitudes over a calibration text. Both change the output;
//! [`measure`] says by how much, on other text.

mod calibrate;
mod file;

pub use calibrate::{Distribution, distributions, measure, measure_predictor};
pub use file::{Measured, SCHEMA_VERSION, ThresholdError, ThresholdFile, Thresholds};

use lampyris_import::graph::{Node, Op};
use serde::{Deserialize, Serialize};

/// What is compared with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// `|act(gate)|`.
    Gate,
    /// `|act(gate) * up|`; without a gate, `|act(up)|`.
    Product,
}

impl Rule {
    /// Name in files and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Product => "product",
        }
    }

    /// Where in the graph the magnitudes appear.
    pub fn site(self) -> Site {
        match self {
            Self::Gate => Site::Gate,
            Self::Product => Site::Product,
        }
    }
}

/// A place in the graph of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The normed input.
    Input,
    /// Output of the activation.
    Gate,
    /// What the down projection sees. (Of a network without gate, [`Site::Gate`] is that.)
    Product,
}

impl Site {
    /// Whether the output of `node` is this.
    pub fn is(self, node: &Node) -> bool {
        match (self, &node.op) {
            (Self::Input, Op::Norm { .. }) => node.name.ends_with(".ffn_norm"),
            (Self::Gate, Op::Act(_)) | (Self::Product, Op::Mul) => true,
            _ => false,
        }
    }
}
