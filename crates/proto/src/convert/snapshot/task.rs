//! Tasks of a run. A snapshot has millions of them, so what is zero or absent takes no bytes: a task that waits takes
//! about 8, one that succeeded about 24.

use std::sync::Arc;

use muster_core::ids::{Fence, LogIndex, RunId, Text, WorkerId};
use muster_core::spec::{ArraySpec, Items, TaskSpec};
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::task::{
    Attempt, Awaited, ChildRun, FailureReason, LastAttempt, Stop, Task, TaskState, Tries,
};

use super::run::{Origin, stop_reason_from_proto, stop_reason_to_proto};
use crate::convert::error::DecodeError;
use crate::convert::fan_out::{items_from_proto, items_to_proto};
use crate::convert::read::{Within, known, required, string_map, text_map};
use crate::internal::v1::stored_cell::{self as cell, State};
use crate::internal::v1::{self as stored, StoredCell, StoredFailureReason, StoredStopReason};

pub(super) fn task_to_proto(task: &Task, origin: Origin) -> stored::StoredTask {
    let cells = task.cells.iter().map(|(range, state)| {
        let count = match task.cells {
            Cells::One(_) => 0,
            Cells::Many(_) => range.count(),
        };
        cell_to_proto(state, count, origin)
    });
    stored::StoredTask {
        cells: cells.collect(),
        waiting: task.waiting,
        outputs: task
            .outputs
            .as_ref()
            .map(|outputs| stored::StoredOutputs { values: string_map(outputs) }),
        message: task.message.as_ref().map(Text::to_string),
        items: task.items.as_ref().map(items_to_proto),
        child: task
            .child
            .as_ref()
            .map(|it| stored::StoredChildRun { run_id: it.run.0, number: it.number }),
        attempts: if task.attempts > told(&task.cells) { task.attempts } else { 0 },
    }
}

/// The highest number of an attempt that the states of a task still tell; mostly the highest that there was.
fn told(cells: &Cells) -> u32 {
    cells.iter().map(|(_, state)| state.tries().attempts).max().unwrap_or_default()
}

/// A task of this spec.
pub(super) fn task_from_proto(
    task: stored::StoredTask,
    spec: &TaskSpec,
    origin: Origin,
) -> Result<Task, DecodeError> {
    let items = task.items.map(items_from_proto);
    let sized_late = items.as_ref().and_then(Items::indices);
    let sized_late = sized_late.map(|it| ArraySpec { first: it.first, last: it.last });
    let cells = match spec.array_indices().or(sized_late) {
        None => single_cell(&task.cells, origin)?,
        Some(array) => array_cells(&task.cells, array, origin)?,
    };
    Ok(Task {
        attempts: task.attempts.max(told(&cells)),
        cells,
        items,
        max_failures: spec.max_failures,
        waiting: task.waiting,
        outputs: task.outputs.map(|outputs| Arc::new(text_map(outputs.values))),
        message: task.message.map(Text::from),
        child: task.child.map(|it| Arc::new(ChildRun { run: RunId(it.run_id), number: it.number })),
    })
}

fn single_cell(cells: &[StoredCell], origin: Origin) -> Result<Cells, DecodeError> {
    let [cell] = cells else {
        return Err(DecodeError::invalid("cells", "are not exactly one, for a single task"));
    };
    if cell.count != 0 {
        return Err(DecodeError::invalid("cells[0].count", "is given for a single task"));
    }
    Ok(Cells::One(state_from_proto(cell, origin).within_element("cells", 0)?))
}

fn array_cells(
    cells: &[StoredCell],
    array: ArraySpec,
    origin: Origin,
) -> Result<Cells, DecodeError> {
    let uncovered = || DecodeError::invalid("cells", "do not cover the indices of the array");
    let mut ranges = Vec::with_capacity(cells.len());
    let mut next = Some(array.first);
    for (position, cell) in cells.iter().enumerate() {
        let first = next.ok_or_else(uncovered)?;
        let more = cell.count.checked_sub(1).ok_or_else(uncovered)?;
        let last = first.checked_add(more).filter(|last| *last <= array.last);
        let last = last.ok_or_else(uncovered)?;
        let state = state_from_proto(cell, origin).within_element("cells", position)?;
        ranges.push((IndexRange { first, last }, state));
        next = last.checked_add(1).filter(|next| *next <= array.last);
    }
    if next.is_some() {
        return Err(uncovered());
    }
    Cells::from_ranges(ranges).ok_or_else(uncovered)
}

