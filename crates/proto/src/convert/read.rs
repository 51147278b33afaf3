//! Reading single fields.

use std::collections::BTreeMap;

use muster_core::ids::{Name, Text};
use muster_core::state::run::Params;

use super::error::{DecodeError, Problem};

/// Says where an error happened. The path is put together only when there is one.
pub trait Within<T> {
    /// In the field `field`.
    fn within(self, field: &str) -> Result<T, DecodeError>;
    /// In the element `index` of the list or map `field`.
    fn within_element(self, field: &str, index: impl std::fmt::Display) -> Result<T, DecodeError>;
}

impl<T> Within<T> for Result<T, DecodeError> {
    fn within(self, field: &str) -> Result<T, DecodeError> {
        self.map_err(|error| error.below(field))
    }

    fn within_element(self, field: &str, index: impl std::fmt::Display) -> Result<T, DecodeError> {
        self.map_err(|error| error.below(&format!("{field}[{index}]")))
    }
}

/// A field that must be there.
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or_else(|| DecodeError::missing(field))
}

/// A name.
pub fn name(field: &str, text: &str) -> Result<Name, DecodeError> {
    Name::parse(text).map_err(|error| DecodeError::field(field, Problem::Name(error)))
}

/// An enum value that must be known, and not be the unspecified one, which has the number 0.
pub(super) fn known<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, DecodeError> {
    let unknown = || DecodeError::field(field, Problem::UnknownValue(number));
    match number {
        0 => Err(DecodeError::missing(field)),
        _ => E::try_from(number).map_err(|_| unknown()),
    }
}

/// A list of texts.
pub fn texts(list: Vec<String>) -> Vec<Text> {
    list.into_iter().map(Text::from).collect()
}

/// A map of texts.
pub fn text_map(map: BTreeMap<String, String>) -> BTreeMap<Text, Text> {
    map.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// Values of parameters, in the field `params`.
pub(super) fn params_from_proto(params: BTreeMap<String, String>) -> Result<Params, DecodeError> {
    let params = params.into_iter().map(|(key, value)| {
        Ok((name("", &key).within_element("params", &key)?, Text::from(value)))
    });
    params.collect()
}

/// The reverse of [`texts`].
pub(super) fn strings(list: &[Text]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

/// The reverse of [`text_map`].
pub(super) fn string_map(map: &BTreeMap<Text, Text>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}
