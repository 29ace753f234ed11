//! Chat messages to the prompt text that the model was trained on.
//!
//! A chat model comes with a Jinja template (`tokenizer.chat_template` in GGUF metadata,
//! `chat_template` in `tokenizer_config.json`, or `chat_template.jinja`). The environment here
//! is the one that Hugging Face's `apply_chat_template` gives to templates: blocks are trimmed,
//! Python's string and dict methods exist, and so do `raise_exception`, `strftime_now` and a
//! `tojson` that writes like Python's `json.dumps`.
//!
//! Without a usable template there is no prompt: a guessed format would run, and answer badly.

use std::io;
use std::path::Path;

use jiff::Zoned;
use lampyris_flash::{ModelFile, gguf::Metadata};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::tokenizer::{read, token_text};

/// Template instructions per rendering. A long chat needs some ten thousand; a template that
/// loops without end is stopped.
const FUEL: u64 = 10_000_000;
const NAME: &str = "chat_template";

/// Failure to load or render a chat template. Every message ends with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The model has no chat template.
    #[error(
        "the model has no chat template\nhint: give the prompt as plain text, or use the instruction-tuned version of the model"
    )]
    Missing,
    /// The model has several templates, none of them called `default`.
    #[error(
        "the model has chat templates {names:?} but none called \"default\"\nhint: give the prompt as plain text"
    )]
    NoDefault {
        /// The names found.
        names: Vec<String>,
    },
    /// The file that should hold the template cannot be used.
    #[error("chat template in {file}: {reason}\nhint: the file is damaged; fetch the model again")]
    Invalid {
        /// File name.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The model file could not be read.
    #[error(transparent)]
    File(#[from] lampyris_flash::Error),
    /// The template does not parse.
    #[error(
        "the model's chat template cannot be used: {message}\nhint: give the prompt as plain text"
    )]
    Syntax {
        /// The template engine's message, with the line.
        message: String,
    },
    /// The template parses but fails on these messages.
    #[error(
        "the model's chat template failed: {message}\nhint: give the prompt as plain text, or change the messages"
    )]
    Render {
        /// The template engine's message, with the line.
        message: String,
    },
    /// The template itself refuses these messages (it called `raise_exception`).
    #[error(
        "the model's chat template refuses these messages: {message}\nhint: change the roles or their order as the message says"
    )]
    Refused {
        /// The template's own words.
        message: String,
    },
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant` (the template decides what it accepts).
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role` saying `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// A model's chat template, parsed.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Parses `source`. `bos_token` and `eos_token` are the texts of these tokens (empty where
    /// the model has none); templates may insert them.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] with the line.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|e| TemplateError::Syntax {
                message: describe(&e),
            })?;
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|e| TemplateError::Syntax {
                message: describe(&e),
            })?;
        Ok(Self {
            environment,
            bos_token: bos_token.to_owned(),
            eos_token: eos_token.to_owned(),
        })
    }

    /// Source text, BOS token and EOS token: what [`ChatTemplate::new`] takes.
    ///
    /// # Errors
    /// None in practice: the template was parsed when it was made.
    pub fn parts(&self) -> Result<(String, String, String), TemplateError> {
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|e| render_error(&e))?;
        let source = template.source().to_owned();
        Ok((source, self.bos_token.clone(), self.eos_token.clone()))
    }

    /// The chat template of a model: from the metadata of a GGUF file, or from the files beside
    /// the weights in a Hugging Face directory.
    ///
    /// # Errors
    /// [`TemplateError::Missing`] where the model has none, files that cannot be read, and those
    /// of [`ChatTemplate::new`].
    pub fn from_model_file(model: &ModelFile) -> Result<Self, TemplateError> {
        match model {
            ModelFile::Gguf(gguf) => Self::from_metadata(gguf.metadata()),
            ModelFile::Safetensors(files) => Self::open(files.dir()),
        }
    }

    fn from_metadata(metadata: &Metadata) -> Result<Self, TemplateError> {
        let source = metadata
            .optional::<&str>("tokenizer.chat_template")?
            .ok_or(TemplateError::Missing)?;
        let tokens = metadata.optional::<&[String]>("tokenizer.ggml.tokens")?;
        let token = |key: &str| -> Result<&str, TemplateError> {
            let id = metadata.optional::<usize>(key)?;
            Ok(id.and_then(|id| tokens?.get(id)).map_or("", |t| t))
        };
        let bos = token("tokenizer.ggml.bos_token_id")?;
        Self::new(source, bos, token("tokenizer.ggml.eos_token_id")?)
    }

    fn open(dir: &Path) -> Result<Self, TemplateError> {
        let config = read(&dir.join("tokenizer_config.json"))?.ok_or(TemplateError::Missing)?;
        let file = "chat_template.jinja";
        let jinja = read(&dir.join(file))?
            .map(String::from_utf8)
            .transpose()
            .map_err(|e| TemplateError::Invalid {
                file,
                reason: e.to_string(),
            })?;
        Self::from_tokenizer_config(&config, jinja.as_deref())
    }

    /// Loads the template of a Hugging Face directory: the text of `chat_template.jinja` where
    /// that file exists, else the entry in `tokenizer_config.json`.
    ///
    /// # Errors
    /// No template, JSON that cannot be read, and those of [`ChatTemplate::new`].
    pub fn from_tokenizer_config(
        tokenizer_config: &[u8],
        chat_template_jinja: Option<&str>,
    ) -> Result<Self, TemplateError> {
        let file = "tokenizer_config.json";
        let invalid = |reason: String| TemplateError::Invalid { file, reason };
        let config: serde_json::Value =
            serde_json::from_slice(tokenizer_config).map_err(|e| invalid(e.to_string()))?;
        let token = |key: &str| -> Result<&str, TemplateError> {
            token_text(&config, key)
                .map(Option::unwrap_or_default)
                .map_err(|e| invalid(e.to_string()))
        };
        let source = match chat_template_jinja {
            Some(text) => text,
            None => default_template(&config["chat_template"])?,
        };
        Self::new(source, token("bos_token")?, token("eos_token")?)
    }

    /// Renders `messages`. With `add_generation_prompt` the text ends where the assistant's
    /// answer begins. Encode the result without adding special tokens: they are in the text.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] when the template rejects the messages,
    /// [`TemplateError::Render`] when it fails.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        self.render_at(messages, add_generation_prompt, &Zoned::now())
    }

    /// [`ChatTemplate::render`] as if it were `now`: some templates put the date in the prompt.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_at(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        now: &Zoned,
    ) -> Result<String, TemplateError> {
        let now = now.clone();
        let strftime_now = move |format: &str| {
            jiff::fmt::strtime::format(format, &now)
                .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
        };
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|e| render_error(&e))?;
        template
            .render(context! {
                messages => Value::from(Serde(messages)),
                add_generation_prompt => add_generation_prompt,
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
                strftime_now => Value::from_function(strftime_now),
            })
            .map_err(|e| render_error(&e))
    }
}

/// One template, or a list of named ones of which `default` is meant.
fn default_template(entry: &serde_json::Value) -> Result<&str, TemplateError> {
    match entry {
        serde_json::Value::Null => Err(TemplateError::Missing),
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Array(list) => {
            let named = |name: &str| list.iter().find(|t| t["name"] == name);
            named("default")
                .and_then(|t| t["template"].as_str())
                .ok_or_else(|| TemplateError::NoDefault {
                    names: list
                        .iter()
                        .filter_map(|t| t["name"].as_str().map(str::to_owned))
                        .collect(),
                })
        }
        other => Err(TemplateError::Invalid {
            file: "tokenizer_config.json",
            reason: format!("chat_template is {other}, not text"),
        }),
    }
}

/// Marks an error as the template's own decision, so that it is not reported as a defect.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    let text = message.clone();
    Err(Error::new(ErrorKind::InvalidOperation, text).with_source(Refusal(message)))
}

fn render_error(error: &Error) -> TemplateError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(Refusal(message)) = cause.downcast_ref() {
            return TemplateError::Refused {
                message: message.clone(),
            };
        }
        source = cause.source();
    }
    TemplateError::Render {
        message: describe(error),
    }
}

/// The engine's message on one line, with the template line where there is one.
fn describe(error: &Error) -> String {
    let what = error.detail().map_or_else(
        || error.kind().to_string(),
        |d| format!("{}: {d}", error.kind()),
    );
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(
    value: Value,
    indent: Option<usize>,
    options: minijinja::value::Kwargs,
) -> Result<String, Error> {
    let indent = match indent {
        Some(n) => Some(n),
        None => options.get::<Option<usize>>("indent")?,
    };
    // `ensure_ascii` is what templates pass, and it is false here in any case.
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let failed = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    match indent {
        Some(n) if n > 16 => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("tojson: indent {n} is above 16"),
            ));
        }
        Some(n) => {
            let spaces = " ".repeat(n);
            let style = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut out, style);
            value.serialize(&mut writer).map_err(failed)?;
        }
        None => {
            let mut writer = serde_json::Serializer::with_formatter(&mut out, PythonStyle);
            value.serialize(&mut writer).map_err(failed)?;
        }
    }
    String::from_utf8(out).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

/// One line with a space after each comma and colon, as Python writes JSON.
struct PythonStyle;

impl serde_json::ser::Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

#[cfg(test)]
mod tests;
