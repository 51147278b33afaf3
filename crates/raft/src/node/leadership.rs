//! Who leads, how the members do, and handing leadership over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Instant, ServerState};
use tokio::sync::watch;

use super::RaftMember;
use super::roster::{Metrics, heard, member, membership_of, metrics, voters};
use crate::error::{RaftError, StoreError};
use crate::fatal::Fatal;
use crate::types::{Member, Raft};

/// Handing over gives up after this long.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);
/// A transfer waits this long for the chosen peer to have the whole log.
const TIP_TIMEOUT: Duration = Duration::from_millis(500);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Leadership goes only to a peer that answered this recently.
const HEALTHY_WITHIN: Duration = Duration::from_secs(1);
/// A leader of whom nothing was heard for so long is none: nobody is to wait for it, or to be sent to it. Some times
/// what an election takes: where there is a majority, another leads by then.
const LEADER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether the leader was heard of.
const SILENCE_LOOK: Duration = Duration::from_millis(100);

/// Who leads, as this master knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Raft's term.
    pub term: u64,
    /// The leader of this term, if one was elected, is known, and was heard of within the last two seconds. The leader
    /// itself hears of its leadership from a majority.
    pub leader: Option<Member>,
    /// This master is the leader. Only a committed proposal or a read barrier proves that it still is.
    pub is_leader: bool,
}

/// A master's part in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives the log and does not vote.
    Learner,
    /// Follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
}

/// Where this master stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStatus {
    /// This master's id.
    pub member_id: u64,
    /// Its part.
    pub role: Role,
    /// Raft's term.
    pub term: u64,
    /// Who leads, if known; see [`Leadership::leader`].
    pub leader: Option<u64>,
    /// Index of the last entry in the log; zero if empty. So for the others.
    pub last_log_index: u64,
    /// Index of the last entry known to be committed.
    pub committed_index: u64,
    /// Index of the last entry applied.
    pub applied_index: u64,
    /// Index the newest snapshot was taken at.
    pub snapshot_index: u64,
    /// Index up to which the log was purged.
    pub purged_index: u64,
    /// All members, by id.
    pub members: Vec<MemberStatus>,
}

/// One member, as this master sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Id, name and addresses.
    pub member: Member,
    /// Votes; otherwise it learns.
    pub is_voter: bool,
    /// Index of the last entry known to be on its disk. Known to the leader only.
    pub matched_index: Option<u64>,
    /// Time since it last answered. Known to the leader only.
    pub heard_ms: Option<u64>,
}

/// Leadership as of now. From the server metrics, the ones whose changes are followed.
pub(super) fn now(raft: &Raft) -> Leadership {
    let receiver = raft.server_metrics();
    let metrics = receiver.borrow_watched();
    let leader = metrics.current_leader;
    Leadership {
        term: metrics.vote.leader_id.term,
        leader: leader.and_then(|id| member(metrics.membership_config.membership(), id)),
        is_leader: metrics.state.is_leader() && leader == Some(metrics.id),
    }
}

/// How long ago a majority last confirmed that this master leads; `None` if it does not, or was never confirmed.
fn quorum_ack_age(raft: &Raft) -> Option<Duration> {
    let receiver = raft.metrics();
    let metrics = receiver.borrow_watched();
    if !metrics.state.is_leader() {
        return None;
    }
    if voters(membership_of(&metrics)).iter().eq([&metrics.id]) {
        return Some(Duration::ZERO);
    }
    metrics.last_quorum_acked.as_ref().map(|acked| acked.elapsed())
}

/// Whether this master knows a leader and has not heard of it for too long, or not at all since it was started.
async fn is_leader_silent(raft: &Raft) -> bool {
    // Raft touches its vote with everything that comes from the leader, and as leader with its election alone.
    let vote =
        raft.with_raft_state(|state| (state.vote_ref().committed, state.vote_last_modified()));
    // An error means that Raft has stopped.
    let Ok((true, touched)) = vote.await else { return false };
    let ages = touched.map(|at| at.elapsed()).into_iter().chain(quorum_ack_age(raft));
    ages.min().is_none_or(|age| age > LEADER_SILENCE_MAX)
}

