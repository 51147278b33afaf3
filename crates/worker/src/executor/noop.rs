//! The executor that does nothing and succeeds at once: a joint in a DAG, and the measure of Muster without processes.

use futures::future::{BoxFuture, FutureExt};
use muster_core::spec::ExecutorSpec;

use super::{Attempt, Ending, Executor, Outputs, failed, succeeded};

/// Succeeds at once; a whole range of indices in one outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopExecutor;

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
        futures::future::ready(Ending::at_once(outcome)).boxed()
    }
}
