//! How attempts are carried out: one interface, and the executors that come with Muster.
//!
//! To write another executor, in this crate or another, implement [`Executor`]: say which specs it takes, and return a
//! future that ends with the attempt. The rest is the worker's: an index is given out once under a fence, the attempt
//! is named in every heartbeat until its outcome is acknowledged, and the outcome goes through the journal, however
//! the attempt ended. What an executor must see to:
//!
//! - The future ends when nothing of the attempt runs any more, and not before: its resources are given away then.
//! - When [`StopSignal::requested`] yields [`Stop::Gently`] the attempt has its grace period, and ends as
//!   [`Outcome::Cancelled`] unless it was over already. With [`Stop::AtOnce`] it has no grace period and ends as
//!   [`Outcome::Lost`]: the lease is about to end and somebody else may start the same task. It may come at any time,
//!   also after a gentle stop, and there is only the lease's margin to obey it.
//! - The timeout of the task is the executor's to watch ([`Outcome::TimedOut`], after the grace period).
//! - Dropping the future ends the attempt at once. It is dropped only with the runtime it runs on: when the process
//!   ends, or a simulated machine dies.
//! - What outlives the worker's process must be ended by other means, at the time that
//!   [`Executor::set_lease_end`] tells, and when the worker starts again.

pub mod noop;
pub mod process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use muster_core::command::AttemptRef;
pub use muster_core::command::Outcome;
use muster_core::ids::{Fence, RunId, TaskIndex, Text};
use muster_core::limits;
use muster_core::spec::column::Column;
use muster_core::spec::{ExecutorSpec, Resources};
use muster_core::state::cells::IndexRange;
pub use muster_core::state::task::Outputs;
use muster_core::time::Millis;
use tokio::sync::watch;

/// A way to carry attempts out.
pub trait Executor: Send + Sync + 'static {
    /// The name it is registered under, for people and logs.
    fn name(&self) -> &'static str;

    /// Whether it carries out tasks of this kind.
    fn accepts(&self, spec: &ExecutorSpec) -> bool;

    /// Whether one call may carry out many indices of an array task, with one ending for all. If not, it is called
    /// once for each index.
    fn takes_ranges(&self) -> bool {
        false
    }

    /// Carries `attempt` out. Must not block: the future is polled on the session's runtime.
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Ending>;

    /// Every attempt must be dead at `end`, in time since boot, even if the worker stands still, unless this is called
    /// again before; `None` for never. Only executors whose attempts can outlive the worker need it.
    fn set_lease_end(&self, end: Option<Duration>) {
        let _ = end;
    }

    /// The lease is over: ends whatever still runs. Every attempt was told [`Stop::AtOnce`] before; this is for those
    /// who cannot hear it. May block for a small part of the lease's margin.
    fn kill_all(&self) {}
}

/// What the leader gave to this worker: indices of one task under one fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The run, cluster-wide.
    pub run: RunId,
    /// The task's position in its workflow version.
    pub task_index: TaskIndex,
    /// Which indices; 0 to 0 for a single task.
    pub indices: IndexRange,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The log index of the placement.
    pub fence: Fence,
    /// What all attempts of the task have in common.
    pub task: Arc<TaskDefinition>,
}

impl Assignment {
    /// How the cluster names it.
    pub fn attempt_ref(&self) -> AttemptRef {
        AttemptRef { run: self.run, task: self.task_index, range: self.indices, fence: self.fence }
    }
}

/// What all attempts of a task of a run have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDefinition {
    /// The namespace the workflow lives in.
    pub namespace: Text,
    /// The workflow's name.
    pub workflow: Text,
    /// The run as people know it, within its workflow.
    pub run_number: u64,
    /// The task's name.
    pub name: Text,
    /// How to carry it out.
    pub executor: ExecutorSpec,
    /// Environment with all references resolved, except what differs from index to index.
    pub env: BTreeMap<Text, Text>,
    /// Keys the task promises to write to `$MUSTER_OUTPUT`.
    pub outputs: Vec<Text>,
    /// Whether the task is an array task, so that the index means something to it.
    pub is_array: bool,
    /// Values that differ from index to index, as far as this assignment needs them.
    pub columns: Vec<Column>,
    /// Bound on one attempt, from its start.
    pub timeout: Option<Millis>,
    /// Between the request to stop and the end by force.
    pub grace_period: Millis,
    /// What each index takes from the worker.
    pub resources: Resources,
}

