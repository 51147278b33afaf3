//! The program without a cluster: what it says to wrong input, and with which exit code.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in an empty home, so that no settings of this machine matter.
fn muster(args: &[&str]) -> Output {
    muster_with(args, &[])
}

fn muster_with(args: &[&str], env: &[(&str, &str)]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(args).env_clear().env("HOME", home.path());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(env.iter().copied());
    command.output().unwrap()
}

/// Exit code, stdout and stderr.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Wrong input is never answered with the insides of the program.
fn assert_no_debris(text: &str) {
    for debris in ["panicked", "Err(", "Some(", "Status {", "RUST_BACKTRACE", "src/"] {
        assert!(!text.contains(debris), "{debris}: {text}");
    }
}

const GOOD: &str = "\
apiVersion: v1
kind: Workflow
name: etl
tasks:
  extract: {run: echo extract}
  load: {needs: [extract], run: echo load}
";

const BAD: &str = "\
apiVersion: v1
kind: Workflow
name: etl
tasks:
  extract:
    runn: echo extract
";

fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn every_master_that_cannot_be_reached_is_named() {
    let (first, second) = (dead_address(), dead_address());
    let server = format!("{first},{second}");
    let (code, out, err) = told(&muster(&["get", "runs", "--server", &server]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&format!("{first}: connection refused")), "{err}");
    assert!(err.contains(&format!("{second}: connection refused")), "{err}");
    assert!(err.contains("muster dev"), "{err}");
    assert_no_debris(&err);
}

#[test]
fn the_server_comes_from_flag_then_environment_then_file() {
    let (flag, variable, file) = (dead_address(), dead_address(), dead_address());
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "config.toml", &format!("server = \"{file}\"\n"));
    let env = [("MUSTER_CONFIG", config.as_str()), ("MUSTER_SERVER", variable.as_str())];
    let asked = |args: &[&str], env: &[(&str, &str)]| told(&muster_with(args, env)).2;
    assert!(asked(&["get", "runs", "--server", &flag], &env).contains(&flag));
    assert!(asked(&["get", "runs"], &env).contains(&variable));
    assert!(asked(&["get", "runs"], &env[..1]).contains(&file));
}

#[test]
fn a_wrong_config_file_is_pointed_at() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "config.toml", "sevrer = \"http://a:1\"\n");
    let env = [("MUSTER_CONFIG", config.as_str())];
    let (code, _, err) = told(&muster_with(&["get", "runs"], &env));
    assert_eq!(code, 2);
    assert!(err.contains("config.toml") && err.contains("sevrer"), "{err}");
    assert_no_debris(&err);
}

#[test]
fn wrong_addresses_are_explained() {
    for server in ["https://a:1", "ftp://a", "a:port", "a:1/x", "http://", ","] {
        let (code, _, err) = told(&muster(&["get", "runs", "--server", server]));
        assert_eq!(code, 2, "{server}: {err}");
        assert_no_debris(&err);
    }
}

#[test]
fn wrong_usage_is_code_2() {
    for args in [
        &["get", "runs", "--frobnicate"][..],
        &["frobnicate"],
        &[],
        &["run"],
        &["run", "etl", "-p", "x"],
        &["run", "etl", "--timeout", "30"],
        &["logs", "etl/x"],
        &["describe", "task", "etl/1"],
        &["submit", "--cpu", "many", "--", "ls"],
        &["submit", "--name", "Not A Name", "--", "ls"],
        &["dev", "--masters", "2"],
        &["convert", "wfcommons", "/nonexistent/trace.json"],
    ] {
        let (code, out, err) = told(&muster(args));
        assert_eq!(code, 2, "{args:?}: {err}");
        assert!(out.is_empty() && !err.is_empty(), "{args:?}");
        assert_no_debris(&err);
    }
}

#[test]
fn validate_says_what_is_in_a_good_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "good.yaml", GOOD);
    let (code, out, err) = told(&muster(&["validate", &file]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("{file}: etl ok, 2 tasks\n"));
    let (_, out, _) = told(&muster(&["validate", &file, "-o", "json"]));
    let specs: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(specs[0]["tasks"][1]["needs"][0], "extract");
    let (_, out, _) = told(&muster(&["-o", "name", "validate", &file]));
    assert_eq!(out, "etl\n");
}

