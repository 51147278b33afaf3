//! Which crate may depend on which, as ARCHITECTURE.md has it, and which third-party crates are kept in quarantine.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, SourceFile, Tree};

/// Third-party crates that only some of our crates may name, with the reason.
const QUARANTINE: [(&str, &[&str], &str); 4] = [
    ("openraft", &["crates/raft"], "its API changes between alphas (ADR 0004)"),
    ("redb", &["crates/raft", "crates/worker"], "only their stores know disk formats (ADR 0022)"),
    ("serde-saphyr", &["crates/core"], "workflow files are read in one place"),
    ("protox", &["crates/proto"], "code is generated in one place"),
];

/// All that the core may use. Whoever adds to this list proves that it is pure (ADR 0001).
const CORE_MAY_USE: [&str; 3] = ["petgraph", "serde-saphyr", "thiserror"];

/// The crate whose messages are generated: the only one in which message types are defined.
const MESSAGES: &str = "crates/proto/";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Also of build scripts: what a user of the crate compiles.
    Product,
    /// Of its tests only.
    Test,
}

/// A manifest: where it is, and what it names.
#[derive(Debug)]
struct Manifest<'t> {
    file: &'t SourceFile,
    /// `crates/core`
    dir: &'t str,
    dependencies: Vec<(String, Kind)>,
}

fn manifests(tree: &Tree) -> Vec<Manifest<'_>> {
    let manifests = tree.files().iter().filter_map(|file| {
        let dir = file.path.strip_suffix("/Cargo.toml")?;
        Some(Manifest { file, dir, dependencies: dependencies(&file.text) })
    });
    manifests.collect()
}

/// The dependencies that a manifest names. Understands the forms that this workspace uses: one dependency a line, or a
/// table of its own.
fn dependencies(manifest: &str) -> Vec<(String, Kind)> {
    let mut found = Vec::new();
    let mut section = None;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = kind_of(header);
            if let Some((kind, Some(name))) = section {
                found.push((name.to_owned(), kind));
                section = None;
            }
            continue;
        }
        let Some((kind, None)) = section else { continue };
        if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let name = key.trim().split('.').next().unwrap_or_default().trim_matches('"');
            let renamed =
                value.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
            found.push((renamed.unwrap_or(name).to_owned(), kind));
        }
    }
    found
}

/// What a section of a manifest lists, and the dependency it is about if it is about one.
fn kind_of(header: &str) -> Option<(Kind, Option<&str>)> {
    let header = header.rsplit_once("'.").map_or(header, |(_, rest)| rest);
    let (section, name) = match header.split_once('.') {
        Some((section, name)) => (section, Some(name)),
        None => (header, None),
    };
    match section {
        "dependencies" | "build-dependencies" => Some((Kind::Product, name)),
        "dev-dependencies" => Some((Kind::Test, name)),
        _ => None,
    }
}

fn finding(rule: &'static str, subject: &str, path: &str, message: String) -> Finding {
    Finding { rule, subject: subject.to_owned(), path: path.to_owned(), line: 0, message }
}

/// Compares the edges between our crates with the table in ARCHITECTURE.md. Returns the findings and the number of
/// crates that were compared. Dependencies of tests are free, except upwards to the binary.
pub fn crate_edges(tree: &Tree) -> (Vec<Finding>, usize) {
    const MAP: &str = "ARCHITECTURE.md";
    let text = tree.file(MAP).map_or("", |file| file.text.as_str());
    let mut expected = table(text);
    let mut findings = Vec::new();
    let mut compared = 0;
    for manifest in manifests(tree) {
        let Some(may_use) = expected.remove(manifest.dir) else {
            let message = format!("{MAP} has no row for `{}`", manifest.dir);
            findings.push(finding("edge", manifest.dir, &manifest.file.path, message));
            continue;
        };
        compared += 1;
        let Some(may_use) = may_use else { continue };
        let uses = manifest.dependencies.iter().filter(|(_, kind)| *kind == Kind::Product);
        let uses: BTreeSet<String> =
            uses.filter_map(|(name, _)| name.strip_prefix("muster-").map(str::to_owned)).collect();
        for extra in uses.difference(&may_use) {
            let message = format!("`{}` uses `{extra}`, which {MAP} does not allow", manifest.dir);
            findings.push(finding("edge", extra, &manifest.file.path, message));
        }
        for missing in may_use.difference(&uses) {
            let message =
                format!("{MAP} says `{}` uses `{missing}`, and it does not", manifest.dir);
            findings.push(finding("edge", missing, &manifest.file.path, message));
        }
    }
    for dir in expected.keys() {
        findings.push(finding("edge", dir, MAP, format!("there is no crate `{dir}`")));
    }
    (findings, compared)
}

