//! Sizes and work of a model.

use super::Op;
use crate::{
    error::Result,
    source::{Model, Role},
};
use std::collections::BTreeMap;

/// Sizes and work of a model, for one token where a rate is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Weights and biases; a tied output projection counts once.
    pub parameters: u64,
    /// Bytes in the file for each role, all layers together; a tied output counts as embedding.
    pub bytes_by_role: BTreeMap<Role, u64>,
    /// Elements that a token adds to the key-value cache, all layers together.
    pub kv_elements_per_token: u64,
    /// Multiplications of weights: linear layers and output projection.
    pub linear_macs_per_token: u64,
    /// Multiplications of attention for each position that is attended to.
    pub attention_macs_per_position: u64,
}

impl Summary {
    /// Bytes of all tensors.
    pub fn weight_bytes(&self) -> u64 {
        self.bytes_by_role.values().sum()
    }

    /// Multiplications for a token that attends to `positions` positions (itself included).
    pub fn macs_per_token(&self, positions: u64) -> u64 {
        self.linear_macs_per_token + self.attention_macs_per_position * positions
    }
}

impl Model {
    /// Sizes and work.
    ///
    /// # Errors
    /// None in practice: the graph's tensors were resolved when the model was opened.
    pub fn summary(&self) -> Result<Summary> {
        let mut summary = Summary::default();
        for tensor in self.tensors() {
            let view = self.tensor_view(tensor)?;
            summary.parameters += view.elements() as u64;
            *summary.bytes_by_role.entry(tensor.role).or_default() += view.data.len() as u64;
        }
        for (_, node) in self.graph().nodes() {
            match node.op {
                Op::Linear {
                    in_features,
                    out_features,
                    ..
                }
                | Op::LmHead {
                    in_features,
                    out_features,
                    ..
                } => {
                    summary.linear_macs_per_token += in_features as u64 * out_features as u64;
                }
                Op::AppendKv { .. } => summary.kv_elements_per_token += node.width as u64,
                Op::Attention {
                    heads,
                    head_dim_k,
                    head_dim_v,
                    ..
                } => {
                    summary.attention_macs_per_position +=
                        (heads * (head_dim_k + head_dim_v)) as u64;
                }
                _ => {}
            }
        }
        Ok(summary)
    }
}
