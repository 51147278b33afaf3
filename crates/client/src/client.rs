//! The client itself, and how one call finds a master that can carry it out.

mod attempts;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_platform::Platform;
use muster_proto::v1;
use tokio::time::{Instant, timeout};
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use uuid::{NoContext, Timestamp, Uuid};

use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::retry::Budget;
use crate::throttle::{Outcome, Throttle};

use attempts::Call;

/// How long a call may take unless the caller says otherwise.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// How long a watch or a wait goes on while no master answers, unless the caller says otherwise.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

/// Largest message that is accepted from a master: a page of tasks, or a whole workflow.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The client's own watch over an attempt ends this much after the time it told the master, so that the master's answer
/// wins.
const ATTEMPT_GRACE: Duration = Duration::from_millis(100);

const TRAILER_LEADER: &str = "muster-leader";
const TRAILER_APPLIED_INDEX: &str = "muster-applied-index";
/// Whose call it is, UTF-8.
const METADATA_USER: &str = "muster-user-bin";

/// A handle to a cluster. Cloning is cheap; clones share connections, and what one learns about the masters all know.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    options: Options,
}

struct Shared {
    platform: Platform,
    endpoints: Endpoints,
    budget: Budget,
    throttle: Throttle,
    /// Highest log index that an answer spoke of.
    applied_index: AtomicU64,
}

#[derive(Clone, Debug)]
struct Options {
    namespace: String,
    deadline: Duration,
    connect_patience: Option<Duration>,
    patience: Duration,
    is_stale: bool,
    request_id: Option<String>,
    /// The caller's name for itself.
    user: Option<String>,
    /// A master that is connected may take all the time there is.
    is_patient: bool,
}

/// Builds a [`Client`].
#[derive(Clone, Debug)]
pub struct Builder {
    addresses: Vec<String>,
    platform: Platform,
    options: Options,
}

impl Builder {
    /// Adds a master: `http://host:port`, where scheme and port may be left out. Several go in one text with commas.
    pub fn endpoint(mut self, address: impl Into<String>) -> Builder {
        self.addresses.push(address.into());
        self
    }

    /// The namespace of everything that does not name one; `default` unless set.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Builder {
        self.options.namespace = namespace.into();
        self
    }

    /// How long a call may take, with all its retries; [`DEADLINE_DEFAULT`] unless set.
    pub fn deadline(mut self, deadline: Duration) -> Builder {
        self.options.deadline = deadline;
        self
    }

    /// Gives a call up early once no master could even be connected to for this long. Without it only the deadline
    /// counts.
    pub fn connect_patience(mut self, patience: Duration) -> Builder {
        self.options.connect_patience = Some(patience);
        self
    }

    /// Whose calls these are, by habit `user@host`. The cluster keeps it with what is asked for; nothing is
    /// authenticated by it. Without it calls carry no name.
    pub fn user(mut self, user: impl Into<String>) -> Builder {
        self.options.user = Some(user.into());
        self
    }

    /// How long watches and waits go on while no master answers; [`PATIENCE_DEFAULT`] unless set.
    pub fn patience(mut self, patience: Duration) -> Builder {
        self.options.patience = patience;
        self
    }

    /// The machine the client runs on; the operating system unless set. Simulations set it.
    pub fn platform(mut self, platform: Platform) -> Builder {
        self.platform = platform;
        self
    }

    /// The client. It connects with the first call.
    ///
    /// # Errors
    /// If an address is malformed or none was given, or outside a tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::invalid("a client must be built inside a tokio runtime"));
        }
        let shared = Shared {
            endpoints: Endpoints::new(&self.addresses, &self.platform)?,
            platform: self.platform,
            budget: Budget::new(),
            throttle: Throttle::new(),
            applied_index: AtomicU64::new(0),
        };
        Ok(Client { shared: Arc::new(shared), options: self.options })
    }
}

