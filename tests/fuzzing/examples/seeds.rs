//! Writes inputs to begin with, one folder a target: well-formed ones, for a fuzzer hardly finds those by itself.
//!
//! `cargo run -p muster-fuzzing --example seeds FOLDER`

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use muster_core::command::{
    AttemptRef, CancelRun, Command, Entry, Finish, FinishAttempts, LoseWorker, Outcome,
    PlaceAttempts, Placement, RegisterWorker, ReleaseTask, RequestKey, RunSource, Start,
    StartAttempts, SubmitRun,
};
use muster_core::ids::{Fence, Name, RunId, TaskIndex, WorkerId};
use muster_core::spec::{Resources, WorkflowSpec, parse};
use muster_core::state::cells::IndexRange;
use muster_core::time::{Millis, Timestamp};
use muster_fuzzing::mutate::Draw;
use muster_fuzzing::{Replicas, frame, shards_to_bytes};
use muster_proto::convert::{encode_entry, spec_to_proto, task_to_proto};
use muster_proto::internal::v1::Register;
use muster_proto::v1::submit_run_request::What;
use muster_proto::v1::workflow_source::Source;
use muster_proto::{convert, v1};
use prost::Message;

/// Steps of random bytes that are written.
const STEPS: usize = 40;
/// Bytes of each.
const STEPS_BYTES: usize = 200;

fn main() -> io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).unwrap_or_else(|| "seeds".into()).into();
    write(&folder, "entry", entries())?;
    write(&folder, "log", logs())?;
    write(&folder, "request", requests())?;
    write(&folder, "schedule", schedules())?;
    write(&folder, "snapshot", snapshots())?;
    write(&folder, "steps", steps())?;
    write(&folder, "text", texts())?;
    write(&folder, "workflow", files()?)
}

fn write(folder: &Path, target: &str, inputs: Vec<Vec<u8>>) -> io::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    for (number, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), input)?;
    }
    Ok(())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The workflow files of the examples and of the core's tests, each as it is.
fn files() -> io::Result<Vec<Vec<u8>>> {
    let mut files = vec![fs::read(repository().join("crates/core/tests/spec/good.yaml"))?];
    for folder in ["examples", "crates/core/tests/spec/bad"] {
        for file in fs::read_dir(repository().join(folder))? {
            let path = file?.path();
            if path.extension().is_some_and(|it| it == "yaml") {
                files.push(fs::read(path)?);
            }
        }
    }
    Ok(files)
}

