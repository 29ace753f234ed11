//! The reference executor one part after another: for calibration that changes a layer before it
//! goes on to the next, and never holds more than one layer's intermediate values.

use lampyris_import::graph::{Node, NodeId, Op};
use lampyris_import::source::TensorRef;

use crate::reference::{BATCH, Hook, Reference, ReferenceError};

impl Reference<'_> {
    /// What enters the first layer for a sequence from its beginning: `[tokens, d_model]`.
    ///
    /// # Errors
    /// A token outside the vocabulary, more tokens than the context.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, ReferenceError> {
        let mut session = self.session();
        session.check(tokens)?;
        let nodes = self.nodes(|node| node.layer.is_none());
        let before = nodes.into_iter().take_while(|(_, node)| !is_head(node));
        Ok(session.part(before.collect(), None, tokens, &mut |_, _| ()))
    }

    /// One layer for a sequence from its beginning: `x` is what the layer before it gave,
    /// `[tokens, d_model]`; `hook` sees every operation of the layer, as in
    /// [`Session::walk`](crate::Session::walk).
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn layer(&self, layer: usize, x: &[f32], hook: &mut Hook<'_>) -> Vec<f32> {
        let nodes = self.nodes(|node| node.layer == Some(layer));
        self.session().part(nodes, Some(x), &[], hook)
    }

    /// Norm and output projection: `x` is what the last layer gave, `[tokens, d_model]`. Shows the
    /// logits of each token: `visit(token, logits)`.
    pub fn head(&self, x: &[f32], mut visit: impl FnMut(usize, &[f32])) {
        let spec = self.model().spec();
        for (batch, x) in x.chunks(BATCH * spec.d_model).enumerate() {
            let nodes = self.nodes(|node| node.layer.is_none());
            let after = nodes.into_iter().skip_while(|(_, node)| !is_head(node));
            let mut session = self.session();
            let logits = session.part(after.collect(), Some(x), &[], &mut |_, _| ());
            for (i, row) in logits.chunks_exact(spec.vocab_size).enumerate() {
                visit(batch * BATCH + i, row);
            }
        }
    }

    /// What enters the output projection: `x` is what the last layer gave, `[tokens, d_model]`.
    pub fn final_norm(&self, x: &[f32]) -> Vec<f32> {
        let norm = |node: &Node| node.layer.is_none() && matches!(node.op, Op::Norm { .. });
        let mut session = self.session();
        session.part(self.nodes(norm), Some(x), &[], &mut |_, _| ())
    }

    /// Replaces the values of a tensor, rows in the graph's order, and returns the old ones.
    ///
    /// # Panics
    /// If the tensor is not one of this model's graph, or the number of values differs.
    pub fn replace(&mut self, tensor: &TensorRef, values: Vec<f32>) -> Vec<f32> {
        let place = self.tensors.get_mut(tensor);
        let place = place.expect("the caller takes tensors from the graph");
        assert_eq!(place.len(), values.len(), "values of `{}`", tensor.name);
        std::mem::replace(place, values)
    }

    fn nodes(&self, select: impl Fn(&Node) -> bool) -> Vec<(NodeId, &Node)> {
        let all = self.model().graph().nodes();
        all.filter(|(_, node)| select(node)).collect()
    }
}

/// Whether an operation outside the layers comes after them.
fn is_head(node: &Node) -> bool {
    matches!(node.op, Op::Norm { .. } | Op::LmHead { .. })
}

#[cfg(test)]
mod tests {
    use crate::Reference;

    /// Part by part the same logits come out as in one go.
    #[test]
    fn parts_are_the_whole() {
        let model = lampyris_import::open("tiny").unwrap();
        let mut reference = Reference::new(&model).unwrap();
        let tokens: Vec<u32> = (0..70).map(|i| 20 + i * 7 % 200).collect();
        let mut whole = Vec::new();
        reference
            .session()
            .evaluate(&tokens, |_, logits| whole.extend_from_slice(logits))
            .unwrap();
        let by_parts = |reference: &Reference<'_>| {
            let mut x = reference.embed(&tokens).unwrap();
            let mut seen = 0;
            for layer in 0..model.spec().layers.len() {
                x = reference.layer(layer, &x, &mut |node, _| {
                    assert_eq!(node.layer, Some(layer));
                    seen += 1;
                });
            }
            assert!(seen > 10 * model.spec().layers.len());
            let mut logits = Vec::new();
            reference.head(&x, |i, row| {
                assert_eq!(logits.len(), i * row.len());
                logits.extend_from_slice(row);
            });
            logits
        };
        let logits = by_parts(&reference);
        assert_eq!(logits.len(), whole.len());
        let close = |a: &f32, b: &f32| (a - b).abs() < 1e-4 * (1.0 + b.abs());
        assert!(logits.iter().zip(&whole).all(|(a, b)| close(a, b)));

        let tensor = model.tensors()[2].clone();
        let zeros = vec![0.0; model.tensor_f32(&tensor).unwrap().len()];
        let old = reference.replace(&tensor, zeros);
        assert_eq!(old, model.tensor_f32(&tensor).unwrap());
        assert_ne!(by_parts(&reference), logits);
        reference.replace(&tensor, old);
        assert_eq!(by_parts(&reference), logits);
    }
}
