//! Who is in the cluster: first formation, joining again with an empty disk, and moving to another address.
//!
//! ```text
//!  empty disk ── Hello to all ──┬── every expected peer is empty too ──► smallest address: Form to all, initialise
//!                               └── one of them is initialised ──► Join: leader adds a learner, waits until it has
//!                                                                  caught up, then swaps it for the old member of
//!                                                                  the same name in one membership change
//! ```
//!
//! A member id lives on its volume. A master whose volume was wiped comes back under a new id, so it can never vote
//! again where its old self has voted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::internal::v1 as pb;
use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Instant as _};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::config::PeerAddress;
use super::strangers::Reminder;
use crate::log::{Identity as StoredIdentity, RaftLog};
use crate::network::{Identity, Lane, Links};
use crate::types::{ClusterId, Member, Membership, Peer, Raft, TypeConfig};
use crate::wire;

pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;

const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const STEP_PAUSE_MIN: Duration = Duration::from_millis(50);
const STEP_PAUSE_MAX: Duration = Duration::from_secs(2);
/// A member that answered this recently is alive.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// A learner this close to the end of the log has caught up.
const CAUGHT_UP_ENTRIES: u64 = 100;
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(600);
/// A learner that was silent for so long is not waited for any more: it may have come back under another id.
const LEARNER_SILENCE_MAX: Duration = Duration::from_secs(15);
/// How often a leader looks for what is left of a change, and for learners that went silent.
const LOOK: Duration = Duration::from_secs(1);

const CHECK_PEERS_OR_VOLUME: &str = "check the peers' addresses, or which volume is mounted";

/// Keeps this master in the cluster, and as leader the cluster's members.
pub(crate) struct Roster {
    pub(crate) identity: Arc<Identity>,
    pub(crate) me: Peer,
    pub(crate) expected: Vec<PeerAddress>,
    /// The only cluster this master may belong to, if configured.
    pub(crate) required_cluster: Option<ClusterId>,
    pub(crate) data_dir: PathBuf,
    pub(crate) raft: Raft,
    pub(crate) log: RaftLog,
    pub(crate) links: Arc<Links>,
    /// One change of the membership at a time.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    /// The term in which somebody last asked this leader to join, and when the first one in that term did.
    pub(crate) asked_since: parking_lot::Mutex<Option<(u64, Instant)>>,
    /// When the operator was last told of masters of another cluster.
    pub(crate) reminder: Reminder,
}

/// How long ago a member answered this leader last. `None` if it never did.
pub(crate) fn heard(metrics: &Metrics, id: u64) -> Option<Duration> {
    let at = metrics.heartbeat.as_ref()?.get(&id).copied().flatten()?;
    Some(at.elapsed())
}

/// The metrics as of now.
pub(crate) fn metrics(raft: &Raft) -> Metrics {
    raft.metrics().borrow_watched().clone()
}

pub(crate) fn membership_of(metrics: &Metrics) -> &Membership {
    metrics.membership_config.membership()
}

pub(crate) fn voters(membership: &Membership) -> BTreeSet<u64> {
    membership.get_joint_config().last().cloned().unwrap_or_default()
}

pub(crate) fn member(membership: &Membership, id: u64) -> Option<Member> {
    membership.get_node(&id).map(|peer| Member { id, peer: peer.clone() })
}

// What this master does about itself.
impl Roster {
    /// Returns once this master is a voter under its present addresses.
    pub(crate) async fn tend(self: Arc<Self>) {
        let mut pause = STEP_PAUSE_MIN;
        while !self.is_settled() {
            if let Err(status) = self.step().await {
                self.tell_why(&status);
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
            pause = (pause * 2).min(STEP_PAUSE_MAX);
        }
    }

    /// As leader, ends a change of the voters whose leader died between its two steps. Until somebody does, a majority
    /// of the old voters is needed as well (the Raft paper's joint consensus, section 6), one of which may be gone.
    pub(crate) async fn end_changes(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let metrics = metrics(&self.raft);
            let is_joint = membership_of(&metrics).get_joint_config().len() > 1;
            if !is_joint || !metrics.state.is_leader() {
                continue;
            }
            // Who has the turn is at it.
            let Ok(_turn) = self.changing.try_lock() else { continue };
            // It adds nobody, and leaves the new voters alone.
            match self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await {
                Ok(()) => tracing::info!("a change of the voters that was left half done is done"),
                Err(status) => tracing::warn!("a change stays half done: {}", status.message()),
            }
        }
    }

    fn tell_why(&self, status: &Status) {
        if status.code() != Code::PermissionDenied {
            tracing::info!("not a member yet: {}", status.message());
        } else if self.reminder.is_due() {
            tracing::error!("not a member: {}", status.message());
        }
    }

