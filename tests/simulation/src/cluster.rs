//! The hosts of a plan: real masters, real workers and real clients on simulated machines.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_checker::Observed;
use muster_checker::history::Ending;
use muster_core::apply::Applied;
use muster_core::command::{AttemptRef, Entry};
use muster_core::ids::LogIndex;
use muster_core::spec::Resources;
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_master::{Master, MasterConfig};
use muster_platform::{Disk, Platform};
use muster_proto::internal::v1::OutcomeKind;
use muster_raft::Position;
use muster_worker::load::LoadMeter;
use muster_worker::observer::Event;
use muster_worker::session::{Worker, WorkerConfig};
use parking_lot::Mutex;
use turmoil::Sim;

use crate::executor::SimulatedExecutor;
use crate::machine::disk::MemoryDisk;
use crate::machine::journal::MemoryJournal;
use crate::machine::kernel::Kernel;
use crate::machine::platform::{Clocks, Simulated};
use crate::machine::process::{Ended, Machine, Software};
use crate::plan::Plan;
use crate::witness::{Witness, nanos};

const API_PORT: u16 = 7070;
const PEER_PORT: u16 = 7071;
/// How often a process looks whether it is told to stop.
const LOOK: Duration = Duration::from_millis(20);
/// How often a worker that leaves is looked at: less than a message takes.
const LOOK_CLOSELY: Duration = Duration::from_millis(1);

/// One master's machine.
pub struct MasterMachine {
    /// What runs there.
    pub machine: Machine,
    /// Its disk.
    pub disk: MemoryDisk,
    /// Its clocks.
    pub clocks: Arc<Clocks>,
    /// How often its process was started.
    pub starts: Rc<Cell<u64>>,
    /// Whether its process ended by itself, and why.
    pub failure: Rc<RefCell<Option<String>>>,
    /// Whether it is told to stop.
    pub stop: Rc<Cell<bool>>,
}

/// One worker's machine.
pub struct WorkerMachine {
    /// What runs there.
    pub machine: Machine,
    /// Its disk, for the folder's lock and marker.
    pub disk: MemoryDisk,
    /// Its clocks.
    pub clocks: Arc<Clocks>,
    /// What it had not reported.
    pub journal: MemoryJournal,
    /// Whether it is told to leave, and how much time it has for that.
    pub leave: Rc<Cell<Option<Duration>>>,
    /// Whether it has left.
    pub has_left: Rc<Cell<bool>>,
}

/// All machines, by number.
pub struct Machines {
    /// `m0`, `m1`, …
    pub masters: Vec<MasterMachine>,
    /// `w0`, `w1`, …
    pub workers: Vec<WorkerMachine>,
}

/// Name of the host that all clients are on: faults do not tell them apart.
pub const CLIENTS: &str = "clients";

/// Name of a master's host.
pub fn master_host(number: usize) -> String {
    format!("m{number}")
}

/// Name of a worker's host.
pub fn worker_host(number: usize) -> String {
    format!("w{number}")
}

/// Where clients find the masters.
pub fn api_addresses(plan: &Plan) -> Vec<String> {
    (0..plan.masters).map(|number| format!("{}:{API_PORT}", master_host(number))).collect()
}

/// A stream of chance of its own for every machine.
fn seed_of(plan: &Plan, kind: u64, number: usize) -> u64 {
    plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (kind << 32) ^ number as u64
}

/// Adds masters and workers to a simulation, and starts them.
pub fn add_machines(sim: &mut Sim<'_>, plan: &Rc<Plan>, witness: &Witness) -> Machines {
    let masters = (0..plan.masters).map(|number| add_master(sim, plan, number, witness)).collect();
    let workers = 0..plan.workers.len();
    let workers = workers.map(|number| add_worker(sim, plan, number, witness)).collect();
    Machines { masters, workers }
}

impl Machines {
    /// All, masters first.
    pub fn all(&self) -> impl Iterator<Item = &Machine> {
        let masters = self.masters.iter().map(|it| &it.machine);
        masters.chain(self.workers.iter().map(|it| &it.machine))
    }

