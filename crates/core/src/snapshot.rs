//! Snapshots of the replicated part of the state, and its digest.
//!
//! A snapshot is a cheap clone: blocks are shared, and a block that two snapshots share is known by pointer, so that
//! only changed blocks need to be written again. How a block becomes bytes is not this crate's business.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::check::Violation;
use crate::state::block_map::BlockMap;
use crate::state::namespace::Namespace;
use crate::state::requests::{AnsweredRequest, Requests};
use crate::state::run::Run;
use crate::state::trail::{Action, Trail};
use crate::state::worker::Worker;
use crate::state::workflow::{Workflow, WorkflowVersion};
use crate::state::{Meta, State};

/// The format that [`Snapshot`] has. Raised when a field is added that an older master must not ignore.
pub const FORMAT_VERSION: u32 = 1;

/// The replicated part of a state at one log index.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counters and scalars.
    pub meta: Meta,
    /// Workflow versions. Runs refer to them.
    pub versions: BlockMap<WorkflowVersion>,
    /// Workflows.
    pub workflows: BlockMap<Workflow>,
    /// Live runs.
    pub runs: BlockMap<Run>,
    /// Workers.
    pub workers: BlockMap<Worker>,
    /// Answered requests.
    pub requests: BlockMap<AnsweredRequest>,
    /// The audit trail.
    pub actions: BlockMap<Action>,
    /// Namespaces that were applied.
    pub namespaces: BlockMap<Namespace>,
}

impl State {
    /// The replicated part, as it is. Costs microseconds.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            meta: self.meta,
            versions: self.versions.clone(),
            workflows: self.workflows.clone(),
            runs: self.runs.clone(),
            workers: self.workers.clone(),
            requests: self.requests.answered().clone(),
            actions: self.trail.actions().clone(),
            namespaces: self.namespaces.clone(),
        }
    }

    /// A state from a snapshot, with every derived index rebuilt and every invariant checked.
    pub fn restore(snapshot: Snapshot) -> Result<State, Violation> {
        let state = State::derived_from(snapshot);
        state.check_replicated()?;
        Ok(state)
    }

    /// A state from a snapshot, with every derived index rebuilt.
    pub(crate) fn derived_from(snapshot: Snapshot) -> State {
        let mut state = State {
            meta: snapshot.meta,
            versions: snapshot.versions,
            workflows: snapshot.workflows,
            runs: snapshot.runs,
            workers: snapshot.workers,
            requests: Requests::restore(snapshot.requests),
            trail: Trail::restore(snapshot.actions),
            namespaces: snapshot.namespaces,
            ..State::default()
        };
        state.derive();
        state
    }

    /// The digest of the replicated part; see [`Snapshot::digest`].
    pub fn digest(&self) -> u64 {
        self.snapshot().digest()
    }
}

impl Snapshot {
    /// A stable hash, equal on all replicas at one log index (I1). Costs a walk over all of it.
    pub fn digest(&self) -> u64 {
        let mut hasher = StableHasher::default();
        // Without `..`, so that no field is forgotten.
        let Snapshot { meta, versions, workflows, runs, workers, requests, actions, namespaces } =
            self;
        meta.hash(&mut hasher);
        versions.iter().for_each(|version| hash_version(version, &mut hasher));
        workflows.hash(&mut hasher);
        runs.iter().for_each(|run| hash_run(run, &mut hasher));
        workers.hash(&mut hasher);
        requests.hash(&mut hasher);
        actions.hash(&mut hasher);
        namespaces.hash(&mut hasher);
        hasher.finish()
    }
}

fn hash_version(version: &Arc<WorkflowVersion>, hasher: &mut StableHasher) {
    let WorkflowVersion { id, namespace, workflow, number, applied_at, spec, .. } =
        version.as_ref();
    (id, namespace, workflow, number, applied_at, spec).hash(hasher);
}

fn hash_run(run: &Arc<Run>, hasher: &mut StableHasher) {
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
    } = run.as_ref();
    (id, number, version.id, params, priority, submitted_at, begun_at, origin).hash(hasher);
    (trigger, parent).hash(hasher);
    (retry, backfill, asked_by, paused, stop, cancels, result, tasks, open, ended).hash(hasher);
}

/// A stable hash of any bytes: FNV-1a, 64 bits (Fowler, Noll and Vo). For digests, never against an adversary.
pub fn digest_of(bytes: &[u8]) -> u64 {
    let mut hasher = StableHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// A hasher whose result does not depend on process, build or byte order.
struct StableHasher(u64);

impl Default for StableHasher {
    fn default() -> Self {
        StableHasher(0xCBF2_9CE4_8422_2325)
    }
}

macro_rules! write_little_endian {
    ($($method:ident($int:ty)),*) => {
        $(fn $method(&mut self, value: $int) {
            self.write(&value.to_le_bytes());
        })*
    };
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    write_little_endian!(write_u16(u16), write_u32(u32), write_u64(u64), write_u128(u128));
    write_little_endian!(write_i16(i16), write_i32(i32), write_i64(i64), write_i128(i128));

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_i64(value as i64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Entry, RunSource, SubmitRun};
    use crate::ids::{LogIndex, Name};
    use crate::spec;
    use crate::state::run::FireOrigin;
    use crate::time::Timestamp;

    #[test]
    fn what_a_run_was_made_for_is_in_the_digest() {
        let digest = |fire_time| {
            let text = "apiVersion: v1\nkind: Workflow\nname: etl\nschedule: {name: night, cron: '@daily'}\n\
                        tasks: {t: {noop: {}}}\n";
            let name = |text: &str| Name::parse(text).expect("a name");
            let spec = spec::parse(text).expect("the file is good").remove(0);
            let submit = SubmitRun {
                request: None,
                namespace: name("default"),
                source: RunSource::Apply(Box::new(spec)),
                params: Arc::default(),
                priority: None,
                backfill: Some(FireOrigin { schedule: name("night"), fire_time }),
            };
            let entry = Entry { at: Timestamp(9), commands: vec![Command::SubmitRun(submit)] };
            let mut state = State::default();
            assert!(state.apply(LogIndex(1), &entry).replies.iter().all(Result::is_ok));
            state.digest()
        };
        assert_eq!(digest(Timestamp(1)), digest(Timestamp(1)));
        assert_ne!(digest(Timestamp(1)), digest(Timestamp(2)));
    }
}
