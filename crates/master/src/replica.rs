//! One master's replica and what surrounds it: handed to every service.

use std::sync::Arc;

use muster_raft::{Leadership, RaftNode};

use crate::clock::LogClock;
use crate::config::MasterConfig;
use crate::forward::Channels;
use crate::live::Live;
use crate::machine::StateCell;
use crate::propose::Proposer;

/// See the module documentation.
pub(crate) struct Replica {
    pub(crate) config: MasterConfig,
    pub(crate) node: RaftNode,
    pub(crate) cell: Arc<StateCell>,
    pub(crate) clock: Arc<LogClock>,
    pub(crate) proposer: Proposer,
    pub(crate) live: Live,
    pub(crate) channels: Channels,
}

impl Replica {
    /// Who leads, as this master knows it.
    pub(crate) fn leadership(&self) -> Leadership {
        self.node.watch_leadership().borrow().clone()
    }

    /// The cluster's id; empty before the cluster is formed.
    pub(crate) fn cluster_id(&self) -> String {
        self.node.cluster_id().map(|id| id.to_string()).unwrap_or_default()
    }
}
