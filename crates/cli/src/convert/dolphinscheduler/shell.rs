//! Placeholders in scripts for bash, found where they stand: in no quotes, in single or double ones, in a document.
//!
//! In single quotes the shell fills nothing in, so `'a ${x} b'` becomes `'a '"${x}"' b'`. Where that is not possible
//! (behind a backslash, in a document whose end is in quotes) the script is not converted.

use std::collections::BTreeSet;
use std::ops::Range;

use super::export::Property;
use super::scope::{self, Piece, Value};
use super::script::{Binder, is_identifier};

/// What a shell would read if it stood in the text of a script.
const READ_IN_PLAIN: &str = "'\"\\$`;|&<>()#!{}~\n";
const READ_IN_DOUBLE: &str = "\"\\$`";

/// The variable `base` with the time of the run on the wall clock of the zone.
pub(super) fn time_of_run(base: &str, zone: Option<&str>) -> String {
    let zone = zone.map(|zone| format!("TZ={zone} ")).unwrap_or_default();
    format!("{base}=$({zone}date -d \"$MUSTER_FIRE_TIME\" '+%F %T')")
}

pub(super) fn with_prologue(text: &str, lines: &[String]) -> String {
    if lines.is_empty() { text.to_owned() } else { format!("{}\n{text}", lines.join("\n")) }
}

/// A text as it stands between double quotes.
pub(super) fn in_double_quotes(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        if READ_IN_DOUBLE.contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// A text as one word.
pub(super) fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The script with variables for placeholders, and the outputs it writes.
pub(super) fn rewrite(
    script: &str,
    outs: &[Property],
    binder: &mut Binder<'_>,
) -> (String, Vec<String>) {
    let (script, outputs) = outputs(script, outs, binder);
    let mut scanner = Scanner {
        text: &script,
        at: 0,
        copied: 0,
        out: String::new(),
        within: Vec::new(),
        documents: Vec::new(),
        is_unsure: false,
        is_in_backticks: false,
        word: 0,
        escaped: 0..0,
        binder,
    };
    scanner.scan();
    let rest = scanner.copied;
    let mut out = scanner.out;
    out.push_str(&script[rest..]);
    (out, outputs)
}

/// `echo '${setValue(rows=1)}'` as `echo 'rows=1' >> "$MUSTER_OUTPUT"`.
fn outputs(script: &str, outs: &[Property], binder: &mut Binder<'_>) -> (String, Vec<String>) {
    let mut keys: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut may_be_missing = false;
    for line in script.lines() {
        match output(line) {
            Some((key, new)) if outs.iter().any(|out| out.name == key) => {
                may_be_missing |= line.starts_with(char::is_whitespace);
                if !keys.contains(&key) {
                    keys.push(key);
                }
                text.push_str(&new);
            }
            Some(_) => text.push_str(line),
            None => {
                if line.contains("setValue(") && !outs.is_empty() {
                    binder.problem(format!(
                        "its outputs are written in a way that is not understood: {}",
                        line.trim()
                    ));
                }
                text.push_str(line);
            }
        }
        text.push('\n');
    }
    for out in outs.iter().filter(|out| keys.contains(&out.name)) {
        if may_be_missing || !out.value.is_empty() {
            let pair = word(&format!("{}={}", out.name, out.value));
            binder.lines.push(format!("echo {pair} >> \"$MUSTER_OUTPUT\""));
        }
    }
    (text.trim_end_matches('\n').to_owned(), keys)
}

/// The outputs that a script writes; `None` if that is not understood.
pub(super) fn written(script: &str, outs: &[Property]) -> Option<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for line in script.lines().filter(|line| line.contains("setValue(")) {
        let (key, _) = output(line)?;
        if outs.iter().any(|out| out.name == key) {
            keys.insert(key);
        }
    }
    Some(keys)
}

/// The key of an output that a line writes, and the line that writes it here.
fn output(line: &str) -> Option<(String, String)> {
    let indent = line.len() - line.trim_start().len();
    let words = line.trim().trim_end_matches(';').trim_end().strip_prefix("echo ")?.trim_start();
    let quote = words.chars().next().filter(|c| *c == '\'' || *c == '"')?;
    let inside = words.strip_prefix(quote)?.strip_suffix(quote)?.strip_suffix(")}")?;
    let marks: &[&str] = match quote {
        '\'' => &["${setValue(", "#{setValue("],
        _ => &["#{setValue(", "\\${setValue("],
    };
    let mark = marks.iter().find(|mark| inside.starts_with(**mark))?;
    let pair = &inside[mark.len()..];
    let (key, value) = pair.split_once('=')?;
    // What stands in `${}` itself would have been left alone inside of another `${}`.
    let is_nested = mark.contains('$') && value.contains("${");
    let is_simple = is_identifier(key) && !value.contains("setValue(") && !is_nested;
    let new = format!("{}echo {quote}{pair}{quote} >> \"$MUSTER_OUTPUT\"", &line[..indent]);
    is_simple.then(|| (key.to_owned(), new))
}

