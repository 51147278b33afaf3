//! The little that the core knows about expressions: nothing of it decides what becomes of a task.

/// What asks how upstream tasks ended.
const ASKS: [&str; 4] = ["success", "failure", "always", "cancelled"];

/// Whether an expression calls a function that asks how upstream tasks ended, so that it is to be evaluated however
/// they did. Texts in quotes are passed over.
pub(super) fn asks_for_ends(expression: &str) -> bool {
    let mut quote = None;
    let mut is_escaped = false;
    let mut word = String::new();
    for letter in expression.chars() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if letter == '\\' => is_escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '"' || letter == '\'' => {
                quote = Some(letter);
                word.clear();
            }
            None if letter == '(' && ASKS.contains(&word.trim_end()) => return true,
            None if letter.is_alphanumeric() || letter == '_' || letter == '.' => {
                if word.ends_with(' ') {
                    word.clear();
                }
                word.push(letter);
            }
            None if letter.is_whitespace() && !word.is_empty() => word.push(' '),
            None => word.clear(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_texts_and_names() {
        for yes in ["failure() and x", "not success ()", "(always())", "'a' == b or cancelled()"] {
            assert!(asks_for_ends(yes), "{yes}");
        }
        for no in [
            "params.success",
            "'failure()' == x",
            r#""a\"failure()" == x"#,
            "x.failure()",
            "my_always()",
            "a success b()",
        ] {
            assert!(!asks_for_ends(no), "{no}");
        }
    }
}
