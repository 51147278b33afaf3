//! Masters whose volumes are wiped, full, or somebody else's; and messages that are too large.

use std::fs;
use std::time::{Duration, Instant};

use muster_client::{Client, Code, RunKey, Submission, v1};
use muster_tests::cluster::Cluster;

const QUICK: &str = "apiVersion: v1
kind: Workflow
name: quick
tasks:
  a: {noop: {}}
  b: {noop: {}, needs: [a]}
";

async fn run_some(cluster: &Cluster, count: usize) {
    for _ in 0..count {
        let run = cluster.client.submit(Submission::source(QUICK)).await.expect("it is accepted");
        let ended =
            cluster.client.wait_run(&run, Some(Duration::from_secs(60))).await.expect("it ends");
        assert_eq!(ended.status(), v1::RunStatus::Succeeded);
    }
}

/// Waits until the master at `address` reports the same state at the same index as the leader.
async fn catch_up(cluster: &Cluster, address: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let client = cluster.client.with_deadline(Duration::from_secs(2));
        let leading = format!("http://{}", cluster.addresses[cluster.leader().await]);
        let leader = client.cluster_status_with_digest_of(&leading).await.expect("it answers");
        let status = client.cluster_status_with_digest_of(address).await;
        if let Ok(status) = &status
            && status.applied_index == leader.applied_index
            && status.state_digest.is_some()
        {
            assert_eq!(status.state_digest, leader.state_digest, "the replicas differ");
            return;
        }
        assert!(Instant::now() < until, "{status:?} does not reach {}", leader.applied_index);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_master_comes_back_by_snapshot_with_the_history() {
    let mut cluster = Cluster::start_with(3, 1, &["--snapshot-entries", "60"]).await;
    run_some(&cluster, 60).await;
    let wiped = (cluster.leader().await + 1) % 3;
    cluster.masters[wiped].kill();
    fs::remove_dir_all(cluster.path(&format!("m{wiped}"))).expect("the volume can be wiped");
    run_some(&cluster, 20).await;
    cluster.masters[wiped].restart();
    let address = format!("http://{}", cluster.addresses[wiped]);
    catch_up(&cluster, &address).await;
    let alone = Client::connect([address]).expect("well-formed");
    let status = alone.cluster_status().await.expect("it answers");
    assert!(status.snapshot_index > 0, "it came by snapshot: {status:?}");
    assert_eq!(status.members.len(), 3, "the old id is gone: {:?}", status.members);
    // Read from its own volume: the runs ended before it was wiped.
    let first = alone
        .with_stale_reads()
        .get_run(RunKey::number("quick", 1))
        .await
        .expect("it has the history");
    assert_eq!(first.status(), v1::RunStatus::Succeeded);
    run_some(&cluster, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_masters_killed_at_once_come_back_with_everything() {
    let mut cluster = Cluster::start(3, 1).await;
    run_some(&cluster, 10).await;
    let slow = "apiVersion: v1\nkind: Workflow\nname: slow\ntasks:\n  a: {command: [sleep, '3']}\n";
    let run = cluster.client.submit(Submission::source(slow)).await.expect("it is accepted");
    for master in &mut cluster.masters {
        master.kill();
    }
    for master in &mut cluster.masters {
        master.restart();
    }
    cluster.settle(1).await;
    let ended =
        cluster.client.wait_run(&run, Some(Duration::from_secs(60))).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Succeeded);
    let first =
        cluster.client.get_run(RunKey::number("quick", 1)).await.expect("the history is there");
    assert_eq!(first.status(), v1::RunStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_nothing_is_lost() {
    let cluster = Cluster::start(1, 1).await;
    run_some(&cluster, 1).await;
    let large = format!("{QUICK}# {}", "x".repeat(10 << 20));
    let refused = cluster.client.submit(Submission::source(large)).await.expect_err("10 MB");
    assert!(
        matches!(
            refused.code(),
            Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument
        ),
        "{refused}"
    );
    let many: String =
        (0..100_000).map(|number| format!("  t{number}: {{noop: {{}}}}\n")).collect();
    let file = cluster.path("many.yaml");
    fs::write(&file, format!("apiVersion: v1\nkind: Workflow\nname: many\ntasks:\n{many}"))
        .expect("written");
    let (code, _, err) = cluster.muster(&["run", "-f", &file.to_string_lossy()]);
    assert!(code == 2 && err.contains("10000"), "100,000 tasks: {code} {err}");
    run_some(&cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_folders_and_addresses_are_refused_by_name() {
    let one = Cluster::start(1, 0).await;
    // A folder that another master holds.
    let held = one.path("m0").to_string_lossy().into_owned();
    let (code, _, err) = one.muster_on(
        "",
        &[
            "master",
            "start",
            "--name",
            "x",
            "--listen",
            "127.0.0.1:0",
            "--peer-listen",
            "127.0.0.1:0",
            "--data-dir",
            &held,
        ],
    );
    assert!(code == 1 && err.contains(&held), "a folder in use: {code} {err}");
    // Beyond loopback without a word.
    let fresh = one.path("fresh").to_string_lossy().into_owned();
    let (code, _, err) =
        one.muster_on("", &["master", "start", "--listen", "0.0.0.0:0", "--data-dir", &fresh]);
    assert!(code != 0 && err.contains("--insecure"), "an exposed address: {code} {err}");
}