    fn is_settled(&self) -> bool {
        let metrics = metrics(&self.raft);
        let membership = membership_of(&metrics);
        let id = self.identity.member_id;
        voters(membership).contains(&id) && membership.get_node(&id) == Some(&self.me)
    }

    async fn step(&self) -> Result<(), Status> {
        if self.is_initialized().await? {
            return self.ask_to_join(true).await;
        }
        let others: Vec<&PeerAddress> =
            self.expected.iter().filter(|p| p.name != self.me.name).collect();
        let hellos =
            futures::future::join_all(others.iter().map(|peer| self.say_hello(&peer.address)))
                .await;
        let answers: Vec<pb::HelloResponse> = hellos.into_iter().flatten().collect();
        if answers.iter().any(|answer| answer.is_initialized) {
            return self.ask_to_join(false).await;
        }
        let own = self.expected.iter().find(|peer| peer.name == self.me.name);
        let smallest = self.expected.iter().min_by_key(|peer| &peer.address);
        if answers.len() == others.len() && own.is_some() && own == smallest {
            return self.form_cluster(answers).await;
        }
        let answered = answers.len();
        Err(Status::unavailable(format!("{answered} of {} other masters answer", others.len())))
    }

    async fn is_initialized(&self) -> Result<bool, Status> {
        self.raft.is_initialized().await.map_err(|error| Status::unavailable(error.to_string()))
    }

    pub(crate) async fn say_hello(&self, address: &str) -> Result<pb::HelloResponse, Status> {
        let cluster_id = self.identity.cluster_id().map(ClusterId::to_bytes).unwrap_or_default();
        let request = pb::HelloRequest { from_member_id: self.identity.member_id, cluster_id };
        let mut client = self.client(address)?;
        within(async move { client.hello(request).await }).await
    }

