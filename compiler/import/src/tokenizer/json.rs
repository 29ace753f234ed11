//! Tokenizers of Hugging Face directories.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::pipeline::missing_bytes;
use super::{SpecialTokens, Tokenizer, TokenizerError};

/// Models of the library whose output the rest of the project has been checked with.
const MODELS: [&str; 2] = ["BPE", "Unigram"];

/// Reads the tokenizer's files in `dir`. The ids that end a generation are taken from
/// `generation_config.json`, where it exists, else from `config.json`.
pub(super) fn open(dir: &Path) -> Result<Tokenizer, TokenizerError> {
    let pipeline = read(&dir.join("tokenizer.json"))?
        .ok_or_else(|| TokenizerError::missing(dir.join("tokenizer.json").display().to_string()))?;
    let config = read(&dir.join("tokenizer_config.json"))?;
    let generation = match read(&dir.join("generation_config.json"))? {
        Some(text) => Some(text),
        None => read(&dir.join("config.json"))?,
    };
    load(&pipeline, config.as_deref(), generation.as_deref())
}

/// The bytes of a file, or `None` where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, lampyris_flash::Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(lampyris_flash::Error::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// See [`Tokenizer::from_json`].
pub(super) fn load(
    tokenizer_json: &[u8],
    tokenizer_config: Option<&[u8]>,
    generation_config: Option<&[u8]>,
) -> Result<Tokenizer, TokenizerError> {
    let root = parse("tokenizer.json", tokenizer_json)?;
    check_model(&root)?;
    let inner = tokenizers::Tokenizer::from_bytes(tokenizer_json)
        .map_err(|e| TokenizerError::library("read tokenizer.json", e))?;
    if inner.get_decoder().is_none() {
        return Err(TokenizerError::missing("decoder (in tokenizer.json)"));
    }
    let config = optional("tokenizer_config.json", tokenizer_config)?;
    let generation = optional("generation_config.json", generation_config)?;
    let vocabulary = inner.get_vocab(true);
    let missing_bytes = dropped_bytes(&root, &vocabulary)?;
    let highest = vocabulary.into_values().max();
    let vocab_size = highest
        .and_then(|id| id.checked_add(1))
        .ok_or_else(|| TokenizerError::invalid("model.vocab", "no usable token ids"))?;

    let bos = named_token(&inner, &config, "bos_token")?;
    let mut eos = generation_ids(&generation, vocab_size)?;
    if let Some(id) = named_token(&inner, &config, "eos_token")?
        && !eos.contains(&id)
    {
        eos.push(id);
    }
    Ok(Tokenizer {
        inner,
        vocab_size,
        bos,
        eos,
        special: SpecialTokens::PostProcessor,
        missing_bytes,
    })
}

fn parse(file: &str, text: &[u8]) -> Result<Value, TokenizerError> {
    serde_json::from_slice(text)
        .map_err(|e| TokenizerError::invalid(file, format!("is not JSON: {e}")))
}

fn optional(file: &str, text: Option<&[u8]>) -> Result<Value, TokenizerError> {
    text.map_or(Ok(Value::Null), |text| parse(file, text))
}

fn check_model(root: &Value) -> Result<(), TokenizerError> {
    let model = &root["model"];
    // Files from before the field existed hold BPE: they alone have merges.
    let kind = match model["type"].as_str() {
        Some(kind) => kind,
        None if model["merges"].is_array() => "BPE",
        None => return Err(TokenizerError::missing("model.type (in tokenizer.json)")),
    };
    if !MODELS.contains(&kind) {
        return Err(TokenizerError::UnknownModel {
            name: kind.to_owned(),
        });
    }
    // The library slices merges by the prefix's length without a check.
    match &model["continuing_subword_prefix"] {
        Value::Null => Ok(()),
        Value::String(s) if s.is_empty() => Ok(()),
        other => Err(TokenizerError::Unsupported {
            key: "model.continuing_subword_prefix".to_owned(),
            value: other.to_string(),
        }),
    }
}

/// Bytes that the pipeline would silently leave out.
///
/// BPE without an unknown token drops symbols that are not in the vocabulary. A byte-level
/// pipeline has a fixed alphabet, so the gaps are known; with any other alphabet they are not.
fn dropped_bytes(
    root: &Value,
    vocabulary: &HashMap<String, u32>,
) -> Result<Vec<u8>, TokenizerError> {
    let model = &root["model"];
    let drops = !model["merges"].is_null()
        && model["unk_token"].is_null()
        && model["byte_fallback"] != Value::Bool(true);
    if !drops {
        return Ok(Vec::new());
    }
    let decoder = &root["decoder"];
    let byte_level = |step: &Value| step["type"] == "ByteLevel";
    let steps = decoder["decoders"].as_array();
    if byte_level(decoder) || steps.is_some_and(|steps| steps.iter().any(byte_level)) {
        let index = vocabulary.iter().map(|(k, &v)| (k.as_str(), v)).collect();
        return Ok(missing_bytes(&index));
    }
    Err(TokenizerError::Unsupported {
        key: "model.unk_token (BPE that is neither byte-level nor has byte_fallback)".to_owned(),
        value: "null".to_owned(),
    })
}

/// A token named by `tokenizer_config.json`, as text or as an object with `content`.
fn named_token(
    inner: &tokenizers::Tokenizer,
    config: &Value,
    key: &str,
) -> Result<Option<u32>, TokenizerError> {
    let Some(text) = token_text(config, key)? else {
        return Ok(None);
    };
    inner.token_to_id(text).map(Some).ok_or_else(|| {
        TokenizerError::invalid(
            format!("{key} (in tokenizer_config.json)"),
            format!("{text:?} is not in the vocabulary"),
        )
    })
}

/// The text of a special token in `tokenizer_config.json`.
pub(crate) fn token_text<'a>(
    config: &'a Value,
    key: &str,
) -> Result<Option<&'a str>, TokenizerError> {
    match &config[key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Object(fields) => match fields.get("content").and_then(Value::as_str) {
            Some(text) => Ok(Some(text)),
            None => Err(TokenizerError::missing(format!("{key}.content"))),
        },
        other => Err(TokenizerError::invalid(
            key,
            format!("{other} is not a token"),
        )),
    }
}

/// `eos_token_id` of `generation_config.json` (or `config.json`): one id or a list.
fn generation_ids(config: &Value, vocab_size: u32) -> Result<Vec<u32>, TokenizerError> {
    let values = match &config["eos_token_id"] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut ids = Vec::with_capacity(values.len());
    for value in values {
        let id = value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .filter(|&id| id < vocab_size)
            .ok_or_else(|| {
                TokenizerError::invalid(
                    "eos_token_id",
                    format!("{value} is not an id of the {vocab_size} tokens"),
                )
            })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}
