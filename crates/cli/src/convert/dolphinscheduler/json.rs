//! JSON whose every part knows its place: errors and findings name it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::ConvertError;

/// A value and where it stands: `[0].schedule.crontab`.
#[derive(Clone, Debug)]
pub(super) struct At<'v> {
    value: Cow<'v, Value>,
    pub(super) path: String,
}

/// Reads a text as JSON.
pub(super) fn parse(text: &str) -> Result<Value, ConvertError> {
    serde_json::from_str(text).map_err(|error| ConvertError::Malformed {
        line: error.line(),
        column: error.column(),
        message: message(&error),
    })
}

/// What serde says, without the place.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

impl<'v> At<'v> {
    pub(super) fn root(value: &'v Value) -> Self {
        At { value: Cow::Borrowed(value), path: String::new() }
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// What stands under a key; `null` counts as nothing.
    pub(super) fn get(&self, key: &str) -> Option<At<'v>> {
        let value = match &self.value {
            Cow::Borrowed(value) => value.get(key).map(Cow::Borrowed),
            Cow::Owned(value) => value.get(key).cloned().map(Cow::Owned),
        };
        let value = value.filter(|value| !value.is_null())?;
        let dot = if self.path.is_empty() { "" } else { "." };
        Some(At { value, path: format!("{}{dot}{key}", self.path) })
    }

    /// What stands under the first of the keys that is there.
    pub(super) fn any(&self, keys: &[&str]) -> Option<At<'v>> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<Vec<At<'v>>, ConvertError> {
        let at = |position| format!("{}[{position}]", self.path);
        let one = |(position, value)| At { value, path: at(position) };
        match &self.value {
            Cow::Borrowed(Value::Array(items)) => {
                Ok(items.iter().map(Cow::Borrowed).enumerate().map(one).collect())
            }
            Cow::Owned(Value::Array(items)) => {
                Ok(items.iter().cloned().map(Cow::Owned).enumerate().map(one).collect())
            }
            _ => Err(self.is_not("a list")),
        }
    }

    pub(super) fn object(&self) -> Result<&Map<String, Value>, ConvertError> {
        self.value.as_object().ok_or_else(|| self.is_not("an object"))
    }

    /// A text, or a number or truth value as it is written.
    pub(super) fn text(&self) -> Result<String, ConvertError> {
        match self.value() {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(truth) => Ok(truth.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(self.is_not("a text")),
        }
    }

    /// A whole number, perhaps in quotes; an empty text is none.
    pub(super) fn number(&self) -> Result<Option<i64>, ConvertError> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        text.trim().parse().map(Some).map_err(|_| self.is_not("a whole number"))
    }

    /// What a text holds if it is JSON in quotes, as some fields are; else the value itself. An empty text is nothing.
    pub(super) fn embedded(self) -> Result<Option<At<'v>>, ConvertError> {
        let Value::String(text) = self.value() else {
            return Ok(Some(self));
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        let value = serde_json::from_str(text).map_err(|error| ConvertError::Shape {
            path: self.path.clone(),
            message: format!(
                "the JSON in this text is malformed: line {}, column {}: {}",
                error.line(),
                error.column(),
                message(&error)
            ),
        })?;
        Ok(Some(At { value: Cow::Owned(value), path: self.path }))
    }

    /// An error about this place.
    pub(super) fn error(&self, message: impl Into<String>) -> ConvertError {
        let path = if self.path.is_empty() { "the file" } else { &self.path };
        ConvertError::Shape { path: path.to_owned(), message: message.into() }
    }

    fn is_not(&self, expected: &str) -> ConvertError {
        let found = match self.value() {
            Value::Null => "nothing".to_owned(),
            Value::Bool(truth) => truth.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => {
                let mut shown: String = text.chars().take(40).collect();
                if shown.len() < text.len() {
                    shown.push('…');
                }
                format!("the text {shown:?}")
            }
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.error(format!("{expected} is expected here, not {found}"))
    }
}

/// Whether a value says nothing: what fields hold that nobody filled in.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(map) => map.values().all(is_empty),
    }
}
