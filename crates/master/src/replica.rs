//! One master's replica and what surrounds it: handed to every service.

use std::sync::Arc;
use std::time::Duration;

use muster_raft::{Leadership, RaftMember};

use crate::clock::LogClock;
use crate::config::MasterConfig;
use crate::forward::Channels;
use crate::live::Live;
use crate::machine::StateCell;
use crate::propose::Proposer;

/// How often it is looked whether a majority still confirms this leader, and the silence after which it counts as gone.
const QUORUM_LOOK: Duration = Duration::from_secs(1);
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);

/// See the module documentation.
pub(crate) struct Replica {
    pub(crate) config: MasterConfig,
    pub(crate) raft: RaftMember,
    pub(crate) cell: Arc<StateCell>,
    pub(crate) clock: Arc<LogClock>,
    pub(crate) proposer: Proposer,
    pub(crate) live: Live,
    pub(crate) channels: Channels,
}

impl Replica {
    /// Who leads, as this master knows it.
    pub(crate) fn leadership(&self) -> Leadership {
        self.raft.watch_leadership().borrow().clone()
    }

    /// Returns once this master leads no more, or no majority has confirmed it for a while: whoever waits for news here
    /// should ask elsewhere.
    pub(crate) async fn leads_no_more(&self) {
        let mut leadership = self.raft.watch_leadership();
        loop {
            tokio::select! {
                _ended = leadership.wait_for(|it| !it.is_leader) => return,
                () = tokio::time::sleep(QUORUM_LOOK) => {}
            }
            let age_ms = self.raft.last_quorum_ack();
            if age_ms.is_none_or(|age_ms| u128::from(age_ms) > QUORUM_SILENCE_MAX.as_millis()) {
                return;
            }
        }
    }

    /// The cluster's id; empty before the cluster is formed.
    pub(crate) fn cluster_id(&self) -> String {
        self.raft.cluster_id().map(|id| id.to_string()).unwrap_or_default()
    }
}
