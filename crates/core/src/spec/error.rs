//! What is wrong with a workflow, where, and what to do about it.

use std::fmt;
use std::fmt::Write as _;

/// Most errors kept of one file or spec; the rest are counted.
pub const ERRORS_MAX: usize = 50;

/// Widest part of a source line that is shown.
const SNIPPET_CHARS_MAX: usize = 100;
/// What is shown before the marked place when a line is cut.
const SNIPPET_CHARS_BEFORE: usize = 40;
/// Longest piece of the user's own text that is repeated in a message.
const QUOTED_CHARS_MAX: usize = 60;

/// A stretch of characters on one line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters it covers, at least 1.
    pub width: u32,
}

/// One thing that is wrong with a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// Where in the file. Always present when the workflow came from a file.
    pub position: Option<Position>,
    /// Where in the workflow: `tasks.train.retry.limit`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do, if the message does not already say it.
    pub help: Option<String>,
}

/// Everything that is wrong with a workflow, in file order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecErrors {
    /// The errors, at most [`ERRORS_MAX`].
    pub errors: Vec<SpecError>,
    /// How many more were found before the reading stopped.
    pub omitted: usize,
}

impl SpecError {
    /// The error with the lines of `source`, the text that was parsed, that it is about.
    ///
    /// ```text
    /// error: `runn` is not a field of a task
    ///   --> 4:5 (tasks.hello.runn)
    ///    |
    ///  4 |     runn: echo hello
    ///    |     ^^^^
    ///    = help: did you mean `run`?
    /// ```
    pub fn render(&self, source: &str) -> String {
        self.render_in("", source)
    }

    /// Like [`SpecError::render`], with the name of the file before line and column: `flow.yaml:4:5`.
    pub fn render_in(&self, file: &str, source: &str) -> String {
        let mut text = format!("error: {}\n", self.message);
        let gutter = self.position.map_or(1, |position| position.line.to_string().len());
        let mut place = file.to_owned();
        if let Some(position) = self.position {
            let colon = if file.is_empty() { "" } else { ":" };
            let _ = write!(place, "{colon}{}:{}", position.line, position.column);
        }
        if !self.path.is_empty() {
            let space = if place.is_empty() { "" } else { " " };
            let _ = write!(place, "{space}({})", self.path);
        }
        if !place.is_empty() {
            let _ = writeln!(text, "{:gutter$}--> {place}", "");
        }
        if let Some(position) = self.position {
            text.push_str(&snippet(position, gutter, source));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "{:gutter$} = help: {help}", "");
        }
        text
    }
}

/// The line at `position`, cut to a readable width, with the place underlined.
fn snippet(position: Position, gutter: usize, source: &str) -> String {
    let Some(line) = lines(source).nth(position.line.saturating_sub(1) as usize) else {
        return String::new();
    };
    let length = line.chars().count();
    let column = ((position.column.max(1) - 1) as usize).min(length);
    let start =
        if length > SNIPPET_CHARS_MAX { column.saturating_sub(SNIPPET_CHARS_BEFORE) } else { 0 };
    let shown: String = line.chars().skip(start).take(SNIPPET_CHARS_MAX).map(printable).collect();
    let shown = shown.trim_end();
    let indent = column - start;
    let room = SNIPPET_CHARS_MAX.min(shown.chars().count()).saturating_sub(indent).max(1);
    let marks = (position.width as usize).clamp(1, room);
    let number = position.line;
    let (cut, more) = (
        if start > 0 { "…" } else { "" },
        if length > start + SNIPPET_CHARS_MAX { "…" } else { "" },
    );
    let shift = if start > 0 { " " } else { "" };
    format!(
        "{:gutter$} |\n{number} | {cut}{shown}{more}\n{:gutter$} | {shift}{:indent$}{}\n",
        "",
        "",
        "",
        "^".repeat(marks)
    )
}

/// The lines as YAML counts them: a carriage return ends one too, alone or before a line feed.
fn lines(source: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(source);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else { return rest.take() };
        let skipped = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + skipped..]);
        Some(&text[..end])
    })
}

/// A character that neither moves the cursor nor speaks to the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// The user's own text in backquotes, on one line and not too long.
pub(super) fn quoted(text: &str) -> String {
    let mut cut: String =
        text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    cut = cut.replace("\\'", "'").replace("\\\"", "\"");
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        cut.push('…');
    }
    format!("`{cut}`")
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{}:{}: ", position.line, position.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

impl SpecErrors {
    /// All errors with the lines they are about, and a count at the end. `file` may be empty.
    pub fn render_in(&self, file: &str, source: &str) -> String {
        let mut text = String::new();
        for error in &self.errors {
            text.push_str(&error.render_in(file, source));
            text.push('\n');
        }
        let kept = self.errors.len();
        match (kept, self.omitted) {
            (1, 0) => text.push_str("1 error\n"),
            (kept, 0) => drop(writeln!(text, "{kept} errors")),
            (kept, omitted) => drop(writeln!(text, "{kept} errors shown, at least {omitted} more")),
        }
        text
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand at least {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, width: u32) -> SpecError {
        SpecError {
            position: Some(Position { line, column, width }),
            path: "tasks.a".into(),
            message: "no".into(),
            help: Some("do it".into()),
        }
    }

    #[test]
    fn renders_the_line_and_marks_the_place() {
        let text = at(2, 3, 3).render_in("flow.yaml", "one\na bcd e\n");
        assert_eq!(
            text,
            "error: no\n --> flow.yaml:2:3 (tasks.a)\n  |\n2 | a bcd e\n  |   ^^^\n  = help: do it\n"
        );
    }

    #[test]
    fn a_carriage_return_ends_a_line() {
        for source in ["one\rtwo\rthree", "one\r\ntwo\r\nthree", "one\ntwo\nthree"] {
            let text = at(2, 1, 1).render(source);
            assert!(text.contains("2 | two\n"), "{text}");
        }
        assert_eq!(lines("a\r\n\rb\n").collect::<Vec<_>>(), ["a", "", "b", ""]);
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let source = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let text = at(1, 5001, 9999).render(&source);
        let shown = text.lines().find(|line| line.starts_with("1 | ")).unwrap();
        assert!(shown.chars().count() < 110, "{shown}");
        let marks = text.lines().find(|line| line.contains('^')).unwrap();
        assert_eq!(shown.chars().position(|c| c == 'X'), marks.chars().position(|c| c == '^'));
    }

    #[test]
    fn terminal_codes_are_not_passed_on() {
        let text = at(1, 1, 1).render("\u{1b}[31mred\u{7}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
        assert_eq!(quoted("a\u{1b}\nb"), "`a\\u{1b}\\nb`");
    }

    #[test]
    fn a_place_outside_the_source_still_renders() {
        assert!(at(99, 1, 1).render("one line").starts_with("error: no\n"));
        assert!(at(1, 4_000_000_000, 1).render("one line").contains('^'));
        assert!(at(0, 0, 0).render("").starts_with("error: no\n"));
    }
}
