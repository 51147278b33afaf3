//! The logs themselves, read from the volumes of stopped masters and gone through entry by entry.
//!
//! Where the log is whole, it is replayed on an empty state and audited; in any case two masters have the same entry at
//! the same index (I18), and the state that the log leads to is the one that masters showed (I1).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use muster_checker::{Applying, Auditor, Ledger, Nanos};
use muster_core::ids::LogIndex;
use muster_core::state::State;
use muster_platform::{Disk, Files};
use muster_proto::convert::decode_entry;
use muster_raft::testing::{StoredEntry, StoredLog, read_log};

use crate::lab::View;
use crate::violations::{Counters, Violations};

/// What the logs told.
pub(crate) struct Told {
    /// `None` if no log was whole.
    pub(crate) ledger: Option<Ledger>,
    pub(crate) notes: Vec<String>,
}

/// What was seen from outside of the log.
struct Seen<'s> {
    views: &'s [View],
    applied_at: &'s BTreeMap<LogIndex, Nanos>,
}

/// Reads the logs in these folders, and judges them. `views` is what the masters showed last, in the same order, and
/// `applied_at` when an entry was first applied, where that is known.
pub(crate) fn audit(
    folders: &[&Path],
    views: &[View],
    applied_at: &BTreeMap<LogIndex, Nanos>,
    violations: &mut Violations,
    counters: &mut Counters,
) -> Result<Told> {
    let disk: Arc<dyn Disk> = Arc::new(Files);
    let mut logs = Vec::new();
    for folder in folders {
        let log = read_log(&disk, folder)
            .with_context(|| format!("the log in {} cannot be read", folder.display()))?;
        logs.push(log);
    }
    let shown = views.iter().map(|view| view.applied_index).max().unwrap_or_default();
    let noted = logs.iter().filter_map(|log| log.committed).map(|at| at.index).max();
    let committed = shown.max(noted.unwrap_or_default());
    compare(&logs, committed, violations);

    let mut auditor = Auditor::default();
    let mut notes = Vec::new();
    let mut whole = 0;
    for log in &logs {
        if let Some(purged) = log.purged {
            notes.push(format!(
                "the log of {:016x} begins behind {}: it was not replayed",
                log.member_id, purged.index
            ));
            continue;
        }
        whole += 1;
        let seen = Seen { views, applied_at };
        let count = replay(log, committed, &seen, &mut auditor, violations)?;
        counters.add("entries replayed", count);
    }
    let (verdict, ledger) = auditor.finish();
    violations.add_verdict(&verdict);
    Ok(Told { ledger: (whole > 0).then_some(ledger), notes })
}

/// Committed entries at one index are one entry.
fn compare(logs: &[StoredLog], committed: u64, violations: &mut Violations) {
    let mut known: BTreeMap<u64, (u64, &StoredEntry)> = BTreeMap::new();
    for log in logs {
        for entry in log.entries.iter().take_while(|entry| entry.at.index <= committed) {
            let (other, first) = *known.entry(entry.at.index).or_insert((log.member_id, entry));
            if first != entry {
                violations.add(
                    "I18",
                    format!("{other:016x} and {:016x} differ at {:?}", log.member_id, entry.at),
                );
                break;
            }
        }
    }
}

/// Replays a log up to `committed` and audits it. On the way it passes the state that the log's own master showed.
fn replay(
    log: &StoredLog,
    committed: u64,
    seen: &Seen<'_>,
    auditor: &mut Auditor,
    violations: &mut Violations,
) -> Result<u64> {
    let shown = seen.views.iter().find(|view| view.answering_member_id == log.member_id);
    let mut state = State::default();
    let mut count = 0;
    for stored in log.entries.iter().take_while(|entry| entry.at.index <= committed) {
        let index = LogIndex(stored.at.index);
        if let Some(bytes) = &stored.command {
            let entry = decode_entry(bytes).with_context(|| format!("entry {index}"))?;
            let applied = state.apply(index, &entry);
            auditor.observe(&Applying {
                replica: log.member_id,
                incarnation: 0,
                index,
                term: Some(stored.at.term),
                at: seen.applied_at.get(&index).copied(),
                entry: &entry,
                after: &state,
                applied: &applied,
            });
            count += 1;
        }
        if let Some(view) = shown.filter(|view| view.applied_index == stored.at.index)
            && state.digest() != view.state_digest()
        {
            let what = format!("the log of {:016x} does not lead to what it showed", log.member_id);
            violations.add("I1", what);
        }
    }
    Ok(count)
}
