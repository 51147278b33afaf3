//! Carries faults out, and mends them.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_checker::Observed;
use muster_core::ids::Text;
use turmoil::Sim;

use crate::cluster::{CLIENTS, Machines, master_host, worker_host};
use crate::machine::disk::Manners;
use crate::plan::{Direction, Fault, Plan, Which};
use crate::run::latency_of;
use crate::witness::Witness;

/// A disk that is full has room for nothing.
const NO_ROOM: u64 = 0;

macro_rules! kinds {
    ($($name:ident = $text:literal,)*) => {
        /// What faults are counted by. A sweep must have seen each of them strike.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = $text] $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    PowerCut = "power cut",
    Killed = "killed",
    SyncFails = "sync fails",
    DiskStalls = "disk stalls",
    DiskFull = "disk full",
    WipedVolume = "wiped volume",
    Isolated = "isolated",
    WorkerCutOff = "worker cut off",
    SlowLinks = "slow links",
    Paused = "paused",
    WorkerPaused = "worker paused",
    Frozen = "frozen",
    WorkerFrozen = "worker frozen",
    WorkerSlow = "worker slow",
    ClockJumps = "clock jumps",
    ClockDrifts = "clock drifts",
    WorkerKilled = "worker killed",
    Transfer = "transfer",
    ToldToStop = "told to stop",
    WorkerToldToLeave = "worker told to leave",
}

impl Fault {
    /// What it is counted by.
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Crash { power: true, .. } => Kind::PowerCut,
            Fault::Crash { power: false, .. } => Kind::Killed,
            Fault::SyncFails { .. } => Kind::SyncFails,
            Fault::DiskStalls { .. } => Kind::DiskStalls,
            Fault::DiskFull { .. } => Kind::DiskFull,
            Fault::Wipe { .. } => Kind::WipedVolume,
            Fault::Isolate { .. } => Kind::Isolated,
            Fault::CutWorker { .. } => Kind::WorkerCutOff,
            Fault::Slow { .. } => Kind::SlowLinks,
            Fault::Pause { .. } => Kind::Paused,
            Fault::PauseWorker { .. } => Kind::WorkerPaused,
            Fault::Freeze { .. } => Kind::Frozen,
            Fault::FreezeWorker { .. } => Kind::WorkerFrozen,
            Fault::SlowWorker { .. } => Kind::WorkerSlow,
            Fault::ClockJump { .. } => Kind::ClockJumps,
            Fault::Drift { .. } => Kind::ClockDrifts,
            Fault::CrashWorker { .. } => Kind::WorkerKilled,
            Fault::Transfer { .. } => Kind::Transfer,
            Fault::StopMaster { .. } => Kind::ToldToStop,
            Fault::StopWorker { .. } => Kind::WorkerToldToLeave,
        }
    }
}

/// What is broken at the moment, and when it is mended.
pub struct Havoc {
    plan: Plan,
    witness: Witness,
    /// Hosts that are down, and when they start again.
    down: BTreeMap<String, Duration>,
    mends: Vec<(Duration, Mend)>,
    /// Workers that are told to leave, and how long they stay away.
    leaving: BTreeMap<usize, Duration>,
    /// How often which fault struck; zero for those that did not.
    pub struck: BTreeMap<Kind, u64>,
    /// A hand-over that a client is to ask for.
    pub transfer: Option<usize>,
}

#[derive(Clone, Debug)]
enum Mend {
    Links { a: Vec<String>, b: Vec<String>, direction: Direction },
    Release { a: String, b: Vec<String> },
    Latency { a: String, b: Vec<String> },
    Disk { master: usize },
    Pause { host: String },
}

impl Havoc {
    /// Nothing is broken yet.
    pub fn new(plan: &Plan, witness: Witness) -> Self {
        Self {
            plan: plan.clone(),
            witness,
            down: BTreeMap::new(),
            mends: Vec::new(),
            leaving: BTreeMap::new(),
            struck: Kind::ALL.iter().map(|kind| (*kind, 0)).collect(),
            transfer: None,
        }
    }

    fn tell(&mut self, kind: Kind, what: String) {
        *self.struck.entry(kind).or_default() += 1;
        let what = format!("{} {what}", kind.name());
        self.witness.observed(Observed::Fault { what: what.as_str().into() });
    }

