//! Bytes of format 1, as they were when it was made. They are on people's disks: if one of these tests fails, the
//! encoding changed, and what older masters wrote can no longer be read (or what is written can no longer be read by
//! them). A new field leaves the old bytes readable; add a fixture for it instead of changing one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use muster_core::command::{
    ApplyWorkflow, AttemptRef, CancelRun, Command, DrainWorker, Entry, Finish, FinishAttempts,
    LoseWorker, Outcome, PlaceAttempts, Placement, PruneHistory, RegisterWorker, ReleaseTask,
    RequestKey, RunSource, Start, StartAttempts, SubmitRun, UpgradeCluster,
};
use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, WorkerId};
use muster_core::reply::Reply;
use muster_core::snapshot::Snapshot;
use muster_core::spec::{
    ArraySpec, ExecutorSpec, ParamSpec, ProcessCommand, ProcessSpec, Resources, TaskSpec,
    WorkflowSpec,
};
use muster_core::state::Meta;
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::requests::AnsweredRequest;
use muster_core::state::run::{Run, RunEnded, RunStatus};
use muster_core::state::task::{
    Attempt, FailureReason, LastAttempt, Stop, StopReason, TaskState, Tries,
};
use muster_core::state::worker::{Worker, WorkerStatus};
use muster_core::state::workflow::{Workflow, WorkflowVersion};
use muster_core::time::{Millis, Timestamp};
use muster_proto::convert::{
    ShardId, decode_ended_run, decode_entry, decode_snapshot, encode_ended_run, encode_entry,
    encode_shard, shards,
};

use crate::states::name;

const NOW: Timestamp = Timestamp(1_760_000_000_000);

fn spec() -> WorkflowSpec {
    let script = ProcessCommand::Script { text: "make".into(), shell: vec!["bash".into()] };
    let process = ProcessSpec { command: script, working_dir: Some("/srv".into()) };
    let mut build = TaskSpec::new(name("build"), ExecutorSpec::Process(process));
    build.env = BTreeMap::from([("LEVEL".into(), "3".into())]);
    build.outputs = vec!["rows".into()];
    build.timeout = Some(Millis::from_secs(60));
    let argv = ProcessCommand::Argv(vec!["true".into(), "-x".into()]);
    let process = ProcessSpec { command: argv, working_dir: None };
    let mut test = TaskSpec::new(name("test"), ExecutorSpec::Process(process));
    test.needs = vec![name("build")];
    test.array = Some(ArraySpec { first: 3, last: 1002 });
    test.request.pool = Some("gpu".into());
    test.priority = Some(-7);
    let mut tasks = vec![build, test];
    tasks.extend((0..6).map(|i| TaskSpec::new(name(&format!("t{i}")), ExecutorSpec::Noop)));
    let param = ParamSpec {
        default: Some("eu".into()),
        description: Some("where".into()),
        ..ParamSpec::default()
    };
    WorkflowSpec {
        labels: BTreeMap::from([("team".into(), "data".into())]),
        timeout: Some(Millis::from_secs(3600)),
        priority: 5,
        params: BTreeMap::from([(name("region"), param)]),
        ..WorkflowSpec::new(name("etl"), tasks)
    }
}

fn attempt_ref(run: u64, task: u32, first: u32, last: u32) -> AttemptRef {
    let range = IndexRange { first, last };
    AttemptRef { run: RunId(run), task: TaskIndex(task), range, fence: Fence(900 + run) }
}

fn finishes() -> Vec<Finish> {
    let outputs = BTreeMap::from([("rows".into(), "12".into())]);
    let outcomes = [
        Outcome::Succeeded { outputs: None },
        Outcome::Succeeded { outputs: Some(Arc::new(outputs)) },
        Outcome::Failed { exit_code: Some(-9), message: Some("killed".into()) },
        Outcome::TimedOut,
        Outcome::Cancelled,
        Outcome::Lost,
    ];
    let finish = |(run, outcome)| {
        let attempt = attempt_ref(run, 1, 3, 9);
        Finish { attempt, outcome, duration: Millis(run * 10) }
    };
    (41..).zip(outcomes).map(finish).collect()
}

