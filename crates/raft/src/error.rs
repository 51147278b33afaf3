//! What can go wrong, told so that an operator knows what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::types::{ClusterId, Member};

/// A fault of the local disk or of what is on it. Each one stops the process: a failed write is never tried again, and
/// a damaged record is never skipped.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system is out of space.
    #[error(
        "{path}: no space left on the device while {action}; free some space, then start this master again"
    )]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
    },
    /// The operating system or the database engine refused.
    #[error("{path}: {action} failed: {message}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The reason given.
        message: String,
    },
    /// A record is not what was written.
    #[error(
        "{path}, table `{table}`, key {key}: {problem}. The data of this master is damaged and it will not serve. \
         If other masters are healthy, move the data folder away and start this master with an empty one: it joins \
         again and fetches everything from them. If it is the only master, restore a backup."
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The table within it, or `-`.
        table: &'static str,
        /// The record's key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The folder is sound, and another cluster's.
    #[error(
        "{path}: the data folder belongs to cluster {found}, but the masters that this one was told to be with \
         belong to cluster {expected}: {peers}. It will not serve: what it accepted would be lost to them. Check which \
         volume is mounted here, and the addresses of the peers"
    )]
    WrongCluster {
        /// The folder.
        path: PathBuf,
        /// The cluster on disk.
        found: ClusterId,
        /// The cluster of the peers.
        expected: ClusterId,
        /// The names of those who are in it.
        peers: String,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path, action: &'static str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull
            || error.kind() == io::ErrorKind::QuotaExceeded
        {
            return Self::DiskFull { path: path.into(), action };
        }
        Self::Io { path: path.into(), action, message: error.to_string() }
    }

    pub(crate) fn redb(path: &Path, action: &'static str, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::io(path, action, &error),
            redb::Error::Corrupted(problem) => {
                Self::Damaged { path: path.into(), table: "-", key: "-".into(), problem }
            }
            other => Self::Io { path: path.into(), action, message: other.to_string() },
        }
    }

    pub(crate) fn damaged(
        path: &Path,
        table: &'static str,
        key: impl std::fmt::Display,
        problem: impl std::fmt::Display,
    ) -> Self {
        Self::Damaged {
            path: path.into(),
            table,
            key: key.to_string(),
            problem: problem.to_string(),
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::DiskFull { .. } => io::ErrorKind::StorageFull,
            StoreError::Io { .. } => io::ErrorKind::Other,
            StoreError::Damaged { .. } | StoreError::WrongCluster { .. } => {
                io::ErrorKind::InvalidData
            }
        };
        io::Error::new(kind, error)
    }
}

/// Why a master could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the data folder.
    #[error(
        "{path}: another process is using this data folder; stop it first, or give this master its own folder"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder was written by another version.
    #[error(
        "{path}: the data folder has format `{found}`, this binary reads `{expected}`; start the version that wrote \
         it, or upgrade step by step"
    )]
    Format {
        /// The format file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this binary reads.
        expected: &'static str,
    },
    /// The folder is not empty and not ours.
    #[error(
        "{path}: the folder is not empty but holds no Muster data; give this master an empty folder"
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// The folder belongs to another cluster.
    #[error(
        "{path}: the data folder belongs to cluster {found}, this master was told to be part of {expected}; check \
         which volume is mounted here, or give this master an empty folder"
    )]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// The cluster on disk.
        found: ClusterId,
        /// The cluster asked for.
        expected: ClusterId,
    },
    /// A value of the configuration makes no sense.
    #[error("configuration: {0}")]
    Config(String),
    /// The peers' port could not be opened.
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The disk failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Raft itself did not start.
    #[error("Raft did not start: {0}")]
    Raft(String),
}

/// Why a proposal was not carried out, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This master does not lead. Nothing was proposed.
    #[error("not the leader{}", hint(.leader))]
    NotLeader {
        /// Who does, if known.
        leader: Option<Member>,
    },
    /// Nothing was proposed, and trying again may help: no quorum, a transfer under way, or a full disk.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The entry may or may not be committed, now or later; retry under the same request id.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The entry is larger than the limit.
    #[error("the entry has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the entry.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// This master is stopping, or has stopped because of a fault.
    #[error("this master has stopped: {0}")]
    Stopped(String),
}

/// Why a read barrier, a transfer or a membership change was refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RaftError {
    /// This master does not lead.
    #[error("not the leader{}", hint(.leader))]
    NotLeader {
        /// Who does, if known.
        leader: Option<Member>,
    },
    /// No quorum answers, or the time is up.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The request contradicts the state of the cluster.
    #[error("refused: {0}")]
    Refused(String),
    /// This master is stopping, or has stopped because of a fault.
    #[error("this master has stopped: {0}")]
    Stopped(String),
}

fn hint(leader: &Option<Member>) -> String {
    leader.as_ref().map_or_else(String::new, |leader| format!("; the leader is {leader}"))
}
