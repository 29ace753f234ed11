//! Requests for text: what clients may ask, checked field by field.

use crate::error::ApiError;
use crate::fields::{Fields, kind};
use lampyris_import::template::Message;
use lampyris_runtime::{Sampler, SamplerConfig};
use serde_json::Value;

/// Stop strings of one request.
const MAX_STOPS: usize = 16;
/// Bytes of one stop string.
const MAX_STOP_BYTES: usize = 1024;
/// OpenAI's default for `/v1/completions`.
const COMPLETION_TOKENS: usize = 16;

/// Fields of OpenAI's interface that say nothing about the text.
const HARMLESS: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
];

/// What both kinds of request can set.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) stream: bool,
    /// Send the usage at the end of a stream.
    pub(crate) include_usage: bool,
    /// `None`: up to the end of the context.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) sampler: Sampler,
    pub(crate) stops: Vec<String>,
}

/// The beginning of the text.
#[derive(Debug)]
pub(crate) enum Prompt {
    /// Text to continue.
    Text(String),
    /// Token ids to continue.
    Tokens(Vec<u32>),
    /// A chat, for the model's template.
    Messages(Vec<Message>),
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: Prompt,
    pub(crate) settings: Settings,
}

/// What a server takes for granted.
pub(crate) struct Defaults<'a> {
    /// The only model.
    pub(crate) model: &'a str,
    pub(crate) sampling: SamplerConfig,
    /// A seed for a request without one.
    pub(crate) seed: u64,
}

impl Request {
    /// The body of `/v1/completions`.
    pub(crate) fn completion(body: &[u8], defaults: &Defaults<'_>) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let prompt = prompt(fields.require("prompt")?)?;
        let is = |wanted: i64| move |v: &Value| v.as_i64() == Some(wanted);
        fields.only("best_of", is(1), "one answer is made")?;
        fields.only(
            "echo",
            |v| v == false,
            "the answer never repeats the prompt",
        )?;
        fields.only("suffix", |v| v == "", "text is made at the end only")?;
        fields.only("logprobs", |_| false, "log probabilities are not reported")?;
        let mut settings = Settings::take(&mut fields, defaults)?;
        settings.max_tokens = Some(settings.max_tokens.unwrap_or(COMPLETION_TOKENS));
        fields.finish()?;
        Ok(Self { prompt, settings })
    }

    /// The body of `/v1/chat/completions`.
    pub(crate) fn chat(body: &[u8], defaults: &Defaults<'_>) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let messages = messages(fields.require("messages")?)?;
        let none = |v: &Value| v.as_array().is_some_and(Vec::is_empty);
        for name in ["tools", "functions"] {
            fields.only(name, none, "the model is not told of tools")?;
        }
        for name in ["tool_choice", "function_call"] {
            fields.only(name, |v| v == "none", "there are no tools")?;
        }
        fields.only(
            "response_format",
            |v| v["type"] == "text",
            "answers are plain text",
        )?;
        fields.only(
            "modalities",
            |v| *v == serde_json::json!(["text"]),
            "answers are plain text",
        )?;
        fields.only(
            "logprobs",
            |v| v == false,
            "log probabilities are not reported",
        )?;
        fields.only(
            "top_logprobs",
            |v| v == 0,
            "log probabilities are not reported",
        )?;
        let longer: Option<usize> = fields.take("max_completion_tokens")?;
        let mut settings = Settings::take(&mut fields, defaults)?;
        settings.max_tokens = check_max("max_completion_tokens", longer)?.or(settings.max_tokens);
        fields.finish()?;
        Ok(Self {
            prompt: Prompt::Messages(messages),
            settings,
        })
    }
}

impl Settings {
    fn take(fields: &mut Fields, defaults: &Defaults<'_>) -> Result<Self, ApiError> {
        if let Some(model) = fields.take::<String>("model")?
            && model != defaults.model
        {
            return Err(ApiError::status(
                axum::http::StatusCode::NOT_FOUND,
                "model_not_found",
                format!(
                    "the model `{model}` is not here\nhint: this server has `{}`; name it or leave `model` out",
                    defaults.model
                ),
            ));
        }
        fields.only(
            "n",
            |v| v.as_i64() == Some(1),
            "one answer is made for each request",
        )?;
        fields.only(
            "presence_penalty",
            |v| v.as_f64() == Some(0.0),
            "there are no penalties",
        )?;
        fields.only(
            "frequency_penalty",
            |v| v.as_f64() == Some(0.0),
            "there are no penalties",
        )?;
        let empty = |v: &Value| v.as_object().is_some_and(serde_json::Map::is_empty);
        fields.only(
            "logit_bias",
            empty,
            "logits are taken as the model makes them",
        )?;
        fields.ignore(&HARMLESS);
        let stream = fields.take("stream")?.unwrap_or(false);
        Ok(Self {
            stream,
            include_usage: include_usage(fields.take("stream_options")?, stream)?,
            max_tokens: check_max("max_tokens", fields.take("max_tokens")?)?,
            sampler: sampler(fields, defaults)?,
            stops: stops(fields.take("stop")?)?,
        })
    }
}

