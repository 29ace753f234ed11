//! Incremental decoding: text as soon as it is certain.

use super::{Tokenizer, TokenizerError};

/// A character takes at most four byte tokens. Bytes that still do not form one after this many
/// tokens never will, and are shown as U+FFFD.
const MAX_PENDING: usize = 4;

/// Turns ids that arrive one at a time into text.
///
/// A character may be spread over several tokens, and the text of a token may depend on the one
/// before it; so text comes out only when later tokens can no longer change it.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Context (tokens whose text is out already, needed to decode the next), then pending ones.
    ids: Vec<u32>,
    context: usize,
    /// Decoded text of the context.
    shown: String,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            ids: Vec::new(),
            context: 0,
            shown: String::new(),
        }
    }

    /// Adds one token and returns the text that became certain (often all of the token's text,
    /// sometimes none).
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let text = match self.tokenizer.decode(&self.ids) {
            Ok(text) => text,
            Err(e) => {
                self.ids.pop();
                return Err(e);
            }
        };
        let pending = self.ids.len() - self.context;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && pending < MAX_PENDING {
            return Ok(String::new());
        }
        self.emit(&text)
    }

    /// Ends the stream: what is left of an unfinished character, as U+FFFD.
    ///
    /// # Errors
    /// Failures of the library.
    pub fn finish(mut self) -> Result<String, TokenizerError> {
        let text = self.tokenizer.decode(&self.ids)?;
        self.emit(&text)
    }

    /// Shows what `text`, the decoded `ids`, has beyond the context, and moves the context on.
    fn emit(&mut self, text: &str) -> Result<String, TokenizerError> {
        let new = text
            .strip_prefix(self.shown.as_str())
            .ok_or_else(|| TokenizerError::Library {
                action: "decode",
                message: format!(
                    "the text {:?} changed to {text:?} when a token was added",
                    self.shown
                ),
            })?
            .to_owned();
        if new.is_empty() {
            return Ok(new);
        }
        self.ids.drain(..self.context);
        self.context = self.ids.len();
        self.shown = self.tokenizer.decode(&self.ids)?;
        Ok(new)
    }
}
