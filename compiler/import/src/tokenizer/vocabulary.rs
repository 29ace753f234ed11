//! The vocabulary as GGUF metadata describes it, checked.
//!
//! Key names and defaults are those of the GGUF specification and of llama.cpp, which wrote the
//! files: `tokenizer.ggml.*`.

use std::collections::HashMap;

use lampyris_flash::gguf::Metadata;

use super::TokenizerError;

/// What a token stands for (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for text that the vocabulary cannot spell.
    Unknown,
    /// Steers the model, has no text: BOS, EOS, chat roles.
    Control,
    /// Text that is never split.
    UserDefined,
    /// A free slot.
    Unused,
    /// One byte, written `<0x0A>`.
    Byte,
}

impl TokenKind {
    /// The kind with GGUF's number `code` (1 to 6).
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// The `tokenizer.ggml.*` metadata of a GGUF file. Optional entries are `None` when absent.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// `model`: the algorithm, `gpt2` or `llama`.
    pub model: String,
    /// `pre`: the text splitting rule of a `gpt2` vocabulary.
    pub pre: Option<String>,
    /// `tokens`: the text of each id.
    pub tokens: Vec<String>,
    /// `token_type`: one per token, or empty (all normal).
    pub kinds: Vec<TokenKind>,
    /// `scores`: one per token; a `llama` vocabulary merges the highest first.
    pub scores: Vec<f32>,
    /// `merges`: the pairs of a `gpt2` vocabulary, `"left right"`, first is merged first.
    pub merges: Vec<String>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`: end of a chat turn.
    pub eot: Option<u32>,
    /// `eom_token_id`: end of a message that calls a tool.
    pub eom: Option<u32>,
    /// `unknown_token_id`.
    pub unknown: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
}

impl Vocabulary {
    /// Reads the `tokenizer.ggml.*` entries.
    ///
    /// # Errors
    /// Entries of the wrong type, and kinds that GGUF does not define. What the entries say is
    /// checked when a tokenizer is built from them.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let id = |name: &str| metadata.optional::<u32>(&key(name));
        let flag = |name: &str| metadata.optional::<bool>(&key(name));
        let texts = |name: &str| metadata.optional::<&[String]>(&key(name));
        let codes = metadata.optional::<Vec<i32>>(&key("token_type"))?;
        let scores = metadata.optional::<&[f32]>(&key("scores"))?;
        Ok(Self {
            model: metadata.require::<&str>(&key("model"))?.to_owned(),
            pre: metadata.optional::<&str>(&key("pre"))?.map(str::to_owned),
            tokens: texts("tokens")?.unwrap_or_default().to_vec(),
            kinds: kinds(&codes.unwrap_or_default())?,
            scores: scores.unwrap_or_default().to_vec(),
            merges: texts("merges")?.unwrap_or_default().to_vec(),
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            eot: id("eot_token_id")?,
            eom: id("eom_token_id")?,
            unknown: id("unknown_token_id")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
            remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
        })
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> u32 {
        // `check` has bounded the count.
        self.tokens.len() as u32
    }

    /// The kind of token `id`; tokens are normal where the file has no kinds.
    pub(super) fn kind(&self, id: usize) -> TokenKind {
        self.kinds.get(id).copied().unwrap_or(TokenKind::Normal)
    }

    /// Checks everything that does not depend on the algorithm.
    pub(super) fn check(&self) -> Result<(), TokenizerError> {
        if self.tokens.is_empty() {
            return Err(TokenizerError::missing("tokenizer.ggml.tokens"));
        }
        if u32::try_from(self.tokens.len()).is_err() {
            return Err(TokenizerError::invalid(
                "tokenizer.ggml.tokens",
                "more tokens than 32-bit ids",
            ));
        }
        self.check_length("token_type", self.kinds.len())?;
        self.check_length("scores", self.scores.len())?;
        if let Some(i) = self.scores.iter().position(|s| s.is_nan()) {
            return Err(TokenizerError::invalid(
                format!("tokenizer.ggml.scores[{i}]"),
                "is not a number",
            ));
        }
        let ids = [
            ("bos_token_id", self.bos),
            ("eos_token_id", self.eos),
            ("eot_token_id", self.eot),
            ("eom_token_id", self.eom),
            ("unknown_token_id", self.unknown),
        ];
        for (name, id) in ids {
            self.check_id(name, id)?;
        }
        Ok(())
    }

    fn check_length(&self, name: &str, found: usize) -> Result<(), TokenizerError> {
        let expected = self.tokens.len();
        if found == 0 || found == expected {
            return Ok(());
        }
        Err(TokenizerError::invalid(
            format!("tokenizer.ggml.{name}"),
            format!("{found} entries for {expected} tokens"),
        ))
    }

    fn check_id(&self, name: &str, id: Option<u32>) -> Result<(), TokenizerError> {
        match id {
            Some(id) if id >= self.len() => Err(TokenizerError::invalid(
                format!("tokenizer.ggml.{name}"),
                format!("id {id} of a vocabulary of {} tokens", self.len()),
            )),
            _ => Ok(()),
        }
    }

    /// Token text to id.
    ///
    /// # Errors
    /// Two ids with the same text: one of them could never be produced.
    pub(super) fn index(&self) -> Result<HashMap<&str, u32>, TokenizerError> {
        let mut index = HashMap::with_capacity(self.tokens.len());
        for (id, token) in (0u32..).zip(&self.tokens) {
            if let Some(first) = index.insert(token.as_str(), id) {
                return Err(TokenizerError::invalid(
                    format!("tokenizer.ggml.tokens[{id}]"),
                    format!("{token:?} is already token {first}"),
                ));
            }
        }
        Ok(index)
    }

    /// The ids that end a generation.
    pub(super) fn end_ids(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        for id in [self.eos, self.eot, self.eom].into_iter().flatten() {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// BOS, when sequences of this model begin with it.
    ///
    /// Files from before `add_bos_token` existed mean "yes" for SentencePiece vocabularies and
    /// for Llama 3, and "no" for every other byte-level one.
    pub(super) fn bos_to_add(&self) -> Result<Option<u32>, TokenizerError> {
        let by_default = self.model == "llama" || self.pre.as_deref() == Some("llama-bpe");
        self.frame_id("bos_token_id", self.add_bos.unwrap_or(by_default), self.bos)
    }

    /// EOS, when sequences of this model are to end with it.
    pub(super) fn eos_to_add(&self) -> Result<Option<u32>, TokenizerError> {
        self.frame_id("eos_token_id", self.add_eos.unwrap_or(false), self.eos)
    }

    fn frame_id(
        &self,
        name: &str,
        wanted: bool,
        id: Option<u32>,
    ) -> Result<Option<u32>, TokenizerError> {
        match (wanted, id) {
            (false, _) => Ok(None),
            (true, Some(id)) => Ok(Some(id)),
            (true, None) => Err(TokenizerError::missing(format!("tokenizer.ggml.{name}"))),
        }
    }
}

fn kinds(codes: &[i32]) -> Result<Vec<TokenKind>, TokenizerError> {
    codes
        .iter()
        .enumerate()
        .map(|(i, &code)| {
            TokenKind::from_code(code).ok_or_else(|| {
                TokenizerError::invalid(
                    format!("tokenizer.ggml.token_type[{i}]"),
                    format!("{code} is not a kind of token (1 to 6)"),
                )
            })
        })
        .collect()
}