    /// Every expected master is here and has nothing: gives all of them the cluster's id, then begins the log.
    async fn form_cluster(&self, others: Vec<pb::HelloResponse>) -> Result<(), Status> {
        let mut peers = BTreeMap::from([(self.identity.member_id, self.me.clone())]);
        for answer in others {
            let answer = answer.member.ok_or_else(|| Status::internal("a hello without member"))?;
            let Member { id, peer } = wire::member_in(answer);
            peers.insert(id, peer);
        }
        if peers.len() != self.expected.len() {
            return Err(Status::failed_precondition(
                "two of the expected masters have one id; is an address listed twice?",
            ));
        }
        let cluster_id =
            self.required_cluster.or(self.identity.cluster_id()).unwrap_or_else(ClusterId::random);
        self.adopt(cluster_id).await?;
        for (id, peer) in peers.iter().filter(|(id, _)| **id != self.identity.member_id) {
            let request = pb::FormRequest { cluster_id: cluster_id.to_bytes(), to_member_id: *id };
            let mut client = self.client(&self.links.addresses.find(peer))?;
            within(async move { client.form(request).await }).await?;
        }
        tracing::info!(%cluster_id, members = peers.len(), "forming the cluster");
        self.raft.initialize(peers).await.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Asks every expected master, and whoever they say leads.
    async fn ask_to_join(&self, is_initialized: bool) -> Result<(), Status> {
        let mut addresses: Vec<String> = self
            .expected
            .iter()
            .filter(|peer| peer.name != self.me.name)
            .map(|peer| peer.address.clone())
            .collect();
        addresses.extend(self.known_peers());
        // Whoever was told of a cluster and has nothing of it may still join another.
        let own = self.identity.cluster_id().filter(|_| is_initialized);
        let own = own.map(ClusterId::to_bytes).unwrap_or_default();
        let mut asked = BTreeSet::new();
        let mut refusal = Status::unavailable("no leader answers");
        while let Some(address) = addresses.pop() {
            if !asked.insert(address.clone()) {
                continue;
            }
            let member = Some(wire::member_out(self.identity.member_id, &self.me));
            let mut client = self.client(&address)?;
            let request = pb::JoinRequest { member, cluster_id: own.clone() };
            match within(async move { client.join(request).await }).await {
                Ok(answer) if !answer.cluster_id.is_empty() => {
                    let cluster_id = ClusterId::from_bytes(&answer.cluster_id)
                        .ok_or_else(|| Status::internal("a cluster id of the wrong length"))?;
                    return self.adopt(cluster_id).await;
                }
                Ok(answer) => {
                    let leader = answer.leader.map(wire::member_in);
                    addresses.extend(leader.map(|leader| self.links.addresses.find(&leader.peer)));
                }
                // That the leader does not want it says more than that somebody else is silent.
                Err(status) if refusal.code() != Code::PermissionDenied => refusal = status,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// The other members that this master's own log names.
    fn known_peers(&self) -> Vec<String> {
        let metrics = metrics(&self.raft);
        let own = self.identity.member_id;
        membership_of(&metrics)
            .nodes()
            .filter(|(id, _)| **id != own)
            .map(|(_, peer)| self.links.addresses.find(peer))
            .collect()
    }

    /// Makes this master part of the cluster, durably. An initialised master never changes its cluster.
    async fn adopt(&self, cluster_id: ClusterId) -> Result<(), Status> {
        let own = self.identity.cluster_id();
        if own == Some(cluster_id) {
            return Ok(());
        }
        let required = self.required_cluster.is_some_and(|required| required != cluster_id);
        if required || (own.is_some() && self.is_initialized().await?) {
            let ours = self.required_cluster.or(own).map_or_else(String::new, |id| id.to_string());
            let text =
                format!("the peers belong to cluster {cluster_id}, this master to cluster {ours}");
            return Err(Status::permission_denied(format!("{text}; {CHECK_PEERS_OR_VOLUME}")));
        }
        let identity =
            StoredIdentity { member_id: self.identity.member_id, cluster_id: Some(cluster_id) };
        self.log.save_identity(identity).await.map_err(|e| Status::internal(e.to_string()))?;
        self.identity.set_cluster_id(cluster_id);
        Ok(())
    }

    fn client(
        &self,
        address: &str,
    ) -> Result<pb::peer_service_client::PeerServiceClient<tonic::transport::Channel>, Status> {
        let link = self.links.to(address);
        link.client(Lane::Control).map_err(|error| Status::unavailable(error.to_string()))
    }
}

async fn within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

// What this master answers others.
impl Roster {
    pub(crate) async fn hello(
        &self,
        _request: &pb::HelloRequest,
    ) -> Result<pb::HelloResponse, Status> {
        Ok(pb::HelloResponse {
            member: Some(wire::member_out(self.identity.member_id, &self.me)),
            cluster_id: self.identity.cluster_id().map(ClusterId::to_bytes).unwrap_or_default(),
            is_initialized: self.is_initialized().await?,
        })
    }

    pub(crate) async fn form(&self, request: &pb::FormRequest) -> Result<pb::FormResponse, Status> {
        let cluster_id = ClusterId::from_bytes(&request.cluster_id)
            .ok_or_else(|| Status::invalid_argument("a cluster id of the wrong length"))?;
        if request.to_member_id != self.identity.member_id {
            return Err(Status::failed_precondition(
                "the call is for another member; its volume was wiped",
            ));
        }
        if self.is_initialized().await? {
            return Err(Status::failed_precondition("this master belongs to a cluster already"));
        }
        self.adopt(cluster_id).await?;
        Ok(pb::FormResponse {})
    }

    pub(crate) async fn join(
        self: Arc<Self>,
        request: pb::JoinRequest,
    ) -> Result<pb::JoinResponse, Status> {
        let joining = request.member.map(wire::member_in);
        let joining = joining.filter(|member| member.id != 0 && !member.peer.name.is_empty());
        let joining = joining.ok_or_else(|| Status::invalid_argument("a join without member"))?;
        let metrics = metrics(&self.raft);
        let membership = membership_of(&metrics);
        if !metrics.state.is_leader() {
            let leader = metrics.current_leader.and_then(|id| member(membership, id));
            let leader = leader.map(|leader| wire::member_out(leader.id, &leader.peer));
            return Ok(pb::JoinResponse { leader, ..pb::JoinResponse::default() });
        }
        let cluster_id = self.identity.cluster_id();
        let cluster_id = cluster_id.ok_or_else(|| Status::failed_precondition("no cluster yet"))?;
        self.refuse_if_of_another(&joining, &request.cluster_id, cluster_id)?;
        let is_voter = voters(membership).contains(&joining.id)
            && membership.get_node(&joining.id) == Some(&joining.peer);
        if !is_voter {
            self.refuse_if_taken(&joining, &metrics)?;
            let roster = Arc::clone(&self);
            // A change under way is not disturbed: the member asks again.
            if let Ok(turn) = Arc::clone(&self.changing).try_lock_owned() {
                tokio::spawn(async move {
                    if let Err(status) = roster.admit(&joining).await {
                        tracing::warn!(member = %joining, "not admitted: {}", status.message());
                    }
                    drop(turn);
                });
            }
        }
        Ok(pb::JoinResponse { cluster_id: cluster_id.to_bytes(), leader: None, is_voter })
    }

    /// A member whose log is another cluster's would never take part, and would stand in the way of the one whose
    /// name it has.
    fn refuse_if_of_another(
        &self,
        joining: &Member,
        theirs: &[u8],
        ours: ClusterId,
    ) -> Result<(), Status> {
        if theirs.is_empty() || theirs == ours.to_bytes() {
            return Ok(());
        }
        let theirs = ClusterId::from_bytes(theirs)
            .ok_or_else(|| Status::invalid_argument("a cluster id of the wrong length"))?;
        let text = format!("{joining} belongs to cluster {theirs}, this one is cluster {ours}");
        if self.reminder.is_due() {
            tracing::error!("{text}; it is not let in; {CHECK_PEERS_OR_VOLUME}");
        }
        Err(Status::permission_denied(format!("{text}; {CHECK_PEERS_OR_VOLUME}")))
    }

    /// Brings a member in, or its new address.
    async fn admit(&self, joining: &Member) -> Result<(), Status> {
        let before = metrics(&self.raft);
        let membership = membership_of(&before);
        match membership.get_node(&joining.id) {
            Some(peer) if *peer == joining.peer => {}
            Some(_) => {
                let peer = BTreeMap::from([(joining.id, joining.peer.clone())]);
                self.change(ChangeMembers::SetNodes(peer)).await?;
            }
            None => {
                tracing::info!(member = %joining, "adding a learner");
                let added = self.raft.add_learner(joining.id, joining.peer.clone(), false).await;
                added.map_err(|error| Status::unavailable(error.to_string()))?;
            }
        }
        let old_voters = voters(membership);
        let replaced: BTreeSet<u64> = membership
            .nodes()
            .filter(|(id, peer)| **id != joining.id && peer.name == joining.peer.name)
            .map(|(id, _)| *id)
            .collect();
        let is_expected = self.expected.iter().any(|peer| peer.name == joining.peer.name);
        let votes = is_expected || replaced.iter().any(|id| old_voters.contains(id));
        if votes && !old_voters.contains(&joining.id) {
            self.wait_until_caught_up(joining.id).await?;
            let mut new_voters: BTreeSet<u64> = old_voters.difference(&replaced).copied().collect();
            new_voters.insert(joining.id);
            tracing::info!(member = %joining, replaces = replaced.len(), "the learner becomes a voter");
            self.change(ChangeMembers::ReplaceAllVoters(new_voters)).await?;
        }
        let leftover: BTreeSet<u64> = replaced.difference(&old_voters).copied().collect();
        if !leftover.is_empty() {
            self.change(ChangeMembers::RemoveNodes(leftover)).await?;
        }
        Ok(())
    }

    pub(crate) async fn change(&self, change: ChangeMembers<u64, Peer>) -> Result<(), Status> {
        match self.raft.change_membership(change, false).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    pub(crate) async fn wait_until_caught_up(&self, id: u64) -> Result<(), Status> {
        let has_caught_up = |metrics: &Metrics| {
            let matched =
                metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
            let last = metrics.last_log_index.unwrap_or(0);
            matched.is_some_and(|matched| matched.index + CAUGHT_UP_ENTRIES >= last)
        };
        let mut receiver = self.raft.metrics();
        let begun = Instant::now();
        let wait = async {
            loop {
                {
                    let metrics = receiver.borrow_watched();
                    if !metrics.state.is_leader() {
                        return Err(Status::aborted("this master does not lead any more"));
                    }
                    if has_caught_up(&metrics) {
                        return Ok(());
                    }
                    let silent_for = heard(&metrics, id).unwrap_or(Duration::MAX);
                    if silent_for.min(begun.elapsed()) > LEARNER_SILENCE_MAX {
                        return Err(Status::unavailable("the learner has gone silent"));
                    }
                }
                if let Ok(Err(_)) = tokio::time::timeout(LOOK, receiver.changed()).await {
                    return Err(Status::unavailable("Raft has stopped"));
                }
            }
        };
        let timeout = tokio::time::timeout(CATCH_UP_TIMEOUT, wait).await;
        timeout.unwrap_or_else(|_| Err(Status::deadline_exceeded("the learner does not catch up")))
    }

    /// Two live masters must not have one name: the second is refused rather than put in the first one's place.
    fn refuse_if_taken(&self, joining: &Member, metrics: &Metrics) -> Result<(), Status> {
        // A leader that was elected just now has heard of nobody yet, which says nothing about them.
        let listened_for = {
            let mut since = self.asked_since.lock();
            let of_term = since.filter(|(term, _)| *term == metrics.current_term);
            since.insert(of_term.unwrap_or((metrics.current_term, Instant::now()))).1.elapsed()
        };
        let namesakes = membership_of(metrics)
            .nodes()
            .filter(|(id, peer)| **id != joining.id && peer.name == joining.peer.name)
            .map(|(id, _)| *id);
        for id in namesakes {
            let silent_for = heard(metrics, id).unwrap_or(listened_for);
            if id == metrics.id || silent_for < ALIVE_WITHIN {
                return Err(Status::already_exists(format!(
                    "a member named `{}` (id {id:016x}) is alive, or was until just now; each master needs a name \
                     of its own",
                    joining.peer.name
                )));
            }
        }
        Ok(())
    }
}
