//! Names of modules that say nothing, and would become drawers for everything.

use super::{Finding, Tree};

const DRAWERS: [&str; 8] =
    ["common", "util", "utils", "types", "helper", "helpers", "internal", "misc"];

/// Files, folders and inline modules with such a name.
pub fn drawers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |path: &str, line, name: &str| {
        findings.push(Finding {
            rule: "module",
            subject: name.to_owned(),
            path: path.to_owned(),
            line,
            message: format!(
                "`{name}` says nothing: name what is in it, or move it to its one user"
            ),
        });
    };
    for file in tree.files().iter().filter(|file| file.is_one_of(&[".rs", ".proto", ".py"])) {
        let stem = file.path.rsplit_once('.').map_or(file.path.as_str(), |(stem, _)| stem);
        for name in stem.split('/').filter(|name| DRAWERS.contains(name)) {
            find(&file.path, 0, name);
        }
        for (line, text) in file.lines() {
            if let Some(name) = inline_module(text).filter(|name| DRAWERS.contains(name)) {
                find(&file.path, line, name);
            }
        }
    }
    findings
}

/// The name in `pub(crate) mod name {`; a `mod name;` is found through its file.
fn inline_module(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix('{')?.trim_end();
    let (before, name) = line.rsplit_once("mod ")?;
    let before = before.trim();
    (before.is_empty() || before.starts_with("pub")).then_some(name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_drawers() {
        let tree = Tree::of(&[
            ("crates/x/src/utils.rs", ""),
            ("crates/x/src/common/mod.rs", ""),
            (
                "crates/x/src/lib.rs",
                "mod fine {\n}\npub(crate) mod helpers {\n}\n// a mod helpers {\n",
            ),
            ("crates/x/src/typed.rs", "mod types;"),
            ("docs/common.md", ""),
        ]);
        let found: Vec<(String, usize)> =
            drawers(&tree).into_iter().map(|it| (it.subject, it.line)).collect();
        let expected = [("utils", 0), ("common", 0), ("helpers", 3)];
        assert_eq!(found, expected.map(|(name, line)| (name.to_owned(), line)));
    }
}
