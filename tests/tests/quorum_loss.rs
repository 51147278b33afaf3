//! The majority stops for a moment, or for good: callers are told soon, and no outcome is forgotten.

use std::time::{Duration, Instant};

use futures::future::join_all;
use muster_client::v1::run_service_client::RunServiceClient;
use muster_client::{Code, Submission, v1};
use muster_tests::cluster::Cluster;

/// Tasks that end all the time for some seconds.
const BUSY: &str = "
apiVersion: v1
kind: Workflow
name: busy
tasks:
  t:
    array: 0-99
    resources: {cpu: 2000m}
    run: sleep 0.2
";

const SMALL: &str = "
apiVersion: v1
kind: Workflow
name: small
tasks:
  t: {run: 'true'}
";

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_reported_while_no_majority_answers_are_not_forgotten() {
    let mut cluster = Cluster::start(3, 1).await;
    let leader = cluster.leader().await;
    let (gone, frozen) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.masters[gone].kill();
    let run = cluster.client.submit(Submission::source(BUSY)).await.expect("it is accepted");
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Longer than the leader's own lease, so that it refuses the reports, and shorter than what ends a session.
    cluster.masters[frozen].signal("STOP");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    cluster.masters[frozen].signal("CONT");
    let ended = cluster.client.wait_run(&run, Some(Duration::from_secs(30))).await;
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => panic!("{error}: {:#?}", cluster.client.get_run(&run).await),
    };
    assert_eq!(ended.status(), v1::RunStatus::Succeeded, "{:?}", ended.tally);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_fail_in_bounded_time_without_a_majority() {
    let cluster = Cluster::start(3, 0).await;
    let leader = cluster.leader().await;
    let address = format!("http://{}", cluster.addresses[leader]);
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.masters[follower].signal("STOP");
    }
    // One after the other, so that more entries are on their way than the leader keeps at once; and without a client
    // that gives up by itself.
    let submit = |at: u64| {
        let address = address.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10 * at)).await;
            let mut runs = RunServiceClient::connect(address).await.expect("the leader listens");
            let manifest = v1::workflow_source::Source::Manifest(SMALL.to_owned());
            let source = v1::WorkflowSource { source: Some(manifest) };
            let what = Some(v1::submit_run_request::What::Source(source));
            runs.submit_run(v1::SubmitRunRequest { what, ..Default::default() }).await
        })
    };
    let submitted = tokio::time::timeout(Duration::from_secs(9), join_all((0..40).map(submit)));
    for submitted in submitted.await.expect("all are answered in bounded time") {
        let status = submitted.expect("nothing panics").expect_err("nobody can have confirmed it");
        assert!(format!("{:?}", status.code()) == "Unavailable", "{status:?}");
    }
    let started = Instant::now();
    submit(0).await.expect("nothing panics").expect_err("still no majority");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.masters[follower].signal("CONT");
    }
    let client = cluster.client.with_deadline(Duration::from_secs(20));
    client.submit(Submission::source(SMALL)).await.expect("a majority is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_told_at_once_that_there_is_too_much_to_do() {
    /// Four times 1,024 submissions wait at most, and twice 1,024 are on their way.
    const ADMITTED_MAX: usize = 6 * 1024;
    const CROWD: usize = 7_500;
    let cluster = Cluster::start(3, 0).await;
    let leader = cluster.leader().await;
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.masters[follower].signal("STOP");
    }
    let address = format!("http://{}", cluster.addresses[leader]);
    let runs = RunServiceClient::connect(address).await.expect("the leader listens");
    let submit = |_| {
        let mut runs = runs.clone();
        tokio::spawn(async move {
            let what = v1::submit_run_request::What::Workflow("no-such-workflow".to_owned());
            let request = v1::SubmitRunRequest { what: Some(what), ..Default::default() };
            runs.submit_run(request).await.expect_err("nobody can have confirmed it")
        })
    };
    let told = join_all((0..CROWD).map(submit)).await;
    let told = told.into_iter().map(|it| it.expect("nothing panics"));
    let refused: Vec<_> = told.filter(|it| it.code() == Code::ResourceExhausted).collect();
    assert!(refused.len() >= CROWD - ADMITTED_MAX, "{}", refused.len());
    for status in refused {
        let details = String::from_utf8_lossy(status.details());
        assert!(details.contains("OVERLOADED"), "it does not say why: {status:?}");
        assert!(details.contains("google.rpc.RetryInfo"), "it does not say when: {status:?}");
    }
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.masters[follower].signal("CONT");
    }
    let client = cluster.client.with_deadline(Duration::from_secs(20));
    client.submit(Submission::source(SMALL)).await.expect("a majority is back");
}
