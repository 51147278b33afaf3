//! The truth table in the reference is what the core does: every cell of it is read from there and played.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use muster_core::command::{
    Command, Entry, Finish, FinishAttempts, Outcome, PlaceAttempts, Placement, RegisterWorker,
    RunSource, SubmitRun,
};
use muster_core::ids::{LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::spec::{self, Resources};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::Run;
use muster_core::state::task::TaskState;
use muster_core::time::{Millis, Timestamp};

/// The cells of each line of the table, its head first.
fn table() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/workflow-reference.md");
    let page = fs::read_to_string(page).expect("the reference is there");
    let lines = page.lines().skip_while(|line| !line.starts_with("| Upstream ended |"));
    let lines = lines.take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim().trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    lines.filter(|line| !line.starts_with("|---")).map(cells).collect()
}

/// The upstream task of this number, such that it can end so. Whatever it needs for that comes before it.
fn upstream(number: usize, end: &str) -> String {
    match end {
        "succeeded" | "failed" => format!("  u{number}: {{noop: true}}\n"),
        "skipped (failure)" => {
            format!("  p{number}: {{noop: true}}\n  u{number}: {{noop: true, needs: p{number}}}\n")
        }
        "skipped" => format!(
            "  p{number}: {{noop: true}}\n  \
             u{number}: {{noop: true, needs: p{number}, if: failure()}}\n"
        ),
        // One of its indices is cancelled, see `cancel_first_index`.
        "cancelled" => format!("  u{number}: {{noop: true, array: 0-1}}\n"),
        other => panic!("`{other}` is not an end"),
    }
}

struct Log {
    state: State,
    index: u64,
}

impl Log {
    fn apply(&mut self, command: Command) {
        self.index += 1;
        let entry = Entry { at: Timestamp(1), commands: vec![command] };
        let applied = self.state.apply(LogIndex(self.index), &entry);
        assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
        self.state.check().expect("the invariants hold");
    }

    fn run(&self) -> &Arc<Run> {
        self.state.run(RunId(1)).expect("the run is live")
    }

    fn task(&self, name: &str) -> TaskIndex {
        let position = self.run().version.spec.tasks.iter().position(|it| it.id.as_str() == name);
        TaskIndex(position.expect("a known task") as u32)
    }

    /// Carries one index of a task out.
    fn finish(&mut self, task: &str, index: u32, is_good: bool) {
        let (run, task, range) = (RunId(1), self.task(task), IndexRange::single(index));
        let placements = vec![Placement { run, task, range, worker: WorkerId(1) }];
        self.apply(Command::PlaceAttempts(PlaceAttempts { placements }));
        let attempt = self.state.attempts_of(WorkerId(1)).remove(0);
        let outcome = match is_good {
            true => Outcome::Succeeded { outputs: None },
            false => Outcome::Failed { exit_code: Some(1), message: None },
        };
        let finishes = vec![Finish { attempt, outcome, duration: Millis(1) }];
        self.apply(Command::FinishAttempts(FinishAttempts { finishes }));
    }

    /// Makes the first index of a task cancelled. No command does that while the run goes on, so it is done to a
    /// snapshot.
    fn cancel_first_index(&mut self, task: &str) {
        let task = self.task(task);
        let mut snapshot = self.state.snapshot();
        let mut run = Run::clone(self.run());
        run.tasks[task.0 as usize].cells.set(IndexRange::single(0), TaskState::Cancelled);
        snapshot.runs.insert(run.id.0, Arc::new(run));
        self.state = State::restore(snapshot).expect("a task may have a cancelled index");
    }

    fn end(&mut self, number: usize, end: &str) {
        let (task, before) = (format!("u{number}"), format!("p{number}"));
        match end {
            "succeeded" => self.finish(&task, 0, true),
            "failed" => self.finish(&task, 0, false),
            "skipped (failure)" => self.finish(&before, 0, false),
            "skipped" => self.finish(&before, 0, true),
            "cancelled" => {
                self.cancel_first_index(&task);
                self.finish(&task, 1, true);
            }
            other => panic!("`{other}` is not an end"),
        }
    }
}

/// What becomes of a task with this line in its file, once its upstream tasks have ended so, one after the other.
fn played(ends: &[&str], line: &str) -> &'static str {
    let mut file = String::from("apiVersion: v1\nkind: Workflow\nname: flow\ntasks:\n");
    for (number, end) in ends.iter().enumerate() {
        file += &upstream(number, end);
    }
    let needs: Vec<String> = (0..ends.len()).map(|number| format!("u{number}")).collect();
    file += "  other: {noop: true}\n";
    file += &format!("  t:\n    noop: true\n    needs: [{}]\n    {line}\n", needs.join(", "));
    let spec =
        spec::parse(&file).unwrap_or_else(|errors| panic!("{}", errors.render_in("", &file)));
    let mut log = Log { state: State::default(), index: 0 };
    log.apply(Command::RegisterWorker(RegisterWorker {
        name: "w".into(),
        incarnation: 1,
        labels: Default::default(),
        pool: None,
        capacity: Resources { cpu_millis: 9000, ..Resources::ZERO },
        lease: Millis(5000),
    }));
    log.apply(Command::SubmitRun(SubmitRun {
        request: None,
        namespace: Name::parse("default").expect("a name"),
        source: RunSource::OneOff(Box::new(spec.into_iter().next().expect("one workflow"))),
        params: Arc::default(),
        priority: None,
        backfill: None,
    }));
    for (number, end) in ends.iter().enumerate() {
        log.end(number, end);
    }
    let task = log.run().task(log.task("t")).expect("it is in the run");
    match task.cells.at(0).map(|(_, state)| *state) {
        Some(TaskState::Ready { .. }) => "starts",
        Some(TaskState::Undecided { .. }) => "asked",
        Some(TaskState::Skipped { by_failure: false }) => "skipped",
        Some(TaskState::Skipped { by_failure: true }) => "skipped (failure)",
        other => panic!("t is {other:?}"),
    }
}

#[test]
fn the_reference_says_what_the_core_does() {
    let table = table();
    let (head, rows) = table.split_first().expect("the table is in the reference");
    assert!(head.len() > 7 && rows.len() > 12, "the table is whole: {head:?}");
    let mut wrong = Vec::new();
    for row in rows {
        assert_eq!(row.len(), head.len(), "{row:?}");
        let ends: Vec<&str> = row[0].split(", ").collect();
        for (line, said) in head.iter().zip(row).skip(1) {
            let line = line.trim_matches('`');
            let found = played(&ends, line);
            if found != said {
                wrong.push(format!("`{line}` after {}: {said} in the table, {found}", row[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
