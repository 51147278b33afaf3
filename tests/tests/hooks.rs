//! Hooks on a whole cluster: real processes follow the tasks of a run, whatever became of these and of the leader.

use std::fs;
use std::path::Path;
use std::time::Duration;

use muster_client::{Client, Code, Retry, Submission, v1};
use muster_tests::cluster::Cluster;

const TASKS: usize = 2;
const ON_SUCCESS: usize = TASKS;
const ON_FAILURE: usize = TASKS + 1;
const ON_EXIT: usize = TASKS + 2;

/// Two tasks, and hooks that write down what they know. `on-exit` waits until there is a file `go`.
fn workflow(folder: &Path, work: &str) -> String {
    let folder = folder.display();
    let note = |hook: &str| {
        format!("echo \"$MUSTER_RUN_RESULT [$MUSTER_RUN_FAILED_TASKS] $ROWS\" >> {folder}/{hook}")
    };
    format!(
        "apiVersion: v1
kind: Workflow
name: hooked
defaults: {{resources: {{cpu: 100m}}}}
tasks:
  count: {{run: 'echo rows=7 >> \"$MUSTER_OUTPUT\"', outputs: [rows]}}
  work: {{needs: [count], run: '{work}'}}
hooks:
  onSuccess: {{run: '{}', env: {{ROWS: '${{{{ needs.count.outputs.rows }}}}'}}}}
  onFailure: {{run: '{}', env: {{ROWS: '${{{{ run.result }}}}'}}}}
  onExit: {{run: '{}; while [ ! -e {folder}/go ]; do sleep 0.1; done', env: {{ROWS: x}}}}
",
        note("success"),
        note("failure"),
        note("exit"),
    )
}

fn noted(folder: &Path, hook: &str) -> String {
    fs::read_to_string(folder.join(hook)).unwrap_or_default()
}

fn let_go(folder: &Path) {
    fs::write(folder.join("go"), "").expect("the folder is there");
}

fn folder(cluster: &Cluster) -> std::path::PathBuf {
    let folder = cluster.path("files");
    fs::create_dir(&folder).expect("a fresh folder");
    folder
}

async fn submit(client: &Client, text: String) -> v1::SubmitRunResponse {
    client.submit(Submission::source(text)).await.expect("it is accepted")
}

/// Waits until a task of a run has a status.
async fn until(
    cluster: &Cluster,
    run: &v1::SubmitRunResponse,
    task: usize,
    status: v1::TaskStatus,
) {
    let is_it = async {
        while cluster.tasks(run).await[task].status() != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), is_it).await;
    waited.unwrap_or_else(|_| panic!("task {task} is not {status:?} in a minute"))
}

async fn ended(cluster: &Cluster, run: &v1::SubmitRunResponse) -> (v1::Run, Vec<v1::TaskStatus>) {
    let wait = cluster.client.wait_run(run, Some(Duration::from_secs(60)));
    let run_now = wait.await.expect("the run ends");
    let tasks = cluster.tasks(run).await;
    for task in &tasks {
        println!("{}: {:?} {}", task.id, task.status(), task.message);
    }
    (run_now, tasks.iter().map(v1::Task::status).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_followed_by_its_hooks_though_the_leader_is_killed() {
    use v1::TaskStatus::{Failed, Skipped, Succeeded};
    let mut cluster = Cluster::start(3, 1).await;
    let folder = folder(&cluster);
    let run = submit(&cluster.client, workflow(&folder, "exit 3")).await;
    until(&cluster, &run, ON_EXIT, v1::TaskStatus::Running).await;
    let now = cluster.client.get_run(&run).await.expect("it is live");
    assert_eq!((now.status(), now.result.as_str()), (v1::RunStatus::Running, "failed"));
    let tasks = cluster.tasks(&run).await;
    assert_eq!(tasks[ON_EXIT].hook(), v1::Hook::OnExit);
    assert_eq!(tasks[0].hook(), v1::Hook::Unspecified);
    let (_, why, _) = cluster.muster(&["explain", "hooked/1/on-exit"]);
    assert!(why.contains("failed, which the hook `onExit` follows"), "{why}");
    let refused = cluster.client.retry(&run, &Retry::default()).await.expect_err("hooks began");
    assert_eq!((refused.code(), refused.reason()), (Code::FailedPrecondition, Some("HOOKS_BEGUN")));

    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    cluster.leader().await;
    let_go(&folder);
    let (run_now, tasks) = ended(&cluster, &run).await;
    assert_eq!((run_now.status(), run_now.result.as_str()), (v1::RunStatus::Failed, "failed"));
    assert_eq!(tasks, [Succeeded, Failed, Skipped, Succeeded, Succeeded]);
    assert_eq!(noted(&folder, "failure"), "failed [work] failed\n");
    assert_eq!(noted(&folder, "exit"), "failed [work] x\n", "its attempt outlived the leader");
    assert_eq!(noted(&folder, "success"), "");

    // A retry of the run is followed by its hooks anew.
    let again = cluster.client.retry(&run, &Retry::default()).await.expect("one failed");
    let again = v1::SubmitRunResponse { number: again.number, run_id: again.run_id, ..run };
    assert_eq!(ended(&cluster, &again).await.0.status(), v1::RunStatus::Failed);
    assert_eq!(noted(&folder, "exit").lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_is_followed_by_its_exit_hook_until_it_is_cancelled_again() {
    use v1::TaskStatus::{Cancelled, Skipped, Succeeded};
    let cluster = Cluster::start(1, 1).await;
    let folder = folder(&cluster);
    let run = submit(&cluster.client, workflow(&folder, "sleep 600")).await;
    until(&cluster, &run, 1, v1::TaskStatus::Running).await;
    cluster.client.cancel(&run).await.expect("it is live");
    until(&cluster, &run, ON_EXIT, v1::TaskStatus::Running).await;
    let_go(&folder);
    let (run_now, tasks) = ended(&cluster, &run).await;
    assert_eq!(
        (run_now.status(), run_now.result.as_str()),
        (v1::RunStatus::Cancelled, "cancelled")
    );
    assert_eq!(tasks, [Succeeded, Cancelled, Skipped, Skipped, Succeeded]);
    assert_eq!(noted(&folder, "exit"), "cancelled [] x\n");
    assert_eq!(noted(&folder, "failure"), "");

    fs::remove_file(folder.join("go")).expect("it is there");
    let run = submit(&cluster.client, workflow(&folder, "sleep 600")).await;
    until(&cluster, &run, 1, v1::TaskStatus::Running).await;
    cluster.client.cancel(&run).await.expect("it is live");
    until(&cluster, &run, ON_EXIT, v1::TaskStatus::Running).await;
    cluster.client.cancel(&run).await.expect("it is live");
    let (run_now, tasks) = ended(&cluster, &run).await;
    assert_eq!(run_now.status(), v1::RunStatus::Cancelled);
    assert_eq!(tasks[ON_EXIT], Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_succeeded_is_followed_by_hooks_that_read_its_outputs() {
    let cluster = Cluster::start(1, 1).await;
    let folder = folder(&cluster);
    let_go(&folder);
    let run = submit(&cluster.client, workflow(&folder, "true")).await;
    let (run_now, tasks) = ended(&cluster, &run).await;
    assert_eq!(
        (run_now.status(), run_now.result.as_str()),
        (v1::RunStatus::Succeeded, "succeeded")
    );
    assert_eq!(tasks[ON_SUCCESS], v1::TaskStatus::Succeeded);
    assert_eq!(tasks[ON_FAILURE], v1::TaskStatus::Skipped);
    assert_eq!(noted(&folder, "success"), "succeeded [] 7\n");
}
