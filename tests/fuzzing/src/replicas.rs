//! Two masters that apply the same log: one keeps its state, the other gets the bytes, and now and then a snapshot.

use std::sync::LazyLock;

use bytes::Bytes;
use muster_core::command::{Command, Entry, RunSource, SubmitRun};
use muster_core::ids::LogIndex;
use muster_core::reply::{Rejection, Reply};
use muster_core::snapshot::Snapshot;
use muster_core::state::State;
use muster_proto::convert::{
    assemble_entry, decode_ended_run, decode_entry, decode_snapshot, encode_command,
    encode_ended_run, encode_entry, encode_shard, shards,
};

use crate::scene::scene;

/// The state may grow to so many times of what it was, since a cancel touches everything in it once.
const GROWTH_MAX: usize = 2;
/// A run of an applied workflow takes at most so many times the bytes of the whole state, which has the workflow.
const RUN_GROWTH_MAX: usize = 4;
/// Bytes that the state may grow for each byte of an entry: a placed index splits a range, and takes two cells more.
const BYTES_PER_BYTE_MAX: usize = 256;

/// See the module documentation.
#[derive(Clone)]
pub struct Replicas {
    keeper: State,
    follower: State,
    index: LogIndex,
    /// Bytes of the keeper's state.
    bytes: usize,
}

impl Default for Replicas {
    fn default() -> Self {
        Self::new()
    }
}

impl Replicas {
    /// Both in the state of the scene.
    pub fn new() -> Self {
        static IN_THE_SCENE: LazyLock<Replicas> = LazyLock::new(|| {
            let (keeper, index) = scene();
            let follower = restored(&keeper);
            let bytes = encoded_bytes(&keeper.snapshot());
            Replicas { keeper, follower, index, bytes }
        });
        IN_THE_SCENE.clone()
    }

    /// The state that was never restored.
    pub fn state(&self) -> &State {
        &self.keeper
    }

    /// Applies an entry on both sides, and checks everything that holds of every entry.
    pub fn apply(&mut self, entry: &Entry) -> Vec<Result<Reply, Rejection>> {
        let encoded = check_encoding(entry);
        self.index.0 += 1;
        let before = self.keeper.clone();
        let kept = self.keeper.apply(self.index, entry);
        let decoded = decode_entry(&encoded).expect("it was decoded before");
        let followed = self.follower.apply(self.index, &decoded);

        assert_eq!(kept.replies.len(), entry.commands.len(), "one answer a command");
        assert_eq!(kept.replies, followed.replies, "I1: replies differ");
        let events = format!("{:?}", kept.events);
        assert_eq!(events, format!("{:?}", followed.events), "I1: events differ");
        assert_eq!(self.keeper.digest(), self.follower.digest(), "I1: states differ");
        for state in [&self.keeper, &self.follower] {
            if let Err(violation) = state.check() {
                panic!("{violation} after {entry:?}");
            }
        }
        self.check_time(&before, entry);
        if entry.commands.iter().zip(&kept.replies).all(is_no) {
            check_nothing_changed(before, &self.keeper, self.index, entry);
        }
        for event in &kept.events {
            if let muster_core::event::Event::RunEnded { run } = event {
                let stored = encode_ended_run(run);
                let again = decode_ended_run(&stored).expect("an ended run decodes");
                assert_eq!(encode_ended_run(&again), stored, "an ended run comes back");
            }
        }
        self.check_growth(encoded.len(), entry, &kept.replies);
        kept.replies
    }

    /// The follower falls back, and gets a snapshot of the keeper.
    pub fn restore_follower(&mut self) {
        self.follower = restored(&self.keeper);
    }

    fn check_time(&self, before: &State, entry: &Entry) {
        assert_eq!(self.keeper.now(), before.now().max(entry.at), "time follows the stamps");
        let mut later = self.keeper.clone();
        later.apply(
            LogIndex(self.index.0 + 1),
            &Entry { at: entry.at, commands: vec![Command::Tick] },
        );
        let is_due = later.next_deadline().is_some_and(|at| at <= later.now());
        assert!(!is_due, "a tick leaves something due: {entry:?}");
    }

    fn check_growth(
        &mut self,
        entry_bytes: usize,
        entry: &Entry,
        replies: &[Result<Reply, Rejection>],
    ) {
        let by_name = |command: &Command| {
            let Command::SubmitRun(SubmitRun { source, .. }) = command else { return false };
            matches!(source, RunSource::Workflow { .. })
        };
        let accepted = entry.commands.iter().zip(replies).filter(|(_, reply)| reply.is_ok());
        let runs = accepted.filter(|(command, _)| by_name(command)).count();
        let bytes = encoded_bytes(&self.keeper.snapshot());
        let from_entry = BYTES_PER_BYTE_MAX * entry_bytes;
        let max = (GROWTH_MAX + RUN_GROWTH_MAX * runs) * (self.bytes + from_entry);
        assert!(
            bytes <= max,
            "{entry_bytes} bytes and {runs} runs made {bytes} bytes of {}: {entry:?}",
            self.bytes
        );
        self.bytes = bytes;
    }
}

/// Encoding and decoding are inverse, and commands packed later give the same bytes.
fn check_encoding(entry: &Entry) -> Bytes {
    let encoded = encode_entry(entry);
    assert_eq!(decode_entry(&encoded).as_ref(), Ok(entry), "an entry comes back");
    let commands: Vec<Bytes> = entry.commands.iter().map(encode_command).collect();
    assert_eq!(assemble_entry(entry.at, &commands), encoded, "packed commands give other bytes");
    encoded
}

/// Whether a command was rejected, or each of its items refused.
fn is_no((command, reply): (&Command, &Result<Reply, Rejection>)) -> bool {
    let items = match command {
        Command::PlaceAttempts(it) => it.placements.len(),
        Command::StartAttempts(it) => it.starts.len(),
        Command::FinishAttempts(it) => it.finishes.len(),
        _ => return reply.is_err(),
    };
    matches!(reply, Ok(Reply::Items { refused }) if refused.len() == items)
}

/// An entry of which every command was refused does what as many ticks do.
fn check_nothing_changed(mut before: State, after: &State, index: LogIndex, entry: &Entry) {
    let ticks = vec![Command::Tick; entry.commands.len()];
    before.apply(index, &Entry { at: entry.at, commands: ticks });
    assert_eq!(before.digest(), after.digest(), "I5: a refusal changed something: {entry:?}");
}

/// The state that a master has after it installed a snapshot of `state`.
fn restored(state: &State) -> State {
    let snapshot = state.snapshot();
    let encoded = shards(&snapshot).map(|(id, _)| (id, encode_shard(&snapshot, id)));
    let decoded = decode_snapshot(encoded).expect("what was encoded decodes");
    assert_eq!(decoded.digest(), snapshot.digest(), "a snapshot comes back");
    let restored = State::restore(decoded).unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(restored.digest(), state.digest(), "a state comes back");
    assert_eq!(restored.next_deadline(), state.next_deadline(), "the deadlines come back");
    restored
}

fn encoded_bytes(snapshot: &Snapshot) -> usize {
    shards(snapshot).map(|(id, _)| encode_shard(snapshot, id).len()).sum()
}