/// Every kind of command.
fn entry() -> Entry {
    let request = Some(RequestKey { id: "r-1".into(), digest: 0x0123_4567_89AB_CDEF });
    let (run, worker) = (RunId(300), WorkerId(70));
    let placement = |run| {
        let AttemptRef { run, task, range, .. } = attempt_ref(run, 2, 0, 0);
        Placement { run, task, range, worker }
    };
    let commands = vec![
        Command::Tick,
        Command::ApplyWorkflow(ApplyWorkflow {
            request: request.clone(),
            namespace: name("default"),
            spec: Box::new(spec()),
        }),
        Command::SubmitRun(SubmitRun {
            request: request.clone(),
            namespace: name("default"),
            source: RunSource::Workflow { workflow: name("etl"), version: Some(3) },
            params: Arc::new(BTreeMap::from([(name("region"), "us".into())])),
            priority: Some(-1),
            backfill: None,
        }),
        Command::CancelRun(CancelRun { request: request.clone(), run }),
        Command::ReleaseTask(ReleaseTask { request: None, run, task: TaskIndex(2), rerun: true }),
        Command::RegisterWorker(RegisterWorker {
            name: "worker-1".into(),
            incarnation: 7,
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            pool: Some("gpu".into()),
            // Came later: the bytes of then are still read.
            lease: Millis(0),
            capacity: capacity(),
        }),
        Command::DrainWorker(DrainWorker { request, worker, is_draining: true }),
        Command::LoseWorker(LoseWorker { worker }),
        Command::PlaceAttempts(PlaceAttempts { placements: (300..303).map(placement).collect() }),
        Command::StartAttempts(StartAttempts {
            starts: vec![Start { attempt: attempt_ref(300, 2, 0, 0), age: Millis(4) }],
        }),
        Command::FinishAttempts(FinishAttempts { finishes: finishes() }),
        Command::PruneHistory(PruneHistory { ended_before: LogIndex(500) }),
        Command::UpgradeCluster(UpgradeCluster { version: 2 }),
    ];
    Entry { at: NOW, commands }
}

fn capacity() -> Resources {
    let custom = BTreeMap::from([("gpu".into(), 2)]);
    Resources { cpu_millis: 4000, memory_bytes: 1 << 33, custom }
}

fn later(ms: u64) -> Timestamp {
    NOW + Millis(ms)
}

/// A run whose tasks are in every state.
fn run(version: Arc<WorkflowVersion>) -> Run {
    let tries = Tries { attempts: 3, failures: 1, losses: 1 };
    let worker = WorkerId(70);
    let stop = Some(Stop { reason: StopReason::AttemptTimedOut, force_at: Some(later(90)) });
    let attempt = Attempt { worker, fence: Fence(900), placed_at: later(5), stop };
    let last = LastAttempt { worker, fence: Fence(901), started_at: later(6), ended_at: later(60) };
    let params = Arc::new(BTreeMap::from([(name("region"), "us".into())]));
    let mut run = Run::new(RunId(300), 42, version, params, NOW);
    // Came later: runs of then began as they were submitted.
    run.begun_at = Some(NOW);
    run.stop = Some((later(70), StopReason::Cancelled));
    let quiet = Attempt { stop: None, ..attempt };
    let parts = [
        (3, 9, TaskState::Succeeded { tries: Tries::default(), last: None }),
        (10, 10, TaskState::Placed { tries, attempt: quiet }),
        (11, 1002, TaskState::Blocked),
    ];
    let parts = parts.map(|(first, last, state)| (IndexRange { first, last }, state));
    let singles = [
        TaskState::Ready { tries, since: NOW, avoid: Some(worker) },
        TaskState::Running { tries, attempt, started_at: later(6) },
        TaskState::Backoff { tries, until: later(99), avoid: None },
        TaskState::Held { tries },
        TaskState::Failed { tries, reason: FailureReason::Exit(-9), last: Some(last) },
        TaskState::Skipped { by_failure: true },
    ];
    run.tasks[0].cells = Cells::One(TaskState::Succeeded { tries, last: Some(last) });
    run.tasks[0].outputs = Some(Arc::new(BTreeMap::from([("rows".into(), "12".into())])));
    run.tasks[1].cells = Cells::from_ranges(parts).expect("the ranges leave no gap");
    for (task, state) in run.tasks[2..].iter_mut().zip(singles) {
        task.cells = Cells::One(state);
        task.message = Some("no".into());
    }
    // Came later: the states tell.
    for task in &mut run.tasks {
        let tries = task.cells.iter().map(|(_, state)| state.tries().attempts);
        task.attempts = tries.max().unwrap_or_default();
    }
    run
}

fn version() -> Arc<WorkflowVersion> {
    let version = WorkflowVersion::compile(20, name("default"), 3, NOW, spec());
    Arc::new(version.expect("the spec is well-formed"))
}

