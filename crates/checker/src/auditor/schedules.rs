//! Schedules, and the order in which runs of one workflow begin, gone through.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_core::command::{FireSchedule, RetryRun, SuspendSchedule};
use muster_core::ids::{Name, RunId, Text};
use muster_core::limits;
use muster_core::reply::Rejection;
use muster_core::spec::schedule::ScheduleSpec;
use muster_core::spec::{ConcurrencyPolicy, WorkflowSpec};
use muster_core::state::run::{FireOrigin, Run};
use muster_core::state::task::StopReason;
use muster_core::state::workflow::{NextFire, Schedule, WorkflowVersion};
use muster_core::time::Timestamp;

use super::step::{Claim, Step};
use super::work::Work;
use crate::coverage::Rare;
use crate::fires::Decision;
use crate::ledger::RunRecord;
use crate::mix::spec_digest;
use crate::verdict::Invariant;

/// Namespace and name of a workflow.
type Key = (Name, Name);

/// Schedules of a new version: those with a name and times that are known go on, those with a name alone keep what they
/// counted, and neither owes anything if it is or was switched off.
pub(super) fn carried_over(
    before: &[(ScheduleSpec, Schedule)],
    spec: &WorkflowSpec,
    now: Timestamp,
) -> Vec<(ScheduleSpec, Schedule)> {
    let carried = |spec: &ScheduleSpec| {
        let Some((old, state)) = before.iter().find(|(old, _)| old.name == spec.name) else {
            return (spec.clone(), Schedule::new(spec.name.clone(), now));
        };
        let has_times = (&spec.timing, &spec.time_zone, &spec.start)
            == (&old.timing, &old.time_zone, &old.start);
        let goes_on = has_times && !spec.is_suspended && !old.is_suspended;
        let state = if goes_on { state.clone() } else { begun_anew(state, now) };
        (spec.clone(), Schedule { next: NextFire::Unknown, ..state })
    };
    spec.schedules.iter().map(carried).collect()
}

/// A schedule that looks at the future alone; what has come and was not decided is missed.
fn begun_anew(state: &Schedule, now: Timestamp) -> Schedule {
    let is_owed = matches!(state.next, NextFire::At { fire_time, .. } if fire_time <= now);
    let missed = state.missed.saturating_add(u64::from(is_owed));
    Schedule { decided_until: now, next: NextFire::Unknown, missed, ..state.clone() }
}