/// One call of an executor.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What to do.
    pub assignment: Arc<Assignment>,
    /// For which of its indices: one, unless the executor takes ranges.
    pub indices: IndexRange,
    /// When to give up.
    pub stop: StopSignal,
}

/// A success, with what the task wrote.
pub fn succeeded(outputs: Outputs) -> Outcome {
    Outcome::Succeeded { outputs: (!outputs.is_empty()).then(|| Arc::new(outputs)) }
}

/// A failure, with a message for people that is cut to [`limits::REASON_BYTES_MAX`]. The exit code is minus the signal
/// number if a signal ended the process, and `None` if the attempt could not be carried out at all.
pub fn failed(exit_code: Option<i32>, message: impl Into<String>) -> Outcome {
    let mut message = message.into();
    if message.len() > limits::REASON_BYTES_MAX {
        let mut end = limits::REASON_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    Outcome::Failed { exit_code, message: Some(message.into()) }
}

/// An outcome and when it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// When it started, since boot.
    pub started_at: Duration,
    /// When it ended, since boot; not before `started_at`.
    pub ended_at: Duration,
}

impl Ending {
    /// An attempt that ended `now`, since boot, before anything ran.
    pub fn at_once(outcome: Outcome, now: Duration) -> Self {
        Ending { outcome, started_at: now, ended_at: now }
    }

    /// How long it ran.
    pub fn duration(&self) -> Duration {
        self.ended_at.saturating_sub(self.started_at)
    }
}

/// How urgently an attempt must end. Later variants override earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Ask, wait for the grace period, then force.
    Gently,
    /// Force.
    AtOnce,
}

/// Tells an attempt to stop.
#[derive(Debug)]
pub struct StopHandle(watch::Sender<Option<Stop>>);

/// Where an attempt hears that it must stop.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<Option<Stop>>);

/// A handle and its signal.
pub fn stop_pair() -> (StopHandle, StopSignal) {
    let (sender, receiver) = watch::channel(None);
    (StopHandle(sender), StopSignal(receiver))
}

impl StopHandle {
    /// Asks for a stop. A gentle request after one at once changes nothing.
    pub fn request(&self, stop: Stop) {
        self.0.send_if_modified(|held| {
            let is_news = *held < Some(stop);
            if is_news {
                *held = Some(stop);
            }
            is_news
        });
    }
}

impl StopSignal {
    /// What was asked so far.
    pub fn current(&self) -> Option<Stop> {
        *self.0.borrow()
    }

    /// Waits until a stop at least as urgent as `urgency` is asked for; for ever if the handle is gone without it.
    pub async fn requested(&mut self, urgency: Stop) -> Stop {
        let asked = self
            .0
            .wait_for(|held| *held >= Some(urgency))
            .await
            .map(|held| held.unwrap_or(urgency));
        match asked {
            Ok(stop) => stop,
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_only_becomes_more_urgent() {
        let (handle, mut signal) = stop_pair();
        assert_eq!(signal.current(), None);
        handle.request(Stop::AtOnce);
        handle.request(Stop::Gently);
        assert_eq!(signal.requested(Stop::Gently).await, Stop::AtOnce);
        assert_eq!(signal.current(), Some(Stop::AtOnce));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let length = |text: String| match failed(None, text) {
            Outcome::Failed { message: Some(message), .. } => message.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(length("ä".repeat(limits::REASON_BYTES_MAX)), limits::REASON_BYTES_MAX);
        assert_eq!(length(format!("x{}", "ä".repeat(600))), limits::REASON_BYTES_MAX - 1);
    }
}
