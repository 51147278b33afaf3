//! Masters and workers in one process: the shortest way through the whole house.

use std::time::Duration;

use muster_client::v1::run_service_client::RunServiceClient;
use muster_client::{Client, Submission, v1};
use muster_master::{Master, MasterConfig};
use muster_tests::cluster::free_ports;
use muster_worker::session::{Worker, WorkerConfig};

async fn masters(folder: &std::path::Path, count: usize, history_runs_max: u64) -> Vec<Master> {
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
            history_runs_max,
            history_look: Duration::from_millis(50),
            ..MasterConfig::default()
        };
        masters.push(Master::start(config).await.expect("a master starts"));
    }
    masters
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_runs_to_its_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let masters = masters(folder.path(), 3, 100).await;
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

const CONDITIONS: &str = "
apiVersion: v1
kind: Workflow
name: conditions
params: {region: eu}
tasks:
  count: {run: 'echo rows=3 >> \"$MUSTER_OUTPUT\"', outputs: [rows]}
  broken: {run: exit 7, outputs: [rows]}
  many: {needs: count, if: needs.count.outputs.rows | int > 2, run: 'true'}
  few: {needs: count, if: needs.count.outputs.rows | int < 3, run: 'true'}
  after-few: {needs: few, run: 'true'}
  alert: {needs: [count, broken], if: failure() and params.region == 'eu', run: 'true'}
  silent: {needs: [count, broken], if: failure() and params.region == 'us', run: 'true'}
  wrong: {needs: broken, if: always() and needs.broken.outputs.rows | int > 2, run: 'true'}
  first: {if: run.number == 1 and run.workflow == 'conditions', run: 'true'}
";

/// Conditions that are expressions: a leader evaluates them, and what came out is what the tasks did.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_evaluated() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let masters = masters(folder.path(), 1, 100).await;
    let address = format!("http://{}", masters[0].api_address());
    let config = WorkerConfig::new("w".to_owned(), folder.path().join("w"), vec![address.clone()]);
    let worker = Worker::start(config).await.expect("a worker starts");
    let client = Client::connect([address]).expect("the address is well-formed");
    let run = client.submit(Submission::source(CONDITIONS)).await.expect("it is accepted");
    let ended = client.wait_run(&run, Some(Duration::from_secs(60))).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Failed);
    let tasks: Vec<v1::Task> = futures::TryStreamExt::try_collect(client.list_tasks(&run, &[]))
        .await
        .expect("they can be read");
    let status = |id: &str| {
        let task = tasks.iter().find(|task| task.id == id);
        task.unwrap_or_else(|| panic!("no task {id}"))
    };
    use v1::TaskStatus::{Failed, Skipped, Succeeded};
    for (id, wanted) in [
        ("many", Succeeded),
        ("few", Skipped),
        ("after-few", Skipped),
        ("alert", Succeeded),
        ("silent", Skipped),
        ("wrong", Failed),
        ("first", Succeeded),
    ] {
        assert_eq!(status(id).status(), wanted, "{id}: {:?}", status(id));
    }
    let message = &status("wrong").message;
    assert!(message.contains("`needs.broken.outputs.rows` has no value"), "{message}");
    let wrong = CONDITIONS.replace("params.region == 'us'", "params.regoin == 'us'");
    let refused = client.submit(Submission::source(wrong)).await.expect_err("it is refused");
    assert!(refused.to_string().contains("no parameter `regoin`"), "{refused}");
    worker.shut_down(Duration::from_secs(1)).await;
    for master in masters {
        master.shutdown().await;
    }
}

/// A cancel that is repeated with its request id, because the answer was lost, is told what the first one was; so it is
/// when the run has ended for it and is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_cancel_of_a_forgotten_run_gets_its_answer_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut masters = masters(folder.path(), 1, 1).await;
    let address = format!("http://{}", masters[0].api_address());
    let client = Client::connect([address.clone()]).expect("addresses are well-formed");
    let manifest = include_str!("../../examples/hello.yaml");
    let run = client.submit(Submission::source(manifest)).await.expect("it is accepted");
    let mut runs = RunServiceClient::connect(address).await.expect("it listens");
    let reference = v1::RunRef { id: run.run_id, ..Default::default() };
    let cancel =
        |id: &str| v1::CancelRunRequest { request_id: id.to_owned(), run: Some(reference.clone()) };
    let first = runs.cancel_run(cancel("once")).await.expect("it is cancelled").into_inner();
    assert!(first.is_cancelling);
    // A later run that ends makes the earlier one the one too many.
    let next = client.submit(Submission::source(manifest)).await.expect("it is accepted");
    client.cancel(&next).await.expect("it is cancelled");
    let is_gone = async {
        while client.get_run(&run).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_gone).await.expect("it is forgotten");
    let again = runs.cancel_run(cancel("once")).await.expect("it was carried out").into_inner();
    assert!(again.is_cancelling);
    let other = runs.cancel_run(cancel("twice")).await.expect_err("there is no such run");
    assert_eq!(format!("{:?}", other.code()), "NotFound");
    masters.pop().expect("there is one").shutdown().await;
}
