//! The rules of the repository itself, as checks over its files.
//!
//! A check is a function from a [`Tree`] to [`Finding`]s, so that each has a test in which it finds something: a check
//! that cannot fail is worth nothing. What must be excepted stands in `exceptions.txt`, with a reason; an exception
//! that nothing needs is itself reported.

pub mod edges;
pub mod exceptions;
pub mod markdown;
pub mod modules;
pub mod platform;
pub mod protobuf;
pub mod reasons;
pub mod text;
pub mod words;

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

pub use exceptions::Exceptions;

/// Folders that hold nothing of ours. In a second working tree of one repository `.git` is a file.
const SKIPPED: [&str; 6] = [".git", "target", "node_modules", "__pycache__", ".venv", ".idea"];

/// One file: its path from the root of the repository, with `/`, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// `crates/core/src/lib.rs`
    pub path: String,
    /// Empty for files that are not UTF-8.
    pub text: String,
}

impl SourceFile {
    /// Whether the name ends in one of `endings`.
    pub fn is_one_of(&self, endings: &[&str]) -> bool {
        endings.iter().any(|ending| self.path.ends_with(ending))
    }

    /// The lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

/// The files of the repository, by path.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    files: Vec<SourceFile>,
}

impl Tree {
    /// Reads everything below `root`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        collect(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { files })
    }

    /// The repository that this package is part of.
    pub fn of_this_repository() -> io::Result<Self> {
        Self::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
    }

    /// A tree of these files.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() });
        Tree { files: files.collect() }
    }

    /// All files.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file or a folder.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.iter().any(|file| {
            file.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else {
            let text = String::from_utf8(fs::read(entry.path())?).unwrap_or_default();
            files.push(SourceFile { path, text });
        }
    }
    Ok(())
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name, as exceptions call it.
    pub rule: &'static str,
    /// What exactly: a word, a crate, the name of a call.
    pub subject: String,
    /// Where.
    pub path: String,
    /// On which line; 0 for the whole file.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.message)
    }
}
