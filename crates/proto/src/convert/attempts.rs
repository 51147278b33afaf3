//! The commands about attempts, by column.
//!
//! Nearly everything in the log is one of these, and every master decodes all of it, so they are stored as packed
//! lists: one a field, one value an item. `tests/convert/measure.rs` compares that with one
//! message an item: a third of the time to decode, and of the bytes.

use std::iter::Peekable;
use std::sync::Arc;

use muster_core::command::{
    AttemptRef, Finish, FinishAttempts, Outcome, PlaceAttempts, Placement, Start, StartAttempts,
};
use muster_core::ids::{Fence, RunId, TaskIndex, Text, WorkerId};
use muster_core::state::cells::IndexRange;
use muster_core::time::Millis;

use super::error::DecodeError;
use super::read::{Within, known, string_map, text_map};
use crate::internal::v1::outcome_detail::Detail;
use crate::internal::v1::{self as stored, StoredOutcome};

/// The values, or none if all are zero.
fn column<T: Default + PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let values: Vec<T> = values.collect();
    if values.iter().all(|value| *value == T::default()) { Vec::new() } else { values }
}

/// The difference of each value to the one before.
fn deltas(values: impl Iterator<Item = u64>) -> impl Iterator<Item = i64> {
    values.scan(0u64, |before, value| {
        let delta = value.wrapping_sub(*before).cast_signed();
        *before = value;
        Some(delta)
    })
}

fn extent(range: IndexRange) -> u32 {
    range.last.wrapping_sub(range.first)
}

/// A column that is read item by item.
#[derive(Clone, Copy)]
struct Column<'a, T>(&'a [T]);

impl<'a, T: Copy + Default> Column<'a, T> {
    /// A column of `len` items, whose values may all be left out.
    fn new(field: &str, values: &'a [T], len: usize) -> Result<Self, DecodeError> {
        if values.is_empty() || values.len() == len {
            Ok(Column(values))
        } else {
            Err(DecodeError::invalid(field, "has neither no value nor one an item"))
        }
    }

    fn at(self, position: usize) -> T {
        self.0.get(position).copied().unwrap_or_default()
    }
}

/// The columns that all three commands have.
struct Places<'a> {
    run_id_deltas: &'a [i64],
    task_indices: Column<'a, u32>,
    first_indices: Column<'a, u32>,
    extents: Column<'a, u32>,
}

impl<'a> Places<'a> {
    fn new(
        run_id_deltas: &'a [i64],
        task_indices: &'a [u32],
        first_indices: &'a [u32],
        extents: &'a [u32],
    ) -> Result<Self, DecodeError> {
        let len = run_id_deltas.len();
        Ok(Places {
            run_id_deltas,
            task_indices: Column::new("task_indices", task_indices, len)?,
            first_indices: Column::new("first_indices", first_indices, len)?,
            extents: Column::new("extents", extents, len)?,
        })
    }

    fn len(&self) -> usize {
        self.run_id_deltas.len()
    }

    /// Run, task and range of every item.
    fn iter(&self) -> impl ExactSizeIterator<Item = (RunId, TaskIndex, IndexRange)> {
        let mut run = 0u64;
        self.run_id_deltas.iter().enumerate().map(move |(position, delta)| {
            run = run.wrapping_add_signed(*delta);
            let first = self.first_indices.at(position);
            let last = first.wrapping_add(self.extents.at(position));
            (RunId(run), TaskIndex(self.task_indices.at(position)), IndexRange { first, last })
        })
    }

    /// The attempt of every item.
    fn attempts(
        &self,
        fence_deltas: &'a [i64],
    ) -> Result<impl ExactSizeIterator<Item = AttemptRef>, DecodeError> {
        let fence_deltas = Column::new("fence_deltas", fence_deltas, self.len())?;
        let mut fence = 0u64;
        Ok(self.iter().enumerate().map(move |(position, (run, task, range))| {
            fence = fence.wrapping_add_signed(fence_deltas.at(position));
            AttemptRef { run, task, range, fence: Fence(fence) }
        }))
    }
}

