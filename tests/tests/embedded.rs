//! Masters and workers in one process: the shortest way through the whole house.

use std::time::Duration;

use muster_client::{Client, Submission, v1};
use muster_master::{Master, MasterConfig};
use muster_tests::cluster::free_ports;
use muster_worker::session::{Worker, WorkerConfig};

async fn masters(folder: &std::path::Path, count: usize) -> Vec<Master> {
    let ports = free_ports(count * 2);
    let (api, peer) = ports.split_at(count);
    let peers: Vec<String> =
        peer.iter().enumerate().map(|(at, port)| format!("m{at}=127.0.0.1:{port}")).collect();
    let mut masters = Vec::new();
    for at in 0..count {
        let config = MasterConfig {
            name: format!("m{at}"),
            data_dir: folder.join(format!("m{at}")),
            api_listen: ([127, 0, 0, 1], api[at]).into(),
            peer_listen: ([127, 0, 0, 1], peer[at]).into(),
            peers: peers.clone(),
            ..MasterConfig::default()
        };
        masters.push(Master::start(config).await.expect("a master starts"));
    }
    masters
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_runs_to_its_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let masters = masters(folder.path(), 3).await;
    let addresses: Vec<String> =
        masters.iter().map(|master| format!("http://{}", master.api_address())).collect();
    let mut workers = Vec::new();
    for at in 0..2 {
        let config = WorkerConfig::new(
            format!("w{at}"),
            folder.path().join(format!("w{at}")),
            addresses.clone(),
        );
        workers.push(Worker::start(config).await.expect("a worker starts"));
    }
    let client = Client::connect(addresses).expect("addresses are well-formed");
    let manifest = include_str!("../../examples/hello.yaml");
    let run = client.submit(Submission::source(manifest)).await.expect("it is accepted");
    let ended = client.wait_run(&run, Some(Duration::from_secs(60))).await;
    if ended.is_err() {
        println!("{:#?}", client.explain(&run, None).await);
        println!("{:#?}", client.cluster_status().await);
    }
    assert_eq!(ended.expect("it ends").status(), v1::RunStatus::Succeeded);
    for worker in workers {
        worker.shut_down(Duration::from_secs(1)).await;
    }
    for master in masters {
        master.shutdown().await;
    }
}
