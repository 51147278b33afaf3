//! Attempts that take time and do nothing: what they were told stands in their command (see `workflow.rs`).
//!
//! Each is a process of its own beside the worker's, as real ones are. It goes on while the worker is stopped, and is
//! killed by a guardian if that lasts for too long. A process that is begun too late is not begun at all.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use muster_checker::history::Ending as Ended;
use muster_core::command::Outcome;
use muster_core::ids::{Fence, RunId};
use muster_core::spec::{ExecutorSpec, ProcessCommand};
use muster_platform::Platform;
use muster_worker::executor::{Attempt, Ending, Executor, Outputs, Stop, failed, succeeded};
use tokio::sync::watch;

use crate::machine::kernel::Kernel;
use crate::witness::{AttemptKey, Witness, ending_of};

/// How long an attempt takes to end when it is asked to, and when it is killed.
const GENTLE: Duration = Duration::from_millis(120);
const KILLED: Duration = Duration::from_millis(3);
/// How long a guardian sleeps at most.
const NAP: Duration = Duration::from_millis(250);
/// What a task says that fails.
const FAILURE: i32 = 1;

/// Carries out every kind of task, and tells the witness.
pub struct SimulatedExecutor {
    worker: String,
    kernel: Kernel,
    platform: Platform,
    witness: Witness,
    lease_end: watch::Sender<Option<Duration>>,
}

impl SimulatedExecutor {
    /// The executor of the worker of this name, on the machine with this kernel. `platform` has the worker's clock.
    pub fn new(worker: String, kernel: Kernel, platform: Platform, witness: Witness) -> Self {
        Self { worker, kernel, platform, witness, lease_end: watch::Sender::new(None) }
    }
}

/// What a task is to do.
struct Behaviour {
    lasts: Duration,
    /// So many attempts fail, from the first on.
    failures: u32,
}

impl Behaviour {
    fn of(spec: &ExecutorSpec) -> Self {
        let ExecutorSpec::Process(process) = spec else {
            return Self { lasts: Duration::ZERO, failures: 0 };
        };
        let ProcessCommand::Argv(words) = &process.command else {
            panic!("simulated workflows have no scripts");
        };
        let number = |at: usize| words[at].parse().expect("workflows are drawn with numbers");
        Self { lasts: Duration::from_millis(number(1)), failures: number(2) as u32 }
    }
}

/// What an attempt gives out when it succeeds: of every third run something.
pub fn outputs_of(run: RunId, fence: Fence) -> Outputs {
    let has_some = run.0.is_multiple_of(3);
    has_some.then(|| ("fence".into(), fence.to_string().into())).into_iter().collect()
}

/// Tells of the end of an attempt, however it ends: the crash of a worker drops it.
struct Live {
    key: AttemptKey,
    how: Ended,
    witness: Witness,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.witness.attempt_ended(&self.key, self.how);
    }
}

impl Executor for SimulatedExecutor {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn accepts(&self, _: &ExecutorSpec) -> bool {
        true
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Ending> {
        let key = AttemptKey {
            worker: self.worker.clone(),
            incarnation: self.witness.incarnation(&self.worker),
            run: attempt.assignment.run,
            task: attempt.assignment.task_index,
            index: attempt.indices.first,
            fence: attempt.assignment.fence,
        };
        let (platform, witness) = (self.platform.clone(), self.witness.clone());
        self.kernel.run(live(key, attempt, platform, witness, self.lease_end.subscribe())).boxed()
    }

    fn set_lease_end(&self, end: Option<Duration>) {
        self.lease_end.send_replace(end);
    }
}

/// One process, from its start to its end.
async fn live(
    key: AttemptKey,
    attempt: Attempt,
    platform: Platform,
    witness: Witness,
    lease_end: watch::Receiver<Option<Duration>>,
) -> Ending {
    let started_at = platform.since_boot();
    let is_too_late = lease_end.borrow().is_some_and(|end| started_at >= end);
    if is_too_late || attempt.stop.current() == Some(Stop::AtOnce) {
        return Ending::at_once(Outcome::Lost, started_at);
    }
    let behaviour = Behaviour::of(&attempt.assignment.task.executor);
    witness.attempt_began(&key);
    let mut live = Live { key, how: Ended::Lost, witness };
    let outcome = tokio::select! {
        outcome = carry_out(attempt, behaviour) => {
            live.how = ending_of(&outcome);
            outcome
        }
        () = overdue(platform.clone(), lease_end) => {
            tokio::time::sleep(KILLED).await;
            failed(Some(-libc::SIGKILL), "killed")
        }
    };
    drop(live);
    Ending { outcome, started_at, ended_at: platform.since_boot() }
}

/// The guardian: resolves when the worker has let the end of its lease go by.
async fn overdue(platform: Platform, mut lease_end: watch::Receiver<Option<Duration>>) {
    loop {
        let left =
            lease_end.borrow_and_update().map(|end| end.saturating_sub(platform.since_boot()));
        match left {
            Some(Duration::ZERO) => return,
            Some(left) => tokio::select! {
                () = tokio::time::sleep(left.min(NAP)) => {}
                _ = lease_end.changed() => {}
            },
            // A sender that is gone is a worker that died, and took its attempts along.
            None => drop(lease_end.changed().await),
        }
    }
}

async fn carry_out(mut attempt: Attempt, behaviour: Behaviour) -> Outcome {
    let timeout = attempt.assignment.task.timeout.map(|timeout| Duration::from_millis(timeout.0));
    let is_late = timeout.is_some_and(|timeout| behaviour.lasts > timeout);
    let lasts = timeout.map_or(behaviour.lasts, |timeout| timeout.min(behaviour.lasts));
    let mut stop = attempt.stop.clone();
    let asked = tokio::select! {
        () = tokio::time::sleep(lasts) => None,
        asked = stop.requested(Stop::Gently) => Some(asked),
    };
    match asked {
        None if is_late => Outcome::TimedOut,
        None if attempt.assignment.attempt <= behaviour.failures => {
            failed(Some(FAILURE), "told to")
        }
        None => succeeded(outputs_of(attempt.assignment.run, attempt.assignment.fence)),
        Some(Stop::AtOnce) => killed().await,
        Some(Stop::Gently) => tokio::select! {
            () = tokio::time::sleep(GENTLE) => Outcome::Cancelled,
            _ = attempt.stop.requested(Stop::AtOnce) => killed().await,
        },
    }
}

async fn killed() -> Outcome {
    tokio::time::sleep(KILLED).await;
    Outcome::Lost
}
