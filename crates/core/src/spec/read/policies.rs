//! What a task asks of workers and of time: resources, selector, retry, array.

use super::super::error::quoted;
use super::super::path::Path;
use super::super::quantity;
use super::super::report::Report;
use super::super::yaml::{Node, Value};
use super::fields::{Fields, Schema};
use super::values::{entries, integer, kind, one_of, parsed, span, thousandths};
use crate::spec::{ArraySpec, Backoff, Resources, RetryPolicy};

const RETRY: Schema =
    Schema { what: "a retry policy", fields: &["limit", "backoff", "on"], later: &[] };
const BACKOFF: Schema =
    Schema { what: "a backoff", fields: &["duration", "factor", "cap", "jitter"], later: &[] };
const ARRAY: Schema = Schema { what: "an array", fields: &["first", "last"], later: &["step"] };

/// Reads quantities on top of `resources`.
pub(super) fn resources(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    resources: &mut Resources,
) {
    for (key, value) in entries(node, path, report) {
        let at = path.key(key);
        match key {
            "cpu" => {
                if let Some(amount) = parsed(value, at, report, quantity::parse_cpu) {
                    resources.cpu_millis = amount;
                }
            }
            "memory" => {
                if let Some(amount) = parsed(value, at, report, quantity::parse_memory) {
                    resources.memory_bytes = amount;
                }
            }
            other => {
                if let Some(amount) = parsed(value, at, report, quantity::parse_count) {
                    resources.custom.insert(other.into(), amount);
                }
            }
        }
    }
}

/// Reads a number of retries, or a whole policy, on top of `policy`.
pub(super) fn retry(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    policy: &mut RetryPolicy,
) {
    if node.scalar().is_some() {
        if let Some(limit) = integer(node, path, report) {
            policy.limit = limit;
        }
        return;
    }
    let Some(fields) = Fields::open(node, path, &RETRY, report) else { return };
    if let Some(limit) =
        fields.get("limit").and_then(|node| integer(node, path.key("limit"), report))
    {
        policy.limit = limit;
    }
    if let Some(node) = fields.get("backoff") {
        backoff(node, path.key("backoff"), report, &mut policy.backoff);
    }
    if let Some(node) = fields.get("on") {
        causes(node, path.key("on"), report, policy);
    }
}

fn backoff(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>, backoff: &mut Backoff) {
    if node.scalar().is_some() {
        // `backoff: 5s` is short for `backoff: {duration: 5s}`.
        if let Some(initial) = span(node, path, report) {
            backoff.initial = initial;
            backoff.cap = backoff.cap.max(initial);
        }
        return;
    }
    let Some(fields) = Fields::open(node, path, &BACKOFF, report) else { return };
    if let Some(initial) =
        fields.get("duration").and_then(|node| span(node, path.key("duration"), report))
    {
        backoff.initial = initial;
    }
    match fields.get("cap") {
        Some(node) => {
            backoff.cap =
                span(node, path.key("cap"), report).unwrap_or(backoff.cap.max(backoff.initial))
        }
        // A first wait longer than the usual bound was meant, so the bound gives way.
        None => backoff.cap = backoff.cap.max(backoff.initial),
    }
    if let Some(factor) =
        fields.get("factor").and_then(|node| thousandths(node, path.key("factor"), report))
    {
        backoff.factor_millis = factor;
    }
    if let Some(jitter) =
        fields.get("jitter").and_then(|node| thousandths(node, path.key("jitter"), report))
    {
        backoff.jitter_millis = jitter;
    }
}

/// Reads what is followed by another attempt: `Failure`, `Timeout`, or both.
fn causes(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>, policy: &mut RetryPolicy) {
    const CAUSES: [(&str, bool); 2] = [("Failure", true), ("Timeout", false)];
    let single = std::slice::from_ref(node);
    let items = match &node.value {
        Value::List(items) => &items[..],
        Value::Scalar { .. } => single,
        Value::Map(_) => &[],
    };
    if items.is_empty() {
        let message = format!(
            "a list such as `[Failure, Timeout]` belongs here, not {}",
            kind_or_empty(node)
        );
        report.error_with_help(path, message, "for no retry write `retry: 0`".to_owned());
        return;
    }
    (policy.on_failure, policy.on_timeout) = (false, false);
    for (at, item) in items.iter().enumerate() {
        match one_of(item, path.index(at), report, &CAUSES) {
            Some(true) => policy.on_failure = true,
            Some(false) => policy.on_timeout = true,
            None => {}
        }
    }
}

fn kind_or_empty(node: &Node<'_>) -> &'static str {
    if matches!(node.value, Value::List(_)) { "an empty one" } else { kind(node) }
}

/// Reads `0-999`, a count, or `{first, last}`.
pub(super) fn array(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<ArraySpec> {
    if node.scalar().is_some() {
        return parsed(node, path, report, range);
    }
    if matches!(node.value, Value::List(_)) {
        let message = "an array is a range of indices, not a list of values";
        report.error_with_help(
            path,
            message,
            "write `foreach` for a list of values; an array is written as `array: 0-99`",
        );
        return None;
    }
    let fields = Fields::open(node, path, &ARRAY, report)?;
    let first = match fields.get("first") {
        Some(node) => integer(node, path.key("first"), report)?,
        None => 0,
    };
    let Some(last) = fields.get("last") else {
        report.error_with_help(
            path,
            "an array needs its `last` index",
            "write `array: {first: 0, last: 99}`".to_owned(),
        );
        return None;
    };
    Some(ArraySpec { first, last: integer(last, path.key("last"), report)? })
}

fn range(text: &str) -> Result<ArraySpec, String> {
    let index = |digits: &str| {
        let digits = digits.trim();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err("write a range such as `0-999` or a count such as `1000`".to_owned());
        }
        digits.parse::<u32>().map_err(|_| format!("the index {} is out of range", quoted(digits)))
    };
    match text.split_once('-') {
        Some((first, last)) => Ok(ArraySpec { first: index(first)?, last: index(last)? }),
        None => match index(text)? {
            0 => Err("an array has at least one index".to_owned()),
            count => Ok(ArraySpec { first: 0, last: count - 1 }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(range("0-999"), Ok(ArraySpec { first: 0, last: 999 }));
        assert_eq!(range("1000"), Ok(ArraySpec { first: 0, last: 999 }));
        assert_eq!(range("7 - 9"), Ok(ArraySpec { first: 7, last: 9 }));
        // A range that lies is read, and refused by `validate` wherever it came from.
        assert_eq!(range("9-3"), Ok(ArraySpec { first: 9, last: 3 }));
        for text in
            ["0", "", "-", "-5", "0-", "0-9:2", "0,5", "0-4294967296", "1-2-3", "0x10", "many"]
        {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
