//! Fingerprints of entries and states, so that replicas can be compared at every index. A state's fingerprint is kept
//! up from one entry to the next: only what changed is hashed again.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use muster_core::apply::Applied;
use muster_core::command::{
    Command, Decision, EndTask, Entry, Outcome, RequestKey, RunSource, Verdict,
};
use muster_core::event::Event;
use muster_core::snapshot::Snapshot;
use muster_core::state::block_map::{BLOCK_LEN, Block, BlockMap};
use muster_core::state::namespace::Namespace;
use muster_core::state::requests::AnsweredRequest;
use muster_core::state::run::Run;
use muster_core::state::trail::Action;
use muster_core::state::worker::Worker;
use muster_core::state::workflow::{Workflow, WorkflowVersion};

use crate::mix::{Mixer, mix};

/// The fingerprint of a state that changes.
#[derive(Debug, Default)]
pub(super) struct StatePrint {
    versions: MapPrint<WorkflowVersion>,
    workflows: MapPrint<Workflow>,
    runs: MapPrint<Run>,
    workers: MapPrint<Worker>,
    requests: MapPrint<AnsweredRequest>,
    actions: MapPrint<Action>,
    namespaces: MapPrint<Namespace>,
}

impl StatePrint {
    /// The fingerprint of the state as it is.
    pub(super) fn update(&mut self, state: &Snapshot) -> u64 {
        let sums = [
            self.versions.update(&state.versions, version_print),
            self.workflows.update(&state.workflows, mix),
            self.runs.update(&state.runs, run_print),
            self.workers.update(&state.workers, mix),
            self.requests.update(&state.requests, mix),
            self.actions.update(&state.actions, mix),
            self.namespaces.update(&state.namespaces, mix),
        ];
        mix(&(state.meta, sums))
    }
}

/// The fingerprint of one map: a sum over its objects, so that one can be replaced by another.
#[derive(Debug)]
struct MapPrint<V> {
    blocks: BTreeMap<u64, Kept<V>>,
    sum: u64,
}

/// A block as it was, with a hash for each of its places; 0 for an empty one. Holding on to the block makes its address
/// tell whether it changed.
#[derive(Debug)]
struct Kept<V> {
    block: Arc<Block<V>>,
    hashes: [u64; BLOCK_LEN as usize],
}

impl<V> Default for MapPrint<V> {
    fn default() -> Self {
        MapPrint { blocks: BTreeMap::new(), sum: 0 }
    }
}

impl<V> MapPrint<V> {
    fn update(&mut self, map: &BlockMap<V>, hash: impl Fn(&V) -> u64) -> u64 {
        for (number, block) in map.blocks() {
            let before = self.blocks.get(&number);
            if before.is_some_and(|before| Arc::ptr_eq(&before.block, block)) {
                continue;
            }
            let mut old = [(None, 0); BLOCK_LEN as usize];
            if let Some(before) = before {
                for (place, value) in before.block.iter_with_places() {
                    old[place as usize] = (Some(value), before.hashes[place as usize]);
                }
            }
            let mut hashes = [0; BLOCK_LEN as usize];
            for (place, value) in block.iter_with_places() {
                hashes[place as usize] = match old[place as usize] {
                    (Some(old), known) if Arc::ptr_eq(old, value) => known,
                    _ => mix(&(number * BLOCK_LEN + place, hash(value))),
                };
            }
            let sum_before = old.iter().fold(0u64, |sum, (_, hash)| sum.wrapping_add(*hash));
            self.sum = self.sum.wrapping_sub(sum_before).wrapping_add(sum_of(&hashes));
            self.blocks.insert(number, Kept { block: block.clone(), hashes });
        }
        let sum = &mut self.sum;
        self.blocks.retain(|number, kept| {
            let is_there = map.block(*number).is_some();
            if !is_there {
                *sum = sum.wrapping_sub(sum_of(&kept.hashes));
            }
            is_there
        });
        self.sum
    }
}

fn sum_of(hashes: &[u64]) -> u64 {
    hashes.iter().fold(0, |sum, hash| sum.wrapping_add(*hash))
}

fn version_print(version: &WorkflowVersion) -> u64 {
    let WorkflowVersion { id, namespace, workflow, number, applied_at, spec, .. } = version;
    mix(&(id, namespace, workflow, number, applied_at, spec))
}

fn run_print(run: &Run) -> u64 {
    // Without `..`, so that no field is forgotten.
    let Run {
        id,
        number,
        version,
        params,
        priority,
        submitted_at,
        begun_at,
        origin,
        retry,
        backfill,
        trigger,
        parent,
        asked_by,
        paused,
        stop,
        cancels,
        result,
        tasks,
        open,
        ended,
    } = run;
    let made_for = (origin, backfill, parent);
    let identity = (id, number, version.id, params, priority, submitted_at, made_for);
    let (hooks, causes) = ((cancels, result), (retry, trigger));
    mix(&(identity, asked_by, causes, begun_at, paused, stop, hooks, tasks, open, ended))
}

/// The fingerprint of what an entry asks for.
pub(super) fn entry_print(entry: &Entry) -> u64 {
    let mut mixer = Mixer::default();
    entry.at.hash(&mut mixer);
    entry.commands.len().hash(&mut mixer);
    entry.commands.iter().for_each(|command| hash_command(command, &mut mixer));
    mixer.finish()
}

