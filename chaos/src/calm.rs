//! After the faults: whether everything becomes well by itself, and what there is to read then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, stream};
use muster_client::{Client, RunFilter, Submission, is_ended, v1};
use tokio::time::Instant;

use crate::history::{History, RunName, requests};
use crate::lab::{Lab, View};
use crate::load;
use crate::scenario::Scenario;
use crate::shapes::SHAPES;
use crate::violations::Violations;

/// Runs of one answer.
const PAGE: u32 = 1_000;
/// Runs asked about at once.
const QUESTIONS_MAX: usize = 16;
/// Between two looks at what is not well yet.
const POLL: Duration = Duration::from_millis(200);
/// How long a fresh run may take in a calm cluster.
const FRESH_MAX: Duration = Duration::from_secs(20);
/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long all masters may take to stand at one index, once nothing is proposed any more.
const CONVERGENCE_MAX: Duration = Duration::from_secs(30);

/// A run as it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) shape: &'static str,
    pub(crate) run: v1::Run,
    pub(crate) tasks: Vec<v1::Task>,
}

/// What there is to read when everything is over.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(crate) runs: BTreeMap<u64, Ended>,
    /// Where each master stands, by position.
    pub(crate) views: Vec<View>,
    /// From the end of the faults to the end of the last run.
    pub(crate) calm_after: Duration,
}

/// Waits for everything to be well, at most as long as the scenario says; what is not by then is a violation.
pub(crate) async fn settle(
    lab: &mut Lab,
    scenario: &Scenario,
    history: &Arc<History>,
    violations: &mut Violations,
) -> Result<Aftermath> {
    let started = Instant::now();
    let until = started + Duration::from_secs(scenario.calm_s);
    lab.tend(history)?;
    lab.start_all()?;
    if !is_led(lab, history, until).await? {
        violations.add("L1", "nobody leads although all masters run");
        return Ok(Aftermath::default());
    }
    let client = lab.client.with_deadline(CALL_DEADLINE);
    let fired = lab
        .tend_during(history, async {
            resolve(&client, history, until).await;
            cancel_the_endless(&client, history).await;
            serve_something_new(&client, history, violations).await;
            match scenario.load.schedules {
                true => end_schedules(&client, until, violations).await,
                false => Vec::new(),
            }
        })
        .await?;
    let runs = wait_for_ends(lab, &client, history, fired, until, violations).await?;
    let calm_after = started.elapsed();
    let views = converge(lab, history, violations).await?;
    compare_histories(lab, &runs, violations).await?;
    Ok(Aftermath { runs, views, calm_after })
}

/// Waits until somebody leads.
async fn is_led(lab: &mut Lab, history: &History, until: Instant) -> Result<bool> {
    while Instant::now() < until {
        if lab.leader().await.is_some() {
            return Ok(true);
        }
        lab.tend(history)?;
        tokio::time::sleep(POLL).await;
    }
    Ok(false)
}

/// Has no schedule fire any more, and lists all runs that they made, by shape.
pub(crate) async fn end_schedules(
    client: &Client,
    until: Instant,
    violations: &mut Violations,
) -> Vec<(&'static str, v1::Run)> {
    let mut fired = Vec::new();
    for shape in SHAPES.iter().filter(|it| it.is_scheduled()) {
        while let Err(error) = client.suspend_schedule(shape.name, None, true).await {
            if Instant::now() > until {
                violations.add("L4", format!("`{}` cannot be suspended: {error}", shape.name));
                return fired;
            }
            tokio::time::sleep(POLL).await;
        }
        let workflow = shape.name.to_owned();
        let filter = RunFilter { workflow, page_size: PAGE, ..RunFilter::default() };
        let mut runs = client.list_runs(filter);
        while let Some(run) = runs.next().await {
            match run {
                Ok(run) => fired.push((shape.name, run)),
                Err(error) => {
                    violations.add("L4", format!("`{}` cannot be listed: {error}", shape.name));
                    break;
                }
            }
        }
    }
    fired
}

