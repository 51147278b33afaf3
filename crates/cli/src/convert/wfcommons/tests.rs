use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use muster_core::graph::Graph;
use muster_core::spec::{ExecutorSpec, ProcessCommand, TaskSpec, WorkflowSpec, parse};
use serde_json::json;

use super::*;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/traces")
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(samples().join(name)).expect("it is part of the repository")
}

fn workflow(json: &str, options: &Options) -> WorkflowSpec {
    let text = convert(json, options).unwrap_or_else(|error| panic!("{error}"));
    parse(&text).expect("a converted trace is a workflow").remove(0)
}

/// The needs of every task, as `b: a c`.
fn needs(spec: &WorkflowSpec) -> Vec<String> {
    let line = |task: &TaskSpec| {
        let needs: Vec<&str> = task.needs.iter().map(Name::as_str).collect();
        format!("{}: {}", task.id, needs.join(" "))
    };
    spec.tasks.iter().map(line).collect()
}

/// A trace from `(id, parents, children, inputs, outputs, seconds)`.
type Row<'r> = (&'r str, &'r [&'r str], &'r [&'r str], &'r [&'r str], &'r [&'r str], f64);

fn trace(rows: &[Row<'_>]) -> String {
    let task = |row: &Row<'_>| {
        json!({"id": row.0, "name": row.0, "parents": row.1, "children": row.2,
            "inputFiles": row.3, "outputFiles": row.4})
    };
    let run = |row: &Row<'_>| json!({"id": row.0, "runtimeInSeconds": row.5});
    json!({
        "name": "made-up", "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": rows.iter().map(task).collect::<Vec<_>>()},
            "execution": {"tasks": rows.iter().map(run).collect::<Vec<_>>()},
        },
    })
    .to_string()
}

fn script(task: &TaskSpec) -> (&str, Vec<&str>) {
    let ExecutorSpec::Process(process) = &task.executor else { panic!("a process") };
    let ProcessCommand::Script { text, shell } = &process.command else { panic!("a script") };
    (text, shell.iter().map(|word| &**word).collect())
}

/// Carries a task out as a worker does.
fn run(task: &TaskSpec, fence: usize) -> Output {
    let (text, shell) = script(task);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("script");
    std::fs::write(&file, text).expect("the script is written");
    let env: BTreeMap<&str, &str> =
        task.env.iter().map(|(key, value)| (&**key, &**value)).collect();
    Command::new(shell[0])
        .args(&shell[1..])
        .arg(&file)
        .current_dir(folder.path())
        .envs(env)
        .env("MUSTER_RUN_NUMBER", "7")
        .env("MUSTER_FENCE", fence.to_string())
        .output()
        .expect("there is a shell")
}

#[test]
fn samples_become_the_workflows_they_show() {
    let spec = workflow(&sample("diamond-4.json"), &Options::default());
    assert_eq!(spec.name.as_str(), "diamond-4");
    assert_eq!(
        needs(&spec),
        ["fetch_1: ", "left_2: fetch_1", "right_3: fetch_1", "join_4: left_2 right_3"]
    );
    assert!(script(&spec.tasks[1]).0.contains("sleep 0.300\n"));
    assert!(!script(&spec.tasks[3]).0.contains("sleep"), "less than a millisecond is not slept");
    assert_eq!(spec.tasks[0].request.resources.cpu_millis, 100);
    assert_eq!(spec.tasks[0].env["WORKDIR"], "/tmp/muster-diamond-4".into());

    let spec =
        workflow(&sample("fork-join-9.json"), &Options { time_scale: 2.0, ..Options::default() });
    assert_eq!(spec.tasks.len(), 9);
    assert!(script(&spec.tasks[0]).0.contains("sleep 0.400\n"));
    assert_eq!(needs(&spec)[7], "merge_8: count_5 count_6 count_7");
}

#[test]
fn a_converted_trace_runs_and_checks_its_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let workdir = folder.path().join("it's $HOME \"here\"");
    let workdir = workdir.to_str().expect("it is text").to_owned();
    for name in ["diamond-4.json", "fork-join-9.json"] {
        let options = Options { time_scale: 0.0, workdir: Some(workdir.clone()), name: None };
        let spec = workflow(&sample(name), &options);
        let last = spec.tasks.last().expect("there are tasks");
        let early = run(last, 1);
        assert_eq!(early.status.code(), Some(66), "{early:?}");
        assert!(String::from_utf8_lossy(&early.stderr).contains("is missing"), "{early:?}");

        let graph = Graph::build(&spec.tasks).expect("it is a DAG");
        for (at, task) in graph.order().iter().enumerate() {
            let output = run(&spec.tasks[task.0 as usize], 10 + at);
            assert!(output.status.success(), "{output:?}");
        }
        // Once more, as after a loss: what is there already is written again.
        let again = run(last, 100);
        assert!(again.status.success(), "{again:?}");
    }
    let run_folder = Path::new(&workdir).join("7");
    let mut files: Vec<String> = std::fs::read_dir(&run_folder)
        .expect("the run has a folder")
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files.len(), 15, "{files:?}");
    assert!(files.contains(&"raw_tiles.bin".to_owned()), "{files:?}");
    assert!(files.iter().all(|file| !file.starts_with(".part")), "{files:?}");
}

