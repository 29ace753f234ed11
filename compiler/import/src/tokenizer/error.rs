//! What can be wrong with a tokenizer or with the text given to it.

/// Failure to build or use a tokenizer. Every message ends with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// `tokenizer.ggml.model` names an algorithm that is not implemented.
    #[error(
        "tokenizer model {name:?} is not supported (known: gpt2, llama)\nhint: use a model file with a byte-level BPE (gpt2) or SentencePiece BPE (llama) vocabulary"
    )]
    UnknownModel {
        /// The name found.
        name: String,
    },
    /// `tokenizer.ggml.pre` names a text splitting rule that is not implemented.
    #[error(
        "pre-tokenizer {name:?} is not supported (known: default, gpt-2, llama-bpe, qwen2, smollm)\nhint: a different rule would give different tokens; use the model's Hugging Face directory, whose tokenizer.json carries the rule"
    )]
    UnknownPreTokenizer {
        /// The name found.
        name: String,
    },
    /// A required entry is absent.
    #[error("tokenizer entry {key} is missing\nhint: convert the model again with its tokenizer")]
    Missing {
        /// Metadata key or JSON path.
        key: String,
    },
    /// An entry holds a value that cannot be used.
    #[error(
        "tokenizer entry {key}: {reason}\nhint: the file is damaged or of another dialect; fetch or convert it again"
    )]
    Invalid {
        /// Metadata key or JSON path, with the index inside an array.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// An option of the file changes tokenization in a way that is not implemented.
    #[error(
        "tokenizer option {key} = {value} is not supported\nhint: use the model's Hugging Face directory with tokenizer.json"
    )]
    Unsupported {
        /// Metadata key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The text holds a byte that the vocabulary cannot spell.
    #[error(
        "byte 0x{byte:02x} at offset {offset} of the text has no token in this model's vocabulary\nhint: remove that character from the text"
    )]
    MissingByte {
        /// The byte.
        byte: u8,
        /// Its offset in the normalized text, in bytes.
        offset: usize,
    },
    /// A token id that the tokenizer does not have.
    #[error(
        "token id {id} is outside the vocabulary of {size} tokens\nhint: tokens and tokenizer must come from the same model"
    )]
    UnknownId {
        /// The id.
        id: u32,
        /// Number of tokens.
        size: u32,
    },
    /// The model file could not be read.
    #[error(transparent)]
    File(#[from] lampyris_flash::Error),
    /// The `tokenizers` library refused.
    #[error(
        "tokenizer failed to {action}: {message}\nhint: check that the tokenizer belongs to this model"
    )]
    Library {
        /// What was being done.
        action: &'static str,
        /// The library's message.
        message: String,
    },
}

impl TokenizerError {
    pub(super) fn library(
        action: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Self {
        Self::Library {
            action,
            message: source.to_string(),
        }
    }

    pub(super) fn invalid(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.into(),
            reason: reason.into(),
        }
    }

    pub(super) fn missing(key: impl Into<String>) -> Self {
        Self::Missing { key: key.into() }
    }
}