pub(super) fn place_to_proto(command: &PlaceAttempts) -> stored::PlaceAttempts {
    let items = || command.placements.iter();
    stored::PlaceAttempts {
        run_id_deltas: deltas(items().map(|item| item.run.0)).collect(),
        task_indices: column(items().map(|item| item.task.0)),
        first_indices: column(items().map(|item| item.range.first)),
        extents: column(items().map(|item| extent(item.range))),
        worker_ids: column(items().map(|item| item.worker.0)),
    }
}

pub(super) fn place_from_proto(
    columns: &stored::PlaceAttempts,
) -> Result<PlaceAttempts, DecodeError> {
    let places = Places::new(
        &columns.run_id_deltas,
        &columns.task_indices,
        &columns.first_indices,
        &columns.extents,
    )?;
    let workers = Column::new("worker_ids", &columns.worker_ids, places.len())?;
    let placement = |(position, (run, task, range))| {
        let worker = WorkerId(workers.at(position));
        Placement { run, task, range, worker }
    };
    Ok(PlaceAttempts { placements: places.iter().enumerate().map(placement).collect() })
}

pub(super) fn start_to_proto(command: &StartAttempts) -> stored::StartAttempts {
    let items = || command.starts.iter().map(|start| start.attempt);
    stored::StartAttempts {
        run_id_deltas: deltas(items().map(|item| item.run.0)).collect(),
        task_indices: column(items().map(|item| item.task.0)),
        first_indices: column(items().map(|item| item.range.first)),
        extents: column(items().map(|item| extent(item.range))),
        fence_deltas: column(deltas(items().map(|item| item.fence.0))),
        ages_ms: column(command.starts.iter().map(|start| start.age.0)),
    }
}

pub(super) fn start_from_proto(
    columns: &stored::StartAttempts,
) -> Result<StartAttempts, DecodeError> {
    let places = Places::new(
        &columns.run_id_deltas,
        &columns.task_indices,
        &columns.first_indices,
        &columns.extents,
    )?;
    let ages = Column::new("ages_ms", &columns.ages_ms, places.len())?;
    let attempts = places.attempts(&columns.fence_deltas)?;
    let start = |(position, attempt)| Start { attempt, age: Millis(ages.at(position)) };
    Ok(StartAttempts { starts: attempts.enumerate().map(start).collect() })
}

pub(super) fn finish_to_proto(command: &FinishAttempts) -> stored::FinishAttempts {
    let items = || command.finishes.iter().map(|finish| finish.attempt);
    let outcomes = || command.finishes.iter().map(|finish| outcome_to_proto(&finish.outcome));
    let all_succeeded = outcomes().all(|outcome| outcome == StoredOutcome::Succeeded);
    let details = command.finishes.iter().enumerate().filter_map(|(position, finish)| {
        let detail = Some(detail_to_proto(&finish.outcome)?);
        Some(stored::OutcomeDetail { position: position as u32, detail })
    });
    stored::FinishAttempts {
        run_id_deltas: deltas(items().map(|item| item.run.0)).collect(),
        task_indices: column(items().map(|item| item.task.0)),
        first_indices: column(items().map(|item| item.range.first)),
        extents: column(items().map(|item| extent(item.range))),
        fence_deltas: column(deltas(items().map(|item| item.fence.0))),
        durations_ms: column(command.finishes.iter().map(|finish| finish.duration.0)),
        outcomes: if all_succeeded { Vec::new() } else { outcomes().map(i32::from).collect() },
        details: details.collect(),
    }
}

