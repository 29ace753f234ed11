//! Text to token ids and back, exactly as the model was trained.
//!
//! The work is done by the `tokenizers` crate; this module builds its pipeline from what a model
//! file says. A GGUF file carries the vocabulary as metadata and names its text splitting rule
//! ([`Vocabulary`]); a Hugging Face directory carries the whole pipeline in `tokenizer.json`.
//! Whatever is not known by name is refused: a tokenizer that is nearly right gives a model that
//! is nearly right, and nobody notices.

mod error;
mod json;
mod pipeline;
mod saved;
mod stream;
mod vocabulary;

pub use error::TokenizerError;
pub(crate) use json::{read, token_text};
pub use saved::SavedTokenizer;
pub use stream::DecodeStream;
pub use vocabulary::{TokenKind, Vocabulary};

use lampyris_flash::ModelFile;
use tokenizers::{NormalizedString, Normalizer as _};

/// A tokenizer together with the model's rules for begin and end of a sequence.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab_size: u32,
    bos: Option<u32>,
    eos: Vec<u32>,
    special: SpecialTokens,
    /// Bytes for which a byte-level vocabulary has no token (text with one cannot be encoded).
    missing_bytes: Vec<u8>,
}

/// Who adds the tokens that frame a sequence.
#[derive(Debug, Clone)]
enum SpecialTokens {
    /// GGUF metadata: these ids go before and after the text.
    Frame {
        before: Option<u32>,
        after: Option<u32>,
    },
    /// `tokenizer.json`: its post-processor does it.
    PostProcessor,
}

impl Tokenizer {
    /// The tokenizer of a model: from the metadata of a GGUF file, or from the files beside the
    /// weights in a Hugging Face directory.
    ///
    /// # Errors
    /// Files that cannot be read, and those of [`Tokenizer::from_vocabulary`] and
    /// [`Tokenizer::from_json`].
    pub fn from_model_file(model: &ModelFile) -> Result<Self, TokenizerError> {
        match model {
            ModelFile::Gguf(gguf) => {
                Self::from_vocabulary(&Vocabulary::from_metadata(gguf.metadata())?)
            }
            ModelFile::Safetensors(files) => json::open(files.dir()),
        }
    }

    /// Builds the tokenizer that GGUF metadata describes.
    ///
    /// # Errors
    /// Unknown model or pre-tokenizer names, and every inconsistency of the metadata: see
    /// [`TokenizerError`].
    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        vocabulary.check()?;
        let (inner, missing_bytes) = pipeline::build(vocabulary)?;
        Ok(Self {
            inner,
            vocab_size: vocabulary.len(),
            bos: vocabulary.bos,
            eos: vocabulary.end_ids(),
            special: SpecialTokens::Frame {
                before: vocabulary.bos_to_add()?,
                after: vocabulary.eos_to_add()?,
            },
            missing_bytes,
        })
    }

    /// Builds the tokenizer of a Hugging Face directory from the text of its files.
    ///
    /// `tokenizer_json` is the pipeline. `tokenizer_config` and `generation_config` (or
    /// `config.json`), where present, name the begin and end tokens.
    ///
    /// # Errors
    /// Text that is not JSON, a pipeline the library refuses, or begin and end tokens that are
    /// not in the vocabulary.
    pub fn from_json(
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        generation_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        json::load(tokenizer_json, tokenizer_config, generation_config)
    }

    /// Number of token ids, `0..vocab_size`. The model's embedding may have more rows (padding).
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// The token that begins a sequence, where the model has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens that end a generation, in the order in which the model file names them.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// True when `id` ends a generation.
    pub fn is_eos(&self, id: u32) -> bool {
        self.eos.contains(&id)
    }

    /// The token's own text as the vocabulary writes it (byte-level or `▁` escapes included).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Encodes `text`. Control tokens written out in it (`<|im_start|>`) become their ids.
    ///
    /// `add_special` adds what the model file asks for around a sequence (BOS, EOS). Text that
    /// comes from a chat template already has it: encode that with `false`.
    ///
    /// # Errors
    /// A byte for which the vocabulary has no token; failures of the library.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        self.check_bytes(text)?;
        let by_library = add_special && matches!(self.special, SpecialTokens::PostProcessor);
        let encoding = self
            .inner
            .encode_fast(text, by_library)
            .map_err(|e| TokenizerError::library("encode", e))?;
        let mut ids = Vec::with_capacity(encoding.get_ids().len() + 2);
        match self.special {
            SpecialTokens::Frame { before, after } if add_special => {
                ids.extend(before);
                ids.extend_from_slice(encoding.get_ids());
                ids.extend(after);
            }
            _ => ids.extend_from_slice(encoding.get_ids()),
        }
        Ok(ids)
    }

    /// Decodes `ids` to text without control tokens. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        if let Some(&id) = ids.iter().find(|&&id| id >= self.vocab_size) {
            return Err(TokenizerError::UnknownId {
                id,
                size: self.vocab_size,
            });
        }
        self.inner
            .decode(ids, true)
            .map_err(|e| TokenizerError::library("decode", e))
    }

    /// An incremental decoder for ids that arrive one at a time.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// The library drops what a byte-level vocabulary cannot spell; the user must hear of it.
    fn check_bytes(&self, text: &str) -> Result<(), TokenizerError> {
        if self.missing_bytes.is_empty() {
            return Ok(());
        }
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            normalizer
                .normalize(&mut normalized)
                .map_err(|e| TokenizerError::library("normalize", e))?;
        }
        let spelled = normalized.get();
        match spelled
            .bytes()
            .position(|b| self.missing_bytes.contains(&b))
        {
            None => Ok(()),
            Some(offset) => Err(TokenizerError::MissingByte {
                byte: spelled.as_bytes()[offset],
                offset,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