#[test]
fn validate_takes_namespaces_and_run_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: Namespace\nname: team\nquota: {tasks: 9}\n";
    let file = write(dir.path(), "team.yaml", text);
    let (code, out, err) = told(&muster(&["validate", &file]));
    assert_eq!((code, out, err.as_str()), (0, format!("{file}: namespace/team ok\n"), ""));
    let (_, out, _) = told(&muster(&["validate", &file, "-o", "json"]));
    let specs: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&specs[0]["name"], &specs[0]["quota"]["tasks"]), (&"team".into(), &9.into()));
    let (code, _, err) = told(&muster(&["run", "-f", &file]));
    assert!(code == 2 && err.contains("holds no workflow"), "{err}");
    let other = write(dir.path(), "twice.yaml", text);
    let (code, _, err) = told(&muster(&["validate", &file, &other]));
    assert!(code == 2 && err.contains("namespace `team` is defined in"), "{err}");
}

#[test]
fn a_bad_file_is_shown_where_it_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "bad.yaml", BAD);
    let dead = dead_address();
    for args in [
        vec!["validate", &file],
        vec!["apply", "-f", &file, "--server", &dead],
        vec!["run", "-f", &file, "--server", &dead],
        vec!["dev", "--run", &file],
    ] {
        let (code, out, err) = told(&muster(&args));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains("bad.yaml:6:5"), "{err}");
        assert!(err.contains("    runn: echo extract") && err.contains("^^^^"), "{err}");
        assert!(err.contains("did you mean `run`?"), "{err}");
        assert_no_debris(&err);
    }
}

#[test]
fn all_bad_files_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.yaml", BAD);
    write(dir.path(), "b.yaml", "apiVersion: v1\nkind: [\n");
    write(dir.path(), "c.yaml", GOOD);
    let (code, _, err) = told(&muster(&["validate", dir.path().to_str().unwrap()]));
    assert_eq!(code, 2);
    assert!(err.contains("a.yaml:6:5") && err.contains("b.yaml:"), "{err}");
    assert_no_debris(&err);
}

#[test]
fn one_workflow_in_two_files_is_refused_before_anything_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(dir.path(), "a.yaml", GOOD);
    let second = write(dir.path(), "b.yaml", &GOOD.replace("echo load", "echo other"));
    let dead = dead_address();
    for command in [&["apply", "--server", &dead][..], &["diff", "--server", &dead]] {
        let (code, out, err) = told(&muster(&[command, &["-f", &first, "-f", &second]].concat()));
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("`etl` is defined in") && err.contains("b.yaml"), "{err}");
        assert!(!err.contains("refused"), "the cluster was not asked: {err}");
    }
    let (code, _, err) = told(&muster(&["validate", &first, &first]));
    assert!(code == 2 && err.contains("is given twice"), "{err}");
}

#[test]
fn a_schedule_that_fires_often_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let schedules =
        "schedule:\n  - {name: often, every: 1m}\n  - {name: nightly, cron: '30 2 * * *'}\n";
    let text = GOOD.replace("tasks:", &format!("{schedules}tasks:"));
    let file = write(dir.path(), "often.yaml", &text);
    let from = "2026-12-01T09:00";
    let args = ["schedule", "next", "-f", &file, "--from", from, "-c", "3"];
    let (code, out, err) = told(&muster(&args));
    assert_eq!(code, 0, "{err}");
    let rows: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(rows.len(), 4, "{out}");
    assert!(rows[..3].iter().all(|row| row.contains("etl/often")), "{out}");
    assert!(rows[3].contains("etl/nightly") && rows[3].contains("2026-12-02"), "{out}");
    assert!(err.contains("only the next time of each schedule"), "{err}");
    let few = GOOD.replace("tasks:", "schedule: {every: 1m}\ntasks:");
    let file = write(dir.path(), "few.yaml", &few);
    let (_, out, err) = told(&muster(&["schedule", "next", "-f", &file, "-c", "2"]));
    assert!(out.lines().count() == 3 && err.is_empty(), "{out}{err}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.yaml");
    let binary = dir.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    for (path, says) in [
        (missing.as_path(), "missing.yaml: there is no such file"),
        (binary.as_path(), "byte 0 is not UTF-8"),
        (dir.path().join("").as_path(), "byte 0 is not UTF-8"),
    ] {
        let (code, _, err) = told(&muster(&["validate", path.to_str().unwrap()]));
        assert_eq!(code, 2);
        assert!(err.contains(says), "{err}");
        assert_no_debris(&err);
    }
}