impl Client {
    /// A client of the cluster with these masters: `http://host:port`, where scheme and port may be left out. All
    /// masters, or some, in any order. It connects with the first call.
    ///
    /// # Errors
    /// If an address is malformed or none was given, or outside a tokio runtime.
    pub fn connect<I>(addresses: I) -> Result<Client, Error>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        addresses.into_iter().fold(Client::builder(), Builder::endpoint).build()
    }

    /// A client with other settings than the usual ones.
    pub fn builder() -> Builder {
        let options = Options {
            namespace: String::new(),
            deadline: DEADLINE_DEFAULT,
            connect_patience: None,
            patience: PATIENCE_DEFAULT,
            is_stale: false,
            request_id: None,
            user: None,
            is_patient: false,
        };
        Builder { addresses: Vec::new(), platform: Platform::system(), options }
    }

    /// The same client, with this long for each call, retries included.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        let options = Options { deadline, ..self.options.clone() };
        Client { shared: self.shared.clone(), options }
    }

    /// The same client, whose reads any master answers from what it has applied, without asking the others. They are
    /// never older than what this client has seen before.
    #[must_use]
    pub fn with_stale_reads(&self) -> Client {
        let options = Options { is_stale: true, ..self.options.clone() };
        Client { shared: self.shared.clone(), options }
    }

    /// The same client, whose calls that change something carry this request id: for a caller that repeats one call
    /// later, perhaps from another process, because it does not know whether the first arrived. It is meant for that
    /// call alone; another one with the same id is `ALREADY_EXISTS`. Without it each call draws an id of its own.
    #[must_use]
    pub fn with_request_id(&self, id: impl Into<String>) -> Client {
        let options = Options { request_id: Some(id.into()), ..self.options.clone() };
        Client { shared: self.shared.clone(), options }
    }

    /// The same client, for calls that are answered late by design. A master that died is noticed all the same.
    pub(crate) fn patient(&self) -> Client {
        let options = Options { is_patient: true, ..self.options.clone() };
        Client { shared: self.shared.clone(), options }
    }

    /// The addresses of the masters, complete, in the order given.
    pub fn endpoints(&self) -> Vec<String> {
        self.shared.endpoints.masters().iter().map(|master| master.address.clone()).collect()
    }

    /// The namespace of what does not name one; empty means the cluster's default.
    pub fn namespace(&self) -> &str {
        &self.options.namespace
    }

    /// The highest log index that an answer to this client or one of its clones spoke of.
    pub fn applied_index(&self) -> u64 {
        self.shared.applied_index.load(Ordering::Relaxed)
    }

    /// A client of the one master at `address`.
    pub(crate) fn alone(&self, address: &str) -> Result<Client, Error> {
        let (platform, options) = (self.shared.platform.clone(), self.options.clone());
        Builder { addresses: vec![address.to_owned()], platform, options }.build()
    }

    /// The idempotency key of a call: the caller's, or a new one. It is drawn once a call, so that retries of the call
    /// are known as such.
    pub(crate) fn new_request_id(&self) -> String {
        if let Some(id) = &self.options.request_id {
            return id.clone();
        }
        let now = self.shared.platform.wall_clock();
        let now = Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos());
        Uuid::new_v7(now).to_string()
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.deadline
    }

    pub(crate) fn patience(&self) -> Duration {
        self.options.patience
    }

    /// How reads of this client are to be answered.
    pub(crate) fn read_options(&self) -> Option<v1::ReadOptions> {
        if !self.options.is_stale {
            return None;
        }
        Some(v1::ReadOptions {
            consistency: v1::Consistency::Stale.into(),
            min_applied_index: self.applied_index(),
        })
    }

    /// Carries a call out by `deadline`, on whichever master can.
    pub(crate) async fn call_by<Q, R, F, Fut>(
        &self,
        deadline: Instant,
        request: Q,
        send: F,
    ) -> Result<R, Error>
    where
        Q: Clone,
        F: Fn(Channel, tonic::Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let mut call = Call::new(self, deadline);
        loop {
            call.held_back().await?;
            let (at, limit) = call.next_attempt()?;
            let mut attempt = tonic::Request::new(request.clone());
            attempt.set_timeout(limit);
            self.sign(&mut attempt);
            let started = Instant::now();
            let sent = timeout(limit + ATTEMPT_GRACE, send(call.channel(at), attempt));
            match call.attempted(at, sent).await {
                Ok(response) => {
                    call.ended(Outcome::Accepted);
                    self.learn(at, response.metadata());
                    return Ok(response.into_inner());
                }
                Err(status) => {
                    let is_late = started.elapsed() >= limit.mul_f64(0.95);
                    call.failed(at, status, is_late.then_some(limit)).await?;
                }
            }
        }
    }

    /// Opens a stream on whichever master can, within the time of one call. The stream itself may last.
    pub(crate) async fn open<Q, R, F, Fut>(&self, request: Q, send: F) -> Result<Open<R>, Error>
    where
        Q: Clone,
        F: Fn(Channel, tonic::Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<Streaming<R>>, Status>>,
    {
        let mut call = Call::new(self, self.deadline());
        loop {
            let (at, limit) = call.next_attempt()?;
            let started = Instant::now();
            let attempt = tonic::Request::new(request.clone());
            let sent = timeout(limit, send(call.channel(at), attempt));
            match call.attempted(at, sent).await {
                Ok(response) => {
                    self.learn(at, response.metadata());
                    return Ok(Open { at, stream: response.into_inner() });
                }
                Err(status) => {
                    let is_late = started.elapsed() >= limit;
                    call.failed(at, status, is_late.then_some(limit)).await?;
                }
            }
        }
    }

    /// Says whose call this is.
    fn sign<Q>(&self, request: &mut tonic::Request<Q>) {
        if let Some(user) = &self.options.user {
            let user = BinaryMetadataValue::from_bytes(user.as_bytes());
            request.metadata_mut().insert_bin(METADATA_USER, user);
        }
    }

    /// A stream from the master at `at` broke: the next call goes to another.
    pub(crate) fn leave(&self, at: usize) {
        self.shared.endpoints.move_on_from(at);
    }

    /// Remembers which master answered, and what the answer's trailers tell.
    fn learn(&self, at: usize, metadata: &MetadataMap) {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        if let Some(index) = text(TRAILER_APPLIED_INDEX).and_then(|text| text.parse().ok()) {
            self.shared.applied_index.fetch_max(index, Ordering::Relaxed);
        }
        // A follower would pass every call on to the leader.
        let leader = text(TRAILER_LEADER).filter(|_| !self.options.is_stale);
        let leader = leader.and_then(|address| self.shared.endpoints.find(address));
        self.shared.endpoints.prefer(leader.unwrap_or(at));
    }
}

