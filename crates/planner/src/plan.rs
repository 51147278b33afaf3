//! The result of a pass.

use std::sync::Arc;

use muster_core::command::{Command, PlaceAttempts, Placement};
use muster_core::ids::Name;
use muster_core::spec::Request;
use muster_core::state::State;
use muster_core::state::queue::ReadyKey;
use muster_core::time::Timestamp;

use crate::pass::Pass;
use crate::policy::Policy;
use crate::summary::Summary;
use crate::view::LiveView;

/// What should be placed where, and what cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The time it was made for.
    pub at: Timestamp,
    /// In the order of service. None hinders another: applied to the same state, all are accepted.
    pub placements: Vec<Placement>,
    /// One entry a group of equal requests of one namespace that has ready tasks left and no worker with room, or that
    /// a limit keeps from being live; groups the pass never got to because it was cut have none.
    pub unplaced: Vec<Unplaced>,
    /// Whether a bound of the policy ended the pass: there may be more to place once this plan is applied.
    pub is_cut: bool,
}

/// Ready tasks of one namespace with equal requests, none of which finds a worker once the plan's placements are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// Whose they are.
    pub namespace: Name,
    /// What they ask for.
    pub request: Arc<Request>,
    /// How many tasks there are. An array task counts once, however many of its indices are left.
    pub tasks: usize,
    /// The first of them.
    pub first: ReadyKey,
    /// What lets nothing more be live, if that is why. What the workers say does not matter then.
    pub limit: Option<Limit>,
    /// What the workers lack. Only the first 64 entries of a plan have it; [`crate::explain`] answers for any task.
    pub summary: Option<Summary>,
}

/// What lets no more be live, whatever room the workers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The quota of the namespace.
    Quota,
    /// A concurrency group of the tasks.
    Group,
}

impl Unplaced {
    /// How many indices of these tasks were ready in the state the plan was made from, those it places included. Costs
    /// a walk over all tasks with this request.
    pub fn ready_indices(&self, state: &State) -> u64 {
        let group = state.queue().group(&self.namespace, &self.request);
        group.map_or(0, |ready| ready.values().map(|count| u64::from(*count)).sum())
    }
}

impl Plan {
    /// The command that carries the placements out; `None` if there are none.
    pub fn command(&self) -> Option<Command> {
        let placements = self.placements.clone();
        (!placements.is_empty()).then_some(Command::PlaceAttempts(PlaceAttempts { placements }))
    }
}

/// Computes placements for the ready tasks of `state`.
///
/// `now` is the leader's clock. It does not enter into placement; it is where due triggers will be judged by, once
/// schedules exist: they come as a further argument, a calendar the caller evaluates cron and time zones with, and
/// their runs as further commands in the plan.
///
/// Plans made from the same state place the same tasks: apply one before making the next. Equal arguments give equal
/// plans.
pub fn plan(state: &State, view: &LiveView, now: Timestamp, policy: &Policy) -> Plan {
    if state.queue().is_empty() {
        return Plan { at: now, placements: Vec::new(), unplaced: Vec::new(), is_cut: false };
    }
    let (placements, unplaced, is_cut) = Pass::new(state, view, policy).run();
    Plan { at: now, placements, unplaced, is_cut }
}
