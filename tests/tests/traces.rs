//! Real workflow traces become workflows of real processes, and run to success on three masters. Every task checks that
//! the files of its upstream tasks exist: the file system itself proves the order.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use muster_client::{Submission, v1};
use muster_tests::cluster::{Cluster, binary};

fn traces_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut traces: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    traces.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    traces.sort_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()));
    traces
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trace_runs_to_success() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut traces = traces_in(&root.join("examples/traces"));
    assert!(!traces.is_empty(), "examples/traces has samples");
    let real = traces_in(&root.join("../shared/wfinstances"));
    if real.is_empty() {
        println!("SKIP: no folder of recorded traces beside the project; only the samples run");
    }
    traces.extend(real);
    let cluster = Cluster::start(3, 2).await;
    for trace in traces {
        let name =
            trace.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest = convert(&trace, &cluster.path(&name));
        let start = Instant::now();
        let run = cluster
            .client
            .submit(Submission::source(manifest))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let ended =
            cluster.client.wait_run(&run, Some(Duration::from_secs(300))).await.expect("it ends");
        let took = start.elapsed();
        if ended.status() != v1::RunStatus::Succeeded {
            let failed: Vec<_> = cluster
                .tasks(&run)
                .await
                .into_iter()
                .filter(|it| it.status() == v1::TaskStatus::Failed)
                .collect();
            panic!("{name} ended as {:?}: {:?}", ended.status(), failed.first());
        }
        println!(
            "{name}: {} tasks in {took:?}, {:?} a task",
            ended.tasks,
            took / ended.tasks.max(1)
        );
    }
}

fn convert(trace: &Path, workdir: &Path) -> String {
    let output = std::process::Command::new(binary())
        .args(["convert", "wfcommons", "--time-scale", "0.0001", "--workdir"])
        .arg(workdir)
        .arg(trace)
        .output()
        .expect("the binary starts");
    assert!(
        output.status.success(),
        "{}: {}",
        trace.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("a workflow file is text")
}
