//! Entries of the log and their commands.
//!
//! A command may be encoded by whoever makes it, and packed with others into an entry later, without being encoded
//! again: [`assemble_entry`] of encoded commands gives the same bytes as [`encode_entry`] of the commands.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use muster_core::command::{
    ApplyWorkflow, Asked, CancelRun, Command, DrainWorker, Entry, LoseWorker, PruneHistory,
    RegisterWorker, ReleaseTask, RequestKey, RunSource, SubmitRun, UpgradeCluster,
};
use muster_core::ids::{LogIndex, RunId, TaskIndex, Text, WorkerId};
use muster_core::time::{Millis, Timestamp};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::error::DecodeError;
use super::read::{Within, name, params_from_proto, required, string_map, text_map};
use super::spec::{resources_from_proto, resources_to_proto, spec_from_proto, spec_to_proto};
use super::{attempts, decisions, namespace, operate, retry, schedule, trail};
use crate::internal::v1::command::Kind;
use crate::internal::v1::submit_run::Source;
use crate::internal::v1::{self as stored};
use crate::v1;

/// Numbers of the fields of `muster.internal.v1.Entry`.
const ENTRY_AT_MS: u32 = 1;
const ENTRY_COMMANDS: u32 = 2;

/// The bytes of an entry.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let commands = entry.commands.iter().map(command_to_proto).collect();
    stored::Entry { at_ms: entry.at.0, commands }.encode_to_vec().into()
}

/// An entry from its bytes.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let entry = stored::Entry::decode(bytes)?;
    let commands = entry.commands.into_iter().enumerate();
    Ok(Entry {
        at: Timestamp(entry.at_ms),
        commands: commands
            .map(|(position, command)| {
                command_from_proto(command).within_element("commands", position)
            })
            .collect::<Result<_, _>>()?,
    })
}

/// The bytes of a command, for [`assemble_entry`].
pub fn encode_command(command: &Command) -> Bytes {
    command_to_proto(command).encode_to_vec().into()
}

/// A command from its bytes.
pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    command_from_proto(stored::Command::decode(bytes)?)
}

/// The bytes of an entry, from the bytes of its commands.
pub fn assemble_entry(at: Timestamp, commands: &[Bytes]) -> Bytes {
    let field_len = |command: &Bytes| {
        key_len(ENTRY_COMMANDS) + encoded_len_varint(command.len() as u64) + command.len()
    };
    let at_len = key_len(ENTRY_AT_MS) + encoded_len_varint(at.0);
    let mut entry = BytesMut::with_capacity(at_len + commands.iter().map(field_len).sum::<usize>());
    if at.0 != 0 {
        encode_key(ENTRY_AT_MS, WireType::Varint, &mut entry);
        encode_varint(at.0, &mut entry);
    }
    for command in commands {
        encode_key(ENTRY_COMMANDS, WireType::LengthDelimited, &mut entry);
        encode_varint(command.len() as u64, &mut entry);
        entry.put_slice(command);
    }
    entry.freeze()
}

