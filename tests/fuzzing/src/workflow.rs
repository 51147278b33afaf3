//! Workflow files: text → specs → the log → a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::command::{Command, Entry, RunSource, SubmitRun};
use muster_core::graph::Graph;
use muster_core::ids::Name;
use muster_core::limits;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::{ERRORS_MAX, SpecErrors, WorkflowSpec, parse, validate};
use muster_core::state::run::Params;
use muster_core::time::Millis;
use muster_proto::convert::{spec_from_proto, spec_to_proto};
use prost::Message;

use crate::replicas::Replicas;
use crate::scene::name;

/// Far longer than any input that a fuzzer makes takes, on a machine with much else to do.
const READING_MAX: Duration = Duration::from_secs(20);

/// The input is the file.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let start = Instant::now();
    let parsed = parse(text);
    assert!(start.elapsed() < READING_MAX, "{} bytes took {:?}", data.len(), start.elapsed());
    match parsed {
        Ok(specs) => {
            assert!(!specs.is_empty(), "a file without a workflow is an error");
            for spec in specs {
                check_spec(&spec);
                check_run(spec);
            }
        }
        Err(errors) => check_errors(&errors, text),
    }
}

/// Each error has a place in the file, and renders without control characters of the file.
fn check_errors(errors: &SpecErrors, text: &str) {
    assert!(!errors.errors.is_empty(), "a refusal without a reason");
    assert!(errors.errors.len() <= ERRORS_MAX);
    let lines = text.split(['\n', '\r']).count() + 1;
    for error in &errors.errors {
        let position = error.position.expect("an error of a file has a position");
        assert!(position.line >= 1 && position.line as usize <= lines, "{position:?} of {lines}");
        assert!(position.column >= 1);
    }
    let rendered = errors.render_in("f.yaml", text);
    let is_shown = |c: char| c == '\n' || !c.is_control();
    assert!(rendered.chars().all(is_shown), "{rendered:?}");
}

/// What holds of every spec that was accepted.
pub(crate) fn check_spec(spec: &WorkflowSpec) {
    assert_eq!(validate(spec), Ok(()), "the file was accepted, the spec is not");
    assert!(Graph::build(&spec.tasks).is_ok(), "an accepted spec has a cycle");
    check_limits(spec);
    let message = spec_to_proto(spec);
    let bytes = message.encode_to_vec();
    assert!(bytes.len() <= limits::SPEC_BYTES_MAX, "an accepted spec takes {} bytes", bytes.len());
    let decoded = muster_proto::v1::WorkflowSpec::decode(&bytes[..]).expect("it was encoded");
    assert_eq!(spec_from_proto(decoded).as_ref(), Ok(spec), "a spec comes back");
}

fn check_limits(spec: &WorkflowSpec) {
    assert!((1..=limits::TASKS_MAX).contains(&spec.tasks.len()));
    let dependencies: usize = spec.tasks.iter().map(|task| task.needs.len()).sum();
    assert!(dependencies <= limits::DEPENDENCIES_MAX);
    assert!(spec.timeout.is_none_or(|span| span <= limits::SPAN_MAX));
    assert!(spec.priority.abs() <= limits::PRIORITY_MAX);
    for task in &spec.tasks {
        assert!(task.env.len() <= limits::MAP_ENTRIES_MAX);
        assert!(task.env.values().all(|value| value.len() <= limits::TEXT_BYTES_MAX));
        assert!(task.retry.limit <= limits::RETRY_LIMIT_MAX);
        assert!(task.max_lost <= limits::LOST_LIMIT_MAX);
        assert!(task.array.is_none_or(|it| it.first <= it.last));
        assert!(task.array_indices().is_none_or(|it| it.count() <= limits::ARRAY_INDICES_MAX));
        assert!(task.array.is_none() || task.fan_out.is_none());
        assert!(task.array.is_none_or(|it| it.last <= limits::ARRAY_INDEX_MAX));
        let spans = [task.timeout, task.queue_timeout, Some(task.grace_period)];
        assert!(spans.into_iter().flatten().all(|span| span <= limits::SPAN_MAX));
        assert!(task.priority.is_none_or(|it| it.abs() <= limits::PRIORITY_MAX));
    }
}

/// Submits the workflow, with a text for every parameter, and lets time go by.
pub(crate) fn check_run(spec: WorkflowSpec) {
    let params: Params = spec.params.keys().map(|name: &Name| (name.clone(), "x".into())).collect();
    let command = Command::SubmitRun(SubmitRun {
        request: None,
        namespace: name("n"),
        source: RunSource::Apply(Box::new(spec)),
        params: Arc::new(params),
        priority: None,
        backfill: None,
    });
    let mut replicas = Replicas::new();
    let at = replicas.state().now() + Millis(1);
    let replies = replicas.apply(&Entry { at, commands: vec![command] });
    match &replies[..] {
        [Ok(Reply::RunSubmitted { .. })] => {}
        // Names of parameters alone may take all there is.
        [Err(Rejection::BadParam { .. })] => {}
        other => panic!("an accepted workflow cannot be submitted: {other:?}"),
    }
    let at = at + limits::SPAN_MAX;
    replicas.apply(&Entry { at, commands: vec![Command::Tick] });
}
