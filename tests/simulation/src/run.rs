//! One run of one seed, from the first step to the verdict.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use muster_checker::judge::Bounds;
use muster_checker::{Coverage, Expectations, Observed, Verdict, fires, judge};
use muster_core::ids::LogIndex;
use muster_core::time::{Millis, Timestamp};
use muster_platform::Platform;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::task::JoinSet;
use turmoil::Sim;

use crate::client::Workload;
use crate::cluster::{CLIENTS, Machines, add_machines, api_addresses, master_host};
use crate::inquirer::Inquirer;
use crate::machine::entropy::{self, EPOCH};
use crate::machine::kernel::Kernel;
use crate::machine::platform::Simulated;
use crate::plan::Plan;
use crate::strike::Havoc;
use crate::trace::Trace;
use crate::witness::{Witness, nanos};
use crate::workflow;

/// Time goes on in steps of this length.
const TICK: Duration = Duration::from_millis(4);
/// How long a cluster may take to recover when everything is mended, before the run is given up.
const RECOVERY_MAX: Duration = Duration::from_secs(90);
/// Bytes that may be under way on one connection: turmoil panics beyond its own bound instead of pushing back.
const TCP_CAPACITY: usize = 1 << 20;
/// How often the last client looks whether everything has ended.
const POLL: Duration = Duration::from_millis(200);
/// How often the onlooker looks at all masters' histories.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// When everything is over, masters get this long to apply what is committed.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Bounds on recovery. L1 to L5 of the checker.
const LEADER_MAX: Duration = Duration::from_secs(20);
const SERVICE_MAX: Duration = Duration::from_secs(60);
/// What masters promise: how long they wait beyond a lease, and for how long one that was deposed confirms leases.
const MARGIN: Duration = Duration::from_secs(1);
const QUORUM_AGE_MAX: Duration = Duration::from_millis(500);
/// A decision about a schedule gets its stamp after this long at most.
const DECISION_MAX: Millis = Millis(1_000);
/// When everything is over, workers get this long to report what they have on their disks.
const REPORTS_MAX: Duration = Duration::from_secs(10);

/// What came of a run.
pub struct Report {
    /// Equal for equal runs.
    pub hash: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// What the checker says, with the harness's own counters.
    pub verdict: Verdict,
    /// What went wrong with the simulation itself.
    pub broken: Option<Broken>,
    /// Simulated time.
    pub simulated: Duration,
}

/// Why a run did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Everything was mended, and something was still not done long after.
    NoEnd(String),
    /// Something of ours panicked, or a host ended with an error.
    Fell(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::NoEnd(what) => write!(f, "no end: {what}"),
            Broken::Fell(what) => f.write_str(what),
        }
    }
}

impl Report {
    /// Whether all is well.
    pub fn is_clean(&self) -> bool {
        self.broken.is_none() && self.verdict.is_clean()
    }
}

/// What the clients and the harness tell each other.
#[derive(Default)]
struct Shared {
    /// Clients that have done all their steps.
    finished: Cell<usize>,
    /// Set when nothing is broken on purpose any more.
    is_mended: Cell<bool>,
    /// Set when everything that can be expected has come about.
    is_over: Cell<bool>,
    transfer: Cell<Option<usize>>,
}

/// Runs a plan. Must be called on a thread of its own in a process of its own: what is left in statics and
/// thread-locals of the crates involved would change the next run.
pub fn run(plan: Plan, trace: Trace) -> Report {
    entropy::take_over(plan.seed);
    let witness = Witness::new(trace);
    let plan = Rc::new(plan);
    let mut sim = build(&plan);
    let machines = add_machines(&mut sim, &plan, &witness);
    let shared = Rc::<Shared>::default();
    add_clients(&mut sim, &plan, &witness, &shared);
    let mut havoc = Havoc::new(&plan, witness.clone());
    let driven = panic::catch_unwind(AssertUnwindSafe(|| {
        drive(&mut sim, &plan, &machines, &shared, &mut havoc, &witness)
    }));
    let broken = match driven {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(panic) => Some(Broken::Fell(format!("panic: {}", words_of(&*panic)))),
    };
    let simulated = sim.elapsed();
    // Tearing down a host after a panic may panic again; the process ends anyway.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| {
        machines.all().for_each(|machine| machine.crash(&mut sim));
        drop(sim);
    }));
    conclude(&plan, &witness, &machines, &havoc, broken, simulated)
}

fn build<'a>(plan: &Plan) -> Sim<'a> {
    turmoil::Builder::new()
        .rng_seed(plan.seed)
        .enable_random_order()
        .tcp_capacity(TCP_CAPACITY)
        .epoch(UNIX_EPOCH + EPOCH)
        .simulation_duration(plan.mended_at + RECOVERY_MAX * 2)
        .tick_duration(TICK)
        .min_message_latency(latency_of(plan.latency.0))
        .max_message_latency(latency_of(plan.latency.1))
        .build()
}

