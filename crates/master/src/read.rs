//! Reads: how fresh they are, and how a run is found among the live ones and in the history.

use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{Name, RunId};
use muster_core::mutant::{self, Mutant};
use muster_core::snapshot::digest_of;
use muster_core::state::run::Run;
use muster_proto::{convert, v1};
use muster_raft::HistoryItem;
use tonic::{Code, Status};

use crate::faults;
use crate::replica::Replica;

/// Longest wait for this master to apply what a read asks for.
const APPLY_WAIT_MAX: Duration = Duration::from_secs(5);

/// A run that exists, or existed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundRun {
    pub(crate) id: RunId,
}

/// Whether a read may be answered by a master that does not lead.
pub(crate) fn is_stale(options: Option<&v1::ReadOptions>) -> bool {
    options.is_some_and(|options| options.consistency() == v1::Consistency::Stale)
        || mutant::is_on(Mutant::FollowerReads)
}

/// The namespace a request means.
pub(crate) fn namespace(text: &str) -> Result<Name, Status> {
    let text = if text.is_empty() { "default" } else { text };
    Name::parse(text).map_err(|error| faults::bad_field("namespace", error.to_string()))
}

/// A stable hash of what a request asks for, its id aside: its kind and its body. Bodies of different kinds may be the
/// same bytes.
pub(crate) fn body_digest<M: prost::Message>(message: &M) -> u64 {
    let kind = std::any::type_name::<M>().rsplit("::").next().unwrap_or_default();
    let mut bytes = kind.as_bytes().to_vec();
    bytes.push(0);
    message.encode(&mut bytes).expect("a vector has room");
    digest_of(&bytes)
}

impl Replica {
    /// Waits until a read on this master is as fresh as asked for.
    pub(crate) async fn barrier(&self, options: Option<&v1::ReadOptions>) -> Result<(), Status> {
        let min_applied = options.map_or(0, |options| options.min_applied_index);
        if !is_stale(options) {
            let index = self.raft.linearizable().await.map_err(|_| faults::no_leader())?;
            self.wait_applied(index).await?;
        }
        self.wait_applied(min_applied).await
    }

    async fn wait_applied(&self, index: u64) -> Result<(), Status> {
        let waited = tokio::time::timeout(APPLY_WAIT_MAX, self.raft.wait_applied(index)).await;
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let message = format!("this master has not applied log index {index} yet");
                Err(faults::try_again(
                    Code::Unavailable,
                    "LAGGING",
                    message,
                    Duration::from_millis(200),
                ))
            }
        }
    }

    /// Finds the run a request names.
    pub(crate) fn find_run(&self, reference: Option<&v1::RunRef>) -> Result<FoundRun, Status> {
        let reference = reference
            .ok_or_else(|| faults::bad_field("run", "name a run: by id, or workflow and number"))?;
        if reference.id > 0 {
            let id = RunId(reference.id);
            let is_known = self.cell.run(id).is_some() || self.ended_item(id)?.is_some();
            return if is_known {
                Ok(FoundRun { id })
            } else {
                Err(faults::no_such_run(&format!("id {id}")))
            };
        }
        let namespace = namespace(&reference.namespace)?;
        let label = || match reference.number {
            0 => format!("{}/@latest", reference.workflow),
            number => format!("{}/{number}", reference.workflow),
        };
        let live = self.cell.read_runs(|state, just_ended| {
            let workflow = state.workflow(namespace.as_str(), &reference.workflow)?;
            let number = if reference.number == 0 { workflow.runs } else { reference.number };
            let is_it = |run: &&Arc<Run>| {
                let version = &run.version;
                run.number == number
                    && version.workflow.as_str() == reference.workflow
                    && version.namespace == namespace
            };
            let run = state
                .run_by_number(namespace.as_str(), &reference.workflow, number)
                .or_else(|| just_ended.values().find(is_it));
            Some((number, run.map(|run| run.id)))
        });
        let (number, live) = live.ok_or_else(|| faults::no_such_run(&label()))?;
        if let Some(id) = live {
            return Ok(FoundRun { id });
        }
        let ended = self
            .raft
            .history()
            .find(namespace.as_str(), &reference.workflow, number)
            .map_err(history_fault)?;
        ended
            .map(|item| FoundRun { id: RunId(item.run_id) })
            .ok_or_else(|| faults::no_such_run(&label()))
    }

    /// Shows a run, live or ended. The order matters: a run that is not in the cell is in the history by then.
    pub(crate) fn with_run<T>(&self, id: RunId, look: impl FnOnce(&Run) -> T) -> Result<T, Status> {
        match self.cell.run(id) {
            Some(run) => Ok(look(&run)),
            None => Ok(look(self.ended_run(id)?.as_ref())),
        }
    }

    /// A run from the history.
    pub(crate) fn ended_run(&self, id: RunId) -> Result<Arc<Run>, Status> {
        let item = self.ended_item(id)?.ok_or_else(|| faults::no_such_run(&format!("id {id}")))?;
        decode_ended(&item)
    }

    fn ended_item(&self, id: RunId) -> Result<Option<HistoryItem>, Status> {
        self.raft.history().get(id.0).map_err(history_fault)
    }

    /// The smallest id of the page of ended runs below `before`; 0 if it is not full.
    pub(crate) fn ended_floor(&self, before: u64, limit: usize) -> Result<u64, Status> {
        let items = self.raft.history().page(Some(before), limit).map_err(history_fault)?;
        Ok(items.last().filter(|_| items.len() >= limit).map_or(0, |item| item.run_id))
    }

    /// Ended runs, newest first, with ids below `before`.
    pub(crate) fn ended_page(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<Run>>, Status> {
        let items = self.raft.history().page(before, limit).map_err(history_fault)?;
        items.iter().map(decode_ended).collect()
    }
}

fn decode_ended(item: &HistoryItem) -> Result<Arc<Run>, Status> {
    convert::decode_ended_run(&item.bytes).map(Arc::new).map_err(|error| {
        let message =
            format!("run {} in this master's history cannot be read: {error}", item.run_id);
        faults::fault(Code::DataLoss, "HISTORY_DAMAGED", message)
    })
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn history_fault(error: muster_raft::StoreError) -> Status {
    faults::fault(Code::DataLoss, "HISTORY_DAMAGED", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_of_different_calls_are_different_requests() {
        use prost::Message;
        let run = Some(v1::RunRef::default());
        let cancel = v1::CancelRunRequest { run: run.clone(), ..Default::default() };
        let resume = v1::PauseRunRequest { run: run.clone(), ..Default::default() };
        let retry = v1::RetryRunRequest { run, ..Default::default() };
        assert_eq!(cancel.encode_to_vec(), resume.encode_to_vec());
        assert_eq!(cancel.encode_to_vec(), retry.encode_to_vec());
        let digests = [body_digest(&cancel), body_digest(&resume), body_digest(&retry)];
        assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
        assert_eq!(body_digest(&cancel), body_digest(&cancel.clone()));
    }
}
