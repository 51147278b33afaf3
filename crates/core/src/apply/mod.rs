//! Apply: the flat match from command to function, one file a command, plus what time alone causes.
//!
//! Apply is total: it returns for any entry that decodes, and a command it cannot carry out changes nothing but the
//! time. It never asks who leads, and its events are hints that can be derived again from the state.

mod advance;
mod apply_namespace;
mod apply_workflow;
mod approval;
mod asked;
mod begin_hooks;
mod cancel_run;
mod decide_tasks;
mod drain_worker;
mod end_task;
mod fail_fast;
mod finish_attempts;
mod fire_schedule;
mod fire_triggers;
mod lose_worker;
mod pause_run;
mod place_attempts;
mod prioritize_run;
mod register_worker;
mod release_task;
mod reopen_tasks;
mod retry_run;
mod settle;
mod start_attempts;
mod sub_workflow;
mod submit_run;
mod suspend_schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::command::{Command, Entry, RequestKey};
use crate::event::Event;
use crate::ids::{LogIndex, RunId, TaskIndex};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::state::State;
use crate::state::cells::IndexRange;
use crate::state::requests::AnsweredRequest;
use crate::state::run::Run;
use crate::state::task::{StopReason, TaskState, TaskStatus};
use crate::state::trail::Asker;
use crate::time::Timestamp;

use asked::Intent;
pub(crate) use settle::starts;

/// What one entry did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// One answer a command, in order.
    pub replies: Vec<Result<Reply, Rejection>>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// One entry being applied.
struct Step<'a> {
    state: &'a mut State,
    index: LogIndex,
    now: Timestamp,
    events: Vec<Event>,
    /// Tasks of which an attempt was placed and ended in this very entry. A further placement would carry the same
    /// fence, so there is none before the next entry (I4).
    ended_at_once: Vec<(RunId, TaskIndex)>,
    /// Tasks that ended, or of which something failed, and about which `failFast` has not been asked yet.
    failed: BTreeSet<(RunId, TaskIndex)>,
    /// Runs that ended, and whose end nothing has followed yet.
    ended: BTreeMap<RunId, Arc<Run>>,
    /// Runs that ended, and about which the tasks that they were started for have not been told yet.
    ended_children: BTreeMap<RunId, Arc<Run>>,
    /// Runs that must stop with the tasks that they were started for, and have not been told yet; and whether they had
    /// begun.
    stopped_children: BTreeSet<(bool, RunId)>,
    /// Whether runs that waited are being begun.
    is_beginning: bool,
    /// Who asked for the command that is being carried out, if that is known.
    asker: Option<Asker>,
    /// What to add to the audit trail when it was carried out.
    intent: Option<Intent>,
}

impl State {
    /// Changes the state by one committed entry. `index` is the entry's position in the log, and the fence of every
    /// attempt it places.
    pub fn apply(&mut self, index: LogIndex, entry: &Entry) -> Applied {
        let now = entry.at.max(self.meta.now);
        self.meta.now = now;
        self.requests.expire(now);
        self.trail.expire(now);
        let mut step = Step::new(self, index, now);
        let mut replies = Vec::with_capacity(entry.commands.len());
        for command in &entry.commands {
            step.advance();
            step.follow_up();
            let reply = step.carry_out(command);
            step.follow_up();
            if reply.is_ok() || !mutant::is_on(Mutant::AnswerDropped) {
                replies.push(reply);
            }
        }
        Applied { replies, events: step.events }
    }
}

impl<'a> Step<'a> {
    fn new(state: &'a mut State, index: LogIndex, now: Timestamp) -> Self {
        Step {
            state,
            index,
            now,
            events: Vec::new(),
            ended_at_once: Vec::new(),
            failed: BTreeSet::new(),
            ended: BTreeMap::new(),
            ended_children: BTreeMap::new(),
            stopped_children: BTreeSet::new(),
            is_beginning: false,
            asker: None,
            intent: None,
        }
    }
}