/// Tells of every change of leadership, of leaders that fall silent, and of Raft's own end if that is a fault.
pub(super) async fn follow(raft: Raft, tell: watch::Sender<Leadership>, fatal: Fatal) {
    let mut changes = raft.server_metrics();
    let mut looks = tokio::time::interval(SILENCE_LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut silent_in = None;
    loop {
        let mut current = now(&raft);
        if silent_in == Some(current.term) {
            current.leader = None;
        }
        tell.send_if_modified(|last| {
            let changed = *last != current;
            if changed && (last.is_leader != current.is_leader || last.leader != current.leader) {
                let leader = current.leader.as_ref().map_or("none".into(), Member::to_string);
                tracing::info!(term = current.term, %leader, "leadership");
            }
            *last = current;
            changed
        });
        let goes_on = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            _ = looks.tick() => {
                let term = now(&raft).term;
                silent_in = is_leader_silent(&raft).await.then_some(term);
                true
            }
        };
        if !goes_on {
            match metrics(&raft).running_state {
                Ok(()) | Err(openraft::errors::Fatal::Stopped) => {}
                Err(error) => fatal.report(&StoreError::Io {
                    path: "raft".into(),
                    action: "running",
                    message: error.to_string(),
                }),
            }
            tell.send_modify(|last| {
                *last = Leadership { term: last.term, leader: None, is_leader: false }
            });
            return;
        }
    }
}

/// While it lives, leadership is being handed over.
struct Transferring<'a>(&'a AtomicBool);

impl Drop for Transferring<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl RaftMember {
    /// The leader, if one is known; see [`Leadership::leader`].
    pub fn leader(&self) -> Option<Member> {
        self.0.leadership.borrow().leader.clone()
    }

    /// This master believes that it leads.
    pub fn is_leader(&self) -> bool {
        self.0.leadership.borrow().is_leader
    }

