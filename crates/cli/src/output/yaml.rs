//! JSON values as YAML.

use std::fmt::Write as _;

use serde_json::Value;

/// The value as a document.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(value, 0, &mut text),
        Value::Array(items) if !items.is_empty() => entries(value, 0, &mut text),
        _ => {
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
    text
}

fn entries(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) => {
            for (at, (key, value)) in map.iter().enumerate() {
                // The first key of a map in a list stands behind the dash.
                let pad = if at == 0 && text.ends_with("- ") { 0 } else { indent };
                let _ = write!(text, "{:pad$}{}:", "", quoted(key));
                below(value, indent, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                let _ = write!(text, "{:indent$}- ", "");
                if is_nested(item) {
                    entries(item, indent + 2, text);
                } else {
                    leaf(item, indent + 2, text);
                }
            }
        }
        _ => {}
    }
}

fn below(value: &Value, indent: usize, text: &mut String) {
    if is_nested(value) {
        text.push('\n');
        entries(value, indent + 2, text);
    } else {
        text.push(' ');
        leaf(value, indent + 2, text);
    }
}

/// A value behind its key or dash: several lines below it if the text has so many, and else in the same line.
fn leaf(value: &Value, indent: usize, text: &mut String) {
    let Some((mark, lines)) = value.as_str().and_then(block) else {
        let _ = writeln!(text, "{}", scalar(value));
        return;
    };
    text.push_str(mark);
    text.push('\n');
    for line in lines.split('\n') {
        if line.is_empty() {
            text.push('\n');
        } else {
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
    }
}

/// The mark of a block and its lines, if the text can stand in one as it is.
fn block(text: &str) -> Option<(&'static str, &str)> {
    let (mark, lines) = match text.strip_suffix('\n') {
        Some(lines) => ("|", lines),
        None => ("|-", text),
    };
    let is_plain = |c: char| {
        c == '\n' || !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    let is_block = text.contains('\n')
        && !lines.is_empty()
        && !lines.starts_with([' ', '\n'])
        && !lines.ends_with('\n')
        && lines.chars().all(is_plain);
    is_block.then_some((mark, lines))
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Plain if no reader could take the text for anything else; JSON's quotes, which YAML shares, otherwise.
fn quoted(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_word { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_what_readers_expect() {
        let value = json!({
            "runs": [{"name": "etl", "number": "42", "tags": []}, "x y"],
            "none": {},
            "is": true,
            "word": "yes",
            "lines": "a\nb",
            "script": "if x; then\n  y\n\nfi\n",
            "list": ["one\ntwo\n"],
            "odd": " a\nb",
        });
        let expected = "runs:\n  - name: etl\n    number: \"42\"\n    tags: []\n  - \"x y\"\nnone: {}\n\
                        is: true\nword: \"yes\"\nlines: |-\n  a\n  b\n\
                        script: |\n  if x; then\n    y\n\n  fi\nlist:\n  - |\n    one\n    two\n\
                        odd: \" a\\nb\"\n";
        assert_eq!(document(&value), expected);
        assert_eq!(document(&json!([])), "[]\n");
    }
}
