//! Who leads, as callers are told: leadership moves once a call.

use muster_client::{Client, v1};
use muster_tests::cluster::Cluster;

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
