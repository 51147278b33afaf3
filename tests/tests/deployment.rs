//! A cluster of real processes, used through the command line against every master, leader or not.

use std::fs;
use std::time::Duration;

use muster_client::{Client, Submission, v1};
use muster_tests::cluster::Cluster;

fn example(name: &str) -> String {
    format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_works_on_every_master() {
    let cluster = Cluster::start(3, 2).await;
    let leader = cluster.leader().await;
    for (at, address) in cluster.addresses.iter().enumerate() {
        let server = format!("http://{address}");
        println!("{address} {}", if at == leader { "leads" } else { "follows" });
        let muster = |args: &[&str]| cluster.muster_on(&server, args);

        let (code, _, err) = muster(&["run", "-f", &example("hello.yaml"), "--watch"]);
        assert_eq!(code, 0, "run --watch: {err}");
        let (code, out, err) =
            muster(&["submit", "--name", "greet", "-o", "name", "--", "echo", "hello there"]);
        assert_eq!(code, 0, "submit: {err}");
        let run = out.trim().trim_start_matches("run/").to_owned();
        let run = run.trim_start_matches("default/").to_owned();
        let (code, _, err) = muster(&["wait", &run]);
        assert_eq!(code, 0, "wait {run}: {err}");
        let (code, out, err) = muster(&["logs", &run]);
        assert_eq!((code, out.as_str()), (0, "hello there\n"), "logs {run}: {err}");
        let (code, out, err) = muster(&["get", "runs"]);
        assert!(code == 0 && out.contains(&run), "get runs: {out}{err}");
        let (code, out, _) = muster(&["get", "workers", "-o", "json"]);
        assert!(code == 0 && out.contains("w0") && out.contains("w1"), "get workers: {out}");
        let (code, out, _) = muster(&["describe", "run", &run]);
        assert!(code == 0 && out.contains("succeeded"), "describe: {out}");

        let (code, out, err) =
            muster(&["submit", "--name", "stuck", "--pool", "nowhere", "-o", "name", "--", "true"]);
        assert_eq!(code, 0, "submit: {err}");
        let stuck = out
            .trim()
            .rsplit("run/")
            .next()
            .unwrap_or_default()
            .trim_start_matches("default/")
            .to_owned();
        let (code, out, err) = muster(&["explain", &stuck]);
        assert_eq!(code, 6, "explain says that it cannot be placed: {out}{err}");
        assert!(out.contains("w0") && out.contains("w1") && out.contains("pool"), "explain: {out}");
        let (code, _, err) = muster(&["cancel", &stuck]);
        assert_eq!(code, 0, "cancel: {err}");
        let (code, _, err) = muster(&["wait", &stuck, "--timeout", "20s"]);
        assert_eq!(code, 4, "a cancelled run: {err}");

        let (code, out, _) = muster(&["cluster", "status"]);
        assert!(
            code == 0 && cluster.addresses.iter().all(|it| out.contains(it.as_str())),
            "cluster status: {out}"
        );
        let (code, _, err) = muster(&["describe", "run", "greet/4711"]);
        assert_eq!(code, 5, "a run that does not exist: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_outputs_reach_the_user() {
    let cluster = Cluster::start(3, 2).await;
    let (code, _, err) = cluster.muster(&["run", "-f", &example("etl.yaml"), "--watch"]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = cluster.muster(&[
        "submit",
        "--name",
        "bad",
        "--wait",
        "--",
        "sh",
        "-c",
        "echo oops >&2; exit 7",
    ]);
    assert_eq!(code, 3, "a failed run: {err}");
    let (code, _, _) = cluster.muster(&["run", "bad-file", "--wait"]);
    assert_eq!(code, 5, "a workflow that was never applied");
    let (_, out, _) = cluster.muster(&["logs", "bad/@latest"]);
    assert_eq!(out, "oops\n");
    let (code, out, _) = cluster.muster(&["describe", "run", "bad/1"]);
    assert!(code == 0 && out.contains("exit code 7"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_attempt_has_its_log_wherever_it_ran() {
    let cluster = Cluster::start(1, 2).await;
    let submitted = ["submit", "--name", "again", "--retries", "1", "--wait", "--", "sh", "-c"];
    // Where it has failed it does not go again while another worker is free.
    let (code, _, err) = cluster.muster(&[&submitted[..], &["pwd; exit 1"]].concat());
    assert_eq!(code, 3, "a failed run: {err}");
    let (_, out, _) = cluster.muster(&["get", "tasks", "again/1", "-o", "name"]);
    let task = out.trim().rsplit('/').next().unwrap_or_default().to_owned();
    let log_of = |attempt: u32| {
        let (code, out, err) = cluster.muster(&["logs", &format!("again/1/{task}#{attempt}")]);
        assert_eq!(code, 0, "attempt {attempt} of `{task}`: {err}");
        out
    };
    let (first, second) = (log_of(1), log_of(2));
    assert!(!first.is_empty() && !second.is_empty() && first != second, "{first}{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_gives_one_run_over_all_masters_and_leaders() {
    let mut cluster = Cluster::start(3, 1).await;
    let manifest = fs::read_to_string(example("hello.yaml")).expect("the example is there");
    let submission = || Submission::source(manifest.clone()).request_id("one-and-only");
    let first = cluster.client.submit(submission()).await.expect("it is accepted");
    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    for at in (0..3).filter(|at| *at != leader) {
        let client =
            Client::connect([format!("http://{}", cluster.addresses[at])]).expect("well-formed");
        let again = client
            .with_deadline(Duration::from_secs(30))
            .submit(submission())
            .await
            .expect("the same answer");
        assert_eq!((again.run_id, again.number), (first.run_id, first.number));
    }
    let other = Submission::source(manifest.replace("hello", "hallo")).request_id("one-and-only");
    let refused = cluster.client.submit(other).await.expect_err("another body under the same id");
    assert_eq!(refused.code(), muster_client::Code::AlreadyExists, "{refused}");
    let ended =
        cluster.client.wait_run(&first, Some(Duration::from_secs(60))).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_workers_attempts_are_given_to_another() {
    let mut cluster = Cluster::start(3, 2).await;
    let folder = cluster.path("files");
    fs::create_dir(&folder).expect("a fresh folder");
    // Each process holds a lock while it lives, so that two at once would be seen.
    let script = format!(
        "exec 9> {0}/lock; flock -n 9 || echo conflict >> {0}/conflicts; echo $MUSTER_FENCE >> {0}/fences; sleep 12",
        folder.display()
    );
    let (code, _, err) = cluster.muster(&["submit", "--name", "long", "--", "bash", "-c", &script]);
    assert_eq!(code, 0, "{err}");
    let run = muster_client::RunKey::number("long", 1);
    let holder = loop {
        let running: Vec<v1::Task> =
            futures::TryStreamExt::try_collect(cluster.client.list_tasks(run.clone(), &[]))
                .await
                .expect("tasks can be listed");
        if running[0].status() == v1::TaskStatus::Running {
            break running[0].worker.clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let at: usize = holder[1..].parse().expect("workers are w0, w1");
    println!("pausing {holder} past its lease");
    cluster.workers[at].signal("STOP");
    tokio::time::sleep(Duration::from_secs(9)).await;
    cluster.workers[at].signal("CONT");
    let ended = cluster.client.wait_run(run, Some(Duration::from_secs(60))).await.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Succeeded);
    let fences = fs::read_to_string(folder.join("fences")).expect("it ran");
    assert_eq!(fences.lines().count(), 2, "it ran again elsewhere: {fences}");
    let conflicts = fs::read_to_string(folder.join("conflicts")).unwrap_or_default();
    assert_eq!(conflicts, "", "two live processes of one task");
    cluster.workers[at].kill();
}
