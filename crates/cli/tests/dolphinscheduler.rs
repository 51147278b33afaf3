//! `muster convert dolphinscheduler` as its user sees it: files, lists, codes, and a run of what came out.
//!
//! `tests/fixtures/dolphinscheduler` has exports and what must become of each. With `UPDATE=1` the tests write
//! the latter anew, to be read before it is committed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn muster(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(args).env_clear().env("HOME", home.path()).env("TMPDIR", home.path());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.output().unwrap()
}

/// Exit code, stdout and stderr.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dolphinscheduler").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Compares with what is kept, or keeps it.
fn compare(found: &str, name: &str) {
    let path = fixture(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} would become\n{found}");
}

#[test]
fn exports_become_what_is_kept_and_are_valid() {
    for name in ["simple", "daily", "kinds", "legacy"] {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("report.json");
        let export = fixture(&format!("{name}.json"));
        let args = ["convert", "dolphinscheduler", text(&export), "--report", text(&report)];
        let (code, out, err) = told(&muster(&args));
        assert_eq!(code, 0, "{name}: {err}");
        compare(&out, &format!("{name}.yaml"));
        compare(&err, &format!("{name}.stderr"));
        let report = std::fs::read_to_string(report).unwrap();
        compare(&report, &format!("{name}.report.json"));

        let file = dir.path().join("flow.yaml");
        std::fs::write(&file, &out).unwrap();
        let (code, _, err) = told(&muster(&["validate", text(&file)]));
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
    }
}

#[test]
fn a_converted_workflow_runs_to_success() {
    let dir = tempfile::tempdir().unwrap();
    let export = fixture("simple.json");
    let args = ["convert", "dolphinscheduler", text(&export), "--strict", "--dir"];
    let (code, out, err) = told(&muster(&[&args[..], &[text(dir.path())]].concat()));
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let file = dir.path().join("simple.yaml");
    let (code, out, err) = told(&muster(&["dev", "--cpu", "4", "--run", text(&file), "--logs"]));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("check | hello world in /tmp/out on "), "{out}");
    assert!(out.contains("report | 3"), "{out}");
}

#[test]
fn an_unwritten_task_fails_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let export = dir.path().join("export.json");
    let all: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("kinds.json")).unwrap()).unwrap();
    let mut one = all[0].clone();
    let first = one["taskDefinitionList"][0].clone();
    one["taskDefinitionList"] = Value::Array(vec![first]);
    let relation = one["workflowTaskRelationList"][0].clone();
    one["workflowTaskRelationList"] = Value::Array(vec![relation]);
    one["schedule"] = Value::Null;
    std::fs::write(&export, one.to_string()).unwrap();
    let file = dir.path().join("flow.yaml");
    let (code, out, err) = told(&muster(&["convert", "dolphinscheduler", text(&export)]));
    assert_eq!(code, 0, "{err}");
    std::fs::write(&file, out).unwrap();
    let (code, out, err) = told(&muster(&["dev", "--run", text(&file), "--logs"]));
    assert_eq!(code, 3, "{out}{err}");
    assert!(out.contains("not converted: DEPENDENT has no equivalent"), "{out}{err}");
}

#[test]
fn strictness_and_formats() {
    let dir = tempfile::tempdir().unwrap();
    let out_dir = dir.path().join("flows");
    let report = dir.path().join("report.json");
    let kinds = fixture("kinds.json");
    let base = ["convert", "dolphinscheduler", text(&kinds)];
    let strict = ["--strict", "--dir", text(&out_dir), "--report", text(&report)];
    let (code, out, err) = told(&muster(&[&base[..], &strict].concat()));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(!out_dir.exists(), "strict writes no workflow");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert!(kept.as_array().is_some_and(|it| it.len() > 5));

    let (code, out, _) = told(&muster(&[&base[..], &["-o", "json"]].concat()));
    assert_eq!(code, 0);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["workflows"][1]["name"], "branches-2");
    assert_eq!(json["workflows"][1]["original"], "branches");
    assert_eq!(json["notConverted"], kept);
    let (_, out, _) = told(&muster(&[&base[..], &["-o", "name"]].concat()));
    assert_eq!(out, "branches\nbranches-2\n");

    let (code, out, err) = told(&muster(&[&base[..], &["--dir", text(&out_dir)]].concat()));
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let (code, out, err) = told(&muster(&["validate", text(&out_dir)]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[test]
fn what_is_no_export_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (flows, report) = (dir.path().join("flows"), dir.path().join("report.json"));
    let good = std::fs::read_to_string(fixture("kinds.json")).unwrap();
    let broken = good.replace("\"postTaskCode\": 311", "\"postTaskCode\": 999");
    assert_ne!(good, broken);
    for (text_of, says) in [
        ("", "line 1, column 0"),
        ("{", "line 1, column 1"),
        ("[]", "holds no workflow"),
        ("{\"schemaVersion\": \"1.5\"}", "no workflow of DolphinScheduler"),
        (&broken, "[1].workflowTaskRelationList[0].postTaskCode: the workflow has no task"),
    ] {
        let file = dir.path().join("export.json");
        std::fs::write(&file, text_of).unwrap();
        let args = ["convert", "dolphinscheduler", text(&file), "--dir", text(&flows)];
        let (code, out, err) = told(&muster(&[&args[..], &["--report", text(&report)]].concat()));
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("export.json: ") && err.contains(says), "{err}");
        assert!(!flows.exists() && !report.exists());
    }
}