/// The rows of the crate table: folder, and what it may use; `None` for "any".
fn table(text: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut rows = BTreeMap::new();
    let lines = text.lines().skip_while(|line| !line.starts_with("| Crate |"));
    for line in lines.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [dir, _, uses, ..] = cells[..] else { continue };
        let names = uses.split(',').map(|name| name.trim().trim_matches('`').to_owned());
        let uses = match uses {
            "any" => None,
            _ => Some(names.filter(|name| !name.is_empty() && name != "–").collect()),
        };
        rows.insert(dir.trim_matches('`').to_owned(), uses);
    }
    rows
}

/// Third-party crates named where they must not be, tests included.
pub fn quarantine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(tree) {
        for (name, _) in &manifest.dependencies {
            let Some((_, homes, reason)) =
                QUARANTINE.iter().find(|(quarantined, ..)| quarantined == name)
            else {
                continue;
            };
            if !homes.contains(&manifest.dir) {
                let message = format!("only {} may name `{name}`: {reason}", homes.join(", "));
                findings.push(finding("quarantine", name, &manifest.file.path, message));
            }
        }
    }
    findings
}

/// Manifests that wake deliberate bugs: the simulation alone may, or they would be shipped.
pub fn mutants(tree: &Tree) -> Vec<Finding> {
    let elsewhere = manifests(tree)
        .into_iter()
        .filter(|manifest| !["crates/core", "tests/simulation"].contains(&manifest.dir));
    let mut findings = Vec::new();
    for manifest in elsewhere {
        for (line, text) in manifest.file.lines().filter(|(_, text)| text.contains("mutants")) {
            let message = format!("only tests/simulation asks for deliberate bugs: `{text}`");
            let found = finding("mutants", "mutants", &manifest.file.path, message);
            findings.push(Finding { line, ..found });
        }
    }
    findings
}

/// The core's dependencies are exactly those that are known to be pure.
pub fn core_is_pure(tree: &Tree) -> Vec<Finding> {
    let Some(core) = manifests(tree).into_iter().find(|manifest| manifest.dir == "crates/core")
    else {
        return vec![finding("core", "core", "crates/core", "there is no crates/core".to_owned())];
    };
    let product = core.dependencies.iter().filter(|(_, kind)| *kind == Kind::Product);
    let uses: BTreeSet<&str> = product.map(|(name, _)| name.as_str()).collect();
    let expected = BTreeSet::from(CORE_MAY_USE);
    let wrong = uses.symmetric_difference(&expected).map(|name| {
        let message = format!("the core uses exactly {CORE_MAY_USE:?}; `{name}` differs");
        finding("core", name, &core.file.path, message)
    });
    wrong.collect()
}

