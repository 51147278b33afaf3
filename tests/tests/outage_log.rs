//! What a leader's log says while a peer is down: that it is away, and that it is back.

use std::time::Duration;

use muster_client::Submission;
use muster_tests::cluster::Cluster;

const SMALL: &str = "
apiVersion: v1
kind: Workflow
name: small
tasks:
  t: {run: 'true'}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_down_costs_two_lines() {
    // So few entries are kept that the peer needs a snapshot, which is tried again and again.
    let mut cluster = Cluster::start_with(3, 0, &["--snapshot-entries", "5"]).await;
    let leader = cluster.leader().await;
    let gone = (leader + 1) % 3;
    cluster.masters[gone].kill();
    for _ in 0..30 {
        cluster.client.submit(Submission::source(SMALL)).await.expect("a majority is there");
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let peer = format!("peer=\"m{gone}\"");
    let said = |cluster: &Cluster, what: &str| {
        let output = cluster.masters[leader].output();
        output.lines().filter(|line| line.contains(&peer) && line.contains(what)).count()
    };
    assert_eq!(said(&cluster, "the peer cannot be reached"), 1);
    assert!(said(&cluster, "") <= 3, "{}", cluster.masters[leader].output());

    cluster.masters[gone].restart();
    let mut looks = 0;
    while said(&cluster, "the peer can be reached again") == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        looks += 1;
        assert!(looks < 300, "it is back");
    }
    assert_eq!(said(&cluster, "the peer can be reached again"), 1);
}
