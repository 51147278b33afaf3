//! Runs the transcripts in `tests/scripts`: what the planner decides, and how it explains itself.
//!
//! A transcript is made of blocks with a blank line between them. The lines of a block above `---` are commands (see
//! `cluster/mod.rs`), those below are what they print. Lines that begin with `#` are for the reader. With `UPDATE=1`
//! in the environment, what is printed is written into the transcripts instead of compared; read the difference before
//! you keep it.

mod cluster;

use std::fs;
use std::path::{Path, PathBuf};

use cluster::Cluster;

/// The transcript with what its commands really print.
fn replay(path: &Path, text: &str) -> String {
    let mut cluster = Cluster::default();
    let mut replayed = String::new();
    for block in text.trim().split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let input = block.split_once("---").map_or(block, |(input, _)| input).trim_end();
        let mut printed = String::new();
        for line in input.lines().filter(|line| !line.starts_with('#')) {
            if let Err(problem) = cluster.execute(line, &mut printed) {
                panic!("{}: `{line}`: {problem}", path.display());
            }
        }
        if !replayed.is_empty() {
            replayed.push('\n');
        }
        replayed.push_str(input);
        replayed.push('\n');
        if !printed.is_empty() {
            replayed.push_str("---\n");
            replayed.push_str(printed.trim_end());
            replayed.push('\n');
        }
    }
    replayed
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = fs::read_dir(folder).expect("the scripts are part of the crate");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

#[test]
fn every_transcript_holds() {
    let paths = scripts();
    assert!(!paths.is_empty(), "there are no transcripts");
    let mut wrong = Vec::new();
    for path in paths {
        let expected = fs::read_to_string(&path).expect("a transcript is readable");
        let actual = replay(&path, &expected);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &actual).expect("a transcript is writable");
        } else if actual != expected {
            wrong.push(format!("{}\n{}", path.display(), first_difference(&expected, &actual)));
        }
    }
    assert!(wrong.is_empty(), "\n{}\nUPDATE=1 accepts what is printed", wrong.join("\n"));
}

fn first_difference(expected: &str, actual: &str) -> String {
    let mut actual_lines = actual.lines();
    for (number, line) in expected.lines().enumerate() {
        let found = actual_lines.next().unwrap_or("(nothing)");
        if found != line {
            return format!("line {}:\n  expected: {line}\n  printed:  {found}", number + 1);
        }
    }
    format!("after the last line, printed: {}", actual_lines.next().unwrap_or("(nothing)"))
}