    /// Follows who leads. A new leader must pass a read barrier ([`linearizable`](Self::linearizable) and
    /// [`wait_applied`](Self::wait_applied)) before it acts on its state: until then entries of its predecessors may be
    /// unapplied.
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// How long ago, in milliseconds, a majority last confirmed that this master leads; `None` if it does not lead, or
    /// was never confirmed. Measured from the sending of what they answered.
    pub fn last_quorum_ack(&self) -> Option<u64> {
        let age = quorum_ack_age(&self.0.raft)?;
        Some(age.as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// Whether this master is the leader of this term, as Raft itself knows in this moment; a watch may be behind.
    ///
    /// One that has applied an entry of its own and still leads is the term's only leader ever: openraft lets another
    /// with a greater id be elected in the same term, but only by masters that have nothing of the first one's.
    pub async fn leads_in(&self, term: u64) -> bool {
        let own = self.member_id();
        let leads = self.0.raft.with_raft_state(move |state| {
            let vote = state.vote_ref();
            vote.committed && vote.leader_id.term == term && vote.leader_id.node_id == own
        });
        // An error means that Raft has stopped.
        leads.await.unwrap_or(false)
    }

    /// Where this master and, on the leader, all members stand.
    pub fn status(&self) -> RaftStatus {
        let metrics = metrics(&self.0.raft);
        let membership = membership_of(&metrics);
        let voters = voters(membership);
        let index = |id: Option<crate::types::LogId>| id.map_or(0, |id| id.index);
        let members = membership.nodes().map(|(id, peer)| MemberStatus {
            member: Member { id: *id, peer: peer.clone() },
            is_voter: voters.contains(id),
            matched_index: matched(&metrics, *id),
            heard_ms: heard(&metrics, *id)
                .map(|age| age.as_millis().try_into().unwrap_or(u64::MAX)),
        });
        RaftStatus {
            member_id: metrics.id,
            role: match metrics.state {
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopped,
            },
            term: metrics.current_term,
            leader: self.leader().map(|leader| leader.id),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            committed_index: index(metrics.local_committed.max(metrics.cluster_committed)),
            applied_index: index(metrics.last_applied),
            snapshot_index: index(metrics.snapshot),
            purged_index: index(metrics.purged),
            members: members.collect(),
        }
    }

    /// Hands leadership to `to`, or to the voter that is furthest if `None`. Only to one that answers and has the whole
    /// log: openraft cannot take a transfer back, and the leader does nothing until somebody takes over. New proposals
    /// are refused meanwhile.
    ///
    /// # Errors
    /// This master does not lead, no peer is fit, or nobody took over in time.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<Member, RaftError> {
        if self.0.is_transferring.swap(true, Ordering::AcqRel) {
            return Err(RaftError::Refused("a transfer is under way".into()));
        }
        // Also when the caller gives up: a flag that stayed would refuse every proposal from then on.
        let _until_dropped = Transferring(&self.0.is_transferring);
        self.transfer(to).await
    }

    async fn transfer(&self, to: Option<u64>) -> Result<Member, RaftError> {
        let target = self.wait_for_peer_at_tip(to).await?;
        let triggered = self.0.raft.trigger().transfer_leader(target).await;
        triggered.map_err(|fatal| RaftError::Stopped(self.why_stopped(&fatal)))?;
        let own = self.member_id();
        let mut leadership = self.watch_leadership();
        let elected =
            leadership.wait_for(|now| now.leader.as_ref().is_some_and(|leader| leader.id != own));
        match tokio::time::timeout(TRANSFER_TIMEOUT, elected).await {
            Ok(Ok(now)) => Ok(now.leader.clone().expect("waited for a leader")),
            Ok(Err(_)) => Err(RaftError::Stopped("shutting down".into())),
            Err(_) => Err(RaftError::Unavailable("no peer has taken over yet".into())),
        }
    }

    /// Proposals are held off, so a healthy peer gets there soon.
    async fn wait_for_peer_at_tip(&self, to: Option<u64>) -> Result<u64, RaftError> {
        let wait = async {
            loop {
                let metrics = metrics(&self.0.raft);
                if !metrics.state.is_leader() {
                    return Err(RaftError::NotLeader { leader: self.leader() });
                }
                let candidates = match to {
                    Some(id) if !voters(membership_of(&metrics)).contains(&id) => {
                        return Err(RaftError::Refused(format!("{id:016x} is not a voter")));
                    }
                    Some(id) if id == metrics.id => {
                        return Err(RaftError::Refused("this master leads already".into()));
                    }
                    Some(id) => BTreeSet::from([id]),
                    None => voters(membership_of(&metrics)),
                };
                if candidates.iter().eq([&metrics.id]) {
                    return Err(RaftError::Refused("there is no other voter".into()));
                }
                if let Some(id) = candidates.into_iter().find(|id| is_at_tip(&metrics, *id)) {
                    return Ok(id);
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let waited = tokio::time::timeout(TIP_TIMEOUT, wait).await;
        waited.unwrap_or_else(|_| {
            Err(RaftError::Unavailable("no other voter has the whole log".into()))
        })
    }

    /// Makes a learner a voter once it has caught up. Only the leader can.
    ///
    /// # Errors
    /// It is not a learner, or the change was not committed.
    pub async fn promote(&self, id: u64) -> Result<(), RaftError> {
        let metrics = metrics(&self.0.raft);
        if membership_of(&metrics).get_node(&id).is_none() {
            return Err(RaftError::Refused(format!("{id:016x} is not a member")));
        }
        let _turn = self.0.roster.changing.lock().await;
        let unavailable = |status: tonic::Status| RaftError::Unavailable(status.message().into());
        self.on_raft_runtime(move |roster| async move {
            roster.wait_until_caught_up(id).await.map_err(unavailable)?;
            roster
                .change(ChangeMembers::AddVoterIds(BTreeSet::from([id])))
                .await
                .map_err(unavailable)
        })
        .await
    }

    /// Removes a member for good, voter or learner. Only the leader can; it cannot remove itself.
    ///
    /// # Errors
    /// It is not a member, it is the last voter, or the change was not committed.
    pub async fn remove_member(&self, id: u64) -> Result<(), RaftError> {
        let metrics = metrics(&self.0.raft);
        let membership = membership_of(&metrics);
        if membership.get_node(&id).is_none() {
            return Err(RaftError::Refused(format!("{id:016x} is not a member")));
        }
        if id == metrics.id {
            return Err(RaftError::Refused(
                "a leader cannot remove itself; transfer leadership first".into(),
            ));
        }
        let change = if voters(membership).contains(&id) {
            ChangeMembers::RemoveVoters(BTreeSet::from([id]))
        } else {
            ChangeMembers::RemoveNodes(BTreeSet::from([id]))
        };
        let _turn = self.0.roster.changing.lock().await;
        let unavailable = |status: tonic::Status| RaftError::Unavailable(status.message().into());
        self.on_raft_runtime(move |roster| async move {
            roster.change(change).await.map_err(unavailable)
        })
        .await
    }

    /// Begins to replace the voters and goes away before the change is done, as a leader does that dies; for tests.
    #[doc(hidden)]
    pub async fn half_replace_voters(&self, voters: BTreeSet<u64>) -> Result<(), RaftError> {
        self.on_raft_runtime(move |roster| async move {
            let is_joint = |metrics: &Metrics| membership_of(metrics).get_joint_config().len() > 1;
            let mut receiver = roster.raft.metrics();
            let begun = async {
                while !is_joint(&receiver.borrow_watched()) && receiver.changed().await.is_ok() {}
            };
            tokio::select! {
                biased;
                () = begun => Ok(()),
                _ = roster.change(ChangeMembers::ReplaceAllVoters(voters)) => {
                    Err(RaftError::Unavailable("it was done at once".into()))
                }
            }
        })
        .await
    }

    /// Time since 1970-01-01 00:00 UTC as most masters have it: the middle of this master's clock and those that the
    /// other voters told it last. Who leads knows those of a majority. May jump either way, as any wall clock, but not
    /// because of a minority.
    pub fn wall_clock(&self) -> Duration {
        let metrics = metrics(&self.0.raft);
        self.0.roster.links.clocks.agreed(metrics.id, &voters(membership_of(&metrics)))
    }

    /// The members by id, voters and learners.
    pub fn members(&self) -> BTreeMap<u64, Member> {
        self.status().members.into_iter().map(|status| (status.member.id, status.member)).collect()
    }

    async fn on_raft_runtime<F, T>(
        &self,
        work: impl FnOnce(std::sync::Arc<super::Roster>) -> F,
    ) -> Result<T, RaftError>
    where
        F: Future<Output = Result<T, RaftError>> + Send + 'static,
        T: Send + 'static,
    {
        let handle =
            self.0.machinery.lock().as_ref().map(|machinery| machinery.executor.handle().clone());
        let stopped = || RaftError::Stopped("shutting down".into());
        let task = handle.ok_or_else(stopped)?.spawn(work(self.0.roster.clone()));
        task.await.map_err(|_| stopped())?
    }
}

fn matched(metrics: &Metrics, id: u64) -> Option<u64> {
    let matched = metrics.replication.as_ref()?.get(&id).copied().flatten();
    Some(matched.map_or(0, |id| id.index))
}

fn is_at_tip(metrics: &Metrics, id: u64) -> bool {
    id != metrics.id
        && matched(metrics, id) == metrics.last_log_index
        && heard(metrics, id).is_some_and(|age| age < HEALTHY_WITHIN)
}
