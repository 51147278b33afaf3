//! The text form of an observation: a moment, a kind, and fields, on one line.
//!
//! ```text
//! 1250000 invoked call=3 client=1 what=submit request=r-3 body=81 workflow=etl
//! ```
//!
//! An absent optional field is left out. In texts, whitespace, `%` and `=` are written as `%` and two digits a byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, Text, WorkerId};
use muster_core::state::run::RunStatus;

use super::Nanos;

/// Why a line is not an observation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The line lacks a field.
    #[error("no field `{key}`")]
    Missing {
        /// Its name.
        key: &'static str,
    },
    /// A field does not hold what it should.
    #[error("field `{key}` cannot be `{value}`")]
    Malformed {
        /// Its name.
        key: String,
        /// What it holds.
        value: String,
    },
}

/// A line that is read: its fields by name.
#[derive(Debug)]
pub(super) struct Line<'t> {
    fields: BTreeMap<&'t str, &'t str>,
}

impl<'t> Line<'t> {
    /// Takes a line apart: the moment, the kind, the fields.
    pub(super) fn read(text: &'t str) -> Result<(&'t str, &'t str, Line<'t>), ParseError> {
        let mut words = text.split_ascii_whitespace();
        let at = words.next().ok_or(ParseError::Missing { key: "at" })?;
        let kind = words.next().ok_or(ParseError::Missing { key: "kind" })?;
        let mut fields = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| malformed(word, ""))?;
            fields.insert(key, value);
        }
        Ok((at, kind, Line { fields }))
    }
}

pub(super) fn malformed(key: &str, value: &str) -> ParseError {
    ParseError::Malformed { key: key.to_owned(), value: value.to_owned() }
}

/// What may stand in an observation.
pub(super) trait Field: Sized {
    /// Writes the field, with a space before it.
    fn put(&self, key: &'static str, out: &mut String);
    /// Reads it.
    fn get(key: &'static str, line: &Line<'_>) -> Result<Self, ParseError>;
    /// Whether it stands in the line at all.
    fn is_there(key: &'static str, line: &Line<'_>) -> bool {
        line.fields.contains_key(key)
    }
}

/// A field that is one word.
pub(super) trait Word: Sized {
    fn to_word(&self) -> String;
    fn of_word(word: &str) -> Option<Self>;
}

impl<T: Word> Field for T {
    fn put(&self, key: &'static str, out: &mut String) {
        // Writing to a text cannot fail.
        let _infallible = write!(out, " {key}={}", self.to_word());
    }

    fn get(key: &'static str, line: &Line<'_>) -> Result<Self, ParseError> {
        let value = line.fields.get(key).ok_or(ParseError::Missing { key })?;
        T::of_word(value).ok_or_else(|| malformed(key, value))
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, key: &'static str, out: &mut String) {
        if let Some(value) = self {
            value.put(key, out);
        }
    }

    fn get(key: &'static str, line: &Line<'_>) -> Result<Self, ParseError> {
        T::is_there(key, line).then(|| T::get(key, line)).transpose()
    }
}

macro_rules! number_words {
    ($($type:ty),*) => {
        $(impl Word for $type {
            fn to_word(&self) -> String {
                self.to_string()
            }
            fn of_word(word: &str) -> Option<Self> {
                word.parse().ok()
            }
        })*
    };
}

number_words!(u64, u32, bool);

macro_rules! id_words {
    ($($type:ident),*) => {
        $(impl Word for $type {
            fn to_word(&self) -> String {
                self.0.to_string()
            }
            fn of_word(word: &str) -> Option<Self> {
                word.parse().ok().map($type)
            }
        })*
    };
}

id_words!(RunId, WorkerId, LogIndex, Fence, TaskIndex, Nanos);

impl Word for Text {
    fn to_word(&self) -> String {
        let mut word = String::with_capacity(self.len());
        for c in self.chars() {
            if c.is_whitespace() || c.is_control() || c == '%' || c == '=' {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _infallible = write!(word, "%{byte:02X}");
                }
            } else {
                word.push(c);
            }
        }
        word
    }

    fn of_word(word: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(word.len());
        let mut rest = word.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'%' {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &after[2..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        String::from_utf8(bytes).ok().map(Arc::from)
    }
}

impl Word for RunStatus {
    fn to_word(&self) -> String {
        self.word().to_owned()
    }

    fn of_word(word: &str) -> Option<Self> {
        let all = [
            RunStatus::Queued,
            RunStatus::Running,
            RunStatus::Paused,
            RunStatus::Succeeded,
            RunStatus::Failed,
            RunStatus::Cancelled,
        ];
        all.into_iter().find(|status| status.word() == word)
    }
}

impl Word for Vec<(RunId, RunStatus)> {
    fn to_word(&self) -> String {
        let items: Vec<String> =
            self.iter().map(|(run, status)| format!("{run}:{}", status.word())).collect();
        items.join(",")
    }

    fn of_word(word: &str) -> Option<Self> {
        let item = |item: &str| {
            let (run, status) = item.split_once(':')?;
            Some((RunId::of_word(run)?, RunStatus::of_word(status)?))
        };
        word.split(',').filter(|it| !it.is_empty()).map(item).collect()
    }
}

/// Makes an enum whose variants have named fields, with their text form.
macro_rules! lines {
    (
        $(#[$doc:meta])* $name:ident
        $($(#[$variant_doc:meta])* $variant:ident = $kind:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        })*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        impl $name {
            /// The word for its kind in the text form.
            pub fn kind(&self) -> &'static str {
                match self {
                    $($name::$variant { .. } => $kind,)*
                }
            }

            #[allow(unused_variables, reason = "a kind without fields writes nothing")]
            fn put_fields(&self, out: &mut String) {
                match self {
                    $($name::$variant { $($field),* } => {
                        $($crate::history::line::Field::put($field, stringify!($field), out);)*
                    })*
                }
            }

            #[allow(unused_variables, reason = "a kind without fields reads nothing")]
            fn get_fields(
                key: &str,
                kind: &str,
                line: &$crate::history::line::Line<'_>,
            ) -> Result<Self, $crate::history::line::ParseError> {
                match kind {
                    $($kind => Ok($name::$variant {
                        $($field: $crate::history::line::Field::get(stringify!($field), line)?,)*
                    }),)*
                    other => Err($crate::history::line::malformed(key, other)),
                }
            }
        }
    };
}

/// Lets one such enum be a field of another: its kind stands where the field would, its own fields follow.
macro_rules! nested {
    ($name:ident) => {
        impl $crate::history::line::Field for $name {
            fn put(&self, key: &'static str, out: &mut String) {
                let kind: muster_core::ids::Text = self.kind().into();
                $crate::history::line::Field::put(&kind, key, out);
                self.put_fields(out);
            }

            fn get(
                key: &'static str,
                line: &$crate::history::line::Line<'_>,
            ) -> Result<Self, $crate::history::line::ParseError> {
                let kind: muster_core::ids::Text = $crate::history::line::Field::get(key, line)?;
                $name::get_fields(key, &kind, line)
            }
        }
    };
}

/// Makes an enum of plain words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $crate::history::line::Word for $name {
            fn to_word(&self) -> String {
                match self {
                    $($name::$variant => $word.to_owned(),)*
                }
            }

            fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

pub(super) use {lines, nested, words};
