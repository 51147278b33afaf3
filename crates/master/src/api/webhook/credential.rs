//! Who may call.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hmac::{Hmac, Mac};
use muster_core::ids::Name;
use muster_core::spec::webhook::Credential;
use sha2::{Digest, Sha256};

use super::answer::Refusal;
use crate::replica::Replica;

/// Most bytes of a key's file.
const KEY_BYTES_MAX: usize = 4096;

/// Where keys are found.
pub(super) struct Keys<'r> {
    pub(super) replica: &'r Replica,
    pub(super) namespace: &'r str,
}

impl Keys<'_> {
    /// Turns away a call that does not show what it must; of a signature without the body, one that shows none.
    pub(super) async fn judge(
        &self,
        credential: &Credential,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        match credential {
            // Digests are compared: how long that takes says nothing about the token.
            Credential::Token(digest) if sha256(bearer(headers)?) == digest.0 => Ok(()),
            Credential::Token(_) => Err(Refusal::wrong_token()),
            Credential::Signature { key, header } => {
                let shown = signature(header, headers)?;
                let Some(body) = body else { return Ok(()) };
                let key = self.key(key).await?;
                is_signed(&key, body, &shown)
                    .then_some(())
                    .ok_or_else(|| Refusal::wrong_signature(header))
            }
        }
    }

    /// The key of this name. It is read for each call, so that one that is exchanged counts at once.
    async fn key(&self, name: &Name) -> Result<Vec<u8>, Refusal> {
        let Some(folder) = &self.replica.config.webhook_keys else {
            return Err(Refusal::no_key(name, "it was started without --webhook-keys"));
        };
        let file = folder.join(format!("{}.{name}", self.namespace));
        let disk = self.replica.config.disk.clone();
        let read = self.replica.config.platform.blocking(move || match disk.size(&file)? {
            0 => Err(std::io::Error::other("the file is empty")),
            bytes if bytes > KEY_BYTES_MAX as u64 => {
                Err(std::io::Error::other(format!("it has more than {KEY_BYTES_MAX} bytes")))
            }
            _ => disk.read(&file),
        });
        let read = read.await.flatten();
        let mut key = read.map_err(|error| {
            tracing::warn!(%error, namespace = self.namespace, key = %name, "no key for a webhook");
            Refusal::no_key(name, "its file cannot be read; the master's log says why")
        })?;
        // Editors and `echo` end a file with a new line.
        if key.last() == Some(&b'\n') {
            key.pop();
        }
        match key.is_empty() {
            true => Err(Refusal::no_key(name, "its file is empty")),
            false => Ok(key),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    // Of several nobody knows which one a proxy has looked at.
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let only = given.next().filter(|_| given.next().is_none());
    let shown = only.and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    shown.filter(|token| !token.is_empty()).ok_or_else(Refusal::no_token)
}

/// The signature that a call shows.
fn signature(header: &str, headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let shown = headers.get(header).ok_or_else(|| Refusal::no_signature(header))?;
    let digits = shown.as_bytes();
    let digits = digits.strip_prefix(b"sha256=").unwrap_or(digits);
    unhex(digits).ok_or_else(|| Refusal::wrong_signature(header))
}

fn is_signed(key: &[u8], body: &[u8], shown: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    mac.update(body);
    // Takes as long whatever is shown.
    mac.verify_slice(shown).is_ok()
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hex = digits.len().is_multiple_of(2) && digits.bytes().all(|it| it.is_ascii_hexdigit());
    let pairs = (0..digits.len()).step_by(2);
    is_hex
        .then(|| pairs.filter_map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn tokens_are_read_from_the_header_that_holds_them() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&headers("authorization", value)).ok(), Some(&b"abc"[..]), "{value}");
        }
        for value in ["abc", "Basic abc", "Bearer", "Bearer ", "Bearerabc"] {
            assert!(bearer(&headers("authorization", value)).is_err(), "{value}");
        }
        assert!(bearer(&HeaderMap::new()).is_err());
    }

    /// The example of RFC 4231, section 4.3.
    #[test]
    fn signatures_are_those_of_the_body_under_the_key() {
        let digits = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        for value in [digits.to_owned(), format!("sha256={}", digits.to_uppercase())] {
            let shown = signature("X-Sig", &headers("x-sig", &value)).expect("it is one");
            assert!(is_signed(b"Jefe", body, &shown));
            assert!(!is_signed(b"jefe", body, &shown));
            assert!(!is_signed(b"Jefe", b"what do ya want for nothing!", &shown));
            assert!(!is_signed(b"Jefe", body, &shown[1..]));
        }
        for bad in ["", "sha256=", "sha1=aa", "5bdcc", "zz"] {
            let shown = signature("x-sig", &headers("x-sig", bad));
            assert!(!shown.is_ok_and(|it| is_signed(b"Jefe", body, &it)), "{bad}");
        }
        assert!(signature("x-other", &headers("x-sig", digits)).is_err());
    }
}
