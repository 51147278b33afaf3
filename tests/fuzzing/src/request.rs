//! Messages of the API and of workers, through the conversions, to commands that apply understands.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{
    ApplyWorkflow, Command, Entry, RegisterWorker, RequestKey, RunSource, SubmitRun,
};
use muster_core::ids::{Name, Text};
use muster_core::reply::Rejection;
use muster_core::snapshot::digest_of;
use muster_core::spec::{WorkflowSpec, parse, validate};
use muster_core::state::run::Params;
use muster_core::time::Millis;
use muster_proto::convert::{
    executor_from_proto, executor_to_proto, request_from_proto, request_to_proto,
    resources_from_proto, spec_from_proto, spec_to_proto, task_from_proto, task_to_proto, text_map,
};
use muster_proto::internal::v1::Register;
use muster_proto::v1;
use muster_proto::v1::submit_run_request::What;
use muster_proto::v1::workflow_source::Source;
use prost::Message;

use crate::bytes::Cursor;
use crate::replicas::Replicas;
use crate::workflow::check_spec;

/// Most messages of one input.
const MESSAGES_MAX: usize = 16;

/// The input is a row of messages: the kind, and a frame.
pub(crate) fn check(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let mut replicas = Replicas::new();
    for _ in 0..MESSAGES_MAX {
        if cursor.is_empty() {
            break;
        }
        let kind = cursor.below(5);
        let bytes = cursor.frame();
        let command = match kind {
            0 => decode(bytes).and_then(submit_run),
            1 => decode(bytes).and_then(apply_workflow),
            2 => decode(bytes).and_then(register),
            3 => {
                check_task(bytes);
                None
            }
            _ => {
                check_parts(bytes);
                None
            }
        };
        if let Some(command) = command {
            carry_out(&mut replicas, command);
        }
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}

/// What was found well-formed on the way in is not malformed to apply.
fn carry_out(replicas: &mut Replicas, command: Command) {
    let at = replicas.state().now() + Millis(1);
    let replies = replicas.apply(&Entry { at, commands: vec![command] });
    let is_malformed =
        matches!(replies[..], [Err(Rejection::InvalidSpec { .. } | Rejection::RequestIdTooLong)]);
    assert!(!is_malformed, "{replies:?}");
}

fn key(id: &str, body: &impl Message) -> Option<RequestKey> {
    let is_key = !id.is_empty() && id.len() <= muster_core::limits::REQUEST_ID_BYTES_MAX;
    is_key.then(|| RequestKey { id: id.into(), digest: digest_of(&body.encode_to_vec()) })
}

/// A source that the API takes in.
fn spec(source: Option<v1::WorkflowSource>) -> Option<WorkflowSpec> {
    match source?.source? {
        Source::Spec(message) => {
            let spec = spec_from_proto(message).ok()?;
            let message = spec_to_proto(&spec);
            assert_eq!(spec_from_proto(message).as_ref(), Ok(&spec), "a spec comes back");
            validate(&spec).ok()?;
            check_spec(&spec);
            Some(spec)
        }
        Source::Manifest(manifest) => {
            let mut specs = parse(&manifest).ok()?;
            (specs.len() == 1).then(|| specs.remove(0))
        }
    }
}

fn namespace(text: &str) -> Option<Name> {
    Name::parse(if text.is_empty() { "n" } else { text }).ok()
}

fn submit_run(message: v1::SubmitRunRequest) -> Option<Command> {
    let request = key(&message.request_id, &message);
    let source = match message.what? {
        What::Workflow(name) => RunSource::Workflow {
            workflow: Name::parse(&name).ok()?,
            version: (message.version > 0).then_some(message.version),
        },
        What::Source(source) => RunSource::Apply(Box::new(spec(Some(source))?)),
        What::OneOff(source) => RunSource::OneOff(Box::new(spec(Some(source))?)),
    };
    let params: Option<Params> = message
        .params
        .iter()
        .map(|(key, value)| Some((Name::parse(key).ok()?, value.as_str().into())))
        .collect();
    Some(Command::SubmitRun(SubmitRun {
        request,
        namespace: namespace(&message.namespace)?,
        source,
        params: Arc::new(params?),
        priority: message.priority,
        backfill: None,
    }))
}

fn apply_workflow(message: v1::ApplyWorkflowRequest) -> Option<Command> {
    Some(Command::ApplyWorkflow(ApplyWorkflow {
        request: key(&message.request_id, &message),
        namespace: namespace(&message.namespace)?,
        spec: Box::new(spec(message.source)?),
    }))
}

fn register(message: Register) -> Option<Command> {
    let labels: BTreeMap<Text, Text> = text_map(message.labels);
    Some(Command::RegisterWorker(RegisterWorker {
        name: message.name.into(),
        incarnation: message.incarnation,
        labels,
        pool: (!message.pool.is_empty()).then(|| message.pool.into()),
        lease: Millis(5_000),
        capacity: resources_from_proto(message.capacity?),
    }))
}

fn check_task(bytes: &[u8]) {
    let Some(Ok(task)) = decode(bytes).map(task_from_proto) else { return };
    assert_eq!(task_from_proto(task_to_proto(&task)), Ok(task), "a task comes back");
}

fn check_parts(bytes: &[u8]) {
    if let Some(Ok(executor)) = decode(bytes).map(executor_from_proto) {
        assert_eq!(executor_from_proto(executor_to_proto(&executor)), Ok(executor));
    }
    if let Some(Ok(request)) = decode(bytes).map(request_from_proto) {
        assert_eq!(request_from_proto(request_to_proto(&request)), Ok(request));
    }
}