fn cell_to_proto(state: &TaskState, count: u32, origin: Origin) -> StoredCell {
    let tries = state.tries();
    let state = match state {
        TaskState::Blocked => State::Blocked(cell::Blocked {}),
        TaskState::Undecided { tries: _, since } => {
            State::Undecided(cell::Undecided { since_index: since.0 })
        }
        TaskState::Ready { tries: _, since, avoid } => State::Ready(cell::Ready {
            since_offset_ms: origin.offset_ms(*since),
            avoid_worker_id: avoid.map(|worker| worker.0),
        }),
        TaskState::Placed { tries: _, attempt } => {
            State::Placed(cell::Placed { attempt: Some(attempt_to_proto(attempt, origin)) })
        }
        TaskState::Running { tries: _, attempt, started_at } => State::Running(cell::Running {
            attempt: Some(attempt_to_proto(attempt, origin)),
            started_at_offset_ms: origin.offset_ms(*started_at),
        }),
        TaskState::Backoff { tries: _, until, avoid } => State::Backoff(cell::Backoff {
            until_offset_ms: origin.offset_ms(*until),
            avoid_worker_id: avoid.map(|worker| worker.0),
        }),
        TaskState::Held { tries: _ } => State::Held(cell::Held {}),
        TaskState::Awaiting { since, what } => State::Awaiting(cell::Awaiting {
            since_offset_ms: origin.offset_ms(*since),
            run: awaited_to_proto(what),
        }),
        TaskState::Succeeded { tries: _, last } => State::Succeeded(cell::Succeeded {
            last: last.as_ref().map(|last| last_to_proto(last, origin)),
        }),
        TaskState::Failed { tries: _, reason, last } => {
            let (reason, exit_code) = failure_to_proto(*reason);
            let last = last.as_ref().map(|last| last_to_proto(last, origin));
            State::Failed(cell::Failed { reason: reason.into(), exit_code, last })
        }
        TaskState::Skipped { by_failure } => {
            State::Skipped(cell::Skipped { by_failure: *by_failure })
        }
        TaskState::Cancelled => State::Cancelled(cell::Cancelled {}),
    };
    StoredCell {
        state: Some(state),
        count,
        attempts: tries.attempts,
        failures: tries.failures.into(),
        losses: tries.losses.into(),
    }
}

fn state_from_proto(stored: &StoredCell, origin: Origin) -> Result<TaskState, DecodeError> {
    let tries = tries_from_proto(stored)?;
    Ok(match required("state", stored.state.as_ref())? {
        State::Blocked(cell::Blocked {}) => TaskState::Blocked,
        State::Undecided(cell::Undecided { since_index }) => {
            TaskState::Undecided { tries, since: LogIndex(*since_index) }
        }
        State::Ready(ready) => TaskState::Ready {
            tries,
            since: origin.at(ready.since_offset_ms),
            avoid: ready.avoid_worker_id.map(WorkerId),
        },
        State::Placed(placed) => TaskState::Placed {
            tries,
            attempt: attempt_from_proto(placed.attempt.as_ref(), origin).within("placed")?,
        },
        State::Running(running) => TaskState::Running {
            tries,
            attempt: attempt_from_proto(running.attempt.as_ref(), origin).within("running")?,
            started_at: origin.at(running.started_at_offset_ms),
        },
        State::Backoff(backoff) => TaskState::Backoff {
            tries,
            until: origin.at(backoff.until_offset_ms),
            avoid: backoff.avoid_worker_id.map(WorkerId),
        },
        State::Held(cell::Held {}) => TaskState::Held { tries },
        State::Awaiting(awaiting) => TaskState::Awaiting {
            since: origin.at(awaiting.since_offset_ms),
            what: awaited_from_proto(awaiting.run.as_ref(), tries).within("awaiting.run")?,
        },
        State::Succeeded(succeeded) => TaskState::Succeeded {
            tries,
            last: succeeded.last.as_ref().map(|last| last_from_proto(last, origin)),
        },
        State::Failed(failed) => TaskState::Failed {
            tries,
            reason: failure_from_proto(failed.reason, failed.exit_code).within("failed")?,
            last: failed.last.as_ref().map(|last| last_from_proto(last, origin)),
        },
        State::Skipped(skipped) => TaskState::Skipped { by_failure: skipped.by_failure },
        State::Cancelled(cell::Cancelled {}) => TaskState::Cancelled,
    })
}

fn awaited_to_proto(what: &Awaited) -> Option<cell::AwaitedRun> {
    match what {
        Awaited::Person => None,
        Awaited::Run { run, tries: _, stop } => Some(cell::AwaitedRun {
            run_id: run.0,
            stop: stop.map_or(StoredStopReason::Unspecified, stop_reason_to_proto).into(),
        }),
    }
}

