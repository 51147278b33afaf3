//! How a program outside of the cluster starts a workflow: by an HTTP call that any master takes.
//!
//! The core keeps what the user wrote. Masters judge a call and fill the parameters in; what comes of it is a
//! submission like any other.

use std::collections::BTreeMap;
use std::fmt;

use super::template::{self, Part, TemplateError};
use crate::ids::{Name, Text};
use crate::limits;

/// One way to call a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebhookSpec {
    /// Its name within the workflow, and the last part of its path.
    pub name: Name,
    /// What a caller must show.
    pub credential: Credential,
    /// Values for the parameters of its runs; they may hold `${{ … }}` references to the call, see [`value_parts`].
    pub params: BTreeMap<Name, Text>,
}

/// What a caller of a webhook must show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The token with this digest, as `Authorization: Bearer TOKEN`.
    Token(TokenDigest),
    /// The HMAC-SHA256 of the body, in hexadecimal digits, perhaps behind `sha256=`.
    Signature {
        /// The name of the key, which is kept outside of the cluster's state: each master has it in a file.
        key: Name,
        /// The header that holds the signature.
        header: Text,
    },
}

/// The SHA-256 of a token. Who knows it does not know the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

/// A digest that is not written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a SHA-256 of 64 hexadecimal digits; `muster webhook token` makes a token and its digest"
)]
pub struct NotADigest;

impl TokenDigest {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(text: &str) -> Result<Self, NotADigest> {
        let mut digest = [0; 32];
        let is_hex =
            text.len() == 2 * digest.len() && text.bytes().all(|it| it.is_ascii_hexdigit());
        if !is_hex {
            return Err(NotADigest);
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| NotADigest)?;
        }
        Ok(TokenDigest(digest))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What of a call a `${{ … }}` stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallPart {
    /// `body`: the whole body; `body.KEY…`: what a body that is JSON has there. A key of a list is a position from 0.
    Body(Vec<Text>),
    /// `header.NAME`: a header, its name in any case.
    Header(Text),
}

impl fmt::Display for CallPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallPart::Body(keys) => {
                f.write_str("body")?;
                keys.iter().try_for_each(|key| write!(f, ".{key}"))
            }
            CallPart::Header(name) => write!(f, "header.{name}"),
        }
    }
}

/// Takes the value of a parameter apart.
///
/// # Errors
/// If a reference is not closed, or is none to a call.
pub fn value_parts(text: &str) -> Result<Vec<Part<CallPart>>, TemplateError> {
    template::parts(text, |written| {
        call_part(written)
            .ok_or_else(|| TemplateError::NotOfACall { found: template::shorten(written) })
    })
}

fn call_part(written: &str) -> Option<CallPart> {
    let is_key = |key: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        (1..=limits::NAME_BYTES_MAX).contains(&key.len()) && key.bytes().all(is_allowed)
    };
    let words: Vec<&str> = written.split('.').take(limits::CALL_KEYS_MAX + 2).collect();
    if !words.iter().all(|word| is_key(word)) {
        return None;
    }
    match &words[..] {
        ["header", name] => Some(CallPart::Header((*name).into())),
        ["body", keys @ ..] if keys.len() <= limits::CALL_KEYS_MAX => {
            Some(CallPart::Body(keys.iter().map(|key| (*key).into()).collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_written() {
        let text = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(TokenDigest::parse(text).map(|it| it.to_string()).as_deref(), Ok(text));
        assert_eq!(TokenDigest::parse(&text.to_uppercase()), TokenDigest::parse(text));
        for bad in ["", "hello", &text[1..], &format!("+{}", &text[1..]), &format!("{text}00")] {
            assert_eq!(TokenDigest::parse(bad), Err(NotADigest), "{bad}");
        }
    }

    #[test]
    fn values_are_taken_apart() {
        let body = |keys: &[&str]| {
            Part::Reference(CallPart::Body(keys.iter().map(|key| (*key).into()).collect()))
        };
        let header = Part::Reference(CallPart::Header("X-GitHub-Event".into()));
        let text = "${{ header.X-GitHub-Event }} of ${{body.a-b.0.C_d}}${{ body }}";
        let parts = [header, Part::Literal(" of ".into()), body(&["a-b", "0", "C_d"]), body(&[])];
        assert_eq!(value_parts(text).as_deref(), Ok(&parts[..]));
        let deep = |levels: usize| format!("${{{{ body{} }}}}", ".a".repeat(levels));
        assert!(value_parts(&deep(limits::CALL_KEYS_MAX)).is_ok());
        for bad in ["params.x", "header", "header.a.b", "body.", "body..a", "body.é", ""] {
            let text = format!("${{{{ {bad} }}}}");
            let error = value_parts(&text).unwrap_err();
            assert!(error.to_string().contains("is no part of a call"), "{error}");
        }
        assert!(value_parts(&deep(limits::CALL_KEYS_MAX + 1)).is_err());
    }
}
