//! The reference executor with a hook on every operation: calibration looks, experiments change.

use crate::reference::{BATCH, Hook, ReferenceError, Session};

impl Session<'_> {
    /// [`Session::evaluate`] whose every operation passes through `hook`.
    ///
    /// # Errors
    /// As [`Session::evaluate`]; then nothing has been evaluated.
    pub fn evaluate_with(
        &mut self,
        tokens: &[u32],
        hook: &mut Hook<'_>,
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<(), ReferenceError> {
        self.check(tokens)?;
        let vocab = self.vocab_size();
        for (batch, part) in tokens.chunks(BATCH).enumerate() {
            let logits = self.forward(part, true, hook);
            for (i, row) in logits.chunks_exact(vocab).enumerate() {
                visit(batch * BATCH + i, row);
            }
        }
        Ok(())
    }

    /// Evaluates `tokens` up to the last layer for what `hook` sees there: the output projection,
    /// a fifth of the work of a small model, is left out.
    ///
    /// # Errors
    /// As [`Session::evaluate`]; then nothing has been evaluated.
    pub fn walk(&mut self, tokens: &[u32], hook: &mut Hook<'_>) -> Result<(), ReferenceError> {
        self.check(tokens)?;
        for part in tokens.chunks(BATCH) {
            self.forward(part, false, hook);
        }
        Ok(())
    }
}
