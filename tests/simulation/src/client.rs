//! A client that carries out its steps one after the other and tells what it was told.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use futures::StreamExt;
use muster_checker::history::{Answer, Call};
use muster_checker::{Observed, spec_digest};
use muster_client::{Client, Error, Retry, RetryScope, RunFilter, RunKey, Submission};
use muster_core::ids::{Fence, LogIndex, RunId, Text};
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::state::run::RunStatus;
use muster_platform::Platform;
use muster_proto::convert::namespace_to_proto;
use muster_proto::v1;

use crate::executor::outputs_of;
use crate::plan::{Action, Step, freed};
use crate::witness::{OpenRun, Witness};
use crate::workflow::{self, Workflow};

/// How long a call may take, retries included.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a look at a master may take that nobody waits for.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Runs on a page: small, so that there are several pages.
const PAGE: u32 = 20;
/// The same for the last look at everything.
const LAST_PAGE: u32 = 500;
/// Codes by which the cluster says a definite no.
const DEFINITE: [&str; 5] =
    ["INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "OUT_OF_RANGE"];

/// One client host.
pub struct Workload {
    number: u64,
    client: Client,
    platform: Platform,
    witness: Witness,
    /// What was submitted last, for repeating it.
    last: Option<(String, What)>,
    runs: Vec<u64>,
    requests: u64,
}

#[derive(Clone)]
enum What {
    OneOff(Workflow),
    Applied(String),
}

impl Workload {
    /// A client of the masters at `addresses`.
    ///
    /// # Errors
    /// An address is none.
    pub fn new(
        number: u64,
        addresses: &[String],
        platform: Platform,
        witness: Witness,
    ) -> Result<Self, Error> {
        let builder = addresses.iter().fold(Client::builder(), |b, address| b.endpoint(address));
        let builder = builder.user(format!("client-{number}")).deadline(DEADLINE);
        let client = builder.platform(platform.clone()).build()?;
        Ok(Self { number, client, platform, witness, last: None, runs: Vec::new(), requests: 0 })
    }

    /// Carries out the steps.
    pub async fn run(&mut self, steps: Vec<Step>) {
        for step in steps {
            tokio::time::sleep(step.pause).await;
            self.act(step.action).await;
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Apply(workflow) => self.apply(&workflow).await,
            Action::Submit(workflow) => self.submit_new(What::OneOff(workflow)).await,
            Action::SubmitApplied(name) => self.submit_new(What::Applied(name.into())).await,
            Action::Repeat => {
                if let Some((id, what)) = self.last.clone() {
                    self.submit(id, what).await;
                }
            }
            Action::Abuse(workflow) => {
                if let Some((id, _)) = self.last.clone() {
                    self.submit(id, What::OneOff(workflow)).await;
                }
            }
            Action::Cancel(back) => {
                if let Some(run) = self.own_run(back) {
                    self.cancel(run).await;
                }
            }
            Action::Read(back) => {
                if let Some(run) = self.own_run(back) {
                    self.read(run, false).await;
                }
            }
            Action::ReadStale(back) => {
                if let Some(run) = self.own_run(back) {
                    self.read(run, true).await;
                }
            }
            Action::List => self.list().await,
            Action::Wait(back, limit) => {
                if let Some(run) = self.own_run(back) {
                    self.wait(run, limit).await;
                }
            }
            Action::Suspend(name, is_suspended) => {
                self.change(&format!("suspend {name} {is_suspended}"), async |client| {
                    client.suspend_schedule(name, None, is_suspended).await
                })
                .await;
            }
            Action::Namespace(spec) => self.apply_namespace(&spec).await,
            Action::Drain(worker, is_draining) => self.drain(worker, is_draining).await,
            Action::Pause(..)
            | Action::Prioritize(..)
            | Action::EndTask(..)
            | Action::Answer(..)
            | Action::Retry(..) => self.operate(action).await,
        }
    }

    /// Changes one of its runs.
    async fn operate(&mut self, action: Action) {
        let (Action::Pause(back, _)
        | Action::Prioritize(back, _)
        | Action::EndTask(back, ..)
        | Action::Answer(back, ..)
        | Action::Retry(back, _)) = action
        else {
            return;
        };
        let Some(run) = self.own_run(back) else { return };
        let what = format!("{action:?} of run {run}");
        let key = RunKey::id(run);
        match action {
            Action::Pause(_, is_paused) => {
                self.change(&what, async |client| client.pause(key, is_paused).await).await;
            }
            Action::Prioritize(_, priority) => {
                self.change(&what, async |client| client.prioritize(key, priority).await).await;
            }
            Action::EndTask(_, end, task) => {
                let task = workflow::task(task);
                self.change(&what, async |client| client.end_task(key, task, end).await).await;
            }
            Action::Answer(_, task, is_given) => {
                let answer = async |client: Client| {
                    client.answer_approval(key, task, is_given, "simulated").await
                };
                self.change(&what, answer).await;
            }
            Action::Retry(_, scope) => self.retry(run, scope, &what).await,
            _ => {}
        }
    }

    async fn retry(&mut self, run: u64, scope: RetryScope, what: &str) {
        let (id, seen) = (self.request_id(), self.client.applied_index());
        self.witness.note(format_args!("{id} is {what}"));
        let request = Some(id.as_str().into());
        let call = self.invoke(Call::Retry { request, body: digest(what), of: RunId(run) });
        let retry = Retry { scope, ..Retry::default() };
        let answer = match self.client.with_request_id(id).retry(RunKey::id(run), &retry).await {
            Ok(retried) if retried.is_new => {
                self.runs.push(retried.run_id);
                Answer::Submitted { run: RunId(retried.run_id), number: retried.number }
            }
            Ok(_) => Answer::Done {},
            Err(error) => refusal(&error),
        };
        self.returned(call, answer, seen);
    }

    fn own_run(&self, back: usize) -> Option<u64> {
        self.runs.len().checked_sub(1 + back).map(|at| self.runs[at])
    }

    fn invoke(&self, what: Call) -> u64 {
        let call = self.witness.next_call();
        self.witness.observed(Observed::Invoked { call, client: self.number, what });
        call
    }

    fn returned(&self, call: u64, answer: Answer, seen_before: u64) {
        let seen = self.client.applied_index();
        // The highest index of all answers: this answer's own only if it is news.
        let index = (seen > seen_before).then_some(LogIndex(seen));
        self.witness.observed(Observed::Returned { call, answer, index });
    }

    /// An id that no other request has.
    fn request_id(&mut self) -> String {
        self.requests += 1;
        format!("c{}-{}", self.number, self.requests)
    }

    async fn submit_new(&mut self, what: What) {
        let id = self.request_id();
        self.submit(id, what).await;
    }

    /// A call that changes something and tells nothing.
    async fn change(&mut self, what: &str, call: impl AsyncFnOnce(Client) -> Result<(), Error>) {
        let (id, seen) = (self.request_id(), self.client.applied_index());
        self.witness.note(format_args!("{id} is {what}"));
        let body = digest(what);
        let number = self.invoke(Call::Change { request: Some(id.as_str().into()), body });
        let answer = match call(self.client.with_request_id(id)).await {
            Ok(()) => Answer::Done {},
            Err(error) => refusal(&error),
        };
        self.returned(number, answer, seen);
    }

    /// Submits, and remembers the run.
    pub async fn submit_one(&mut self, workflow: Workflow) -> Option<u64> {
        self.submit_new(What::OneOff(workflow)).await;
        self.runs.last().copied()
    }

    async fn submit(&mut self, id: String, what: What) {
        let (submission, spec, workflow) = match &what {
            What::OneOff(workflow) => (
                Submission::one_off(workflow.text.as_str()),
                Some(spec_digest(&workflow.parse())),
                workflow.name.as_str(),
            ),
            What::Applied(name) => (Submission::workflow(name.as_str()), None, name.as_str()),
        };
        let body = match &what {
            What::OneOff(workflow) => digest(&workflow.text),
            What::Applied(name) => digest(name),
        };
        let request: Option<Text> = Some(id.as_str().into());
        let seen = self.client.applied_index();
        let call = self.invoke(Call::Submit { request, body, spec, workflow: workflow.into() });
        let result = self.client.submit(submission.request_id(id.as_str())).await;
        let answer = match &result {
            Ok(accepted) => {
                if !self.runs.contains(&accepted.run_id) {
                    self.runs.push(accepted.run_id);
                }
                Answer::Submitted { run: RunId(accepted.run_id), number: accepted.number }
            }
            Err(error) => refusal(error),
        };
        self.returned(call, answer, seen);
        self.last = Some((id, what));
    }

    async fn apply(&mut self, workflow: &Workflow) {
        let body = digest(&workflow.text);
        let (id, seen) = (self.request_id(), self.client.applied_index());
        let request = Some(id.as_str().into());
        let workflow_name = workflow.name.as_str().into();
        let call = self.invoke(Call::Apply { request, body, workflow: workflow_name });
        let answer = match self.client.with_request_id(id).apply(workflow.text.as_str()).await {
            Ok(applied) => Answer::Applied { version: applied.version },
            Err(error) => refusal(&error),
        };
        self.returned(call, answer, seen);
    }

    async fn cancel(&mut self, run: u64) {
        let seen = self.client.applied_index();
        let id = self.request_id();
        let request = Some(id.as_str().into());
        let call = self.invoke(Call::Cancel { request, body: run, run: RunId(run) });
        let answer = match self.client.with_request_id(id).cancel(RunKey::id(run)).await {
            Ok(is_cancelling) => Answer::Cancelling { is_cancelling },
            Err(error) => refusal(&error),
        };
        self.returned(call, answer, seen);
    }

    /// Reads a run.
    pub async fn read(&mut self, run: u64, is_stale: bool) -> Option<RunStatus> {
        let seen = self.client.applied_index();
        let min_index = is_stale.then_some(LogIndex(seen));
        let call = self.invoke(Call::Get { run: RunId(run), is_stale, min_index });
        let client = if is_stale { self.client.with_stale_reads() } else { self.client.clone() };
        let result = client.get_run(RunKey::id(run)).await;
        let status = result.as_ref().ok().map(|run| status_of(run.status()));
        let answer = match result {
            Ok(run) => Answer::Run { status: status_of(run.status()) },
            Err(error) if error.is_not_found() => Answer::NoRun {},
            Err(error) => refusal(&error),
        };
        self.returned(call, answer, seen);
        status
    }

    async fn list(&mut self) {
        let seen = self.client.applied_index();
        let call = self.invoke(Call::List { workflow: None, is_stale: false, min_index: None });
        let filter = RunFilter { page_size: PAGE, ..RunFilter::default() };
        // One page, which is one call: the next pages are of later moments.
        let items = self.client.list_runs(filter).take(PAGE as usize).collect::<Vec<_>>().await;
        let answer = match items.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(runs) => {
                let is_whole = runs.len() < PAGE as usize;
                let runs =
                    runs.iter().map(|run| (RunId(run.id), status_of(run.status()))).collect();
                Answer::Runs { runs, is_whole }
            }
            Err(error) => refusal(&error),
        };
        self.returned(call, answer, seen);
    }

    async fn wait(&mut self, run: u64, limit: Duration) {
        let seen = self.client.applied_index();
        let call = self.invoke(Call::Get { run: RunId(run), is_stale: false, min_index: None });
        let answer = match self.client.wait_run(RunKey::id(run), Some(limit)).await {
            Ok(run) => Answer::Run { status: status_of(run.status()) },
            Err(error) if error.is_not_found() => Answer::NoRun {},
            Err(error) => refusal(&error),
        };
        self.returned(call, answer, seen);
    }

    async fn apply_namespace(&mut self, spec: &NamespaceSpec) {
        let message = namespace_to_proto(spec);
        let apply = async |client: Client| client.apply_namespace(message).await.map(|_| ());
        self.change(&format!("{spec:?}"), apply).await;
    }

    async fn drain(&mut self, worker: usize, is_draining: bool) {
        self.change(&format!("drain w{worker} {is_draining}"), async |client| {
            client.drain(format!("w{worker}"), !is_draining).await
        })
        .await;
    }

    /// Takes the limits of the namespace away, so that new work is accepted and all runs can end.
    pub async fn free(&mut self, namespace: &NamespaceSpec) {
        self.apply_namespace(&freed(namespace)).await;
    }

    /// Takes every worker back in, lets paused runs go on and every held task fail, and gives every approval, so that
    /// all runs can end.
    pub async fn tidy_up(&mut self, workers: usize, open: BTreeMap<u64, OpenRun>) {
        for worker in 0..workers {
            self.drain(worker, false).await;
        }
        for (run, OpenRun { held, awaiting, is_paused }) in open {
            if is_paused {
                self.change(&format!("resume {run}"), async |client| {
                    client.pause(RunKey::id(run), false).await
                })
                .await;
            }
            for task in awaiting {
                self.change(&format!("approve {run} {task}"), async |client| {
                    client.answer_approval(RunKey::id(run), task.as_str(), true, "").await
                })
                .await;
            }
            for task in held {
                self.change(&format!("release {run} {task}"), async |client| {
                    client.release(RunKey::id(run), task.as_str(), false).await
                })
                .await;
            }
        }
    }

    /// Tells what a master shows of every run that was ever accepted. Everything is over.
    pub async fn look_at_all(&self, master: usize, address: &str) {
        let known = self.witness.runs();
        let client = Client::builder().endpoint(address).deadline(DEADLINE);
        let client = client.platform(self.platform.clone()).build();
        let client = client.expect("it was built before").with_stale_reads();
        let filter = RunFilter { page_size: LAST_PAGE, ..RunFilter::default() };
        let shown: Result<Vec<_>, _> =
            client.list_runs(filter).collect::<Vec<_>>().await.into_iter().collect();
        let shown = match shown {
            Ok(shown) => shown,
            Err(error) => {
                return self
                    .witness
                    .note(format_args!("m{master} shows no runs: {}", error.code()));
            }
        };
        let shown: BTreeMap<u64, RunStatus> =
            shown.iter().map(|run| (run.id, status_of(run.status()))).collect();
        for run in known.iter().filter(|run| shown.contains_key(&run.0)) {
            self.look_at_outputs(master, &client, *run).await;
        }
        let master = master as u64;
        for run in known {
            self.witness.observed(match shown.get(&run.0) {
                Some(status) => Observed::RunFinal { master, run, status: *status },
                None => Observed::RunAbsent { master, run },
            });
        }
    }

    /// Looks at a master's history, however old.
    pub async fn look_at_history(&self, master: usize, address: &str) {
        let client = Client::builder().endpoint(address).deadline(LOOK_MAX);
        let client = client.platform(self.platform.clone()).build();
        let client = client.expect("it was built before").with_stale_reads();
        let filter = RunFilter { page_size: LAST_PAGE, ..RunFilter::default() };
        let master = master as u64;
        let before = self.witness.stand_of(master);
        let shown = client.list_runs(filter).collect::<Vec<_>>().await;
        let after = self.witness.stand_of(master);
        let (Some((life, applied)), Some((still, _))) = (before, after) else { return };
        // A master that has begun anew may show an older history than before.
        if life != still {
            return;
        }
        let shown = shown.into_iter().flatten();
        for run in shown.filter(muster_client::is_ended) {
            self.witness.observed(Observed::HistoryShown { master, applied, run: RunId(run.id) });
        }
    }

    /// Compares the outputs that a master shows of a run with those that its tasks gave out.
    async fn look_at_outputs(&self, master: usize, client: &Client, run: RunId) {
        if outputs_of(run, Fence(0)).is_empty() {
            return;
        }
        let tasks = client.list_tasks(RunKey::id(run.0), &[v1::TaskStatus::Succeeded]);
        // Where there was no attempt a person said so, or it is taken over from another run.
        let tasks = tasks.collect::<Vec<_>>().await.into_iter().flatten();
        for task in tasks.filter(|task| task.fence > 0) {
            let wanted = outputs_of(run, Fence(task.fence));
            let wanted: BTreeMap<_, _> =
                wanted.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let shown: BTreeMap<_, _> = task.outputs.into_iter().collect();
            if !task.is_array && shown != wanted {
                let what = format!(
                    "m{master} shows {shown:?} of run {run} task {}, not {wanted:?}",
                    task.id
                );
                self.witness.is_wrong(what);
            }
        }
    }

    /// Asks a master to hand over to another.
    pub async fn transfer(&mut self, to: &str) {
        let result = self.client.with_deadline(Duration::from_secs(2)).transfer_leader(to).await;
        let result = result.map_err(|error| error.code());
        self.witness.note(format_args!("transfer to {to}: {result:?}"));
    }
}

pub(crate) fn refusal(error: &Error) -> Answer {
    let code = code_name(error);
    let is_definite = DEFINITE.contains(&code) && error.failures().is_empty();
    let code: Text = code.into();
    if is_definite { Answer::Refused { code } } else { Answer::Unknown { code } }
}

fn code_name(error: &Error) -> &'static str {
    use tonic::Code;
    match error.code() {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        _ => "OTHER",
    }
}

pub(crate) fn status_of(status: v1::RunStatus) -> RunStatus {
    match status {
        v1::RunStatus::Succeeded => RunStatus::Succeeded,
        v1::RunStatus::Failed => RunStatus::Failed,
        v1::RunStatus::Cancelled => RunStatus::Cancelled,
        v1::RunStatus::Queued => RunStatus::Queued,
        v1::RunStatus::Paused => RunStatus::Paused,
        v1::RunStatus::Running | v1::RunStatus::Unspecified => RunStatus::Running,
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
