//! The rules of this repository, applied to it. See `muster_tests::tidy`; exceptions stand in
//! `tests/src/tidy/exceptions.txt`.

use std::sync::LazyLock;

use muster_tests::tidy::{
    Exceptions, Finding, Tree, edges, markdown, modules, platform, protobuf, reasons, text, words,
};

static TREE: LazyLock<Tree> =
    LazyLock::new(|| Tree::of_this_repository().expect("the repository is readable"));

/// Fails with all that is left of `findings` when the exceptions are taken out.
#[track_caller]
fn expect_none(rule: &str, findings: &[Finding]) {
    let exceptions = Exceptions::of_this_repository().unwrap_or_else(|error| panic!("{error}"));
    let left = exceptions.apply(rule, findings);
    assert!(left.is_empty(), "{} problems:\n{}", left.len(), left.join("\n"));
}

#[test]
fn the_tree_is_this_repository() {
    for path in ["Cargo.toml", "ARCHITECTURE.md", "crates/core/src/lib.rs", "proto/muster/v1"] {
        assert!(TREE.has(path), "{path}");
    }
    assert!(!TREE.has("target"), "what is built is not looked at");
}

#[test]
fn crate_edges_are_those_of_the_map() {
    let (findings, compared) = edges::crate_edges(&TREE);
    expect_none("edge", &findings);
    assert!(compared >= 9, "only {compared} crates were compared");
}

#[test]
fn third_party_crates_stay_in_quarantine() {
    expect_none("quarantine", &edges::quarantine(&TREE));
}

#[test]
fn the_core_is_pure() {
    expect_none("core", &edges::core_is_pure(&TREE));
}

#[test]
fn deliberate_bugs_are_not_shipped() {
    expect_none("mutants", &edges::mutants(&TREE));
}

#[test]
fn nothing_goes_past_the_platform() {
    expect_none("platform", &platform::bypasses(&TREE));
}

#[test]
fn messages_are_generated() {
    expect_none("message", &edges::messages(&TREE));
}

#[test]
fn files_are_short() {
    expect_none("long-file", &text::long_files(&TREE));
}

#[test]
fn lines_are_short() {
    expect_none("long-line", &text::long_lines(&TREE));
}

#[test]
fn no_path_is_of_one_machine() {
    expect_none("machine-path", &text::machine_paths(&TREE));
}

#[test]
fn words_are_ours() {
    expect_none("word", &words::forbidden(&TREE));
}

#[test]
fn modules_say_what_is_in_them() {
    expect_none("module", &modules::drawers(&TREE));
}

#[test]
fn links_lead_somewhere() {
    let (findings, followed) = markdown::links(&TREE);
    expect_none("link", &findings);
    assert!(followed >= 20, "only {followed} links were followed");
}

#[test]
fn documents_name_paths_that_exist() {
    let (findings, looked_up) = markdown::paths(&TREE);
    expect_none("path", &findings);
    assert!(looked_up >= 50, "only {looked_up} paths were looked up");
}

#[test]
fn decisions_are_numbered_and_indexed() {
    let (findings, count) = markdown::decisions(&TREE);
    expect_none("decision", &findings);
    assert!(count >= 17, "only {count} decisions were found");
}

#[test]
fn names_in_proto_files_are_well_formed() {
    let (findings, names) = protobuf::names(&TREE);
    expect_none("proto", &findings);
    assert!(names >= 100, "only {names} names were looked at");
}

#[test]
fn reasons_of_errors_are_documented() {
    let (findings, reasons) = reasons::documented(&TREE);
    expect_none("reason", &findings);
    assert!(reasons >= 15, "only {reasons} reasons were found");
}
