//! Ten times as many submissions as the cluster can carry out, for two minutes: what it carries out meanwhile, what it
//! takes in memory, and how long until it serves as before.
//!
//! Offered load is an open loop: a submission leaves when its time has come, whatever became of those before it.

mod callers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use futures::StreamExt;
use muster_client::{Client, RunFilter, Submission, v1};
use muster_core::ids::RunId;
use muster_core::state::run::RunStatus;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::calm;
use crate::evidence::Evidence;
use crate::fires;
use crate::lab::Lab;
use crate::scenario::Scenario;
use crate::stand::Stand;
use crate::violations::{Counters, Violations};

use callers::Callers;

/// One run: nine attempts that do nothing, the last one after all the others.
const MANIFEST: &str = "apiVersion: v1\nkind: Workflow\nname: overload\ntasks:\n  \
    a: {array: 0-7, noop: {}, resources: {cpu: 10m}}\n  b: {needs: [a], noop: {}, resources: {cpu: 10m}}\n";

/// Callers that submit and wait, to find the peak; and for how long.
const CALLERS: usize = 64;
const PEAK_SPAN: Duration = Duration::from_secs(20);
/// Open-loop submissions leave in groups, this often.
const GROUP_EVERY: Duration = Duration::from_millis(10);
/// Their clients, and how long one of them waits for an answer.
const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(2);
/// Answers that are waited for at once; beyond it, submissions are not sent, and counted.
const WAITING_MAX: usize = 20_000;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const GOODPUT_SHARE_MIN: f64 = 0.8;
const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// Bound on the memory of a master, bytes.
const MEMORY_MAX: u64 = 1 << 30;
/// A fresh run that ends within this is served as before.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// How long all that was accepted may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(1_800);

/// What became of what was offered.
#[derive(Default)]
struct Offered {
    sent: AtomicU64,
    not_sent: AtomicU64,
    /// By what the caller was told last.
    refused: Mutex<BTreeMap<String, u64>>,
    accepted: Mutex<BTreeSet<u64>>,
}

impl Offered {
    fn accept(&self, run: u64) {
        self.accepted.lock().expect("nothing panics while holding it").insert(run);
    }

    fn refuse(&self, error: &muster_client::Error) {
        let word = format!("{:?} {}", error.code(), error.reason().unwrap_or("-"));
        *self.refused.lock().expect("nothing panics while holding it").entry(word).or_default() +=
            1;
    }

    fn accepted(&self) -> u64 {
        self.accepted.lock().expect("nothing panics while holding it").len() as u64
    }
}

/// One look at the cluster.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: SystemTime,
    accepted: u64,
    memory_bytes: u64,
}

/// When the accepted runs ended, by the masters' clocks, which are this machine's. In order.
struct Ends(Vec<SystemTime>);

impl Ends {
    fn before(&self, at: SystemTime) -> u64 {
        self.0.partition_point(|end| *end < at) as u64
    }

    /// Runs a second.
    fn rate(&self, from: SystemTime, to: SystemTime) -> f64 {
        let span = to.duration_since(from).unwrap_or_default().as_secs_f64();
        (self.before(to) - self.before(from)) as f64 / span.max(f64::MIN_POSITIVE)
    }
}

/// Offers `times` the peak for as long as the scenario says, prints what came of it, and reads the logs back.
pub(crate) async fn play(
    scenario: &Scenario,
    times: f64,
    stand: Stand,
    violations: &mut Violations,
) -> Result<()> {
    let lab = &stand.lab;
    lab.client.apply(MANIFEST).await?;
    let offered = Arc::new(Offered::default());

    let peak = find_peak(lab, &offered).await?;
    let before = sample(lab, &offered);
    let span = Duration::from_secs(scenario.duration_s);
    let callers = Callers::start(&lab.client.endpoints())?;
    let samples = overload(lab, &offered, peak * times, span).await?;
    let told = callers.stop().await;
    // A master that has too much to do may answer late who leads.
    let told_crowd = match lab.wait_leader(None, RECOVERY_MAX).await {
        Some(leader) => callers::crowd(&lab.api_address(leader)).await?,
        None => callers::Answers::default(),
    };
    let (began, over) = (before.at, before.at + span);
    let stopped = Instant::now();
    let recovered = recover(lab, &offered, stopped).await;
    let fired = calm::end_schedules(&lab.client, stopped + DRAIN_MAX, violations).await;
    let drained = drain(lab, stopped).await;
    told.accepted.iter().chain(&told_crowd.accepted).for_each(|run| offered.accept(*run));
    let (ends, lost) = ends(lab, &offered).await?;

    let goodput = ends.rate(began, over);
    let outcome = Outcome { peak, goodput, span, before, samples, ends, recovered, drained, lost };
    outcome.print(&offered);
    println!("\nCallers that do not try again were told: {told}.");
    println!("\nA crowd that called once, in the end, was told: {told_crowd}.");
    told.judge(violations);
    told_crowd.judge(violations);
    if !told_crowd.were_refused() && scenario.evidence.contains(&Evidence::OverloadRefused) {
        violations.add("evidence", "nobody was told that there is too much to do");
    }
    if lost > 0 {
        violations.add("I2", format!("{lost} accepted runs are lost"));
    }
    if goodput < GOODPUT_SHARE_MIN * peak {
        violations.add("goal", format!("goodput {goodput:.0} runs/s, peak {peak:.0} runs/s"));
    }
    if outcome.memory_most() > MEMORY_MAX {
        violations.add("goal", format!("a master took {} MiB", outcome.memory_most() >> 20));
    }
    if recovered.is_none_or(|span| span > RECOVERY_MAX) {
        violations.add("goal", format!("served as before after {}", spelled(recovered)));
    }
    let fired: Vec<v1::Run> = fired.into_iter().map(|(_, run)| run).collect();
    read_back(stand, &offered, &fired, violations).await
}