/// A stream that a master began to send.
pub(crate) struct Open<R> {
    pub(crate) at: usize,
    pub(crate) stream: Streaming<R>,
}

macro_rules! services {
    ($($name:ident => $module:ident::$client:ident),* $(,)?) => {$(
        pub(crate) fn $name(channel: Channel) -> v1::$module::$client<Channel> {
            v1::$module::$client::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
        }
    )*};
}

services! {
    workflows => workflow_service_client::WorkflowServiceClient,
    runs => run_service_client::RunServiceClient,
    namespaces => namespace_service_client::NamespaceServiceClient,
    schedules => schedule_service_client::ScheduleServiceClient,
    workers => worker_service_client::WorkerServiceClient,
    logs => log_service_client::LogServiceClient,
    audit => audit_service_client::AuditServiceClient,
    cluster => cluster_service_client::ClusterServiceClient,
}

/// Carries out one call: `call!(client, request, runs.submit_run)`, with `, by deadline` for a deadline of its own.
macro_rules! call {
    ($client:expr, $request:expr, $service:ident.$method:ident) => {
        call!($client, $request, $service.$method, by $client.deadline())
    };
    ($client:expr, $request:expr, $service:ident.$method:ident, by $deadline:expr) => {
        $client.call_by($deadline, $request, |channel, request| async move {
            $crate::client::$service(channel).$method(request).await
        })
    };
}
pub(crate) use call;
