//! Tokenizer and chat template as one JSON document, for compiled directories.

use crate::template::{ChatTemplate, TemplateError};
use crate::tokenizer::{Tokenizer, TokenizerError};
use lampyris_flash::ModelFile;
use serde::{Deserialize, Serialize};

/// Version of the document's layout.
const SCHEMA_VERSION: u32 = 1;

/// What a compiled directory keeps of a model's text handling.
#[derive(Debug)]
pub struct TextTools {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template; `None` if the model has none.
    pub template: Option<ChatTemplate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema_version: u32,
    tokenizer: crate::tokenizer::SavedTokenizer,
    chat_template: Option<SavedTemplate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTemplate {
    source: String,
    bos_token: String,
    eos_token: String,
}

/// Why text tools cannot be read or built.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The document.
    #[error("tokenizer.json: {0}\n\nhint: compile the model again")]
    Document(String),
}

impl TextTools {
    /// The tools of a model file. A model without a chat template is no error; one with an
    /// unusable template is.
    ///
    /// # Errors
    /// What the tokenizer or the template is not.
    pub fn from_model_file(file: &ModelFile) -> Result<Self, TextError> {
        let tokenizer = Tokenizer::from_model_file(file)?;
        let template = match ChatTemplate::from_model_file(file) {
            Ok(template) => Some(template),
            Err(TemplateError::Missing) => None,
            Err(e) => return Err(e.into()),
        };
        Ok(TextTools {
            tokenizer,
            template,
        })
    }

    /// The document.
    ///
    /// # Errors
    /// Failures of the tokenizer library.
    pub fn to_json(&self) -> Result<String, TextError> {
        let chat_template = match &self.template {
            None => None,
            Some(t) => {
                let (source, bos_token, eos_token) = t.parts()?;
                Some(SavedTemplate {
                    source,
                    bos_token,
                    eos_token,
                })
            }
        };
        let document = Document {
            schema_version: SCHEMA_VERSION,
            tokenizer: self.tokenizer.to_saved()?,
            chat_template,
        };
        serde_json::to_string(&document).map_err(|e| TextError::Document(e.to_string()))
    }

    /// Reads the document.
    ///
    /// # Errors
    /// Another layout, or contents that the tokenizer or template refuses.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        let document: Document =
            serde_json::from_slice(json).map_err(|e| TextError::Document(e.to_string()))?;
        if document.schema_version != SCHEMA_VERSION {
            let found = document.schema_version;
            return Err(TextError::Document(format!(
                "schema version {found}, expected {SCHEMA_VERSION}"
            )));
        }
        let tokenizer = Tokenizer::from_saved(document.tokenizer)?;
        let template = match document.chat_template {
            None => None,
            Some(t) => Some(ChatTemplate::new(&t.source, &t.bos_token, &t.eos_token)?),
        };
        Ok(TextTools {
            tokenizer,
            template,
        })
    }
}