fn check_max(name: &str, value: Option<usize>) -> Result<Option<usize>, ApiError> {
    match value {
        Some(0) => Err(ApiError::field(
            name,
            format!("`{name}` is 0\nhint: ask for at least one token"),
        )),
        other => Ok(other),
    }
}

fn include_usage(options: Option<Value>, stream: bool) -> Result<bool, ApiError> {
    let name = "stream_options";
    let Some(options) = options else {
        return Ok(false);
    };
    if !stream {
        let message = "`stream_options` without `stream`\nhint: set `stream` to true";
        return Err(ApiError::field(name, message));
    }
    let usage = options.as_object().filter(|o| {
        o.keys()
            .all(|k| k == "include_usage" || k == "include_obfuscation")
    });
    match usage.map(|o| o.get("include_usage")) {
        Some(None | Some(Value::Null)) => Ok(false),
        Some(Some(Value::Bool(wanted))) => Ok(*wanted),
        _ => Err(ApiError::field(
            name,
            "`stream_options` is not understood\nhint: the option that exists is {\"include_usage\": true}",
        )),
    }
}

fn sampler(fields: &mut Fields, defaults: &Defaults<'_>) -> Result<Sampler, ApiError> {
    let base = defaults.sampling;
    let config = SamplerConfig {
        temperature: fields.take("temperature")?.unwrap_or(base.temperature),
        top_k: fields.take("top_k")?.unwrap_or(base.top_k),
        top_p: fields.take("top_p")?.unwrap_or(base.top_p),
        min_p: fields.take("min_p")?.unwrap_or(base.min_p),
        seed: seed(fields.take("seed")?)?.unwrap_or(defaults.seed),
    };
    Sampler::new(config).map_err(|e| ApiError::invalid(e.to_string()))
}

/// Any whole number of 64 bits; clients send negative ones too.
fn seed(value: Option<Value>) -> Result<Option<u64>, ApiError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let number = value
        .as_u64()
        .or_else(|| value.as_i64().map(i64::cast_unsigned));
    number.map(Some).ok_or_else(|| {
        let message = format!("`seed` is {value}\nhint: give a whole number of at most 64 bits");
        ApiError::field("seed", message)
    })
}

fn stops(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    let wrong = |what: String| {
        let message = format!(
            "`stop` {what}\nhint: give one text or a list of at most {MAX_STOPS}, each of 1 to {MAX_STOP_BYTES} bytes"
        );
        ApiError::field("stop", message)
    };
    let list = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(one)) => vec![one],
        Some(other) => serde_json::from_value::<Vec<String>>(other)
            .map_err(|e| wrong(format!("is wrong: {e}")))?,
    };
    if list.len() > MAX_STOPS {
        return Err(wrong(format!("has {} texts", list.len())));
    }
    match list
        .iter()
        .find(|s| s.is_empty() || s.len() > MAX_STOP_BYTES)
    {
        Some(bad) => Err(wrong(format!("has a text of {} bytes", bad.len()))),
        None => Ok(list),
    }
}

/// `prompt`: text, token ids, or a list of exactly one of either.
fn prompt(value: Value) -> Result<Prompt, ApiError> {
    let wrong = |what: &str| {
        ApiError::field(
            "prompt",
            format!("`prompt` is {what}\nhint: give one text or one list of token ids"),
        )
    };
    match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(mut list) => match list.first() {
            Some(Value::Number(_)) => serde_json::from_value(Value::Array(list))
                .map(Prompt::Tokens)
                .map_err(|e| wrong(&format!("not a list of token ids: {e}"))),
            Some(Value::String(_) | Value::Array(_)) if list.len() == 1 => prompt(list.remove(0)),
            Some(Value::String(_) | Value::Array(_)) => Err(wrong(&format!(
                "a list of {} prompts, and one request makes one answer",
                list.len()
            ))),
            Some(other) => Err(wrong(&format!("a list that holds {}", kind(other)))),
            None => Err(wrong("an empty list")),
        },
        other => Err(wrong(kind(&other))),
    }
}

/// `messages`: roles with text, or with parts that are all text.
fn messages(list: Vec<Value>) -> Result<Vec<Message>, ApiError> {
    if list.is_empty() {
        let message = "`messages` is empty\nhint: send at least one message of the role `user`";
        return Err(ApiError::field("messages", message));
    }
    let each = list.into_iter().enumerate();
    each.map(|(i, value)| message(i, value)).collect()
}

