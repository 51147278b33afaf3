//! Workers are stopped or cut off past their lease: their tasks run elsewhere, and never twice at once.

use std::time::Duration;

use anyhow::Result;
use muster_chaos::witness::{self, Deed};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use super::{Measuring, print_verdict, scenario};
use crate::ground::Who;
use crate::history::What;
use crate::load::Clients;
use crate::stand::Stand;
use crate::violations::Violations;

const COUNT: u64 = 200;
/// Workers that are harmed at once, of all.
const AT_ONCE: usize = 2;
/// How long, beyond lease and margin, milliseconds.
const BEYOND_MS: std::ops::Range<u64> = 200..2_000;
/// Time to come back, milliseconds.
const REST_MS: std::ops::Range<u64> = 500..1_500;

const SCENARIO: &str = r#"
summary = "Workers are stopped or cut off past their lease."
workers = 4
lease-ms = 2000
duration-s = 0
load = { schedules = false, clients = 16, pause-ms = [0, 100], mix = { long = 6, short = 2, flaky = 1 } }
"#;

pub(super) async fn measure(measuring: &Measuring<'_>, violations: &mut Violations) -> Result<()> {
    let scenario = scenario(SCENARIO)?;
    let stand = Stand::start(&scenario, measuring.inside, measuring.binary).await?;
    let addresses = stand.lab.client.endpoints();
    let clients = Clients::start(&scenario, &addresses, &stand.history, measuring.seed)?;
    let mut chance = StdRng::seed_from_u64(measuring.seed);
    let (mut stops, mut cuts) = (0_u64, 0_u64);
    while stops + cuts < measuring.count.unwrap_or(COUNT) {
        let mut workers: Vec<usize> = (0..scenario.workers).collect();
        workers.shuffle(&mut chance);
        workers.truncate(AT_ONCE);
        let harms: Vec<(usize, bool)> = workers
            .into_iter()
            .map(|worker| (worker, chance.random_bool(0.5) && stand.lab.ground.has_namespaces()))
            .collect();
        let called = witness::now();
        for (worker, is_cut) in &harms {
            harm(&stand, *worker, *is_cut, scenario.masters, true)?;
            *(if *is_cut { &mut cuts } else { &mut stops }) += 1;
        }
        let beyond = Duration::from_millis(chance.random_range(BEYOND_MS));
        tokio::time::sleep(scenario.lease_and_margin() + beyond).await;
        for (worker, is_cut) in &harms {
            harm(&stand, *worker, *is_cut, scenario.masters, false)?;
        }
        stand.history.note(called, What::Fault(format!("stopped or cut off {harms:?}")));
        tokio::time::sleep(Duration::from_millis(chance.random_range(REST_MS))).await;
    }
    clients.stop().await;
    let found = stand.finish(&scenario, violations).await?;
    let said = |deed| found.testimonies.iter().filter(|said| said.deed == deed).count();
    let losses: u32 =
        found.aftermath.runs.values().flat_map(|ended| &ended.tasks).map(|task| task.losses).sum();
    print_verdict(&found, violations);
    println!(
        "| workers stopped | cut off | attempts lost and run again | processes of tasks | two at once |"
    );
    println!("|---|---|---|---|---|");
    println!("| {stops} | {cuts} | {losses} | {} | {} |", said(Deed::Begin), said(Deed::Conflict));
    Ok(())
}

/// Does harm to a worker, or takes it back.
fn harm(stand: &Stand, worker: usize, is_cut: bool, masters: usize, begins: bool) -> Result<()> {
    if !is_cut {
        let signal = if begins { Signal::STOP } else { Signal::CONT };
        return stand.lab.workers[worker].process.signal(signal);
    }
    let one = Who::Worker(worker);
    for other in (0..masters).map(Who::Master) {
        for (from, to) in [(one, other), (other, one)] {
            match begins {
                true => stand.lab.ground.cut(from, to)?,
                false => stand.lab.ground.heal(from, to)?,
            }
        }
    }
    Ok(())
}