/// How long a message is under way that may take so long: what has arrived waits for the next turn of its process.
pub fn latency_of(wanted: Duration) -> Duration {
    wanted.saturating_sub(TICK)
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without words").to_owned()
}

/// All clients, on one host of turmoil: they share no connections, only its turn.
fn add_clients(sim: &mut Sim<'_>, plan: &Rc<Plan>, witness: &Witness, shared: &Rc<Shared>) {
    let (plan, witness, shared) = (Rc::clone(plan), witness.clone(), Rc::clone(shared));
    sim.client(CLIENTS, async move {
        let kernel = Kernel::default();
        tokio::spawn(kernel.boot());
        let platform = Platform::new(Simulated { clocks: Arc::default(), kernel });
        let mut clients = JoinSet::new();
        for number in 0..plan.clients.len() {
            // Each begins with another master, and stays with it while it answers.
            let mut addresses = api_addresses(&plan);
            addresses.rotate_left(number % plan.masters);
            let platform = platform.clone();
            let client = Workload::new(number as u64, &addresses, platform, witness.clone())?;
            let of_all = (Rc::clone(&plan), witness.clone(), Rc::clone(&shared));
            clients.spawn_local(serve_client(number, client, of_all));
        }
        if Inquirer::is_in(plan.seed) {
            let (number, addresses) = (plan.clients.len() as u64 + 1, api_addresses(&plan));
            let inquirer = Inquirer::new(number, &addresses, &platform, witness.clone())?;
            clients.spawn_local(inquire(inquirer, Rc::clone(&shared)));
        }
        if plan.is_pruned() {
            let (number, addresses) = (plan.clients.len() as u64, api_addresses(&plan));
            let client = Workload::new(number, &addresses, platform, witness)?;
            clients.spawn_local(look_on(client, addresses, shared));
        }
        while let Some(ended) = clients.join_next().await {
            ended?;
        }
        Ok(())
    });
}

async fn serve_client(
    number: usize,
    mut client: Workload,
    (plan, witness, shared): (Rc<Plan>, Witness, Rc<Shared>),
) {
    client.run(plan.clients[number].clone()).await;
    shared.finished.set(shared.finished.get() + 1);
    if number == 0 {
        finish(&mut client, &plan, &witness, &shared).await;
    }
}

/// Asks as long as others do.
async fn inquire(inquirer: Inquirer, shared: Rc<Shared>) {
    while !shared.is_mended.get() {
        inquirer.ask_all().await;
    }
}

