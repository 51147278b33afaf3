//! Whether the faults did anything. Each scenario names what they must bring about, and fails if that was not seen: a
//! verdict on a cluster that nothing happened to says nothing.

use std::collections::BTreeMap;
use std::fmt;

use muster_chaos::witness::{Deed, Testimony};
use serde::Deserialize;

use crate::ground::Who;
use crate::history::{Event, What};
use crate::logbook::Line;

macro_rules! evidence {
    ($($name:ident = $word:literal, $meaning:literal;)*) => {
        /// Something that faults can bring about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(crate) enum Evidence {
            $(#[doc = $meaning] $name,)*
        }

        impl fmt::Display for Evidence {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Evidence::$name => $word,)*
                })
            }
        }
    };
}

evidence! {
    LeaderChanged = "leader-changed", "Somebody leads in a later term than the first leader.";
    LeaderMissing = "leader-missing", "A master knew of no leader.";
    LeadershipTransferred = "leadership-transferred", "A leader handed over when it was asked to.";
    MasterEnded = "master-ended", "A master ended by itself.";
    MastersMoved = "masters-moved", "A worker registered with a master on its other address.";
    VoterReplaced = "voter-replaced", "A member with an empty volume took the place of a voter.";
    SnapshotInstalled = "snapshot-installed", "A master took a peer's snapshot.";
    LeaseLapsed = "lease-lapsed", "A worker killed its attempts since its lease was not renewed.";
    WorkerLost = "worker-lost", "A leader gave a worker up that was silent.";
    WorkerLeft = "worker-left", "A worker that was asked to stop left in good order.";
    WorkerEnded = "worker-ended", "A worker ended by itself.";
    TaskBeganAgain = "task-began-again", "A task began again whose process had died at work.";
    LinkCut = "link-cut", "What was sent over a link that was cut was not acknowledged.";
    LeaderLinkCut = "leader-link-cut", "The same, where the link to the leader alone was cut.";
    LinkSlowed = "link-slowed", "Something arrived late by a slow link.";
    SyncFailed = "sync-failed", "A sync of a master's disk failed.";
    SyncStalled = "sync-stalled", "A sync of a master's disk was held up.";
    DiskWithoutRoom = "disk-without-room", "A master saw that its disk has no room left.";
    WritesUndone = "writes-undone", "A power cut undid writes that no sync had covered.";
    DamageRefused = "damage-refused", "A master refused to start on a damaged disk.";
    ClockOff = "clock-off", "A master read a wall clock that was off.";
    HerdGathered = "herd-gathered", "All simulated workers were registered again.";
    OverloadRefused = "overload-refused", "A caller was told that there is too much to do.";
}

/// What was seen, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(BTreeMap<Evidence, u64>);

impl Seen {
    pub(crate) fn add(&mut self, evidence: Evidence, count: u64) {
        if count > 0 {
            *self.0.entry(evidence).or_default() += count;
        }
    }

    /// What was not seen of these.
    pub(crate) fn missing(&self, wanted: &[Evidence]) -> Vec<Evidence> {
        wanted.iter().filter(|it| !self.0.contains_key(it)).copied().collect()
    }