    fn masters_of(&self, which: Which) -> Vec<usize> {
        let count = self.plan.masters;
        match which {
            Which::Leader => vec![self.witness.leader().unwrap_or(0) as usize],
            Which::Number(number) => vec![number],
            Which::Several(from, many) => (from..from + many).map(|n| n % count).collect(),
        }
    }

    fn one_of(&self, which: Which) -> usize {
        self.masters_of(which)[0]
    }

    fn others(&self, master: usize) -> Vec<String> {
        (0..self.plan.masters).filter(|other| *other != master).map(master_host).collect()
    }

    fn all_hosts_but(&self, host: &str) -> Vec<String> {
        let masters = (0..self.plan.masters).map(master_host);
        let workers = (0..self.plan.workers.len()).map(worker_host);
        let others = masters.chain(workers).chain([CLIENTS.to_owned()]);
        others.filter(|other| other != host).collect()
    }

    /// Starts hosts again whose time has come, and those that stopped by themselves; mends what has lasted its time.
    pub fn mend(&mut self, sim: &mut Sim<'_>, machines: &Machines, now: Duration) {
        for (number, machine) in machines.masters.iter().enumerate() {
            let host = master_host(number);
            if machine.failure.borrow_mut().take().is_some() && !self.down.contains_key(&host) {
                // As a supervisor would: the process ended, its machine goes on.
                machine.disk.release();
                self.stop(sim, machines, host, now + RESTART);
            }
        }
        for (number, machine) in machines.workers.iter().enumerate() {
            if machine.has_left.take() {
                let away = self.leaving.remove(&number).unwrap_or_default();
                self.stop(sim, machines, worker_host(number), now + away);
            }
        }
        let up: Vec<String> =
            self.down.iter().filter(|(_, at)| **at <= now).map(|(host, _)| host.clone()).collect();
        for host in up {
            self.down.remove(&host);
            self.witness.note(format_args!("{host} starts again"));
            machines.named(&host).start(sim);
        }
        let mends = std::mem::take(&mut self.mends);
        let (due, rest): (Vec<_>, Vec<_>) = mends.into_iter().partition(|(at, _)| *at <= now);
        self.mends = rest;
        due.into_iter().for_each(|(_, mend)| self.undo(sim, machines, mend));
    }

    /// Mends everything at once; hosts start again with the next [`mend`](Self::mend).
    pub fn mend_all(&mut self, sim: &mut Sim<'_>, machines: &Machines, now: Duration) {
        for (_, mend) in std::mem::take(&mut self.mends) {
            self.undo(sim, machines, mend);
        }
        // Schedules go by the wall clock: one that is behind would hold them up for as long.
        machines.masters.iter().for_each(|machine| machine.clocks.set_wall_ahead(0));
        self.down.values_mut().for_each(|at| *at = now);
        self.mend(sim, machines, now);
    }

    fn undo(&mut self, sim: &Sim<'_>, machines: &Machines, mend: Mend) {
        self.witness.note(format_args!("mended: {mend:?}"));
        match mend {
            Mend::Links { a, b, direction } => connect(sim, &a, &b, direction),
            Mend::Release { a, b } => b.iter().for_each(|b| sim.release(a.as_str(), b.as_str())),
            Mend::Latency { a, b } => {
                for host in b {
                    sim.set_link_max_message_latency(
                        a.as_str(),
                        host.as_str(),
                        latency_of(self.plan.latency.1),
                    );
                }
            }
            Mend::Pause { host } => {
                machines.named(&host).go_on();
            }
            Mend::Disk { master } => {
                let normal = self.plan.disk;
                machines.masters[master].disk.set_manners(|manners| {
                    *manners = Manners { fails_next_sync: manners.fails_next_sync, ..normal };
                });
            }
        }
    }

    fn stop(&mut self, sim: &mut Sim<'_>, machines: &Machines, host: String, until: Duration) {
        machines.named(&host).crash(sim);
        self.down.insert(host, until);
    }

    /// Whether a host is down.
    fn is_down(&self, host: &str) -> bool {
        self.down.contains_key(host)
    }