/// Message types defined by hand outside `crates/proto`.
pub fn messages(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let code = tree.files().iter().filter(|file| {
        file.path.ends_with(".rs")
            && !file.path.starts_with(MESSAGES)
            && !file.path.starts_with("tests/src/tidy/")
    });
    for file in code {
        for (line, text) in file.lines() {
            let text = text.trim();
            let derives = text.starts_with("#[derive(") && text.contains("prost::");
            let implements = text.starts_with("impl ") && text.contains("prost::Message for");
            if derives || implements || text.starts_with("#[prost(") {
                findings.push(Finding {
                    line,
                    ..finding(
                        "message",
                        "prost",
                        &file.path,
                        "messages are defined in /proto and generated by crates/proto alone"
                            .to_owned(),
                    )
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: (&str, &str) = (
        "ARCHITECTURE.md",
        "| Crate | Lives there | Uses | Law |\n|---|---|---|---|\n| `crates/core` | x | – | pure |\n\
         | `crates/master` | x | `core`, `raft` | IO |\n| `tests` | x | any | |\n\nother | text\n",
    );
    const TESTS: (&str, &str) = ("tests/Cargo.toml", "[dependencies]\nmuster-x.workspace = true\n");

    fn subjects(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.subject).collect()
    }

    #[test]
    fn reads_every_form_of_a_dependency() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\na.workspace = true\n# b = \"1\"\n\
                        c = { package = \"sea\", version = \"1\" }\n[target.'cfg(unix)'.dependencies]\nd = \"1\"\n\
                        [build-dependencies.e]\nversion = \"1\"\n[dev-dependencies]\nf = \"1\"\n[lints]\nx = true\n";
        let product = |name: &str| (name.to_owned(), Kind::Product);
        let expected = [
            product("a"),
            product("sea"),
            product("d"),
            product("e"),
            ("f".to_owned(), Kind::Test),
        ];
        assert_eq!(dependencies(manifest), expected);
    }

    #[test]
    fn finds_edges_that_differ_either_way() {
        let fine = "[dependencies]\nmuster-core.workspace = true\nmuster-raft.workspace = true\ntokio = \"1\"\n";
        let core =
            ("crates/core/Cargo.toml", "[dev-dependencies]\nmuster-proto.workspace = true\n");
        let tree = Tree::of(&[MAP, TESTS, core, ("crates/master/Cargo.toml", fine)]);
        assert_eq!(crate_edges(&tree), (Vec::new(), 3));

        let upwards =
            ("crates/core/Cargo.toml", "[dependencies]\nmuster-master.workspace = true\n");
        let less = ("crates/master/Cargo.toml", "[dependencies]\nmuster-core.workspace = true\n");
        assert_eq!(
            subjects(crate_edges(&Tree::of(&[MAP, TESTS, upwards, less])).0),
            ["master", "raft"]
        );
    }

    #[test]
    fn finds_crates_without_a_row_and_rows_without_a_crate() {
        let core = ("crates/core/Cargo.toml", "");
        let new = ("crates/new/Cargo.toml", "");
        let found = subjects(crate_edges(&Tree::of(&[MAP, TESTS, core, new])).0);
        assert_eq!(found, ["crates/new", "crates/master"]);
    }

    #[test]
    fn finds_crates_outside_their_quarantine() {
        let tree = Tree::of(&[
            (
                "crates/raft/Cargo.toml",
                "[dependencies]\nopenraft.workspace = true\nprotox = \"0.10\"\n",
            ),
            ("crates/cli/Cargo.toml", "[dev-dependencies]\nredb = \"4\"\n"),
        ]);
        assert_eq!(subjects(quarantine(&tree)), ["protox", "redb"]);
    }

    #[test]
    fn finds_what_the_core_may_not_use() {
        let all = "[dependencies]\nserde-saphyr = \"2\"\nthiserror = \"2\"\npetgraph = \"0.8\"\n";
        assert_eq!(core_is_pure(&Tree::of(&[("crates/core/Cargo.toml", all)])), []);
        let more = format!("{all}rand = \"0.9\"\n[dev-dependencies]\nproptest = \"1\"\n");
        assert_eq!(
            subjects(core_is_pure(&Tree::of(&[("crates/core/Cargo.toml", &more)]))),
            ["rand"]
        );
        assert_eq!(core_is_pure(&Tree::default()).len(), 1);
    }

    #[test]
    fn finds_who_asks_for_deliberate_bugs() {
        let text = "[dependencies]\nmuster-core = { workspace = true, features = [\"mutants\"] }\n";
        let tree =
            Tree::of(&[("crates/cli/Cargo.toml", text), ("tests/simulation/Cargo.toml", text)]);
        let found: Vec<_> = mutants(&tree).into_iter().map(|it| (it.path, it.line)).collect();
        assert_eq!(found, [("crates/cli/Cargo.toml".to_owned(), 2)]);
    }

    #[test]
    fn finds_messages_outside_their_crate() {
        let text = "#[derive(Clone, prost::Message)]\nstruct X {\n    #[prost(uint64, tag = 1)]\n    a: u64,\n}\n\
                    impl prost::Message for Y {}\nuse prost::Message;\n";
        let tree = Tree::of(&[("crates/raft/src/x.rs", text), ("crates/proto/src/x.rs", text)]);
        assert_eq!(messages(&tree).into_iter().map(|it| it.line).collect::<Vec<_>>(), [1, 3, 6]);
    }
}
