//! Namespaces on a whole cluster: quotas hold, say why, and outlive the leader under which they were applied.

use std::time::Duration;

use muster_client::{Client, Code, Submission, v1};
use muster_tests::cluster::Cluster;

const QUOTAS: &str = "\
apiVersion: v1
kind: Namespace
name: trials
weight: 2
quota: {runs: 2, tasks: 2, cpu: 4}
---
apiVersion: v1
kind: Namespace
name: default
weight: 3
";

/// Tasks that end once the file `go` is there.
fn waiting(name: &str, count: usize, go: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Workflow\nname: {name}\ntasks:\n  all:\n    array: {count}\n    \
         run: |\n      until [ -e {go} ]; do sleep 0.1; done\n"
    )
}

async fn submit(client: &Client, text: &str) -> v1::SubmitRunResponse {
    client.submit(Submission::one_off(text)).await.expect("it is accepted")
}

/// Waits until so many tasks of a namespace are live, and gives what it has then.
async fn until_live(cluster: &Cluster, name: &str, count: u32) -> v1::Namespace {
    let is_it = async {
        loop {
            let found = cluster.client.get_namespace(name).await.expect("it is there");
            if found.live_tasks == count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), is_it).await;
    waited.unwrap_or_else(|_| panic!("not {count} tasks of {name} are live in a minute"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_through_a_change_of_leader() {
    let mut cluster = Cluster::start(3, 1).await;
    let file = cluster.path("namespaces.yaml");
    std::fs::write(&file, QUOTAS).expect("the file is written");
    let file = file.to_string_lossy().into_owned();
    let (code, told, _) = cluster.muster(&["diff", "-f", &file, "--exit-code"]);
    assert!(code == 1 && told.contains("--- namespace/trials (not applied)"), "{told}");
    let (code, told, error) = cluster.muster(&["apply", "-f", &file]);
    assert_eq!((code, told.lines().next()), (0, Some("namespace/trials applied")), "{error}");
    let (_, told, _) = cluster.muster(&["apply", "-f", &file]);
    assert_eq!(told, "namespace/trials unchanged\nnamespace/default unchanged\n");

    let go = cluster.path("go").to_string_lossy().into_owned();
    let trials = cluster
        .addresses
        .iter()
        .fold(Client::builder(), |it, address| it.endpoint(format!("http://{address}")));
    let trials = trials.namespace("trials").build().expect("addresses are well-formed");
    let first = submit(&trials, &waiting("one", 5, &go)).await;
    let other = submit(&cluster.client, &waiting("free", 4, &go)).await;
    until_live(&cluster, "trials", 2).await;
    let free = until_live(&cluster, "default", 4).await;
    assert_eq!(free.spec.and_then(|spec| spec.weight), Some(3));
    let (code, why, _) = cluster.muster(&["-n", "trials", "explain", "one/1/all"]);
    assert!(
        code == 0 && why.contains("The task quota of namespace `trials` is 2: 2 are live"),
        "{why}"
    );

    submit(&trials, &waiting("two", 1, &go)).await;
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    cluster.leader().await;
    let refused = trials.submit(Submission::one_off(waiting("three", 1, &go))).await;
    let error = refused.expect_err("two runs are live");
    assert_eq!((error.code(), error.reason()), (Code::FailedPrecondition, Some("QUOTA_REACHED")));
    assert!(error.to_string().contains("has 2 of at most 2 live runs"), "{error}");
    let has = until_live(&cluster, "trials", 2).await;
    assert_eq!((has.live_runs, has.ready_tasks), (2, 2), "{has:?}");
    let used = has.used.expect("it says what is held");
    assert_eq!(used.cpu_millis, 2000);
    let (_, listed, _) = cluster.muster(&["get", "namespaces"]);
    let line = listed.lines().find(|line| line.starts_with("trials")).expect("it is listed");
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(cells[..5], ["trials", "2", "2/2", "2/2", "2/4"], "{listed}");
    let (_, shown, _) = cluster.muster(&["describe", "namespace", "trials"]);
    assert!(shown.contains("2 of at most 2") && shown.contains("2 of at most 4"), "{shown}");

    std::fs::write(&go, "").expect("the file is written");
    for (client, run) in [(&trials, &first), (&cluster.client, &other)] {
        let ended = client.wait_run(run, Some(Duration::from_secs(60))).await.expect("it ends");
        assert_eq!(ended.status(), v1::RunStatus::Succeeded);
    }
}
