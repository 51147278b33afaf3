//! Runs that take over what others came to, gone through.

use std::sync::Arc;

use muster_core::command::RetryRun;
use muster_core::reply::Reply;
use muster_core::retry::TakenEnd;
use muster_core::spec::ConcurrencyPolicy;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::Run;
use muster_core::state::task::TaskEnd;

use super::rules;
use super::step::Step;
use crate::coverage::Rare;
use crate::mix::spec_digest;
use crate::verdict::Invariant;

impl Step<'_> {
    pub(super) fn retry_run(&mut self, command: &RetryRun, reply: &Reply) {
        let Reply::RunSubmitted { run: id, workflow, number } = reply else {
            return self.found(Invariant::I17, format!("a retry was told {reply:?}"));
        };
        let (id, number) = (*id, *number);
        if self.ledger.runs.contains_key(&id) || self.before.runs.get(id.0).is_some() {
            let what = format!("a retry was told of run {id}, which is another's");
            return self.found(Invariant::I3, what);
        }
        let Some(run) = self.after.run(id).or_else(|| self.left.get(&id)).cloned() else {
            return self.found(Invariant::I2, format!("run {id} was accepted and is nowhere"));
        };
        self.judge_retried(command, &run);
        if run.number != number || *workflow != command.spec.name {
            self.found(Invariant::I16, format!("run {id} was told to be {workflow}/{number}"));
        }
        let request = command.request.as_ref().map(|key| key.id.clone());
        let key = (command.namespace.clone(), workflow.clone());
        let policy = match command.version_number {
            0 => ConcurrencyPolicy::Allow,
            _ => command.spec.concurrency,
        };
        self.count(Rare::RunRetried);
        self.accept_run(&key, &run, request, policy, Some(command));
    }

    /// The new run is of the version that is retried, with what was asked for; what it takes over is so, as far as the
    /// ends of the other run are known.
    fn judge_retried(&mut self, command: &RetryRun, run: &Arc<Run>) {
        let (is, wanted) = (spec_digest(&run.version.spec), spec_digest(&command.spec));
        let version = (run.version.number, &run.version.namespace);
        if is != wanted || version != (command.version_number, &command.namespace) {
            let what = format!("run {} is of another version than the one it retries", run.id);
            self.found(Invariant::I2, what);
        }
        self.judge_submission(run, &command.params, Some(command.priority));
        let of = command.of.run;
        let ended = self.ledger.runs.get(&of).and_then(|record| record.ended.as_ref());
        let ends: Option<Vec<Option<TaskEnd>>> = match ended {
            Some(ended) => Some(ended.tasks.clone()),
            None => self
                .live_run(of)
                .map(|work| (0..work.tasks.len()).map(|task| work.end_of(task)).collect()),
        };
        let Some(ends) = ends else { return };
        for taken in &command.taken_over {
            let whole = run.spec(taken.task).map(|spec| {
                let indices = rules::indices(spec, taken.items.as_ref());
                indices.map_or(IndexRange::single(0), IndexRange::from)
            });
            let is_whole =
                matches!(taken.ends[..], [(range, TakenEnd::Succeeded)] if Some(range) == whole);
            let was = ends.get(taken.task.0 as usize).copied().flatten();
            let some_failed =
                taken.ends.iter().any(|(_, end)| matches!(end, TakenEnd::Failed { .. }));
            if some_failed && !matches!(was, Some(TaskEnd::Succeeded | TaskEnd::Skipped { .. })) {
                let (id, task) = (run.id, taken.task);
                let what = format!("run {id} takes failures of task {task} over, it was {was:?}");
                self.found(Invariant::I2, what);
            }
            if is_whole && was != Some(TaskEnd::Succeeded) {
                let (id, task) = (run.id, taken.task);
                let what = format!("run {id} takes task {task} over as succeeded, it was {was:?}");
                self.found(Invariant::I2, what);
            }
        }
    }
}
