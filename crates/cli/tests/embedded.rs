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

/// Each index writes down how many are live with it.
const CROWD: &str = "\
apiVersion: v1
kind: Workflow
name: crowd
defaults: {resources: {cpu: 100m}}
tasks:
  room: {run: 'mkdir \"$HOME/live\"'}
  meet:
    needs: room
    array: 0-9
    maxParallel: 2
    maxFailures: 1
    run: |
      mkdir \"$HOME/live/$MUSTER_ARRAY_INDEX\"
      ls \"$HOME/live\" | wc -l >> \"$HOME/counts\"
      sleep 0.3
      rmdir \"$HOME/live/$MUSTER_ARRAY_INDEX\"
      test \"$MUSTER_ARRAY_INDEX\" -ne 3
  after: {needs: meet, run: 'echo met'}
";

#[test]
fn no_more_indices_than_wanted_are_live_and_one_may_fail() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = told(&dev(dir.path(), CROWD, &["--logs"]).output().unwrap());
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("after | met") && err.contains("crowd/1 succeeded"), "{out}\n{err}");
    let counts = std::fs::read_to_string(dir.path().join("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().max()), (10, Some(&2)), "{counts:?}");
}

const HASTE: &str = "\
apiVersion: v1
kind: Workflow
name: haste
failFast: true
defaults: {resources: {cpu: 100m}, gracePeriod: 1s}
tasks:
  each:
    array: 0-9
    maxParallel: 4
    failFast: true
    run: 'test \"$MUSTER_ARRAY_INDEX\" -ne 0; sleep 150'
  other: {run: sleep 150}
  after: {needs: other, run: echo never}
";

#[test]
fn a_failure_cancels_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let (code, out, err) = told(&dev(dir.path(), HASTE, &[]).output().unwrap());
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(began.elapsed() < Duration::from_secs(120), "the others sleep on: {err}");
    assert!(err.contains("haste/1 failed") && err.contains("(failFast)"), "{err}");
}
