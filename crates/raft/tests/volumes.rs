//! What lies on a master's volume: damage, mix-ups, and snapshots that write only what changed.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use muster_platform::{Disk, Files};
use muster_proto::internal::v1 as pb;
use muster_proto::internal::v1::peer_service_client::PeerServiceClient;
use muster_raft::testing::read_log;
use muster_raft::{ClusterId, OpenError, PeerAddress, ProposeError, RaftMember, StoreError};
use redb::{ReadableTable, TableDefinition};
use support::{Cluster, Maps, SHARDS, eventually, shard_of};

const ENTRIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("entries");

async fn open_error(cluster: &Cluster, at: usize) -> OpenError {
    match RaftMember::open(cluster.configs[at].clone(), Box::new(Maps::new())).await {
        Ok(_) => panic!("the folder must be refused"),
        Err(error) => error,
    }
}

/// A master that has taken a snapshot with one entry in it, and was killed.
async fn dead_with_snapshot_of(entry: &str) -> Cluster {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    cluster.write(entry).await;
    cluster.node(0).trigger_snapshot().await.expect("it runs");
    eventually("a snapshot", async || cluster.node(0).status().snapshot_index > 0).await;
    cluster.kill(0).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_record_is_refused_by_name() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    let index = cluster.write("set a 1").await;
    cluster.write("set b 2").await;
    cluster.kill(0).await;
    let path = cluster.dir(0).join("log.redb");
    {
        let db = redb::Database::open(&path).expect("closed before");
        let transaction = db.begin_write().expect("writable");
        {
            let mut table = transaction.open_table(ENTRIES).expect("it is there");
            let mut record =
                table.get(index).expect("readable").expect("it is there").value().to_vec();
            *record.last_mut().expect("not empty") ^= 1;
            table.insert(index, &record[..]).expect("writable");
        }
        transaction.commit().expect("writable");
    }
    let error = open_error(&cluster, 0).await;
    assert!(matches!(error, OpenError::Store(StoreError::Damaged { .. })), "{error}");
    let text = error.to_string();
    let key = format!("key {index}");
    for part in [path.to_str().expect("a plain path"), "entries", &key, "checksum", "empty one"] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_log_record_is_refused() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    let index = cluster.write("set a 1").await;
    cluster.write("set b 2").await;
    cluster.kill(0).await;
    {
        let db = redb::Database::open(cluster.dir(0).join("log.redb")).expect("closed before");
        let transaction = db.begin_write().expect("writable");
        transaction.open_table(ENTRIES).expect("it is there").remove(index).expect("writable");
        transaction.commit().expect("writable");
    }
    let text = open_error(&cluster, 0).await.to_string();
    assert!(text.contains(&format!("key {index}")) && text.contains("missing"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_shard_is_refused_by_name() {
    let cluster = dead_with_snapshot_of("set a 1").await;
    let shards = std::fs::read_dir(cluster.dir(0).join("snapshots")).expect("it is there");
    let shard = shards
        .map(|entry| entry.expect("readable").path())
        .find(|path| {
            path.extension().is_some_and(|extension| extension == "shard")
                && path.metadata().expect("readable").len() > 0
        })
        .expect("one shard is not empty");
    std::fs::write(&shard, "a 2\n").expect("writable");
    let text = open_error(&cluster, 0).await.to_string();
    assert!(text.contains(shard.to_str().expect("a plain path")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_without_its_log_is_refused() {
    let cluster = dead_with_snapshot_of("set a 1").await;
    std::fs::remove_file(cluster.dir(0).join("log.redb")).expect("it is there");
    let text = open_error(&cluster, 0).await.to_string();
    assert!(text.contains("log.redb") && text.contains("beside it"), "{text}");
    // Once the threads of the first try are gone, the second meets the same refusal: nothing was made anew.
    eventually("the same refusal", async || open_error(&cluster, 0).await.to_string() == text)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_does_not_reach_the_snapshot_is_refused() {
    let cluster = dead_with_snapshot_of("end 7 7").await;
    std::fs::remove_file(cluster.dir(0).join("history.redb")).expect("it is there");
    let text = open_error(&cluster, 0).await.to_string();
    assert!(text.contains("history.redb") && text.contains("beside it"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_cluster_is_refused() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    cluster.write("set a 1").await;
    let found = cluster.node(0).cluster_id().expect("formed");
    cluster.kill(0).await;
    let expected = ClusterId::parse("00000000000000000000000000000001").expect("32 digits");
    cluster.configs[0].cluster_id = Some(expected);
    let text = open_error(&cluster, 0).await.to_string();
    assert!(text.contains(&found.to_string()) && text.contains(&expected.to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_of_two_clusters_do_not_mix() {
    let mut first = Cluster::new(1, |_| {});
    let mut second = Cluster::new(1, |_| {});
    first.start(0).await;
    second.start(0).await;
    first.write("set a 1").await;
    second.write("set b 1").await;
    // The second cluster's master is now told that the first one's is its peer too, under its own name.
    let intruder = second.node(0).cluster_id();
    second.kill(0).await;
    second.configs[0].peers.push(first.configs[0].peers[0].clone());
    second.configs[0].peers[1].name = "muster-9".into();
    second.start(0).await;
    second.write("set c 1").await;
    assert_eq!(second.node(0).cluster_id(), intruder, "it stays what it is");
    assert_eq!(first.node(0).members().len(), 1);
    assert_eq!(second.node(0).members().len(), 1);
    assert_eq!(first.maps(0).get("c"), None);
}

/// A stopped master that formed a cluster by itself under this name.
async fn lone(name: &str) -> (Cluster, ClusterId) {
    let mut lone = Cluster::new(1, |config| {
        config.name = name.into();
        config.peers[0].name = name.into();
    });
    lone.start(0).await;
    lone.write("set stranger 1").await;
    let id = lone.node(0).cluster_id().expect("formed");
    lone.kill(0).await;
    (lone, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_of_another_cluster_is_refused_beside_its_peers() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    cluster.converge().await;
    let (before, id) = (cluster.node(0).members(), cluster.node(0).cluster_id().expect("formed"));
    let (stranger, strangers_id) = lone("muster-2").await;
    cluster.kill(2).await;
    let own_dir = std::mem::replace(&mut cluster.configs[2].data_dir, stranger.dir(0));

    let error = open_error(&cluster, 2).await;
    assert!(matches!(error, OpenError::Store(StoreError::WrongCluster { .. })), "{error}");
    let text = error.to_string();
    let dir = stranger.dir(0).display().to_string();
    for part in [&dir, &id.to_string(), &strangers_id.to_string(), "muster-0", "which volume"] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    assert_eq!(open_error(&cluster, 2).await.to_string(), text, "nothing of the first try is left");

    cluster.write("set b 2").await;
    assert_eq!(cluster.node(cluster.leader().await).members(), before);
    cluster.configs[2].data_dir = own_dir;
    cluster.start(2).await;
    cluster.write("set c 3").await;
    cluster.converge().await;
    assert_eq!(cluster.node(2).members(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_of_another_cluster_ends_its_master_once_the_peers_are_back() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.start_all().await;
    cluster.write("set a 1").await;
    cluster.converge().await;
    let (before, id) = (cluster.node(0).members(), cluster.node(0).cluster_id().expect("formed"));
    for at in 0..3 {
        cluster.kill(at).await;
    }
    let (stranger, strangers_id) = lone("muster-2").await;
    cluster.configs[2].data_dir = stranger.dir(0);
    cluster.start(2).await;
    cluster.write("set lost 1").await;

    cluster.start(0).await;
    cluster.start(1).await;
    let fault = tokio::time::timeout(Duration::from_secs(20), cluster.node(2).fatal()).await;
    let fault = fault.expect("it is told").to_string();
    assert!(
        fault.contains(&id.to_string()) && fault.contains(&strangers_id.to_string()),
        "{fault}"
    );
    eventually("a refusal", async || {
        let proposal = cluster.node(2).propose(Bytes::from_static(b"set lost 2")).await;
        matches!(proposal, Err(ProposeError::Stopped(reason)) if reason == fault)
    })
    .await;
    cluster.kill(2).await;
    cluster.write("set b 2").await;
    let leader = cluster.leader().await;
    assert_eq!(cluster.node(leader).members(), before);
    assert!(!cluster.maps(leader).all().contains_key("lost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_under_a_masters_name_harms_no_healthy_one() {
    let (mut cluster, mut other) = (Cluster::new(3, |_| {}), Cluster::new(3, |_| {}));
    let (mut lone, _) = lone("muster-3").await;
    lone.start(0).await;
    for cluster in [&mut cluster, &mut other] {
        cluster.start_all().await;
        cluster.write("set a 1").await;
        cluster.converge().await;
    }
    let before = cluster.node(0).members();
    for at in 0..3 {
        other.kill(at).await;
    }
    // It knows masters of all three names, and looks for them where these are.
    cluster.kill(2).await;
    let own_dir = std::mem::replace(&mut cluster.configs[2].data_dir, other.dir(2));
    cluster.start(2).await;
    // Meanwhile a healthy master restarts, and is told of a fourth, on whose volume there is yet another cluster.
    let address = lone.configs[0].peer_address.clone();
    cluster.configs[0].peers.push(PeerAddress { name: "muster-3".into(), address });
    cluster.kill(0).await;
    cluster.start(0).await;
    cluster.write("set b 2").await;
    for at in 0..2 {
        let fault = tokio::time::timeout(Duration::from_secs(2), cluster.node(at).fatal()).await;
        assert!(fault.is_err(), "a healthy master ends: {fault:?}");
    }
    cluster.write("set c 3").await;
    assert_eq!(cluster.node(cluster.leader().await).members(), before);
    assert_eq!(cluster.maps(2).get("c"), None);

    cluster.kill(2).await;
    cluster.configs[2].data_dir = own_dir;
    cluster.start(2).await;
    cluster.write("set d 4").await;
    cluster.converge().await;
    assert_eq!(cluster.node(2).members(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_that_it_is_of_another_cluster_is_not_let_in() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    cluster.write("set a 1").await;
    let own = cluster.node(0).cluster_id().expect("formed");
    let address = format!("http://{}", cluster.configs[0].peer_address);
    let mut leader = PeerServiceClient::connect(address).await.expect("it listens");
    let (name, peer_address) = ("muster-9".into(), "127.0.0.1:9".into());
    let member = pb::Member { id: 9, name, peer_address, ..pb::Member::default() };
    let of_another = pb::JoinRequest { member: Some(member), cluster_id: vec![9; 16].into() };
    let refusal = leader.join(of_another.clone()).await.expect_err("another cluster");
    assert_eq!(refusal.code(), tonic::Code::PermissionDenied);
    for id in [own.to_string(), "09".repeat(16)] {
        assert!(refusal.message().contains(&id), "{id} is missing in: {}", refusal.message());
    }
    // As an empty disk has none, and as older versions asked.
    let of_none = pb::JoinRequest { cluster_id: Bytes::new(), ..of_another.clone() };
    leader.join(of_none).await.expect("let in");
    eventually("a learner", async || cluster.node(0).members().contains_key(&9)).await;
    let again = pb::JoinRequest { cluster_id: Bytes::from(own.to_string()), ..of_another };
    let refusal = leader.join(again).await.expect_err("no id is that long");
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_folder_is_refused() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    let error = open_error(&cluster, 0).await;
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_snapshot_writes_only_what_changed() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.start(0).await;
    let mut keys = Vec::new();
    for shard in 0..SHARDS {
        let key = (0..).map(|i| format!("k{i}")).find(|key| shard_of(key) == shard);
        keys.push(key.expect("every shard has keys"));
    }
    let mut last = 0;
    for key in &keys {
        last = cluster.write(&format!("set {key} {key}")).await;
    }
    let node = cluster.node(0);
    let snapshot = async |index| {
        node.trigger_snapshot().await.expect("it runs");
        eventually("a snapshot", async || node.status().snapshot_index >= index).await;
    };
    snapshot(last).await;
    assert_eq!(node.snapshot_shards_written(), SHARDS as u64);
    assert_eq!(cluster.maps(0).encoded.load(Ordering::Relaxed), SHARDS);

    cluster.write(&format!("set {} new", keys[3])).await;
    let last = cluster.write(&format!("set {} new", keys[5])).await;
    snapshot(last).await;
    assert_eq!(node.snapshot_shards_written(), SHARDS as u64 + 2);
    assert_eq!(
        cluster.maps(0).encoded.load(Ordering::Relaxed),
        SHARDS + 2,
        "others are known by identity"
    );
    let files = std::fs::read_dir(cluster.dir(0).join("snapshots")).expect("it is there").count();
    assert_eq!(files, SHARDS + 1, "old shards and the old manifest are gone");

    let before = cluster.maps(0).all();
    cluster.kill(0).await;
    cluster.start(0).await;
    assert_eq!(cluster.maps(0).all(), before, "restored before a leader is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_stopped_master_is_read_back() {
    let files: Arc<dyn Disk> = Arc::new(Files);
    let mut cluster = Cluster::new(1, |config| config.snapshots.keep_entries = 2);
    read_log(&files, &cluster.dir(0)).expect_err("there is no log yet");
    cluster.start(0).await;
    let mut written = Vec::new();
    for at in 0..4 {
        let entry = format!("set k{at} v");
        written.push((cluster.write(&entry).await, entry));
    }
    let refusal = read_log(&files, &cluster.dir(0)).expect_err("it runs").to_string();
    assert!(refusal.contains("still runs"), "{refusal}");
    let (id, status) = (cluster.node(0).member_id(), cluster.node(0).status());
    cluster.kill(0).await;

    let log = read_log(&files, &cluster.dir(0)).expect("it is in good order");
    assert_eq!((log.member_id, log.purged), (id, None));
    assert!(log.entries.iter().map(|entry| entry.at.index).eq(0..=status.last_log_index));
    let commands = log.entries.iter().filter_map(|entry| {
        let command = entry.command.as_ref()?;
        Some((entry.at.index, String::from_utf8(command.to_vec()).expect("text")))
    });
    assert_eq!(commands.collect::<Vec<_>>(), written);
    assert_eq!(log.entries.last().expect("not empty").at.term, status.term);

    cluster.start(0).await;
    cluster.write("set k4 v").await;
    cluster.node(0).trigger_snapshot().await.expect("it runs");
    eventually("a purged log", async || cluster.node(0).status().purged_index > 0).await;
    let purged = cluster.node(0).status().purged_index;
    cluster.kill(0).await;
    let log = read_log(&files, &cluster.dir(0)).expect("it is in good order");
    assert_eq!(log.purged.expect("some of it is gone").index, purged);
    assert_eq!(log.entries.first().expect("not all of it").at.index, purged + 1);
}
