//! Reasons of errors are part of the API: each one that the code gives is documented, and none is documented in vain.

use std::collections::BTreeSet;

use super::{Finding, SourceFile, Tree};

/// Where the API's errors are made.
const CODE: &str = "crates/master/src/";
/// Where their reasons are listed, in the first column of a table.
const LIST: &str = "docs/api.md";

/// Reasons that stand in only one of the two places, and the number of reasons.
pub fn documented(tree: &Tree) -> (Vec<Finding>, usize) {
    let listed: BTreeSet<&str> =
        tree.file(LIST).map_or("", |file| file.text.as_str()).lines().filter_map(listed).collect();
    let mut findings = Vec::new();
    let mut given = BTreeSet::new();
    for file in tree.files().iter().filter(|file| file.path.starts_with(CODE)) {
        for (line, text) in file.lines() {
            for reason in reasons(text) {
                if !listed.contains(reason) {
                    findings.push(finding(
                        file,
                        line,
                        reason,
                        format!("{LIST} does not list `{reason}`"),
                    ));
                }
                given.insert(reason);
            }
        }
    }
    let list = tree.file(LIST);
    for reason in listed.difference(&given) {
        findings
            .extend(list.map(|file| finding(file, 0, reason, format!("nothing gives `{reason}`"))));
    }
    (findings, given.len())
}

fn finding(file: &SourceFile, line: usize, reason: &str, message: String) -> Finding {
    Finding { rule: "reason", subject: reason.to_owned(), path: file.path.clone(), line, message }
}

/// The reason in a row such as ``| `NO_LEADER` | … |``.
fn listed(line: &str) -> Option<&str> {
    let reason = line.strip_prefix("| `")?.split('`').next()?;
    is_reason(reason).then_some(reason)
}

/// Literals that look like reasons, but for names of environment variables.
fn reasons(line: &str) -> Vec<&str> {
    let literals = line.split('"').skip(1).step_by(2);
    let is_variable = |text: &str| text.starts_with("CARGO_") || text.starts_with("MUSTER_");
    literals.filter(|text| is_reason(text) && !is_variable(text)).collect()
}

fn is_reason(text: &str) -> bool {
    text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_reasons_on_one_side_only() {
        let code = "fault(Code::NotFound, \"RUN_GONE\", env!(\"CARGO_PKG_VERSION\"))\nbad(\"NEW_ONE\", \"no\")\n";
        let list =
            "| Reason | Code |\n|---|---|\n| `RUN_GONE` | `NOT_FOUND` |\n| `OLD_ONE` | `X` |\n";
        let tree = Tree::of(&[("crates/master/src/a.rs", code), ("docs/api.md", list)]);
        let (findings, count) = documented(&tree);
        let found: Vec<&str> = findings.iter().map(|it| it.subject.as_str()).collect();
        assert_eq!((found, count), (vec!["NEW_ONE", "OLD_ONE"], 2));
    }
}