fn awaited_from_proto(
    run: Option<&cell::AwaitedRun>,
    tries: Tries,
) -> Result<Awaited, DecodeError> {
    let Some(run) = run else { return Ok(Awaited::Person) };
    let stop = match run.stop {
        0 => None,
        number => Some(stop_reason_from_proto("stop", number)?),
    };
    Ok(Awaited::Run { run: RunId(run.run_id), tries, stop })
}

fn tries_from_proto(stored: &StoredCell) -> Result<Tries, DecodeError> {
    let narrow = |field, count: u32| {
        u16::try_from(count).map_err(|_| DecodeError::invalid(field, "is larger than 65535"))
    };
    Ok(Tries {
        attempts: stored.attempts,
        failures: narrow("failures", stored.failures)?,
        losses: narrow("losses", stored.losses)?,
    })
}

fn attempt_to_proto(attempt: &Attempt, origin: Origin) -> cell::LiveAttempt {
    cell::LiveAttempt {
        worker_id: attempt.worker.0,
        fence: attempt.fence.0,
        placed_at_offset_ms: origin.offset_ms(attempt.placed_at),
        stop: attempt.stop.map(|stop| cell::Stop {
            reason: stop_reason_to_proto(stop.reason).into(),
            force_at_offset_ms: stop.force_at.map(|at| origin.offset_ms(at)),
        }),
    }
}

fn attempt_from_proto(
    attempt: Option<&cell::LiveAttempt>,
    origin: Origin,
) -> Result<Attempt, DecodeError> {
    let attempt = required("attempt", attempt)?;
    let stop =
        attempt.stop.as_ref().map(|stop| stop_from_proto(stop, origin).within("attempt.stop"));
    Ok(Attempt {
        worker: WorkerId(attempt.worker_id),
        fence: Fence(attempt.fence),
        placed_at: origin.at(attempt.placed_at_offset_ms),
        stop: stop.transpose()?,
    })
}

fn stop_from_proto(stop: &cell::Stop, origin: Origin) -> Result<Stop, DecodeError> {
    Ok(Stop {
        reason: stop_reason_from_proto("reason", stop.reason)?,
        force_at: stop.force_at_offset_ms.map(|offset| origin.at(offset)),
    })
}

fn last_to_proto(last: &LastAttempt, origin: Origin) -> cell::LastAttempt {
    cell::LastAttempt {
        worker_id: last.worker.0,
        fence: last.fence.0,
        started_at_offset_ms: origin.offset_ms(last.started_at),
        ended_at_offset_ms: Origin(last.started_at).offset_ms(last.ended_at),
    }
}

fn last_from_proto(last: &cell::LastAttempt, origin: Origin) -> LastAttempt {
    let started_at = origin.at(last.started_at_offset_ms);
    LastAttempt {
        worker: WorkerId(last.worker_id),
        fence: Fence(last.fence),
        started_at,
        ended_at: Origin(started_at).at(last.ended_at_offset_ms),
    }
}

pub(in crate::convert) fn failure_to_proto(reason: FailureReason) -> (StoredFailureReason, i32) {
    match reason {
        FailureReason::Exit(code) => (StoredFailureReason::Exit, code),
        FailureReason::Rejected => (StoredFailureReason::Rejected, 0),
        FailureReason::TimedOut => (StoredFailureReason::TimedOut, 0),
        FailureReason::QueueTimedOut => (StoredFailureReason::QueueTimedOut, 0),
        FailureReason::Undecidable => (StoredFailureReason::Undecidable, 0),
        FailureReason::Lost => (StoredFailureReason::Lost, 0),
        FailureReason::NotApproved => (StoredFailureReason::NotApproved, 0),
        FailureReason::RunFailed => (StoredFailureReason::RunFailed, 0),
    }
}

pub(in crate::convert) fn failure_from_proto(
    reason: i32,
    exit_code: i32,
) -> Result<FailureReason, DecodeError> {
    match known("reason", reason)? {
        StoredFailureReason::Unspecified => Err(DecodeError::missing("reason")),
        StoredFailureReason::Exit => Ok(FailureReason::Exit(exit_code)),
        StoredFailureReason::Rejected => Ok(FailureReason::Rejected),
        StoredFailureReason::TimedOut => Ok(FailureReason::TimedOut),
        StoredFailureReason::QueueTimedOut => Ok(FailureReason::QueueTimedOut),
        StoredFailureReason::Undecidable => Ok(FailureReason::Undecidable),
        StoredFailureReason::Lost => Ok(FailureReason::Lost),
        StoredFailureReason::NotApproved => Ok(FailureReason::NotApproved),
        StoredFailureReason::RunFailed => Ok(FailureReason::RunFailed),
    }
}
