//! Between the messages of the workers' protocol and what the worker works with.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use muster_core::command::{AttemptRef, Outcome};
use muster_core::ids::{Fence, RunId, TaskIndex};
use muster_core::limits;
use muster_core::spec::column::Column;
use muster_core::state::cells::IndexRange;
use muster_core::time::Millis;
use muster_proto::convert::{executor_from_proto, resources_from_proto, text_map, texts};
use muster_proto::internal::v1::{self, FinishReport, HeldAttempt, OutcomeKind, StartReport};

use crate::attempts::Ended;
use crate::clock;
use crate::executor::{Assignment, TaskDefinition};
use crate::load::Load;

/// Most definitions remembered of one stream.
const DEFINITIONS_MAX: usize = 1 << 16;

/// Task definitions given on this stream. A leader sends a definition once and names it by its key afterwards.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_key: HashMap<u64, Arc<TaskDefinition>>,
    /// Oldest first.
    order: VecDeque<u64>,
}

/// Why an assignment cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The definition is not remembered: the leader must send it again, which it does on a new stream.
    #[error("the definition of the task is not known here")]
    UnknownDefinition,
    /// It cannot be carried out by this version of the worker.
    #[error("this worker cannot read the task: {0}")]
    Unreadable(String),
    /// It does not even say what it is.
    #[error("the assignment is malformed")]
    Malformed,
}

impl Definitions {
    /// Reads an assignment. Comes with what it is, if that much can be read.
    pub(super) fn read(
        &mut self,
        message: v1::Assignment,
    ) -> Result<Assignment, (Option<AttemptRef>, Refused)> {
        let held = HeldAttempt {
            run_id: message.run_id,
            task_index: message.task_index,
            first: message.first,
            last: message.last,
            fence: message.fence,
        };
        let attempt = attempt_of(&held).ok_or((None, Refused::Malformed))?;
        let task = self.definition(message.task, message.task_key);
        let task = task.map_err(|refused| (Some(attempt), refused))?;
        Ok(Assignment {
            run: attempt.run,
            task_index: attempt.task,
            indices: attempt.range,
            attempt: message.attempt,
            fence: attempt.fence,
            task,
        })
    }

    fn definition(
        &mut self,
        given: Option<v1::TaskDefinition>,
        key: u64,
    ) -> Result<Arc<TaskDefinition>, Refused> {
        let Some(given) = given else {
            return self.by_key.get(&key).cloned().ok_or(Refused::UnknownDefinition);
        };
        let definition = Arc::new(definition_of(given)?);
        if self.by_key.insert(key, definition.clone()).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > DEFINITIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
        Ok(definition)
    }
}

fn column_of(message: v1::Column) -> Column {
    Column { stride: message.stride.max(1), base: message.base, values: texts(message.values) }
}

fn definition_of(message: v1::TaskDefinition) -> Result<TaskDefinition, Refused> {
    let executor = message.executor.ok_or_else(|| Refused::Unreadable("no executor".to_owned()))?;
    let executor =
        executor_from_proto(executor).map_err(|error| Refused::Unreadable(error.to_string()))?;
    Ok(TaskDefinition {
        namespace: message.namespace.into(),
        workflow: message.workflow.into(),
        run_number: message.run_number,
        name: message.task_id.into(),
        executor,
        env: text_map(message.env),
        outputs: texts(message.outputs),
        is_array: message.is_array,
        columns: message.columns.into_iter().map(column_of).collect(),
        timeout: (message.timeout_ms > 0).then_some(Millis(message.timeout_ms)),
        grace_period: Millis(message.grace_period_ms),
        resources: resources_from_proto(message.resources.unwrap_or_default()),
    })
}

/// `None` if the range is none.
pub(super) fn attempt_of(held: &HeldAttempt) -> Option<AttemptRef> {
    let is_range = held.first <= held.last && held.last <= limits::ARRAY_INDEX_MAX;
    is_range.then_some(AttemptRef {
        run: RunId(held.run_id),
        task: TaskIndex(held.task_index),
        range: IndexRange { first: held.first, last: held.last },
        fence: Fence(held.fence),
    })
}

