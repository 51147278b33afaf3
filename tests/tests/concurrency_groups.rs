//! Concurrency groups on a whole cluster: they are refused, applied, shown and explained, and hold through a change of
//! leader.

use std::time::Duration;

use muster_client::{Client, Code, Submission, v1};
use muster_tests::cluster::Cluster;

fn namespace(db: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nname: default\nconcurrency: {{db: {db}, licence: 1}}\n"
    )
}

/// Tasks of the group `db` that end once the file `go` is there, and one of no group.
fn workflow(name: &str, go: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Workflow\nname: {name}\ntasks:\n  load:\n    array: 3\n    \
         concurrency: db\n    resources: {{cpu: 10m}}\n    \
         run: |\n      until [ -e {go} ]; do sleep 0.1; done\n  \
         free: {{run: 'true', resources: {{cpu: 10m}}}}\n"
    )
}

async fn group(client: &Client, name: &str) -> v1::GroupUse {
    let namespace = client.get_namespace("default").await.expect("it is there");
    namespace.groups.into_iter().find(|it| it.name == name).expect("it was applied")
}

/// Waits until so many tasks of the group `db` are live and so many are ready.
async fn until(client: &Client, live: u32, ready: u64) -> v1::GroupUse {
    let is_it = async {
        loop {
            let db = group(client, "db").await;
            if (db.live_tasks, db.ready_tasks) == (live, ready) {
                return db;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), is_it).await;
    waited.unwrap_or_else(|_| panic!("not {live} are live and {ready} ready in a minute"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_holds_through_a_change_of_leader() {
    let mut cluster = Cluster::start(3, 1).await;
    let go = cluster.path("go").to_string_lossy().into_owned();
    let write = |cluster: &Cluster, name: &str, text: String| {
        let file = cluster.path(name);
        std::fs::write(&file, text).expect("the file is written");
        file.to_string_lossy().into_owned()
    };
    let one = write(&cluster, "one.yaml", workflow("one", &go));
    let (code, told, _) = cluster.muster(&["plan", "-f", &one]);
    assert!(code == 1 && told.contains("concurrency group `db` is not there"), "{code}: {told}");
    let refused = cluster.client.submit(Submission::one_off(workflow("one", &go))).await;
    let error = refused.expect_err("there is no such group");
    assert_eq!((error.code(), error.reason()), (Code::FailedPrecondition, Some("NO_SUCH_GROUP")));

    let both =
        write(&cluster, "both.yaml", format!("{}---\n{}", namespace(2), workflow("one", &go)));
    let (code, told, _) = cluster.muster(&["plan", "-f", &both]);
    assert!(code == 0 && told.contains("+concurrency:") && !told.contains("not there"), "{told}");
    let (code, told, error) = cluster.muster(&["apply", "-f", &both]);
    assert_eq!((code, told.as_str()), (0, "namespace/default applied\none@1 applied\n"), "{error}");

    let client = cluster.client.clone();
    let first = client.submit(Submission::workflow("one")).await.expect("it is accepted");
    until(&client, 2, 1).await;
    let second = client.submit(Submission::one_off(workflow("two", &go))).await;
    let second = second.expect("it is accepted");
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    cluster.leader().await;
    // The next leader knows who has a place: nothing more begins.
    let db = until(&client, 2, 2).await;
    let holders: Vec<_> = db.holders.iter().map(|it| (it.task.as_str(), it.live_tasks)).collect();
    assert_eq!((db.limit, holders), (Some(2), vec![("one/1/load", 2)]));
    let (code, why, _) = cluster.muster(&["explain", "two/1/load"]);
    let wanted = "The concurrency group `db` of namespace `default` has the limit 2: 2 are live, of one/1/load (2).";
    assert!(code == 0 && why.contains(wanted), "{why}");
    let (_, listed, _) = cluster.muster(&["get", "groups", "-o", "wide"]);
    let rows = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let wanted = ["NAME LIVE READY HELD BY", "db 2/2 2 one/1/load", "licence 0/1 0 -"];
    assert_eq!(rows.collect::<Vec<_>>(), wanted);
    let (_, shown, _) = cluster.muster(&["describe", "group", "db"]);
    assert!(shown.contains("one/1/load (2)"), "{shown}");
    let (code, ..) = cluster.muster(&["describe", "group", "none"]);
    assert_eq!(code, 5);

    // A brake: what is live goes on, and nothing more begins, although there is a place.
    let brake = write(&cluster, "brake.yaml", namespace(0));
    let (code, _, error) = cluster.muster(&["apply", "-f", &brake]);
    assert_eq!(code, 0, "{error}");
    let (code, why, _) = cluster.muster(&["explain", "two/1/load"]);
    assert!(code == 6 && why.contains("Never possible with this limit."), "{code}: {why}");
    std::fs::write(&go, "").expect("the file is written");
    until(&client, 0, 2).await;
    let (code, _, error) = cluster.muster(&["apply", "-f", &both]);
    assert_eq!(code, 0, "{error}");
    for run in [&first, &second] {
        let ended = client.wait_run(run, Some(Duration::from_secs(60))).await.expect("it ends");
        assert_eq!(ended.status(), v1::RunStatus::Succeeded);
    }
}