/// What was accepted is in the logs, and succeeded there; and all else that logs alone can show.
async fn read_back(
    stand: Stand,
    offered: &Offered,
    fired: &[v1::Run],
    violations: &mut Violations,
) -> Result<()> {
    let mut counters = Counters::default();
    let (told, clocks) = stand.read_back(violations, &mut counters).await?;
    let Some(ledger) = &told.ledger else {
        violations.add("unjudged", "no master has its whole log: nothing was compared with it");
        return Ok(());
    };
    let accepted = offered.accepted.lock().expect("nothing panics while holding it").clone();
    for run in accepted {
        counters.add("accepted runs found in the log", 1);
        let record = ledger.runs.get(&RunId(run));
        let end = record.and_then(|record| record.ended.as_ref()).map(|ended| ended.status);
        match (record, end) {
            (Some(_), Some(RunStatus::Succeeded)) => {}
            (Some(_), end) => violations.add("I2", format!("in the log run {run} ends as {end:?}")),
            (None, _) => {
                violations.add("I2", format!("run {run} was accepted, and is not in the log"))
            }
        }
    }
    counters.add("runs in the log", ledger.runs.len() as u64);
    fires::judge(ledger, fired, clocks, violations, &mut counters);
    println!("\nThe logs, read back: {counters}.");
    for note in told.notes {
        println!("NOTE {note}");
    }
    Ok(())
}

/// All that was measured.
struct Outcome {
    /// Runs a second.
    peak: f64,
    goodput: f64,
    span: Duration,
    /// Before the overload.
    before: Sample,
    samples: Vec<Sample>,
    ends: Ends,
    recovered: Option<Duration>,
    drained: Option<Duration>,
    lost: usize,
}

impl Outcome {
    fn memory_most(&self) -> u64 {
        self.samples.iter().map(|it| it.memory_bytes).max().unwrap_or_default()
    }

    fn print(&self, offered: &Offered) {
        let Outcome { peak, goodput, before, samples, .. } = self;
        let rate = offered.sent.load(Relaxed) as f64 / self.span.as_secs_f64();
        let accepted = offered.accepted();
        let refusals = offered.refused.lock().expect("nothing panics while holding it");
        let not_sent = offered.not_sent.load(Relaxed);
        let memory = self.memory_most() >> 20;
        let live_at = |it: &Sample| it.accepted.saturating_sub(self.ends.before(it.at));
        let live = samples.iter().map(live_at).max().unwrap_or(0);
        println!("| what | figure |\n|---|---|");
        println!("| peak, {CALLERS} callers that wait for their runs | {peak:.0} runs/s |");
        println!("| offered for {} s | {rate:.0} runs/s |", self.span.as_secs());
        println!("| not offered for want of room in the harness | {not_sent} |");
        println!("| accepted | {accepted} |");
        for (word, count) in &*refusals {
            println!("| not accepted, tried again until in the end {word} | {count} |");
        }
        let share = 100.0 * goodput / peak;
        println!(
            "| runs that were accepted and ended meanwhile | {goodput:.0} runs/s, {share:.0} % of peak |"
        );
        let memory_before = before.memory_bytes >> 20;
        println!(
            "| memory of the largest master, before and at most | {memory_before} MiB, {memory} MiB |"
        );
        println!("| accepted and not ended yet, at most | {live} |");
        let recovered = spelled(self.recovered);
        println!("| a fresh run ends within {SERVED_WITHIN:?} again | {recovered} |");
        println!("| everything accepted has ended | {} |", spelled(self.drained));
        println!("| accepted and lost | {} |", self.lost);
        println!("\nEvery 10 s: accepted, ended, live, memory of the largest master\n\n```text");
        for it in samples.iter().step_by(10) {
            let seconds = it.at.duration_since(before.at).unwrap_or_default().as_secs();
            let (mib, ended, live) = (it.memory_bytes >> 20, self.ends.before(it.at), live_at(it));
            println!("{seconds:>4} s {:>9} {ended:>9} {live:>9} {mib:>6} MiB", it.accepted);
        }
        println!("```");
    }
}