pub(super) fn finish_from_proto(
    columns: stored::FinishAttempts,
) -> Result<FinishAttempts, DecodeError> {
    let places = Places::new(
        &columns.run_id_deltas,
        &columns.task_indices,
        &columns.first_indices,
        &columns.extents,
    )?;
    let durations = Column::new("durations_ms", &columns.durations_ms, places.len())?;
    let kinds = Column::new("outcomes", &columns.outcomes, places.len())?;
    let all_succeeded = columns.outcomes.is_empty();
    if all_succeeded && columns.details.is_empty() {
        // The usual case, which needs no look at single items.
        let finish = |(position, attempt)| Finish {
            attempt,
            outcome: Outcome::Succeeded { outputs: None },
            duration: Millis(durations.at(position)),
        };
        let attempts = places.attempts(&columns.fence_deltas)?;
        return Ok(FinishAttempts { finishes: attempts.enumerate().map(finish).collect() });
    }
    let mut details = columns.details.into_iter().peekable();
    let mut finishes = Vec::with_capacity(places.len());
    for (position, attempt) in places.attempts(&columns.fence_deltas)?.enumerate() {
        let kind = if all_succeeded {
            StoredOutcome::Succeeded
        } else {
            known("", kinds.at(position)).within_element("outcomes", position)?
        };
        let outcome = outcome_from_proto(kind, next_detail(&mut details, position))
            .within_element("details", position)?;
        finishes.push(Finish { attempt, outcome, duration: Millis(durations.at(position)) });
    }
    if details.next().is_some() {
        return Err(DecodeError::invalid("details", "do not stand by ascending item"));
    }
    Ok(FinishAttempts { finishes })
}

/// The detail of the item at `position`, if it is next.
fn next_detail(
    details: &mut Peekable<std::vec::IntoIter<stored::OutcomeDetail>>,
    position: usize,
) -> Option<Detail> {
    details.next_if(|detail| detail.position as usize == position)?.detail
}

fn outcome_to_proto(outcome: &Outcome) -> StoredOutcome {
    match outcome {
        Outcome::Succeeded { .. } => StoredOutcome::Succeeded,
        Outcome::Failed { .. } => StoredOutcome::Failed,
        Outcome::TimedOut => StoredOutcome::TimedOut,
        Outcome::Cancelled => StoredOutcome::Cancelled,
        Outcome::Lost => StoredOutcome::Lost,
    }
}

fn detail_to_proto(outcome: &Outcome) -> Option<Detail> {
    match outcome {
        Outcome::Succeeded { outputs: Some(outputs) } => {
            Some(Detail::Succeeded(stored::SucceededDetail { outputs: string_map(outputs) }))
        }
        Outcome::Succeeded { outputs: None }
        | Outcome::Failed { exit_code: None, message: None } => None,
        Outcome::Failed { exit_code, message } => Some(Detail::Failed(stored::FailedDetail {
            exit_code: *exit_code,
            message: message.as_ref().map(Text::to_string),
        })),
        Outcome::TimedOut | Outcome::Cancelled | Outcome::Lost => None,
    }
}

fn outcome_from_proto(
    outcome: StoredOutcome,
    detail: Option<Detail>,
) -> Result<Outcome, DecodeError> {
    Ok(match (outcome, detail) {
        (StoredOutcome::Unspecified, _) => return Err(DecodeError::missing("")),
        (StoredOutcome::Succeeded, None) => Outcome::Succeeded { outputs: None },
        (StoredOutcome::Succeeded, Some(Detail::Succeeded(detail))) => {
            Outcome::Succeeded { outputs: Some(Arc::new(text_map(detail.outputs))) }
        }
        (StoredOutcome::Failed, None) => Outcome::Failed { exit_code: None, message: None },
        (StoredOutcome::Failed, Some(Detail::Failed(detail))) => {
            Outcome::Failed { exit_code: detail.exit_code, message: detail.message.map(Text::from) }
        }
        (StoredOutcome::TimedOut, None) => Outcome::TimedOut,
        (StoredOutcome::Cancelled, None) => Outcome::Cancelled,
        (StoredOutcome::Lost, None) => Outcome::Lost,
        (
            StoredOutcome::Succeeded
            | StoredOutcome::Failed
            | StoredOutcome::TimedOut
            | StoredOutcome::Cancelled
            | StoredOutcome::Lost,
            Some(_),
        ) => return Err(DecodeError::invalid("", "does not go with the outcome")),
    })
}