fn command_to_proto(command: &Command) -> stored::Command {
    let kind = match command {
        Command::Tick => Kind::Tick(stored::Tick {}),
        Command::ApplyWorkflow(it) => Kind::ApplyWorkflow(stored::ApplyWorkflow {
            request: key_to_proto(it.request.as_ref()),
            namespace: it.namespace.to_string(),
            spec: Some(spec_to_proto(&it.spec)),
        }),
        Command::ApplyNamespace(it) => Kind::ApplyNamespace(namespace::apply_to_proto(it)),
        Command::SubmitRun(it) => Kind::SubmitRun(submit_run_to_proto(it)),
        Command::CancelRun(it) => Kind::CancelRun(stored::CancelRun {
            request: key_to_proto(it.request.as_ref()),
            run_id: it.run.0,
        }),
        Command::PauseRun(it) => Kind::PauseRun(operate::pause_to_proto(it)),
        Command::PrioritizeRun(it) => Kind::PrioritizeRun(operate::prioritize_to_proto(it)),
        Command::EndTask(it) => Kind::EndTask(operate::end_to_proto(it)),
        Command::ReopenTasks(it) => Kind::ReopenTasks(operate::reopen_to_proto(it)),
        Command::RetryRun(it) => Kind::RetryRun(retry::retry_to_proto(it)),
        Command::FireSchedule(it) => Kind::FireSchedule(schedule::fire_to_proto(it)),
        Command::SuspendSchedule(it) => Kind::SuspendSchedule(schedule::suspend_to_proto(it)),
        Command::ReleaseTask(it) => Kind::ReleaseTask(stored::ReleaseTask {
            request: key_to_proto(it.request.as_ref()),
            run_id: it.run.0,
            task_index: it.task.0,
            rerun: it.rerun,
        }),
        Command::RegisterWorker(it) => Kind::RegisterWorker(stored::RegisterWorker {
            name: it.name.to_string(),
            incarnation: it.incarnation,
            labels: string_map(&it.labels),
            pool: it.pool.as_ref().map(Text::to_string),
            capacity: Some(resources_to_proto(&it.capacity)),
            lease_ms: it.lease.0,
        }),
        Command::DrainWorker(it) => Kind::DrainWorker(stored::DrainWorker {
            request: key_to_proto(it.request.as_ref()),
            worker_id: it.worker.0,
            is_draining: it.is_draining,
        }),
        Command::LoseWorker(it) => Kind::LoseWorker(stored::LoseWorker { worker_id: it.worker.0 }),
        Command::DecideTasks(it) => Kind::DecideTasks(decisions::decide_to_proto(it)),
        Command::PlaceAttempts(it) => Kind::PlaceAttempts(attempts::place_to_proto(it)),
        Command::StartAttempts(it) => Kind::StartAttempts(attempts::start_to_proto(it)),
        Command::FinishAttempts(it) => Kind::FinishAttempts(attempts::finish_to_proto(it)),
        Command::PruneHistory(it) => {
            Kind::PruneHistory(stored::PruneHistory { ended_before_index: it.ended_before.0 })
        }
        Command::UpgradeCluster(it) => {
            Kind::UpgradeCluster(stored::UpgradeCluster { version: it.version })
        }
        Command::Asked(it) => {
            let asked_by = Some(trail::asker_to_proto(&it.by));
            return stored::Command { asked_by, ..command_to_proto(&it.command) };
        }
    };
    stored::Command { kind: Some(kind), asked_by: None }
}

fn command_from_proto(command: stored::Command) -> Result<Command, DecodeError> {
    let stored::Command { kind, asked_by } = command;
    let command = kind_from_proto(kind.ok_or(DecodeError::UnknownCommand)?)?;
    Ok(match asked_by.map(trail::asker_from_proto) {
        Some(by) => Command::Asked(Asked { by, command: Box::new(command) }),
        None => command,
    })
}

fn kind_from_proto(kind: Kind) -> Result<Command, DecodeError> {
    Ok(match kind {
        Kind::Tick(stored::Tick {}) => Command::Tick,
        Kind::ApplyWorkflow(it) => {
            Command::ApplyWorkflow(apply_workflow_from_proto(it).within("apply_workflow")?)
        }
        Kind::ApplyNamespace(it) => {
            Command::ApplyNamespace(namespace::apply_from_proto(it).within("apply_namespace")?)
        }
        Kind::SubmitRun(it) => Command::SubmitRun(submit_run_from_proto(it).within("submit_run")?),
        Kind::CancelRun(it) => Command::CancelRun(CancelRun {
            request: it.request.map(key_from_proto),
            run: RunId(it.run_id),
        }),
        Kind::PauseRun(it) => Command::PauseRun(operate::pause_from_proto(it)),
        Kind::PrioritizeRun(it) => Command::PrioritizeRun(operate::prioritize_from_proto(it)),
        Kind::EndTask(it) => Command::EndTask(operate::end_from_proto(it).within("end_task")?),
        Kind::ReopenTasks(it) => Command::ReopenTasks(operate::reopen_from_proto(it)),
        Kind::RetryRun(it) => {
            Command::RetryRun(Box::new(retry::retry_from_proto(it).within("retry_run")?))
        }
        Kind::FireSchedule(it) => {
            Command::FireSchedule(schedule::fire_from_proto(it).within("fire_schedule")?)
        }
        Kind::SuspendSchedule(it) => {
            Command::SuspendSchedule(schedule::suspend_from_proto(it).within("suspend_schedule")?)
        }
        Kind::ReleaseTask(it) => Command::ReleaseTask(ReleaseTask {
            request: it.request.map(key_from_proto),
            run: RunId(it.run_id),
            task: TaskIndex(it.task_index),
            rerun: it.rerun,
        }),
        Kind::RegisterWorker(it) => {
            Command::RegisterWorker(register_worker_from_proto(it).within("register_worker")?)
        }
        Kind::DrainWorker(it) => Command::DrainWorker(DrainWorker {
            request: it.request.map(key_from_proto),
            worker: WorkerId(it.worker_id),
            is_draining: it.is_draining,
        }),
        Kind::LoseWorker(it) => Command::LoseWorker(LoseWorker { worker: WorkerId(it.worker_id) }),
        Kind::DecideTasks(it) => {
            Command::DecideTasks(decisions::decide_from_proto(it).within("decide_tasks")?)
        }
        Kind::PlaceAttempts(it) => {
            Command::PlaceAttempts(attempts::place_from_proto(&it).within("place_attempts")?)
        }
        Kind::StartAttempts(it) => {
            Command::StartAttempts(attempts::start_from_proto(&it).within("start_attempts")?)
        }
        Kind::FinishAttempts(it) => {
            Command::FinishAttempts(attempts::finish_from_proto(it).within("finish_attempts")?)
        }
        Kind::PruneHistory(it) => {
            Command::PruneHistory(PruneHistory { ended_before: LogIndex(it.ended_before_index) })
        }
        Kind::UpgradeCluster(it) => Command::UpgradeCluster(UpgradeCluster { version: it.version }),
    })
}

