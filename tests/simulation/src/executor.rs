//! Attempts that take time and do nothing: what they were told stands in their command (see `workflow.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use muster_checker::history::Ending as Ended;
use muster_core::command::Outcome;
use muster_core::ids::{Fence, RunId};
use muster_core::spec::{ExecutorSpec, ProcessCommand};
use muster_platform::Platform;
use muster_worker::executor::{Attempt, Ending, Executor, Outputs, Stop, failed, succeeded};

use crate::witness::{AttemptKey, Witness, ending_of};

/// How long an attempt takes to end when it is asked to, and when it is killed.
const GENTLE: Duration = Duration::from_millis(120);
const KILLED: Duration = Duration::from_millis(3);
/// What a task says that fails.
const FAILURE: i32 = 1;

/// Carries out every kind of task, and tells the witness.
pub struct SimulatedExecutor {
    /// Name of the worker.
    pub worker: String,
    /// For the worker's clock.
    pub platform: Platform,
    /// Who is told.
    pub witness: Witness,
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
        let assignment = Arc::clone(&attempt.assignment);
        let behaviour = Behaviour::of(&assignment.task.executor);
        let key = AttemptKey {
            worker: self.worker.clone(),
            run: assignment.run,
            task: assignment.task_index,
            index: attempt.indices.first,
            fence: assignment.fence,
        };
        self.witness.attempt_began(&key);
        let mut live = Live { key, how: Ended::Lost, witness: self.witness.clone() };
        let platform = self.platform.clone();
        async move {
            let started_at = platform.since_boot();
            let outcome = carry_out(attempt, behaviour).await;
            live.how = ending_of(&outcome);
            drop(live);
            Ending { outcome, started_at, ended_at: platform.since_boot() }
        }
        .boxed()
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
