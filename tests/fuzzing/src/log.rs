//! Log files as crashes and bad disks leave them: each is refused, or gives what was written.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use muster_raft::testing::{
    Identity, LogContent, LogOperation, LogStore, entry, log_id, open_log, vote,
};
use tempfile::TempDir;

use crate::bytes::Cursor;

/// redb's page cache while a log is read.
const CACHE_BYTES: usize = 1 << 20;
/// The file is damaged in units of this many bytes.
const CHUNK_BYTES: usize = 64;
/// Most pieces of damage of one input.
const DAMAGES_MAX: usize = 8;
/// Everything fits into the tail.
const TAIL_BYTES_MAX: usize = usize::MAX;
/// A memory file system, where there is one: each input is written to a file.
const MEMORY_FOLDER: &str = "/dev/shm";

/// A log file at one moment, and what it holds.
struct Stage {
    file: Vec<u8>,
    content: LogContent,
    /// Whether the file was copied while it was written, as a crash does it.
    was_open: bool,
    /// Chunks of the file that hold something.
    used: Vec<usize>,
}

/// The log after each of its commits, as a crash leaves it, and last as it is closed.
static STAGES: LazyLock<Vec<Stage>> = LazyLock::new(build);

thread_local! {
    static IS_LOADING: Cell<bool> = const { Cell::new(false) };
}

/// Opening a log catches the panics of redb. A fuzzer makes every panic the end of the process before anyone can catch
/// it; called after it did so, this undoes it for the time a log is opened.
pub fn tolerate_refusals() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !IS_LOADING.get() {
            end(info);
        }
    }));
}

/// The first byte picks the stage, the rest is damage.
///
/// A file that was not closed may end in a commit that was under way. redb cannot tell one that is torn from one that
/// was damaged later: it falls back to the commit before. More than one commit is never given up.
pub(crate) fn check(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let at = cursor.below(STAGES.len());
    let mut file = STAGES[at].file.clone();
    for _ in 0..DAMAGES_MAX {
        if cursor.is_empty() {
            break;
        }
        damage(&mut file, at, &mut cursor);
    }
    let dir = folder();
    let path = dir.path().join("log.redb");
    fs::write(&path, &file).expect("the folder is writable");
    IS_LOADING.set(true);
    let loaded = load(&path);
    IS_LOADING.set(false);
    let Ok(found) = loaded else { return };
    let is_acceptable = is_equal(&found, &STAGES[at].content)
        || is_new(&found)
        || (STAGES[at].was_open && at > 0 && is_equal(&found, &STAGES[at - 1].content));
    assert!(is_acceptable, "stage {at}: {found:?}");
}

/// Nothing at all is left: the volume is a new one, which draws an identity of its own and never votes under the old.
/// redb gives that for a file without a byte, and where one half of its header and a page of the other are damaged.
fn is_new(found: &LogContent) -> bool {
    let positions = [found.committed, found.purged, found.last];
    found.identity.is_none() && found.vote.is_none() && positions.iter().all(Option::is_none)
}

fn folder() -> TempDir {
    let memory = Path::new(MEMORY_FOLDER);
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

fn load(path: &Path) -> Result<LogContent, muster_raft::StoreError> {
    open_log(path, CACHE_BYTES)?.load(TAIL_BYTES_MAX)
}

fn is_equal(left: &LogContent, right: &LogContent) -> bool {
    let parts = |it: &LogContent| (it.identity, it.vote, it.committed, it.purged, it.last);
    parts(left) == parts(right) && left.tail == right.tail
}

/// One piece of damage: bytes that flip, bytes that never came, bytes of an earlier time, a file that is cut off.
fn damage(file: &mut Vec<u8>, at: usize, cursor: &mut Cursor<'_>) {
    let used = &STAGES[at].used;
    let kind = cursor.byte();
    let chunk = used[usize::from(cursor.short()) % used.len()];
    let start = (chunk * CHUNK_BYTES + cursor.below(CHUNK_BYTES)).min(file.len().saturating_sub(1));
    let value = cursor.byte();
    if file.is_empty() {
        return;
    }
    let end = (start + usize::from(value) * CHUNK_BYTES / 4).min(file.len());
    match kind % 6 {
        0 => file[start] ^= 1 << (value % 8),
        1 => file[start] = value,
        2 => file[start..end].fill(0),
        3 => {
            let before = &STAGES[at.saturating_sub(1)].file;
            let end = end.min(before.len());
            if start < end {
                file[start..end].copy_from_slice(&before[start..end]);
            }
        }
        4 => file.truncate(start),
        _ => file[start..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(value)),
    }
}

fn build() -> Vec<Stage> {
    let dir = folder();
    let path = dir.path().join("log.redb");
    let mut store = open_log(&path, CACHE_BYTES).expect("an empty folder");
    let mut stages = Vec::new();
    for group in groups() {
        store.commit(&group).expect("a good disk");
        let file = fs::read(&path).expect("it is there");
        let content = store.load(TAIL_BYTES_MAX).expect("a good disk");
        stages.push(stage(file, content, true));
    }
    drop(store);
    let file = fs::read(&path).expect("it is there");
    let content = load(&path).expect("a good disk");
    stages.push(stage(file, content, false));
    stages
}

fn stage(file: Vec<u8>, content: LogContent, was_open: bool) -> Stage {
    let chunks = file.chunks(CHUNK_BYTES).enumerate();
    let used = chunks.filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0));
    let used = used.map(|(at, _)| at).collect();
    Stage { file, content, was_open, used }
}

/// What a master commits in its first minutes, group by group.
fn groups() -> Vec<Vec<LogOperation>> {
    let append = |term, from: u64, count: u64, bytes: usize| {
        let command = |index: u64| Some(Bytes::from(vec![index as u8; bytes]));
        let entries = (from..from + count).map(|index| entry(term, 1, index, command(index)));
        LogOperation::Append(entries.collect())
    };
    let identity = LogOperation::Identity(Identity { member_id: 1, cluster_id: None });
    vec![
        vec![identity, LogOperation::Vote(vote(1, 1))],
        vec![LogOperation::Append(vec![entry(1, 1, 0, None)]), append(1, 1, 3, 40)],
        vec![append(1, 4, 60, 300), LogOperation::Committed(log_id(1, 1, 3))],
        vec![LogOperation::Vote(vote(2, 1)), LogOperation::TruncateFrom(50)],
        vec![append(2, 50, 10, 1000), LogOperation::Committed(log_id(2, 1, 55))],
        vec![LogOperation::Purge(log_id(1, 1, 30))],
        vec![append(2, 60, 1, 9000)],
        vec![append(2, 61, 1, 20), LogOperation::Committed(log_id(2, 1, 60))],
    ]
}
