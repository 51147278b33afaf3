//! Two replicas and the model go through the same entries; after each, everything visible is compared.

use std::collections::{BTreeMap, BTreeSet};

use muster_checker::{Applying, Auditor, Verdict};
use muster_core::apply::Applied;
use muster_core::command::{Asked, Command, Entry};
use muster_core::event::Event;
use muster_core::ids::{LogIndex, RunId, TaskIndex, WorkerId};
use muster_core::reply::Reply;
use muster_core::retry::{TakenEnd, TakenOver};
use muster_core::spec::Resources;
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::Run;
use muster_core::state::task::{StopReason, Task, TaskEnd, TaskStatus};
use muster_core::state::trail::Asker;
use muster_core::time::Timestamp;

use super::naive::{Answered, Cell, Cells, End, Ended, Lists, Model};
use super::ops::{self, Clock, Timed};

/// The replicas, as the checker knows them.
const ONE: u64 = 1;
const OTHER: u64 = 2;

/// One index of one task of one run.
type Place = (u64, u32, u32);

#[derive(Default)]
pub(crate) struct Lockstep {
    model: Model,
    state: State,
    /// A second replica; replaced by a restored one whenever an operation says so.
    other: State,
    /// How often the second replica was restored.
    restores: u64,
    auditor: Auditor,
    clock: u64,
    index: u64,
    fences: BTreeMap<Place, u64>,
    succeeded: BTreeSet<Place>,
    /// What happened, and how often.
    seen: BTreeMap<String, u64>,
}

macro_rules! same {
    ($left:expr, $right:expr, $($what:tt)*) => {
        match (&$left, &$right) {
            (left, right) if left == right => {}
            (left, right) => return Err(format!(
                "{}:\n  core:  {left:?}\n  model: {right:?}", format!($($what)*)
            )),
        }
    };
}

impl Lockstep {
    /// Applies operations as one entry, everywhere, and compares.
    pub(crate) fn apply(&mut self, ops: &[&Timed]) -> Result<(), String> {
        for timed in ops {
            self.clock = match timed.clock {
                Clock::By(span) => self.clock + u64::from(span),
                Clock::Back(span) => self.clock.saturating_sub(u64::from(span)),
                Clock::NextDeadline => {
                    self.state.next_deadline().map_or(self.clock, |at| at.0.max(self.clock))
                }
            };
        }
        self.index += 1;
        let commands: Vec<Command> =
            ops.iter().map(|timed| timed.op.command(&self.model, self.index)).collect();
        let plain = Entry { at: Timestamp(self.clock), commands };
        let entry = self.asked(&plain);
        let before = self.state.clone();
        let wanted = self.model.apply(self.index, &entry);
        let applied = self.state.apply(LogIndex(self.index), &entry);
        let describe = |what: String| format!("entry {} {entry:#?}\n{what}", self.index);
        self.compare(&entry, &applied, &wanted).map_err(describe)?;
        self.judge_history(&before, &plain, &applied)
            .map_err(|what| format!("{entry:#?}\n{what}"))?;
        let also = self.other.apply(LogIndex(self.index), &entry);
        self.audit(&entry, &applied, &also)?;
        same!(self.state.digest(), self.other.digest(), "digests of replicas after {entry:#?}");
        same!(applied.replies, also.replies, "replies of replicas");
        same!(format!("{:?}", applied.events), format!("{:?}", also.events), "events of replicas");
        same!(self.state.next_deadline(), self.other.next_deadline(), "deadlines of replicas");
        if ops.iter().any(|timed| timed.is_restored) {
            self.other = State::restore(self.state.snapshot()).map_err(|it| it.to_string())?;
            same!(self.other.digest(), self.state.digest(), "digest of a restored replica");
            self.restores += 1;
            self.auditor.restored(OTHER, self.restores, LogIndex(self.index), &self.other);
            self.count("restored");
        }
        Ok(())
    }

    /// The same entry, in which somebody asks for every second command.
    fn asked(&self, entry: &Entry) -> Entry {
        let commands = entry.commands.iter().cloned().zip(self.index..);
        let commands = commands.map(|(command, number)| match number % 2 {
            0 => command,
            _ => {
                let by = Asker { who: format!("u{}", number % 3).into(), from: "10.0.0.7".into() };
                Command::Asked(Asked { by, command: Box::new(command) })
            }
        });
        Entry { at: entry.at, commands: commands.collect() }
    }