fn spelled(span: Option<Duration>) -> String {
    span.map_or("never".to_owned(), |span| format!("after {span:.1?}"))
}

fn sample(lab: &Lab, offered: &Offered) -> Sample {
    let memory_bytes = lab.masters.iter().map(|it| it.process.memory_bytes()).max();
    Sample {
        at: SystemTime::now(),
        accepted: offered.accepted(),
        memory_bytes: memory_bytes.unwrap_or_default(),
    }
}

/// A closed loop: everybody waits for the end of a run before submitting the next. Returns how many ended a second.
async fn find_peak(lab: &Lab, offered: &Arc<Offered>) -> Result<f64> {
    let mut callers = JoinSet::new();
    let (started, ended) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let until = started + PEAK_SPAN;
    for _ in 0..CALLERS {
        let (client, offered) = (Client::connect(lab.client.endpoints())?, offered.clone());
        let ended = ended.clone();
        callers.spawn(async move {
            while Instant::now() < until {
                if let Ok(run) = client.submit(Submission::workflow("overload")).await {
                    offered.accept(run.run_id);
                    let result = client.wait_run(&run, Some(PEAK_SPAN)).await;
                    ended.fetch_add(u64::from(result.is_ok()), Relaxed);
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
    Ok(ended.load(Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// An open loop of `rate` submissions a second. Returns a sample a second.
async fn overload(
    lab: &Lab,
    offered: &Arc<Offered>,
    rate: f64,
    span: Duration,
) -> Result<Vec<Sample>> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(lab.client.endpoints())?.with_deadline(PATIENCE));
    }
    let started = Instant::now();
    let mut groups = interval(GROUP_EVERY);
    groups.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut calls: JoinSet<()> = JoinSet::new();
    let (mut due, mut number, mut samples) = (0.0, 0_usize, Vec::new());
    let mut next_sample = SAMPLE_EVERY;
    while started.elapsed() < span {
        groups.tick().await;
        let owed = started.elapsed().as_secs_f64() * rate;
        while due < owed {
            due += 1.0;
            if calls.len() >= WAITING_MAX {
                offered.not_sent.fetch_add(1, Relaxed);
                continue;
            }
            number += 1;
            offered.sent.fetch_add(1, Relaxed);
            let (client, offered) = (clients[number % CLIENTS].clone(), offered.clone());
            calls.spawn(async move {
                match client.submit(Submission::workflow("overload")).await {
                    Ok(run) => offered.accept(run.run_id),
                    Err(error) => offered.refuse(&error),
                }
            });
        }
        while calls.try_join_next().is_some() {}
        if started.elapsed() >= next_sample {
            samples.push(sample(lab, offered));
            next_sample = started.elapsed() + SAMPLE_EVERY;
        }
    }
    while calls.join_next().await.is_some() {}
    Ok(samples)
}

/// Until a run that is submitted now ends as soon as one does in calm.
async fn recover(lab: &Lab, offered: &Offered, stopped: Instant) -> Option<Duration> {
    while stopped.elapsed() < DRAIN_MAX {
        let started = Instant::now();
        let client = lab.client.with_deadline(SERVED_WITHIN);
        if let Ok(run) = client.submit(Submission::workflow("overload")).await {
            offered.accept(run.run_id);
            let ended = client.wait_run(&run, Some(SERVED_WITHIN)).await;
            if ended.is_ok() && started.elapsed() <= SERVED_WITHIN {
                return Some(stopped.elapsed());
            }
        }
        sleep(SAMPLE_EVERY).await;
    }
    None
}

/// Until no run is live.
async fn drain(lab: &Lab, stopped: Instant) -> Option<Duration> {
    while stopped.elapsed() < DRAIN_MAX {
        let views = lab.views().await;
        if views.iter().all(|view| view.as_ref().is_some_and(|view| view.live_runs == 0)) {
            return Some(stopped.elapsed());
        }
        sleep(SAMPLE_EVERY).await;
    }
    None
}

/// When the accepted runs ended, and how many of them no list shows as succeeded.
async fn ends(lab: &Lab, offered: &Offered) -> Result<(Ends, usize)> {
    let filter = RunFilter {
        workflow: "overload".to_owned(),
        statuses: vec![v1::RunStatus::Succeeded],
        page_size: 1_000,
    };
    let mut accepted = offered.accepted.lock().expect("nothing panics while holding it").clone();
    let client = lab.client.with_deadline(DRAIN_MAX);
    let mut runs = client.list_runs(filter);
    let mut ends = Vec::with_capacity(accepted.len());
    while let Some(run) = runs.next().await {
        match run {
            Ok(run) if accepted.remove(&run.id) => {
                let ended_at = Duration::from_millis(run.ended_at_ms);
                ends.push(UNIX_EPOCH + ended_at);
            }
            Ok(_unanswered) => {}
            Err(error) => bail!("the runs cannot be listed: {error}"),
        }
    }
    ends.sort_unstable();
    Ok((Ends(ends), accepted.len()))
}
