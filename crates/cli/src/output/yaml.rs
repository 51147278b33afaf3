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
                    let _ = writeln!(text, "{}", scalar(item));
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
        let _ = writeln!(text, " {}", scalar(value));
    }
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
        });
        let expected = "runs:\n  - name: etl\n    number: \"42\"\n    tags: []\n  - \"x y\"\nnone: {}\n\
                        is: true\nword: \"yes\"\nlines: \"a\\nb\"\n";
        assert_eq!(document(&value), expected);
        assert_eq!(document(&json!([])), "[]\n");
    }
}
