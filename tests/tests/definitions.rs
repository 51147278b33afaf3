//! What people define, from the file through the cluster and back: parameters, differences, and held tasks.

use std::fs;

use muster_client::{Code, Submission};
use muster_tests::cluster::Cluster;

const TYPED: &str = "\
apiVersion: v1
kind: Workflow
name: typed
params:
  day: {type: date, minimum: 2026-01-01}
  size: {type: integer, default: 8, maximum: 64}
  region: {enum: [eu, us], default: eu}
tasks:
  t: {run: 'echo \"$MUSTER_PARAM_DAY $MUSTER_PARAM_SIZE $MUSTER_PARAM_REGION\"', resources: {cpu: 0}}
";

fn write(cluster: &Cluster, name: &str, text: &str) -> String {
    let path = cluster.path(name);
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_checked_before_there_is_a_run_and_reach_the_task_as_written() {
    let cluster = Cluster::start(1, 1).await;
    let file = write(&cluster, "typed.yaml", TYPED);
    assert_eq!(cluster.muster(&["apply", "-f", &file]).0, 0);
    for (given, says) in [
        ("day=2026-02-30", "`2026-02-30` is not a date"),
        ("day=2025-12-31", "`2026-01-01` is the least"),
        ("size=65", "parameter `size`: `65` is out of range"),
        ("size=8.0", "is not an integer"),
        ("region=asia", "is not one of `eu`, `us`"),
    ] {
        let more = if given.starts_with("day") { "size=8" } else { "day=2026-01-01" };
        let (code, out, err) = cluster.muster(&["run", "typed", "-p", given, "-p", more]);
        assert!(code != 0 && out.is_empty() && err.contains(says), "{given}: {err}");
    }
    let submission = Submission::workflow("typed").param("day", "tomorrow");
    let refused = cluster.client.submit(submission).await.expect_err("it is no date");
    assert_eq!((refused.code(), refused.reason()), (Code::InvalidArgument, Some("INVALID_PARAM")));

    let args = ["run", "typed", "-p", "day=2026-12-24", "-p", "size=064", "--logs"];
    assert_ne!(cluster.muster(&args).0, 0, "a leading zero is none of an integer");
    let args = ["run", "typed", "-p", "day=2026-12-24", "-p", "size=-0", "--logs"];
    let (code, out, err) = cluster.muster(&args);
    assert_eq!((code, out.as_str()), (0, "2026-12-24 -0 eu\n"), "{err}");

    let (_, shown, _) = cluster.muster(&["describe", "workflow", "typed"]);
    assert!(shown.contains("day (date; at least 2026-01-01; must be given)"), "{shown}");
    assert!(shown.contains("size=8 (integer; at most 64)"), "{shown}");
    let (_, json, _) = cluster.muster(&["describe", "workflow", "typed", "-o", "json"]);
    let places = ["\"day\"", "\"region\"", "\"size\""].map(|name| json.find(name));
    assert!(places.is_sorted() && places[0].is_some(), "maps have an order: {json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_what_applying_would_change() {
    let cluster = Cluster::start(1, 1).await;
    let file = write(&cluster, "typed.yaml", TYPED);
    let (code, out, _) = cluster.muster(&["diff", "-f", &file, "--exit-code"]);
    assert!(code == 1 && out.starts_with("--- typed (not applied)\n+++ "), "{out}");
    assert_eq!(cluster.muster(&["apply", "-f", &file]).0, 0);
    let (code, out, _) = cluster.muster(&["diff", "-f", &file, "--exit-code"]);
    assert_eq!((code, out.as_str()), (0, ""));

    let changed = TYPED.replace("default: 8", "default: 16").replace("{run:", "{timeout: 5m, run:");
    let file = write(&cluster, "typed.yaml", &changed);
    let (code, out, err) = cluster.muster(&["diff", "-f", &file]);
    assert_eq!(code, 0, "without --exit-code a difference is no failure: {err}");
    assert!(out.starts_with("--- typed@1\n") && !out.contains('\u{1b}'), "{out}");
    assert!(out.contains("-    default: \"8\"\n+    default: \"16\"\n"), "{out}");
    assert!(out.contains("+    timeout: \"5m\"\n") && !out.contains("Ms"), "{out}");
    let (code, out, _) = cluster.muster(&["diff", "-f", &file, "--exit-code", "-o", "json"]);
    assert!(code == 1 && out.contains("\"path\": \"params.size.default\""), "{out}");
    let (_, again, _) = cluster.muster(&["diff", "-f", &file, "--exit-code", "-o", "json"]);
    assert_eq!(out, again, "equal differences are printed equally");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_applying_would_change_and_who_could_take_the_tasks() {
    let cluster = Cluster::start(3, 1).await;
    let file = write(&cluster, "typed.yaml", TYPED);
    let (code, out, err) = cluster.muster(&["plan", "-f", &file]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("typed@1 would be new\nt: 1 of 1 worker can take it."), "{out}");
    assert_eq!(cluster.muster(&["plan", "-f", &file, "-o", "name"]).1, "typed\n");
    assert_eq!(cluster.muster(&["get", "workflows", "-o", "name"]).1, "", "nothing is applied");

    assert_eq!(cluster.muster(&["apply", "-f", &file]).0, 0);
    let (_, out, _) = cluster.muster(&["plan", "-f", &file]);
    assert!(out.starts_with("typed@1 stays as it is\n"), "{out}");
    assert_eq!(cluster.muster(&["plan", "-f", &file, "-o", "name"]).1, "");

    let changed = TYPED.replace("cpu: 0}", "cpu: 0, gpu: 8}");
    let file = write(&cluster, "typed.yaml", &changed);
    let (code, out, err) = cluster.muster(&["plan", "-f", &file]);
    assert_eq!(code, 6, "no worker has a gpu: {err}");
    assert!(out.starts_with("typed@2 would follow typed@1\n--- typed@1\n"), "{out}");
    assert!(out.lines().any(|line| line.starts_with('+') && line.contains("gpu: ")), "{out}");
    assert!(out.contains("\nt: 0 of 1 worker can take it: 1 lack gpu. Never possible"), "{out}");
    let (code, out, _) = cluster.muster(&["plan", "-f", &file, "-o", "json"]);
    assert!(code == 6 && out.contains("\"OUTLOOK_NEVER\""), "{out}");
    assert_eq!(cluster.client.get_workflow("typed").await.expect("it is there").latest_version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_version_can_be_looked_at_run_and_applied_again() {
    let cluster = Cluster::start(1, 1).await;
    let version = |number: u32| {
        let text = TYPED.replace("default: 8", &format!("default: {number}"));
        write(&cluster, "typed.yaml", &text)
    };
    let (code, _, err) = cluster.muster(&["rollback", "typed"]);
    assert!(code == 5 && err.contains("does not exist"), "{code}: {err}");
    for number in 1..=12 {
        let (code, out, err) = cluster.muster(&["apply", "-f", &version(number)]);
        assert_eq!((code, out), (0, format!("typed@{number} applied\n")), "{err}");
    }
    let (_, names, _) = cluster.muster(&["get", "versions", "typed", "-o", "name"]);
    assert_eq!(names.lines().count(), 11, "the latest and ten before it: {names}");
    assert!(names.starts_with("typed@12\n") && names.ends_with("typed@2\n"), "{names}");
    let (_, shown, _) = cluster.muster(&["describe", "workflow", "typed@3"]);
    assert!(shown.contains("3 (the latest is 12)") && shown.contains("size=3 (int"), "{shown}");
    let (code, _, err) = cluster.muster(&["describe", "workflow", "typed@1"]);
    assert!(code == 5 && err.contains("`typed@1` does not exist"), "{code}: {err}");

    let args = ["run", "typed", "--version", "4", "-p", "day=2026-12-24", "--logs"];
    let (code, out, err) = cluster.muster(&args);
    assert_eq!((code, out.as_str()), (0, "2026-12-24 4 eu\n"), "{err}");

    let back = ["rollback", "typed", "--to", "5", "--dry-run"];
    let (code, out, err) = cluster.muster(&back);
    assert!(code == 0 && out.contains("+    default: \"5\""), "{out}{err}");
    let (code, out, err) = cluster.muster(&back[..4]);
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("typed@13 applied, as typed@5 was\n"), "{out}");
    let (_, out, _) = cluster.muster(&back[..4]);
    assert!(out.ends_with("typed@13 unchanged: it is as typed@5 was\n"), "{out}");
    let (_, out, _) = cluster.muster(&["rollback", "typed"]);
    assert!(out.ends_with("typed@14 applied, as typed@12 was\n"), "{out}");
}
