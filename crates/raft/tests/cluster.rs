//! Three masters over loopback: election, replication, crashes, wiped volumes, leadership transfer.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_raft::{ProposeError, Role};
use support::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_master_forms_a_cluster_and_keeps_its_data() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    for i in 0..20 {
        cluster.write(&format!("set k{i} v{i}")).await;
    }
    let (id, cluster_id) = (cluster.node(0).member_id(), cluster.node(0).cluster_id());
    let term = cluster.node(0).status().term;
    assert!(cluster_id.is_some());
    cluster.kill(0).await;
    cluster.start(0).await;
    assert_eq!((cluster.node(0).member_id(), cluster.node(0).cluster_id()), (id, cluster_id));
    let leader = cluster.leader().await;
    let index = cluster.node(leader).linearizable().await.expect("it leads");
    cluster.node(leader).wait_applied(index).await.expect("it runs");
    assert_eq!(cluster.maps(0).all().len(), 20);
    assert!(cluster.node(0).status().term > term, "a restarted leader is elected anew");
    let late = cluster.node(0).propose_in(term, Bytes::from_static(b"set late 1")).await;
    assert!(
        matches!(late, Err(ProposeError::NotLeader { .. })),
        "what was decided in an earlier term is not carried out: {late:?}"
    );
    assert!(!cluster.maps(0).all().contains_key("late"));
    assert_eq!(cluster.node(0).last_quorum_ack(), Some(0));
    cluster.node(0).shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_masters_survive_the_loss_of_one() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    match cluster.node(follower).propose(Bytes::from_static(b"set b 2")).await {
        Err(ProposeError::NotLeader { leader: Some(hint) }) => {
            assert_eq!(hint.peer.name, format!("muster-{leader}"));
        }
        other => panic!("expected a hint at the leader, got {other:?}"),
    }
    assert!(cluster.node(follower).linearizable().await.is_err());
    assert!(cluster.node(leader).last_quorum_ack().expect("it leads") < 1_000);

    let started = Instant::now();
    cluster.kill(leader).await;
    cluster.write("set b 2").await;
    println!("killed leader to next write: {:?}", started.elapsed());
    for i in 0..200 {
        cluster.write(&format!("set k{i} v")).await;
    }
    cluster.start(leader).await;
    cluster.converge().await;
    assert_eq!(cluster.maps(leader).all().len(), 202);
    let status = cluster.node(cluster.leader().await).status();
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.members.iter().filter(|member| member.is_voter).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_writes_fail_and_come_back() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    let leader = cluster.leader().await;
    for other in (0..3).filter(|at| *at != leader) {
        cluster.kill(other).await;
    }
    eventually("refusal", async || {
        let node = cluster.node(leader);
        let proposal = node.propose(Bytes::from_static(b"set b 2"));
        let result = tokio::time::timeout(Duration::from_millis(500), proposal).await;
        matches!(result, Ok(Err(ProposeError::Unavailable(_) | ProposeError::NotLeader { .. })))
    })
    .await;
    assert!(cluster.node(leader).linearizable().await.is_err());
    cluster.start((leader + 1) % 3).await;
    cluster.write("set c 3").await;
    cluster.converge().await;
    assert_eq!(cluster.maps(leader).get("c").as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_without_an_election_timeout() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let started = Instant::now();
    let new = cluster.node(leader).transfer_leader(None).await.expect("both followers are healthy");
    println!("handed over in {:?}", started.elapsed());
    assert_ne!(new.id, cluster.node(leader).member_id());
    cluster.write("set b 2").await;
    let leader = cluster.leader().await;
    let started = Instant::now();
    cluster.node(leader).shutdown().await;
    cluster.masters[leader] = None;
    cluster.write("set c 3").await;
    println!("shutdown of the leader to next write: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_master_joins_again_by_snapshot_with_its_history() {
    let mut cluster = Cluster::new(3, |config| {
        config.snapshots.every_entries = 100;
        config.snapshots.keep_entries = 10;
    });
    cluster.start_all().await;
    for i in 0..150 {
        cluster.write(&format!("set k{i} v{i}")).await;
    }
    cluster.write("end 7 7").await;
    cluster.write("prune all").await;
    for run in (1..=300).filter(|run| *run != 7) {
        cluster.write(&format!("end {run} {run}")).await;
    }
    cluster.converge().await;
    let leader = cluster.leader().await;
    let wiped = (leader + 1) % 3;
    let old_id = cluster.node(wiped).member_id();
    cluster.kill(wiped).await;
    cluster.wipe(wiped);
    eventually("a purged log", async || cluster.node(leader).status().purged_index > 100).await;

    cluster.start(wiped).await;
    let new_id = cluster.node(wiped).member_id();
    assert_ne!(new_id, old_id, "a wiped master must not vote under its old id");
    eventually("membership", async || {
        let status = cluster.node(leader).status();
        let is = |id| status.members.iter().any(|m| m.member.id == id && m.is_voter);
        is(new_id) && !is(old_id) && status.members.len() == 3
    })
    .await;
    cluster.write("set last 1").await;
    cluster.converge().await;
    assert_eq!(cluster.node(wiped).cluster_id(), cluster.node(leader).cluster_id());
    assert!(cluster.node(wiped).status().snapshot_index > 100, "it came by snapshot");
    let history = cluster.node(wiped).history();
    for run in (1..=300).filter(|run| *run != 7) {
        let item = history.get(run).expect("readable").expect("it was brought along");
        assert_eq!(item.bytes, format!("run {run}"));
    }
    assert_eq!(history.get(7).expect("readable"), None);
    let page = history.page(None, 10).expect("readable");
    assert_eq!(
        page.iter().map(|item| item.run_id).collect::<Vec<_>>(),
        (291..=300).rev().collect::<Vec<_>>()
    );
    let found = history.find("default", "etl", 42).expect("readable").expect("it is there");
    assert_eq!(found.run_id, 42);

    // The new member counts: with it and one other there is a majority.
    let third = (leader + 2) % 3;
    cluster.kill(third).await;
    cluster.write("set majority 1").await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_pruned_meanwhile_is_gone_after_a_snapshot_from_a_peer() {
    let mut cluster = Cluster::new(3, |config| {
        config.snapshots.every_entries = 100;
        config.snapshots.keep_entries = 10;
    });
    cluster.start_all().await;
    cluster.write("end 7 7").await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let late = (leader + 1) % 3;
    assert!(cluster.node(late).history().get(7).expect("readable").is_some());
    cluster.kill(late).await;
    cluster.write("prune all").await;
    cluster.write("end 8 8").await;
    for i in 0..300 {
        cluster.write(&format!("set k{i} v{i}")).await;
    }
    eventually("a purged log", async || cluster.node(leader).status().purged_index > 100).await;

    cluster.start(late).await;
    cluster.converge().await;
    assert!(cluster.node(late).status().snapshot_index > 100, "it came by snapshot");
    let history = cluster.node(late).history();
    assert!(history.get(8).expect("readable").is_some(), "it ended later");
    eventually("forgotten", async || history.get(7).expect("readable").is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_voters_that_nobody_ended_is_ended_by_the_leader() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let gone_at = (leader + 1) % 3;
    let gone = cluster.node(gone_at).member_id();
    let stays = [leader, (leader + 2) % 3].map(|at| cluster.node(at).member_id());
    // Alive it would ask to join again.
    cluster.kill(gone_at).await;
    cluster.node(leader).half_replace_voters(stays.into()).await.expect("it begins");
    assert!(cluster.node(leader).members().contains_key(&gone), "half done, the old ones count");
    eventually("the other half", async || {
        let leader = cluster.leader().await;
        cluster.node(leader).members().into_keys().collect::<BTreeSet<_>>() == stays.into()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_proposals_all_arrive_once_and_everywhere() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader).clone();
    let started = Instant::now();
    let proposals = (0..2_000).map(|i| {
        let node = node.clone();
        tokio::spawn(async move { node.propose(Bytes::from(format!("set p{i} {i}"))).await })
    });
    let mut indexes = Vec::new();
    for task in proposals.collect::<Vec<_>>() {
        let done = task.await.expect("no panic").expect("the leader stays");
        assert_eq!(done.reply.take::<Option<String>>(), Some(None), "each key is written once");
        indexes.push(done.index);
    }
    println!("2,000 proposals in {:?}", started.elapsed());
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 2_000);
    cluster.converge().await;
    assert_eq!(cluster.maps(leader).all().len(), 2_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_masters_come_back_on_new_addresses() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    cluster.converge().await;
    let cluster_id = cluster.node(0).cluster_id();
    for at in 0..3 {
        cluster.kill(at).await;
    }
    cluster.move_to_new_ports();
    cluster.start_all().await;
    cluster.write("set b 2").await;
    cluster.converge().await;
    assert_eq!(cluster.node(0).cluster_id(), cluster_id);
    assert_eq!(cluster.maps(2).get("a").as_deref(), Some("1"));
    eventually("the new addresses in the membership", async || {
        let members = cluster.node(0).members();
        let known: Vec<&str> = members.values().map(|m| m.peer.peer_address.as_str()).collect();
        cluster.configs.iter().all(|config| known.contains(&config.peer_address.as_str()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namesake_of_a_live_master_is_not_let_in() {
    let mut cluster = Cluster::new(3, |_| {});
    let mut intruder = Cluster::new(1, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    cluster.converge().await;
    let before = cluster.node(0).members();
    assert_eq!(before.len(), 3);
    // It calls itself muster-0 as well, and knows the others.
    intruder.configs[0].peers.extend_from_slice(&cluster.configs[0].peers[1..]);
    intruder.start(0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.write("set b 2").await;
    assert_eq!(cluster.node(0).members(), before);
    assert!(intruder.maps(0).all().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_refuses_work_and_stays_readable() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    cluster.write("set a 1").await;
    cluster.kill(0).await;
    cluster.configs[0].limits.disk_free_bytes_min = u64::MAX;
    cluster.start(0).await;
    cluster.leader().await;
    let node = cluster.node(0);
    match node.propose(Bytes::from_static(b"set b 2")).await {
        Err(ProposeError::Unavailable(reason)) => {
            let dir = cluster.dir(0);
            assert!(reason.contains(dir.to_str().expect("a plain path")), "{reason}");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    let index = node.linearizable().await.expect("readable");
    node.wait_applied(index).await.expect("it runs");
    assert_eq!(cluster.maps(0).get("a").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_cannot_be_applied_stops_the_master() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    let index = cluster.write("set a 1").await + 1;
    let node = cluster.node(0);
    let proposal = node.propose(Bytes::from_static(b"gibberish")).await;
    assert!(matches!(proposal, Err(ProposeError::Stopped(_))), "{proposal:?}");
    let fault = tokio::time::timeout(Duration::from_secs(5), node.fatal()).await;
    let fault = fault.expect("reported at once").to_string();
    assert!(fault.contains(&index.to_string()) && fault.contains("gibberish"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_that_its_caller_gives_up_does_not_stop_writes() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    for round in 0..6u64 {
        let leader = cluster.leader().await;
        let patience = Duration::from_micros(200 * (round + 1));
        let _given_up =
            tokio::time::timeout(patience, cluster.node(leader).transfer_leader(None)).await;
    }
    // Whoever leads by now must accept, each master in its turn.
    for round in 0..6 {
        cluster.write(&format!("set b {round}")).await;
        let leader = cluster.leader().await;
        if let Err(error) = cluster.node(leader).transfer_leader(None).await {
            println!("round {round}: {error}");
        }
    }
}
