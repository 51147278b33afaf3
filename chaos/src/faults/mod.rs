//! What can be done to a cluster. Each fault draws its parameters, does its harm, waits, and takes it back.

mod disks;
mod network;
mod processes;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use muster_chaos::witness;
use rand::Rng;
use rand::rngs::StdRng;
use serde::Deserialize;
use tokio::time::Instant;

use crate::evidence::Evidence;
use crate::ground::Who;
use crate::herd::Herd;
use crate::history::{History, What};
use crate::lab::{LOG_KEEPER, Lab, TEND_INTERVAL};
use crate::logbook::Logbook;
use crate::scenario::{Scenario, Span, Weighted};

/// How long a fault waits for somebody to lead, so that there is somebody to be harmed.
const LEADER_PATIENCE: Duration = Duration::from_secs(15);
/// How much longer faults go on while the evidence is not complete.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(90);
/// How long all simulated workers may take to be registered again.
const GATHER_MAX: Duration = Duration::from_secs(60);

/// One fault; see the scenarios for what they mean together.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    tag = "kind",
    deny_unknown_fields,
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub(crate) enum Fault {
    /// SIGKILL, and a start after a while.
    Kill { whom: Target, down_ms: Span },
    /// A worker and its guardian at once, and a start after a while.
    KillWithGuardian { down_ms: Span },
    /// The leader, and its successor as soon as there is one, or a little later.
    KillDuringFailOver { after_ms: Span, down_ms: Span },
    /// All masters at once; with `moved` they come back on other addresses.
    KillAll {
        down_ms: Span,
        #[serde(default)]
        moved: bool,
    },
    /// SIGSTOP, and SIGCONT after a while.
    Stop { whom: Target, for_ms: Span },
    /// A master from all others, or a worker from all masters; or either from the leader alone.
    Cut {
        whom: Target,
        #[serde(default)]
        from: From,
        way: Way,
        for_ms: Span,
    },
    /// A master's link, by proxy: slower, or silent.
    SlowLink { whom: Target, delay_ms: Span, jitter_ms: Span, for_ms: Span },
    /// A file takes all room on a master's volume but so much.
    FillDisk { whom: Target, leave_kib: Span, for_ms: Span },
    /// A master's disk does what the text tells it, see `muster-faultdisk`; `NUMBER` in it is drawn.
    Disk { whom: Target, faults: String, number: Span, for_ms: Span },
    /// A master's power: what was not synced is gone, or torn. It is started again after a while.
    CutPower { whom: Target, down_ms: Span },
    /// A master is killed, bytes of a file of its are changed, and it is started again. Never the one that keeps its
    /// whole log.
    Damage { whom: Target, file: File, how: Damage },
    /// A master is killed, and started again without its data. Never the one that keeps its whole log.
    Wipe { whom: Target, down_ms: Span },
    /// A master's wall clock is off by so much.
    JumpClock { whom: Target, way: Direction, by_ms: Span, for_ms: Span },
    /// Every master and every worker is asked to stop and started again, one after the other.
    RollingRestart,
    /// Leadership is handed over.
    Transfer,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    Leader,
    Follower,
    /// The leader and as many followers as make a majority.
    Majority,
    AnyMaster,
    Worker,
    LeaderAndWorker,
}

/// From whom somebody is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    #[default]
    Masters,
    /// Whoever leads when it begins.
    Leader,
}

/// Which way of a link is cut, as the one who is cut off sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    Both,
    Out,
    In,
    /// Drawn each time.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    Forward,
    Back,
}

/// What a master keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum File {
    Log,
    Snapshot,
    History,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Damage {
    /// A few bytes are others.
    Flip,
    /// The end is missing.
    Tear,
}

/// Everything a fault works on.
pub(crate) struct Stage<'s> {
    pub(crate) lab: &'s mut Lab,
    pub(crate) scenario: &'s Scenario,
    pub(crate) history: &'s History,
    pub(crate) logbook: &'s mut Logbook,
    /// Where tasks testify.
    pub(crate) testimony: &'s Path,
    pub(crate) chance: StdRng,
    /// Simulated workers, which are waited for after each fault.
    pub(crate) herd: Option<&'s Herd>,
    /// How long that took each time, from the beginning of the fault.
    pub(crate) gathered: Vec<Duration>,
}

