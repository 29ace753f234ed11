//! The fields of a JSON request, taken one by one.
//!
//! Each field that is present is either used, known to be harmless, or refused by name: a setting
//! that the server does not honour must not look as if it had.

use crate::error::ApiError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Fields that nobody has taken yet.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of the JSON object `body`.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body).map_err(|e| {
            ApiError::invalid(format!(
                "the body is not JSON: {e}\nhint: send one JSON object, in UTF-8"
            ))
            .with_code("invalid_json")
        })?;
        match value {
            Value::Object(map) => Ok(Self(map)),
            other => Err(ApiError::invalid(format!(
                "the body is {}, not a JSON object\nhint: send {{\"model\": ..., ...}}",
                kind(&other)
            ))),
        }
    }

    /// Takes field `name`; `null` counts as absent.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|e| {
                ApiError::field(
                    name,
                    format!("`{name}`: {e}\nhint: correct the field's type or range"),
                )
            }),
        }
    }

    /// Takes field `name`, which must be there.
    pub(crate) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ApiError> {
        self.take(name)?.ok_or_else(|| {
            ApiError::field(name, format!("`{name}` is missing\nhint: add the field"))
                .with_code("missing_required_parameter")
        })
    }

    /// Takes a field of which the server can do only what `harmless` accepts.
    pub(crate) fn only(
        &mut self,
        name: &str,
        harmless: impl Fn(&Value) -> bool,
        can: &str,
    ) -> Result<(), ApiError> {
        match self.0.remove(name) {
            Some(value) if !value.is_null() && !harmless(&value) => Err(ApiError::field(
                name,
                format!("`{name}` is not supported: {can}\nhint: leave the field out"),
            )
            .with_code("unsupported_parameter")),
            _ => Ok(()),
        }
    }

    /// Drops fields that change nothing here.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        let Some(name) = self.0.keys().next() else {
            return Ok(());
        };
        let all: Vec<_> = self.0.keys().map(|k| format!("`{k}`")).collect();
        Err(ApiError::field(
            name,
            format!(
                "unknown {}: {}\nhint: correct the name or leave it out; nothing is ignored silently",
                if all.len() == 1 { "field" } else { "fields" },
                all.join(", ")
            ),
        )
        .with_code("unknown_parameter"))
    }
}

/// What a value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