impl Step<'_> {
    /// A run was made: it begins, waits, or takes the place of others, as the policy says.
    pub(super) fn accept_run(
        &mut self,
        key: &Key,
        run: &Arc<Run>,
        request: Option<Text>,
        policy: ConcurrencyPolicy,
        retries: Option<&RetryRun>,
    ) {
        let (id, now) = (run.id, self.now);
        if !self.may_have_run(&key.0) {
            let what = format!("run {id} is one more than the quota of `{}` lets be live", key.0);
            self.found(Invariant::I11, what);
        }
        self.next_run = self.next_run.max(id.0 + 1);
        let known = self.book.workflows.entry(key.clone()).or_default();
        known.runs += 1;
        let (wanted, others) = (known.runs, known.begun.len() + known.waiting.len());
        let replaced: Vec<RunId> = match policy {
            ConcurrencyPolicy::Replace => {
                known.waiting.iter().chain(&known.begun).copied().collect()
            }
            ConcurrencyPolicy::Allow | ConcurrencyPolicy::Forbid | ConcurrencyPolicy::Queue => {
                Vec::new()
            }
        };
        let begins = policy == ConcurrencyPolicy::Allow || others == 0;
        match begins {
            true => known.begun.insert(id),
            false => known.waiting.insert(id),
        };
        if run.number != wanted {
            let number = run.number;
            self.found(Invariant::I16, format!("run {id} is number {number}, should be {wanted}"));
        }
        if policy == ConcurrencyPolicy::Forbid && others > 0 {
            let what = format!("run {id} was made beside another, which is forbidden");
            self.found(Invariant::I9, what);
        }
        self.count(Rare::RunAccepted);
        self.touched_namespaces.insert(key.0.clone());
        let mut work = self.fresh_work(run, retries);
        let trigger = work.trigger.as_ref().map(|cause| cause.run);
        let taken_over = retries.map(|command| command.taken_over.as_slice()).unwrap_or_default();
        if let Some(wrong) = work.take_over(taken_over) {
            self.found(Invariant::I7, format!("run {id} {wrong}"));
        }
        if begins {
            work.begin(now);
        } else {
            self.count(Rare::RunQueued);
        }
        self.work.insert(id, work);
        self.mark_dirty(id);
        let record = RunRecord {
            run: id,
            workflow: key.1.text(),
            number: run.number,
            spec: spec_digest(&run.version.spec),
            request,
            accepted: self.index,
            cancelled: None,
            ended: None,
            origin: run.origin.clone(),
            trigger,
            retries: retries.map(|command| command.of.run),
            // Compared with the task that it should be.
            parent: run.parent.as_ref().map(|parent| parent.run),
            task_cancelled: None,
        };
        self.ledger.runs.insert(id, record);
        for other in replaced {
            if let Some(work) = self.live_run(other) {
                work.stop(StopReason::Replaced, now);
            }
            self.mark_dirty(other);
            self.count(Rare::RunReplaced);
        }
    }

    /// A run that was made, with what it was made for.
    fn fresh_work(&mut self, run: &Run, retries: Option<&RetryRun>) -> Work {
        let shape = self.book.shapes.of(&run.version);
        let mut work = Work::new(run, shape, self.index, self.now);
        work.retry = retries.map(|command| command.of.clone());
        work.trigger = self.cause.take();
        work.asked_by = self.asker.clone();
        work
    }

    /// Where the last run that had begun is over, the oldest that waits begins.
    pub(super) fn begin_waiting(&mut self) {
        // One that begins may end at once, with all that it took over.
        while self.begin_next() {}
    }

    /// Returns whether something began.
    fn begin_next(&mut self) -> bool {
        let ended = |id: &&RunId| self.work.get(id).is_some_and(|work| work.ended.is_some());
        let ended: Vec<RunId> = self.dirty.iter().filter(ended).copied().collect();
        let (mut concerned, mut has_begun) = (BTreeSet::new(), false);
        for id in ended {
            let Some(version) = self.work.get(&id).map(|work| work.version.clone()) else {
                continue;
            };
            let key = (version.namespace.clone(), version.workflow.clone());
            let known = self.book.workflows.entry(key.clone()).or_default();
            if known.begun.remove(&id) | known.waiting.remove(&id) {
                self.unfollowed.insert(id);
            }
            self.touched_namespaces.insert(key.0.clone());
            concerned.insert(key);
        }
        for key in concerned {
            let known = self.book.workflows.entry(key).or_default();
            if !known.begun.is_empty() {
                continue;
            }
            let Some(next) = known.waiting.pop_first() else { continue };
            known.begun.insert(next);
            let now = self.now;
            if let Some(work) = self.run(next) {
                work.begin(now);
            }
            self.mark_dirty(next);
            has_begun = true;
        }
        has_begun
    }

    pub(super) fn fire_schedule(&mut self, command: &FireSchedule, claim: &Claim) {
        let Some(workflow) = self.after.workflows().get(command.workflow) else { return };
        let key = (workflow.namespace.clone(), workflow.name.clone());
        self.touched_workflows.insert(key.clone());
        let position = self.fireable(&key, command);
        match (claim, position) {
            (Ok(_), Some(position)) => self.fire(&key, position, command),
            (Ok(_), None) => {
                let what =
                    format!("schedule {} of `{}` fired out of turn", command.schedule, key.1);
                self.found(Invariant::I8, what);
            }
            (Err(Rejection::StaleFire), Some(_)) => {
                let what = format!("schedule {} of `{}` was not let fire", command.schedule, key.1);
                self.found(Invariant::I8, what);
            }
            (Err(Rejection::StaleFire), None) => self.count(Rare::StaleFire),
            (Err(_), _) => {}
        }
    }

    /// The position of the schedule, if what is decided about it follows what was decided before.
    fn fireable(&self, key: &Key, command: &FireSchedule) -> Option<usize> {
        let known = self.book.workflows.get(key)?;
        let position =
            known.schedules.iter().position(|(spec, _)| spec.name == command.schedule)?;
        let (spec, state) = &known.schedules[position];
        let version = self.version(command.version)?;
        let is_latest = known.latest.is_some_and(|(number, _)| number == version.number)
            && (&version.namespace, &version.workflow) == (&key.0, &key.1);
        let is_on = !spec.is_suspended && !state.is_suspended;
        let is_due = match state.next {
            NextFire::Unknown => true,
            NextFire::At { due_at, .. } => due_at <= self.now,
            NextFire::Never => false,
        };
        let decides = command.until != command.after || command.missed > 0;
        let times = &command.fire_times;
        let sorted =
            times.is_sorted_by(|a, b| a < b) && times.len() <= limits::FIRES_PER_COMMAND_MAX;
        let tasks = times.len().saturating_mul(version.spec.tasks.len());
        let sorted = sorted && tasks <= limits::FIRED_TASKS_MAX;
        let within = times.iter().all(|at| command.after < *at && *at <= command.until);
        let follows = state.decided_until == command.after
            && command.after <= command.until
            && command.until <= self.now;
        let next = match command.next {
            NextFire::Unknown => false,
            NextFire::Never => true,
            NextFire::At { fire_time, due_at } => {
                command.until < fire_time
                    && fire_time <= due_at
                    && due_at <= fire_time + spec.jitter
            }
        };
        (is_latest && is_on && (is_due || !decides) && sorted && within && follows && next)
            .then_some(position)
    }

    /// A version that a leader can have seen, and that may be gone after the entry.
    fn version(&self, id: u64) -> Option<&Arc<WorkflowVersion>> {
        self.before.versions.get(id).or_else(|| self.after.version(id))
    }

    fn fire(&mut self, key: &Key, position: usize, command: &FireSchedule) {
        let Some(version) = self.version(command.version).cloned() else { return };
        self.ledger.decisions.push(Decision {
            index: self.index,
            at: self.now,
            name: format!("{}/{}", key.1, command.schedule).into(),
            spec: version.spec.schedules[position].clone(),
            after: command.after,
            until: command.until,
            fire_times: command.fire_times.clone(),
            missed: command.missed,
            next: command.next,
        });
        let (mut fired, mut passed_over) = (Vec::new(), 0);
        for fire_time in &command.fire_times {
            let is_over_quota = !self.may_have_run(&key.0);
            let known = self.book.workflows.entry(key.clone()).or_default();
            let others = known.begun.len() + known.waiting.len();
            let is_full = known.waiting.len() >= limits::QUEUED_RUNS_MAX;
            let policy = version.spec.concurrency;
            let is_crowded = others >= limits::FIRED_RUNS_MAX;
            let is_held = is_crowded
                || is_over_quota
                || match policy {
                    ConcurrencyPolicy::Allow | ConcurrencyPolicy::Replace => false,
                    ConcurrencyPolicy::Forbid => others > 0,
                    ConcurrencyPolicy::Queue => others > 0 && is_full,
                };
            if is_held {
                passed_over += 1;
                self.count(Rare::FirePassedOver);
                continue;
            }
            let is_first = known.fired.insert((command.schedule.clone(), *fire_time));
            if !is_first {
                let what = format!("schedule {} fired twice for {}", command.schedule, fire_time.0);
                self.found(Invariant::I8, what);
            }
            fired.push(*fire_time);
            let id = RunId(self.next_run);
            let Some(run) = self.after.run(id).or_else(|| self.left.get(&id)).cloned() else {
                self.found(Invariant::I8, format!("run {id} was fired and is nowhere"));
                return;
            };
            let schedule = command.schedule.clone();
            let origin = Some(FireOrigin { schedule, fire_time: *fire_time });
            if run.origin != origin || run.version.id != version.id {
                self.found(Invariant::I8, format!("run {id} is not that of its fire time"));
            }
            self.judge_submission(&run, &version.spec.schedules[position].params, None);
            self.accept_run(key, &run, None, policy, None);
            // One that replaces others begins before the next one is looked at.
            self.begin_waiting();
            self.count(Rare::ScheduleFired);
        }
        if command.missed > 0 {
            self.count(Rare::FireMissed);
        }
        let known = self.book.workflows.entry(key.clone()).or_default();
        let Some((_, state)) = known.schedules.get_mut(position) else { return };
        state.decided_until = command.until;
        state.next = command.next;
        state.last_fired = fired.last().copied().or(state.last_fired);
        state.fired += fired.len() as u64;
        state.missed = state.missed.saturating_add(command.missed);
        state.passed_over += passed_over;
    }

    pub(super) fn suspend_schedule(&mut self, command: &SuspendSchedule) {
        let key = (command.namespace.clone(), command.workflow.clone());
        self.touched_workflows.insert(key.clone());
        let now = self.now;
        let Some(known) = self.book.workflows.get_mut(&key) else { return };
        for (spec, state) in &mut known.schedules {
            let is_meant = command.schedule.as_ref().is_none_or(|name| *name == spec.name);
            if is_meant && state.is_suspended != command.is_suspended {
                state.is_suspended = command.is_suspended;
                *state = begun_anew(state, now);
            }
        }
        for (_, state) in &mut known.follows.triggers {
            let is_meant = command.schedule.as_ref().is_none_or(|name| *name == state.name);
            if is_meant {
                state.is_suspended = command.is_suspended;
            }
        }
    }

    /// Why a run was made, and when it began.
    pub(super) fn compare_beginning(&mut self, work: &Work, run: &Run) {
        if run.origin != work.origin {
            let what = format!("run {} has another origin than it was made for", run.id);
            self.found(Invariant::I8, what);
        }
        if run.trigger != work.trigger {
            let (is, wanted) = (&run.trigger, &work.trigger);
            let what = format!("run {} follows {is:?}, should follow {wanted:?}", run.id);
            self.found(Invariant::I8, what);
        }
        if run.retry != work.retry {
            let what = format!("run {} retries another run than it was made for", run.id);
            self.found(Invariant::I2, what);
        }
        if run.parent != work.parent {
            let (is, wanted) = (&run.parent, &work.parent);
            let what = format!("run {} was started for {is:?}, should be {wanted:?}", run.id);
            self.found(Invariant::I20, what);
        }
        if run.asked_by != work.asked_by {
            let (is, wanted) = (&run.asked_by, &work.asked_by);
            let what = format!("run {} was asked for by {is:?}, should be {wanted:?}", run.id);
            self.found(Invariant::I19, what);
        }
        if run.begun_at != work.begun_at {
            let (is, wanted) = (run.begun_at, work.begun_at);
            let what = format!("run {} began at {is:?}, should at {wanted:?}", run.id);
            self.found(Invariant::I9, what);
        }
    }

    pub(super) fn compare_schedules(&mut self, key: &Key) {
        let known = self.book.workflows.get(key);
        let wanted: Vec<&Schedule> =
            known.into_iter().flat_map(|it| &it.schedules).map(|(_, state)| state).collect();
        let workflow = self.after.workflow(key.0.as_str(), key.1.as_str());
        let actual: Vec<&Schedule> = workflow.into_iter().flat_map(|it| &it.schedules).collect();
        if wanted != actual {
            let what = format!("`{}` has schedules {actual:?}, should have {wanted:?}", key.1);
            self.found(Invariant::I8, what);
        }
    }
}