/// Whether quotes end before the next backtick: what stands between two is taken out before its quotes are read.
fn is_balanced(rest: &str) -> bool {
    let inside = rest.split('`').next().unwrap_or_default();
    let is_even = |quote: char| inside.matches(quote).count().is_multiple_of(2);
    is_even('\'') && is_even('"') && !inside.contains('\\')
}

/// Whether what follows belonged to a variable, or to a name of a user, once it was a part of the text.
fn is_glued(before: &str) -> bool {
    let name = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    before.ends_with(['$', '~']) || (name.len() < before.len() && name.ends_with('$'))
}

/// Whether the shell takes the last word, which begins at `word`, as it is: an assignment, or what stands behind the
/// mark of a redirection.
fn takes_one_word(before: &str, word: usize) -> bool {
    let last = before[word..].replace("\\\n", "");
    let is_assignment = last.split_once('=').is_some_and(|(name, _)| is_identifier(name));
    is_assignment || before[..word].trim_end_matches([' ', '\t']).ends_with(['<', '>'])
}

/// What quotes a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    None,
    /// In `$( … )`, where everything begins anew.
    Command,
    Single,
    Double,
    Document,
    /// In what a shell never fills in, and what cannot be left either.
    Fixed,
}

struct Document {
    end: String,
    is_fixed: bool,
    is_indented: bool,
}

struct Scanner<'t, 'b, 's> {
    text: &'t str,
    at: usize,
    /// Up to where the text is in `out`.
    copied: usize,
    out: String,
    /// What the scanner is in, and where the word began that it stands in.
    within: Vec<(Quotes, usize)>,
    documents: Vec<Document>,
    /// Behind a backtick whose quotes nobody can follow.
    is_unsure: bool,
    is_in_backticks: bool,
    /// Where the word begins that the scanner is in.
    word: usize,
    /// The last backslash and what it stands before.
    escaped: Range<usize>,
    binder: &'b mut Binder<'s>,
}