/// Looks at the masters' histories all the time: a run that should be gone is soon pruned once more.
async fn look_on(client: Workload, addresses: Vec<String>, shared: Rc<Shared>) {
    while !shared.is_over.get() {
        for (master, address) in addresses.iter().enumerate() {
            client.look_at_history(master, address).await;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// When everything is mended: takes quotas and limits of groups away, submits something new, lets held tasks go, waits
/// until all runs have ended, and asks every master for all of them.
async fn finish(client: &mut Workload, plan: &Plan, witness: &Witness, shared: &Shared) {
    while !shared.is_mended.get() || shared.finished.get() < plan.clients.len() {
        let asked = shared.transfer.take();
        if let Some(to) = asked {
            client.transfer(&master_host(to)).await;
        }
        tokio::time::sleep(POLL).await;
    }
    while let Some(namespace) = witness.limited() {
        client.free(&namespace).await;
        tokio::time::sleep(POLL).await;
    }
    let mut chance = SmallRng::seed_from_u64(plan.seed);
    client.submit_one(workflow::draw(&mut chance, "last")).await;
    loop {
        let open = witness.open_runs();
        if let Some(first) = open.keys().next().copied() {
            witness.note(format_args!("open runs, and what they wait for: {open:?}"));
            client.tidy_up(plan.workers.len(), open).await;
            client.read(first, false).await;
        } else if !witness.has_fires_to_come() {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    // What is pruned from now on would be seen on some masters and not on others.
    while witness.history_runs() > plan.history_runs_max {
        tokio::time::sleep(POLL).await;
    }
    let reports = async {
        while witness.is_owed_reports() {
            tokio::time::sleep(POLL).await;
        }
    };
    // If they do not, the checker says so.
    let _late = tokio::time::timeout(REPORTS_MAX, reports).await;
    for master in 0..plan.masters {
        while !witness.is_caught_up(master as u64) {
            tokio::time::sleep(POLL).await;
        }
        client.look_at_all(master, &api_addresses(plan)[master]).await;
    }
    shared.is_over.set(true);
}

fn drive(
    sim: &mut Sim<'_>,
    plan: &Plan,
    machines: &Machines,
    shared: &Shared,
    havoc: &mut Havoc,
    witness: &Witness,
) -> Result<(), Broken> {
    let mut order = SmallRng::seed_from_u64(!plan.seed);
    let mut faults = plan.faults.iter().peekable();
    loop {
        let now = sim.elapsed();
        entropy::set_elapsed(now);
        havoc.mend(sim, machines, now);
        while let Some(scheduled) = faults.next_if(|scheduled| scheduled.at <= now) {
            havoc.strike(sim, machines, now, &scheduled.fault);
            shared.transfer.set(havoc.transfer.take());
        }
        if now >= plan.mended_at && !shared.is_mended.get() {
            havoc.mend_all(sim, machines, now);
            shared.is_mended.set(true);
            witness.observed(Observed::FaultsStopped {});
        }
        if now > plan.mended_at + RECOVERY_MAX {
            let open = witness.open_runs();
            return Err(Broken::NoEnd(format!("{} runs are open: {open:?}", open.len())));
        }
        if step(sim, machines, &mut order)? {
            break;
        }
    }
    let end = sim.elapsed() + AFTERWARDS;
    while sim.elapsed() < end {
        entropy::set_elapsed(sim.elapsed());
        step(sim, machines, &mut order)?;
    }
    Ok(())
}

/// One step of time for all: first the processes, in any order, then the network, the kernels and the clients. Whether
/// the clients are done.
fn step(sim: &mut Sim<'_>, machines: &Machines, order: &mut SmallRng) -> Result<bool, Broken> {
    let now = sim.elapsed();
    let mut all: Vec<_> = machines.all().collect();
    all.shuffle(order);
    for machine in all {
        if let Some(Err(why)) = machine.run(now, TICK) {
            return Err(Broken::Fell(format!("{} failed: {why}", machine.host)));
        }
    }
    sim.step().map_err(|error| Broken::Fell(format!("a host failed: {error}")))
}

fn conclude(
    plan: &Plan,
    witness: &Witness,
    machines: &Machines,
    havoc: &Havoc,
    broken: Option<Broken>,
    simulated: Duration,
) -> Report {
    witness.final_states();
    let account = witness.account();
    let has_ended = !matches!(broken, Some(Broken::Fell(_)));
    let members =
        [("logs purged", account.logs_purged), ("voters replaced", account.voters_replaced)];
    let broken = broken.or(account.wrong.map(Broken::Fell));
    let (mut verdict, ledger) = account.auditor.finish();
    let bounds = Bounds {
        leader: nanos(LEADER_MAX),
        runs: nanos(RECOVERY_MAX),
        service: nanos(SERVICE_MAX),
        owner: nanos(SERVICE_MAX),
    };
    let expectations = Expectations {
        masters: plan.masters,
        lease: nanos(plan.longest_lease()),
        margin: nanos(MARGIN),
        quorum_age: nanos(QUORUM_AGE_MAX),
        sees_all_attempts: true,
        liveness: has_ended.then_some(bounds),
    };
    verdict.merge(judge(&account.history, &ledger, &expectations));
    let applied_at = |index: LogIndex| {
        let since_epoch = EPOCH + Duration::from_nanos(ledger.applied_at.get(&index)?.0);
        u64::try_from(since_epoch.as_millis()).ok().map(Timestamp)
    };
    let time = fires::TrueTime { slack: DECISION_MAX, applied_at: &applied_at };
    let time = plan.clocks_hold.then_some(&time);
    verdict.merge(fires::check(&ledger.decisions, &workflow::times, time));
    count(&mut verdict.coverage, machines, havoc);
    members.into_iter().for_each(|(name, times)| verdict.coverage.count_own(name, times));
    Report { hash: account.hash, lines: account.lines, verdict, broken, simulated }
}

/// What only the harness knows.
fn count(coverage: &mut Coverage, machines: &Machines, havoc: &Havoc) {
    let mut own = BTreeMap::from([("disks that lost something", 0), ("torn writes", 0)]);
    for machine in &machines.masters {
        let wear = machine.disk.wear();
        *own.entry("disks that lost something").or_default() += wear.lost;
        *own.entry("torn writes").or_default() += wear.torn;
        *own.entry("failed syncs").or_default() += wear.failed_syncs;
        *own.entry("writes without room").or_default() += wear.full;
    }
    for machine in &machines.workers {
        *own.entry("journals set aside").or_default() += machine.journal.times_set_aside();
    }
    own.into_iter().for_each(|(name, times)| coverage.count_own(name, times));
    for (kind, times) in &havoc.struck {
        coverage.count_own(&format!("fault: {}", kind.name()), *times);
    }
}
