//! Array tasks that go through values, with real processes: what each index finds, a size that comes late, and items
//! that change.

use std::fs;
use std::path::Path;

use muster_client::{Client, Retry, RetryScope, RunKey, Submission, v1};
use muster_tests::cluster::Cluster;

/// Every index appends a line to a file. The list is what the parameter says, so that a retry can have another.
const FLOW: &str = r#"
apiVersion: v1
kind: Workflow
name: through
params: {out: , files: }
defaults: {resources: {cpu: 100m}}
tasks:
  list:
    run: |
      { echo 'files<<END'; cat "$MUSTER_PARAM_FILES"; echo END; } >> "$MUSTER_OUTPUT"
    outputs: [files]
  each:
    needs: list
    foreach: "${{ needs.list.outputs.files }}"
    maxParallel: 2
    env: {LABEL: "${{ item }}@${{ array.index }}"}
    run: |
      echo "$MUSTER_ARRAY_INDEX $MUSTER_ITEM $LABEL" >> "$MUSTER_PARAM_OUT/each"
      test "$MUSTER_ITEM" != bad -o -e "$MUSTER_PARAM_OUT/mended"
  after: {needs: each, run: 'echo after >> "$MUSTER_PARAM_OUT/after"'}
  product:
    matrix: {shard: [0, 1, 2], region-of: [eu, us]}
    env: {AT: "${{ matrix.region_of }}/${{ matrix.shard }}"}
    run: echo "$MUSTER_ARRAY_INDEX $MUSTER_MATRIX_SHARD $MUSTER_MATRIX_REGION_OF $AT" >> "$MUSTER_PARAM_OUT/product"
  objects:
    foreach: [{name: a b, size: 1.10}, {name: "'", size: [2, x]}]
    env: {NAME: "${{ item.name }}", SIZE: "${{ item.size }}"}
    run: echo "$NAME|$SIZE|$MUSTER_ITEM" >> "$MUSTER_PARAM_OUT/objects"
"#;

