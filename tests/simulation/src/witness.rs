//! Sees everything: fills the checker's history and audit, knows who leads, and keeps the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use muster_checker::history::Ending;
use muster_checker::ledger::Cause;
use muster_checker::{Applying, Auditor, History, Nanos, Observed};
use muster_core::apply::Applied;
use muster_core::command::{AttemptRef, Entry, Outcome};
use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, Text};
use muster_core::snapshot::Snapshot;
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::state::State;
use muster_core::state::run::Run;
use muster_core::state::task::TaskStatus;
use muster_core::state::workflow::NextFire;
use muster_raft::{Member, Position, RaftStatus};
use parking_lot::Mutex;

use crate::machine::entropy::elapsed;
use crate::plan::freed;
use crate::trace::Trace;

/// A digest walks over a whole state; the auditor compares every state in its own way, this is for the trace.
const DIGEST_EVERY: u64 = 16;

/// Shared by all hosts. Cheap to clone.
#[derive(Clone)]
pub struct Witness(Arc<Mutex<Seen>>);

struct Seen {
    trace: Trace,
    history: History,
    auditor: Auditor,
    /// Who leads in which term, as they see it themselves.
    leaders: BTreeMap<u64, u64>,
    /// The incarnation of each worker's present process.
    incarnations: BTreeMap<String, u64>,
    /// How many attempts are alive on each worker.
    live: BTreeMap<String, u64>,
    /// Reports that their worker has on its disk, and that were not answered.
    owed: BTreeSet<(Text, AttemptRef)>,
    next_call: u64,
    /// What the checker has no word for.
    wrong: Option<String>,
    /// The newest state that any master has shown.
    newest: (LogIndex, Snapshot),
    /// What each master has applied last, and its state there.
    stands: BTreeMap<u64, (LogIndex, Snapshot)>,
    /// How often each master had begun anew when it applied that.
    lives: BTreeMap<u64, u64>,
    /// Masters whose log had been purged at a look.
    purged: BTreeSet<u64>,
    /// Ids of the members that voted at a look, by name.
    voters: BTreeMap<String, BTreeSet<u64>>,
}

/// Everything that was seen.
pub struct Account {
    /// Hash of the trace.
    pub hash: u64,
    /// Its lines.
    pub lines: u64,
    /// For the judge.
    pub history: History,
    /// For the judge, too.
    pub auditor: Auditor,
    /// What is wrong besides, in words.
    pub wrong: Option<String>,
    /// Masters whose log was purged.
    pub logs_purged: u64,
    /// How often another member took over the vote of one of its name, which had lost its disk.
    pub voters_replaced: u64,
}

/// An attempt, as whoever carries it out knows it.
#[derive(Clone, Debug)]
pub struct AttemptKey {
    /// Name of its worker.
    pub worker: String,
    /// Incarnation of that worker's process when it asked for it.
    pub incarnation: u64,
    /// Which run.
    pub run: RunId,
    /// Which task.
    pub task: TaskIndex,
    /// Which index.
    pub index: u32,
    /// Its fence.
    pub fence: Fence,
}

/// Time since the simulation began, for the checker.
pub fn now() -> Nanos {
    nanos(elapsed())
}

/// Time since the simulation began, in the checker's unit.
pub fn nanos(elapsed: Duration) -> Nanos {
    Nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// The checker's word for an outcome.
pub fn ending_of(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Succeeded { .. } => Ending::Succeeded,
        Outcome::Failed { .. } => Ending::Failed,
        Outcome::TimedOut => Ending::TimedOut,
        Outcome::Cancelled => Ending::Cancelled,
        Outcome::Lost => Ending::Lost,
    }
}