impl Step<'_> {
    fn carry_out(&mut self, command: &Command) -> Result<Reply, Rejection> {
        match command {
            Command::Tick => Ok(Reply::Done),
            Command::ApplyWorkflow(it) => {
                self.once(it.request.as_ref(), |step| step.apply_workflow(it))
            }
            Command::ApplyNamespace(it) => {
                self.once(it.request.as_ref(), |step| step.apply_namespace(it))
            }
            Command::SubmitRun(it) => self.once(it.request.as_ref(), |step| step.submit_run(it)),
            Command::CancelRun(it) => self.once(it.request.as_ref(), |step| step.cancel_run(it)),
            Command::PauseRun(it) => self.once(it.request.as_ref(), |step| step.pause_run(it)),
            Command::PrioritizeRun(it) => {
                self.once(it.request.as_ref(), |step| step.prioritize_run(it))
            }
            Command::FireSchedule(it) => self.fire_schedule(it),
            Command::SuspendSchedule(it) => {
                self.once(it.request.as_ref(), |step| step.suspend_schedule(it))
            }
            Command::ReleaseTask(it) => {
                self.once(it.request.as_ref(), |step| step.release_task(it))
            }
            Command::EndTask(it) => self.once(it.request.as_ref(), |step| step.end_task(it)),
            Command::RetryRun(it) => self.once(it.request.as_ref(), |step| step.retry_run(it)),
            Command::ReopenTasks(it) => {
                self.once(it.request.as_ref(), |step| step.reopen_tasks(it))
            }
            Command::RegisterWorker(it) => self.register_worker(it),
            Command::DrainWorker(it) => {
                self.once(it.request.as_ref(), |step| step.drain_worker(it))
            }
            Command::LoseWorker(it) => self.lose_worker(it),
            Command::DecideTasks(it) => Ok(self.decide_tasks(it)),
            Command::PlaceAttempts(it) => Ok(self.place_attempts(it)),
            Command::StartAttempts(it) => Ok(self.start_attempts(it)),
            Command::FinishAttempts(it) => Ok(self.finish_attempts(it)),
            Command::PruneHistory(it) => {
                // What has not happened yet cannot be pruned. Replicas that apply this and those that are restored from
                // a snapshot after it must forget the same runs.
                let ended_before = it.ended_before.min(self.index);
                let meta = &mut self.state.meta;
                meta.pruned_before = meta.pruned_before.max(ended_before);
                self.events.push(Event::HistoryPruned { ended_before });
                Ok(Reply::Done)
            }
            Command::UpgradeCluster(it) => {
                self.state.meta.cluster_version = self.state.meta.cluster_version.max(it.version);
                Ok(Reply::Done)
            }
            Command::Asked(it) => self.asked(it),
        }
    }

    /// Carries a command out unless its request id was answered before; then gives the same answer again (I3).
    /// Only what was carried out is remembered: a rejected command changed nothing and may be tried again.
    fn once(
        &mut self,
        request: Option<&RequestKey>,
        carry_out: impl FnOnce(&mut Self) -> Result<Reply, Rejection>,
    ) -> Result<Reply, Rejection> {
        let request = request.filter(|_| !mutant::is_on(Mutant::RequestIgnored));
        let Some(request) = request else {
            let reply = carry_out(self)?;
            self.note();
            return Ok(reply);
        };
        if request.id.len() > limits::REQUEST_ID_BYTES_MAX {
            return Err(Rejection::RequestIdTooLong);
        }
        if let Some(answered) = self.state.requests.get(&request.id) {
            let is_same = answered.digest == request.digest;
            return if is_same || mutant::is_on(Mutant::BodyUnchecked) {
                Ok(answered.reply.clone())
            } else {
                Err(Rejection::RequestIdReused { id: request.id.to_string() })
            };
        }
        let reply = carry_out(self)?;
        self.note();
        self.state.requests.insert(AnsweredRequest {
            id: request.id.clone(),
            digest: request.digest,
            at: self.now,
            reply: reply.clone(),
        });
        Ok(reply)
    }

    /// Follows up on what ended, failed or must stop since this was last asked, beyond the run that it happened in: on
    /// the tasks that ended runs were started for, the runs that stopped tasks wait for, `failFast`, and the workflows
    /// that follow others. All that a command or a moment brings is carried out first, so that it does not matter in
    /// which order it is told; and runs above one another are gone through one by one here, so that the stack does not
    /// grow with them.
    fn follow_up(&mut self) {
        let mut tasks = 0;
        loop {
            if let Some((_, child)) = self.ended_children.pop_first() {
                self.end_awaiting(&child);
            } else if let Some(child) = self.next_stopped_child() {
                self.stop_run(child, StopReason::ByParent);
            } else if let Some((run, task)) = self.failed.pop_first() {
                self.fail_fast(run, task);
            } else if let Some((_, run)) = self.ended.pop_first() {
                self.fire_triggers(&run, &mut tasks);
            } else {
                return;
            }
        }
    }

    /// Puts indices of a task into a state, and everything that follows from it: downstream tasks, the run's end.
    fn change(&mut self, run: RunId, task: TaskIndex, range: IndexRange, to: TaskState) {
        use crate::state::Changed;
        let changed = self.state.change(run, task, range, to);
        match changed {
            Changed::Nothing => return,
            Changed::Open | Changed::Ended => {
                self.events.push(Event::TaskChanged { run, task, range, status: to.status() });
            }
        }
        // The last index of a task that failed may have ended well.
        if to.status() == TaskStatus::Failed || changed == Changed::Ended {
            self.failed.insert((run, task));
        }
        if changed == Changed::Ended {
            self.settle(run, task);
        }
    }
}