fn hash_command(command: &Command, mixer: &mut Mixer) {
    std::mem::discriminant(command).hash(mixer);
    match command {
        Command::Tick => {}
        Command::ApplyWorkflow(it) => {
            (request(&it.request), &it.namespace, &it.spec).hash(mixer);
        }
        Command::ApplyNamespace(it) => (request(&it.request), &it.spec).hash(mixer),
        Command::SubmitRun(it) => {
            (request(&it.request), &it.namespace, &it.params, it.priority).hash(mixer);
            it.backfill.hash(mixer);
            match &it.source {
                RunSource::Workflow { workflow, version } => (0u8, workflow, version).hash(mixer),
                RunSource::Apply(spec) => (1u8, spec).hash(mixer),
                RunSource::OneOff(spec) => (2u8, spec).hash(mixer),
            }
        }
        Command::Asked(it) => {
            it.by.hash(mixer);
            hash_command(&it.command, mixer);
        }
        Command::CancelRun(it) => (request(&it.request), it.run).hash(mixer),
        Command::PauseRun(it) => (request(&it.request), it.run, it.is_paused).hash(mixer),
        Command::PrioritizeRun(it) => (request(&it.request), it.run, it.priority).hash(mixer),
        Command::FireSchedule(it) => {
            (it.workflow, it.version, &it.schedule, it.after, it.until).hash(mixer);
            (&it.fire_times, it.missed, it.next).hash(mixer);
        }
        Command::SuspendSchedule(it) => {
            (request(&it.request), &it.namespace, &it.workflow).hash(mixer);
            (&it.schedule, it.is_suspended).hash(mixer);
        }
        Command::ReleaseTask(it) => {
            (request(&it.request), it.run, it.task, it.rerun).hash(mixer);
        }
        Command::EndTask(it) => hash_end(it, mixer),
        Command::RetryRun(it) => {
            (request(&it.request), &it.namespace, &it.of, it.version, it.version_number)
                .hash(mixer);
            (&it.spec, &it.params, it.priority).hash(mixer);
            for taken in &it.taken_over {
                (taken.task, &taken.ends, &taken.outputs, &taken.items).hash(mixer);
            }
        }
        Command::ReopenTasks(it) => (request(&it.request), it.run, it.from).hash(mixer),
        Command::RegisterWorker(it) => {
            (&it.name, it.incarnation, &it.labels, &it.pool, &it.capacity, it.lease).hash(mixer);
        }
        Command::DrainWorker(it) => {
            (request(&it.request), it.worker, it.is_draining).hash(mixer);
        }
        Command::LoseWorker(it) => it.worker.hash(mixer),
        Command::DecideTasks(it) => hash_decisions(&it.decisions, mixer),
        Command::PlaceAttempts(it) => {
            let items = it.placements.iter().map(|it| (it.run, it.task, it.range, it.worker));
            items.for_each(|item| item.hash(mixer));
        }
        Command::StartAttempts(it) => {
            it.starts.iter().for_each(|it| (it.attempt, it.age).hash(mixer));
        }
        Command::FinishAttempts(it) => {
            for finish in &it.finishes {
                (finish.attempt, finish.duration).hash(mixer);
                hash_outcome(&finish.outcome, mixer);
            }
        }
        Command::PruneHistory(it) => it.ended_before.hash(mixer),
        Command::UpgradeCluster(it) => it.version.hash(mixer),
    }
}

fn hash_end(it: &EndTask, mixer: &mut Mixer) {
    (request(&it.request), it.run, it.task, it.end, &it.reason).hash(mixer);
}

fn hash_decisions(decisions: &[Decision], mixer: &mut Mixer) {
    for it in decisions {
        let verdict = match &it.verdict {
            Verdict::Start => (0u8, None),
            Verdict::Skip => (1, None),
            Verdict::Fail { message } => (2, Some(message)),
            Verdict::FanOut { items } => {
                items.hash(mixer);
                (3, None)
            }
            Verdict::StartRun { params } => {
                params.hash(mixer);
                (4, None)
            }
        };
        (it.run, it.task, it.since, verdict).hash(mixer);
    }
}

fn request(key: &Option<RequestKey>) -> Option<(&str, u64)> {
    key.as_ref().map(|key| (key.id.as_ref(), key.digest))
}

fn hash_outcome(outcome: &Outcome, mixer: &mut Mixer) {
    std::mem::discriminant(outcome).hash(mixer);
    match outcome {
        Outcome::Succeeded { outputs } => outputs.hash(mixer),
        Outcome::Failed { exit_code, message } => (exit_code, message).hash(mixer),
        Outcome::TimedOut | Outcome::Cancelled | Outcome::Lost => {}
    }
}

/// The fingerprint of what apply returned: the answers, and the runs that leave for the history.
pub(super) fn applied_print(applied: &Applied) -> u64 {
    let mut mixer = Mixer::default();
    applied.replies.hash(&mut mixer);
    for event in &applied.events {
        if let Event::RunEnded { run } = event {
            run_print(run).hash(&mut mixer);
        }
    }
    mixer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Updating step by step must give what a fresh look gives, whatever was inserted, changed and removed before.
    #[test]
    fn an_updated_fingerprint_equals_a_fresh_one() {
        let mut map: BlockMap<u64> = BlockMap::default();
        let mut kept = MapPrint::default();
        let mut seen = std::collections::BTreeSet::new();
        for step in 0..500u64 {
            let number = step.wrapping_mul(2_654_435_761) >> 7;
            if step % 3 == 2 {
                map.remove(number % 60);
            } else {
                map.insert(number % 60, Arc::new(number));
            }
            let snapshot = map.clone();
            let updated = kept.update(&snapshot, mix);
            assert_eq!(updated, MapPrint::default().update(&snapshot, mix), "step {step}");
            seen.insert(updated);
        }
        assert!(seen.len() > 300, "it hardly ever changed");
    }
}
