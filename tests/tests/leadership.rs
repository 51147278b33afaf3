//! Who leads, as callers are told: leadership moves once a call, and a leader that is gone leads no more.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use muster_client::{Client, v1};
use muster_tests::cluster::Cluster;

/// A silent leader is none after two seconds, and a busy machine takes some more.
const SILENCE: Duration = Duration::from_secs(6);

/// What the master at `at` says, asked alone.
async fn status_of(cluster: &Cluster, at: usize) -> v1::GetClusterStatusResponse {
    let client = Client::connect([&cluster.addresses[at]]).expect("the address is well-formed");
    client.cluster_status().await.expect("it answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_once_whomever_one_asks() {
    // Elections that nobody asked for would be counted too.
    let cluster = Cluster::start_with(3, 0, &["--slow-disk"]).await;
    for round in 0..12 {
        let leader = cluster.leader().await;
        let before = status_of(&cluster, leader).await.term;
        let asked = (leader + round % 3) % 3;
        let client = Client::connect([&cluster.addresses[asked]]).expect("it is well-formed");
        let told = client.transfer_leader("").await.expect("all masters are well");
        let leader = cluster.leader().await;
        let after = status_of(&cluster, leader).await;
        assert_eq!(after.term, before + 1, "round {round}: leadership moved more than once");
        assert_eq!(after.leader_id, told, "round {round}: another leads than was told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_gone_is_none_without_a_majority() {
    let mut cluster = Cluster::start(3, 0).await;
    let leader = cluster.leader().await;
    let (gone, left) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.masters[gone].kill();
    cluster.masters[leader].kill();
    is_leaderless(&cluster, left).await;
    let (code, out, _) = cluster.muster(&["cluster", "status"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("a majority of the masters is gone"), "{out}");
    assert!(!out.contains("leader "), "nobody has that role: {out}");
    let client = Client::connect([&cluster.addresses[left]]).expect("it is well-formed");
    let client = client.with_deadline(Duration::from_secs(1));
    let refusal = client.list_workers().next().await.expect("an answer").expect_err("no majority");
    let refusal = refusal.to_string();
    assert!(refusal.contains("no leader is known"), "{refusal}");
    assert!(!refusal.contains(&cluster.addresses[leader]), "{refusal}");

    cluster.masters[leader].restart();
    cluster.leader().await;
    assert_ne!(status_of(&cluster, left).await.leader_id, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_nobody_follows_is_none_in_its_own_eyes() {
    let cluster = Cluster::start(3, 0).await;
    let leader = cluster.leader().await;
    let term = status_of(&cluster, leader).await.term;
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    for follower in followers {
        cluster.masters[follower].signal("STOP");
    }
    is_leaderless(&cluster, leader).await;
    for follower in followers {
        cluster.masters[follower].signal("CONT");
    }
    let again = cluster.leader().await;
    assert!(status_of(&cluster, again).await.term >= term);
}

/// Waits until the master at `at` says that nobody leads.
async fn is_leaderless(cluster: &Cluster, at: usize) {
    let started = Instant::now();
    loop {
        let status = status_of(cluster, at).await;
        if status.leader_id == 0 && status.members.iter().all(|member| !member.is_leader) {
            return;
        }
        assert!(started.elapsed() < SILENCE, "{} still leads", status.leader_id);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
