//! Typed identifiers. Numbers are handed out by the replicated state; names are chosen by users.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits;

/// Immutable shared text. Cloning costs one reference count.
pub type Text = Arc<str>;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// A run, cluster-wide: 1, 2, 3… in the order of acceptance. People see `workflow/number` instead.
    RunId(u64)
}
number_id! {
    /// A task's position in its workflow version (file order).
    TaskIndex(u32)
}
number_id! {
    /// One registration of a worker process. A restarted worker gets a new one, so an old one never comes back.
    WorkerId(u64)
}
number_id! {
    /// A position in the replicated log.
    LogIndex(u64)
}
number_id! {
    /// The log index at which an attempt was placed. It is carried on every report; a stale one is rejected.
    Fence(u64)
}

/// A name chosen by a user: of a namespace, workflow or task. Matches `[a-z][a-z0-9_-]*`, at most
/// [`limits::NAME_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Text);

/// Why a string is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The string is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The string is longer than [`limits::NAME_BYTES_MAX`].
    #[error("a name has at most {max} bytes, this one has {len}", max = limits::NAME_BYTES_MAX)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A character is not allowed where it stands.
    #[error(
        "`{text}` is not a name: use a lower-case letter, then lower-case letters, digits, `_` or `-`"
    )]
    Malformed {
        /// The offending string.
        text: String,
    },
}

impl Name {
    /// Checks and wraps `text`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > limits::NAME_BYTES_MAX {
            return Err(NameError::TooLong { len: text.len() });
        }
        let tail_is_allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let is_well_formed =
            text.as_bytes()[0].is_ascii_lowercase() && text.bytes().all(tail_is_allowed);
        if !is_well_formed {
            return Err(NameError::Malformed { text: text.to_owned() });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    pub fn text(&self) -> Text {
        self.0.clone()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
