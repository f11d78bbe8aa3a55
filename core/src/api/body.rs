//! JSON bodies: fields by their accepted names, with errors that say which field is wrong.
//!
//! Owns: the step from bytes to typed fields. Must not know: which fields a request has.
//!
//! 1. `null` is the same as absent. The first accepted name that is present wins.
//! 2. Fields that nobody asks for are ignored.

use super::error::ApiError;
use crate::limits;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// The fields of a JSON object; taking one moves it out.
#[derive(Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// The object in `body`.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => Err(ApiError::new(
                400,
                "invalid_request",
                format!("The body must be a JSON object, not {}", kind(&other)),
            )),
            Err(error) => {
                Err(ApiError::new(400, "invalid_json", format!("The body is not valid JSON: {error}")))
            }
        }
    }

    /// The same, with no body at all taken for an empty object.
    pub(super) fn parse_optional(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        Self::parse(body)
    }

    fn take(&mut self, names: &[&'static str]) -> Option<(&'static str, Value)> {
        names
            .iter()
            .filter_map(|name| Some((*name, self.0.remove(*name)?)))
            .find(|(_, value)| !value.is_null())
    }

    /// Puts what `from` has under `old` in the place of `new`.
    pub(super) fn replace(&mut self, new: &'static str, from: &mut Self, old: &'static str) {
        if let Some((_, value)) = from.take(&[old]) {
            self.0.insert(new.into(), value);
        }
    }

    /// Whether one of these is present.
    pub(super) fn has(&self, names: &[&'static str]) -> bool {
        names.iter().any(|name| self.0.get(*name).is_some_and(|value| !value.is_null()))
    }

    /// A string, as it is.
    pub(super) fn text(&mut self, names: &[&'static str]) -> Result<Option<String>, ApiError> {
        match self.take(names) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((name, other)) => Err(mistyped(name, "a string", &other)),
        }
    }

    /// A string, or nothing when it is blank.
    pub(super) fn filled(&mut self, names: &[&'static str]) -> Result<Option<String>, ApiError> {
        Ok(self.text(names)?.filter(|text| !text.trim().is_empty()))
    }

    /// A string that must be there and not blank. The first name is the one that errors mention.
    pub(super) fn required(&mut self, names: &[&'static str]) -> Result<String, ApiError> {
        self.filled(names)?.ok_or_else(|| missing(names[0]))
    }

    /// A list of strings; empty when absent.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, ApiError> {
        const WANTED: &str = "a list of strings";
        match self.take(&[name]) {
            None => Ok(Vec::new()),
            Some((_, Value::Array(items))) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(mistyped(name, WANTED, &other)),
                })
                .collect(),
            Some((_, other)) => Err(mistyped(name, WANTED, &other)),
        }
    }

    /// An object of strings; empty when absent.
    pub(super) fn map(&mut self, name: &'static str) -> Result<BTreeMap<String, String>, ApiError> {
        const WANTED: &str = "an object of strings";
        match self.take(&[name]) {
            None => Ok(BTreeMap::new()),
            Some((_, Value::Object(map))) => map
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key, text)),
                    other => Err(mistyped(name, WANTED, &other)),
                })
                .collect(),
            Some((_, other)) => Err(mistyped(name, WANTED, &other)),
        }
    }

    /// An object.
    pub(super) fn object(&mut self, names: &[&'static str]) -> Result<Option<Self>, ApiError> {
        match self.take(names) {
            None => Ok(None),
            Some((_, Value::Object(map))) => Ok(Some(Self(map))),
            Some((name, other)) => Err(mistyped(name, "an object", &other)),
        }
    }

    /// Rows or columns of a terminal.
    pub(super) fn side(&mut self, name: &'static str) -> Result<Option<u16>, ApiError> {
        let Some((name, value)) = self.take(&[name]) else {
            return Ok(None);
        };
        match value.as_u64().and_then(|side| u16::try_from(side).ok()) {
            Some(side) if (1..=limits::TERMINAL_SIDE).contains(&side) => Ok(Some(side)),
            _ => Err(ApiError::new(
                400,
                "invalid_size",
                format!("Field \"{name}\" must be a whole number from 1 to {}", limits::TERMINAL_SIDE),
            )),
        }
    }

    /// The same, which must be there.
    pub(super) fn required_side(&mut self, name: &'static str) -> Result<u16, ApiError> {
        self.side(name)?.ok_or_else(|| missing(name))
    }
}

/// A field that must be there is not, or is blank.
pub(super) fn missing(name: &str) -> ApiError {
    invalid(format!("Missing required field: {name}"))
}

/// The request cannot be understood for this reason.
pub(super) fn invalid(message: String) -> ApiError {
    ApiError::new(400, "invalid_request", message)
}

fn mistyped(name: &str, wanted: &str, found: &Value) -> ApiError {
    invalid(format!("Field \"{name}\" must be {wanted}, not {}", kind(found)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