    /// Carries one fault out. What cannot happen, such as the crash of a host that is down, does not.
    pub fn strike(&mut self, sim: &mut Sim<'_>, machines: &Machines, now: Duration, fault: &Fault) {
        let kind = fault.kind();
        match fault {
            Fault::Crash { which, down, .. } => {
                for master in self.masters_of(*which) {
                    self.crash_master(sim, machines, master, kind, now + *down);
                }
            }
            Fault::Wipe { which, down } => {
                let master = self.one_of(*which);
                let host = master_host(master);
                if self.is_down(&host) {
                    return;
                }
                machines.masters[master].disk.wipe();
                self.master_stopped(master);
                self.stop(sim, machines, host.clone(), now + *down);
                self.tell(kind, host);
            }
            Fault::SyncFails { which } => {
                let master = self.one_of(*which);
                machines.masters[master].disk.set_manners(|m| m.fails_next_sync = true);
                self.tell(kind, master_host(master));
            }
            Fault::DiskStalls { which, sync, lasts } => {
                let master = self.one_of(*which);
                machines.masters[master].disk.set_manners(|manners| {
                    manners.sync_min = *sync;
                    manners.sync_max = *sync;
                });
                self.mends.push((now + *lasts, Mend::Disk { master }));
                self.tell(kind, format!("{} {sync:?}", master_host(master)));
            }
            Fault::DiskFull { which, lasts } => {
                let master = self.one_of(*which);
                machines.masters[master].disk.set_manners(|m| m.capacity_bytes = NO_ROOM);
                self.mends.push((now + *lasts, Mend::Disk { master }));
                self.tell(kind, master_host(master));
            }
            Fault::ClockJump { which, ahead_ms } => {
                let master = self.one_of(*which);
                machines.masters[master].clocks.set_wall_ahead(*ahead_ms);
                self.tell(kind, format!("{} {ahead_ms} ms", master_host(master)));
            }
            Fault::Drift { worker, ppm } => {
                machines.workers[*worker].clocks.set_drift(*ppm);
                self.tell(kind, format!("{} {ppm} ppm", worker_host(*worker)));
            }
            Fault::Transfer { to } => {
                self.transfer = Some(*to);
                self.tell(kind, master_host(*to));
            }
            _ => self.strike_process(sim, machines, now, fault),
        }
    }

    fn strike_process(
        &mut self,
        sim: &mut Sim<'_>,
        machines: &Machines,
        now: Duration,
        fault: &Fault,
    ) {
        let kind = fault.kind();
        match fault {
            Fault::CrashWorker { worker, down, journal_lost } => {
                self.crash_worker(sim, machines, *worker, now + *down, *journal_lost);
            }
            Fault::StopMaster { which } => {
                let master = self.one_of(*which);
                if !self.is_down(&master_host(master)) {
                    machines.masters[master].stop.set(true);
                    self.tell(kind, master_host(master));
                }
            }
            Fault::StopWorker { worker, wait, down } => {
                if !self.is_down(&worker_host(*worker)) {
                    machines.workers[*worker].leave.set(Some(*wait));
                    self.leaving.insert(*worker, *down);
                    self.tell(kind, format!("{} {wait:?}", worker_host(*worker)));
                }
            }
            Fault::Pause { which, parts, lasts } => {
                for master in self.masters_of(*which) {
                    self.pause(machines, kind, (master_host(master), *parts), now + *lasts);
                }
            }
            Fault::PauseWorker { worker, parts, lasts } => {
                self.pause(machines, kind, (worker_host(*worker), *parts), now + *lasts);
            }
            _ => self.strike_network(sim, now, fault),
        }
    }

    fn strike_network(&mut self, sim: &mut Sim<'_>, now: Duration, fault: &Fault) {
        let kind = fault.kind();
        match fault {
            Fault::Isolate { which, direction, lasts } => {
                let master = self.one_of(*which);
                let (a, b) = (vec![master_host(master)], self.others(master));
                self.cut(kind, sim, (a, b), *direction, now + *lasts);
            }
            Fault::CutWorker { worker, master, direction, lasts } => {
                let masters = match master {
                    Some(master) => vec![master_host(*master)],
                    None => (0..self.plan.masters).map(master_host).collect(),
                };
                let a = vec![worker_host(*worker)];
                self.cut(kind, sim, (a, masters), *direction, now + *lasts);
            }
            Fault::Slow { which, latency, lasts } => {
                let host = master_host(self.one_of(*which));
                self.slow(kind, sim, host, *latency, now + *lasts);
            }
            Fault::SlowWorker { worker, latency, lasts } => {
                self.slow(kind, sim, worker_host(*worker), *latency, now + *lasts);
            }
            Fault::Freeze { which, lasts } => {
                let host = master_host(self.one_of(*which));
                self.freeze(kind, sim, host, now + *lasts);
            }
            Fault::FreezeWorker { worker, lasts } => {
                self.freeze(kind, sim, worker_host(*worker), now + *lasts);
            }
            other => unreachable!("{other:?} is carried out elsewhere"),
        }
    }

