//! A cluster with clients and a history, from its start to the verdict: what scenarios and figures have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use muster_chaos::witness::{self, LOCKS, Testimony};
use muster_checker::{Expectations, Nanos};
use tokio::time::Instant;

use crate::account::account;
use crate::audit::{Told, audit};
use crate::calm::{self, Aftermath};
use crate::enter::Inside;
use crate::ground::Ground;
use crate::history::{Event, History};
use crate::judge::{self, Case, Counters, Violations};
use crate::lab::Lab;
use crate::load;
use crate::scenario::Scenario;

/// How long masters that are asked to stop in the end may take.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// See the module documentation.
pub(crate) struct Stand {
    pub(crate) lab: Lab,
    pub(crate) history: Arc<History>,
    pub(crate) testimony: PathBuf,
    /// How long the cluster took to form.
    pub(crate) formed: Duration,
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
        load::apply_shapes(&lab.client, &witness_binary()?, &testimony).await?;
        let record = inside.folder.join("history.jsonl");
        Ok(Stand { lab, history: Arc::default(), testimony, formed, folder, record })
    }

    /// Waits for calm, stops everybody, and judges.
    pub(crate) async fn finish(
        mut self,
        scenario: &Scenario,
        violations: &mut Violations,
    ) -> Result<Found> {
        let aftermath = calm::settle(&mut self.lab, scenario, &self.history, violations).await?;
        stop(&mut self.lab).await?;
        self.history.save(&self.record)?;
        let events = self.history.events();
        let testimonies = witness::read(&self.testimony)?;
        let case = Case {
            scenario,
            events: &events,
            aftermath: &aftermath,
            testimonies: &testimonies,
            folder: &self.folder,
        };
        let mut counters = judge::judge(&case, violations)?;
        let volumes: Vec<&Path> = self.lab.masters.iter().map(|it| it.data.as_path()).collect();
        let told = audit(&volumes, &aftermath.views, violations, &mut counters)?;
        judge_by_log(scenario, &told, &case, violations);
        let notes = told.notes;
        Ok(Found { events, testimonies, aftermath, counters, notes })
    }
}

/// What was seen from outside, against what the log says.
fn judge_by_log(scenario: &Scenario, told: &Told, case: &Case<'_>, violations: &mut Violations) {
    let Some(ledger) = &told.ledger else {
        let what =
            "no master has its whole log: what was seen was not judged by it (I12, I13, I14)";
        violations.add("unjudged", what);
        return;
    };
    let history = account(case.events, case.testimonies, &case.aftermath.views, ledger);
    let expected = Expectations {
        masters: scenario.masters,
        lease: Nanos::from_millis(scenario.lease_ms),
        // Leases and leaders of real processes are not in the history.
        margin: Nanos(0),
        quorum_age: Nanos(0),
        sees_all_attempts: false,
        liveness: None,
    };
    violations.add_verdict(&muster_checker::judge(&history, ledger, &expected));
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
