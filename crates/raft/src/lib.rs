//! How masters agree: Raft (openraft), its durable log, snapshots, the history of ended runs, and the peers' protocol.
//!
//! ```text
//!            propose(bytes)                     read barrier, leadership, status
//!                 │                                          ▲
//!  ┌──────────────▼──────────────────────────────────────────┴─────────────┐
//!  │ RaftMember          own runtime: two threads that nothing else may use   │
//!  │                                                                        │
//!  │   openraft ◄────── network: one append stream a peer, ──────► peers    │
//!  │    │     │                  votes and snapshots apart                  │
//!  │    │     └─ apply ──► Machine (yours) ──► history (ended runs)         │
//!  │    │                    └─ shards ──► snapshots/                       │
//!  │    └─ log thread ──► log.redb, one fsync a group                       │
//!  └────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! This is the only crate that names openraft, and the only one that knows the masters' disk formats. An entry
//! travels and is stored as the proposer's bytes; nothing here decodes it.

mod apply;
mod database;
mod draft;
mod error;
mod fatal;
mod history;
mod log;
mod machine;
mod network;
mod node;
mod record;
mod site;
mod snapshot;
#[doc(hidden)]
pub mod testing;
mod types;
mod wire;

pub use error::{OpenError, ProposeError, RaftError, StoreError};
pub use history::{History, HistoryItem};
pub use machine::{Applied, Machine, Position, Shard, ShardToken};
pub use node::{
    Committed, Leadership, MemberStatus, PeerAddress, RaftConfig, RaftLimits, RaftMember,
    RaftStatus, Role, SnapshotPolicy, Timing,
};
pub use types::{ClusterId, Member, Peer, Reply};
