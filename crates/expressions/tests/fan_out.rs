//! What lists come to that tasks go through, on states that the core made; and what is said of keys before any run.

use std::sync::Arc;

use muster_core::command::{Command, EndTask, Entry, RunSource, SubmitRun, Verdict, WantedEnd};
use muster_core::ids::{LogIndex, Name, RunId, TaskIndex};
use muster_core::spec;
use muster_core::state::State;
use muster_core::time::Timestamp;
use muster_expressions::{Moment, decide};

const FILE: &str = r#"
apiVersion: v1
kind: Workflow
name: flow
params:
  lines: "a\n\nb"
  array: '["x", {"k": 1.0}]'
  rows: '[{"k": "v", "n": 1}, {"k": 2}]'
  broken: '[1,'
  none: ''
tasks:
  lines: {run: x, foreach: "${{ params.lines }}"}
  array: {run: x, foreach: "${{ params.array }}"}
  rows: {run: x, foreach: "${{ params.rows }}", env: {K: "${{ item.k }}"}}
  lacks: {run: x, foreach: "${{ params.rows }}", env: {K: "${{ item.k }}", N: "${{ item.n }}"}}
  broken: {run: x, foreach: "${{ params.broken }}"}
  none: {run: x, foreach: "${{ params.none }}"}
  never: {run: x, foreach: "${{ params.broken }}", if: params.none == 'x'}
  wrong: {run: x, foreach: "${{ params.lines }}", if: params.nope == 'x'}
  listed: {run: x, outputs: [files]}
  of-task: {run: x, needs: listed, foreach: "${{ needs.listed.outputs.files }}"}
  last: {run: x, foreach: [a]}
"#;

/// What becomes of a task, items and why in one line.
fn verdict(task: u32) -> String {
    let spec = spec::parse(FILE).expect("the file is good").remove(0);
    let mut state = State::default();
    let name = |text: &str| Name::parse(text).expect("a name");
    let submit = SubmitRun {
        request: None,
        namespace: name("default"),
        source: RunSource::OneOff(Box::new(spec)),
        params: Arc::default(),
        priority: None,
        backfill: None,
    };
    // Somebody says that it succeeded, so it wrote nothing.
    let end = EndTask {
        request: None,
        run: RunId(1),
        task: TaskIndex(8),
        end: WantedEnd::Succeeded,
        reason: None,
    };
    let commands = vec![Command::SubmitRun(submit), Command::EndTask(end)];
    let applied = state.apply(LogIndex(1), &Entry { at: Timestamp(1), commands });
    assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
    let run = state.run(RunId(1)).expect("it is live").clone();
    match decide(&run, TaskIndex(task), &Arc::new(Moment::default())) {
        Some(Verdict::FanOut { items }) => items.iter().collect::<Vec<_>>().join("|"),
        Some(Verdict::Start) => "start".to_owned(),
        Some(Verdict::Skip) => "skip".to_owned(),
        Some(Verdict::Fail { message }) => message.to_string(),
        Some(Verdict::StartRun { .. }) => unreachable!("the caller makes that of a start"),
        None => "nothing to decide".to_owned(),
    }
}

#[test]
fn lists_come_to_items_or_say_why_not() {
    for (task, wanted) in [
        (0, "a|b"),
        (1, "x|{\"k\":1.0}"),
        (2, "{\"k\":\"v\",\"n\":1}|{\"k\":2}"),
        (3, "foreach: `params.rows`: item 1, `{\"k\":2}`, has no `n`"),
        (
            4,
            "foreach: `params.broken`: it begins with `[` and is not a JSON array: EOF while parsing a \
             value at line 1 column 3",
        ),
        (5, ""),
        (6, "skip"),
        (7, "if: `params.nope == 'x'`: a name in it has no value"),
        (
            9,
            "foreach: `needs.listed.outputs.files`: it has no value, for the task did not write it",
        ),
        (10, "nothing to decide"),
    ] {
        assert_eq!(verdict(task), wanted);
    }
}

fn problem(task: &str) -> String {
    let text =
        format!("apiVersion: v1\nkind: Workflow\nname: flow\ntasks:\n  a: {{run: x, {task}}}\n");
    match spec::parse_with(&text, &|_| Ok(()), &muster_expressions::check) {
        Ok(_) => String::new(),
        Err(errors) => {
            let error = &errors.errors[0];
            format!(
                "{} ({}); {}",
                error.message,
                error.path,
                error.help.as_deref().unwrap_or_default()
            )
        }
    }
}

#[test]
fn keys_and_places_are_checked_before_any_run() {
    assert_eq!(problem("foreach: [{k: 1}, {k: 2}], env: {A: '${{ item.k }}'}"), "");
    let lacking = problem("foreach: [{k: 1}, {j: 2}], env: {B: '${{ item }}', A: '${{ item.k }}'}");
    assert!(lacking.starts_with("item 1, `{\"j\":2}`, has no `k` (tasks.a.env.A)"), "{lacking}");
    let none = problem("foreach: [x], env: {A: '${{ item.k }}'}");
    assert!(none.starts_with("item 0, `x`, is not a JSON object, so it has no `k`"), "{none}");
    for (condition, variable) in [
        ("item == 'x'", "ITEM"),
        ("matrix.a == 'x'", "MATRIX_AXIS"),
        ("array.index == 1", "ARRAY_INDEX"),
    ] {
        let said = problem(&format!("foreach: [x], if: \"{condition}\""));
        assert!(said.contains("is about one index, and an `if` about the whole task"), "{said}");
        assert!(
            said.contains(&format!("${{MUSTER_{variable}}}").replace(['{', '}'], "")),
            "{said}"
        );
    }
}
