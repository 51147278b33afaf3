//! A worker is killed: how long until its tasks run elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use muster_chaos::witness::{self, Deed, Testimony};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::spread::Spread;
use super::{Measuring, print_spreads, print_verdict, scenario};
use crate::history::What;
use crate::load::Clients;
use crate::scenario::Scenario;
use crate::stand::Stand;
use crate::violations::Violations;

const COUNT: u64 = 50;
/// Beyond the lease.
const GOAL_BEYOND_LEASE: Duration = Duration::from_secs(2);
/// Between two kills, beyond what the reassignment may take.
const PAUSE_MS: std::ops::Range<u64> = 500..1_500;
/// Until the killed worker is started again.
const DOWN: Duration = Duration::from_millis(500);

const SCENARIO: &str = r#"
summary = "A worker is killed."
workers = 4
lease-ms = 5000
duration-s = 0
load = { schedules = false, clients = 12, mix = { endless = 1 } }
"#;

pub(super) async fn measure(measuring: &Measuring<'_>, violations: &mut Violations) -> Result<()> {
    let scenario = scenario(SCENARIO)?;
    let mut stand = Stand::start(&scenario, measuring.inside, measuring.binary).await?;
    let addresses = stand.lab.client.endpoints();
    let clients = Clients::start(&scenario, &addresses, &stand.history, measuring.seed)?;
    let mut chance = StdRng::seed_from_u64(measuring.seed);
    let mut kills = Vec::new();
    for _ in 0..measuring.count.unwrap_or(COUNT) {
        tokio::time::sleep(Duration::from_millis(chance.random_range(PAUSE_MS))).await;
        let worker = chance.random_range(0..scenario.workers);
        let killed = witness::now();
        stand.lab.kill_worker(worker);
        stand.history.note(killed, What::Fault(format!("killed w{worker}")));
        kills.push(killed);
        tokio::time::sleep(DOWN).await;
        stand.lab.start_worker(worker)?;
        tokio::time::sleep(scenario.lease() + GOAL_BEYOND_LEASE).await;
    }
    clients.stop().await;
    let found = stand.finish(&scenario, violations).await?;
    let goal = scenario.lease() + GOAL_BEYOND_LEASE;
    let mut spread = Spread::new("killed worker → its task begins again").within(goal);
    for killed in &kills {
        for span in again(&found.testimonies, *killed, &scenario) {
            spread.add(span);
        }
    }
    print_verdict(&found, violations);
    println!("Kills: {}; lease {} ms.\n", kills.len(), scenario.lease_ms);
    print_spreads(&[&spread]);
    Ok(())
}

/// For every task that began again after the kill, how long after it.
fn again(testimonies: &[Testimony], killed: Duration, scenario: &Scenario) -> Vec<Duration> {
    let until = killed + scenario.lease() * 2 + GOAL_BEYOND_LEASE;
    let mut before: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    let mut spans = Vec::new();
    for said in testimonies.iter().filter(|said| said.deed == Deed::Begin) {
        let key = (said.run, said.task.as_str());
        if said.at < killed {
            before.insert(key, said.fence);
        } else if said.at < until && before.get(&key).is_some_and(|fence| *fence < said.fence) {
            before.remove(&key);
            spans.push(said.at - killed);
        }
    }
    spans
}