    /// The one of this name.
    pub fn named(&self, host: &str) -> &Machine {
        self.all().find(|machine| machine.host == host).expect("machines have these names")
    }
}

fn add_master(
    sim: &mut Sim<'_>,
    plan: &Rc<Plan>,
    number: usize,
    witness: &Witness,
) -> MasterMachine {
    let (disk, clocks) =
        (MemoryDisk::new(seed_of(plan, 1, number), plan.disk), Arc::<Clocks>::default());
    let (starts, failure) = (Rc::<Cell<u64>>::default(), Rc::<RefCell<Option<String>>>::default());
    let (kernel, stop) = (Kernel::default(), Rc::<Cell<bool>>::default());
    let software = {
        let (plan, witness, kernel) = (Rc::clone(plan), witness.clone(), kernel.clone());
        let (disk, clocks, starts) = (disk.clone(), Arc::clone(&clocks), Rc::clone(&starts));
        let (failure, stop) = (Rc::clone(&failure), Rc::clone(&stop));
        move || {
            let incarnation = starts.replace(starts.get() + 1);
            let mut config = master_config(&plan, number, &disk);
            let clocks = Arc::clone(&clocks);
            config.platform = Platform::new(Simulated { clocks, kernel: kernel.clone() });
            let (witness, failure, stop) = (witness.clone(), Rc::clone(&failure), Rc::clone(&stop));
            let master = number as u64;
            Box::pin(carry_master(master, incarnation, config, witness, failure, stop)) as Software
        }
    };
    let machine = Machine::add(sim, master_host(number), kernel, Box::new(software));
    MasterMachine { machine, disk, clocks, starts, failure, stop }
}

/// One life of a master.
async fn carry_master(
    master: u64,
    incarnation: u64,
    mut config: MasterConfig,
    witness: Witness,
    failure: Rc<RefCell<Option<String>>>,
    stop: Rc<Cell<bool>>,
) -> Ended {
    let is_open = Arc::<AtomicBool>::default();
    let observer = MasterObserver {
        master,
        incarnation,
        is_open: Arc::clone(&is_open),
        witness: witness.clone(),
    };
    config.observer = Some(Arc::new(observer));
    stop.set(false);
    witness.observed(Observed::MasterStarted { master, restarts: incarnation });
    let why = match Master::start(config).await {
        Ok(running) => {
            is_open.store(true, Ordering::Relaxed);
            run_master(running, master, &witness, &stop).await
        }
        Err(error) => error.to_string(),
    };
    witness.observed(Observed::MasterStopped { master });
    witness.note(format_args!("m{master} stopped by itself: {why}"));
    *failure.borrow_mut() = Some(why);
    Ok(())
}

