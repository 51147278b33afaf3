//! Leadership is handed over on request: how long the call takes, and how long nobody can write.

use std::time::Duration;

use anyhow::Result;
use muster_chaos::witness;

use super::probe::Probe;
use super::spread::Spread;
use super::{Measuring, is_whole, print_spreads, print_verdict, scenario};
use crate::history::What;
use crate::load::Clients;
use crate::stand::Stand;
use crate::violations::Violations;

const COUNT: u64 = 200;
const GOAL: Duration = Duration::from_millis(100);
const PROBE_EVERY: Duration = Duration::from_millis(5);
const BEFORE: Duration = Duration::from_millis(200);
const AFTER: Duration = Duration::from_millis(400);
const CALL_DEADLINE: Duration = Duration::from_secs(5);
const WHOLE_MAX: Duration = Duration::from_secs(30);

const SCENARIO: &str = r#"
summary = "Leadership is handed over."
lease-ms = 5000
duration-s = 0
load = { schedules = false, clients = 2, mix = { short = 4, noop = 4 } }
"#;

pub(super) async fn measure(measuring: &Measuring<'_>, violations: &mut Violations) -> Result<()> {
    let scenario = scenario(SCENARIO)?;
    let mut stand = Stand::start(&scenario, measuring.inside, measuring.binary).await?;
    let addresses = stand.lab.client.endpoints();
    let clients = Clients::start(&scenario, &addresses, &stand.history, measuring.seed)?;
    let probe = Probe::start(&addresses, &stand.history, "noop", PROBE_EVERY)?;
    let mut called = Spread::new("the call, until the new leader is known").within(GOAL);
    let mut asked = Vec::new();
    let mut refused = 0_u64;
    for _ in 0..measuring.count.unwrap_or(COUNT) {
        is_whole(&mut stand, WHOLE_MAX).await?;
        probe.set(true);
        tokio::time::sleep(BEFORE).await;
        let started = witness::now();
        let handed = stand.lab.client.with_deadline(CALL_DEADLINE).transfer_leader("").await;
        stand.history.note(started, What::Fault("handed leadership over".to_owned()));
        match handed {
            Ok(_) => {
                called.add(witness::now() - started);
                asked.push(started);
            }
            Err(_) => refused += 1,
        }
        tokio::time::sleep(AFTER).await;
        probe.set(false);
    }
    clients.stop().await;
    drop(probe);
    let found = stand.finish(&scenario, violations).await?;
    let mut written = Spread::new("longest wait of a write that began within 100 ms of the call");
    for started in &asked {
        let waits = found.events.iter().filter(|event| {
            let is_submission = matches!(event.what, What::Submit { .. });
            is_submission && event.called >= *started && event.called < *started + GOAL
        });
        if let Some(longest) = waits.map(|event| event.returned - event.called).max() {
            written.add(longest);
        }
    }
    print_verdict(&found, violations);
    println!("Hand-overs: {}, refused: {refused}.\n", asked.len());
    print_spreads(&[&called, &written]);
    Ok(())
}