fn lines(folder: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn submit(client: &Client, folder: &Path) -> RunKey {
    let files = folder.join("files").display().to_string();
    let submission = Submission::source(FLOW).param("out", folder.display().to_string());
    let run = client.submit(submission.param("files", files)).await.expect("it is accepted");
    RunKey::number(&run.workflow, run.number)
}

async fn ended(client: &Client, run: &RunKey) -> v1::RunStatus {
    client.wait_run(run.clone(), None).await.expect("it ends").status()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_index_finds_its_values() {
    let cluster = Cluster::start(3, 2).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    fs::write(folder.join("files"), "a b\n\nbad\n${{ run.id }}\n").expect("it is written");
    let run = submit(&cluster.client, folder).await;
    assert_eq!(ended(&cluster.client, &run).await, v1::RunStatus::Failed);
    let each = ["0 a b a b@0", "1 bad bad@1", "2 ${{ run.id }} ${{ run.id }}@2"];
    assert_eq!(lines(folder, "each"), each);
    assert_eq!(
        lines(folder, "product"),
        ["0 0 eu eu/0", "1 0 us us/0", "2 1 eu eu/1", "3 1 us us/1", "4 2 eu eu/2", "5 2 us us/2",]
    );
    let objects =
        [r#"'|[2,"x"]|{"name":"'","size":[2,"x"]}"#, r#"a b|1.10|{"name":"a b","size":1.10}"#];
    assert_eq!(lines(folder, "objects"), objects);
    let (_, said, _) = cluster.muster(&["get", "tasks", "through/1"]);
    assert!(said.contains("failed 3/3"), "{said}");

    // What failed runs again with the item that it had, whatever the list would be by then.
    fs::write(folder.join("mended"), "").expect("it is written");
    fs::write(folder.join("files"), "other\n").expect("it is written");
    cluster.client.retry(run.clone(), &Retry::default()).await.expect("an index failed");
    let second = RunKey::number("through", 2);
    assert_eq!(ended(&cluster.client, &second).await, v1::RunStatus::Succeeded);
    assert_eq!(lines(folder, "each").len(), 4);
    assert_eq!(lines(folder, "each")[1..3], ["1 bad bad@1", "1 bad bad@1"]);

    // From the list on there is another one, and another size.
    let from = Retry { scope: RetryScope::From("list".into()), ..Retry::default() };
    cluster.client.retry(second, &from).await.expect("it can run again");
    let third = RunKey::number("through", 3);
    assert_eq!(ended(&cluster.client, &third).await, v1::RunStatus::Succeeded);
    assert!(lines(folder, "each").contains(&"0 other other@0".to_owned()));
    let (_, said, _) = cluster.muster(&["describe", "task", "through/3/each"]);
    assert!(said.contains("0-0"), "{said}");
}

/// What cannot be gone through, what is empty, and what is never asked.
const ODD: &str = r#"
apiVersion: v1
kind: Workflow
name: odd
params: {broken: '[1,', none: '[]', rows: '[{"k": 1}, {"j": 2}]'}
defaults: {resources: {cpu: 100m}}
tasks:
  broken: {foreach: "${{ params.broken }}", run: 'true'}
  lacks: {foreach: "${{ params.rows }}", env: {K: "${{ item.k }}"}, run: 'true'}
  never: {foreach: "${{ params.broken }}", if: 'false', run: 'true'}
  none: {foreach: "${{ params.none }}", run: 'false'}
  goes-on: {needs: none, run: 'true'}
  late: {needs: hang, foreach: "${{ params.rows }}", run: 'true'}
  hang: {run: sleep 600}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_none_fails_and_an_empty_one_is_done() {
    let cluster = Cluster::start(1, 1).await;
    let run = cluster.client.submit(Submission::source(ODD)).await.expect("it is accepted");
    let look = async {
        loop {
            let tasks = cluster.tasks(&run).await;
            if tasks[4].status() == v1::TaskStatus::Succeeded {
                return tasks;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let tasks = tokio::time::timeout(std::time::Duration::from_secs(60), look).await;
    let tasks = tasks.expect("`goes-on` succeeds");
    let statuses: Vec<v1::TaskStatus> = tasks.iter().map(v1::Task::status).collect();
    use v1::TaskStatus::{Blocked, Failed, Running, Skipped, Succeeded};
    assert_eq!(statuses[..6], [Failed, Failed, Skipped, Succeeded, Succeeded, Blocked]);
    assert!(matches!(statuses[6], Running | v1::TaskStatus::Placed));
    assert!(tasks[0].message.contains("is not a JSON array"), "{}", tasks[0].message);
    assert!(tasks[1].message.contains("item 1, `{\"j\":2}`, has no `k`"), "{}", tasks[1].message);
    let counts: Vec<Option<u32>> = tasks.iter().map(|task| task.array_count).collect();
    assert_eq!(counts[..6], [None, None, None, Some(0), None, None]);

    let (_, said, _) = cluster.muster(&["get", "tasks", "odd/1"]);
    assert!(said.contains("blocked 0/?") && said.contains("succeeded 0/0"), "{said}");
    let (_, said, _) = cluster.muster(&["explain", "odd/1/late"]);
    assert!(said.contains("is not known yet: it goes through `params.rows`"), "{said}");
    let (_, said, _) = cluster.muster(&["explain", "odd/1/none"]);
    assert!(said.contains("`params.none` has no items"), "{said}");
    let (_, said, _) = cluster.muster(&["describe", "task", "odd/1/broken"]);
    assert!(said.contains("foreach: `params.broken`"), "{said}");
    let (code, _, said) = cluster.muster(&["logs", "odd/1/late"]);
    assert!(code == 5 && said.contains("not known yet"), "{code} {said}");
    cluster.client.cancel(&run).await.expect("it is live");
}