    /// With what clients, the harness and tasks saw.
    pub(crate) fn with(&self, events: &[Event], testimonies: &[Testimony]) -> Seen {
        let mut seen = self.clone();
        for event in events {
            let What::Ended { who, .. } = &event.what else { continue };
            let is_master = who.starts_with('m');
            let ended = if is_master { Evidence::MasterEnded } else { Evidence::WorkerEnded };
            seen.add(ended, 1);
        }
        let mut at_work = BTreeMap::new();
        for said in testimonies {
            let is_at_work: &mut bool = at_work.entry((said.run, &said.task)).or_default();
            match said.deed {
                Deed::Begin => seen.add(Evidence::TaskBeganAgain, u64::from(*is_at_work)),
                Deed::End | Deed::Conflict => {}
            }
            *is_at_work = said.deed == Deed::Begin;
        }
        seen
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> =
            self.0.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// What a line of a process's log is evidence of. A change of leader is not told by one line alone.
pub(crate) fn of_line(who: Who, line: &Line<'_>) -> Option<Evidence> {
    match (who, line) {
        (Who::Master(_), Line::Plain(text)) => of_disk(text.strip_prefix("faultdisk: ")?),
        (Who::Master(_), Line::Entry(entry)) => match entry.message() {
            "leadership" if entry.text("leader") == Some("none") => Some(Evidence::LeaderMissing),
            "the learner becomes a voter" if entry.number("replaces")? > 0 => {
                Some(Evidence::VoterReplaced)
            }
            "installing a snapshot" => Some(Evidence::SnapshotInstalled),
            "no heartbeat for a full lease and its margin" => Some(Evidence::WorkerLost),
            text if text.contains("are needed to accept work") => Some(Evidence::DiskWithoutRoom),
            _ => None,
        },
        (Who::Worker(_), Line::Entry(entry)) => match entry.message() {
            "the lease was not renewed; all attempts are killed" => Some(Evidence::LeaseLapsed),
            "holds nothing any more and leaves" => Some(Evidence::WorkerLeft),
            _ => None,
        },
        (Who::Worker(_), Line::Plain(_)) => None,
    }
}

/// What the disk under a master says.
fn of_disk(text: &str) -> Option<Evidence> {
    if text.starts_with("a sync fails") {
        return Some(Evidence::SyncFailed);
    }
    if text.starts_with("a sync is held up") {
        return Some(Evidence::SyncStalled);
    }
    if text.starts_with("the clock is read") {
        return Some(Evidence::ClockOff);
    }
    let (_, undone) = text.strip_prefix("power cut")?.split_once("syncs: ")?;
    let writes: u64 = undone.split(' ').next()?.parse().ok()?;
    (writes > 0).then_some(Evidence::WritesUndone)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(text: &str) -> Line<'_> {
        Line::read(text).expect("a line")
    }

    #[test]
    fn a_log_shows_what_faults_did() {
        let (master, worker) = (Who::Master(0), Who::Worker(0));
        let lapsed =
            r#"{"fields":{"message":"the lease was not renewed; all attempts are killed"}}"#;
        assert_eq!(of_line(worker, &line(lapsed)), Some(Evidence::LeaseLapsed));
        assert_eq!(of_line(master, &line(lapsed)), None, "masters have none");
        let joins = |replaces: u64| {
            format!(
                r#"{{"fields":{{"message":"the learner becomes a voter","replaces":{replaces}}}}}"#
            )
        };
        assert_eq!(of_line(master, &line(&joins(1))), Some(Evidence::VoterReplaced));
        assert_eq!(of_line(master, &line(&joins(0))), None, "nobody was before it");
        let cut = |writes: u64| {
            format!("faultdisk: power cut at step 9 after 3 syncs: {writes} writes not durable, 0")
        };
        assert_eq!(of_line(master, &line(&cut(4))), Some(Evidence::WritesUndone));
        assert_eq!(of_line(master, &line(&cut(0))), None, "all was durable");
        assert_eq!(of_line(master, &line("faultdisk: a sync fails\n")), Some(Evidence::SyncFailed));
    }

    #[test]
    fn what_was_not_seen_is_named() {
        let said = |deed, attempt| Testimony {
            deed,
            run: 1,
            task: "a".to_owned(),
            fence: 1,
            attempt,
            pid: 1,
            at: Duration::ZERO,
        };
        let wanted = [Evidence::TaskBeganAgain, Evidence::MasterEnded];
        let retried = [said(Deed::Begin, 1), said(Deed::End, 1), said(Deed::Begin, 2)];
        assert_eq!(Seen::default().with(&[], &retried).missing(&wanted), wanted, "it had failed");
        let died = [said(Deed::Begin, 1), said(Deed::Begin, 2)];
        let seen = Seen::default().with(&[], &died);
        assert_eq!(seen.missing(&wanted), [Evidence::MasterEnded]);
        assert_eq!(seen.to_string(), "task-began-again 1");
    }
}