    /// Shows the entry to the checker, as both replicas applied it.
    fn audit(&mut self, entry: &Entry, applied: &Applied, also: &Applied) -> Result<(), String> {
        let index = LogIndex(self.index);
        let show = |replica, incarnation, after, applied| Applying {
            replica,
            incarnation,
            index,
            term: None,
            at: None,
            entry,
            after,
            applied,
        };
        self.auditor.observe(&show(ONE, 0, &self.state, applied));
        self.auditor.observe(&show(OTHER, self.restores, &self.other, also));
        let verdict = self.auditor.verdict();
        if verdict.is_clean() { Ok(()) } else { Err(format!("{entry:#?}\n{verdict}")) }
    }

    /// Ends the audit: what the checker found over the whole sequence.
    pub(crate) fn finish(self) -> (BTreeMap<String, u64>, Verdict) {
        (self.seen, self.auditor.finish().0)
    }

    fn compare(&self, entry: &Entry, applied: &Applied, wanted: &[Answered]) -> Result<(), String> {
        self.state.check().map_err(|violation| violation.to_string())?;
        same!(applied.replies.len(), entry.commands.len(), "replies");
        for (position, (got, wanted)) in applied.replies.iter().zip(wanted).enumerate() {
            let is_same = match (got, wanted) {
                (Ok(got), Ok(wanted)) => got == wanted,
                (Err(got), Err(wanted)) => {
                    std::mem::discriminant(got) == std::mem::discriminant(wanted)
                }
                _ => false,
            };
            if !is_same {
                return Err(format!("reply {position}:\n  core:  {got:?}\n  model: {wanted:?}"));
            }
        }
        let (state, model) = (&self.state, &self.model);
        same!(state.now().0, model.now, "time");
        same!(state.next_deadline().map(|at| at.0), model.next_deadline(), "next deadline");
        let runs: Vec<u64> = state.runs().iter().map(|run| run.id.0).collect();
        same!(runs, model.runs.keys().copied().collect::<Vec<_>>(), "live runs");
        for run in state.runs().iter() {
            let modelled = &model.runs[&run.id.0];
            same!(cells_of(run), modelled.cells, "cells of run {}", run.id);
            same!(items_of(run), modelled.items, "items of run {}", run.id);
            same!(run.stop.map(|it| it.1), modelled.stop, "stop of run {}", run.id);
            same!(run.paused.is_some(), modelled.is_paused, "pause of run {}", run.id);
            let cancels = u8::from(modelled.is_cancelled) + u8::from(modelled.is_cancelled_twice);
            same!(run.cancels, cancels, "cancels of run {}", run.id);
            same!(run.result, modelled.result, "what the tasks of run {} came to", run.id);
            same!(run.priority, modelled.priority, "priority of run {}", run.id);
            let parent = run.parent.as_ref().map(|it| (it.run.0, it.task.0, it.depth));
            same!(parent, modelled.parent, "parent of run {}", run.id);
        }
        let ended = applied.events.iter().filter_map(|event| match event {
            Event::RunEnded { run } => {
                Some(Ended { run: run.id.0, status: run.status(), cells: cells_of(run) })
            }
            _ => None,
        });
        same!(ended.collect::<Vec<_>>(), model.ended, "ended runs");
        self.compare_workers()?;
        let usage = state.used_by(&ops::namespace());
        let taken = usage.map_or([0; 3], |it| {
            [u64::from(it.attempts), it.used.cpu_millis, it.used.memory_bytes]
        });
        same!(taken, model.taken(), "what the namespace takes");
        let in_groups = usage.map(|it| it.groups.clone()).unwrap_or_default();
        same!(in_groups, model.in_groups(), "what is live of its groups");
        same!(usage.map_or(0, |it| it.runs as usize), model.runs.len(), "what it runs");
        let ready = state.queue().groups().flat_map(|(request, group)| {
            group.iter().map(|(key, count)| {
                ((request.as_ref().clone(), key.turn, key.run, key.task), *count)
            })
        });
        same!(ready.collect::<BTreeMap<_, _>>(), model.ready(), "ready queue");
        Ok(())
    }