fn specs() -> Vec<WorkflowSpec> {
    let texts = files()
        .expect("the repository is readable")
        .into_iter()
        .filter_map(|file| String::from_utf8(file).ok());
    texts.filter_map(|text| parse(&text).ok()).flatten().collect()
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn submit(source: RunSource) -> Command {
    let request = Some(RequestKey { id: "k".into(), digest: 7 });
    let params = BTreeMap::from([(name("p"), "v".into())]);
    let namespace = name("n");
    Command::SubmitRun(SubmitRun {
        request,
        namespace,
        source,
        params: params.into(),
        priority: Some(3),
        backfill: None,
    })
}

fn attempt(run: u64, task: u32, first: u32, last: u32, fence: u64) -> AttemptRef {
    let range = IndexRange { first, last };
    AttemptRef { run: RunId(run), task: TaskIndex(task), range, fence: Fence(fence) }
}

/// Entries that fit the scene: its live attempts have the fences 10 and 14.
fn entries() -> Vec<Vec<u8>> {
    let entry = |after: u64, command| {
        frame(&encode_entry(&Entry { at: Timestamp(1100 + after), commands: vec![command] }))
    };
    let place = |run, task, first, last, worker| Placement {
        run: RunId(run),
        task: TaskIndex(task),
        range: IndexRange { first, last },
        worker: WorkerId(worker),
    };
    let finish = |attempt, outcome| Finish { attempt, outcome, duration: Millis(9) };
    let outputs = BTreeMap::from([("k".into(), "v".into())]);
    let rows = [
        Command::Tick,
        Command::PlaceAttempts(PlaceAttempts {
            placements: vec![place(2, 0, 30, 40, 1), place(4, 0, 3, 4, 2), place(5, 0, 0, 0, 1)],
        }),
        Command::StartAttempts(StartAttempts {
            starts: vec![Start { attempt: attempt(2, 0, 10, 20, 10), age: Millis(3) }],
        }),
        Command::FinishAttempts(FinishAttempts {
            finishes: vec![
                finish(attempt(2, 0, 6, 8, 10), Outcome::Succeeded { outputs: None }),
                finish(
                    attempt(2, 1, 0, 0, 10),
                    Outcome::Succeeded { outputs: Some(outputs.into()) },
                ),
                finish(
                    attempt(2, 0, 9, 9, 10),
                    Outcome::Failed { exit_code: Some(-9), message: Some("m".into()) },
                ),
                finish(attempt(1, 1, 0, 1, 14), Outcome::Lost),
                finish(attempt(1, 1, 2, 2, 14), Outcome::TimedOut),
            ],
        }),
        Command::ReleaseTask(ReleaseTask {
            request: None,
            run: RunId(1),
            task: TaskIndex(1),
            rerun: true,
        }),
        Command::LoseWorker(LoseWorker { worker: WorkerId(1) }),
        Command::CancelRun(CancelRun { request: None, run: RunId(2) }),
        Command::RegisterWorker(RegisterWorker {
            name: "w9".into(),
            incarnation: 9,
            labels: BTreeMap::new(),
            pool: Some("q".into()),
            lease: Millis(5_000),
            capacity: Resources::default(),
        }),
        submit(RunSource::Workflow { workflow: name("a"), version: Some(1) }),
        submit(RunSource::Workflow { workflow: name("b"), version: None }),
    ];
    let singles: Vec<Vec<u8>> = (0..).zip(rows).map(|(after, row)| entry(after * 5, row)).collect();
    let specs = specs().into_iter().map(|spec| entry(9, submit(RunSource::Apply(Box::new(spec)))));
    let mut inputs: Vec<Vec<u8>> = specs.collect();
    inputs.push(singles.concat());
    inputs.extend(singles);
    inputs
}

/// Each stage undamaged, and each kind of damage.
fn logs() -> Vec<Vec<u8>> {
    let kinds = (0..6u8).map(|kind| vec![8, kind, 40, 0, 9, 5]);
    (0..9u8).map(|stage| vec![stage]).chain(kinds).collect()
}

fn requests() -> Vec<Vec<u8>> {
    let message = |kind: u8, bytes: Vec<u8>| [vec![kind], frame(&bytes)].concat();
    let source = |source| Some(v1::WorkflowSource { source: Some(source) });
    let mut inputs = Vec::new();
    for spec in specs() {
        let spec_message = source(Source::Spec(spec_to_proto(&spec)));
        let what = spec_message.clone().map(What::Source);
        let params = spec.params.keys().map(|name| (name.to_string(), "v".to_owned())).collect();
        let submit =
            v1::SubmitRunRequest { request_id: "k".into(), what, params, ..Default::default() };
        inputs.push(message(0, submit.encode_to_vec()));
        let apply = v1::ApplyWorkflowRequest { source: spec_message, ..Default::default() };
        inputs.push(message(1, apply.encode_to_vec()));
        inputs.push(message(3, task_to_proto(&spec.tasks[0]).encode_to_vec()));
        let executor = convert::executor_to_proto(&spec.tasks[0].executor);
        inputs.push(message(4, executor.encode_to_vec()));
    }
    let manifest = "apiVersion: v1\nkind: Workflow\nname: m\ntasks: {t: {run: x}}\n".to_owned();
    let what = source(Source::Manifest(manifest)).map(What::OneOff);
    let one_off = v1::SubmitRunRequest { what, priority: Some(-2), ..Default::default() };
    inputs.push(message(0, one_off.encode_to_vec()));
    let what = Some(What::Workflow("a".into()));
    inputs.push(message(
        0,
        v1::SubmitRunRequest { what, version: 1, ..Default::default() }.encode_to_vec(),
    ));
    let capacity = Some(convert::resources_to_proto(&Resources::default()));
    let labels = BTreeMap::from([("l".to_owned(), "m".to_owned())]);
    let register =
        Register { name: "w8".into(), incarnation: 3, capacity, labels, ..Default::default() };
    inputs.push(message(2, register.encode_to_vec()));
    inputs
}

fn steps() -> Vec<Vec<u8>> {
    let mut draw = Draw::new(3);
    (0..STEPS).map(|_| (0..STEPS_BYTES).map(|_| draw.number() as u8).collect()).collect()
}

/// The scene, and what becomes of it after a tick, a lost worker, and a cancelled run.
fn snapshots() -> Vec<Vec<u8>> {
    let mut replicas = Replicas::new();
    let mut inputs = Vec::new();
    for command in [
        Command::Tick,
        submit(RunSource::Workflow { workflow: name("a"), version: None }),
        Command::LoseWorker(LoseWorker { worker: WorkerId(2) }),
        Command::CancelRun(CancelRun { request: None, run: RunId(2) }),
        Command::CancelRun(CancelRun { request: None, run: RunId(4) }),
    ] {
        let at = replicas.state().now() + Millis(3);
        replicas.apply(&Entry { at, commands: vec![command] });
        inputs.extend(shards_to_bytes(&replicas.state().snapshot()));
    }
    inputs
}

/// Each in a zone of its own, with some jitter and a deadline.
fn schedules() -> Vec<Vec<u8>> {
    let (at, every, cron, quartz) = (0, 1, 2, 6);
    let kinds: [(u8, &[&str]); 4] = [
        (at, &["2027-03-14T02:30", "2026-12-01", "2026-12-01T09:00:00+01:00"]),
        (every, &["1000", "900000\n2026-12-01T00:07", "86400000\n\n2030-01-01"]),
        (
            cron,
            &[
                "*/20 * * * *",
                "30 2 * * 1-5\n2026-01-01\n2031-01-01\n2026-12-24/2026-12-26",
                "0 0 L * *",
                "0 9 * * MON#2",
                "15 10 15W * ?",
                "@daily",
                "@every 15m",
                "0 0 29 2 *",
            ],
        ),
        (quartz, &["0 0 12 ? * 2-6", "0 0/5 14,18 * * ? 2027-2030", "0 15 10 ? * 6L"]),
    ];
    let lines = kinds.into_iter().flat_map(|(kind, lines)| lines.iter().map(move |it| (kind, it)));
    let input = |(zone, (kind, line)): (u8, (u8, &&str))| {
        let choices = [kind, zone % 7, 0, 1, 0, 9, 5];
        let moments = [3, 0, 50, 1, 100, 0, 200, 0, 7, 0, 20];
        [&choices[..], &frame(line.as_bytes()), &moments].concat()
    };
    (0..).zip(lines).map(input).collect()
}

fn texts() -> Vec<Vec<u8>> {
    let kinds: [(u8, &[&str]); 6] = [
        (0, &["1h30m", "1.5h", "90s", "250ms", "0", "366d", "30", "0.25s"]),
        (1, &["2", "0.5", "500m", "1.250"]),
        (2, &["256Mi", "1.5Gi", "0.1k", "1Pi", "1048576"]),
        (
            4,
            &[
                "a-${{params.day}}${{ needs.get-it.outputs.rows }}!",
                "${{ run.id }}",
                "$${{ array.index }}",
            ],
        ),
        (5, &["etl", "a-b_c9"]),
        (6, &["meta", "runs/12", "requests/18446744073709551615"]),
    ];
    let text = |kind: u8, text: &str| {
        [Bytes::from(vec![kind]), Bytes::copy_from_slice(text.as_bytes())].concat()
    };
    let inputs =
        kinds.into_iter().flat_map(|(kind, texts)| texts.iter().map(move |it| text(kind, it)));
    inputs.chain([text(3, "12")]).collect()
}