fn message(index: usize, value: Value) -> Result<Message, ApiError> {
    let place = format!("messages[{index}]");
    let wrong = |field: &str, what: String| {
        let hint = "a message is {\"role\": \"user\", \"content\": \"text\"}";
        ApiError::field(
            &format!("{place}{field}"),
            format!("`{place}{field}` {what}\nhint: {hint}"),
        )
    };
    let Value::Object(mut fields) = value else {
        return Err(wrong("", format!("is {}", kind(&value))));
    };
    let role = match fields.remove("role") {
        // OpenAI's newer name for the same thing; templates know the older.
        Some(Value::String(role)) if role == "developer" => "system".to_owned(),
        Some(Value::String(role)) => role,
        Some(other) => return Err(wrong(".role", format!("is {}", kind(&other)))),
        None => return Err(wrong(".role", "is missing".into())),
    };
    let content = match fields.remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for part in parts {
                match (part["type"].as_str(), part["text"].as_str()) {
                    (Some("text"), Some(piece)) => text.push_str(piece),
                    (other, _) => {
                        let what = format!(
                            "has a part of type {}; only text can be read",
                            other.unwrap_or("none")
                        );
                        return Err(wrong(".content", what));
                    }
                }
            }
            text
        }
        Some(other) => return Err(wrong(".content", format!("is {}", kind(&other)))),
        None => return Err(wrong(".content", "is missing".into())),
    };
    for (name, value) in fields {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if name != "name" && !empty {
            return Err(wrong(&format!(".{name}"), "is not supported".into()));
        }
    }
    Ok(Message::new(role, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults<'static> {
        Defaults {
            model: "m",
            sampling: SamplerConfig::default(),
            seed: 9,
        }
    }

    fn chat(body: &Value) -> Result<Request, ApiError> {
        Request::chat(body.to_string().as_bytes(), &defaults())
    }

    /// The field that an error names.
    fn param(error: &ApiError) -> String {
        error.body()["error"]["param"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let messages = serde_json::json!([{"role": "user", "content": "x"}]);
        for (name, value) in [
            ("n", 2.into()),
            ("tools", serde_json::json!([{"type": "function"}])),
            ("logprobs", true.into()),
            ("presence_penalty", 0.5.into()),
            ("logit_bias", serde_json::json!({"5": -100})),
            (
                "response_format",
                serde_json::json!({"type": "json_object"}),
            ),
            ("temperature", "hot".into()),
            ("max_tokens", (-1).into()),
            ("max_tokens", 0.into()),
            ("stop", serde_json::json!(["a", ""])),
            ("stop", vec!["x"; 17].into()),
            ("seed", 0.5.into()),
            ("stream_options", serde_json::json!({"include_usage": true})),
            ("typical_p", 0.9.into()),
        ] {
            let mut body = serde_json::json!({"messages": messages});
            body[name] = value;
            let error = chat(&body).expect_err(name);
            assert_eq!(param(&error), name, "{body}");
            let text = error.body().to_string();
            assert!(text.contains("\\nhint: "), "{text}");
            // The same as its default, or as nothing, is no request for anything.
            body[name] = Value::Null;
            assert!(chat(&body).is_ok() || name == "typical_p", "{body}");
        }
        let neutral = serde_json::json!({"messages": messages, "n": 1, "tools": [], "logprobs": false,
            "presence_penalty": 0, "logit_bias": {}, "response_format": {"type": "text"},
            "user": "me", "model": "m", "seed": -1, "top_k": 3});
        assert!(chat(&neutral).is_ok());
    }

    #[test]
    fn messages_say_where_they_are_wrong() {
        for (list, place) in [
            (serde_json::json!([]), "messages"),
            (serde_json::json!(["hi"]), "messages[0]"),
            (serde_json::json!([{"content": "x"}]), "messages[0].role"),
            (
                serde_json::json!([{"role": "user", "content": "x"}, {"role": "user"}]),
                "messages[1].content",
            ),
            (
                serde_json::json!([{"role": "user", "content": [{"type": "image_url"}]}]),
                "messages[0].content",
            ),
            (
                serde_json::json!([{"role": "assistant", "content": "x", "tool_calls": [1]}]),
                "messages[0].tool_calls",
            ),
        ] {
            let error = chat(&serde_json::json!({"messages": list})).expect_err(place);
            assert_eq!(param(&error), place);
        }
        let parts = serde_json::json!({"messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ]});
        let Prompt::Messages(read) = chat(&parts).expect("parts of text").prompt else {
            panic!("a chat")
        };
        assert_eq!(read, [Message::new("system", "ab")]);
    }

    #[test]
    fn a_prompt_is_one_text_or_one_list_of_ids() {
        let read = |value: Value| {
            let body = serde_json::json!({"prompt": value}).to_string();
            Request::completion(body.as_bytes(), &defaults()).map(|r| r.prompt)
        };
        for value in [serde_json::json!("a"), serde_json::json!(["a"])] {
            assert!(matches!(read(value), Ok(Prompt::Text(t)) if t == "a"));
        }
        for value in [serde_json::json!([1, 2]), serde_json::json!([[1, 2]])] {
            assert!(matches!(read(value), Ok(Prompt::Tokens(t)) if t == [1, 2]));
        }
        for value in [
            serde_json::json!(["a", "b"]),
            serde_json::json!([[1], [2]]),
            serde_json::json!([1, -2]),
            serde_json::json!([]),
            serde_json::json!([true]),
            serde_json::json!(7),
        ] {
            assert_eq!(param(&read(value).expect_err("wrong")), "prompt");
        }
    }
}