    fn compare_workers(&self) -> Result<(), String> {
        let ids: Vec<u64> = self.state.workers().iter().map(|worker| worker.id.0).collect();
        same!(ids, self.model.workers.keys().copied().collect::<Vec<_>>(), "workers");
        for (id, modelled) in &self.model.workers {
            let worker = self.state.worker(WorkerId(*id)).expect("the ids were compared");
            let word = match (modelled.lost_at, modelled.is_draining) {
                (Some(_), _) => "lost",
                (None, true) => "draining",
                (None, false) => "active",
            };
            same!(worker.status.word(), word, "status of worker {id}");
            let used =
                self.state.held_by(worker.id).map_or(Resources::ZERO, |held| held.used.clone());
            same!(used, self.model.used(*id), "what worker {id} has given");
        }
        Ok(())
    }

    /// What one state alone does not show: fences, single successes, ends that stay (I4, I5, I6).
    fn judge_history(
        &mut self,
        before: &State,
        entry: &Entry,
        applied: &Applied,
    ) -> Result<(), String> {
        for event in &applied.events {
            if let Event::AttemptPlaced { run, task, range, fence, .. } = event {
                for index in range.first..=range.last {
                    let last = self.fences.insert((run.0, task.0, index), fence.0);
                    if last.is_some_and(|last| last >= fence.0) {
                        return Err(format!(
                            "I4: fence {fence} after {last:?} on {run}/{task}/{index}"
                        ));
                    }
                }
                self.count("placed");
            }
        }
        for run in before.runs().iter() {
            let after = self.cells_after(run.id, applied);
            for (key, cell) in cells_of(run) {
                let is_reopened = self.model.reopened.contains(&(run.id.0, key.0, key.1));
                if cell.ended().is_some() && is_reopened {
                    self.count("an end was taken back");
                } else if cell.ended().is_some() && after.get(&key) != Some(&cell) {
                    return Err(format!(
                        "I6: {}/{key:?} was {cell:?}, is {:?}",
                        run.id,
                        after.get(&key)
                    ));
                }
            }
        }
        for (command, reply) in entry.commands.iter().zip(&applied.replies) {
            self.judge_reports(before, command, reply, entry.commands.len() == 1)?;
            self.count_reply(command, reply);
        }
        for key in &self.model.reopened {
            self.succeeded.remove(key);
        }
        self.count_states(applied);
        Ok(())
    }

    fn cells_after(&self, run: RunId, applied: &Applied) -> Cells {
        let ended = applied.events.iter().find_map(|event| match event {
            Event::RunEnded { run: ended } if ended.id == run => Some(ended),
            _ => None,
        });
        ended.or(self.state.run(run)).map_or_else(Cells::new, |run| cells_of(run))
    }