impl Stage<'_> {
    /// Does faults until the time is over and has brought about what the scenario names as evidence; but not for ever.
    /// A fault that has begun is taken back.
    pub(crate) async fn play(&mut self, span: Duration) -> Result<()> {
        let started = Instant::now();
        while !self.is_over(started, span)? {
            let gap = self.scenario.gap_ms.draw(&mut self.chance);
            let left = span.saturating_sub(started.elapsed());
            self.pass(if left.is_zero() { gap } else { gap.min(left) }).await?;
            if self.scenario.fault.is_empty() || self.is_over(started, span)? {
                continue;
            }
            let fault = self.choose();
            let (called, began) = (witness::now(), Instant::now());
            let done = self.carry_out(&fault).await?;
            self.history.note(called, What::Fault(done));
            if let Some(herd) = self.herd {
                self.gathered.push(herd.gather(self.lab, began, GATHER_MAX).await?);
                self.logbook.see(Evidence::HerdGathered, 1);
            }
        }
        Ok(())
    }

    /// Whether the time is over, and all evidence there or waited for in vain.
    fn is_over(&mut self, started: Instant, span: Duration) -> Result<bool> {
        let elapsed = started.elapsed();
        if elapsed < span || elapsed >= span + EVIDENCE_PATIENCE {
            return Ok(elapsed >= span);
        }
        self.logbook.read()?;
        // A line that is being written is none yet; in the end all are read again.
        let testimonies = witness::read(self.testimony).unwrap_or_default();
        let seen = self.logbook.seen().with(&self.history.events(), &testimonies);
        Ok(seen.missing(&self.scenario.evidence).is_empty())
    }

    fn choose(&mut self) -> Fault {
        let faults = &self.scenario.fault;
        let all: u32 = faults.iter().map(|it| it.weight).sum();
        let mut left = self.chance.random_range(0..all.max(1));
        for Weighted { weight, fault } in faults {
            if left < *weight {
                return fault.clone();
            }
            left -= weight;
        }
        faults[0].fault.clone()
    }

    async fn carry_out(&mut self, fault: &Fault) -> Result<String> {
        match fault {
            Fault::Kill { whom, down_ms } => self.kill(*whom, *down_ms).await,
            Fault::KillWithGuardian { down_ms } => self.kill_with_guardian(*down_ms).await,
            Fault::KillDuringFailOver { after_ms, down_ms } => {
                self.kill_during_fail_over(*after_ms, *down_ms).await
            }
            Fault::KillAll { down_ms, moved } => self.kill_all(*down_ms, *moved).await,
            Fault::Stop { whom, for_ms } => self.stop(*whom, *for_ms).await,
            Fault::Cut { whom, from, way, for_ms } => self.cut(*whom, *from, *way, *for_ms).await,
            Fault::SlowLink { whom, delay_ms, jitter_ms, for_ms } => {
                self.slow_link(*whom, *delay_ms, *jitter_ms, *for_ms).await
            }
            Fault::FillDisk { whom, leave_kib, for_ms } => {
                self.fill_disk(*whom, *leave_kib, *for_ms).await
            }
            Fault::Disk { whom, faults, number, for_ms } => {
                self.break_disk(*whom, faults, *number, *for_ms).await
            }
            Fault::CutPower { whom, down_ms } => self.cut_power(*whom, *down_ms).await,
            Fault::Damage { whom, file, how } => self.damage(*whom, *file, *how).await,
            Fault::Wipe { whom, down_ms } => self.wipe(*whom, *down_ms).await,
            Fault::JumpClock { whom, way, by_ms, for_ms } => {
                self.jump_clock(*whom, *way, *by_ms, *for_ms).await
            }
            Fault::RollingRestart => self.rolling_restart().await,
            Fault::Transfer => self.transfer().await,
        }
    }

    /// Lets time pass, and starts whoever ended meanwhile.
    pub(crate) async fn pass(&mut self, span: Duration) -> Result<()> {
        let until = Instant::now() + span;
        loop {
            self.lab.tend(self.history)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(TEND_INTERVAL)).await;
        }
    }

    /// Whom the fault hits this time.
    async fn aim(&mut self, target: Target) -> Result<Vec<Who>> {
        let masters = self.lab.masters.len();
        if target == Target::AnyMaster {
            return Ok(vec![Who::Master(self.chance.random_range(0..masters))]);
        }
        let worker = Who::Worker(self.chance.random_range(0..self.lab.workers.len().max(1)));
        if target == Target::Worker {
            return Ok(vec![worker]);
        }
        let Some(leader) = self.await_leader().await? else {
            bail!("nobody has led for {LEADER_PATIENCE:?}, between faults");
        };
        let first = self.chance.random_range(1..masters.max(2));
        let followers = (0..masters.saturating_sub(1))
            .map(|it| (leader + 1 + (first + it) % (masters - 1)) % masters);
        let followers: Vec<Who> = followers.map(Who::Master).collect();
        Ok(match target {
            Target::Leader => vec![Who::Master(leader)],
            Target::Follower => followers.into_iter().take(1).collect(),
            Target::Majority => {
                [Who::Master(leader)].into_iter().chain(followers).take(masters / 2 + 1).collect()
            }
            Target::LeaderAndWorker => vec![Who::Master(leader), worker],
            Target::AnyMaster | Target::Worker => vec![worker],
        })
    }

    /// As [`Stage::aim`], but never at the master that keeps its whole log. If it leads, and the leader is to be hit,
    /// it hands its leadership over first.
    async fn aim_at_volume(&mut self, target: Target) -> Result<Vec<Who>> {
        let until = Instant::now() + LEADER_PATIENCE;
        while Instant::now() < until {
            let whom = self.aim(target).await?;
            if !whom.contains(&Who::Master(LOG_KEEPER)) {
                return Ok(whom);
            }
            if matches!(target, Target::Leader | Target::Majority | Target::LeaderAndWorker) {
                let asking = self.lab.client.with_deadline(LEADER_PATIENCE);
                // Refused while nobody else is ready to lead: then it is asked again.
                let _refused = asking.transfer_leader("").await;
                self.pass(TEND_INTERVAL).await?;
            }
        }
        bail!(
            "m{LOG_KEEPER}, which keeps its whole log, could not be spared for {LEADER_PATIENCE:?}"
        );
    }

    /// Waits for a leader, and starts whoever ended meanwhile.
    async fn await_leader(&mut self) -> Result<Option<usize>> {
        let until = Instant::now() + LEADER_PATIENCE;
        while Instant::now() < until {
            if let Some(leader) = self.lab.leader().await {
                return Ok(Some(leader));
            }
            self.pass(Duration::from_millis(50)).await?;
        }
        Ok(None)
    }
}

/// Names, for people.
fn names(whom: &[Who]) -> String {
    let names: Vec<String> = whom.iter().map(Who::to_string).collect();
    names.join(" and ")
}

/// The masters among them, by position.
fn masters(whom: &[Who]) -> impl Iterator<Item = usize> {
    whom.iter().filter_map(|who| match who {
        Who::Master(at) => Some(*at),
        Who::Worker(_) => None,
    })
}
