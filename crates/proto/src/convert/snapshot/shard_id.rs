//! Names of shards.

use std::fmt;
use std::str::FromStr;

/// What a shard holds. In the order in which shards must be read: runs refer to versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardKind {
    /// Counters and scalars; one shard, with the number 0.
    Meta,
    /// Workflow versions.
    Versions,
    /// Workflows.
    Workflows,
    /// Live runs.
    Runs,
    /// Workers.
    Workers,
    /// Answered requests.
    Requests,
    /// The audit trail.
    Actions,
    /// Namespaces that were applied.
    Namespaces,
}

/// Names a shard: `meta`, or `runs/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    /// What it holds.
    pub kind: ShardKind,
    /// The number of the block; 0 for [`ShardKind::Meta`].
    pub number: u64,
}

/// A text that names no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a shard: expected `meta`, or something like `runs/12`")]
pub struct ParseShardIdError(String);

const KINDS_WITH_BLOCKS: [ShardKind; 7] = [
    ShardKind::Versions,
    ShardKind::Workflows,
    ShardKind::Runs,
    ShardKind::Workers,
    ShardKind::Requests,
    ShardKind::Actions,
    ShardKind::Namespaces,
];

impl ShardKind {
    fn word(self) -> &'static str {
        match self {
            ShardKind::Meta => "meta",
            ShardKind::Versions => "versions",
            ShardKind::Workflows => "workflows",
            ShardKind::Runs => "runs",
            ShardKind::Workers => "workers",
            ShardKind::Requests => "requests",
            ShardKind::Actions => "actions",
            ShardKind::Namespaces => "namespaces",
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ShardKind::Meta => f.write_str(self.kind.word()),
            kind => write!(f, "{}/{}", kind.word(), self.number),
        }
    }
}

impl FromStr for ShardId {
    type Err = ParseShardIdError;

    /// Reads exactly what [`ShardId`] prints.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once('/') {
            None => (text == ShardKind::Meta.word())
                .then_some(ShardId { kind: ShardKind::Meta, number: 0 }),
            Some((word, number)) => {
                let kind = KINDS_WITH_BLOCKS.into_iter().find(|kind| kind.word() == word);
                kind.zip(number.parse().ok()).map(|(kind, number)| ShardId { kind, number })
            }
        };
        parsed
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| ParseShardIdError(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_id_parses_to_itself() {
        let meta = ShardId { kind: ShardKind::Meta, number: 0 };
        let blocks = KINDS_WITH_BLOCKS.into_iter().flat_map(|kind| {
            [0, 12, u64::MAX].into_iter().map(move |number| ShardId { kind, number })
        });
        for id in std::iter::once(meta).chain(blocks) {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!("runs/12".parse(), Ok(ShardId { kind: ShardKind::Runs, number: 12 }));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "meta/0", "runs", "runs/", "runs/+1", "runs/01", "runs/-1", "jobs/1"] {
            assert!(text.parse::<ShardId>().is_err(), "{text}");
        }
    }
}
