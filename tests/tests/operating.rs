//! Changing runs that are live, on a whole cluster: as the documentation shows it, and on any master.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use muster_client::{Client, Code, Retry, RetryScope, RunKey, Submission, v1};
use muster_tests::cluster::Cluster;

/// What a page of the documentation has a reader do.
#[derive(Debug)]
enum Step {
    /// Apply a workflow.
    Apply(String),
    /// Run a command line, which ends with this code and says each of these.
    Run(String, i32, Vec<String>),
}

/// The workflows and command lines of a page, in order.
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut block: Option<&str> = None;
    for line in text.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some("yaml")) => {
                block = Some("yaml");
                steps.push(Step::Apply(String::new()));
            }
            (None, Some(kind)) => block = Some(kind),
            (Some(_), Some(_)) => block = None,
            (Some("yaml"), None) => {
                if let Some(Step::Apply(workflow)) = steps.last_mut() {
                    workflow.push_str(line);
                    workflow.push('\n');
                }
            }
            (Some("console"), None) => match (line.strip_prefix("$ muster "), steps.last_mut()) {
                (Some(command), _) => {
                    let (command, code) =
                        command.split_once("# exit code ").unwrap_or((command, "0"));
                    let code = code.parse().expect("a number");
                    steps.push(Step::Run(command.to_owned(), code, Vec::new()));
                }
                (None, Some(Step::Run(_, _, said))) => said.push(line.to_owned()),
                (None, _) => panic!("`{line}` follows no command"),
            },
            (Some(_) | None, _) => {}
        }
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_can_be_followed() {
    follow("operating-runs.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_of_approvals_can_be_followed() {
    follow("approvals.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_of_hooks_can_be_followed() {
    follow("hooks.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_of_sub_workflows_can_be_followed() {
    follow("sub-workflows.md").await;
}

/// Does what a page of the documentation shows, on a cluster of its own.
async fn follow(page: &str) {
    let cluster = Cluster::start(1, 1).await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = fs::read_to_string(page).expect("the page is there");
    let mut commands = 0;
    for step in steps(&text) {
        match step {
            Step::Apply(workflow) => {
                cluster.client.apply(workflow).await.expect("the workflow is well-formed");
            }
            Step::Run(command, ends_with, wanted) => {
                let words: Vec<&str> = command.split_whitespace().collect();
                let (code, out, err) = cluster.muster(&words);
                let said = format!("{out}{err}");
                assert_eq!(code, ends_with, "`muster {command}`: {said}");
                let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                for line in wanted {
                    let is_said = plain(&said).contains(&plain(&line));
                    assert!(is_said, "`muster {command}` says\n{said}and not `{line}`");
                }
                commands += 1;
            }
        }
    }
    assert!(commands >= 10, "{commands} commands were found");
}

/// Long enough for a command line on a busy machine.
const TWO_STEPS: &str = "\
apiVersion: v1
kind: Workflow
name: two-steps
tasks:
  first: {run: sleep 3}
  then: {needs: [first], noop: {}}
";

async fn submit(client: &Client, manifest: &str) -> v1::SubmitRunResponse {
    client.submit(Submission::source(manifest)).await.expect("it is accepted")
}

impl Steered {
    async fn start(masters: usize) -> Steered {
        let cluster = Cluster::start(masters, 1).await;
        let leader = cluster.leader().await;
        let other = &cluster.addresses[(leader + 1) % masters];
        let follower = Client::connect([format!("http://{other}")]).expect("an address");
        Steered { cluster, follower }
    }

    /// Waits until a task of a run has a status.
    async fn until(&self, run: &v1::SubmitRunResponse, task: usize, status: v1::TaskStatus) {
        let is_it = async {
            while self.cluster.tasks(run).await[task].status() != status {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), is_it).await;
        assert!(
            waited.is_ok(),
            "task {task} is not {status:?}: {:?}",
            self.cluster.tasks(run).await
        );
    }
}

/// A cluster, and a client of a master that does not lead.
struct Steered {
    cluster: Cluster,
    follower: Client,
}

/// Asked of a follower; what is live goes on, and what becomes ready by it is not placed.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_keeps_what_is_ready_from_workers() {
    let it = Steered::start(3).await;
    let run = submit(&it.follower, TWO_STEPS).await;
    it.until(&run, 0, v1::TaskStatus::Running).await;
    it.follower.pause(&run, true).await.expect("it is paused");
    it.follower.prioritize(&run, 5).await.expect("it has another priority");
    it.until(&run, 1, v1::TaskStatus::Ready).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    it.until(&run, 1, v1::TaskStatus::Ready).await;
    let paused = it.follower.get_run(&run).await.expect("it is there");
    assert_eq!((paused.status(), paused.priority), (v1::RunStatus::Paused, 5));
    assert!(paused.paused_at_ms >= paused.begun_at_ms);
    let (_, why, _) = it.cluster.muster(&["explain", "two-steps/1/then"]);
    assert!(why.contains("The run has been paused for"), "{why}");
    it.follower.pause(&run, false).await.expect("it goes on");
    let ended = it.follower.wait_run(&run, None).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Succeeded);
    let refused = it.follower.pause(&run, true).await.expect_err("it has ended");
    assert_eq!((refused.code(), refused.reason()), (Code::NotFound, Some("RUN_NOT_LIVE")));
}

/// The second attempt of `left` succeeds: its number goes on in the new round.
const TWO_LEGS: &str = "\
apiVersion: v1
kind: Workflow
name: two-legs
tasks:
  left: {run: 'test $MUSTER_ATTEMPT -gt 1'}
  right: {run: sleep 4}
  kept: {run: 'echo rows=$MUSTER_FENCE >> $MUSTER_OUTPUT', outputs: [rows]}
  join: {needs: [left, right], run: exit 9}
";

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_runs_again_in_place_and_later_in_another_run() {
    let it = Steered::start(3).await;
    let run = submit(&it.follower, TWO_LEGS).await;
    it.until(&run, 0, v1::TaskStatus::Failed).await;
    let retried = it.follower.retry(&run, &Retry::default()).await.expect("left failed");
    assert_eq!((retried.is_new, retried.number), (false, run.number));
    let ended = it.follower.wait_run(&run, None).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Failed, "{ended:?}");
    let before = it.cluster.tasks(&run).await;
    assert_eq!((before[0].status(), before[0].attempts), (v1::TaskStatus::Succeeded, 2));

    let again = it.follower.retry(&run, &Retry::default()).await.expect("join failed");
    assert!(again.is_new && again.number == run.number + 1, "{again:?}");
    let key = RunKey::number(&again.workflow, again.number);
    let ended = it.follower.wait_run(key.clone(), None).await.expect("it ends");
    assert_eq!((ended.status(), ended.retry_of_number), (v1::RunStatus::Failed, run.number));
    let after: Vec<v1::Task> =
        it.follower.list_tasks(key.clone(), &[]).try_collect().await.expect("they can be listed");
    assert_eq!(after[2].outputs, before[2].outputs, "what succeeded is taken over");
    assert_eq!((after[2].attempts, after[3].attempts), (0, 1), "{after:?}");

    let only = Retry { scope: RetryScope::Only("right".into()), ..Retry::default() };
    let alone = it.follower.retry(key.clone(), &only).await.expect("right needs nothing");
    let alone = RunKey::number(&alone.workflow, alone.number);
    it.follower
        .end_task(alone.clone(), "right", v1::TaskStatus::Cancelled)
        .await
        .expect("it is live");
    let ended = it.follower.wait_run(alone, None).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Cancelled);
    let none = Retry { scope: RetryScope::From("nobody".into()), ..Retry::default() };
    let refused = it.follower.retry(key, &none).await.expect_err("there is no such task");
    assert_eq!(refused.reason(), Some("TASK_NOT_FOUND"));
}
