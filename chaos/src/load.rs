//! What clients do during a scenario: submit runs, some of them twice, follow them, read, and cancel some.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use muster_chaos::witness;
use muster_client::{Client, RunKey, Submission, v1};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{Answer, History, Pending, RunName, What};
use crate::scenario::Scenario;
use crate::shapes::{SHAPES, Shape};

/// How long one call may take, retries included.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a client follows a run before it goes on to the next.
const FOLLOW_MAX: Duration = Duration::from_secs(30);
/// How often, in percent, a client sends a submission again although it was accepted.
const AGAIN_PERCENT: u32 = 10;
/// How often it sends one again whose fate it does not know.
const INSIST_PERCENT: u32 = 50;
/// How often it reads a run it has just submitted.
const READ_PERCENT: u32 = 30;
/// How long after its submission a run is cancelled, in percent of the lease.
const CANCEL_LEASE_PERCENT: std::ops::RangeInclusive<u32> = 0..=150;

/// Clients at work.
pub(crate) struct Clients {
    stop: watch::Sender<bool>,
    working: JoinSet<()>,
}

/// Applies the workflows of all shapes; those that run by themselves only if the scenario wants them.
pub(crate) async fn apply_shapes(
    client: &Client,
    scenario: &Scenario,
    program: &Path,
    folder: &Path,
) -> Result<()> {
    for shape in SHAPES.iter().filter(|it| scenario.load.schedules || !it.is_scheduled()) {
        let manifest = shape.manifest(program, folder);
        client
            .apply(manifest)
            .await
            .with_context(|| format!("the workflow of the shape `{}`", shape.name))?;
    }
    Ok(())
}

impl Clients {
    /// Starts them; the same seed makes the same wishes.
    pub(crate) fn start(
        scenario: &Scenario,
        addresses: &[String],
        history: &Arc<History>,
        seed: u64,
    ) -> Result<Clients> {
        let (stop, stopped) = watch::channel(false);
        let mut working = JoinSet::new();
        for number in 0..scenario.load.clients {
            let user = User {
                client: Client::connect(addresses)?.with_deadline(CALL_DEADLINE),
                scenario: scenario.clone(),
                history: history.clone(),
                name: format!("{seed}-{number}"),
                chance: StdRng::seed_from_u64(seed ^ ((number as u64 + 1) << 32)),
            };
            let mut stopped = stopped.clone();
            working.spawn(async move {
                tokio::select! {
                    () = user.work() => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            });
        }
        Ok(Clients { stop, working })
    }

    /// Has everybody drop what they do.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.working.join_next().await.is_some() {}
    }
}

struct User {
    client: Client,
    scenario: Scenario,
    history: Arc<History>,
    name: String,
    chance: StdRng,
}

impl User {
    async fn work(mut self) {
        for number in 0_u64.. {
            let shape = Shape::draw(&self.scenario.load.mix, &mut self.chance);
            let request = format!("{}-{number}", self.name);
            let wish = shape.submission(&self.scenario, &mut self.chance).request_id(&request);
            let mut run = self.submit(&request, shape, &wish).await;
            let again = if run.is_some() { AGAIN_PERCENT } else { INSIST_PERCENT };
            if self.draws(again) {
                run = self.submit(&request, shape, &wish).await.or(run);
            }
            if let Some(run) = run {
                self.follow(&run, shape).await;
            }
            let pause = self.scenario.load.pause_ms.draw(&mut self.chance);
            tokio::time::sleep(pause).await;
        }
    }

    fn draws(&mut self, percent: u32) -> bool {
        self.chance.random_range(0..100) < percent
    }

    async fn submit(
        &self,
        request: &str,
        shape: &'static Shape,
        wish: &Submission,
    ) -> Option<RunName> {
        submit(&self.client, &self.history, request, shape.name, wish).await
    }

    async fn follow(&mut self, run: &RunName, shape: &Shape) {
        if self.draws(READ_PERCENT) {
            read(&self.client, &self.history, run).await;
        }
        if shape.name == "cancelled" {
            let lease = self.scenario.lease();
            let after = lease * self.chance.random_range(CANCEL_LEASE_PERCENT) / 100;
            tokio::time::sleep(after).await;
            cancel(&self.client, &self.history, run).await;
        }
        let called = witness::now();
        let ended = self.client.wait_run(key(run), Some(FOLLOW_MAX)).await;
        let answer = Answer::of(ended.map(|run| status_word(&run)));
        self.history.note(called, What::Read { run: run.id, answer });
    }
}

/// Submits, and notes what came of it.
pub(crate) async fn submit(
    client: &Client,
    history: &History,
    request: &str,
    shape: &'static str,
    wish: &Submission,
) -> Option<RunName> {
    history.remember(request, wish);
    let noted = |answer| What::Submit { request: request.to_owned(), shape, answer };
    let pending = Pending::new(history, |why| noted(Answer::Unknown(why)));
    let answer = Answer::of(client.submit(wish.clone()).await.map(|run| RunName {
        id: run.run_id,
        workflow: run.workflow,
        number: run.number,
    }));
    let run = match &answer {
        Answer::Yes(run) => Some(run.clone()),
        Answer::Unknown(_) | Answer::Refused(_) => None,
    };
    pending.answered(noted(answer));
    run
}

/// Reads a run, and notes what came of it.
pub(crate) async fn read(client: &Client, history: &History, run: &RunName) -> Option<v1::Run> {
    let called = witness::now();
    let result = client.get_run(key(run)).await;
    let found = result.as_ref().ok().cloned();
    let answer = Answer::of(result.map(|run| status_word(&run)));
    history.note(called, What::Read { run: run.id, answer });
    found
}

/// Cancels a run, and notes what came of it.
pub(crate) async fn cancel(client: &Client, history: &History, run: &RunName) {
    let noted = |answer| What::Cancel { run: run.id, answer };
    let pending = Pending::new(history, |why| noted(Answer::Unknown(why)));
    let answer = Answer::of(client.cancel(key(run)).await);
    pending.answered(noted(answer));
}

pub(crate) fn key(run: &RunName) -> RunKey {
    RunKey::number(&run.workflow, run.number)
}

/// A run's status as the history has it.
pub(crate) fn status_word(run: &v1::Run) -> String {
    let word = match run.status() {
        v1::RunStatus::Unspecified => "unspecified",
        v1::RunStatus::Queued => "queued",
        v1::RunStatus::Running => "running",
        v1::RunStatus::Paused => "paused",
        v1::RunStatus::Succeeded => "succeeded",
        v1::RunStatus::Failed => "failed",
        v1::RunStatus::Cancelled => "cancelled",
    };
    word.to_owned()
}