impl Witness {
    /// Has seen nothing yet.
    pub fn new(trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            trace,
            history: History::default(),
            auditor: Auditor::of_whole_log(),
            leaders: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            live: BTreeMap::new(),
            owed: BTreeSet::new(),
            next_call: 0,
            wrong: None,
            newest: (LogIndex(0), Snapshot::default()),
            stands: BTreeMap::new(),
            lives: BTreeMap::new(),
            purged: BTreeSet::new(),
            voters: BTreeMap::new(),
        })))
    }

    /// Something that the checker need not know.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.0.lock().trace.line(what);
    }

    /// Something for the checker.
    pub fn observed(&self, what: Observed) {
        let mut seen = self.0.lock();
        match &what {
            Observed::Leads { master, term } => {
                seen.leaders.insert(*master, *term);
            }
            Observed::StepsDown { master, .. } | Observed::MasterStopped { master } => {
                seen.leaders.remove(master);
            }
            Observed::AttemptBegan { worker, .. } => {
                *seen.live.entry(worker.as_ref().to_owned()).or_default() += 1;
            }
            Observed::MasterStarted { master, .. } => {
                seen.lives.remove(master);
            }
            Observed::JournalLost { worker } => seen.owed.retain(|(owner, _)| owner != worker),
            Observed::WorkerRegistered { worker, incarnation, .. } => {
                seen.incarnations.insert(worker.as_ref().to_owned(), *incarnation);
            }
            _ => {}
        }
        seen.trace.line(format_args!("{what:?}"));
        seen.history.push(now(), what);
    }

    /// A master applied an entry.
    pub fn applied(
        &self,
        replica: u64,
        incarnation: u64,
        position: Position,
        entry: &Entry,
        after: &State,
        applied: &Applied,
    ) {
        let mut seen = self.0.lock();
        let (index, term) = (LogIndex(position.index), Some(position.term));
        let commands = entry.commands.len();
        seen.trace.line(format_args!("m{replica} applied {index} commands={commands}"));
        if index.0.is_multiple_of(DIGEST_EVERY) {
            seen.trace.line(format_args!("its state is {:x}", after.digest()));
        }
        seen.stands.insert(replica, (index, after.snapshot()));
        seen.lives.insert(replica, incarnation);
        if index > seen.newest.0 {
            seen.newest = (index, after.snapshot());
        }
        let at = Some(now());
        let applying = Applying { replica, incarnation, index, term, at, entry, after, applied };
        seen.auditor.observe(&applying);
    }

    /// A master's state comes from a snapshot.
    pub fn restored(&self, replica: u64, incarnation: u64, index: LogIndex, state: &State) {
        let mut seen = self.0.lock();
        let digest = state.digest();
        seen.trace.line(format_args!("m{replica} restored {index} {digest:x}"));
        seen.stands.insert(replica, (index, state.snapshot()));
        seen.lives.insert(replica, incarnation);
        seen.auditor.restored(replica, incarnation, index, state);
    }

    /// An attempt began.
    pub fn attempt_began(&self, key: &AttemptKey) {
        self.observed(Observed::AttemptBegan {
            worker: key.worker.as_str().into(),
            incarnation: key.incarnation,
            run: key.run,
            task: key.task,
            index: key.index,
            fence: key.fence,
        });
    }

    /// An attempt is dead.
    pub fn attempt_ended(&self, key: &AttemptKey, how: Ending) {
        if let Some(live) = self.0.lock().live.get_mut(&key.worker) {
            *live -= 1;
        }
        self.observed(Observed::AttemptEnded {
            run: key.run,
            task: key.task,
            index: key.index,
            fence: key.fence,
            how,
        });
    }

    /// Where a master stands, at a look.
    pub fn stands(&self, master: u64, status: RaftStatus) {
        let mut seen = self.0.lock();
        if status.purged_index > 0 {
            seen.purged.insert(master);
        }
        for Member { id, peer } in
            status.members.into_iter().filter(|it| it.is_voter).map(|it| it.member)
        {
            seen.voters.entry(peer.name).or_default().insert(id);
        }
    }

    /// A number for a call.
    pub fn next_call(&self) -> u64 {
        let mut seen = self.0.lock();
        seen.next_call += 1;
        seen.next_call
    }

    /// The master that leads, in the newest term if several believe so.
    pub fn leader(&self) -> Option<u64> {
        let seen = self.0.lock();
        seen.leaders.iter().max_by_key(|(_, term)| **term).map(|(master, _)| *master)
    }

    /// Incarnation of a worker's present process, once it is registered.
    pub fn incarnation(&self, worker: &str) -> u64 {
        self.0.lock().incarnations.get(worker).copied().unwrap_or_default()
    }

    /// Whether anything was found already.
    pub fn is_clean(&self) -> bool {
        self.0.lock().auditor.verdict().is_clean()
    }

    /// Live runs, in the newest state.
    pub fn open_runs(&self) -> BTreeMap<u64, OpenRun> {
        open_in(&self.0.lock().newest.1)
    }

    /// A namespace with a quota, or with concurrency groups that keep tasks waiting, by the newest state.
    pub fn limited(&self) -> Option<NamespaceSpec> {
        let namespaces = &self.0.lock().newest.1.namespaces;
        let is_limited = |it: &NamespaceSpec| {
            let free = freed(it);
            it.quota != free.quota || it.groups != free.groups
        };
        namespaces.iter().map(|it| &it.spec).find(|it| is_limited(it)).cloned()
    }

    /// Whether a schedule will fire yet, by the newest state.
    pub fn has_fires_to_come(&self) -> bool {
        has_fires_to_come(&self.0.lock().newest.1)
    }

    /// In which of its lives a master is, and what it has applied in it.
    pub fn stand_of(&self, master: u64) -> Option<(u64, LogIndex)> {
        let seen = self.0.lock();
        Some((*seen.lives.get(&master)?, seen.stands.get(&master)?.0))
    }

    /// Whether a master has applied all that any has.
    pub fn is_caught_up(&self, master: u64) -> bool {
        let seen = self.0.lock();
        seen.stands.get(&master).is_some_and(|(index, _)| *index >= seen.newest.0)
    }

    /// Something is wrong that the checker has no word for. The first such thing is kept.
    pub fn is_wrong(&self, what: String) {
        self.note(format_args!("{what}"));
        self.0.lock().wrong.get_or_insert(what);
    }

    /// How many attempts are alive on a worker.
    pub fn live_attempts(&self, worker: &str) -> u64 {
        self.0.lock().live.get(worker).copied().unwrap_or_default()
    }

    /// A worker sent a report that it has on its disk, or (`false`) was answered.
    pub fn owes(&self, worker: &str, attempt: AttemptRef, does: bool) {
        let (mut seen, owed) = (self.0.lock(), (worker.into(), attempt));
        if does {
            seen.owed.insert(owed);
        } else {
            seen.owed.remove(&owed);
        }
    }

    /// Whether a worker has something to report.
    pub fn is_owed_reports(&self) -> bool {
        !self.0.lock().owed.is_empty()
    }

    /// How many ended runs the history should have, by the log.
    pub fn history_runs(&self) -> u64 {
        let seen = self.0.lock();
        let ledger = seen.auditor.ledger();
        let ended = ledger.runs.values().filter_map(|run| run.ended.as_ref());
        ended.filter(|ended| ended.index >= ledger.pruned_before).count() as u64
    }

    /// All runs that were ever accepted, by the log.
    pub fn runs(&self) -> Vec<RunId> {
        self.0.lock().auditor.ledger().runs.keys().copied().collect()
    }

    /// Whether an attempt ended for another reason than a report before now.
    pub fn has_ended_otherwise(&self, attempt: &AttemptRef) -> bool {
        let seen = self.0.lock();
        let key = (attempt.run, attempt.task, attempt.fence);
        let placed = seen.auditor.ledger().attempts.get(&key).into_iter().flatten();
        let mut ends = placed.flat_map(|placed| &placed.ends);
        ends.any(|(range, _, cause)| {
            range.intersect(attempt.range).is_some() && !matches!(cause, Cause::Reported(_))
        })
    }

    /// Everything is over: tells the checker where each master stands.
    pub fn final_states(&self) {
        let stands = self.0.lock().stands.clone();
        for (master, (index, state)) in stands {
            let digest = state.digest();
            self.observed(Observed::MasterFinal { master, index, digest });
        }
    }

    /// Everything, leaving nothing.
    pub fn account(&self) -> Account {
        let seen = &mut *self.0.lock();
        Account {
            hash: seen.trace.hash(),
            lines: seen.trace.lines(),
            history: std::mem::take(&mut seen.history),
            auditor: std::mem::take(&mut seen.auditor),
            wrong: seen.wrong.take(),
            logs_purged: seen.purged.len() as u64,
            voters_replaced: seen.voters.values().map(|ids| ids.len() as u64 - 1).sum(),
        }
    }
}