/// One object of each kind.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        meta: Meta {
            now: NOW,
            cluster_version: 1,
            next_run: 301,
            next_workflow: 12,
            next_version: 21,
            next_worker: 71,
            // Came later: the bytes of then are still read.
            next_action: 1,
            next_namespace: 1,
            pruned_before: LogIndex(0),
        },
        ..Snapshot::default()
    };
    let version = version();
    snapshot.runs.insert(300, Arc::new(run(version.clone())));
    snapshot.versions.insert(20, version);
    let workflow = Workflow {
        id: 11,
        namespace: name("default"),
        name: name("etl"),
        latest: Some(20),
        versions: 3,
        runs: 42,
        // Came later, too.
        earlier: Vec::new(),
        schedules: Vec::new(),
        triggers: Vec::new(),
    };
    snapshot.workflows.insert(11, Arc::new(workflow));
    let worker = Worker {
        id: WorkerId(70),
        name: "worker-1".into(),
        incarnation: 7,
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        pool: Some("gpu".into()),
        capacity: capacity(),
        // Came later, too.
        lease: Millis(0),
        status: WorkerStatus::Lost { at: later(5) },
        registered_at: NOW,
    };
    snapshot.workers.insert(70, Arc::new(worker));
    let reply = Reply::RunSubmitted { run: RunId(300), workflow: name("etl"), number: 42 };
    let request = AnsweredRequest { id: "r-1".into(), digest: 1 << 60, at: NOW, reply };
    snapshot.requests.insert(900, Arc::new(request));
    snapshot
}

fn ended_run() -> Run {
    let mut run = run(version());
    run.ended =
        Some(RunEnded { at: later(100), index: LogIndex(950), status: RunStatus::Cancelled });
    run
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| std::str::from_utf8(pair).ok().and_then(|it| u8::from_str_radix(it, 16).ok());
    digits.map(|pair| byte(pair).expect("fixtures are hexadecimal")).collect()
}

/// Fixtures are lines of a label and bytes.
fn read(file: &str) -> Vec<(String, Bytes)> {
    let text = fs::read_to_string(path(file)).expect("the fixture is in the repository");
    let line = |line: &str| {
        let (label, bytes) = line.split_once(' ').expect("a line has a label and bytes");
        (label.to_owned(), unhex(bytes))
    };
    text.lines().map(line).collect()
}

fn encoded_snapshot() -> Vec<(String, Bytes)> {
    let snapshot = snapshot();
    shards(&snapshot).map(|(id, _)| (id.to_string(), encode_shard(&snapshot, id))).collect()
}

const ENTRY: &str = "entry.1.txt";
const SNAPSHOT: &str = "snapshot.1.txt";
const HISTORY: &str = "history.1.txt";

/// The present encoding of all fixtures, by file.
fn present() -> [(&'static str, Vec<(String, Bytes)>); 3] {
    [
        (ENTRY, vec![("entry".to_owned(), encode_entry(&entry()))]),
        (SNAPSHOT, encoded_snapshot()),
        (HISTORY, vec![("run".to_owned(), encode_ended_run(&ended_run()))]),
    ]
}

#[test]
fn the_encoding_is_what_it_was() {
    for (file, lines) in present() {
        for ((label, now), (label_before, before)) in lines.iter().zip(read(file)) {
            assert_eq!((label, hex(now)), (&label_before, hex(&before)), "in {file}");
        }
        assert_eq!(lines.len(), read(file).len(), "in {file}");
    }
}

#[test]
fn what_was_written_is_read() {
    assert_eq!(decode_entry(&read(ENTRY)[0].1), Ok(entry()));

    let lines = read(SNAPSHOT).into_iter();
    let lines = lines.map(|(id, bytes)| (id.parse::<ShardId>().expect("it is an id"), bytes));
    let decoded = decode_snapshot(lines).expect("what was written decodes");
    let expected = snapshot();
    assert_eq!(decoded.meta, expected.meta);
    assert_eq!(decoded.workflows, expected.workflows);
    assert_eq!(decoded.workers, expected.workers);
    assert_eq!(decoded.requests, expected.requests);
    let version = decoded.versions.get(20).expect("the version is there");
    assert_eq!((&version.spec, version.number, version.applied_at), (&spec(), 3, NOW));
    let run = decoded.runs.get(300).expect("the run is there");
    assert!(Arc::ptr_eq(&run.version, version), "a run shares its version");
    assert_eq!(format!("{run:?}"), format!("{:?}", expected.runs.get(300).expect("it was put in")));

    let run = decode_ended_run(&read(HISTORY)[0].1).expect("what was written decodes");
    assert_eq!(format!("{run:?}"), format!("{:?}", ended_run()));
}

/// Writes the fixtures of a new format. Never for a format that was released.
#[test]
#[ignore = "writes files"]
fn write() {
    for (file, lines) in present() {
        let line = |(label, bytes): (String, Bytes)| format!("{label} {}\n", hex(&bytes));
        let text: String = lines.into_iter().map(line).collect();
        fs::write(path(file), text).expect("the folder can be written");
    }
}
