//! How programs outside start a workflow.

use super::super::path::Path;
use super::super::report::Report;
use super::super::yaml::{Node, Value};
use super::fields::{Fields, Schema};
use super::values::{entries, name, parsed, text};
use crate::ids::{Name, Text};
use crate::limits;
use crate::spec::webhook::{Credential, TokenDigest, WebhookSpec};

const WEBHOOK: Schema = Schema {
    what: "a webhook",
    fields: &["name", "token", "signature", "params", "description"],
    later: &["if", "suspend", "secret"],
};
const TOKEN: Schema = Schema { what: "a token", fields: &["sha256"], later: &[] };
const SIGNATURE: Schema = Schema { what: "a signature", fields: &["key", "header"], later: &[] };

/// Where GitHub and those who do as it does put a signature.
const USUAL_HEADER: &str = "X-Hub-Signature-256";

/// Reads a list of webhooks, or a single one.
pub(super) fn webhooks(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Vec<WebhookSpec> {
    let single = std::slice::from_ref(node);
    let items = match &node.value {
        Value::List(items) => &items[..],
        Value::Scalar { .. } | Value::Map(_) => single,
    };
    if items.len() > limits::WEBHOOKS_MAX {
        let (count, max) = (items.len(), limits::WEBHOOKS_MAX);
        report.error(path, format!("{count} webhooks are too many; at most {max} are possible"));
        return Vec::new();
    }
    let read = |(at, item)| webhook(at, item, path.index(at), report);
    items.iter().enumerate().map(read).collect()
}

/// What cannot be read has a stand-in, so that those after it keep their places.
fn webhook(at: usize, node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> WebhookSpec {
    let stand_in = Name::parse(&format!("webhook-{}", at + 1)).expect("it is a name");
    let mut spec = WebhookSpec {
        name: stand_in,
        credential: Credential::Token(TokenDigest([0; 32])),
        params: Default::default(),
    };
    let Some(fields) = Fields::open(node, path, &WEBHOOK, report) else { return spec };
    match fields.get("name") {
        Some(node) => spec.name = name(node, path.key("name"), report).unwrap_or(spec.name),
        None => {
            let help = "add `name: …`; it is the last part of the path that is called";
            report.error_with_help(path, "a webhook needs a name", help);
        }
    }
    spec.credential = credential(&fields, path, report).unwrap_or(spec.credential);
    if let Some(node) = fields.get("description") {
        text(node, path.key("description"), report);
    }
    if let Some(node) = fields.get("params") {
        let at = path.key("params");
        for (key, value) in entries(node, at, report) {
            let value = text(value, at.key(key), report);
            let key = super::workflow::key_name(key, at, report);
            spec.params.extend(key.zip(value.map(Text::from)));
        }
    }
    spec
}

/// Exactly one of the ways to show who calls.
fn credential(fields: &Fields<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<Credential> {
    match (fields.get("token"), fields.get("signature")) {
        (Some(node), None) => {
            let at = path.key("token");
            let fields = Fields::open(node, at, &TOKEN, report)?;
            let Some(node) = fields.get("sha256") else {
                let help = "`muster webhook token` makes a token and its digest";
                report.error_with_help(at, "the SHA-256 of the token is missing", help);
                return None;
            };
            let digest = parsed(node, at.key("sha256"), report, TokenDigest::parse);
            digest.map(Credential::Token)
        }
        (None, Some(node)) => {
            let at = path.key("signature");
            let fields = Fields::open(node, at, &SIGNATURE, report)?;
            let Some(node) = fields.get("key") else {
                let help = "add `key: NAME`; each master has the key in a file of that name";
                report.error_with_help(at, "the name of the key is missing", help);
                return None;
            };
            let key = name(node, at.key("key"), report)?;
            let header = fields.get("header").map(|node| text(node, at.key("header"), report));
            Some(Credential::Signature {
                key,
                header: header.unwrap_or(Some(USUAL_HEADER))?.into(),
            })
        }
        (Some(_), Some(_)) => {
            report.error(path.key("signature"), "`token` and `signature` exclude each other");
            None
        }
        (None, None) => {
            let help = "add `token: {sha256: …}`, which `muster webhook token` makes, or `signature: {key: …}`";
            report.error_with_help(path, "nothing says what callers must show", help);
            None
        }
    }
}