/// Whether a schedule will fire yet.
fn has_fires_to_come(state: &Snapshot) -> bool {
    state.workflows.iter().any(|workflow| {
        let version = workflow.latest.and_then(|id| state.versions.get(id));
        let specs = version.map(|version| version.spec.schedules.as_slice()).unwrap_or_default();
        let mut schedules = workflow.schedules.iter().zip(specs);
        schedules.any(|(schedule, spec)| {
            let is_off = schedule.is_suspended || spec.is_suspended;
            !is_off && schedule.next != NextFire::Never
        })
    })
}

/// What a live run needs of a person before it can end.
#[derive(Clone, Debug)]
pub struct OpenRun {
    /// Tasks that are held.
    pub held: Vec<String>,
    /// Approvals that wait.
    pub awaiting: Vec<String>,
    /// Whether it is paused.
    pub is_paused: bool,
}

fn open_in(state: &Snapshot) -> BTreeMap<u64, OpenRun> {
    let open = |run: &Run| {
        let with = |status| {
            let tasks = run.tasks.iter().zip(&run.version.spec.tasks);
            let found = tasks.filter(|(task, _)| task.cells.tally().of(status) > 0);
            // What waits for a run ends with that.
            let found = found.filter(|(_, spec)| !spec.is_sub_workflow());
            found.map(|(_, spec)| spec.id.to_string()).collect()
        };
        OpenRun {
            held: with(TaskStatus::Held),
            awaiting: with(TaskStatus::Awaiting),
            is_paused: run.paused.is_some(),
        }
    };
    state.runs.iter().map(|run| (run.id.0, open(run))).collect()
}