/// Until it must stop or is told to. Returns why.
async fn run_master(running: Master, master: u64, witness: &Witness, stop: &Cell<bool>) -> String {
    let told = async {
        while !stop.get() {
            witness.stands(master, running.status());
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        error = running.failed() => return error.to_string(),
        () = told => {}
    }
    running.shutdown().await;
    "it was told to".into()
}

fn master_config(plan: &Plan, number: usize, disk: &MemoryDisk) -> MasterConfig {
    let host = master_host(number);
    let everywhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let peer = |number| format!("{0}={0}:{PEER_PORT}", master_host(number));
    MasterConfig {
        name: host.clone(),
        data_dir: PathBuf::from("/data"),
        api_listen: everywhere(API_PORT),
        api_advertise: Some(format!("{host}:{API_PORT}")),
        peer_listen: everywhere(PEER_PORT),
        peer_advertise: Some(format!("{host}:{PEER_PORT}")),
        peers: (0..plan.masters).map(peer).collect(),
        insecure: true,
        snapshot_entries: Some(plan.snapshot_entries),
        lease: plan.leases[number],
        heartbeat: plan.heartbeat,
        history_runs_max: plan.history_runs_max,
        history_look: plan.history_look,
        disk: Arc::new(disk.clone()) as Arc<dyn Disk>,
        ..MasterConfig::default()
    }
}

struct MasterObserver {
    master: u64,
    incarnation: u64,
    /// Its own snapshot, if it had one, is restored: the next one comes from a peer.
    is_open: Arc<AtomicBool>,
    witness: Witness,
}

impl muster_master::Observer for MasterObserver {
    fn applied(&self, at: Position, entry: &Entry, state: &State, applied: &Applied) {
        self.witness.applied(self.master, self.incarnation, at, entry, state, applied);
    }

    fn restored(&self, index: LogIndex, state: &State) {
        self.witness.restored(self.master, self.incarnation, index, state);
        if self.is_open.load(Ordering::Relaxed) {
            self.witness.observed(Observed::SnapshotInstalled { master: self.master, index });
        }
    }

    fn dispatched_again(&self, attempt: &AttemptRef) {
        let AttemptRef { run, task, fence, .. } = *attempt;
        self.witness.observed(Observed::Reconciled { run, task, fence });
    }

    fn leads(&self, term: u64) {
        self.witness.observed(Observed::Leads { master: self.master, term });
    }

    fn refused(&self, term: u64) {
        self.witness.observed(Observed::ProposalRefused { master: self.master, term });
    }

    fn leads_no_more(&self, term: u64) {
        self.witness.observed(Observed::StepsDown { master: self.master, term });
    }
}

fn add_worker(
    sim: &mut Sim<'_>,
    plan: &Rc<Plan>,
    number: usize,
    witness: &Witness,
) -> WorkerMachine {
    let name = worker_host(number);
    let (disk, clocks) =
        (MemoryDisk::new(seed_of(plan, 2, number), plan.disk), Arc::<Clocks>::default());
    clocks.set_drift(plan.workers[number].drift_ppm);
    let journal = MemoryJournal::new(seed_of(plan, 3, number));
    let (leave, has_left) = (Rc::<Cell<Option<Duration>>>::default(), Rc::<Cell<bool>>::default());
    let kernel = Kernel::default();
    let software = {
        let (plan, witness, name) = (Rc::clone(plan), witness.clone(), name.clone());
        let (disk, clocks, journal) = (disk.clone(), Arc::clone(&clocks), journal.clone());
        let (leave, has_left) = (Rc::clone(&leave), Rc::clone(&has_left));
        let kernel = kernel.clone();
        move || {
            let mut config =
                WorkerConfig::new(name.clone(), Path::new("/data").into(), api_addresses(&plan));
            config.capacity = capacity(plan.workers[number].cpu_millis);
            config.runs_processes = false;
            config.load = LoadMeter::over(Path::new("/nowhere"), 4);
            config.disk = Arc::new(disk.clone());
            config.journal = Arc::new(journal.clone());
            let clocks = Arc::clone(&clocks);
            let simulated = Simulated { clocks: Arc::clone(&clocks), kernel: kernel.clone() };
            config.platform = Platform::new(simulated);
            config.executors = vec![Arc::new(SimulatedExecutor::new(
                name.clone(),
                kernel.clone(),
                config.platform.clone(),
                witness.clone(),
            ))];
            let (witness, name) = (witness.clone(), name.clone());
            let (leave, has_left) = (Rc::clone(&leave), Rc::clone(&has_left));
            Box::pin(carry_worker(name, config, clocks, witness, leave, has_left)) as Software
        }
    };
    let machine = Machine::add(sim, name, kernel, Box::new(software));
    WorkerMachine { machine, disk, clocks, journal, leave, has_left }
}

/// One life of a worker.
async fn carry_worker(
    name: String,
    mut config: WorkerConfig,
    clocks: Arc<Clocks>,
    witness: Witness,
    leave: Rc<Cell<Option<Duration>>>,
    has_left: Rc<Cell<bool>>,
) -> Ended {
    let is_done = Arc::<AtomicBool>::default();
    config.observer = Some(Arc::new(WorkerObserver {
        name: name.clone(),
        clocks,
        witness: witness.clone(),
        told: Mutex::default(),
        is_done: Arc::clone(&is_done),
    }));
    leave.set(None);
    let running = Worker::start(config).await;
    let running = running.map_err(|error| format!("{name} cannot start: {error}"))?;
    let wait = loop {
        match leave.take() {
            Some(wait) => break wait,
            None => tokio::time::sleep(LOOK).await,
        }
    };
    tokio::join!(running.shut_down(wait), tell_when_done(&name, &witness, &is_done));
    has_left.set(true);
    Ok(())
}

/// A worker that leaves takes nothing new: once nothing of it lives, it may be given up.
async fn tell_when_done(name: &str, witness: &Witness, is_done: &AtomicBool) {
    while witness.live_attempts(name) > 0 {
        tokio::time::sleep(LOOK_CLOSELY).await;
    }
    is_done.store(true, Ordering::Relaxed);
    let (worker, incarnation) = (name.into(), witness.incarnation(name));
    witness.observed(Observed::WorkerLeft { worker, incarnation });
}

fn capacity(cpu_millis: u64) -> Resources {
    Resources { cpu_millis, memory_bytes: 8 << 30, custom: BTreeMap::new() }
}

struct WorkerObserver {
    name: String,
    clocks: Arc<Clocks>,
    witness: Witness,
    /// What it reported, for when it is answered.
    told: Mutex<BTreeMap<AttemptRef, Ending>>,
    /// Whether it leaves, and nothing of it lives any more.
    is_done: Arc<AtomicBool>,
}

impl muster_worker::observer::Observer for WorkerObserver {
    fn observe(&self, event: Event) {
        let worker = self.name.as_str().into();
        let seen = match event {
            Event::Registered { worker: id, incarnation } => {
                if self.is_done.load(Ordering::Relaxed) {
                    // It comes to give back what it had: its lease as this incarnation protects nothing.
                    let worker = self.name.as_str().into();
                    self.witness.observed(Observed::WorkerLeft { worker, incarnation });
                }
                Observed::WorkerRegistered { worker, incarnation, id }
            }
            Event::LeaseConfirmed { incarnation, end, .. } => Observed::LeaseConfirmed {
                worker,
                incarnation,
                until: nanos(self.clocks.true_time_of(end)),
                left: nanos(end.saturating_sub(self.clocks.since_boot())),
            },
            Event::LeaseLapsed { incarnation } => Observed::LeaseLapsed { worker, incarnation },
            Event::Reported { attempt, incarnation, outcome, is_kept } => {
                let how = ending_of_report(outcome);
                self.told.lock().insert(attempt, how);
                if is_kept {
                    self.witness.owes(&self.name, attempt, true);
                }
                let AttemptRef { run, task, range: IndexRange { first, last }, fence } = attempt;
                Observed::Reported {
                    worker,
                    incarnation,
                    run,
                    task,
                    first,
                    last,
                    fence,
                    how,
                    is_kept,
                }
            }
            // What the executor tells is closer to the truth.
            Event::Accepted { .. } | Event::Started { .. } | Event::Ended { .. } => return,
            // The acknowledgement says that the report is committed. Unless it came too late, it counts.
            Event::Acknowledged { attempt, incarnation } => {
                self.witness.owes(&self.name, attempt, false);
                let how = self.told.lock().get(&attempt).copied();
                let how = how.expect("what is acknowledged was reported");
                let is_accepted = !self.witness.has_ended_otherwise(&attempt);
                let AttemptRef { run, task, range: IndexRange { first, last }, fence } = attempt;
                Observed::ReportAnswered {
                    worker,
                    incarnation,
                    run,
                    task,
                    first,
                    last,
                    fence,
                    how,
                    is_accepted,
                }
            }
        };
        self.witness.observed(seen);
    }
}

fn ending_of_report(outcome: OutcomeKind) -> Ending {
    match outcome {
        OutcomeKind::Succeeded => Ending::Succeeded,
        OutcomeKind::Failed => Ending::Failed,
        OutcomeKind::TimedOut => Ending::TimedOut,
        OutcomeKind::Cancelled => Ending::Cancelled,
        OutcomeKind::Lost | OutcomeKind::Unspecified => Ending::Lost,
    }
}