pub(super) fn key_to_proto(key: Option<&RequestKey>) -> Option<stored::RequestKey> {
    key.map(|key| stored::RequestKey { id: key.id.to_string(), digest: key.digest })
}

pub(super) fn key_from_proto(key: stored::RequestKey) -> RequestKey {
    RequestKey { id: key.id.into(), digest: key.digest }
}

fn apply_workflow_from_proto(it: stored::ApplyWorkflow) -> Result<ApplyWorkflow, DecodeError> {
    let spec = required("spec", it.spec)?;
    Ok(ApplyWorkflow {
        request: it.request.map(key_from_proto),
        namespace: name("namespace", &it.namespace)?,
        spec: Box::new(spec_from_proto(spec).within("spec")?),
    })
}

fn submit_run_to_proto(it: &SubmitRun) -> stored::SubmitRun {
    let source = match &it.source {
        RunSource::Workflow { workflow, version } => Source::Workflow(stored::AppliedWorkflow {
            name: workflow.to_string(),
            version: *version,
        }),
        RunSource::Apply(spec) => Source::Apply(spec_to_proto(spec)),
        RunSource::OneOff(spec) => Source::OneOff(spec_to_proto(spec)),
    };
    let params = it.params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    stored::SubmitRun {
        request: key_to_proto(it.request.as_ref()),
        namespace: it.namespace.to_string(),
        source: Some(source),
        params: params.collect(),
        priority: it.priority,
        backfill: it.backfill.as_ref().map(schedule::fire_origin_to_proto),
    }
}

fn submit_run_from_proto(it: stored::SubmitRun) -> Result<SubmitRun, DecodeError> {
    let boxed = |spec: v1::WorkflowSpec| spec_from_proto(spec).map(Box::new);
    let source = match required("source", it.source)? {
        Source::Workflow(applied) => RunSource::Workflow {
            workflow: name("workflow.name", &applied.name)?,
            version: applied.version,
        },
        Source::Apply(spec) => RunSource::Apply(boxed(spec).within("apply")?),
        Source::OneOff(spec) => RunSource::OneOff(boxed(spec).within("one_off")?),
    };
    Ok(SubmitRun {
        request: it.request.map(key_from_proto),
        namespace: name("namespace", &it.namespace)?,
        source,
        params: Arc::new(params_from_proto(it.params)?),
        priority: it.priority,
        backfill: it
            .backfill
            .map(schedule::fire_origin_from_proto)
            .transpose()
            .within("backfill")?,
    })
}

fn register_worker_from_proto(it: stored::RegisterWorker) -> Result<RegisterWorker, DecodeError> {
    Ok(RegisterWorker {
        name: it.name.into(),
        incarnation: it.incarnation,
        labels: text_map(it.labels),
        pool: it.pool.map(Text::from),
        capacity: resources_from_proto(required("capacity", it.capacity)?),
        lease: Millis(it.lease_ms),
    })
}
