//! Whether this master's volume is the right one: it may have been mounted in another cluster's place by mistake.
//!
//! ```text
//!  expected peer ──┬── is a member of the own cluster, by name ──► not asked
//!                  └── is not ── Hello ──┬── no answer ──────────► asked again
//!                                        ├── no cluster, or own ─► harmless, not asked again
//!                                        └── another cluster ────► a stranger
//! ```
//!
//! Asked before this master begins, and from then on until nobody is left to ask. A master in a healthy cluster finds
//! all expected peers among its members and asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Roster;
use super::config::PeerAddress;
use crate::error::StoreError;
use crate::fatal::Fatal;
use crate::types::ClusterId;

/// Between two rounds. Short: what a master on the wrong volume accepts is lost when the right one is back.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// What is wrong until somebody mends it is told again after this long.
const REMIND_AFTER: Duration = Duration::from_secs(600);

/// Peers that belong to other clusters, by name.
type Strangers = BTreeMap<String, ClusterId>;

/// Tells at once, and then at long intervals.
#[derive(Debug, Default)]
pub(crate) struct Reminder(Mutex<Option<Instant>>);

impl Reminder {
    /// True means that it is told now.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|at| now.duration_since(at) >= REMIND_AFTER);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// The cluster that this master should be in instead of its own: the one that more than half of all `expected` masters,
/// this one counted, are seen to belong to. Strangers are expected masters that the own membership does not name.
///
/// So whoever has half of the expected masters among its members is never the wrong one, whatever answers at the
/// addresses of the rest, and no two masters can each send the other away:
///
/// | expected | strangers of one cluster | the wrong one |
/// |---|---|---|
/// | 1, this one | none are possible | nobody |
/// | 2 | 1: a tie | nobody knows; both go on, and tell |
/// | 3 | 1 | nobody knows if the third is silent; the peer if the third is a member |
/// | 3 | 2 | this master |
/// | 4 | 2: a tie | nobody knows |
/// | 4, 5 | 3 or more | this master |
///
/// A volume of a cluster whose masters had the same names is not found out, nor need it be: its master reaches, under
/// those names, only masters that refuse it, and without a majority it neither leads nor serves.
fn right_cluster(expected: usize, strangers: &Strangers) -> Option<ClusterId> {
    let mut counts = BTreeMap::<ClusterId, usize>::new();
    for cluster_id in strangers.values() {
        *counts.entry(*cluster_id).or_default() += 1;
    }
    counts.into_iter().find(|(_, count)| 2 * count > expected).map(|(cluster_id, _)| cluster_id)
}

impl Roster {
    /// Looks once, for at most the time that a call may take.
    ///
    /// # Errors
    /// This master has the wrong volume, or the wrong peers.
    pub(crate) async fn check_volume(&self) -> Result<(), StoreError> {
        self.look_for_strangers(&mut BTreeSet::new()).await.map(|_| ())
    }