#[test]
fn the_schema_is_json() {
    let (code, out, _) = told(&muster(&["validate", "--schema"]));
    assert_eq!(code, 0);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    for (definition, kind) in [("workflow", "Workflow"), ("namespace", "Namespace")] {
        assert_eq!(schema["$defs"][definition]["properties"]["kind"]["const"], kind);
    }
}

#[test]
fn traces_become_valid_files() {
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/traces");
    let found: Vec<_> = std::fs::read_dir(&traces)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .collect();
    assert!(!found.is_empty(), "no traces in {}", traces.display());
    let dir = tempfile::tempdir().unwrap();
    for trace in found {
        let path = trace.to_str().unwrap();
        let args = ["convert", "wfcommons", path, "--time-scale", "0.01", "--name", "again"];
        let (code, out, err) = told(&muster(&args));
        assert_eq!(code, 0, "{path}: {err}");
        let file = write(dir.path(), "again.yaml", &out);
        let (code, out, err) = told(&muster(&["validate", &file]));
        assert_eq!(code, 0, "{path}: {err}");
        assert!(out.contains("again ok"), "{out}");
    }
}

#[test]
fn what_is_no_trace_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["", "{", "[]", "{\"name\": \"x\"}", "{\"schemaVersion\": \"1.4\"}"] {
        let file = write(dir.path(), "trace.json", text);
        let (code, out, err) = told(&muster(&["convert", "wfcommons", &file]));
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
        assert!(err.contains("trace.json"), "{err}");
        assert_no_debris(&err);
    }
}

#[test]
fn a_master_does_not_listen_to_the_world_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let args = ["master", "start", "--data-dir", data, "--listen", "0.0.0.0:0"];
    let (code, _, err) = told(&muster(&args));
    assert_eq!(code, 2);
    assert!(err.contains("--insecure"), "{err}");
    assert_no_debris(&err);
}

#[test]
fn help_and_version_are_data() {
    let (code, out, err) = told(&muster(&["--help"]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("Exit codes:"), "{out}");
    let (code, out, _) = told(&muster(&["version"]));
    assert_eq!((code, out), (0, format!("muster {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = told(&muster(&["completion", "bash"]));
    assert!(code == 0 && out.contains("complete"), "{out}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let bin = env!("CARGO_BIN_EXE_muster");
    let script = format!("'{bin}' validate --schema | true; exit ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let (code, _, err) = told(&output);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_file_is_drawn_in_every_format_and_no_other_command_draws() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "etl.yaml", GOOD);
    let (code, out, err) = told(&muster(&["graph", "-f", &file]));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "○  extract\n○  load\n", ""));
    for (format, expected) in [
        ("ascii", "o  extract"),
        ("svg", "<svg "),
        ("dot", "\"extract\" -> \"load\""),
        ("mermaid", "t0 --> t1"),
        ("name", "extract\nload\n"),
        ("json", "\"needs\": ["),
    ] {
        let (code, out, err) = told(&muster(&["graph", "-f", &file, "-o", format]));
        assert!(code == 0 && out.contains(expected) && err.is_empty(), "{format}: {out}{err}");
    }
    let (code, out, err) = told(&muster(&["validate", &file, "-o", "svg"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("muster graph"), "{err}");
    let two = write(dir.path(), "two.yaml", &format!("{GOOD}---\n{}", GOOD.replace("etl", "elt")));
    let (code, _, err) = told(&muster(&["graph", "-f", &two]));
    assert!(code == 2 && err.contains("name one of etl, elt"), "{err}");
    let (code, out, _) = told(&muster(&["graph", "elt", "-f", &two]));
    assert_eq!((code, out.as_str()), (0, "○  extract\n○  load\n"));
}
