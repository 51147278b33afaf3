//! `muster dev --run`: a whole cluster for one run, as its user sees it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn dev(dir: &Path, workflow: &str, args: &[&str]) -> Command {
    let file = dir.join("flow.yaml");
    std::fs::write(&file, workflow).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(["dev", "--cpu", "8", "--run"]).arg(file).args(args);
    // Nothing of the machine's settings, and a temporary folder that can be looked into.
    command.env_clear().env("HOME", dir).env("TMPDIR", dir);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Exit code, stdout and stderr.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn left_behind(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("muster-")).collect()
}

const GREET: &str = "\
apiVersion: v1
kind: Workflow
name: greet
params: {who: world}
tasks:
  hello: {run: 'echo \"hello $MUSTER_PARAM_WHO\"'}
  again: {needs: [hello], run: 'echo again $MUSTER_ARRAY_INDEX', array: 2-3}
";

const FAIL: &str = "\
apiVersion: v1
kind: Workflow
name: fail
tasks:
  load: {run: 'exit 7'}
  after: {needs: [load], run: echo never}
";

#[test]
fn a_run_that_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let output = dev(dir.path(), GREET, &["--logs", "-p", "who=you"]).output().unwrap();
    let (code, out, err) = told(&output);
    assert_eq!(code, 0, "{err}");
    let mut lines: Vec<&str> = out.lines().collect();
    // Logs of tasks that run in quick succession come as they are fetched.
    lines.sort_unstable();
    assert_eq!(lines, ["again[2] | again 2", "again[3] | again 3", "hello | hello you"]);
    assert!(err.contains("greet/1 succeeded"), "{err}");
    assert!(!err.contains(['\u{1b}', '\r']), "stderr is no terminal: {err:?}");
    assert!(left_behind(dir.path()).is_empty());
}

#[test]
fn a_run_that_fails_with_three_masters() {
    let dir = tempfile::tempdir().unwrap();
    let output = dev(dir.path(), FAIL, &["--masters", "3", "--workers", "2"]).output().unwrap();
    let (code, out, err) = told(&output);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("✗ load: exit code 7") && err.contains("⊘ after"), "{err}");
    assert!(err.contains("fail/1 failed"), "{err}");
    assert!(left_behind(dir.path()).is_empty());
}

#[test]
fn the_tasks_own_code_and_the_run_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--propagate-exit-code", "-o", "json"];
    let (code, out, err) = told(&dev(dir.path(), FAIL, &args).output().unwrap());
    assert_eq!(code, 7, "{err}");
    let run: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(run["status"], "RUN_STATUS_FAILED");
    assert_eq!(run["tally"]["skipped"], "1");
}

#[allow(clippy::disallowed_methods, reason = "a test without a runtime")]
fn nap() {
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn ctrl_c_ends_everything() {
    let dir = tempfile::tempdir().unwrap();
    let begun = dir.path().join("begun");
    let flow = format!(
        "apiVersion: v1\nkind: Workflow\nname: long\ntasks: {{long: {{run: 'touch {}; sleep 60'}}}}\n",
        begun.display()
    );
    let mut child =
        dev(dir.path(), &flow, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !begun.exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "the task was not started");
        nap();
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130));
    assert!(started.elapsed() < Duration::from_secs(40), "it waited for the task");
    assert!(left_behind(dir.path()).is_empty());
}
