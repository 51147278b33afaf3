//! Sizes, and what must not stand in any file.

use super::{Finding, SourceFile, Tree};

/// Longest file of code or text, in lines.
pub const FILE_LINES_MAX: usize = 500;
/// Longest line, in characters. (rustfmt ends code at 100; this holds for comments and text as well.)
pub const LINE_CHARS_MAX: usize = 120;
/// Longest ARCHITECTURE.md, in lines: a map that is as long as the land is read by nobody.
pub const ARCHITECTURE_LINES_MAX: usize = 250;

/// What people write by hand.
const WRITTEN: [&str; 9] =
    [".rs", ".md", ".proto", ".toml", ".yaml", ".py", ".sh", "justfile", ".ci/run"];
/// Folders with the input and the expected output of tests, which is what it is.
const DATA: [&str; 5] = ["/scripts/", "/tests/spec/", "/data/", "/fixtures/", "/corpus/"];

fn is_written(file: &SourceFile) -> bool {
    file.is_one_of(&WRITTEN) && !DATA.iter().any(|folder| file.path.contains(folder))
}

/// Files that want splitting.
pub fn long_files(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| is_written(file)) {
        let max =
            if file.path == "ARCHITECTURE.md" { ARCHITECTURE_LINES_MAX } else { FILE_LINES_MAX };
        let count = file.text.lines().count();
        if count > max {
            findings.push(Finding {
                rule: "long-file",
                subject: count.to_string(),
                path: file.path.clone(),
                line: 0,
                message: format!("{count} lines, more than {max}: split it"),
            });
        }
    }
    findings
}

/// Lines nobody can read in one go. Rows of tables and lines with a link in Markdown cannot be wrapped.
pub fn long_lines(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| is_written(file)) {
        let is_markdown = file.path.ends_with(".md");
        for (line, text) in file.lines() {
            let count = text.chars().count();
            let cannot_wrap = is_markdown && (text.starts_with('|') || text.contains("]("));
            if count > LINE_CHARS_MAX && !cannot_wrap {
                findings.push(Finding {
                    rule: "long-line",
                    subject: count.to_string(),
                    path: file.path.clone(),
                    line,
                    message: format!("{count} characters, more than {LINE_CHARS_MAX}"),
                });
            }
        }
    }
    findings
}

/// Folders of the machine somebody worked on. Put together here, so that this file does not find itself.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk"),
    concat!("/ro", "ot"),
    concat!("/tmp/br", "ief"),
    concat!("/home/us", "er"),
];

/// Paths that mean something on one machine only.
pub fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        for (line, text) in file.lines() {
            for path in MACHINE_PATHS.into_iter().filter(|path| names_path(text, path)) {
                findings.push(Finding {
                    rule: "machine-path",
                    subject: path.to_owned(),
                    path: file.path.clone(),
                    line,
                    message: format!("`{path}` is a folder of one machine"),
                });
            }
        }
    }
    findings
}

/// Whether `text` holds `path` as a path of its own, from the root of a file system.
fn names_path(text: &str, path: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "_-.}$~/*".contains(c);
    text.match_indices(path).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + path.len()..].chars().next();
        !before.is_some_and(is_part)
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_long_files() {
        let long = "x\n".repeat(FILE_LINES_MAX + 1);
        let at_the_bound = "x\n".repeat(FILE_LINES_MAX);
        let tree = Tree::of(&[
            ("a.rs", &long),
            ("b.rs", &at_the_bound),
            ("crates/core/tests/scripts/x.toml", &long),
            ("ARCHITECTURE.md", &at_the_bound),
        ]);
        let found: Vec<String> = long_files(&tree).into_iter().map(|it| it.path).collect();
        assert_eq!(found, ["a.rs", "ARCHITECTURE.md"]);
    }

    #[test]
    fn finds_long_lines_by_characters() {
        let long = "ä".repeat(LINE_CHARS_MAX + 1);
        let row = format!("|{long}");
        let link = format!("[{long}](x)");
        let at_the_bound = "ä".repeat(LINE_CHARS_MAX);
        let tree = Tree::of(&[
            ("a.rs", &long),
            ("b.md", &row),
            ("c.md", &link),
            ("d.rs", &at_the_bound),
            ("e.rs", &row),
        ]);
        let found: Vec<String> = long_lines(&tree).into_iter().map(|it| it.path).collect();
        assert_eq!(found, ["a.rs", "e.rs"]);
    }

    #[test]
    fn finds_paths_of_one_machine() {
        let [first, second, ..] = MACHINE_PATHS;
        let bad = format!("see {first}/main\ncd {second}\n");
        let good = format!("crates{first}er/src, {first}er, x{second}, tests/{first}\n");
        let tree = Tree::of(&[("a.md", &bad), ("b.md", &good)]);
        let found: Vec<(String, usize)> =
            machine_paths(&tree).into_iter().map(|it| (it.path, it.line)).collect();
        assert_eq!(found, [("a.md".to_owned(), 1), ("a.md".to_owned(), 2)]);
    }
}
