//! One scenario, from the start of the cluster to the verdict.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use muster_chaos::witness::{self, LOCKS};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::calm;
use crate::enter::{self, Inside};
use crate::faults::{Fault, Stage};
use crate::ground::Ground;
use crate::history::{History, What};
use crate::judge::{self, Case, Violations};
use crate::lab::{self, Lab};
use crate::load::{self, Clients};
use crate::scenario::Scenario;

/// How long masters that are asked to stop in the end may take.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What a scenario came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Fail,
    /// It could not be done here.
    Skip,
}

/// A scenario to be played.
pub(crate) struct Play<'p> {
    pub(crate) name: &'p str,
    pub(crate) scenario: &'p Scenario,
    pub(crate) seed: u64,
    pub(crate) inside: &'p Inside,
    pub(crate) binary: &'p Path,
}

impl Play<'_> {
    /// Plays it and prints the verdict.
    pub(crate) async fn run(&self) -> Result<Outcome> {
        let scenario = self.scenario;
        println!("== {} (seed {}): {}", self.name, self.seed, scenario.summary);
        if let Some(missing) = self.missing() {
            println!("SKIP {}: {missing}", self.name);
            return Ok(Outcome::Skip);
        }
        if !self.inside.has_namespaces {
            println!("NOTE no namespaces here: everybody is on loopback, and no link can be cut");
        }
        let mut violations = Violations::default();
        let report =
            self.play(&mut violations).await.context("the scenario could not be played")?;
        print!("{report}{violations}");
        if violations.is_empty() {
            println!("PASS {}", self.name);
            return Ok(Outcome::Pass);
        }
        enter::keep(&self.inside.folder)?;
        println!("FAIL {}; again: just chaos {} {}", self.name, self.name, self.seed);
        Ok(Outcome::Fail)
    }

    /// What this machine lacks.
    fn missing(&self) -> Option<String> {
        let faults = || self.scenario.fault.iter().map(|it| &it.fault);
        let cuts = faults().any(|fault| matches!(fault, Fault::Cut { .. }));
        if !self.inside.has_namespaces && (cuts || self.scenario.volume_mib.is_some()) {
            return Some("it needs namespaces, which need root or user namespaces".to_owned());
        }
        let library = lab::faultdisk_beside(self.binary);
        if self.scenario.faultdisk.is_some() && !library.exists() {
            return Some(format!(
                "{} is not there; build it with `cargo build --release -p muster-faultdisk`",
                library.display()
            ));
        }
        None
    }

    async fn play(&self, violations: &mut Violations) -> Result<String> {
        let (scenario, seed) = (self.scenario, self.seed);
        let ground = Ground::prepare(self.inside.has_namespaces)?;
        let folder = self.inside.folder.join("cluster");
        let testimony = self.inside.folder.join("testimony");
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(testimony.join(LOCKS))?;
        let started = Instant::now();
        let mut lab = Lab::start(scenario, ground, &folder, self.binary).await?;
        let formed = started.elapsed();
        load::apply_shapes(&lab.client, &witness_binary()?, &testimony).await?;

        let history = Arc::new(History::default());
        let clients = Clients::start(scenario, &lab.client.endpoints(), &history, seed)?;
        let chance = StdRng::seed_from_u64(seed);
        let mut stage = Stage { lab: &mut lab, scenario, history: &history, chance };
        let span = Duration::from_secs(scenario.duration_s);
        let played = stage.play(span).await;
        clients.stop().await;
        let aftermath = match played {
            Ok(_) => calm::settle(&mut lab, scenario, &history, violations).await?,
            Err(error) => {
                violations.add("L1", format!("{error:#}"));
                calm::Aftermath::default()
            }
        };
        stop(&mut lab).await?;
        history.save(&self.inside.folder.join("history.jsonl"))?;
        let events = history.events();
        let testimonies = witness::read(&testimony)?;
        let case = Case {
            scenario,
            events: &events,
            aftermath: &aftermath,
            testimonies: &testimonies,
            folder: &folder,
        };
        let counters = judge::judge(&case, violations)?;

        let mut report = String::new();
        for event in &events {
            match &event.what {
                What::Fault(what) => writeln!(report, "  fault: {what}")?,
                What::Ended { who, how } => writeln!(report, "  {who} ended by itself: {how}")?,
                What::Submit { .. } | What::Cancel { .. } | What::Read { .. } => {}
            }
        }
        writeln!(report, "  formed in {formed:.1?}, calm after {:.1?}", aftermath.calm_after)?;
        writeln!(report, "  {counters}")?;
        Ok(report)
    }
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
