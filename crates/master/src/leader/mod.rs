//! What only the leader does: let time pass, plan, dispatch, and watch over workers.
//!
//! Everything here is derived from the state and from memory that a new leader builds afresh. A leader that is deposed
//! in the middle of anything has no effect: whatever it does goes through the log, which refuses it (I13).

mod assignment;
mod calendar;
mod columns;
mod decide;
mod dispatch;
mod liveness;
mod plan;
mod reconcile;
mod tick;

use std::sync::Arc;

use muster_core::event::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) use assignment::{parse_held, question};
pub(crate) use reconcile::reconcile;

use crate::replica::Replica;

/// Leads whenever this master is the leader, until the process ends.
pub(crate) async fn run(replica: Arc<Replica>, mut events: mpsc::UnboundedReceiver<Event>) {
    let mut leadership = replica.raft.watch_leadership();
    loop {
        let term = {
            let Ok(current) = leadership.wait_for(|it| it.is_leader).await else { return };
            current.term
        };
        // Everything that earlier leaders committed must be applied before this one acts on the state.
        let Ok(index) = replica.raft.linearizable().await else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        if replica.raft.wait_applied(index).await.is_err() {
            return;
        }
        // What was applied may be another leader's: this one was deposed before an entry of its own was committed.
        if !replica.raft.leads_in(term).await {
            continue;
        }
        let member = replica.raft.member_id();
        let platform = &replica.config.platform;
        let since_boot_us = platform.since_boot_us();
        tracing::info!(term, member, since_boot_us, "this master leads");
        if let Some(observer) = &replica.config.observer {
            observer.leads(term);
        }
        let duties = begin(&replica, term, &mut events);
        let still_leads = |it: &muster_raft::Leadership| it.is_leader && it.term == term;
        tokio::select! {
            () = dispatch::run(replica.clone(), &mut events) => {}
            ended = leadership.wait_for(|it| !still_leads(it)) => {
                if ended.is_err() {
                    return;
                }
            }
        }
        drop(duties);
        replica.cell.set_leads(false);
        replica.live.end();
        let since_boot_us = platform.since_boot_us();
        tracing::info!(term, member, since_boot_us, "this master leads no more");
        if let Some(observer) = &replica.config.observer {
            observer.leads_no_more(term);
        }
    }
}

/// Starts the duties. They end when the returned set is dropped.
fn begin(
    replica: &Arc<Replica>,
    term: u64,
    events: &mut mpsc::UnboundedReceiver<Event>,
) -> JoinSet<()> {
    while events.try_recv().is_ok() {}
    replica.cell.set_leads(true);
    let workers = replica.cell.read(|state| liveness::registered(state, replica.config.lease));
    replica.live.begin(workers.into_iter());
    let mut duties = JoinSet::new();
    duties.spawn(tick::run(replica.clone()));
    duties.spawn(plan::run(replica.clone()));
    duties.spawn(calendar::run(replica.clone()));
    duties.spawn(decide::run(replica.clone()));
    duties.spawn(liveness::run(replica.clone(), term));
    duties
}
