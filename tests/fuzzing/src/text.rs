//! Small texts: what is read prints as something that means the same.

use muster_core::ids::{Name, Text};
use muster_core::limits;
use muster_core::spec::quantity::{AMOUNT_MAX, Cpu, Memory, parse_count, parse_cpu, parse_memory};
use muster_core::spec::{duration, template};
use muster_proto::convert::ShardId;
use template::{Part, Reference};

/// Longest message about a small text, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The first byte says what the text should be.
pub(crate) fn check(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind % 7 {
        0 => check_duration(text),
        1 => check_amount(text, parse_cpu, |amount| Cpu(amount).to_string()),
        2 => check_amount(text, parse_memory, |amount| Memory(amount).to_string()),
        3 => check_amount(text, parse_count, |amount| amount.to_string()),
        4 => check_template(text),
        5 => check_name(text),
        _ => check_shard(text),
    }
}

fn check_message(error: &impl ToString) {
    let message = error.to_string();
    assert!(!message.is_empty() && message.len() <= MESSAGE_BYTES_MAX, "{message}");
}

fn check_duration(text: &str) {
    match duration::parse(text) {
        Ok(span) => {
            assert!(span <= limits::SPAN_MAX);
            assert_eq!(duration::parse(&span.to_string()), Ok(span), "{text:?}");
            assert_eq!(duration::parse(&format!(" {text}\t")), Ok(span), "{text:?}");
        }
        Err(error) => check_message(&error),
    }
}

fn check_amount<E: ToString + PartialEq + std::fmt::Debug>(
    text: &str,
    parse: impl Fn(&str) -> Result<u64, E>,
    print: impl Fn(u64) -> String,
) {
    match parse(text) {
        Ok(amount) => {
            assert!(amount <= AMOUNT_MAX, "{text:?}");
            assert_eq!(parse(&print(amount)), Ok(amount), "{text:?}");
            assert_eq!(
                parse(&format!("0{}", text.trim())),
                Ok(amount),
                "a zero in front: {text:?}"
            );
        }
        Err(error) => check_message(&error),
    }
}

fn check_template(text: &str) {
    let parsed = template::parse(text);
    let value = |reference: &Reference| Some(Text::from(reference.to_string()));
    let rendered = template::render(text, &value);
    assert!(
        rendered.as_ref().is_ok_and(|it| it.len() <= 2 * limits::TEXT_BYTES_MAX) == parsed.is_ok()
    );
    let parts = match parsed {
        Ok(parts) => parts,
        Err(error) => return check_message(&error),
    };
    let printed: String = parts.iter().map(print_part).collect();
    assert_eq!(template::parse(&printed).as_ref(), Ok(&parts), "{text:?} became {printed:?}");
    let filled: String = parts.iter().map(fill_part).collect();
    assert_eq!(rendered, Ok(filled), "{text:?}");
}

fn print_part(part: &Part) -> String {
    match part {
        Part::Literal(literal) => literal.to_string(),
        Part::Reference(reference) => format!("${{{{ {reference} }}}}"),
    }
}

fn fill_part(part: &Part) -> String {
    match part {
        Part::Literal(literal) => literal.to_string(),
        Part::Reference(reference) => reference.to_string(),
    }
}

fn check_name(text: &str) {
    match Name::parse(text) {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(text.len() <= limits::NAME_BYTES_MAX);
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{text:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_shard(text: &str) {
    match text.parse::<ShardId>() {
        Ok(id) => assert_eq!(id.to_string(), text),
        Err(error) => check_message(&error),
    }
}