#[test]
fn parents_children_and_files_all_count() {
    let spec = workflow(
        &trace(&[
            ("A", &[], &["B"], &["outside"], &["x"], 0.0),
            ("B", &["B"], &[], &[], &[], 0.0),
            ("C", &["A", "A"], &[], &["x", "x"], &["x"], 0.0),
            ("D", &[], &[], &["x", "outside"], &[], 0.0),
        ]),
        &Options::default(),
    );
    assert_eq!(needs(&spec), ["a: ", "b: a", "c: a", "d: a c"]);
    assert!(
        !script(&spec.tasks[0]).0.contains("outside"),
        "files that no task writes are not looked for"
    );
    assert!(!script(&spec.tasks[3]).0.contains("outside"));
    assert!(script(&spec.tasks[3]).0.contains("for f in x; do [ -e"));
}

#[test]
fn what_contradicts_the_parents_is_left_out_and_said() {
    let json = trace(&[
        ("a", &[], &[], &["from-c"], &["from-a"], 0.0),
        ("b", &["a"], &["a"], &["from-a"], &[], 0.0),
        ("c", &["b"], &[], &[], &["from-c"], 0.0),
    ]);
    let text = convert(&json, &Options::default()).expect("it can be converted");
    assert!(text.contains("#   \"a\" after \"b\", because of a declared child\n"), "{text}");
    assert!(text.contains("#   \"a\" after \"c\", because of the file \"from-c\"\n"), "{text}");
    let spec = workflow(&json, &Options::default());
    assert_eq!(needs(&spec), ["a: ", "b: a", "c: b"]);
    assert!(!script(&spec.tasks[0]).0.contains("from-c;"), "the file cannot be there yet");
}

#[test]
fn hostile_names_stay_words() {
    let evil = "x\"; touch /tmp/evil; $(id) `id` '\n- ${{ run.id }}";
    let json = trace(&[
        (evil, &[], &[], &[], &[evil, "../../up", "-rf"], 0.0),
        ("null", &[evil], &[], &[evil], &[], 0.0),
        ("b", &["null"], &[], &[], &[], 0.0),
    ]);
    let spec = workflow(&json, &Options { name: None, ..Options::default() });
    assert_eq!(spec.tasks.len(), 3);
    let text = script(&spec.tasks[0]).0;
    assert!(
        !text.contains("touch /tmp") && !text.contains("$(id)") && !text.contains("/up"),
        "{text}"
    );
    assert_eq!(needs(&spec)[2], "b: null");
}

#[test]
fn errors_say_what_is_wrong() {
    let error =
        |json: &str| convert(json, &Options::default()).expect_err("it is wrong").to_string();
    assert_eq!(
        error("{\"schemaVersion\": \"1.5\",\n  oops"),
        "line 2, column 3: key must be a string"
    );
    assert!(error("[1]").starts_with("line 1, column 2: "), "{}", error("[1]"));
    assert!(error("{}").contains("no `schemaVersion`"));
    assert!(
        error(r#"{"schemaVersion": "1.4", "workflow": {}}"#).contains("WfFormat 1.4; only 1.5")
    );
    assert!(error(r#"{"schemaVersion": "1.5"}"#).contains("missing field `workflow`"));
    let row: Row<'_> = ("a", &[], &[], &[], &[], 0.0);
    assert!(error(&trace(&[row, row])).contains("two tasks with the id `a`"));
    assert!(
        error(&trace(&[("a", &["z"], &[], &[], &[], 0.0)])).contains("names `z` as its parent")
    );
    assert!(error(&trace(&[("a", &[], &[], &[], &[], -1.0)])).contains("would sleep -1 seconds"));
    assert!(error(&trace(&[("a", &[], &[], &[], &[], 1e300)])).contains("366 days"));
    assert!(error(&trace(&[])).contains("no valid workflow"));
    let cycle = trace(&[("a", &["b"], &[], &[], &[], 0.0), ("b", &["a"], &[], &[], &[], 0.0)]);
    assert!(error(&cycle).contains("cycle through a, b"));
}

#[test]
fn options_are_checked() {
    let json = sample("diamond-4.json");
    let with = |options: Options| convert(&json, &options);
    assert!(with(Options { time_scale: f64::NAN, ..Options::default() }).is_err());
    assert!(with(Options { time_scale: -1.0, ..Options::default() }).is_err());
    assert!(with(Options { workdir: Some("here".into()), ..Options::default() }).is_err());
    assert!(with(Options { name: Some("Not A Name".into()), ..Options::default() }).is_err());
    let text =
        with(Options { name: Some("mine".into()), ..Options::default() }).expect("all is well");
    assert!(text.contains("\nname: mine\n") && text.contains("/tmp/muster-mine"));
}

/// Real traces are large and not ours to keep; point `MUSTER_TRACES` at a folder of them.
#[test]
fn real_traces_become_workflows() {
    let Some(folder) = std::env::var_os("MUSTER_TRACES") else {
        println!(
            "SKIPPED: set MUSTER_TRACES to a folder of WfFormat 1.5 files to convert them all"
        );
        return;
    };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("MUSTER_TRACES is a folder") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let json = std::fs::read_to_string(&path).expect("it is text");
            let recorded: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            let tasks =
                recorded["workflow"]["specification"]["tasks"].as_array().expect("it has tasks");
            let spec = workflow(&json, &Options::default());
            assert_eq!(spec.tasks.len(), tasks.len(), "{}", path.display());
            let edges: usize = spec.tasks.iter().map(|task| task.needs.len()).sum();
            println!("{}: {} tasks, {edges} dependencies", path.display(), tasks.len());
            count += 1;
        }
    }
    assert!(count > 0, "the folder has traces");
}
