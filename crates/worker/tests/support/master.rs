//! A master that says what a test tells it to, over a real connection.

use std::io;
use std::time::Duration;

use futures::Stream;
use muster_core::spec::ExecutorSpec;
use muster_proto::convert::executor_to_proto;
use muster_proto::internal::v1::session_request::Message as Request;
use muster_proto::internal::v1::session_response::Message as Response;
use muster_proto::internal::v1::worker_session_service_server::{
    WorkerSessionService, WorkerSessionServiceServer,
};
use muster_proto::internal::v1::{
    Acknowledge, Assignment, Dispatch, FinishReport, HeartbeatAck, HeldAttempt, Redirect, Register,
    Registered, Report, SessionRequest, SessionResponse, TaskDefinition,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::server::Connected;
use tonic::{Request as Call, Response as Answer, Status, Streaming};

/// A master, and the streams that workers opened to it.
pub struct Master {
    pub address: String,
    connections: mpsc::UnboundedReceiver<Connection>,
    server: tokio::task::JoinHandle<()>,
}

/// One stream from a worker.
pub struct Connection {
    requests: Streaming<SessionRequest>,
    responses: mpsc::UnboundedSender<Result<SessionResponse, Status>>,
    /// Whether heartbeats are answered.
    pub renews: bool,
    /// Whether heartbeats of a worker that shuts down are answered as if that were on record.
    pub is_draining: bool,
    /// The latest heartbeat's held attempts.
    pub held: Vec<HeldAttempt>,
}

struct Service(mpsc::UnboundedSender<Connection>);

#[tonic::async_trait]
impl WorkerSessionService for Service {
    type SessionStream = UnboundedReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        call: Call<Streaming<SessionRequest>>,
    ) -> Result<Answer<Self::SessionStream>, Status> {
        let (responses, stream) = mpsc::unbounded_channel();
        let requests = call.into_inner();
        let _ = self.0.send(Connection {
            requests,
            responses,
            renews: true,
            is_draining: false,
            held: Vec::new(),
        });
        Ok(Answer::new(UnboundedReceiverStream::new(stream)))
    }
}

impl Master {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Master::serve(address, TcpListenerStream::new(listener))
    }

    /// A master behind whatever `incoming` brings.
    pub fn serve<S: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static>(
        address: String,
        incoming: impl Stream<Item = io::Result<S>> + Send + 'static,
    ) -> Self {
        let (sender, connections) = mpsc::unbounded_channel();
        let service = WorkerSessionServiceServer::new(Service(sender));
        let server = tonic::transport::Server::builder().add_service(service);
        let server = server.serve_with_incoming(incoming);
        let server = tokio::spawn(async move { server.await.unwrap() });
        Master { address, connections, server }
    }

    /// The next stream, with its first message.
    pub async fn accept(&mut self) -> (Connection, Register) {
        let accepted = tokio::time::timeout(Duration::from_secs(20), self.connections.recv());
        let mut connection = accepted.await.expect("a worker connects").unwrap();
        match connection.next().await {
            Some(Request::Register(register)) => (connection, register),
            other => panic!("registers first, not {other:?}"),
        }
    }

    /// Accepts and registers a worker.
    pub async fn register(&mut self, lease_ms: u32) -> (Connection, Register) {
        let (connection, register) = self.accept().await;
        connection.register(lease_ms);
        (connection, register)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Connection {
    pub fn say(&self, message: Response) {
        let _ = self.responses.send(Ok(SessionResponse { message: Some(message) }));
    }

    pub fn register(&self, lease_ms: u32) {
        self.say(Response::Registered(Registered {
            worker_id: 1,
            cluster_id: "test-cluster".to_owned(),
            heartbeat_ms: 100,
            lease_ms,
            masters: Vec::new(),
        }));
    }

    pub fn refuse(&self, message: &str) {
        let _ = self.responses.send(Err(Status::failed_precondition(message)));
    }

    pub fn redirect(&self, leader: &str) {
        let (leader, masters, reason) = (leader.to_owned(), Vec::new(), String::new());
        self.say(Response::Redirect(Redirect { leader, masters, reason }));
    }

    /// The next message other than a heartbeat; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Request> {
        let next = async {
            loop {
                match self.requests.message().await.ok()??.message? {
                    Request::Heartbeat(heartbeat) => self.heard(heartbeat),
                    other => return Some(other),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("something is said")
    }

    fn heard(&mut self, heartbeat: muster_proto::internal::v1::Heartbeat) {
        self.held = heartbeat.held;
        if self.renews {
            let ack = SessionResponse {
                message: Some(Response::HeartbeatAck(HeartbeatAck {
                    seq: heartbeat.seq,
                    is_draining: self.is_draining && heartbeat.is_draining,
                })),
            };
            let _ = self.responses.send(Ok(ack));
        }
    }

    /// Answers heartbeats for `span`; panics if anything is said beside starts.
    pub async fn quiet_for(&mut self, span: Duration) {
        let talk = async {
            loop {
                match self.requests.message().await.unwrap().unwrap().message.unwrap() {
                    Request::Heartbeat(heartbeat) => self.heard(heartbeat),
                    Request::Report(report) if report.finishes.is_empty() => {}
                    other => panic!("unexpected: {other:?}"),
                }
            }
        };
        let _: Result<(), _> = tokio::time::timeout(span, talk).await;
    }

    /// The next report that holds outcomes.
    pub async fn report(&mut self) -> Report {
        loop {
            match self.next().await {
                Some(Request::Report(report)) if !report.finishes.is_empty() => return report,
                Some(Request::Report(_)) => {}
                other => panic!("reports, not {other:?}"),
            }
        }
    }

    /// The next outcome, alone in its report, acknowledged.
    pub async fn finish(&mut self) -> FinishReport {
        let mut report = self.report().await;
        self.acknowledge(report.seq);
        assert_eq!(report.finishes.len(), 1, "{report:?}");
        report.finishes.remove(0)
    }

    pub fn acknowledge(&self, seq: u64) {
        self.say(Response::Acknowledge(Acknowledge { seq }));
    }

    pub fn dispatch(&self, assignment: Assignment) {
        self.say(Response::Dispatch(Dispatch { assignments: vec![assignment] }));
    }
}

/// Indices of task 1 of run 42 under `fence`.
pub fn held(first: u32, last: u32, fence: u64) -> HeldAttempt {
    HeldAttempt { run_id: 42, task_index: 1, first, last, fence }
}

pub fn assignment(executor: &ExecutorSpec, held: &HeldAttempt) -> Assignment {
    let task = TaskDefinition {
        namespace: "team-a".to_owned(),
        workflow: "etl".to_owned(),
        run_number: 3,
        task_id: "load".to_owned(),
        executor: Some(executor_to_proto(executor)),
        is_array: held.last > 0,
        grace_period_ms: 300,
        ..TaskDefinition::default()
    };
    Assignment {
        run_id: held.run_id,
        task_index: held.task_index,
        first: held.first,
        last: held.last,
        fence: held.fence,
        attempt: 1,
        task: Some(task),
        task_key: 1,
    }
}
