//! One scenario, from the start of the cluster to the verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::enter::{self, Inside};
use crate::faults::{Fault, Stage};
use crate::herd::Herd;
use crate::history::What;
use crate::lab;
use crate::lag::Lag;
use crate::load::Clients;
use crate::overload;
use crate::scenario::Scenario;
use crate::stand::{Found, Stand};
use crate::violations::Violations;

/// How long a herd may take to be registered, at the start and in the end.
const GATHER_MAX: Duration = Duration::from_secs(60);

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
        let lag = Lag::start();
        let report =
            self.play(&mut violations).await.context("the scenario could not be played")?;
        print!("{report}  {lag}\n{violations}");
        if violations.is_empty() {
            println!("PASS {}", self.name);
            return Ok(Outcome::Pass);
        }
        enter::keep(&self.inside.folder)?;
        let (name, seed, seconds) = (self.name, self.seed, scenario.duration_s);
        println!("FAIL {name}; again: muster-chaos run {name} --seed {seed} --duration {seconds}");
        Ok(Outcome::Fail)
    }

    /// What this machine lacks.
    fn missing(&self) -> Option<String> {
        let mut faults = self.scenario.fault.iter().map(|it| &it.fault);
        let cuts = faults.any(|fault| matches!(fault, Fault::Cut { .. }));
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
        let mut stand = Stand::start(scenario, self.inside, self.binary).await?;
        let formed = stand.formed;
        if let Some(times) = scenario.load.overload {
            overload::play(scenario, times, stand, violations).await?;
            return Ok(String::new());
        }
        let mut report = String::new();
        let herd = match scenario.load.herd {
            0 => None,
            size => {
                let herd = Herd::start(size, &stand.lab.client.endpoints());
                let took = herd.gather(&stand.lab, Instant::now(), GATHER_MAX).await?;
                writeln!(report, "  {size} simulated workers registered in {took:.1?}")?;
                Some(herd)
            }
        };
        let clients =
            Clients::start(scenario, &stand.lab.client.endpoints(), &stand.history, seed)?;
        let chance = StdRng::seed_from_u64(seed);
        let mut stage = Stage {
            lab: &mut stand.lab,
            scenario,
            history: &stand.history,
            logbook: &mut stand.logbook,
            testimony: &stand.testimony,
            chance,
            herd: herd.as_ref(),
            gathered: Vec::new(),
        };
        let played = stage.play(Duration::from_secs(scenario.duration_s)).await;
        let gathered = std::mem::take(&mut stage.gathered);
        clients.stop().await;
        if let Err(error) = played {
            violations.add("L1", format!("{error:#}"));
        }
        let found = stand.finish(scenario, violations).await?;
        for missing in found.seen.missing(&scenario.evidence) {
            violations.add("evidence", format!("the faults did too little: no {missing}"));
        }
        if let Some(herd) = &herd {
            describe_herd(herd, &gathered, &mut report, violations)?;
        }
        describe(&found, formed, &mut report)?;
        Ok(report)
    }
}

fn describe(found: &Found, formed: Duration, report: &mut String) -> Result<()> {
    let mut ends: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for event in &found.events {
        match &event.what {
            What::Fault(what) => writeln!(report, "  fault: {what}")?,
            What::Ended { who, how } => *ends.entry((who, how)).or_default() += 1,
            What::Submit { .. } | What::Cancel { .. } | What::Read { .. } => {}
        }
    }
    for ((who, how), count) in ends {
        writeln!(report, "  {who} ended by itself {count} times with {how}")?;
    }
    for note in &found.notes {
        writeln!(report, "NOTE {note}")?;
    }
    writeln!(report, "  formed in {formed:.1?}, calm after {:.1?}", found.aftermath.calm_after)?;
    writeln!(report, "  seen: {}", found.seen)?;
    writeln!(report, "  {}", found.counters)?;
    Ok(())
}

/// A change of leader costs no simulated worker its registration (I12).
fn describe_herd(
    herd: &Herd,
    gathered: &[Duration],
    report: &mut String,
    violations: &mut Violations,
) -> Result<()> {
    use std::sync::atomic::Ordering::Relaxed;
    let (registrations, lost) =
        (herd.tally.registrations.load(Relaxed), herd.tally.lost.load(Relaxed));
    let attempts = herd.tally.attempts.load(Relaxed);
    writeln!(
        report,
        "  the herd: {registrations} registrations, {lost} lost, {attempts} attempts"
    )?;
    for took in gathered {
        writeln!(report, "  the herd was whole again after {took:.2?}")?;
    }
    if lost > 0 {
        violations.add("I12", format!("{lost} simulated workers were declared lost"));
    }
    Ok(())
}
