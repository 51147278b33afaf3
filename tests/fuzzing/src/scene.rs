//! A state in which much is going on, always the same: small numbers name something in it, as a fuzzer likes it.

use std::sync::{Arc, LazyLock};

use muster_core::command::{
    AttemptRef, CancelRun, Command, DrainWorker, Entry, Finish, FinishAttempts, LoseWorker,
    Outcome, PlaceAttempts, Placement, RegisterWorker, RequestKey, RunSource, Start, StartAttempts,
    SubmitRun,
};
use muster_core::ids::{Fence, LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::spec::{self, Resources, WorkflowSpec};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::time::{Millis, Timestamp};

/// When the scene begins, in milliseconds. Small, so that the times in entries are short.
const BEGIN_MS: u64 = 1000;

/// The workflows of the scene, `a` and `b`.
const WORKFLOWS: &str = r#"
apiVersion: v1
kind: Workflow
name: a
params:
  p: {default: x}
tasks:
  t: {run: "true", retry: {limit: 2}, timeout: 4s, queueTimeout: 20s, outputs: [k]}
  u: {run: "true", needs: [t], array: 0-9, onLost: hold, env: {K: "${{ needs.t.outputs.k }}"}}
  v: {noop: {}, needs: [t, u], if: failure()}
---
apiVersion: v1
kind: Workflow
name: b
timeout: 60s
tasks:
  w: {noop: {}, array: 3-40, retry: {limit: 1}, onLost: rerun, maxLost: 2}
  x: {noop: {}, onLost: fail, resources: {gpu: 1}}
  y: {noop: {}, needs: [w, x], rule: any_succeeded}
  z: {noop: {}, needs: [w, x, y], rule: all_done}
"#;

/// The state, and the index of the last entry that it knows.
pub fn scene() -> (State, LogIndex) {
    static SCENE: LazyLock<(State, LogIndex)> = LazyLock::new(build);
    SCENE.clone()
}

/// The workflows that the scene knows.
pub(crate) fn workflows() -> Vec<WorkflowSpec> {
    spec::parse(WORKFLOWS).expect("the scene's workflows are well-formed")
}

/// A name that is known to be one.
pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("names of the scene are well-formed")
}

fn build() -> (State, LogIndex) {
    let mut state = State::default();
    let mut index = LogIndex(0);
    for command in commands() {
        index.0 += 1;
        let entry = Entry { at: Timestamp(BEGIN_MS + index.0), commands: vec![command] };
        let applied = state.apply(index, &entry);
        assert!(applied.replies.iter().all(Result::is_ok), "{entry:?}: {:?}", applied.replies);
    }
    state.check().expect("apply keeps the invariants");
    (state, index)
}

/// In the order of the log. Workers are 1 to 4, runs 1 to 5.
fn commands() -> Vec<Command> {
    let submit = |source, request: Option<&str>| {
        let request = request.map(|id| RequestKey { id: id.into(), digest: 1 });
        let params = Arc::default();
        Command::SubmitRun(SubmitRun {
            request,
            namespace: name("n"),
            source,
            params,
            priority: None,
            backfill: None,
        })
    };
    let mut specs = workflows().into_iter();
    let (a, b) = (specs.next().expect("there are two"), specs.next().expect("there are two"));
    let latest = |workflow| RunSource::Workflow { workflow: name(workflow), version: None };
    let mut commands: Vec<Command> = (1..=4).map(register).collect();
    commands.extend([
        submit(RunSource::Apply(Box::new(a.clone())), Some("r")),
        submit(RunSource::Apply(Box::new(b)), None),
        submit(latest("a"), None),
        submit(latest("b"), None),
        submit(RunSource::OneOff(Box::new(a)), None),
    ]);
    let fence = commands.len() as u64 + 1;
    commands.extend([
        place(&[
            (1, 0, 0, 0, 1),
            (2, 0, 3, 20, 1),
            (2, 1, 0, 0, 2),
            (3, 0, 0, 0, 2),
            (4, 0, 5, 5, 3),
        ]),
        start(&[(1, 0, 0, 0), (2, 0, 3, 9), (4, 0, 5, 5)], fence),
        finish((1, 0, 0, 0), fence, Outcome::Succeeded { outputs: None }),
        finish((2, 0, 4, 5), fence, Outcome::Failed { exit_code: Some(1), message: None }),
        place(&[(1, 1, 0, 4, 2), (1, 1, 6, 7, 3)]),
        Command::LoseWorker(LoseWorker { worker: WorkerId(3) }),
        Command::DrainWorker(DrainWorker { request: None, worker: WorkerId(4), is_draining: true }),
        Command::CancelRun(CancelRun { request: None, run: RunId(3) }),
    ]);
    commands
}

fn register(worker: u64) -> Command {
    Command::RegisterWorker(RegisterWorker {
        name: format!("w{worker}").into(),
        incarnation: worker,
        labels: [("l".into(), "m".into())].into(),
        pool: None,
        lease: Millis(5_000),
        capacity: Resources {
            cpu_millis: 64_000,
            memory_bytes: 1 << 30,
            custom: [("gpu".into(), 2)].into(),
        },
    })
}

/// Run, task, first and last index, worker.
fn place(placements: &[(u64, u32, u32, u32, u64)]) -> Command {
    let placement = |&(run, task, first, last, worker)| Placement {
        run: RunId(run),
        task: TaskIndex(task),
        range: IndexRange { first, last },
        worker: WorkerId(worker),
    };
    let placements = placements.iter().map(placement).collect();
    Command::PlaceAttempts(PlaceAttempts { placements })
}

fn attempt((run, task, first, last): (u64, u32, u32, u32), fence: u64) -> AttemptRef {
    let range = IndexRange { first, last };
    AttemptRef { run: RunId(run), task: TaskIndex(task), range, fence: Fence(fence) }
}

/// Run, task, first and last index.
fn start(attempts: &[(u64, u32, u32, u32)], fence: u64) -> Command {
    let start = |at: &_| Start { attempt: attempt(*at, fence), age: Millis(1) };
    Command::StartAttempts(StartAttempts { starts: attempts.iter().map(start).collect() })
}

fn finish(at: (u64, u32, u32, u32), fence: u64, outcome: Outcome) -> Command {
    let finish = Finish { attempt: attempt(at, fence), outcome, duration: Millis(5) };
    Command::FinishAttempts(FinishAttempts { finishes: vec![finish] })
}

#[cfg(test)]
mod tests {
    use muster_core::state::task::TaskStatus;

    use super::*;

    #[test]
    fn much_is_going_on() {
        let (state, _) = scene();
        let tasks = || state.runs().iter().flat_map(|run| &run.tasks);
        for status in [
            TaskStatus::Blocked,
            TaskStatus::Ready,
            TaskStatus::Placed,
            TaskStatus::Running,
            TaskStatus::Backoff,
            TaskStatus::Held,
            TaskStatus::Succeeded,
        ] {
            let count: u32 = tasks().map(|task| task.cells.tally().of(status)).sum();
            assert!(count > 0, "nothing is {status:?}");
        }
        assert_eq!(state.runs().len(), 5);
        assert!(state.runs().iter().any(|run| run.stop.is_some()));
        assert!(state.next_deadline().is_some());
    }
}
