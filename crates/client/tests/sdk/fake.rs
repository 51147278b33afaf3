//! A master that answers as a test tells it to, on a real socket.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use muster_client::v1;
use muster_client::v1::log_service_server::{LogService, LogServiceServer};
use muster_client::v1::run_service_server::{RunService, RunServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What the master does with the next call.
pub(crate) enum Step {
    /// Answers with a run.
    Run(v1::Run),
    /// Refuses.
    Refuse(Status),
    /// Answers with a run, but not soon.
    Late(Duration, v1::Run),
    /// Never answers.
    Hang,
    /// Streams these, then fails, ends (`None`), or stays silent.
    Watch(Vec<v1::WatchRunResponse>, Then),
    /// Streams these, then fails, ends, or stays silent.
    Log(Vec<v1::TailLogResponse>, Then),
}

/// How a stream goes on after its items.
pub(crate) enum Then {
    Fail(Status),
    End,
    Silence,
}

/// The calls a master got, in order.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) submits: Vec<v1::SubmitRunRequest>,
    pub(crate) gets: Vec<v1::GetRunRequest>,
    pub(crate) waits: usize,
    pub(crate) watches: Vec<v1::WatchRunRequest>,
    pub(crate) tails: Vec<v1::TailLogRequest>,
    /// Questions for a sign of life.
    pub(crate) pulses: usize,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) calls: Arc<Mutex<Calls>>,
    steps: Arc<Mutex<VecDeque<Step>>>,
}

impl Fake {
    /// Starts a master that goes through `steps`, and hangs after them.
    pub(crate) async fn start(steps: impl IntoIterator<Item = Step>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Fake {
            address: format!("http://{}", listener.local_addr().unwrap()),
            calls: Arc::default(),
            steps: Arc::new(Mutex::new(steps.into_iter().collect())),
        };
        let server = tonic::transport::Server::builder()
            .add_service(HealthServer::new(fake.clone()))
            .add_service(RunServiceServer::new(fake.clone()))
            .add_service(LogServiceServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        fake
    }

    async fn run(&self) -> Result<v1::Run, Status> {
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Run(run)) => Ok(run),
            Some(Step::Refuse(status)) => Err(status),
            Some(Step::Late(wait, run)) => {
                tokio::time::sleep(wait).await;
                Ok(run)
            }
            Some(Step::Watch(..) | Step::Log(..)) => panic!("the test expects a stream"),
            Some(Step::Hang) | None => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl Health for Fake {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.calls.lock().unwrap().pulses += 1;
        Ok(Response::new(HealthCheckResponse::default()))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("no client watches it"))
    }
}

/// An address where nobody listens.
pub(crate) async fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An address where the system takes connections for a process that hangs; until the listener is dropped.
pub(crate) async fn hung_address() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

pub(crate) fn run(number: u64, status: v1::RunStatus) -> v1::Run {
    v1::Run { id: 7, workflow: "etl".into(), number, status: status.into(), ..Default::default() }
}

fn items<T: Send + 'static>(items: Vec<T>, then: Then) -> BoxStream<'static, Result<T, Status>> {
    let items = stream::iter(items.into_iter().map(Ok));
    match then {
        Then::Fail(status) => items.chain(stream::iter([Err(status)])).boxed(),
        Then::End => items.boxed(),
        Then::Silence => items.chain(stream::pending()).boxed(),
    }
}

#[tonic::async_trait]
impl RunService for Fake {
    async fn submit_run(
        &self,
        request: Request<v1::SubmitRunRequest>,
    ) -> Result<Response<v1::SubmitRunResponse>, Status> {
        self.calls.lock().unwrap().submits.push(request.into_inner());
        let run = self.run().await?;
        Ok(Response::new(v1::SubmitRunResponse {
            run_id: run.id,
            workflow: run.workflow,
            number: run.number,
            ..Default::default()
        }))
    }

    async fn get_run(
        &self,
        request: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        self.calls.lock().unwrap().gets.push(request.into_inner());
        let run = self.run().await?;
        let mut response = Response::new(v1::GetRunResponse { run: Some(run), spec: None });
        response.metadata_mut().insert("muster-applied-index", "41".parse().unwrap());
        Ok(response)
    }

    async fn wait_run(
        &self,
        _: Request<v1::WaitRunRequest>,
    ) -> Result<Response<v1::WaitRunResponse>, Status> {
        self.calls.lock().unwrap().waits += 1;
        let run = self.run().await?;
        Ok(Response::new(v1::WaitRunResponse { run: Some(run) }))
    }

    type WatchRunStream = BoxStream<'static, Result<v1::WatchRunResponse, Status>>;

    async fn watch_run(
        &self,
        request: Request<v1::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        self.calls.lock().unwrap().watches.push(request.into_inner());
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Watch(responses, then)) => Ok(Response::new(items(responses, then))),
            Some(Step::Refuse(status)) => Err(status),
            _ => panic!("the test expects no watch"),
        }
    }

    async fn cancel_run(
        &self,
        _: Request<v1::CancelRunRequest>,
    ) -> Result<Response<v1::CancelRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn pause_run(
        &self,
        _: Request<v1::PauseRunRequest>,
    ) -> Result<Response<v1::PauseRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn prioritize_run(
        &self,
        _: Request<v1::PrioritizeRunRequest>,
    ) -> Result<Response<v1::PrioritizeRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn end_task(
        &self,
        _: Request<v1::EndTaskRequest>,
    ) -> Result<Response<v1::EndTaskResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn retry_run(
        &self,
        _: Request<v1::RetryRunRequest>,
    ) -> Result<Response<v1::RetryRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn release_task(
        &self,
        _: Request<v1::ReleaseTaskRequest>,
    ) -> Result<Response<v1::ReleaseTaskResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_runs(
        &self,
        _: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_tasks(
        &self,
        _: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn explain_run(
        &self,
        _: Request<v1::ExplainRunRequest>,
    ) -> Result<Response<v1::ExplainRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl LogService for Fake {
    type TailLogStream = BoxStream<'static, Result<v1::TailLogResponse, Status>>;

    async fn tail_log(
        &self,
        request: Request<v1::TailLogRequest>,
    ) -> Result<Response<Self::TailLogStream>, Status> {
        self.calls.lock().unwrap().tails.push(request.into_inner());
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Log(responses, then)) => Ok(Response::new(items(responses, then))),
            Some(Step::Refuse(status)) => Err(status),
            _ => panic!("the test expects no log"),
        }
    }
}
