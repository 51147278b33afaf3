//! The log store: appends, truncations, purges, votes.

use std::path::Path;

use bytes::Bytes;
use muster_raft::testing::{
    self, Entry, Identity, LogId, LogOperation, LogStore, RedbLogStore, Vote,
};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::record;
use super::store::{Steps, sync_folder};

const CACHE_BYTES: usize = 1 << 20;
const ENTRY_BYTES_MAX: u64 = 6_000;
const MEMBER: u64 = 7;

/// The log store.
pub struct Log(RedbLogStore);

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    identity: Option<Identity>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

impl Content {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn end(&self) -> u64 {
        self.last().map_or(0, |id| id.index + 1)
    }

    fn committed_end(&self) -> u64 {
        self.committed.map_or(0, |id| id.index + 1)
    }

    fn carry_out(&mut self, operation: LogOperation) {
        match operation {
            LogOperation::Append(batch) => self.entries.extend(batch),
            LogOperation::TruncateFrom(index) => {
                self.entries.retain(|entry| entry.log_id.index < index);
            }
            LogOperation::Purge(id) => {
                self.entries.retain(|entry| entry.log_id.index > id.index);
                self.purged = Some(id);
            }
            LogOperation::Vote(vote) => self.vote = Some(vote),
            LogOperation::Committed(id) => self.committed = Some(id),
            LogOperation::Identity(identity) => self.identity = Some(identity),
        }
    }

    fn plan(&self, chance: &mut StdRng) -> LogOperation {
        let term = self.vote.as_ref().map_or(1, |vote| vote.leader_id.term);
        let entry = |entries: &[Entry], chance: &mut StdRng| {
            entries[chance.random_range(0..entries.len())].log_id
        };
        let open: Vec<Entry> = {
            let open = self.entries.iter();
            open.filter(|entry| entry.log_id.index >= self.committed_end()).cloned().collect()
        };
        let closed = &self.entries[..self.entries.len() - open.len()];
        match chance.random_range(0..10) {
            _ if self.identity.is_none() => {
                LogOperation::Identity(Identity { member_id: MEMBER, cluster_id: None })
            }
            0 => LogOperation::Vote(testing::vote(term + 1, MEMBER)),
            1 if !open.is_empty() => LogOperation::TruncateFrom(entry(&open, chance).index),
            2 | 3 if !open.is_empty() => LogOperation::Committed(entry(&open, chance)),
            4 if !closed.is_empty() => LogOperation::Purge(entry(closed, chance)),
            _ => {
                let first = self.end();
                let count = chance.random_range(1..8);
                let command = |index: u64| {
                    let number = index ^ chance.random::<u32>() as u64;
                    (!number.is_multiple_of(9))
                        .then(|| Bytes::from(record(number, ENTRY_BYTES_MAX)))
                };
                let commands: Vec<_> = (first..first + count).map(command).collect();
                let entries = (first..).zip(commands);
                let entries =
                    entries.map(|(index, command)| testing::entry(term, MEMBER, index, command));
                LogOperation::Append(entries.collect())
            }
        }
    }
}

impl Steps for Log {
    type Model = Content;
    type Step = Vec<LogOperation>;

    fn open(dir: &Path) -> Result<Self, String> {
        let store = testing::open_log(&dir.join("log.redb"), CACHE_BYTES)
            .map_err(|error| error.to_string())?;
        sync_folder(dir)?;
        Ok(Self(store))
    }

    fn read(&self) -> Result<Content, String> {
        let content = self.0.load(usize::MAX).map_err(|error| error.to_string())?;
        let entries = content.tail;
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let range = first.log_id.index..last.log_id.index + 1;
            let read =
                self.0.reader().read(range, usize::MAX).map_err(|error| error.to_string())?;
            if read != entries {
                return Err("the reader gives other entries than the check".to_owned());
            }
        }
        if content.last != entries.last().map(|entry| entry.log_id) {
            return Err(format!("{:?} is not the last entry", content.last));
        }
        Ok(Content {
            identity: content.identity,
            vote: content.vote,
            committed: content.committed,
            purged: content.purged,
            entries,
        })
    }

    fn carry_out(&mut self, step: &Vec<LogOperation>) -> Result<(), String> {
        self.0.commit(step).map_err(|error| error.to_string())
    }

    fn plan(model: &Content, chance: &mut StdRng) -> Vec<LogOperation> {
        let mut model = model.clone();
        let count = chance.random_range(1..4);
        let mut operations = Vec::new();
        for _ in 0..count {
            let operation = model.plan(chance);
            model.carry_out(copy(&operation));
            operations.push(operation);
        }
        operations
    }

    fn expect(model: &mut Content, step: Vec<LogOperation>) {
        step.into_iter().for_each(|operation| model.carry_out(operation));
    }
}

fn copy(operation: &LogOperation) -> LogOperation {
    match operation {
        LogOperation::Append(batch) => LogOperation::Append(batch.clone()),
        LogOperation::TruncateFrom(index) => LogOperation::TruncateFrom(*index),
        LogOperation::Purge(id) => LogOperation::Purge(*id),
        LogOperation::Vote(vote) => LogOperation::Vote(*vote),
        LogOperation::Committed(id) => LogOperation::Committed(*id),
        LogOperation::Identity(identity) => LogOperation::Identity(*identity),
    }
}
