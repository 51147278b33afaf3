//! The Raft types, fixed once for the whole crate.
//!
//! An entry's command is opaque here: the proposer's bytes go into the log, over the wire and into the machine exactly
//! as they were given, so that an older master never loses a field it does not know.

use std::any::Any;
use std::fmt;

use bytes::Bytes;
use openraft::alias;

openraft::declare_raft_types!(
    /// openraft's parameters.
    pub TypeConfig:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Peer,
);

/// Term and voter, and whether a quorum agreed.
pub type Vote = alias::VoteOf<TypeConfig>;
/// Leader (term and member) and index of an entry.
pub type LogId = alias::LogIdOf<TypeConfig>;
/// One log entry.
pub type Entry = alias::EntryOf<TypeConfig>;
/// Who votes, and where everybody is.
pub type Membership = openraft::Membership<u64, Peer>;
/// A membership with the entry that set it.
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type IoFlushed = openraft::storage::IOFlushed<TypeConfig>;
pub(crate) type Payload = openraft::EntryPayload<Command, u64, Peer>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::apply::StateMachine>;

/// The bytes of a proposed entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({self})")
    }
}

/// What the [`Machine`](crate::Machine) answered to one entry. It never leaves the process of the proposer.
#[derive(Default)]
pub struct Reply(Option<Box<dyn Any + Send + Sync>>);

impl Reply {
    /// The answer to entries that carry no command.
    pub fn none() -> Self {
        Self(None)
    }

    /// Wraps the machine's own type.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Some(Box::new(value)))
    }

    /// The machine's own type again; `None` if the reply holds another type, or nothing.
    pub fn take<T: Any>(self) -> Option<T> {
        self.0?.downcast().ok().map(|value| *value)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Reply" } else { "Reply(none)" })
    }
}

/// Another master, as Raft sees it. Its identity is the member id it is stored under; none of this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Stable name, such as `muster-0`.
    pub name: String,
    /// host:port of the peers' protocol.
    pub peer_address: String,
    /// host:port of the public API.
    pub api_address: String,
}

/// A member of the cluster: its id, which lives on its volume, and where to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Random, never zero.
    pub id: u64,
    /// Name and addresses.
    pub peer: Peer,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:016x} at {})", self.peer.name, self.id, self.peer.peer_address)
    }
}

/// Names one cluster for ever; drawn at random when it is formed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(u128);

impl ClusterId {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// From the text that [`fmt::Display`] gives: 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    pub(crate) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
