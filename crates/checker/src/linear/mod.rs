//! Whether the API is linearizable (I14), told in two ways that share nothing but the operations.
//!
//! [`by_log`] knows the log. Each answer fits a range of log indexes: a read of a running run, those from its
//! acceptance to its end. What returned before another call began must not lie behind it in the log. That is exact
//! over all runs at once, and costs a sort.
//!
//! [`by_search`] knows nothing but the calls: it looks for an order of them that a single run, asked one call at a
//! time, could have answered. It would find out if the log itself were wrong.

pub mod by_log;
pub mod by_search;
pub mod one_run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use muster_core::ids::{LogIndex, Text};

use crate::history::{Answer, Call, History, Nanos, Observed};

/// A client's call with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number in the history.
    pub call: u64,
    /// Its place in the order of observations.
    pub invoked: usize,
    /// The place of its return; `None` if it never returned, or its caller does not know what became of it.
    pub returned: Option<usize>,
    /// When it was invoked.
    pub invoked_at: Nanos,
    /// When it returned, with whatever outcome.
    pub returned_at: Option<Nanos>,
    /// What was asked.
    pub what: Call,
    /// What was answered, if that is known.
    pub answer: Option<Answer>,
    /// The log index that the answer carried.
    pub index: Option<LogIndex>,
}

impl Operation {
    /// The request id, if it has one.
    pub fn request(&self) -> Option<&Text> {
        match &self.what {
            Call::Submit { request, .. }
            | Call::Apply { request, .. }
            | Call::Cancel { request, .. }
            | Call::Retry { request, .. }
            | Call::Change { request, .. } => request.as_ref(),
            Call::Get { .. } | Call::List { .. } => None,
        }
    }

    /// Whether it was certainly not carried out.
    pub fn is_refused(&self) -> bool {
        matches!(self.answer, Some(Answer::Refused { .. }))
    }

    /// Whether it is a read that may be stale.
    pub fn is_stale(&self) -> bool {
        match self.what {
            Call::Get { is_stale, .. } | Call::List { is_stale, .. } => is_stale,
            Call::Submit { .. }
            | Call::Apply { .. }
            | Call::Cancel { .. }
            | Call::Retry { .. }
            | Call::Change { .. } => false,
        }
    }
}

/// The calls of a history, in the order in which they were invoked. An unknown outcome is one that never came.
pub fn operations(history: &History) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut position_of: BTreeMap<u64, usize> = BTreeMap::new();
    for (place, observation) in history.iter().enumerate() {
        match &observation.what {
            Observed::Invoked { call, what, .. } => {
                position_of.insert(*call, operations.len());
                operations.push(Operation {
                    call: *call,
                    invoked: place,
                    returned: None,
                    invoked_at: observation.at,
                    returned_at: None,
                    what: what.clone(),
                    answer: None,
                    index: None,
                });
            }
            Observed::Returned { call, answer, index } => {
                let Some(at) = position_of.get(call) else { continue };
                let operation = &mut operations[*at];
                operation.returned_at = Some(observation.at);
                if !matches!(answer, Answer::Unknown { .. }) {
                    operation.returned = Some(place);
                    operation.answer = Some(answer.clone());
                    operation.index = *index;
                }
            }
            _ => {}
        }
    }
    operations
}
