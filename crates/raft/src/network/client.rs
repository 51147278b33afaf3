//! openraft's calls to one peer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use muster_proto::internal::v1::peer_service_client::PeerServiceClient;
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::links::Link;
use super::{Lane, Links, append, snapshot_send};
use crate::history::History;
use crate::snapshot::SnapshotHandle;
use crate::types::{Peer, TypeConfig, Vote};
use crate::wire::{self, Malformed};

type Failure = RPCError<TypeConfig>;

/// A call for an election waits at least this long, however short openraft's own limit is.
const CONTROL_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Makes the clients.
pub(crate) struct PeerNetwork {
    pub(crate) links: Arc<Links>,
    pub(crate) history: History,
}

impl PeerNetwork {
    fn client(&self, target: u64, peer: &Peer, lane: Lane) -> PeerClient {
        let link = self.links.to(&self.links.addresses.find(peer));
        PeerClient {
            target,
            name: peer.name.clone(),
            link,
            links: Arc::clone(&self.links),
            history: self.history.clone(),
            lane,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for PeerNetwork {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Bulk)
    }
}

/// Calls one member.
pub(crate) struct PeerClient {
    target: u64,
    name: String,
    link: Arc<Link>,
    links: Arc<Links>,
    history: History,
    /// What appends travel on; votes always use the control lane, snapshots the bulk lane.
    lane: Lane,
}

impl PeerClient {
    /// One small call on the control lane.
    async fn control<Q, A, F>(
        &self,
        message: Q,
        option: &RPCOption,
        call: impl FnOnce(PeerServiceClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let request =
            self.links.identity.address(message, self.target).map_err(|s| self.failed(&s))?;
        let client = self.link.client(Lane::Control).map_err(|e| unreachable(&e))?;
        let timeout = option.soft_ttl().max(CONTROL_TIMEOUT_MIN);
        let asking = self.link.outage.asking(&self.name);
        match tokio::time::timeout(timeout, call(client, request)).await {
            Ok(Ok(response)) => {
                asking.answered();
                self.links.clocks.hear(self.target, response.metadata());
                Ok(response.into_inner())
            }
            Ok(Err(status)) => {
                // A status with a source was made here, and not sent by the peer.
                match std::error::Error::source(&status) {
                    Some(_) => asking.failed(&status.message()),
                    None => asking.answered(),
                }
                Err(self.failed(&status))
            }
            Err(elapsed) => Err(unreachable(&elapsed)),
        }
    }

    fn failed(&self, status: &Status) -> Failure {
        self.link.warn_of_refusal(status);
        unreachable(status)
    }
}

/// openraft waits before it tries an unreachable peer again; any other error is tried again at once.
pub(super) fn unreachable<E: std::error::Error + 'static>(error: &E) -> Failure {
    RPCError::Unreachable(Unreachable::new(error))
}

pub(super) fn broken<E: std::error::Error + 'static>(error: &E) -> Failure {
    RPCError::Network(NetworkError::new(error))
}

impl RaftNetworkV2<TypeConfig> for PeerClient {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failure> {
        let message = wire::append_out(&request);
        let response =
            self.control(message, &option, |mut c, r| async move { c.append(r).await }).await?;
        let result = wire::append_result_in(&response).map_err(|e| broken(&e))?;
        Ok(match result {
            Ok(last)
                if last == request.entries.last().map(|e| e.log_id).or(request.prev_log_id) =>
            {
                AppendEntriesResponse::Success
            }
            Ok(last) => AppendEntriesResponse::PartialSuccess(last),
            Err(error) => Err(error).into(),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Failure>>, Failure>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Control {
            return stream_append_sequential(self, input, option);
        }
        let (link, identity) = (&self.link, &self.links.identity);
        Box::pin(append::stream(Arc::clone(link), Arc::clone(identity), self.target, input))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let message = wire::vote_request_out(&request);
        let response =
            self.control(message, &option, |mut c, r| async move { c.vote(r).await }).await?;
        wire::vote_response_in(&response).map_err(|e| broken(&e))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let message = wire::vote_request_out(&request);
        let response =
            self.control(message, &option, |mut c, r| async move { c.pre_vote(r).await }).await?;
        wire::vote_response_in(&response).map_err(|e| broken(&e))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let address = |stream| self.links.identity.address(stream, self.target);
        let send = snapshot_send::send(&self.link, &self.history, vote, snapshot.snapshot, address);
        tokio::select! {
            result = send => match result {
                Ok(vote) => {
                    self.link.outage.snapshot_sent();
                    Ok(SnapshotResponse::new(vote))
                }
                Err(error) => {
                    self.link.outage.snapshot_failed(&self.name, &error);
                    self.link.reset(Lane::Bulk);
                    Err(StreamingError::Unreachable(Unreachable::new(&error)))
                }
            },
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failure> {
        let message = wire::transfer_out(&request);
        let response = self
            .control(message, &option, |mut c, r| async move { c.transfer_leader(r).await })
            .await?;
        if response.refusal.is_empty() {
            return Ok(Ok(()));
        }
        tracing::info!(peer = %self.link.address, "leadership refused: {}", response.refusal);
        let expected = request.last_log_id().copied();
        Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual: None }))
    }
}

impl From<Malformed> for Status {
    fn from(error: Malformed) -> Self {
        Status::invalid_argument(error.to_string())
    }
}
