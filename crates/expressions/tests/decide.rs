//! What expressions come to, on states that the core made.

use std::sync::Arc;

use muster_core::command::{
    Command, Entry, Finish, FinishAttempts, Outcome, PlaceAttempts, Placement, RegisterWorker,
    RunSource, SubmitRun, Verdict,
};
use muster_core::ids::{LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::limits;
use muster_core::spec::{self, Condition, Resources, WorkflowSpec};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::Run;
use muster_core::state::task::Outputs;
use muster_core::time::{Millis, Timestamp};
use muster_expressions::{Moment, decide};

const FILE: &str = "
apiVersion: v1
kind: Workflow
name: flow
params: {region: eu, n: '3', dry-run: 'no', empty: ''}
tasks:
  get-it: {run: x, outputs: [rows, list]}
  bad: {run: x, outputs: [k]}
  sad: {needs: bad, run: x, outputs: [k]}
  never: {run: x, needs: get-it, if: failure(), outputs: [k]}
  late: {run: x}
  asked: {run: x, needs: [get-it, bad, sad, never], if: always() and true}
  alone: {run: x, if: true}
";

fn workflow() -> WorkflowSpec {
    spec::parse(FILE).expect("the file is good").remove(0)
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// A log of one worker.
#[derive(Default)]
struct Log {
    state: State,
    index: u64,
}

impl Log {
    fn apply(&mut self, command: Command) {
        self.index += 1;
        let entry = Entry { at: Timestamp(1_764_000_000_000), commands: vec![command] };
        let applied = self.state.apply(LogIndex(self.index), &entry);
        assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
        self.state.check().expect("the invariants hold");
    }

    fn end(&mut self, task: u32, outcome: Outcome) {
        let (run, task, range) = (RunId(1), TaskIndex(task), IndexRange::single(0));
        let placements = vec![Placement { run, task, range, worker: WorkerId(1) }];
        self.apply(Command::PlaceAttempts(PlaceAttempts { placements }));
        let attempt = self.state.attempts_of(WorkerId(1)).remove(0);
        let finishes = vec![Finish { attempt, outcome, duration: Millis(1) }];
        self.apply(Command::FinishAttempts(FinishAttempts { finishes }));
    }
}

/// A run in which `get-it` succeeded, `bad` failed, `sad` and `never` were skipped, and `late` is still to come.
fn run(spec: WorkflowSpec) -> Arc<Run> {
    let mut log = Log::default();
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
        namespace: name("default"),
        source: RunSource::OneOff(Box::new(spec)),
        params: Arc::default(),
        priority: None,
        backfill: None,
    }));
    let outputs: Outputs =
        [("rows".into(), "12".into()), ("list".into(), "[1, {\"a\": [true, null, 2.5]}]".into())]
            .into();
    log.end(0, Outcome::Succeeded { outputs: Some(Arc::new(outputs)) });
    log.end(1, Outcome::Failed { exit_code: Some(1), message: None });
    log.state.run(RunId(1)).expect("it is live").clone()
}

fn moment() -> Arc<Moment> {
    Arc::new(Moment { time: "2026-11-21T01:30:00Z".into(), date: "2026-11-21".into() })
}

/// What becomes of the task `asked` with a condition.
fn verdict(condition: &str) -> String {
    let mut spec = workflow();
    spec.tasks[5].condition = Condition::Expression(condition.into());
    match decide(&run(spec), TaskIndex(5), &moment()) {
        Some(Verdict::Start) => "start".to_owned(),
        Some(Verdict::Skip) => "skip".to_owned(),
        Some(Verdict::FanOut { .. } | Verdict::StartRun { .. }) => "a size, or a run".to_owned(),
        Some(Verdict::Fail { message }) => message.to_string(),
        None => "nothing to decide".to_owned(),
    }
}

