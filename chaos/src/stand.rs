//! A cluster with clients and a history, from its start to the verdict: what scenarios and figures have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use muster_chaos::witness::{self, LOCKS, Testimony};
use muster_checker::{Expectations, Nanos};
use muster_client::v1;
use tokio::time::Instant;

use crate::account::{account, nanos};
use crate::audit::{Told, audit};
use crate::calm::{self, Aftermath};
use crate::enter::Inside;
use crate::evidence::Seen;
use crate::fires::{self, WallClock};
use crate::ground::Ground;
use crate::history::{Event, History};
use crate::judge::{self, Case};
use crate::lab::{Lab, View};
use crate::load;
use crate::logbook::Logbook;
use crate::scenario::{MARGIN, QUORUM_AGE, Scenario};
use crate::violations::{Counters, Violations};

/// How long masters that are asked to stop in the end may take.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// See the module documentation.
pub(crate) struct Stand {
    pub(crate) lab: Lab,
    pub(crate) history: Arc<History>,
    pub(crate) logbook: Logbook,
    pub(crate) testimony: PathBuf,
    /// How long the cluster took to form.
    pub(crate) formed: Duration,
    clock: WallClock,
    folder: PathBuf,
    /// Where the history is kept for people.
    record: PathBuf,
}

/// What was found in the end.
pub(crate) struct Found {
    pub(crate) events: Vec<Event>,
    pub(crate) testimonies: Vec<Testimony>,
    pub(crate) aftermath: Aftermath,
    pub(crate) counters: Counters,
    /// What the faults brought about.
    pub(crate) seen: Seen,
    pub(crate) notes: Vec<String>,
}

impl Stand {
    /// Starts a cluster, and applies what clients will submit.
    pub(crate) async fn start(
        scenario: &Scenario,
        inside: &Inside,
        binary: &Path,
    ) -> Result<Stand> {
        let ground = Ground::prepare(inside.has_namespaces)?;
        let folder = inside.folder.join("cluster");
        let testimony = inside.folder.join("testimony");
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(testimony.join(LOCKS))?;
        let started = Instant::now();
        let lab = Lab::start(scenario, ground, &folder, binary).await?;
        let formed = started.elapsed();
        let logbook = Logbook::new(lab.logs(), &lab.ground);
        load::apply_shapes(&lab.client, scenario, &witness_binary()?, &testimony).await?;
        let record = inside.folder.join("history.jsonl");
        let (history, clock) = (Arc::default(), WallClock::read());
        Ok(Stand { lab, history, logbook, testimony, formed, clock, folder, record })
    }

    /// Waits for calm, stops everybody, and judges.
    pub(crate) async fn finish(
        mut self,
        scenario: &Scenario,
        violations: &mut Violations,
    ) -> Result<Found> {
        let aftermath = calm::settle(&mut self.lab, scenario, &self.history, violations).await?;
        stop(&mut self.lab).await?;
        self.logbook.read()?;
        self.history.save(&self.record)?;
        let events = self.history.events();
        let testimonies = witness::read(&self.testimony)?;
        let case = Case {
            scenario,
            events: &events,
            aftermath: &aftermath,
            testimonies: &testimonies,
            folder: &self.folder,
            logbook: &self.logbook,
            clocks: [self.clock, WallClock::read()],
        };
        let mut counters = judge::judge(&case, violations)?;
        let volumes: Vec<&Path> = self.lab.masters.iter().map(|it| it.data.as_path()).collect();
        let applied_at = self.logbook.applied_at();
        let told = audit(&volumes, &aftermath.views, applied_at, violations, &mut counters)?;
        judge_by_log(scenario, &told, &case, violations, &mut counters);
        let notes = told.notes;
        let seen = self.logbook.seen().with(&events, &testimonies);
        Ok(Found { events, testimonies, aftermath, counters, seen, notes })
    }

    /// Stops everybody and reads the logs back: what they say, and by which clock.
    pub(crate) async fn read_back(
        mut self,
        violations: &mut Violations,
        counters: &mut Counters,
    ) -> Result<(Told, [WallClock; 2])> {
        let views: Vec<View> = self.lab.views_with_digests().await.into_iter().flatten().collect();
        stop(&mut self.lab).await?;
        self.logbook.read()?;
        let volumes: Vec<&Path> = self.lab.masters.iter().map(|it| it.data.as_path()).collect();
        let told = audit(&volumes, &views, self.logbook.applied_at(), violations, counters)?;
        Ok((told, [self.clock, WallClock::read()]))
    }
}

/// What was seen from outside, against what the log says.
fn judge_by_log(
    scenario: &Scenario,
    told: &Told,
    case: &Case<'_>,
    violations: &mut Violations,
    counters: &mut Counters,
) {
    let Some(ledger) = &told.ledger else {
        let what = "no master has its whole log: what was seen was not judged by it (I8, I12–I14)";
        violations.add("unjudged", what);
        return;
    };
    case.logbook.check(ledger, violations);
    let history = account(case, ledger);
    let expected = Expectations {
        masters: scenario.masters,
        lease: Nanos::from_millis(scenario.lease_ms),
        margin: nanos(MARGIN),
        quorum_age: nanos(QUORUM_AGE),
        sees_all_attempts: false,
        liveness: None,
    };
    violations.add_verdict(&muster_checker::judge(&history, ledger, &expected));
    let ended = case.aftermath.runs.values().map(|ended| &ended.run);
    let fired: Vec<v1::Run> = ended.filter(|run| !run.schedule.is_empty()).cloned().collect();
    fires::judge(ledger, &fired, case.clocks, violations, counters);
    let lost = ledger.workers.values().filter(|worker| worker.lost.is_some()).count();
    counters.add("workers declared lost", lost as u64);
}

/// Stops everybody, masters in good order: their volumes are read afterwards.
async fn stop(lab: &mut Lab) -> Result<()> {
    for worker in &mut lab.workers {
        worker.process.kill();
    }
    for master in &mut lab.masters {
        master.process.terminate(STOP_PATIENCE).await?;
    }
    Ok(())
}

/// The tasks' program, which is built into the same folder as the harness.
fn witness_binary() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("muster-witness");
    if !path.exists() {
        bail!("{} is not there; build muster-chaos with all its binaries", path.display());
    }
    Ok(path)
}
