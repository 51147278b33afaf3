//! Sub-workflows on a whole cluster: they hold no worker, outlive the leader under which they began, and stop as one.

use std::time::Duration;

use muster_client::{Client, Submission, v1};
use muster_tests::cluster::Cluster;

const LOAD: &str = "\
apiVersion: v1
kind: Workflow
name: load
params: {day: {type: date}, secs: '0'}
outputs: {rows: '${{ tasks.count.outputs.rows }}', about: '${{ params.day }}'}
tasks:
  wait: {run: 'sleep \"$MUSTER_PARAM_SECS\"', resources: {cpu: 100m}}
  count: {needs: [wait], run: 'echo rows=3 >> \"$MUSTER_OUTPUT\"', outputs: [rows], resources: {cpu: 100m}}
";
const DAILY: &str = "\
apiVersion: v1
kind: Workflow
name: daily
params: {day: '2026-01-31', secs: '3'}
tasks:
  load:
    workflow: {name: load, params: {day: '${{ params.day }}', secs: '${{ params.secs }}'}}
    outputs: [rows]
  report:
    needs: [load]
    env: {ROWS: '${{ needs.load.outputs.rows }}'}
    run: 'test \"$ROWS\" = 3'
    resources: {cpu: 100m}
";
const LOAD_TASK: usize = 0;
const REPORT: usize = 1;

async fn submit(client: &Client, params: &[(&str, &str)]) -> v1::SubmitRunResponse {
    let submission = Submission::source(DAILY);
    let submission =
        params.iter().fold(submission, |submission, (name, value)| submission.param(*name, *value));
    client.submit(submission).await.expect("it is accepted")
}

/// Waits until the sub-workflow of a run waits for its run, and names that.
async fn child_of(cluster: &Cluster, run: &v1::SubmitRunResponse) -> v1::ChildRun {
    let is_it = async {
        loop {
            let task = cluster.tasks(run).await.swap_remove(LOAD_TASK);
            if let (v1::TaskStatus::Awaiting, Some(child)) = (task.status(), task.child) {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), is_it).await;
    waited.expect("its run is started within a minute")
}

fn as_run(child: &v1::ChildRun, like: &v1::SubmitRunResponse) -> v1::SubmitRunResponse {
    let (workflow, number, run_id) = (child.workflow.clone(), child.number, child.run_id);
    v1::SubmitRunResponse { workflow, number, run_id, ..like.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_workflow_goes_on_through_a_change_of_leader() {
    let mut cluster = Cluster::start(3, 1).await;
    cluster.client.apply(LOAD).await.expect("it is well-formed");
    let run = submit(&cluster.client, &[]).await;
    let child = child_of(&cluster, &run).await;
    assert_eq!((child.workflow.as_str(), child.number), ("load", 1));
    let label = format!("{}/{}", run.workflow, run.number);
    let (_, why, _) = cluster.muster(&["explain", &format!("{label}/load")]);
    assert!(why.contains("Its run load/1 is running."), "{why}");

    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    cluster.leader().await;
    let client = &cluster.client;
    let ended = client.wait_run(&run, None).await.expect("it ends");
    let tasks = cluster.tasks(&run).await;
    assert_eq!(ended.status(), v1::RunStatus::Succeeded, "{tasks:?}");
    let load = &tasks[LOAD_TASK];
    assert_eq!((load.attempts, load.child.as_ref()), (1, Some(&child)), "one run, no other");
    assert_eq!(load.outputs.get("rows").map(String::as_str), Some("3"));
    assert!(!load.outputs.contains_key("about"), "it is not asked for: {load:?}");

    let below = as_run(&child, &run);
    let below = client.get_run(&below).await.expect("it is in the history");
    let parent = below.parent.expect("it was started for a task");
    assert_eq!((parent.run_id, parent.task.as_str()), (run.run_id, "load"));
    assert_eq!(below.outputs.get("about").map(String::as_str), Some("2026-01-31"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_one_stops_the_other() {
    let cluster = Cluster::start(1, 1).await;
    let client = &cluster.client;
    client.apply(LOAD).await.expect("it is well-formed");
    let run = submit(client, &[("secs", "600")]).await;
    let child = child_of(&cluster, &run).await;
    client.cancel(&run).await.expect("it is live");
    let ended = client.wait_run(&run, None).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Cancelled);
    let below = client.get_run(&as_run(&child, &run)).await.expect("it is in the history");
    assert_eq!(below.status(), v1::RunStatus::Cancelled);
    assert_eq!(below.stop_reason, "stopped with its task");

    // A run that somebody cancels is a failed try, and one that cannot be started too.
    let run = submit(client, &[("secs", "600")]).await;
    let child = child_of(&cluster, &run).await;
    client.cancel(&as_run(&child, &run)).await.expect("it is live");
    let ended = client.wait_run(&run, None).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Failed);
    let tasks = cluster.tasks(&run).await;
    assert_eq!(tasks[LOAD_TASK].message, "run load/2 was cancelled");
    assert_eq!(tasks[REPORT].status(), v1::TaskStatus::Skipped);
    let run = submit(client, &[("day", "soon")]).await;
    client.wait_run(&run, None).await.expect("it ends");
    let message = &cluster.tasks(&run).await[LOAD_TASK].message;
    assert!(message.starts_with("parameter `day`: `soon` is not a date"), "{message}");
}
