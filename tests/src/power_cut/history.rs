//! The history store: runs put, put again, and pruned.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use muster_raft::HistoryItem;
use muster_raft::testing::{self, EndCursor, HistoryChange, HistoryStore, RedbHistoryStore};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::record;
use super::store::{Steps, sync_folder};

const CACHE_BYTES: usize = 1 << 20;
const RUN_BYTES_MAX: u64 = 5_000;
const WORKFLOWS: u64 = 3;
const NAMESPACE: &str = "default";

/// The history store.
pub struct History(RedbHistoryStore);

/// What a history holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    durable_index: u64,
    runs: BTreeMap<u64, HistoryItem>,
}

impl Content {
    /// Whether all runs of this are runs of the other, and equal.
    pub fn is_part_of(&self, other: &Self) -> bool {
        self.runs.iter().all(|(run_id, item)| other.runs.get(run_id) == Some(item))
    }
}

/// How complaints begin that some runs are not found everywhere.
pub const HIDDEN: &str = "some runs are hidden";

/// The changes of one commit, and the index it makes durable.
#[derive(Clone)]
pub struct Group {
    changes: Vec<HistoryChange>,
    durable_index: u64,
}

impl Steps for History {
    type Model = Content;
    type Step = Group;

    fn open(dir: &Path) -> Result<Self, String> {
        let store = testing::open_history(&dir.join("history.redb"), CACHE_BYTES)
            .map_err(|error| error.to_string())?;
        sync_folder(dir)?;
        Ok(Self(store))
    }

    fn read(&self) -> Result<Content, String> {
        let text = |error: muster_raft::StoreError| error.to_string();
        let reader = self.0.reader();
        let durable_index = reader.durable_index().map_err(text)?;
        let all = reader.page(None, usize::MAX).map_err(text)?;
        let runs: BTreeMap<u64, HistoryItem> =
            all.into_iter().map(|item| (item.run_id, item)).collect();
        if reader.count().map_err(text)? != runs.len() as u64 {
            return Err(format!("{HIDDEN}: the count is not that of the runs"));
        }
        for (run_id, item) in &runs {
            let by_id = reader.get(*run_id).map_err(text)?;
            let by_name =
                reader.find(&item.namespace, &item.workflow, item.number).map_err(text)?;
            if by_id.as_ref() != Some(item) || by_name.as_ref() != Some(item) {
                return Err(format!("{HIDDEN}: run {run_id} is not found alike by id and by name"));
            }
        }
        let by_end =
            reader.ended_after(EndCursor::default(), u64::MAX, usize::MAX).map_err(text)?;
        let mut expected: Vec<&HistoryItem> = runs.values().collect();
        expected.sort_by_key(|item| (item.end_index, item.run_id));
        if !by_end.iter().eq(expected) {
            return Err(format!("{HIDDEN}: the runs in order of ending are others"));
        }
        let mut named = 0;
        for workflow in 0..WORKFLOWS {
            let page =
                reader.page_of(NAMESPACE, &name(workflow), None, usize::MAX).map_err(text)?;
            named += page.len();
        }
        if named != runs.len() {
            return Err(format!("{HIDDEN}: {named} of {} are found by name", runs.len()));
        }
        Ok(Content { durable_index, runs })
    }

    fn carry_out(&mut self, step: &Group) -> Result<(), String> {
        self.0.commit(&step.changes, step.durable_index).map_err(|error| error.to_string())
    }

    fn plan(model: &Content, chance: &mut StdRng) -> Group {
        let mut index = model.durable_index;
        let mut next = model.runs.last_key_value().map_or(1, |(run_id, _)| run_id + 1);
        let mut changes = Vec::new();
        for _ in 0..chance.random_range(0..6) {
            index += chance.random_range(1..4);
            let again = chance.random_range(0..6) == 0;
            let run_id = model.runs.keys().next().copied().filter(|_| again).unwrap_or(next);
            next += u64::from(run_id == next);
            changes.push(HistoryChange::Put(Arc::new(run(run_id, index))));
        }
        if chance.random_range(0..8) == 0 {
            changes.push(HistoryChange::DeleteEndedBefore(index.saturating_sub(60)));
        }
        Group { changes, durable_index: index + 1 }
    }

    fn expect(model: &mut Content, step: Group) {
        model.durable_index = model.durable_index.max(step.durable_index);
        for change in step.changes {
            match change {
                HistoryChange::Put(item) => {
                    model.runs.insert(item.run_id, (*item).clone());
                }
                HistoryChange::DeleteEndedBefore(index) => {
                    model.runs.retain(|_, item| item.end_index >= index);
                }
            }
        }
    }
}

fn run(run_id: u64, end_index: u64) -> HistoryItem {
    HistoryItem {
        run_id,
        end_index,
        namespace: NAMESPACE.to_owned(),
        workflow: name(run_id % WORKFLOWS),
        number: run_id,
        bytes: Bytes::from(record(run_id ^ end_index, RUN_BYTES_MAX)),
    }
}

fn name(workflow: u64) -> String {
    format!("workflow-{workflow}")
}
