//! The peers' port: hands calls to openraft and to the membership's keeper.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use muster_core::mutant::{self, Mutant};
use muster_platform::Incoming;
use muster_proto::internal::v1 as pb;
use muster_proto::internal::v1::peer_service_server::{PeerService, PeerServiceServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::snapshot_receive::SnapshotReceiver;
use super::{
    CONNECTION_WINDOW_BYTES, Clocks, Identity, MESSAGE_BYTES_MAX, PROBE_AFTER, PROBE_TIMEOUT,
    STREAM_WINDOW_BYTES,
};
use crate::node::Roster;
use crate::types::Raft;
use crate::wire;

/// One connection may have this many calls open.
const STREAMS_MAX: u32 = 256;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers the peers.
pub(crate) struct PeerServer {
    pub(crate) identity: Arc<Identity>,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) raft: Raft,
    pub(crate) roster: Arc<Roster>,
    pub(crate) snapshots: SnapshotReceiver,
}

/// Serves until `stop` is ready.
pub(crate) async fn serve(
    server: PeerServer,
    incoming: Incoming,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = PeerServiceServer::new(server)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(PROBE_AFTER))
        .http2_keepalive_timeout(Some(PROBE_TIMEOUT))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

impl PeerServer {
    fn checked<T>(&self, request: Request<T>) -> Result<T, Status> {
        self.identity.check(request.metadata())?;
        Ok(request.into_inner())
    }

    /// An answer with this master's clock.
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut answer = Response::new(message);
        self.clocks.tell(answer.metadata_mut());
        answer
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("Raft has stopped: {error}"))
}

#[tonic::async_trait]
impl PeerService for PeerServer {
    type StreamAppendStream = Answers<pb::AppendResponse>;
    type InstallSnapshotStream = ReceiverStream<Result<pb::SnapshotProgress, Status>>;

    async fn hello(
        &self,
        request: Request<pb::HelloRequest>,
    ) -> Result<Response<pb::HelloResponse>, Status> {
        self.roster.hello(&request.into_inner()).await.map(Response::new)
    }

    async fn form(
        &self,
        request: Request<pb::FormRequest>,
    ) -> Result<Response<pb::FormResponse>, Status> {
        self.roster.form(&request.into_inner()).await.map(Response::new)
    }

    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        self.roster.clone().join(request.into_inner()).await.map(Response::new)
    }

    async fn stream_append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let requests = self.checked(request)?;
        let requests = requests.map(|request| Ok(wire::append_in(request?)?));
        // A malformed or broken request ends the stream; what came before it is still answered.
        let requests = requests.take_while(|request: &Result<_, Status>| {
            if let Err(status) = request {
                tracing::debug!(%status, "an append stream ends");
            }
            std::future::ready(request.is_ok())
        });
        let requests = requests.filter_map(|request| std::future::ready(request.ok()));
        let answers = self.raft.stream_append(requests).map(|result| match result {
            Ok(result) => Ok(wire::append_result_out(&result)),
            Err(fatal) => Err(stopped(fatal)),
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        let request = wire::append_in(self.checked(request)?)?;
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let response = self.raft.append_entries(request).await.map_err(stopped)?;
        use openraft::raft::AppendEntriesResponse as R;
        if matches!(response, R::Conflict) && prev.is_none() {
            return Err(Status::internal("a conflict without a previous entry"));
        }
        let result = response.into_stream_result(prev, last);
        Ok(self.answer(wire::append_result_out(&result)))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = wire::vote_request_in(&self.checked(request)?)?;
        if mutant::is_on(Mutant::NoSecondLeader)
            && request.last_log_id.is_some_and(|id| id.index > 0)
        {
            return Err(Status::unavailable("this master votes once"));
        }
        let response = self.raft.vote(request).await.map_err(stopped)?;
        Ok(self.answer(wire::vote_response_out(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = wire::vote_request_in(&self.checked(request)?)?;
        let response = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(self.answer(wire::vote_response_out(&response)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let request = wire::transfer_in(&self.checked(request)?)?;
        let response = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        let refusal = response.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(pb::TransferLeaderResponse { refusal }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotUpload>>,
    ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
        let uploads = self.checked(request)?;
        if mutant::is_on(Mutant::SnapshotRefused) {
            return Err(Status::unavailable("this master takes no snapshots"));
        }
        let (answers, receiver) = mpsc::channel(2);
        let snapshots = self.snapshots.clone();
        tokio::spawn(async move {
            if let Err(status) = snapshots.receive(uploads, answers.clone()).await {
                tracing::warn!(%status, "receiving a snapshot failed");
                // The leader may have gone already.
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
