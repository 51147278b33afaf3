//! Approvals on a whole cluster: they hold no worker, and outlive the leader under which they began to wait.

use std::time::Duration;

use futures::TryStreamExt as _;
use muster_client::{Client, Code, Retry, Submission, v1};
use muster_tests::cluster::Cluster;

const RELEASE: &str = "\
apiVersion: v1
kind: Workflow
name: release
params: {what: it}
defaults: {timeout: 1s}
tasks:
  build: {run: 'true'}
  sign-off: {needs: [build], approval: {message: 'May ${{ params.what }} go out?'}}
  ship: {needs: [sign-off], run: 'true'}
  hurried: {approval: {}, timeout: 4s}
  lenient: {approval: {onTimeout: approve}, timeout: 4s}
";
const BUILD: usize = 0;
const SIGN_OFF: usize = 1;
const SHIP: usize = 2;
const HURRIED: usize = 3;
const LENIENT: usize = 4;

/// Waits until a task of a run has a status.
async fn until(
    cluster: &Cluster,
    run: &v1::SubmitRunResponse,
    task: usize,
    status: v1::TaskStatus,
) -> v1::Task {
    let is_it = async {
        loop {
            let tasks = cluster.tasks(run).await;
            if tasks[task].status() == status {
                return tasks[task].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), is_it).await;
    waited.unwrap_or_else(|_| panic!("task {task} is not {status:?} in a minute"))
}

async fn submit(client: &Client) -> v1::SubmitRunResponse {
    client.submit(Submission::source(RELEASE)).await.expect("it is accepted")
}

/// A client of a master that does not lead.
async fn follower(cluster: &Cluster) -> Client {
    let leader = cluster.leader().await;
    let other = &cluster.addresses[(leader + 1) % cluster.addresses.len()];
    Client::connect([format!("http://{other}")]).expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_waits_through_a_change_of_leader() {
    let mut cluster = Cluster::start(3, 1).await;
    let run = submit(&follower(&cluster).await).await;
    let asked = until(&cluster, &run, SIGN_OFF, v1::TaskStatus::Awaiting).await;
    assert_eq!((asked.message.as_str(), asked.attempts), ("May it go out?", 0));
    assert!(asked.awaiting_since_ms > 0 && asked.worker.is_empty(), "{asked:?}");
    let waits = [v1::TaskStatus::Awaiting];
    let listed: Vec<v1::Task> =
        cluster.client.list_tasks(&run, &waits).try_collect().await.unwrap();
    assert!(listed.iter().all(|task| task.status() == waits[0]) && !listed.is_empty());
    let (_, why, _) = cluster.muster(&["explain", "release/1/sign-off"]);
    for said in [
        "for a person to approve or reject it",
        "It asks: May it go out?",
        "muster approve release/1/sign-off",
        "muster reject release/1/sign-off",
    ] {
        assert!(why.contains(said), "{why}");
    }

    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    cluster.leader().await;
    let hurried = until(&cluster, &run, HURRIED, v1::TaskStatus::Failed).await;
    assert_eq!((hurried.message.as_str(), hurried.attempts), ("nobody answered in time", 0));
    until(&cluster, &run, LENIENT, v1::TaskStatus::Succeeded).await;
    let still = until(&cluster, &run, SIGN_OFF, v1::TaskStatus::Awaiting).await;
    assert_eq!(still.awaiting_since_ms, asked.awaiting_since_ms, "its wait goes on");

    let client = &cluster.client;
    client.answer_approval(&run, "sign-off", true, "tested").await.expect("it waits");
    until(&cluster, &run, SHIP, v1::TaskStatus::Succeeded).await;
    let ended = client.wait_run(&run, None).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Failed, "the hurried one failed");
    let tasks = cluster.tasks(&run).await;
    assert_eq!(tasks[SIGN_OFF].message, "tested");
    assert_eq!((tasks[BUILD].attempts, tasks[SIGN_OFF].attempts), (1, 0));

    // What was given is taken over; what was not is asked for again.
    let again = client.retry(&run, &Retry::default()).await.expect("one failed");
    let again = v1::SubmitRunResponse { number: again.number, run_id: again.run_id, ..run };
    let tasks = cluster.tasks(&again).await;
    assert_eq!(tasks[SIGN_OFF].status(), v1::TaskStatus::Succeeded);
    assert_eq!(tasks[HURRIED].status(), v1::TaskStatus::Awaiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_refused_where_nothing_asks_for_it() {
    let cluster = Cluster::start(1, 0).await;
    let client = &cluster.client;
    let run = submit(client).await;
    for task in ["build", "sign-off", "ship"] {
        let refused = client.answer_approval(&run, task, true, "").await.expect_err("too early");
        let told = (refused.code(), refused.reason());
        assert_eq!(told, (Code::FailedPrecondition, Some("TASK_NOT_AWAITING")), "{task}");
    }
    client.end_task(&run, "build", v1::TaskStatus::Succeeded).await.expect("no worker has it");
    until(&cluster, &run, SIGN_OFF, v1::TaskStatus::Awaiting).await;
    client.answer_approval(&run, "sign-off", false, "x".repeat(2_000)).await.expect("it waits");
    let rejected = until(&cluster, &run, SIGN_OFF, v1::TaskStatus::Failed).await;
    assert_eq!(rejected.message, format!("rejected: {}", "x".repeat(1_024)));
    until(&cluster, &run, SHIP, v1::TaskStatus::Skipped).await;
    let refused = client.answer_approval(&run, "sign-off", true, "").await.expect_err("too late");
    assert_eq!(refused.reason(), Some("TASK_NOT_AWAITING"));
    let refused = client.answer_approval(&run, "nobody", true, "").await.expect_err("no task");
    assert_eq!(refused.code(), Code::NotFound);

    // Taken back, it asks anew; a run that must stop asks nobody.
    client.retry(&run, &Retry::default()).await.expect("it was rejected");
    until(&cluster, &run, SIGN_OFF, v1::TaskStatus::Awaiting).await;
    client.cancel(&run).await.expect("it is live");
    let ended = client.wait_run(&run, None).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Cancelled);
}