    fn crash_master(
        &mut self,
        sim: &mut Sim<'_>,
        machines: &Machines,
        master: usize,
        kind: Kind,
        until: Duration,
    ) {
        let host = master_host(master);
        if self.is_down(&host) {
            return;
        }
        let disk = &machines.masters[master].disk;
        if kind == Kind::PowerCut {
            disk.crash();
        } else {
            disk.release();
        }
        self.master_stopped(master);
        self.stop(sim, machines, host.clone(), until);
        self.tell(kind, host);
    }

    fn master_stopped(&self, master: usize) {
        self.witness.observed(Observed::MasterStopped { master: master as u64 });
    }

    fn crash_worker(
        &mut self,
        sim: &mut Sim<'_>,
        machines: &Machines,
        worker: usize,
        until: Duration,
        journal_lost: bool,
    ) {
        let host = worker_host(worker);
        if self.is_down(&host) {
            return;
        }
        let machine = &machines.workers[worker];
        machine.disk.release();
        machine.journal.crash();
        if journal_lost {
            machine.journal.damage();
        }
        let incarnation = self.witness.incarnation(&host);
        self.stop(sim, machines, host.clone(), until);
        let name: Text = host.as_str().into();
        if journal_lost {
            self.witness.observed(Observed::JournalLost { worker: name.clone() });
        }
        self.witness.observed(Observed::WorkerStopped { worker: name, incarnation });
        self.tell(Kind::WorkerKilled, format!("{host} journal_lost={journal_lost}"));
    }

    fn pause(
        &mut self,
        machines: &Machines,
        kind: Kind,
        (host, parts): (String, u32),
        until: Duration,
    ) {
        if machines.named(&host).pause(parts) {
            self.tell(kind, host.clone());
            self.mends.push((until, Mend::Pause { host }));
        }
    }

    fn cut(
        &mut self,
        kind: Kind,
        sim: &Sim<'_>,
        (a, b): (Vec<String>, Vec<String>),
        direction: Direction,
        until: Duration,
    ) {
        disconnect(sim, &a, &b, direction);
        self.tell(kind, format!("{a:?} {b:?} {direction:?}"));
        self.mends.push((until, Mend::Links { a, b, direction }));
    }

    fn slow(
        &mut self,
        kind: Kind,
        sim: &Sim<'_>,
        host: String,
        latency: Duration,
        until: Duration,
    ) {
        let others = self.all_hosts_but(&host);
        for other in &others {
            sim.set_link_max_message_latency(host.as_str(), other.as_str(), latency);
        }
        self.tell(kind, format!("{host} {latency:?}"));
        self.mends.push((until, Mend::Latency { a: host, b: others }));
    }

    fn freeze(&mut self, kind: Kind, sim: &Sim<'_>, host: String, until: Duration) {
        let others = self.all_hosts_but(&host);
        others.iter().for_each(|other| sim.hold(host.as_str(), other.as_str()));
        self.mends.push((until, Mend::Release { a: host.clone(), b: others }));
        self.tell(kind, host);
    }
}

/// A supervisor starts a process that ended by itself again after this long.
const RESTART: Duration = Duration::from_millis(300);

fn disconnect(sim: &Sim<'_>, a: &[String], b: &[String], direction: Direction) {
    for (a, b) in pairs(a, b) {
        match direction {
            Direction::Both => sim.partition(a, b),
            Direction::Out => sim.partition_oneway(a, b),
            Direction::In => sim.partition_oneway(b, a),
        }
    }
}

fn connect(sim: &Sim<'_>, a: &[String], b: &[String], direction: Direction) {
    for (a, b) in pairs(a, b) {
        match direction {
            Direction::Both => sim.repair(a, b),
            Direction::Out => sim.repair_oneway(a, b),
            Direction::In => sim.repair_oneway(b, a),
        }
    }
}

fn pairs<'a>(a: &'a [String], b: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    a.iter().flat_map(move |a| b.iter().map(move |b| (a.as_str(), b.as_str())))
}
