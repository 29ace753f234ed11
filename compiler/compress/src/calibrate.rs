//! Calibration text on its way through the layers.

use crate::Result;
use crate::hessian::Hessian;
use crate::plan::Matrix;
use lampyris_runtime::Reference;
use std::collections::BTreeMap;

/// What enters a layer, for each window of text: `[tokens, d_model]`.
pub(crate) struct Stream {
    windows: Vec<Vec<f32>>,
}

impl Stream {
    /// What enters the first layer.
    pub(crate) fn new(reference: &Reference<'_>, windows: &[Vec<u32>]) -> Result<Self> {
        let embedded = windows.iter().map(|window| reference.embed(window));
        Ok(Self {
            windows: embedded.collect::<Result<_, _>>()?,
        })
    }

    /// Second moments of the inputs of `matrices`, which belong to `layer`, by the name of the node
    /// that they come from. With `advance` the stream goes on to the next layer.
    pub(crate) fn observe(
        &mut self,
        reference: &Reference<'_>,
        layer: usize,
        matrices: &[&Matrix],
        advance: bool,
    ) -> BTreeMap<String, Hessian> {
        let mut found: BTreeMap<String, Hessian> = matrices
            .iter()
            .filter_map(|m| Some((m.input.clone()?, Hessian::new(m.columns))))
            .collect();
        for x in &mut self.windows {
            let output = reference.layer(layer, x, &mut |node, values| {
                if let Some(hessian) = found.get_mut(&node.name) {
                    hessian.add(values);
                }
            });
            if advance {
                *x = output;
            }
        }
        found
    }

    /// Goes on to the next layer.
    pub(crate) fn advance(&mut self, reference: &Reference<'_>, layer: usize) {
        for x in &mut self.windows {
            *x = reference.layer(layer, x, &mut |_, _| ());
        }
    }

    /// Second moments of what enters the output projection, of `width`, after the last layer.
    pub(crate) fn observe_head(&self, reference: &Reference<'_>, width: usize) -> Hessian {
        let mut hessian = Hessian::new(width);
        for x in &self.windows {
            hessian.add(&reference.final_norm(x));
        }
        hessian
    }
}