    fn judge_reports(
        &mut self,
        before: &State,
        command: &Command,
        reply: &Answered,
        is_alone: bool,
    ) -> Result<(), String> {
        use muster_core::command::Outcome;
        let (Command::FinishAttempts(it), Ok(Reply::Items { refused })) = (command, reply) else {
            return Ok(());
        };
        for (position, finish) in it.finishes.iter().enumerate() {
            if refused.iter().any(|(at, _)| *at as usize == position) {
                continue;
            }
            let IndexRange { first, last } = finish.attempt.range;
            for index in first..=last {
                let (run, task) = (finish.attempt.run, finish.attempt.task);
                let at = before.run(run).and_then(|it| it.task(task)?.cells.at(index));
                let fence = at.and_then(|(_, state)| state.attempt()).map(|live| live.fence);
                if is_alone && fence != Some(finish.attempt.fence) {
                    return Err(format!("I4: accepted {finish:?}, the live fence was {fence:?}"));
                }
                let is_success = matches!(finish.outcome, Outcome::Succeeded { .. });
                let key = (run.0, task.0, index);
                let is_reopened = self.model.reopened.contains(&key);
                if is_success && !self.succeeded.insert(key) && !is_reopened {
                    return Err(format!("I4: {run}/{task}/{index} succeeded twice"));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    fn count_reply(&mut self, command: &Command, reply: &Answered) {
        let first_word = |text: String| {
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            text[..end].to_owned()
        };
        match reply {
            Err(rejection) => {
                self.count(format!("rejected {}", first_word(format!("{rejection:?}"))))
            }
            Ok(Reply::Items { refused }) => {
                for (_, refusal) in refused {
                    self.count(format!("refused {refusal:?}"));
                }
                match command {
                    Command::StartAttempts(it) if it.starts.len() > refused.len() => {
                        self.count("start accepted");
                    }
                    Command::FinishAttempts(it) if it.finishes.len() > refused.len() => {
                        self.count("finish accepted");
                    }
                    _ => {}
                }
            }
            Ok(_) => {
                if let Command::RetryRun(it) = command
                    && it.taken_over.iter().any(takes_failures)
                {
                    self.count("failures taken over");
                }
                if let Command::RetryRun(it) = command
                    && it.taken_over.iter().any(|taken| taken.items.is_some())
                {
                    self.count("items taken over");
                }
                self.count(format!("carried out {}", first_word(format!("{command:?}"))));
            }
        }
    }

    fn count_states(&mut self, applied: &Applied) {
        let mut seen = Vec::new();
        for event in &applied.events {
            match event {
                Event::RunEnded { run } => {
                    seen.extend(run.result.map(|result| format!("hooks after {result:?}")));
                    seen.push(format!("ended {:?}", run.status()));
                    seen.extend(run.stop.map(|(_, reason)| format!("stopped {reason:?}")));
                    seen.extend(failures_of(run));
                }
                Event::TaskChanged { status, range, .. } => {
                    seen.push(format!("status {status:?}"));
                    seen.extend((range.count() > 1).then(|| "range shared".to_owned()));
                }
                Event::AttemptStopping { .. } => seen.push("told to stop".to_owned()),
                _ => {}
            }
        }
        let live = self.model.runs.values().map(|run| &run.cells);
        for cell in live.chain(self.model.ended.iter().map(|it| &it.cells)).flat_map(Cells::values)
        {
            match cell.ended() {
                Some(End::Failed(reason)) => seen.push(format!("failed {reason:?}")),
                Some(End::Skipped { by_failure: true }) => seen.push("skipped by failure".into()),
                _ => {}
            }
        }
        seen.extend(self.state.runs().iter().flat_map(|run| failures_of(run)));
        let highest = self.state.meta().next_worker - 1;
        if (self.state.workers().len() as u64) < highest {
            seen.push("worker forgotten".to_owned());
        }
        seen.into_iter().for_each(|what| self.count(what));
    }
}

fn takes_failures(taken: &TakenOver) -> bool {
    taken.ends.iter().any(|(_, end)| matches!(end, TakenEnd::Failed { .. }))
}

/// What came of failures by `failFast` and `maxFailures`.
fn failures_of(run: &Run) -> Vec<String> {
    let mut seen = Vec::new();
    if run.stop.is_some_and(|(_, reason)| reason == StopReason::FailFast) {
        seen.push("failFast of a run".to_owned());
    }
    for task in &run.tasks {
        let mut stops = task.cells.iter().filter_map(|(_, state)| state.attempt()?.stop);
        if run.stop.is_none() && stops.any(|stop| stop.reason == StopReason::FailFast) {
            seen.push("failFast of a task".to_owned());
        }
        let failed = task.cells.tally().of(TaskStatus::Failed);
        if failed > 0 && task.end() == Some(TaskEnd::Succeeded) {
            seen.push("failures that may be".to_owned());
        }
    }
    seen
}

/// What tasks of a run go through that were not sized by their spec.
fn items_of(run: &Run) -> Lists {
    let tasks = (0..).zip(&run.tasks);
    let items = |task: &Task| Some(task.items.as_ref()?.iter().map(str::to_owned).collect());
    tasks.filter_map(|(at, task)| Some((at, items(task)?))).collect()
}

fn cells_of(run: &Run) -> Cells {
    let mut cells = Cells::new();
    for (position, task) in run.tasks.iter().enumerate() {
        let task_index = TaskIndex(position as u32);
        for (range, state) in task.cells.iter() {
            let indices = range.first..=range.last;
            cells.extend(indices.map(|index| ((task_index.0, index), Cell::of(state))));
        }
    }
    cells
}
