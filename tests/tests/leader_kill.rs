//! Leaders die in the middle of a run: nothing is lost, nothing is doubled.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use muster_client::{Submission, v1};
use muster_tests::cluster::Cluster;

const LAYERS: usize = 10;
const WIDTH: usize = 50;

/// 500 tasks in layers. Every task holds an exclusive lock while it lives and complains if somebody else does; it
/// writes down its fence, and gives it as its output.
fn workflow(folder: &Path) -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: Workflow\nname: layers\ndefaults:\n  resources: {cpu: 100m}\ntasks:\n",
    );
    for layer in 0..LAYERS {
        for place in 0..WIDTH {
            let id = format!("t{layer}-{place}");
            let _ = writeln!(text, "  {id}:");
            if layer > 0 {
                let (left, right) = (place, (place + 1) % WIDTH);
                let _ = writeln!(text, "    needs: [t{0}-{left}, t{0}-{right}]", layer - 1);
            }
            let _ = writeln!(
                text,
                r#"    outputs: [fence]
    shell: [bash, -eu]
    run: |
      cd {folder}
      exec 9> {id}.lock
      flock -n 9 || {{ echo {id} >> conflicts; exit 1; }}
      echo $MUSTER_FENCE >> {id}.fences
      sleep 0.1
      echo fence=$MUSTER_FENCE >> $MUSTER_OUTPUT"#,
                folder = folder.display()
            );
        }
    }
    text
}

/// Every task succeeded exactly once: its output is the fence the state accepted, its process wrote that fence down,
/// and no two processes of it lived at once.
fn judge(folder: &Path, tasks: &[v1::Task]) {
    assert_eq!(tasks.len(), LAYERS * WIDTH);
    let conflicts = fs::read_to_string(folder.join("conflicts")).unwrap_or_default();
    assert_eq!(conflicts, "", "two processes of one task lived at once");
    let mut starts: BTreeMap<usize, usize> = BTreeMap::new();
    for task in tasks {
        assert_eq!(task.status(), v1::TaskStatus::Succeeded, "{}: {}", task.id, task.message);
        let accepted =
            task.outputs.get("fence").unwrap_or_else(|| panic!("{} has no output", task.id));
        assert_eq!(
            *accepted,
            task.fence.to_string(),
            "{}: the outcome is not the current attempt's",
            task.id
        );
        let fences =
            fs::read_to_string(folder.join(format!("{}.fences", task.id))).expect("the task ran");
        let fences: Vec<&str> = fences.lines().collect();
        assert!(fences.contains(&accepted.as_str()), "{}: {fences:?} lacks {accepted}", task.id);
        assert!(
            fences.is_sorted_by_key(|fence| fence.parse::<u64>().expect("a number")),
            "{fences:?}"
        );
        *starts.entry(fences.len()).or_default() += 1;
    }
    println!("tasks by number of starts: {starts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_500_tasks_survives_the_kill_of_its_leader() {
    let mut cluster = Cluster::start(3, 2).await;
    let folder = cluster.path("files");
    fs::create_dir(&folder).expect("a fresh folder");
    let run =
        cluster.client.submit(Submission::source(workflow(&folder))).await.expect("it is accepted");
    for (round, done) in [(0, 100), (1, 300)] {
        wait_for_progress(&cluster, &run, done).await;
        let leader = cluster.leader().await;
        println!("round {round}: killing {}", cluster.masters[leader].name);
        cluster.masters[leader].kill();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        cluster.masters[leader].restart();
    }
    let ended =
        cluster.client.wait_run(&run, Some(Duration::from_secs(120))).await.expect("the run ends");
    assert_eq!(ended.status(), v1::RunStatus::Succeeded, "{:?}", ended.tally);
    judge(&folder, &cluster.tasks(&run).await);
    assert_replicas_agree(&cluster).await;
}

async fn wait_for_progress(cluster: &Cluster, run: &v1::SubmitRunResponse, done: u64) {
    loop {
        let now = cluster.client.get_run(run).await.expect("the run can be read");
        if now.tally.is_some_and(|tally| tally.succeeded >= done) {
            return;
        }
        assert_eq!(now.status(), v1::RunStatus::Running, "it ended too soon to kill anybody");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All masters come to hold the same state at the same log index (I1).
async fn assert_replicas_agree(cluster: &Cluster) {
    for _ in 0..200 {
        let mut seen = Vec::new();
        for address in &cluster.addresses {
            let address = format!("http://{address}");
            if let Ok(status) = cluster.client.cluster_status_with_digest_of(&address).await {
                let digest = status.state_digest.expect("it was asked for");
                seen.push((status.applied_index, digest));
            }
        }
        if seen.len() == cluster.addresses.len() && seen.iter().all(|it| it.0 == seen[0].0) {
            assert!(seen.iter().all(|it| it.1 == seen[0].1), "replicas differ: {seen:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the replicas never stood at one index");
}