/// Sends every submission again whose fate nobody knows: it is accepted, or turns out to have been.
async fn resolve(client: &Client, history: &Arc<History>, until: Instant) {
    let events = history.events();
    let open = requests(&events)
        .into_iter()
        .filter(|(_, known)| known.runs.is_empty() && known.refusals.is_empty())
        .filter_map(|(request, known)| Some((request, known.shape, history.wish(request)?)));
    for (request, shape, wish) in open {
        while Instant::now() < until {
            if load::submit(client, history, request, shape, &wish).await.is_some() {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Cancels what was to be cancelled, and whose client was stopped before it could.
async fn cancel_the_endless(client: &Client, history: &Arc<History>) {
    let events = history.events();
    let known = requests(&events);
    for run in known.values().filter(|it| it.shape == "cancelled").flat_map(|it| &it.runs) {
        load::cancel(client, history, run).await;
    }
}

/// Waits until every accepted run and every run of a schedule has ended, and reads it with its tasks.
async fn wait_for_ends(
    lab: &mut Lab,
    client: &Client,
    history: &Arc<History>,
    fired: Vec<(&'static str, v1::Run)>,
    until: Instant,
    violations: &mut Violations,
) -> Result<BTreeMap<u64, Ended>> {
    let events = history.events();
    let known = requests(&events);
    let mut open: BTreeMap<u64, (&'static str, RunName)> = known
        .values()
        .flat_map(|it| it.runs.iter().map(|run| (run.id, (it.shape, (*run).clone()))))
        .chain(fired.into_iter().map(|(shape, run)| (run.id, (shape, name(run)))))
        .collect();
    let mut ended = BTreeMap::new();
    while !open.is_empty() {
        lab.tend(history)?;
        let looks = open.values().map(|(shape, run)| look(client, history, shape, run));
        let looks: Vec<Option<Ended>> =
            stream::iter(looks).buffer_unordered(QUESTIONS_MAX).collect().await;
        for found in looks.into_iter().flatten() {
            open.remove(&found.run.id);
            ended.insert(found.run.id, found);
        }
        if Instant::now() > until {
            break;
        }
        if !open.is_empty() {
            tokio::time::sleep(POLL).await;
        }
    }
    for (shape, run) in open.values() {
        let why = match client.explain(load::key(run), None).await {
            Ok(explained) => explained
                .tasks
                .iter()
                .map(|task| format!("{} is {:?}: {}", task.task, task.status(), task.summary))
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => format!("{error}"),
        };
        violations
            .add("L3", format!("{shape} {}/{} has not ended: {why}", run.workflow, run.number));
    }
    Ok(ended)
}

fn name(run: v1::Run) -> RunName {
    RunName { id: run.id, workflow: run.workflow, number: run.number }
}

/// The run with its tasks, if it has ended.
async fn look(
    client: &Client,
    history: &History,
    shape: &'static str,
    name: &RunName,
) -> Option<Ended> {
    let run = load::read(client, history, name).await.filter(is_ended)?;
    let tasks: Vec<_> = client.list_tasks(load::key(name), &[]).collect().await;
    let tasks = tasks.into_iter().collect::<Result<Vec<_>, _>>().ok()?;
    Some(Ended { shape, run, tasks })
}

/// New work is served.
async fn serve_something_new(client: &Client, history: &History, violations: &mut Violations) {
    let wish = Submission::workflow("short").request_id("fresh");
    let Some(run) = load::submit(client, history, "fresh", "short", &wish).await else {
        return violations.add("L4", "a fresh run is not accepted");
    };
    match client.wait_run(load::key(&run), Some(FRESH_MAX)).await {
        Ok(run) if run.status() == v1::RunStatus::Succeeded => {}
        Ok(run) => violations.add("L4", format!("a fresh run ended as {:?}", run.status())),
        Err(error) => violations.add("L4", format!("a fresh run is not served: {error}")),
    }
}

/// All masters come to stand at one index, and there they have one digest (I1).
async fn converge(
    lab: &mut Lab,
    history: &History,
    violations: &mut Violations,
) -> Result<Vec<View>> {
    let until = Instant::now() + CONVERGENCE_MAX;
    let mut digests: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
    loop {
        lab.tend(history)?;
        let views = lab.views_with_digests().await;
        for (at, view) in views.iter().enumerate() {
            let Some(view) = view else { continue };
            let shown = view.state_digest();
            let (other, digest) = *digests.entry(view.applied_index).or_insert((at, shown));
            if digest != shown {
                let index = view.applied_index;
                violations.add("I1", format!("m{other} and m{at} differ at index {index}"));
                return Ok(views.into_iter().flatten().collect());
            }
        }
        let first = views.first().and_then(Option::as_ref).map(|view| view.applied_index);
        let are_equal = first.is_some()
            && views.iter().all(|it| it.as_ref().map(|view| view.applied_index) == first);
        if are_equal {
            return Ok(views.into_iter().flatten().collect());
        }
        if Instant::now() > until {
            let at: Vec<Option<u64>> =
                views.iter().map(|it| it.as_ref().map(|view| view.applied_index)).collect();
            violations.add("L2", format!("the masters stand at {at:?} and do not meet"));
            return Ok(views.into_iter().flatten().collect());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Every master has every run in its own history, as it ended (I1, I2).
async fn compare_histories(
    lab: &Lab,
    ended: &BTreeMap<u64, Ended>,
    violations: &mut Violations,
) -> Result<()> {
    for at in 0..lab.masters.len() {
        let alone = Client::connect([lab.api_address(at)])?.with_stale_reads();
        let filter = RunFilter { page_size: PAGE, ..RunFilter::default() };
        let mut runs = alone.with_deadline(CALL_DEADLINE).list_runs(filter);
        let mut shown = BTreeMap::new();
        while let Some(run) = runs.next().await {
            match run {
                Ok(run) => shown.insert(run.id, run.status()),
                Err(error) => {
                    violations.add("I2", format!("m{at} cannot list its runs: {error}"));
                    break;
                }
            };
        }
        for (id, Ended { run, .. }) in ended {
            match shown.get(id) {
                Some(status) if *status == run.status() => {}
                Some(status) => {
                    let what =
                        format!("m{at} shows run {id} as {status:?}, not {:?}", run.status());
                    violations.add("I1", what);
                }
                None => violations.add("I2", format!("m{at} does not have run {id}")),
            }
        }
    }
    Ok(())
}