pub(super) fn held_attempt(attempt: &AttemptRef) -> HeldAttempt {
    HeldAttempt {
        run_id: attempt.run.0,
        task_index: attempt.task.0,
        first: attempt.range.first,
        last: attempt.range.last,
        fence: attempt.fence.0,
    }
}

pub(super) fn start_report(attempt: &AttemptRef, age: Duration) -> StartReport {
    StartReport { attempt: Some(held_attempt(attempt)), age_ms: clock::millis(age) }
}

pub(super) fn finish_report(ended: &Ended) -> FinishReport {
    let mut report = FinishReport {
        attempt: Some(held_attempt(&ended.attempt)),
        duration_ms: clock::millis(ended.ending.duration()),
        ..FinishReport::default()
    };
    let kind = match &ended.ending.outcome {
        Outcome::Succeeded { outputs } => {
            let outputs = outputs.iter().flat_map(|outputs| outputs.iter());
            report.outputs =
                outputs.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            OutcomeKind::Succeeded
        }
        Outcome::Failed { exit_code, message } => {
            report.exit_code = *exit_code;
            report.message = message.as_deref().unwrap_or_default().to_owned();
            OutcomeKind::Failed
        }
        Outcome::TimedOut => OutcomeKind::TimedOut,
        Outcome::Cancelled => OutcomeKind::Cancelled,
        Outcome::Lost => OutcomeKind::Lost,
    };
    report.set_outcome(kind);
    report
}

/// The load of a machine with `cores` cores.
pub(super) fn load_message(load: &Load, cores: u64) -> v1::Load {
    v1::Load {
        cpu_busy_millis: load.cpu_busy_millis,
        cpu_total_millis: cores * 1000,
        memory_used_bytes: load.memory_used_bytes,
        memory_total_bytes: load.memory_total_bytes,
        run_queue_millis: load.run_queue * 1000 / cores.max(1),
        network_bytes_per_s: load
            .network_received_bytes_per_s
            .saturating_add(load.network_sent_bytes_per_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: u64, task: Option<v1::TaskDefinition>) -> v1::Assignment {
        v1::Assignment {
            run_id: 1,
            fence: 5,
            attempt: 1,
            task,
            task_key: key,
            ..Default::default()
        }
    }

    fn definition(name: &str) -> v1::TaskDefinition {
        let kind = Some(muster_proto::v1::executor_spec::Kind::Noop(Default::default()));
        let executor = Some(muster_proto::v1::ExecutorSpec { kind });
        v1::TaskDefinition { task_id: name.to_owned(), executor, ..Default::default() }
    }

    #[test]
    fn a_definition_is_given_once_and_named_afterwards() {
        let mut definitions = Definitions::default();
        let (attempt, refused) = definitions.read(message(7, None)).unwrap_err();
        assert_eq!((attempt.unwrap().fence, refused), (Fence(5), Refused::UnknownDefinition));
        definitions.read(message(7, Some(definition("load")))).unwrap();
        let again = definitions.read(message(7, None)).unwrap();
        assert_eq!(&*again.task.name, "load");
    }

    #[test]
    fn only_so_many_definitions_are_remembered() {
        let mut definitions = Definitions::default();
        for key in 0..=DEFINITIONS_MAX as u64 {
            definitions.read(message(key, Some(definition("load")))).unwrap();
        }
        assert!(definitions.read(message(0, None)).is_err());
        assert!(definitions.read(message(1, None)).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_name() {
        let mut definitions = Definitions::default();
        let unknown = v1::TaskDefinition { executor: None, ..definition("load") };
        let (attempt, refused) = definitions.read(message(7, Some(unknown))).unwrap_err();
        assert!(attempt.is_some() && matches!(refused, Refused::Unreadable(_)));
        let backwards = v1::Assignment { first: 5, last: 4, ..message(7, Some(definition("x"))) };
        assert_eq!(definitions.read(backwards), Err((None, Refused::Malformed)));
    }
}
