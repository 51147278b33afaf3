//! A small log that really was applied, and ways to show another one to the auditor than was.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_checker::{Applying, Auditor, Ledger, Nanos, Verdict};
use muster_core::apply::Applied;
use muster_core::command::{
    AttemptRef, CancelRun, Command, Entry, Finish, FinishAttempts, LoseWorker, Outcome,
    PlaceAttempts, Placement, RegisterWorker, RequestKey, RunSource, SubmitRun,
};
use muster_core::ids::{Fence, LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::{ExecutorSpec, Resources, TaskSpec, WorkflowSpec};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::time::{Millis, Timestamp};

/// Between two entries, by the history's clock.
pub(crate) const STEP: u64 = 100;

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("tests use good names")
}

/// `a: b c` is a task with what it needs.
pub(crate) fn workflow(tasks: &[&str]) -> WorkflowSpec {
    let task = |line: &&str| {
        let (id, needs) = line.split_once(':').unwrap_or((line, ""));
        let mut task = TaskSpec::new(name(id), ExecutorSpec::Noop);
        task.needs = needs.split_whitespace().map(name).collect();
        task.retry.backoff.jitter_millis = 0;
        task
    };
    WorkflowSpec::new(name("etl"), tasks.iter().map(task).collect())
}

pub(crate) fn register(worker: &str, incarnation: u64, cores: u64) -> Command {
    Command::RegisterWorker(RegisterWorker {
        name: worker.into(),
        incarnation,
        labels: BTreeMap::new(),
        pool: None,
        lease: Millis(0),
        capacity: Resources { cpu_millis: cores * 1000, ..Resources::ZERO },
    })
}

pub(crate) fn key(id: &str, digest: u64) -> Option<RequestKey> {
    Some(RequestKey { id: id.into(), digest })
}

pub(crate) fn submit(request: &str, spec: &WorkflowSpec) -> Command {
    Command::SubmitRun(SubmitRun {
        request: key(request, 1),
        namespace: name("default"),
        source: RunSource::Apply(Box::new(spec.clone())),
        params: Arc::default(),
        priority: None,
        backfill: None,
    })
}

pub(crate) fn without_request(mut command: Command) -> Command {
    if let Command::SubmitRun(it) = &mut command {
        it.request = None;
    }
    command
}

pub(crate) fn cancel(request: &str, run: u64) -> Command {
    Command::CancelRun(CancelRun { request: key(request, 2), run: RunId(run) })
}

pub(crate) fn lose(worker: u64) -> Command {
    Command::LoseWorker(LoseWorker { worker: WorkerId(worker) })
}

pub(crate) fn place(run: u64, task: u32, worker: u64) -> Command {
    let (run, task, worker) = (RunId(run), TaskIndex(task), WorkerId(worker));
    let placement = Placement { run, task, range: IndexRange::single(0), worker };
    Command::PlaceAttempts(PlaceAttempts { placements: vec![placement] })
}

pub(crate) fn succeeded() -> Outcome {
    Outcome::Succeeded { outputs: None }
}

pub(crate) fn failed() -> Outcome {
    Outcome::Failed { exit_code: Some(1), message: None }
}

pub(crate) fn finish(run: u64, task: u32, fence: u64, outcome: Outcome) -> Command {
    let attempt = AttemptRef {
        run: RunId(run),
        task: TaskIndex(task),
        range: IndexRange::single(0),
        fence: Fence(fence),
    };
    let finish = Finish { attempt, outcome, duration: Millis(5) };
    Command::FinishAttempts(FinishAttempts { finishes: vec![finish] })
}

/// A log, its state, and the auditor that watches.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) state: State,
    pub(crate) auditor: Auditor,
    pub(crate) index: u64,
    pub(crate) term: Option<u64>,
}

impl Log {
    pub(crate) fn entry(&self, commands: &[Command]) -> Entry {
        Entry { at: Timestamp(self.index * STEP), commands: commands.to_vec() }
    }

    /// Applies an entry and shows it as it is.
    pub(crate) fn go(&mut self, command: Command) -> Applied {
        self.claim(std::slice::from_ref(&command), std::slice::from_ref(&command))
    }

    /// Applies some commands, and claims that they were others. The answers are those that were given.
    pub(crate) fn claim(&mut self, claimed: &[Command], real: &[Command]) -> Applied {
        self.index += 1;
        let (claimed, real) = (self.entry(claimed), self.entry(real));
        let applied = self.state.apply(LogIndex(self.index), &real);
        let state = self.state.clone();
        self.show(1, &claimed, &state, &applied);
        applied
    }

    /// Applies a command, and shows nothing yet: the entry, the state after it, and what apply returned.
    pub(crate) fn prepare(&mut self, command: Command) -> (Entry, State, Applied) {
        self.prepare_all(&[command])
    }

    pub(crate) fn prepare_all(&mut self, commands: &[Command]) -> (Entry, State, Applied) {
        self.index += 1;
        let entry = self.entry(commands);
        let applied = self.state.apply(LogIndex(self.index), &entry);
        (entry, self.state.clone(), applied)
    }

    /// Claims that a command was answered so, and applies nothing but a tick.
    pub(crate) fn answer(&mut self, claimed: Command, reply: Result<Reply, Rejection>) {
        let (_, state, mut applied) = self.prepare(Command::Tick);
        applied.replies = vec![reply];
        let entry = self.entry(&[claimed]);
        self.show(1, &entry, &state, &applied);
    }

    /// Shows what one replica claims.
    pub(crate) fn show(&mut self, replica: u64, entry: &Entry, after: &State, applied: &Applied) {
        self.auditor.observe(&Applying {
            replica,
            incarnation: 0,
            index: LogIndex(self.index),
            term: self.term,
            at: Some(Nanos(self.index * STEP)),
            entry,
            after,
            applied,
        });
    }

    /// Goes on one entry in which nothing is asked for, and claims that this state came of it.
    pub(crate) fn turn_into(&mut self, state: State) {
        self.index += 1;
        let entry = self.entry(&[Command::Tick]);
        let mut state = state;
        let applied = state.apply(LogIndex(self.index), &entry);
        self.show(1, &entry, &state, &applied);
        self.state = state;
    }

    pub(crate) fn finish(self) -> (Verdict, Ledger) {
        self.auditor.finish()
    }
}

/// Two workers, a run of `a` and then `b` with `a` placed on the first worker under fence 4.
pub(crate) fn begun(spec: &WorkflowSpec) -> Log {
    let mut log = Log::default();
    log.go(register("alpha", 7, 1));
    log.go(register("beta", 8, 1));
    log.go(submit("r1", spec));
    log.go(place(1, 0, 1));
    log
}
