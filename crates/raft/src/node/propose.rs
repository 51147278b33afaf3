//! Writing through the log, and reading behind it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use muster_core::mutant::{self, Mutant};
use openraft::ReadPolicy;
use openraft::errors::{
    ClientWriteError, Fatal, ForwardReason, ForwardToLeader, LinearizableReadError,
    RaftError as OpenraftError,
};
use openraft::impls::ProgressResponder;

use super::{RaftMember, leadership};
use crate::error::{ProposeError, RaftError};
use crate::types::{Command, LeaderId, Member, Reply, TypeConfig};

/// A read barrier gives up after this long.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A proposal that was committed and applied here.
#[derive(Debug)]
pub struct Committed {
    /// Index of the entry in the log.
    pub index: u64,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// What the machine answered.
    pub reply: Reply,
}

impl RaftMember {
    /// Replicates one entry and applies it, as [`propose_in`](Self::propose_in) the term of now.
    ///
    /// # Errors
    /// As there.
    pub async fn propose(&self, entry: Bytes) -> Result<Committed, ProposeError> {
        self.propose_in(leadership::now(&self.0.raft).term, entry).await
    }

    /// Replicates one entry and applies it. Only the leader of this term can: what was decided in one term must not be
    /// carried out in another, even if the same master leads in both. Returns when the entry is applied here; it may
    /// take as long as there is no quorum, so callers set their own deadline. Giving up does not take the entry back.
    ///
    /// # Errors
    /// See [`ProposeError`]; after `Unknown` the entry may still be applied.
    pub async fn propose_in(&self, term: u64, entry: Bytes) -> Result<Committed, ProposeError> {
        let (bytes, limit) = (entry.len(), self.0.entry_bytes_max);
        if bytes > limit {
            return Err(ProposeError::TooLarge { bytes, limit });
        }
        if let Some(reason) = self.0.refusal.borrow().as_ref() {
            return Err(ProposeError::Unavailable(reason.clone()));
        }
        if self.0.is_transferring.load(Ordering::Acquire) {
            return Err(ProposeError::Unavailable("leadership is being handed over".into()));
        }
        let stopped = |fatal| ProposeError::Stopped(self.why_stopped(&fatal));
        let leader = LeaderId { term, node_id: self.member_id() };
        let (responder, written) = ProgressResponder::complete_only();
        let write = self.0.raft.write(Command(entry)).with_leader(leader).responder(responder);
        write.await.map_err(stopped)?;
        match written.await.map_err(|_| stopped(Fatal::Stopped))? {
            Ok(response) => Ok(Committed {
                index: response.log_id.index,
                term: response.log_id.leader_id.term,
                reply: response.data,
            }),
            Err(error) => Err(match error {
                ClientWriteError::ForwardToLeader(forward) => match forward.reason {
                    ForwardReason::NotLeader => {
                        ProposeError::NotLeader { leader: self.known_leader(forward) }
                    }
                    ForwardReason::LeadershipTransfer => {
                        ProposeError::Unavailable("leadership is being handed over".into())
                    }
                    ForwardReason::LeaseExpired => {
                        ProposeError::Unavailable("no majority of the masters answers".into())
                    }
                },
                ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown(
                    "the leader changed before the entry was committed".into(),
                ),
                other => ProposeError::Unavailable(other.to_string()),
            }),
        }
    }

    /// A read barrier: everything acknowledged before the call is visible once the returned log index is applied here
    /// (see [`wait_applied`](Self::wait_applied)). Costs one round trip to a majority. Only the leader can.
    ///
    /// Reading under the leader's lease would cost microseconds, but a follower that restarts forgets that it granted
    /// one and may vote for somebody else before it is over.
    ///
    /// # Errors
    /// This master does not lead, or no quorum answers within two seconds.
    pub async fn linearizable(&self) -> Result<u64, RaftError> {
        if mutant::is_on(Mutant::DeposedReads) && leadership::now(&self.0.raft).is_leader {
            return Ok(self.applied_index());
        }
        let barrier = self.0.raft.get_read_log_id(ReadPolicy::ReadIndex);
        let Ok(result) = tokio::time::timeout(READ_TIMEOUT, barrier).await else {
            return Err(RaftError::Unavailable("no majority of the masters answers".into()));
        };
        match result {
            Ok((read, _)) => Ok(read.index()),
            Err(OpenraftError::Fatal(fatal)) => Err(RaftError::Stopped(self.why_stopped(&fatal))),
            Err(OpenraftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(RaftError::NotLeader { leader: self.known_leader(forward) })
            }
            Err(OpenraftError::APIError(LinearizableReadError::QuorumNotEnough(error))) => {
                Err(RaftError::Unavailable(error.to_string()))
            }
        }
    }

    /// Returns once the entry with this index is applied here.
    ///
    /// # Errors
    /// This master stopped before.
    pub async fn wait_applied(&self, index: u64) -> Result<(), RaftError> {
        let mut applied = self.0.progress.index.subscribe();
        let mut stop = self.0.stop.subscribe();
        tokio::select! {
            // The sender lives as long as self.
            _ = applied.wait_for(|applied| *applied >= index) => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Err(RaftError::Stopped("shutting down".into())),
            error = self.0.fatal.reported() => Err(RaftError::Stopped(error.to_string())),
        }
    }

    /// Index of the last entry applied here.
    pub fn applied_index(&self) -> u64 {
        *self.0.progress.index.borrow()
    }

    /// Takes a snapshot in the background.
    ///
    /// # Errors
    /// This master has stopped.
    pub async fn trigger_snapshot(&self) -> Result<(), RaftError> {
        let triggered = self.0.raft.trigger().snapshot().await;
        triggered.map_err(|fatal| RaftError::Stopped(self.why_stopped(&fatal)))
    }

    /// The first local fault says more than openraft's consequence of it.
    pub(super) fn why_stopped(&self, fatal: &Fatal<TypeConfig>) -> String {
        self.0.fatal.get().map_or_else(|| fatal.to_string(), |error| error.to_string())
    }

    /// Whom the caller should ask instead: not a leader of whom nothing is heard any more.
    fn known_leader(&self, forward: ForwardToLeader<TypeConfig>) -> Option<Member> {
        let leader = Member { id: forward.leader_id?, peer: forward.leader_node? };
        self.leader().filter(|known| known.id == leader.id)
    }
}
