//! What may happen between a leader and its only worker at the edges: large definitions, and a worker that leaves.

use std::time::Duration;

use muster_client::{Submission, v1};
use muster_tests::cluster::Cluster;

/// Together far more than one message between masters and workers may have.
#[tokio::test(flavor = "multi_thread")]
async fn large_scripts_reach_their_worker() {
    let mut cluster = Cluster::start(1, 0).await;
    let mut manifest = "apiVersion: v1\nkind: Workflow\nname: large\ntasks:\n".to_owned();
    for task in 0..5 {
        let padding = "#".repeat(1_000_000);
        manifest.push_str(&format!("  t{task}:\n    run: |\n      true {padding}\n"));
    }
    let mut runs = Vec::new();
    for _ in 0..4 {
        let source = Submission::source(manifest.as_str());
        runs.push(cluster.client.submit(source).await.expect("it is accepted"));
    }
    // All are placed at once, and dispatched at once.
    cluster.add_worker(&[]);
    for run in &runs {
        let ended = cluster.client.wait_run(run, Some(Duration::from_secs(30))).await;
        let ended = ended.expect("it ends");
        assert_eq!(ended.status(), v1::RunStatus::Succeeded, "{:?}", ended.tally);
    }
}

/// A worker that shuts down takes nothing new. What the planner gave it before it knew costs one loss, and not as many
/// as it takes to give a task up.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_shuts_down_costs_no_task_its_life() {
    let mut cluster = Cluster::start(1, 1).await;
    let manifest = |name: &str, seconds: u32| {
        format!(
            "apiVersion: v1\nkind: Workflow\nname: {name}\ntasks:\n  t:\n    array: 0-9\n    \
             resources: {{cpu: 100m}}\n    run: sleep {seconds}\n"
        )
    };
    let submit = |text| cluster.client.submit(Submission::source(text));
    let long = submit(manifest("long", 4)).await.expect("it is accepted");
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.workers[0].signal("TERM");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let next = submit(manifest("next", 0)).await.expect("it is accepted");
    let ended = cluster.client.wait_run(&long, Some(Duration::from_secs(20))).await;
    assert_eq!(ended.expect("it ends").status(), v1::RunStatus::Succeeded, "what ran is finished");
    let waiting = cluster.client.get_run(&next).await.expect("it can be read");
    assert_eq!(waiting.status(), v1::RunStatus::Running, "{:?}", waiting.tally);
    cluster.workers[0].wait(Duration::from_secs(10)).await;
    cluster.add_worker(&[]);
    let ended = cluster.client.wait_run(&next, Some(Duration::from_secs(30))).await;
    let ended = ended.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Succeeded, "{:?}", ended.tally);
}
