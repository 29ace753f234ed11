//! A tokenizer as plain data, for compiled directories.

use super::{SpecialTokens, Tokenizer, TokenizerError};
use serde::{Deserialize, Serialize};

/// Everything that makes a [`Tokenizer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTokenizer {
    pipeline: serde_json::Value,
    vocab_size: u32,
    bos: Option<u32>,
    eos: Vec<u32>,
    /// Tokens before and after a sequence; `None` if the pipeline's post-processor adds them.
    frame: Option<(Option<u32>, Option<u32>)>,
    missing_bytes: Vec<u8>,
}

impl Tokenizer {
    /// The tokenizer as plain data.
    ///
    /// # Errors
    /// Failures of the library.
    pub fn to_saved(&self) -> Result<SavedTokenizer, TokenizerError> {
        let fail = |e| TokenizerError::library("write tokenizer.json", e);
        let pipeline = self.inner.to_string(false).map_err(fail)?;
        Ok(SavedTokenizer {
            pipeline: serde_json::from_str(&pipeline).map_err(|e| fail(e.into()))?,
            vocab_size: self.vocab_size,
            bos: self.bos,
            eos: self.eos.clone(),
            frame: match self.special {
                SpecialTokens::Frame { before, after } => Some((before, after)),
                SpecialTokens::PostProcessor => None,
            },
            missing_bytes: self.missing_bytes.clone(),
        })
    }

    /// The tokenizer of [`Tokenizer::to_saved`].
    ///
    /// # Errors
    /// A pipeline that the library refuses, or ids beyond the vocabulary.
    pub fn from_saved(saved: SavedTokenizer) -> Result<Self, TokenizerError> {
        let fail = |e| TokenizerError::library("read tokenizer.json", e);
        let inner: tokenizers::Tokenizer =
            serde_json::from_value(saved.pipeline).map_err(|e| fail(e.into()))?;
        let ids = saved.bos.iter().chain(&saved.eos);
        let ids = ids.chain(saved.frame.iter().flat_map(|(a, b)| a.iter().chain(b)));
        if let Some(&id) = ids.into_iter().find(|&&id| id >= saved.vocab_size) {
            return Err(TokenizerError::UnknownId {
                id,
                size: saved.vocab_size,
            });
        }
        Ok(Self {
            inner,
            vocab_size: saved.vocab_size,
            bos: saved.bos,
            eos: saved.eos,
            special: match saved.frame {
                Some((before, after)) => SpecialTokens::Frame { before, after },
                None => SpecialTokens::PostProcessor,
            },
            missing_bytes: saved.missing_bytes,
        })
    }
}
