//! The executor that does nothing and succeeds at once: a joint in a DAG, and the measure of Muster without processes.

use futures::future::{BoxFuture, FutureExt};
use muster_core::spec::ExecutorSpec;
use muster_platform::Platform;

use super::{Attempt, Ending, Executor, Outputs, failed, succeeded};

/// Succeeds at once; a whole range of indices in one outcome.
#[derive(Clone, Debug)]
pub struct NoopExecutor {
    platform: Platform,
}

impl NoopExecutor {
    /// One that reads the time from `platform`.
    pub fn new(platform: Platform) -> Self {
        NoopExecutor { platform }
    }
}

impl Executor for NoopExecutor {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn accepts(&self, spec: &ExecutorSpec) -> bool {
        matches!(spec, ExecutorSpec::Noop)
    }

    fn takes_ranges(&self) -> bool {
        true
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Ending> {
        let outcome = match attempt.assignment.task.outputs.first() {
            None => succeeded(Outputs::new()),
            Some(key) => {
                failed(None, format!("output `{key}` is declared, but a noop task writes none"))
            }
        };
        futures::future::ready(Ending::at_once(outcome, self.platform.since_boot())).boxed()
    }
}