#[test]
fn conditions_hold_or_do_not() {
    for (condition, wanted) in [
        ("params.region == 'eu'", true),
        ("params.region == 'us'", false),
        ("params.n | int + 1 == 4", true),
        ("params.dry_run | default('x') == 'no'", true),
        ("params.empty == ''", true),
        ("needs.get_it.outputs.rows | int > 11", true),
        ("needs.get_it.outputs.rows | int > 12", false),
        ("(needs.get_it.outputs.list | fromjson)[1].a[0]", true),
        ("needs.get_it.outputs.list | fromjson | length == 2", true),
        ("needs.get_it.result == 'succeeded'", true),
        ("needs.bad.result == 'failed'", true),
        ("needs.sad.result == 'skipped' and needs.never.result == 'skipped'", true),
        ("needs.bad.outputs.k is defined", false),
        ("needs.bad.outputs.k | default('none') == 'none'", true),
        ("failure()", true),
        ("success()", false),
        ("cancelled()", false),
        ("always()", true),
        ("not failure() or always()", true),
        ("run.number == 1 and run.id == 1", true),
        ("run.workflow == 'flow' and run.namespace == 'default' and run.schedule == ''", true),
        ("run.fireDate == '2026-11-21' and run.fireTime is endingwith('Z')", true),
        ("task.id == 'asked'", true),
        ("params.region in ['us', 'eu']", true),
        ("true if params.region == 'us' else false", false),
    ] {
        assert_eq!(verdict(condition), if wanted { "start" } else { "skip" }, "{condition}");
    }
}

#[test]
fn what_cannot_be_evaluated_fails_and_says_why() {
    let too_much = "it takes too long, or makes texts that are too large; let a task work it out";
    for (condition, why) in [
        (
            "needs.bad.outputs.k == 'x'",
            "`needs.bad.outputs.k` has no value, for the task failed; `| default('…')` gives it one",
        ),
        (
            "needs.sad.outputs.k | int > 1",
            "`needs.sad.outputs.k` has no value, for the task was skipped; `| default('…')` gives it one",
        ),
        ("params.nope == 'x'", "a name in it has no value"),
        ("nope.x", "a name in it has no value"),
        ("nope()", "nope is unknown"),
        (
            "params.region + 1 == 2",
            "tried to use + operator on unsupported types string and number",
        ),
        ("params.region | int == 1", "invalid float literal"),
        ("params.region | fromjson", "`fromjson`: not JSON: expected value at line 1 column 1"),
        ("params.region", "it came to a text, not true or false"),
        ("params.region | length", "it came to a number, not true or false"),
        ("params", "it came to a map, not true or false"),
        ("nope", "it came to nothing, not true or false"),
        ("1 / 0 == 1", "it came to true or false"),
        ("params.region * 1000000 == 'x'", too_much),
        ("(range(90000) | list | length) == 1", too_much),
        ("params.region ==", "unexpected end of input, expected expression"),
    ] {
        let got = verdict(condition);
        if condition.starts_with("1 / 0") {
            // Whatever division by zero comes to, it is an answer.
            assert!(!got.is_empty());
            continue;
        }
        assert_eq!(got, format!("if: `{condition}`: {why}"));
    }
}

#[test]
fn results_come_as_they_are_at_the_time() {
    let spec = workflow();
    let run = run(spec);
    assert_eq!(decide(&run, TaskIndex(6), &moment()), Some(Verdict::Start), "it needs nothing");
    assert_eq!(decide(&run, TaskIndex(0), &moment()), None, "it has no expression");
    assert_eq!(decide(&run, TaskIndex(99), &moment()), None, "there is no such task");
}

/// Every text that fits gets an answer, and its message fits.
#[test]
fn hostile_expressions_get_an_answer_soon() {
    let most = limits::EXPRESSION_BYTES_MAX;
    let began = std::time::Instant::now();
    let repeated = |open: &str, inside: &str, close: &str| {
        let times = (most - inside.len()) / (open.len() + close.len());
        format!("{}{inside}{}", open.repeat(times), close.repeat(times))
    };
    let hostile = [
        repeated("-", "1", ""),
        repeated("not ", "true", ""),
        repeated("(", "1", ")"),
        repeated("[", "1", "]"),
        repeated("", "1", "+1"),
        repeated("x(", "1", ")"),
        repeated("x|d(", "1", ")"),
        repeated("x[", "1", "]"),
        format!("{}1{}", "x(".repeat(32), ")".repeat(32)),
        format!("{}1{}", "params|d(".repeat(32), ")".repeat(32)),
        repeated("", "params", ".a"),
        repeated("", "params.n", "|string"),
        repeated("", "params.n", "*9"),
        repeated("", "'aaaaaaaaaaaaaaaaaaaaaaa'", "|replace('a','aaaaaaaa')"),
        repeated("", "range(9999)|list", "|sort|reverse|list"),
        repeated("", "9", "**9"),
        repeated("", "'a'", "~params~needs~run"),
        "\u{202e}\u{0}\n\t".to_owned(),
        "é".repeat(most / 2),
    ];
    for text in &hostile {
        let got = verdict(text);
        assert!(!got.is_empty() && got.len() < 1024, "{} bytes", got.len());
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
