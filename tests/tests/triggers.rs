//! Workflows that follow each other, on clusters whose leaders die meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt as _;
use muster_client::{Client, Code, RunFilter, Submission, v1};
use muster_tests::cluster::Cluster;

fn workflow(name: &str, more: &str, task: &str) -> String {
    format!("apiVersion: v1\nkind: Workflow\nname: {name}\n{more}\ntasks:\n  t: {task}\n")
}

async fn apply(client: &Client, name: &str, more: &str, task: &str) {
    client.apply(workflow(name, more, task)).await.expect("it is accepted");
}

async fn runs(client: &Client, workflow: &str) -> Vec<v1::Run> {
    let filter = RunFilter { workflow: workflow.to_owned(), ..RunFilter::default() };
    client.list_runs(filter).try_collect().await.expect("runs can be listed")
}

async fn triggers(client: &Client, workflow: &str) -> Vec<v1::Trigger> {
    let listed = client.list_triggers(Some(workflow));
    listed.try_collect().await.expect("triggers can be listed")
}

fn has_ended(run: &v1::Run) -> bool {
    run.ended_at_ms > 0
}

/// Waits until so many runs of a workflow have ended, and no other is live.
async fn until_ended(client: &Client, workflow: &str, count: usize) -> Vec<v1::Run> {
    let is_it = async {
        loop {
            let runs = runs(client, workflow).await;
            if runs.len() >= count && runs.iter().all(has_ended) {
                return runs;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), is_it).await;
    waited.unwrap_or_else(|_| panic!("not {count} runs of {workflow} ended in a minute"))
}

/// The leader is killed again and again around the ends of runs. Each end makes one run, and one after that.
#[tokio::test(flavor = "multi_thread")]
async fn each_end_makes_one_run_while_leaders_die() {
    const RUNS: usize = 30;
    let mut cluster = Cluster::start(3, 2).await;
    let client = cluster.client.clone();
    let task = "{run: 'sleep 0.3', resources: {cpu: 10m}}";
    apply(&client, "up", "", task).await;
    apply(&client, "middle", "triggers: {after: up}", "{noop: {}, resources: {cpu: 10m}}").await;
    apply(&client, "down", "triggers: {after: middle, on: end}", "{noop: {}}").await;
    let submitted = tokio::spawn({
        let client = client.clone();
        async move {
            for _ in 0..RUNS {
                client.submit(Submission::workflow("up")).await.expect("it is accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let leader = cluster.leader().await;
        cluster.masters[leader].kill();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        cluster.masters[leader].restart();
    }
    submitted.await.expect("all were submitted");
    for (upstream, workflow) in [("up", "middle"), ("middle", "down")] {
        let before: BTreeSet<u64> =
            until_ended(&client, upstream, RUNS).await.iter().map(|run| run.number).collect();
        let followed = until_ended(&client, workflow, RUNS).await;
        let causes = followed.iter().map(|run| {
            let cause = run.trigger.as_ref().expect("it follows another");
            assert_eq!((&*cause.workflow, &*cause.result), (upstream, "succeeded"), "{run:?}");
            cause.number
        });
        let causes: Vec<u64> = causes.collect();
        assert_eq!(causes.iter().copied().collect::<BTreeSet<_>>(), before, "each end once");
        assert_eq!(causes.len(), RUNS, "and none twice");
        let trigger = &triggers(&client, workflow).await[0];
        assert_eq!((trigger.fired, trigger.passed_over), (RUNS as u64, 0), "{trigger:?}");
    }
}

/// What a task is told of the run that it follows, and what people are told of both.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_knows_what_it_follows() {
    let cluster = Cluster::start(1, 1).await;
    let client = &cluster.client;
    let says = "{run: 'echo \"$MUSTER_TRIGGER_RUN $MUSTER_TRIGGER_RESULT $MUSTER_FIRE_TIME.\"'}";
    let more = "triggers: [{name: bad, after: up, on: failure}, {name: other, after: none}]";
    apply(client, "alarm", more, says).await;
    apply(client, "up", "", "{run: 'exit 3'}").await;
    let up = client.submit(Submission::workflow("up")).await.expect("it is accepted");
    let up = client.wait_run(&up, Some(Duration::from_secs(60))).await.expect("it ends");
    let alarm = until_ended(client, "alarm", 1).await.remove(0);
    assert_eq!(alarm.fire_time_ms, up.submitted_at_ms, "it is about what the other is about");
    assert!(alarm.asked_by.is_none(), "{alarm:?}");
    let (_, said, _) = cluster.muster(&["logs", "alarm/1/t"]);
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..2], ["up/1", "failed"], "{said}");
    let at = muster_calendar::moment(words[2].trim_end_matches('.')).expect("a time");
    assert_eq!(at.0, up.submitted_at_ms / 1000 * 1000, "{said}");
    // A run that follows nothing has the variables all the same.
    client.submit(Submission::workflow("alarm")).await.expect("it is accepted");
    until_ended(client, "alarm", 2).await;
    let (_, said, _) = cluster.muster(&["logs", "alarm/2/t"]);
    assert_eq!(said.split_whitespace().count(), 1, "{said}");

    let (_, shown, _) = cluster.muster(&["describe", "run", "alarm/1"]);
    assert!(shown.contains("up/1, which failed (trigger bad)"), "{shown}");
    let (_, shown, _) = cluster.muster(&["describe", "workflow", "alarm"]);
    assert!(shown.contains("bad: after up, on failure; 1 fired, 0 passed over"), "{shown}");
    let (_, shown, _) = cluster.muster(&["describe", "workflow", "up"]);
    assert!(shown.contains("Followed by") && shown.contains("alarm"), "{shown}");
    let (_, shown, _) = cluster.muster(&["get", "triggers", "-o", "name"]);
    assert_eq!(shown, "alarm/bad\nalarm/other\n");
    let (_, shown, _) = cluster.muster(&["get", "runs", "alarm/1", "-o", "wide"]);
    assert!(shown.contains("up/1"), "{shown}");
}

/// What cannot be applied, what `plan` remarks, and triggers that are switched off.
#[tokio::test(flavor = "multi_thread")]
async fn circles_are_refused_and_triggers_can_be_switched_off() {
    let cluster = Cluster::start(3, 1).await;
    let client = &cluster.client;
    apply(client, "b", "triggers: {after: a}", "{noop: {}}").await;
    let circle = || workflow("a", "triggers: {after: b}", "{noop: {}}");
    for error in [
        client.apply(circle()).await.map(|_| ()).expect_err("a circle"),
        client.plan(circle()).await.map(|_| ()).expect_err("a circle"),
    ] {
        assert_eq!(
            (error.code(), error.reason()),
            (Code::FailedPrecondition, Some("TRIGGER_CYCLE"))
        );
        assert!(error.to_string().contains("a after b after a"), "{error}");
    }
    let planned = client.plan(workflow("c", "triggers: {after: nobody}", "{noop: {}}"));
    let remarks = planned.await.expect("it can be planned").remarks;
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].contains("`nobody` is not applied"), "{remarks:?}");
    apply(client, "a", "", "{noop: {}}").await;
    for is_suspended in [true, false] {
        client
            .suspend_schedule("b", Some("trigger-1"), is_suspended)
            .await
            .expect("it is switched");
        assert_eq!(triggers(client, "b").await[0].is_suspended, is_suspended);
        let run = client.submit(Submission::workflow("a")).await.expect("it is accepted");
        client.wait_run(&run, Some(Duration::from_secs(60))).await.expect("it ends");
    }
    let followed = until_ended(client, "b", 1).await;
    let cause = followed[0].trigger.as_ref().expect("it follows another");
    assert_eq!((followed.len(), cause.number), (1, 2), "the first end was not followed");
    for (word, state) in [("suspend", "suspended"), ("resume", "active")] {
        let (code, _, said) = cluster.muster(&["schedule", word, "b/trigger-1"]);
        assert_eq!(code, 0, "{said}");
        let (_, shown, _) = cluster.muster(&["get", "triggers", "b"]);
        assert!(shown.contains(state), "{shown}");
    }
    let unknown = client.suspend_schedule("b", Some("trigger-2"), true).await;
    assert_eq!(unknown.expect_err("there is no such trigger").code(), Code::NotFound);
}
