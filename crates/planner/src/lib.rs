//! Decides which worker takes which ready task, and says why a task waits.
//!
//! ```text
//!  State (replicated) ─┐                    ┌─► placements ──► PlaceAttempts ──► log ──► State::apply checks each
//!  again
//!  LiveView (leader) ──┼──► plan ──► Plan ──┤
//!  Policy ─────────────┘                    └─► unplaced, with reasons
//!
//!  State, LiveView ───────► explain ──► Explanation of one task
//! ```
//!
//! Both are functions of their arguments: no IO, no clock, no chance. Only the leader calls them. A plan is computed
//! from one state and may be out of date when it is applied, so apply trusts nothing in it; this crate may therefore
//! use floats and change between versions, since only its result is replicated.
//!
//! How a pass goes: ready tasks are grouped by namespace and equal request ([`muster_core::state::queue`]). The
//! namespace with the smallest share of the cluster comes next (`party`), its groups are merged by priority, age and
//! file order, and each task goes to the best worker with room. Which worker is
//! best hardly depends on the task, so groups with equal pool and selector share one ranking of the workers. A group no
//! worker has room for drops out as a whole: a million waiting tasks cost one look a group, and never hold up the tasks
//! of other groups.
//!
//! What that costs: nothing is kept free for a large task. While smaller tasks keep arriving and fit into what is
//! left, a large one waits, whatever its priority. A pool of its own is the remedy.

mod amount;
pub mod bench;
mod class;
mod explain;
mod group;
mod obstacle;
mod party;
mod pass;
mod plan;
mod policy;
mod ranking;
mod slot;
mod summary;
mod view;

#[cfg(test)]
mod properties;

pub use explain::{
    Ahead, Blocked, Contender, Explanation, Failures, FullGroup, FullGroups, HookTurn, OverQuota,
    Parallel, Part, SizedLate, Skipped, SubWorkflow, UPSTREAM_MAX, UpstreamTask, WorkerReport,
    WorkerVerdict, explain, explain_progress,
};
pub use obstacle::{Obstacle, ObstacleKind, Shortage};
pub use plan::{Limit, Plan, Unplaced, plan};
pub use policy::{Policy, Strategy, Weights};
pub use summary::{Outlook, Summary, forecast};
pub use view::{LiveView, Load, WorkerView};

/// Most live attempts the planner gives one worker, whatever its capacity: tasks may ask for nothing at all.
pub const ATTEMPTS_PER_WORKER_MAX: u32 = 4096;
