//! Pieces of a workflow file.

use std::fmt::Write as _;

use serde_json::Value;

use crate::convert::names::word;

/// Longest comment that repeats what the export says, in lines.
const COMMENT_LINES_MAX: usize = 200;

/// A text as YAML in quotes. JSON's quotes are YAML's; what a reader of YAML would not print is written as a number.
pub(super) fn quoted(text: &str) -> String {
    escaped(&Value::from(text).to_string())
}

/// Characters that YAML does not take as they are, in the form that JSON and YAML share.
fn escaped(json: &str) -> String {
    let mut out = String::new();
    for c in json.chars() {
        if is_printable(c) {
            out.push(c);
        } else {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
    }
    out
}

fn is_printable(c: char) -> bool {
    let is_separator = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    c == '\n' || (!c.is_control() && !is_separator && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// A name, also one with capitals, in quotes where readers would take it for something else than text.
pub(super) fn key(name: &str) -> String {
    if word(&name.to_lowercase()).starts_with('"') { quoted(name) } else { name.to_owned() }
}

/// A list of names.
pub(super) fn list(names: &[String]) -> String {
    let words: Vec<String> = names.iter().map(|name| key(name)).collect();
    format!("[{}]", words.join(", "))
}

/// A script under the key `run`, indented as a field of a task.
pub(super) fn script(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    let is_block = text.chars().all(|c| c == '\t' || is_printable(c))
        && !text.starts_with(char::is_whitespace);
    if !is_block {
        return format!("    run: {}\n", quoted(text));
    }
    let mut out = "    run: |\n".to_owned();
    for line in text.lines() {
        let indent = if line.is_empty() { "" } else { "      " };
        let _ = writeln!(out, "{indent}{line}");
    }
    out
}

/// A text as comments, each line behind `indent`.
pub(super) fn comment(indent: &str, text: &str) -> String {
    let mut out = String::new();
    let count = text.lines().count();
    for line in text.lines().take(COMMENT_LINES_MAX) {
        let line: String = line.chars().filter(|c| *c == '\t' || is_printable(*c)).collect();
        let _ = writeln!(out, "{}", format!("{indent}# {line}").trim_end());
    }
    if count > COMMENT_LINES_MAX {
        let more = count - COMMENT_LINES_MAX;
        let _ = writeln!(out, "{indent}# … and {more} lines more, which the export has");
    }
    out
}

/// A value as comments, in JSON.
pub(super) fn json_comment(indent: &str, value: &Value) -> String {
    comment(indent, &escaped(&format!("{value:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_is_not_printed() {
        assert_eq!(quoted("a \"b\"\n"), r#""a \"b\"\n""#);
        assert_eq!(quoted("\u{85}x\u{2028}\u{7f}中"), r#""\u0085x\u2028\u007f中""#);
    }

    #[test]
    fn scripts_are_blocks_if_they_can_be() {
        assert_eq!(script("a\n\n  b\n\n"), "    run: |\n      a\n\n        b\n");
        assert_eq!(script(" a"), "    run: \" a\"\n");
        assert_eq!(script("a\rb"), "    run: \"a\\rb\"\n");
    }

    #[test]
    fn comments_stay_comments() {
        assert_eq!(comment("  ", "a\nb: c\n"), "  # a\n  # b: c\n");
        assert_eq!(comment("", "a\u{85}b: c"), "# ab: c\n");
        assert!(
            comment("", &"x\n".repeat(300))
                .ends_with("# … and 100 lines more, which the export has\n")
        );
    }
}