impl Scanner<'_, '_, '_> {
    fn scan(&mut self) {
        while let Some(byte) = self.text.as_bytes().get(self.at).copied() {
            let within = self.within.last().map_or(Quotes::None, |(quotes, _)| *quotes);
            let is_open = within != Quotes::Double;
            match byte {
                b'\\' => {
                    let is_placeholder = ["${", "$["].iter().any(|it| self.rest(1).starts_with(it));
                    self.at += 1;
                    if is_placeholder {
                        self.placeholder(Quotes::Fixed);
                    } else {
                        let start = self.at - 1;
                        self.at += self.rest(0).chars().next().map_or(0, char::len_utf8);
                        self.escaped = start..self.at;
                    }
                }
                b'\'' if is_open => {
                    let is_special = self.text[..self.at].ends_with('$');
                    self.at += 1;
                    self.single(if is_special { Quotes::Fixed } else { Quotes::Single });
                }
                b'"' if is_open => self.enter(Quotes::Double, 1),
                b'"' => self.leave(1),
                b'`' => {
                    self.at += 1;
                    self.is_in_backticks = !self.is_in_backticks;
                    self.is_unsure |= within == Quotes::Double || !is_balanced(self.rest(0));
                }
                b'$' if self.rest(1).starts_with('(') => self.enter(Quotes::Command, 2),
                b'(' if within == Quotes::Command => self.enter(Quotes::Command, 1),
                b')' if within == Quotes::Command => self.leave(1),
                b'$' if self.rest(1).starts_with(['{', '[']) => self.placeholder(within),
                b'#' if is_open && self.begins_word() => self.comment(),
                b'<' if is_open && self.rest(0).starts_with("<<") => self.document(),
                b'\n' => {
                    self.at += 1;
                    self.word = self.at;
                    for document in std::mem::take(&mut self.documents) {
                        self.body(&document);
                    }
                }
                _ => {
                    self.at += 1;
                    if is_open && b" \t;|&()<>".contains(&byte) {
                        self.word = self.at;
                    }
                }
            }
        }
    }

    fn rest(&self, ahead: usize) -> &str {
        self.text.get(self.at + ahead..).unwrap_or_default()
    }

    fn enter(&mut self, quotes: Quotes, length: usize) {
        self.within.push((quotes, self.word));
        self.at += length;
        if quotes == Quotes::Command {
            self.word = self.at;
        }
    }

    fn leave(&mut self, length: usize) {
        if let Some((_, word)) = self.within.pop() {
            self.word = word;
        }
        self.at += length;
    }

    /// Whether a word begins here. A blank behind a backslash is a part of a word, and a line that ends with one goes
    /// on.
    fn begins_word(&self) -> bool {
        let mut before = &self.text[..self.at];
        if self.escaped.end == self.at && self.at > 0 {
            if !before.ends_with('\n') {
                return false;
            }
            before = &self.text[..self.escaped.start];
        }
        before.chars().next_back().is_none_or(|c| c.is_whitespace() || ";|&(".contains(c))
    }

    /// To the end of a comment.
    fn comment(&mut self) {
        let is_end = |c| c == '\n' || (c == '`' && self.is_in_backticks);
        self.at += self.rest(0).find(is_end).unwrap_or(self.rest(0).len());
    }

    /// From behind an opening single quote to behind the closing one.
    fn single(&mut self, quotes: Quotes) {
        while let Some(c) = self.rest(0).chars().next() {
            match c {
                '\'' => {
                    self.at += 1;
                    return;
                }
                '\\' if quotes == Quotes::Fixed => {
                    self.at += 1;
                    if !self.rest(0).starts_with('$') {
                        self.at += self.rest(0).chars().next().map_or(0, char::len_utf8);
                    }
                }
                '$' if self.rest(1).starts_with(['{', '[']) => self.placeholder(quotes),
                c => self.at += c.len_utf8(),
            }
        }
    }

    /// `<<EOF`: remembers the document that begins on the next line.
    fn document(&mut self) {
        if self.rest(0).starts_with("<<<") {
            self.at += 3;
            self.word = self.at;
            return;
        }
        self.at += 2;
        let is_indented = self.rest(0).starts_with('-');
        self.at += usize::from(is_indented);
        self.at += self.rest(0).len() - self.rest(0).trim_start_matches([' ', '\t']).len();
        let length = self.rest(0).find(|c: char| c.is_whitespace() || ";|&<>()".contains(c));
        let written = self.rest(0)[..length.unwrap_or(self.rest(0).len())].to_owned();
        // A number is shifted, in arithmetic.
        if written.is_empty() || written.starts_with(|c: char| c.is_ascii_digit()) {
            return;
        }
        self.at += written.len();
        let end: String = written.chars().filter(|c| !"'\"\\".contains(*c)).collect();
        self.documents.push(Document { is_fixed: end != written, end, is_indented });
    }

    fn body(&mut self, document: &Document) {
        while self.at < self.text.len() {
            let line_end = self.at + self.rest(0).find('\n').unwrap_or(self.rest(0).len());
            let line = &self.text[self.at..line_end];
            let shown = if document.is_indented { line.trim_start_matches('\t') } else { line };
            if shown == document.end {
                self.at = line_end;
                return;
            }
            while self.at < line_end {
                if self.rest(0).starts_with('\\') && !document.is_fixed {
                    self.at += 1;
                    if self.rest(0).starts_with('$') {
                        self.placeholder(Quotes::Fixed);
                        continue;
                    }
                }
                if self.rest(0).starts_with("${") || self.rest(0).starts_with("$[") {
                    let is_fixed = document.is_fixed;
                    self.placeholder(if is_fixed { Quotes::Fixed } else { Quotes::Document });
                } else {
                    self.at += self.rest(0).chars().next().map_or(1, char::len_utf8);
                }
            }
            self.at = self.at.max(line_end) + 1;
        }
        self.at = self.at.min(self.text.len());
    }

    /// What begins with `${` or `$[` here.
    fn placeholder(&mut self, quotes: Quotes) {
        let begin = self.at;
        let is_time = self.rest(1).starts_with('[');
        if !is_time && !self.rest(1).starts_with('{') {
            self.at += 1;
            return;
        }
        let Some(length) = self.rest(2).find(if is_time { ']' } else { '}' }) else {
            self.at += 2;
            return;
        };
        let inside = self.rest(2)[..length].to_owned();
        let end = begin + 2 + length + 1;
        let is_arithmetic = is_time && inside.starts_with(|c: char| c.is_ascii_digit());
        let found = match (is_arithmetic, is_time) {
            (true, _) => None,
            (false, true) => {
                Some(scope::time(&inside).map(|time| Value { pieces: vec![Piece::Time(time)] }))
            }
            (false, false) => self.binder.scope.find(&inside),
        };
        match found {
            Some(Ok(value)) => {
                self.at = end;
                self.replace(begin, &inside, &value, quotes);
            }
            Some(Err(problem)) => {
                self.at = end;
                self.binder.problem(problem);
            }
            None => self.unknown(&inside, end, quotes),
        }
    }

    /// Something of the shell's own, or a parameter that the export does not have.
    fn unknown(&mut self, inside: &str, end: usize, quotes: Quotes) {
        let is_dotted = |c: char| c.is_alphanumeric() || "_.-".contains(c);
        self.at = end;
        if is_identifier(inside) {
            self.binder.done.unknown.insert(inside.to_owned());
        } else if inside.starts_with(char::is_alphabetic)
            && inside.contains('.')
            && inside.chars().all(is_dotted)
        {
            self.binder.problem(format!("`${{{inside}}}` is no parameter of the export"));
        } else if quotes == Quotes::Single || quotes == Quotes::Fixed {
            self.at = end - inside.len() - 1;
        } else {
            // DolphinScheduler leaves a name within a name alone, the shell does not.
            let inner = inside.rsplit_once("${").map(|(_, inner)| inner);
            if let Some(inner) = inner.filter(|inner| self.binder.scope.find(inner).is_some()) {
                self.binder.problem(format!("`${{{inner}}}` stands within another `${{}}`"));
            }
            self.is_unsure |= inside.contains(['\'', '"', '\\', '`', '(']);
        }
    }

    fn replace(&mut self, begin: usize, inside: &str, value: &Value, quotes: Quotes) {
        let written = &self.text[begin..self.at];
        if quotes == Quotes::Fixed || self.is_unsure {
            let place = if self.is_unsure {
                "behind a backtick with quotes"
            } else {
                "where nothing is filled in"
            };
            let problem = format!("`{written}` stands {place}");
            self.binder.problem(problem);
            return;
        }
        if quotes != Quotes::Single && is_glued(&self.text[..begin]) {
            self.binder
                .problem(format!("`{written}` stands right behind what it becomes a part of"));
        }
        let texts = self.texts(value);
        let is_open = matches!(quotes, Quotes::None | Quotes::Command);
        let is_many = texts.iter().any(|text| text.contains(char::is_whitespace));
        if is_open && is_many && takes_one_word(&self.text[..begin], self.word) {
            self.binder
                .problem(format!("the value of `{written}` was several words, where one is taken"));
        }
        let read = match quotes {
            Quotes::None | Quotes::Command => READ_IN_PLAIN,
            Quotes::Double | Quotes::Document => READ_IN_DOUBLE,
            Quotes::Single | Quotes::Fixed => "'",
        };
        if texts.iter().any(|text| text.contains(|c| read.contains(c))) {
            let problem = format!("the value of `{written}` was read as a part of the script");
            self.binder.problem(problem);
        }
        let bound = self.binder.bind(inside, value).in_shell();
        let before = &self.text[self.copied..begin];
        let is_all = before.ends_with('\'') && self.rest(0).starts_with('\'');
        let (before, new, copied) = match quotes {
            // The quotes hold nothing else, and are replaced as well.
            Quotes::Single if is_all => {
                (&before[..before.len() - 1], format!("\"{bound}\""), self.at + 1)
            }
            Quotes::Single => (before, format!("'\"{bound}\"'"), self.at),
            Quotes::None | Quotes::Command | Quotes::Double | Quotes::Document | Quotes::Fixed => {
                (before, bound, self.at)
            }
        };
        self.out.push_str(before);
        self.out.push_str(&new);
        self.copied = copied;
    }

    /// The texts that a value is made of, as far as they are known.
    fn texts(&self, value: &Value) -> Vec<String> {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Param { name, otherwise: None } => {
                self.binder.scope.default_of(name).unwrap_or_default().to_owned()
            }
            Piece::Param { otherwise: Some(value), .. } => value.known(),
            Piece::Output { .. } | Piece::Time(_) => String::new(),
        };
        value.pieces.iter().map(text).collect()
    }
}
