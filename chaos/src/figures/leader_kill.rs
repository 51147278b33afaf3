//! The leader is killed again and again under load: how long until somebody accepts and places work again.

use std::time::Duration;

use anyhow::{Result, bail};
use muster_chaos::witness;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::probe::Probe;
use super::spread::Spread;
use super::{
    Measuring, is_whole, next_acknowledged, next_assigned, print_spreads, print_verdict, scenario,
};
use crate::history::What;
use crate::load::Clients;
use crate::stand::Stand;
use crate::violations::Violations;

const COUNT: u64 = 200;
const GOAL: Duration = Duration::from_millis(1_500);
/// Between two submissions of the probe, while it probes.
const PROBE_EVERY: Duration = Duration::from_millis(25);
/// The probe is at work this long before the kill, and after it.
const BEFORE: Duration = Duration::from_millis(300);
const AFTER: Duration = Duration::from_secs(3);
/// How long a killed master may take to be whole again.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// Drawn before each kill, so that it comes at any moment of whatever goes on, milliseconds.
const EXTRA_MS: std::ops::Range<u64> = 0..500;

const SCENARIO: &str = r#"
summary = "The leader is killed under load."
lease-ms = 5000
duration-s = 0
calm-s = 120
load = { schedules = false, clients = 4, mix = { short = 8, long = 1, flaky = 2, noop = 4 } }
"#;

pub(super) async fn measure(measuring: &Measuring<'_>, violations: &mut Violations) -> Result<()> {
    let scenario = scenario(SCENARIO)?;
    let mut stand = Stand::start(&scenario, measuring.inside, measuring.binary).await?;
    let addresses = stand.lab.client.endpoints();
    let clients = Clients::start(&scenario, &addresses, &stand.history, measuring.seed)?;
    let probe = Probe::start(&addresses, &stand.history, "probe", PROBE_EVERY)?;
    let mut chance = StdRng::seed_from_u64(measuring.seed);
    let mut kills = Vec::new();
    for number in 0..measuring.count.unwrap_or(COUNT) {
        if !is_whole(&mut stand, WHOLE_MAX).await? {
            bail!("the cluster is not whole {WHOLE_MAX:?} after kill {number}");
        }
        probe.set(true);
        let extra = Duration::from_millis(chance.random_range(EXTRA_MS));
        tokio::time::sleep(BEFORE + extra).await;
        let Some(leader) = stand.lab.leader().await else { continue };
        let killed = witness::now();
        stand.lab.kill_master(leader);
        tokio::time::sleep(AFTER).await;
        probe.set(false);
        stand.history.note(killed, What::Fault(format!("killed m{leader}")));
        kills.push(killed);
        stand.lab.start_master(leader)?;
    }
    clients.stop().await;
    drop(probe);
    let found = stand.finish(&scenario, violations).await?;

    let mut written = Spread::new("killed leader → next acknowledged write").within(GOAL);
    let mut assigned = Spread::new("killed leader → next assignment").within(GOAL);
    let mut unserved = 0;
    for killed in &kills {
        let write = next_acknowledged(&found.events, *killed);
        let assignment = next_assigned(&found.events, &found.testimonies, *killed);
        match write.zip(assignment) {
            Some((write, assignment)) => {
                written.add(write);
                assigned.add(assignment);
            }
            None => unserved += 1,
        }
    }
    print_verdict(&found, violations);
    println!("Kills: {}, of which {unserved} without any answer before the next.\n", kills.len());
    print_spreads(&[&written, &assigned]);
    Ok(())
}
