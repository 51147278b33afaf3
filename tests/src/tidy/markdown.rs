//! Documents: links that lead somewhere, paths that exist, and an index of all decisions.

use super::{Finding, SourceFile, Tree};

/// What a path of this repository begins with.
const TOP: [&str; 9] =
    ["crates/", "docs/", "tests/", "proto/", "examples/", "deploy/", "chaos/", ".ci/", ".config/"];
/// Where decisions are.
const DECISIONS: &str = "docs/adr/";

fn documents(tree: &Tree) -> impl Iterator<Item = &SourceFile> {
    tree.files().iter().filter(|file| file.path.ends_with(".md"))
}

/// Lines outside fenced code, with their numbers.
fn prose(file: &SourceFile) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let lines = file.lines().filter(|(_, text)| {
        let is_fence = text.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect()
}

fn finding(
    rule: &'static str,
    file: &SourceFile,
    line: usize,
    subject: &str,
    message: String,
) -> Finding {
    Finding { rule, subject: subject.to_owned(), path: file.path.clone(), line, message }
}

/// Links within the repository that lead nowhere. Returns the findings and the number of links followed.
pub fn links(tree: &Tree) -> (Vec<Finding>, usize) {
    let (mut findings, mut followed) = (Vec::new(), 0);
    for file in documents(tree) {
        for (line, text) in prose(file) {
            for target in targets(text) {
                let path = target.split('#').next().unwrap_or_default();
                if path.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                followed += 1;
                if !tree.has(&resolve(&file.path, path)) {
                    findings.push(finding(
                        "link",
                        file,
                        line,
                        target,
                        format!("`{target}` is not there"),
                    ));
                }
            }
        }
    }
    (findings, followed)
}

/// The `target` of each `[text](target)` of a line.
fn targets(line: &str) -> Vec<&str> {
    let rests = line.match_indices("](").map(|(at, mark)| &line[at + mark.len()..]);
    rests.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.trim())).collect()
}

/// The path from the root that `target` means in the file at `from`.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Paths in backticks that do not exist. In a section headed by a crate, `src/…` is a path in that crate. Returns the
/// findings and the number of paths looked up.
pub fn paths(tree: &Tree) -> (Vec<Finding>, usize) {
    let (mut findings, mut looked_up) = (Vec::new(), 0);
    for file in documents(tree) {
        let mut home = String::new();
        for (line, text) in prose(file) {
            if text.starts_with('#') {
                home = quoted(text)
                    .find(|part| part.starts_with("crates/"))
                    .unwrap_or_default()
                    .to_owned();
            }
            for part in quoted(text) {
                let path = match part.strip_prefix("src/") {
                    Some(rest) if !home.is_empty() => format!("{home}/src/{rest}"),
                    _ => part.to_owned(),
                };
                if !is_path(&path) {
                    continue;
                }
                looked_up += 1;
                if !tree.has(&path) {
                    findings.push(finding(
                        "path",
                        file,
                        line,
                        part,
                        format!("there is no `{path}`"),
                    ));
                }
            }
        }
    }
    (findings, looked_up)
}

/// What stands between single backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(text: &str) -> bool {
    TOP.iter().any(|top| text.starts_with(top))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
}

/// Decisions that the index of decisions does not name, or that are not numbered in a row. Returns the findings and the
/// number of decisions.
pub fn decisions(tree: &Tree) -> (Vec<Finding>, usize) {
    let index = tree.file(&format!("{DECISIONS}README.md"));
    let linked: Vec<&str> =
        index.iter().flat_map(|file| file.text.lines()).flat_map(targets).collect();
    let mut findings = Vec::new();
    let mut count = 0;
    for file in documents(tree) {
        let Some(name) = file.path.strip_prefix(DECISIONS).filter(|name| *name != "README.md")
        else {
            continue;
        };
        count += 1;
        if !linked.contains(&name) {
            let message = format!("{DECISIONS}README.md does not link to it");
            findings.push(finding("decision", file, 0, name, message));
        }
        let number = format!("{count:04}");
        let has_title = file.text.starts_with(&format!("# {number}. "));
        if !name.starts_with(&format!("{number}-")) || !has_title {
            let message =
                format!("decision {number} is called `{number}-…` and begins with `# {number}. `");
            findings.push(finding("decision", file, 1, name, message));
        }
        for section in ["## Context", "## Decision", "## Consequence"] {
            if !file.text.lines().any(|line| line == section) {
                findings.push(finding(
                    "decision",
                    file,
                    0,
                    name,
                    format!("there is no `{section}`"),
                ));
            }
        }
    }
    (findings, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.subject).collect()
    }

    #[test]
    fn finds_links_that_lead_nowhere() {
        let text = "[a](b.md) [c](../x.md#part) [d](https://example.com) [e](#here)\n\
                    ```\n[f](gone.md)\n```\n[g](gone.md) and [h](./sub/)\n";
        let tree = Tree::of(&[
            ("docs/a.md", text),
            ("docs/b.md", ""),
            ("x.md", ""),
            ("docs/sub/y.md", ""),
        ]);
        let (findings, followed) = links(&tree);
        assert_eq!(subjects(findings), ["gone.md"]);
        assert_eq!(followed, 4);
    }

    #[test]
    fn finds_paths_that_do_not_exist() {
        let text = "### `crates/a`\n`src/lib.rs`, `src/gone.rs`, `crates/a/src/`, `crates/b`, `crates/…`\n\
                    # Other\n`src/lib.rs` and `x.rs`\n";
        let tree = Tree::of(&[("A.md", text), ("crates/a/src/lib.rs", "")]);
        let (findings, looked_up) = paths(&tree);
        assert_eq!(subjects(findings), ["src/gone.rs", "crates/b"]);
        assert_eq!(looked_up, 5);
    }

    #[test]
    fn a_folder_is_not_a_prefix_of_a_name() {
        assert!(!Tree::of(&[("crates/abc/x.rs", "")]).has("crates/ab"));
    }

    #[test]
    fn finds_decisions_without_index_number_or_section() {
        let whole = "# 0001. X\n\n## Context\n\n## Decision\n\n## Consequence\n";
        let index = ("docs/adr/README.md", "- [0001. X](0001-x.md)\n");
        let tree = Tree::of(&[("docs/adr/0001-x.md", whole), index]);
        assert_eq!(decisions(&tree), (Vec::new(), 1));
        let tree = Tree::of(&[
            ("docs/adr/0001-x.md", whole),
            ("docs/adr/0003-y.md", "# 0003. Y\n"),
            index,
        ]);
        assert_eq!(decisions(&tree).0.len(), 5);
    }
}
