//! Webhooks: their names, and what they give for parameters.

use std::collections::BTreeSet;

use super::super::path::Path;
use super::super::report::{NO_HELP, Report};
use super::super::template;
use super::super::webhook::{self, Credential, WebhookSpec};
use super::super::{ParamSpec, WorkflowSpec};
use super::names;
use crate::ids::Name;
use crate::limits;

/// Longest name of a header, in bytes.
const HEADER_BYTES_MAX: usize = 128;

/// Values for the parameters in `unsound` cannot be judged.
pub(super) fn webhooks(spec: &WorkflowSpec, unsound: &BTreeSet<&Name>, report: &mut Report<'_>) {
    let path = Path::Root.key("webhooks");
    if spec.webhooks.len() > limits::WEBHOOKS_MAX {
        let (count, max) = (spec.webhooks.len(), limits::WEBHOOKS_MAX);
        report.error(path, format!("{count} webhooks are too many; at most {max} are possible"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, webhook) in spec.webhooks.iter().enumerate() {
        let path = path.index(at);
        if !seen.insert(&webhook.name) {
            let message = format!("two webhooks are called `{}`", webhook.name);
            report.error_with_help(path.key("name"), message, "give one of them another `name`");
        }
        if let Credential::Signature { header, .. } = &webhook.credential {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let is_name = (1..=HEADER_BYTES_MAX).contains(&header.len());
            if !is_name || !header.bytes().all(is_allowed) {
                let help = "letters, digits and `-`, for example `X-Hub-Signature-256`";
                let at = path.key("signature");
                report.error_with_help(at.key("header"), "this is not the name of a header", help);
            }
        }
        params(spec, webhook, unsound, path, report);
    }
}

/// Every parameter has a value, and a value that is known already is allowed.
fn params(
    spec: &WorkflowSpec,
    webhook: &WebhookSpec,
    unsound: &BTreeSet<&Name>,
    path: Path<'_>,
    report: &mut Report<'_>,
) {
    let at = path.key("params");
    for (name, value) in &webhook.params {
        let at = at.key(name.as_str());
        let Some(declared) = spec.params.get(name) else {
            let message = format!("the workflow declares no parameter `{name}`");
            report.key_error(at, message, NO_HELP);
            continue;
        };
        names::system(value, at, report);
        one(name, value, declared, unsound.contains(name), at, report);
    }
    for (name, declared) in &spec.params {
        if declared.default.is_none() && !webhook.params.contains_key(name) {
            let message = format!("the webhook has no value for the parameter `{name}`");
            let help = format!(
                "add `params: {{{name}: \"${{{{ body.{name} }}}}\"}}` to it, or a default to the parameter"
            );
            report.error_with_help(path, message, help);
        }
    }
    let bytes = webhook.params.iter().map(|(name, value)| name.as_str().len() + value.len());
    if bytes.sum::<usize>() > limits::PARAM_BYTES_MAX {
        let message = format!("its parameters take more than {} bytes", limits::PARAM_BYTES_MAX);
        report.error_with_help(at, message, "pass large values by file or URL");
    }
}

fn one(
    name: &Name,
    value: &str,
    declared: &ParamSpec,
    is_unsound: bool,
    at: Path<'_>,
    report: &mut Report<'_>,
) {
    if template::has_reference(value) {
        if let Err(error) = webhook::value_parts(value) {
            report.error(at, error.to_string());
        }
    } else if !is_unsound && let Err(error) = declared.check(value) {
        report.error(at, format!("parameter `{name}`: {error}"));
    }
}
