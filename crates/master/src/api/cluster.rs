//! `ClusterService`: the masters.

use std::sync::Arc;

use muster_proto::v1;
use muster_proto::v1::cluster_service_client::ClusterServiceClient;
use muster_proto::v1::cluster_service_server::ClusterService;
use muster_raft::MemberStatus;
use tokio::sync::Mutex;
use tonic::{Code, Request, Response, Status};

use super::answer;
use crate::faults;
use crate::forward::forwarded;
use crate::replica::Replica;

pub(crate) struct Cluster {
    replica: Arc<Replica>,
    /// The latest digest, and the log index it belongs to.
    latest: Mutex<(u64, u64)>,
}

impl Cluster {
    pub(crate) fn new(replica: Arc<Replica>) -> Self {
        Cluster { replica, latest: Mutex::default() }
    }

    /// The log index the state stands at, and its digest. That is a walk over the whole state: apply does not wait for
    /// it, and callers at one index share it.
    async fn digest(&self) -> Result<(u64, u64), Status> {
        let mut latest = self.latest.lock().await;
        let (index, snapshot) = self.replica.cell.snapshot();
        if index == 0 || latest.0 != index {
            let platform = &self.replica.config.platform;
            let digest = platform.blocking(move || snapshot.digest()).await;
            let digest = digest.map_err(|error| Status::internal(error.to_string()))?;
            *latest = (index, digest);
        }
        Ok(*latest)
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn get_cluster_status(
        &self,
        request: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        let status = self.replica.raft.status();
        let leader_id = status.leader.unwrap_or(0);
        let members = status.members.into_iter().map(|it| v1::Member {
            id: it.member.id,
            name: it.member.peer.name,
            api_address: it.member.peer.api_address,
            peer_address: it.member.peer.peer_address,
            is_voter: it.is_voter,
            is_leader: it.member.id == leader_id,
            matched_index: it.matched_index,
        });
        let members = members.collect();
        let (applied_index, state_digest) = if request.get_ref().with_digest {
            let (index, digest) = self.digest().await?;
            (index, Some(digest))
        } else {
            (self.replica.cell.applied(), None)
        };
        let response = self.replica.cell.read(|state| v1::GetClusterStatusResponse {
            cluster_id: self.replica.cluster_id(),
            answering_member_id: status.member_id,
            leader_id,
            term: status.term,
            applied_index,
            committed_index: status.committed_index,
            last_log_index: status.last_log_index,
            snapshot_index: status.snapshot_index,
            members,
            cluster_version: state.meta().cluster_version,
            live_runs: state.runs().len() as u64,
            ready_tasks: state.queue().len() as u64,
            workers: state.workers().len() as u64,
            state_digest,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        Ok(answer(&self.replica, response))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        if let Some((channel, asked)) = self.replica.forward_to(&request)? {
            let mut client = ClusterServiceClient::new(channel);
            let call = client.transfer_leader(forwarded(request));
            return self.replica.beyond_leadership(asked, call).await;
        }
        let to = request.into_inner().to;
        let target = match to.as_str() {
            "" => None,
            named => {
                let members = self.replica.raft.status().members;
                let is_it = |it: &&MemberStatus| {
                    let id = it.member.id;
                    it.member.peer.name == named
                        || id.to_string() == named
                        || format!("{id:016x}") == named
                };
                // A voter before a learner that is about to take its place.
                let found = members.iter().filter(is_it).max_by_key(|it| it.is_voter);
                let missing = || {
                    let message = format!(
                        "no member is called `{named}`; `muster cluster status` lists them"
                    );
                    faults::fault(Code::NotFound, "MEMBER_NOT_FOUND", message)
                };
                Some(found.ok_or_else(missing)?.member.id)
            }
        };
        let leader = self.replica.raft.transfer_leader(target).await.map_err(|error| {
            faults::fault(Code::FailedPrecondition, "TRANSFER_REFUSED", error.to_string())
        })?;
        Ok(answer(&self.replica, v1::TransferLeaderResponse { leader_id: leader.id }))
    }
}
