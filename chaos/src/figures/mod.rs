//! Measurements for `docs/reliability.md`. Each prints a table and histograms in Markdown, after the verdict on
//! everything that happened meanwhile.

mod cuts;
mod leader_kill;
mod probe;
mod spread;
mod transfer;
mod worker_kill;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use muster_chaos::witness::{Deed, Testimony};

use crate::enter::{self, Inside};
use crate::history::{Answer, Event, What};
use crate::scenario::Scenario;
use crate::scene::Outcome;
use crate::stand::{Found, Stand};
use crate::violations::Violations;

use spread::Spread;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Figure {
    /// Killed leader to the next acknowledged write, and to the next assignment
    LeaderKill,
    /// Leadership handed over on request
    Transfer,
    /// Killed worker to its tasks running elsewhere
    WorkerKill,
    /// Workers stopped or cut off past their lease, and never two live processes of one task
    Cuts,
}

/// What a measurement needs.
pub(crate) struct Measuring<'m> {
    pub(crate) inside: &'m Inside,
    pub(crate) binary: &'m Path,
    /// How often it is done.
    pub(crate) count: Option<u64>,
    pub(crate) seed: u64,
}

impl Figure {
    pub(crate) async fn measure(self, measuring: &Measuring<'_>) -> Result<Outcome> {
        let mut violations = Violations::default();
        match self {
            Figure::LeaderKill => leader_kill::measure(measuring, &mut violations).await?,
            Figure::Transfer => transfer::measure(measuring, &mut violations).await?,
            Figure::WorkerKill => worker_kill::measure(measuring, &mut violations).await?,
            Figure::Cuts => cuts::measure(measuring, &mut violations).await?,
        }
        print!("{violations}");
        if violations.is_empty() {
            return Ok(Outcome::Pass);
        }
        enter::keep(&measuring.inside.folder)?;
        Ok(Outcome::Fail)
    }
}

/// A scenario of which only the cluster and the load matter.
fn scenario(text: &str) -> Result<Scenario> {
    Ok(toml::from_str(text)?)
}

/// What was accepted and what became of it, for every figure.
fn print_verdict(found: &Found, violations: &Violations) {
    println!("Everything that was seen, and the logs: {}.\n", found.counters);
    println!("Broken promises: {}.\n", violations.len());
    for note in &found.notes {
        println!("NOTE {note}");
    }
}

fn print_spreads(spreads: &[&Spread]) {
    println!("{}", Spread::head());
    for spread in spreads {
        println!("{}", spread.row());
    }
    for spread in spreads {
        println!("\n{spread}");
    }
}

/// The first acknowledgement of a submission that was begun after `since`.
fn next_acknowledged(events: &[Event], since: Duration) -> Option<Duration> {
    let acknowledged = events.iter().filter(|event| {
        event.called >= since && matches!(&event.what, What::Submit { answer: Answer::Yes(_), .. })
    });
    acknowledged.map(|event| event.returned - since).min()
}

/// The first beginning of a task of a run whose submission was begun after `since`: whoever leads then placed it.
fn next_assigned(events: &[Event], testimonies: &[Testimony], since: Duration) -> Option<Duration> {
    let runs: std::collections::BTreeSet<u64> = events
        .iter()
        .filter(|event| event.called >= since)
        .filter_map(|event| match &event.what {
            What::Submit { answer: Answer::Yes(run), .. } => Some(run.id),
            _ => None,
        })
        .collect();
    let begun = testimonies
        .iter()
        .filter(|said| said.deed == Deed::Begin && said.at >= since && runs.contains(&said.run));
    begun.map(|said| said.at - since).min()
}

/// Waits until all masters run, vote and have applied what the leader has committed. Whether they do in time.
async fn is_whole(stand: &mut Stand, patience: Duration) -> Result<bool> {
    const POLL: Duration = Duration::from_millis(50);
    /// Entries that a follower may be behind at any moment.
    const LAG_MAX: u64 = 20;
    let until = tokio::time::Instant::now() + patience;
    while tokio::time::Instant::now() < until {
        stand.lab.tend(&stand.history)?;
        let views = stand.lab.views().await;
        let committed = views.iter().flatten().map(|view| view.committed_index).max();
        let is_well = |view: &Option<crate::lab::View>| {
            view.as_ref().is_some_and(|view| {
                let voters = view.members.iter().filter(|it| it.is_voter).count();
                voters == views.len()
                    && view.leader_id != 0
                    && view.applied_index + LAG_MAX >= committed.unwrap_or_default()
            })
        };
        if views.iter().all(is_well) {
            return Ok(true);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(false)
}