    /// Looks until nobody is left to ask. A master that has the wrong volume is stopped.
    pub(crate) async fn keep_apart(self: Arc<Self>, fatal: Fatal) {
        let mut harmless = BTreeSet::new();
        loop {
            tokio::time::sleep(ASK_PAUSE).await;
            match self.look_for_strangers(&mut harmless).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    fatal.report(&error);
                    // The process ends soon; until then nothing more is accepted. It fails only if Raft has stopped.
                    let _ = self.raft.shutdown().await;
                    return;
                }
            }
        }
    }

    /// One round; true if there was nobody to ask.
    async fn look_for_strangers(
        &self,
        harmless: &mut BTreeSet<String>,
    ) -> Result<bool, StoreError> {
        let (Some(own), Some(members)) = (self.identity.cluster_id(), self.members().await) else {
            return Ok(false);
        };
        let is_known = |name: &String| {
            *name == self.me.name || members.contains(name) || harmless.contains(name)
        };
        let unknown: Vec<&PeerAddress> =
            self.expected.iter().filter(|peer| !is_known(&peer.name)).collect();
        if unknown.is_empty() {
            return Ok(true);
        }
        let hellos = unknown.iter().map(|peer| self.say_hello(&peer.address));
        let answers = futures::future::join_all(hellos).await;
        let mut strangers = Strangers::new();
        for (peer, answer) in unknown.into_iter().zip(answers) {
            let Ok(answer) = answer else { continue };
            let theirs = ClusterId::from_bytes(&answer.cluster_id);
            match theirs.filter(|theirs| answer.is_initialized && *theirs != own) {
                Some(theirs) => drop(strangers.insert(peer.name.clone(), theirs)),
                None => drop(harmless.insert(peer.name.clone())),
            }
        }
        match right_cluster(self.expected.len(), &strangers) {
            Some(theirs) => Err(self.wrong_volume(own, theirs, &strangers)),
            None => {
                self.tell_of(own, &strangers);
                Ok(false)
            }
        }
    }

    /// The names in this master's own membership; `None` before it has one.
    async fn members(&self) -> Option<BTreeSet<String>> {
        let names = self.raft.with_raft_state(|state| {
            let membership = state.membership_state.effective().membership().clone();
            membership.nodes().map(|(_, peer)| peer.name.clone()).collect::<BTreeSet<_>>()
        });
        // An error means that Raft has stopped.
        names.await.ok().filter(|names| !names.is_empty())
    }

    fn wrong_volume(&self, own: ClusterId, theirs: ClusterId, strangers: &Strangers) -> StoreError {
        let names = strangers.iter().filter(|(_, cluster_id)| **cluster_id == theirs);
        let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
        StoreError::WrongCluster {
            path: self.data_dir.clone(),
            found: own,
            expected: theirs,
            peers: names.join(", "),
        }
    }

    fn tell_of(&self, own: ClusterId, strangers: &Strangers) {
        if strangers.is_empty() || !self.reminder.is_due() {
            return;
        }
        for (peer, theirs) in strangers {
            tracing::error!(
                %peer,
                "the peer belongs to cluster {theirs}, this master to cluster {own}; check the peers' addresses, or \
                 which volumes are mounted"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict of a master with this many expected masters, by how many of them belong to each other cluster.
    fn verdict(expected: usize, clusters: &[usize]) -> Option<usize> {
        let ids: Vec<ClusterId> = clusters.iter().map(|_| ClusterId::random()).collect();
        let of = |at: usize| std::iter::repeat_n(ids[at], clusters[at]);
        let all = (0..clusters.len()).flat_map(of).enumerate();
        let strangers = all.map(|(at, cluster_id)| (format!("muster-{at}"), cluster_id)).collect();
        right_cluster(expected, &strangers).and_then(|found| ids.iter().position(|id| *id == found))
    }

    #[test]
    fn only_a_majority_of_the_expected_masters_sends_one_away() {
        assert_eq!(verdict(1, &[]), None);
        // Told of others without being one of them, such as a learner.
        assert_eq!(verdict(1, &[1]), Some(0));
        assert_eq!(verdict(2, &[1]), None);
        assert_eq!(verdict(3, &[]), None);
        assert_eq!(verdict(3, &[1]), None);
        assert_eq!(verdict(3, &[1, 1]), None);
        assert_eq!(verdict(3, &[2]), Some(0));
        assert_eq!(verdict(4, &[2]), None);
        assert_eq!(verdict(4, &[3]), Some(0));
        assert_eq!(verdict(5, &[2, 2]), None);
        assert_eq!(verdict(5, &[1, 3]), Some(1));
    }

    #[test]
    fn a_reminder_is_rare() {
        let (reminder, begun) = (Reminder::default(), Instant::now());
        let due = [0, 1, 599, 600, 601, 1_199, 1_200]
            .map(|seconds| reminder.is_due_at(begun + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
