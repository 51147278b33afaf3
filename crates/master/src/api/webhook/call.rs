//! What a call gives for the parameters of the run.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use muster_core::limits;
use muster_core::spec::template::Part;
use muster_core::spec::webhook::{CallPart, WebhookSpec, value_parts};

use super::answer::Refusal;

/// The values of a webhook's parameters.
pub(super) fn params(
    webhook: &WebhookSpec,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<BTreeMap<String, String>, Refusal> {
    let body = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned());
    let values = webhook.params.iter().map(|(name, written)| {
        let value = filled_in(written, headers, &body);
        let value = value.map_err(|why| Refusal::bad_call(format!("parameter `{name}`: {why}")))?;
        Ok((name.to_string(), value))
    });
    values.collect()
}

fn filled_in(
    written: &str,
    headers: &HeaderMap,
    body: &Result<&str, String>,
) -> Result<String, String> {
    let mut value = String::new();
    for part in value_parts(written).map_err(|error| error.to_string())? {
        match part {
            Part::Literal(text) => value.push_str(&text),
            Part::Reference(found) => {
                let text =
                    part_of(&found, headers, body).map_err(|why| format!("`{found}` {why}"))?;
                value.push_str(&text);
            }
        }
        if value.len() > limits::PARAM_BYTES_MAX {
            return Err(format!("it has more than {} bytes", limits::PARAM_BYTES_MAX));
        }
    }
    match value.contains('\0') {
        true => Err("it has a zero byte, which no program can be given".to_owned()),
        false => Ok(value),
    }
}

/// What a reference stands for, or why for nothing; to be put behind it.
fn part_of(
    found: &CallPart,
    headers: &HeaderMap,
    body: &Result<&str, String>,
) -> Result<String, String> {
    match found {
        CallPart::Header(name) => {
            let value = headers.get(&**name).ok_or("has no value: the call has no such header")?;
            let value = value.to_str().map_err(|_| "has no value: the header is no plain text")?;
            Ok(value.to_owned())
        }
        CallPart::Body(keys) => {
            let body = body.clone().map_err(|why| format!("has no value: {why}"))?;
            muster_expressions::at(body, keys).map_err(|why| format!("has no value: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_core::spec::webhook::{Credential, TokenDigest};

    use super::*;

    fn filled(value: &str, body: &[u8]) -> Result<String, String> {
        let name = |text: &str| muster_core::ids::Name::parse(text).expect("a name");
        let webhook = WebhookSpec {
            name: name("push"),
            credential: Credential::Token(TokenDigest([0; 32])),
            params: BTreeMap::from([(name("p"), value.into())]),
        };
        let headers = [("x-event".parse().unwrap(), "push".parse().unwrap())].into_iter().collect();
        let params = params(&webhook, &headers, body);
        params.map(|all| all["p"].clone()).map_err(|refusal| refusal.message().to_owned())
    }

    #[test]
    fn parts_of_a_call_are_filled_in() {
        let body =
            br#"{"ref": "refs/heads/main", "commits": [{"id": "a1"}, {"id": 7.50}], "x": null}"#;
        for (value, filled_in) in [
            ("eu", "eu"),
            ("${{ header.X-Event }}!", "push!"),
            ("${{ body.ref }}", "refs/heads/main"),
            ("${{ body.commits.0.id }}-${{ body.commits.1.id }}", "a1-7.50"),
            ("${{ body.commits }}", r#"[{"id":"a1"},{"id":7.50}]"#),
            ("${{ body.x }}", "null"),
        ] {
            assert_eq!(filled(value, body).as_deref(), Ok(filled_in), "{value}");
        }
        assert_eq!(filled("${{ body }}", b"not JSON").as_deref(), Ok("not JSON"));
        assert_eq!(filled("eu", b"\xff").as_deref(), Ok("eu"));
    }

    #[test]
    fn what_a_call_lacks_is_said() {
        let body = br#"{"commits": [{"id": "a"}], "zero": "\u0000"}"#;
        for (value, body, why) in [
            ("${{ body.ref }}", &body[..], "`body.ref` has no value: there is no `ref`"),
            ("${{ body.commits.1 }}", body, "`body.commits.1` has no value: `commits` has no `1`"),
            (
                "${{ body.commits.0.id.x }}",
                body,
                "`body.commits.0.id.x` has no value: `id` has no `x`",
            ),
            ("${{ body.ref }}", b"x=1", "`body.ref` has no value: it is not JSON"),
            ("${{ body.ref }}", b"", "`body.ref` has no value: it is not JSON"),
            ("${{ body }}", b"\xff", "`body` has no value: the body is not UTF-8"),
            ("${{ header.x }}", body, "`header.x` has no value: the call has no such header"),
            ("${{ body.zero }}", body, "it has a zero byte, which no program can be given"),
        ] {
            let said = filled(value, body).unwrap_err();
            assert!(said.starts_with(&format!("parameter `p`: {why}")), "{said}");
        }
        let large = format!("\"{}\"", "x".repeat(limits::PARAM_BYTES_MAX + 1));
        assert!(filled("${{ body }}", large.as_bytes()).unwrap_err().contains("more than"));
    }
}
