//! The audit trail on a whole cluster: who asked for what, and from where, whichever master was asked, whoever leads.

use std::time::Duration;

use futures::TryStreamExt as _;
use muster_client::{ActionFilter, Client, Submission, v1};
use muster_tests::cluster::Cluster;

const NAP: &str = "\
apiVersion: v1
kind: Workflow
name: nap
tasks:
  nap: {run: 'sleep 60'}
";

/// A client of one master.
fn client_of(cluster: &Cluster, master: usize, user: Option<&str>) -> Client {
    let builder = Client::builder().endpoint(format!("http://{}", cluster.addresses[master]));
    match user {
        Some(user) => builder.user(user),
        None => builder,
    }
    .build()
    .expect("an address")
}

/// What was done, the latest first: by whom, what, and to what.
async fn actions(client: &Client, filter: ActionFilter) -> Vec<(String, v1::Deed, String)> {
    let actions: Vec<v1::Action> =
        client.list_actions(filter).try_collect().await.expect("they are listed");
    let line = |it: v1::Action| {
        let by = it.by.clone().unwrap_or_default();
        assert_eq!(by.from, "127.0.0.1", "where it came from is kept: {it:?}");
        (by.who, it.deed(), it.subject)
    };
    actions.into_iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_is_known_whichever_master_was_asked() {
    let mut cluster = Cluster::start_with(3, 1, &["--snapshot-entries", "40"]).await;
    let leader = cluster.leader().await;
    let ann = client_of(&cluster, (leader + 1) % 3, Some("ann@laptop"));
    let bob = client_of(&cluster, leader, Some("bob@desk"));
    let nobody = client_of(&cluster, leader, None);

    ann.apply(NAP).await.expect("it is applied");
    ann.apply(NAP).await.expect("it is applied already");
    let run = bob.submit(Submission::workflow("nap")).await.expect("it is accepted");
    ann.pause(&run, true).await.expect("it is live");
    nobody.pause(&run, false).await.expect("it is live");
    bob.cancel(&run).await.expect("it is live");
    cluster.client.wait_run(&run, Some(Duration::from_secs(60))).await.expect("it ends");
    bob.pause(&run, true).await.expect_err("it has ended");

    let shown = cluster.client.get_run(&run).await.expect("it is in the history");
    let by = shown.asked_by.expect("somebody asked for it");
    assert_eq!((by.who.as_str(), by.from.as_str()), ("bob@desk", "127.0.0.1"));
    let word = |who: &str, deed, subject: &str| (who.to_owned(), deed, subject.to_owned());
    let wanted = [
        word("bob@desk", v1::Deed::Cancel, "nap/1"),
        word("", v1::Deed::Resume, "nap/1"),
        word("ann@laptop", v1::Deed::Pause, "nap/1"),
        word("ann@laptop", v1::Deed::Apply, "nap"),
    ];
    assert_eq!(actions(&cluster.client, ActionFilter::default()).await, wanted);
    let who = Some("ann@laptop".to_owned());
    let of_run = ActionFilter { run: Some((&run).into()), who, ..ActionFilter::default() };
    assert_eq!(actions(&cluster.client, of_run).await, wanted[2..3]);

    // Enough for a snapshot, after which the leader dies and comes back.
    for _ in 0..60 {
        bob.submit(Submission::workflow("no-such")).await.expect_err("there is none");
        nobody.apply(NAP).await.expect("nothing changed");
    }
    cluster.masters[leader].kill();
    assert_eq!(actions(&cluster.client, ActionFilter::default()).await, wanted);
    cluster.masters[leader].restart();
    let (code, out, err) = cluster.muster(&["get", "actions", "nap/1"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("bob@desk") && out.contains("somebody at 127.0.0.1"), "{out}");
    let (code, out, err) = cluster.muster(&["describe", "run", "nap/1"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Asked by") && out.contains("cancel"), "{out}");
}
