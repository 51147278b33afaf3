//! Watches and logs go on over broken connections, each from where it was.

use crate::fake::{Fake, Step, Then, dead_address, run};
use futures::TryStreamExt;
use muster_client::v1::RunStatus::{Running, Succeeded};
use muster_client::{Client, Code, LogTail, RunKey, RunUpdate, v1};
use tonic::Status;

fn told(revision: u64, run: Option<v1::Run>, task: Option<&str>) -> v1::WatchRunResponse {
    let tasks = task.map(|id| v1::Task { id: id.into(), ..Default::default() });
    v1::WatchRunResponse { revision, run, tasks: tasks.into_iter().collect(), is_bookmark: false }
}

fn bookmark(revision: u64) -> v1::WatchRunResponse {
    v1::WatchRunResponse { revision, is_bookmark: true, ..Default::default() }
}

fn revisions(updates: &[RunUpdate]) -> Vec<(u64, bool)> {
    updates.iter().map(|update| (update.revision, update.is_fresh)).collect()
}

#[tokio::test]
async fn a_watch_resumes_on_another_master_by_revision() {
    let first = Fake::start([Step::Watch(
        vec![told(10, Some(run(1, Running)), Some("a")), told(12, None, Some("a")), bookmark(15)],
        Then::Fail(Status::unavailable("going away")),
    )])
    .await;
    let second = Fake::start([Step::Watch(
        vec![told(20, Some(run(1, Succeeded)), None), told(20, None, Some("b"))],
        Then::End,
    )])
    .await;
    let client = Client::connect([&first.address, &second.address]).unwrap();
    let updates: Vec<_> = client.watch_run(RunKey::latest("etl")).try_collect().await.unwrap();
    assert_eq!(revisions(&updates), [(10, true), (12, false), (20, false), (20, false)]);
    let calls = second.calls.lock().unwrap();
    assert_eq!(calls.watches[0].after_revision, 15, "the bookmark counts");
    let resumed = calls.watches[0].run.as_ref().unwrap();
    assert_eq!(resumed.id, 7, "the latest run when the watch began, not now");
}

#[tokio::test]
async fn a_watch_that_fell_too_far_behind_starts_afresh() {
    let master = Fake::start([
        Step::Watch(vec![told(10, Some(run(1, Running)), None)], Then::End),
        Step::Refuse(Status::out_of_range("revision 10 is gone")),
        Step::Watch(vec![told(90, Some(run(1, Succeeded)), None)], Then::Silence),
    ])
    .await;
    let client = Client::connect([&master.address]).unwrap();
    let updates: Vec<_> = client.watch_run(RunKey::number("etl", 1)).try_collect().await.unwrap();
    assert_eq!(revisions(&updates), [(10, true), (90, true)]);
    let calls = master.calls.lock().unwrap();
    let asked: Vec<u64> = calls.watches.iter().map(|watch| watch.after_revision).collect();
    assert_eq!(asked, [0, 10, 0]);
}

#[tokio::test]
async fn a_watch_of_nothing_says_so() {
    let master = Fake::start([Step::Refuse(Status::not_found("no run etl/9"))]).await;
    let client = Client::connect([&master.address, &dead_address().await]).unwrap();
    let error = client.watch_run(RunKey::number("etl", 9)).try_next().await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[tokio::test]
async fn a_log_goes_on_where_it_was() {
    let chunk = |offset, data: &'static str| v1::TailLogResponse {
        attempt: 2,
        offset,
        data: data.as_bytes().into(),
    };
    let first = Fake::start([Step::Log(
        vec![chunk(100, "one "), chunk(104, "two ")],
        Then::Fail(Status::unavailable("going away")),
    )])
    .await;
    let second = Fake::start([Step::Log(vec![chunk(108, "three")], Then::End)]).await;
    let client = Client::connect([&first.address, &second.address]).unwrap();
    let tail = LogTail { task: "a".into(), tail_bytes: 64, follow: true, ..Default::default() };
    let chunks: Vec<_> =
        client.tail_log(RunKey::number("etl", 1), tail).try_collect().await.unwrap();
    let text: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.data).collect();
    assert_eq!(text, b"one two three");
    let calls = second.calls.lock().unwrap();
    let asked = &calls.tails[0];
    assert_eq!((asked.attempt, asked.offset, asked.tail_bytes), (2, 108, 0));
}
