//! What one seed means: how large the cluster is, how fast its links and disks are, what its clients ask for, and what
//! goes wrong when. Drawn before anything runs, so that a plan can be read and printed.

mod approvals;
mod groups;
mod hooks;
mod quotas;
mod steps;
mod sub_workflows;
mod triggers;

use std::time::Duration;

use muster_core::ids::Name;
use muster_core::spec::namespace::NamespaceSpec;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

pub(crate) use self::groups::freed;
pub use self::steps::{Action, Step};
use crate::machine::disk::Manners;
use crate::workflow;

/// Clocks of workers are promised to be within 1 % of true rate, which is so many parts per million.
const DRIFT_PPM_MAX: i64 = 10_000;
/// A cluster is left alone for so long at the beginning, to form.
const QUIET: Duration = Duration::from_secs(2);
/// How much of what a process has to do it does before it is stopped.
const PAUSE_PARTS_MAX: u32 = 12;
/// Without masters for so long, fire times are late: more than the minute in which they are on time.
const BLACKOUT_MIN: Duration = Duration::from_secs(65);
/// More runs than a plan has.
const HISTORY_RUNS_MANY: u64 = 100_000;
/// Everything about one run of the simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// 3 or 5.
    pub masters: usize,
    /// 2 to 4.
    pub workers: Vec<WorkerPlan>,
    /// What each client does, one after the other.
    pub clients: Vec<Vec<Step>>,
    /// How long a worker may be silent that each master took in. In some plans masters differ, as they do while a
    /// setting is being changed.
    pub leases: Vec<Duration>,
    /// How often it is not.
    pub heartbeat: Duration,
    /// Entries between snapshots; the log is purged up to them.
    pub snapshot_entries: u64,
    /// Ended runs that are kept.
    pub history_runs_max: u64,
    /// How often a leader looks whether there are more.
    pub history_look: Duration,
    /// Bounds on the time a message takes.
    pub latency: (Duration, Duration),
    /// How disks behave when nothing is wrong with them.
    pub disk: Manners,
    /// Whether the wall clocks of most masters are right all the time.
    pub clocks_hold: bool,
    /// What goes wrong, in order of time.
    pub faults: Vec<Scheduled>,
    /// When everything is mended; only then liveness is asked for.
    pub mended_at: Duration,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct WorkerPlan {
    /// What it offers, in thousandths of a core.
    pub cpu_millis: u64,
    /// How much its clock is too fast.
    pub drift_ppm: i64,
}

/// A fault and when it strikes.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// Since the beginning.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
}

/// Which master; decided when the fault strikes.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// The one that leads, or the first if nobody does.
    Leader,
    /// This one.
    Number(usize),
    /// So many, from this one on.
    Several(usize, usize),
}

/// Which way messages are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Both,
    /// What it sends.
    Out,
    /// What is sent to it.
    In,
}

/// What goes wrong. `lasts` is how long until it is mended, `down` how long until a process starts again.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "what the fields mean is said above and with each fault")]
pub enum Fault {
    /// Masters stop without a word, and start again. With `power`, their machines do: what was not synced may be gone.
    Crash { which: Which, power: bool, down: Duration },
    /// The next sync of a disk fails; its master must stop at once.
    SyncFails { which: Which },
    /// Syncs take this long for a while.
    DiskStalls { which: Which, sync: Duration, lasts: Duration },
    /// Nothing more fits on a disk for a while.
    DiskFull { which: Which, lasts: Duration },
    /// A master stops and comes back with an empty disk.
    Wipe { which: Which, down: Duration },
    /// A master is cut off from the other masters.
    Isolate { which: Which, direction: Direction, lasts: Duration },
    /// A worker is cut off from all masters, or from one.
    CutWorker { worker: usize, master: Option<usize>, direction: Direction, lasts: Duration },
    /// Messages between a master and all others take up to this long.
    Slow { which: Which, latency: Duration, lasts: Duration },
    /// The processes of masters are stopped in the midst of what they do, after so many parts of it, and go on later.
    Pause { which: Which, parts: u32, lasts: Duration },
    /// The same for a worker. Its attempts go on, unless their guardian must kill them.
    PauseWorker { worker: usize, parts: u32, lasts: Duration },
    /// A master neither sends nor hears anything; what was sent meanwhile arrives afterwards.
    Freeze { which: Which, lasts: Duration },
    /// The same for a worker.
    FreezeWorker { worker: usize, lasts: Duration },
    /// Messages between a worker and all others take up to this long.
    SlowWorker { worker: usize, latency: Duration, lasts: Duration },
    /// The wall clock of a master jumps to so many milliseconds ahead of true time.
    ClockJump { which: Which, ahead_ms: i64 },
    /// The clock of a worker runs so many parts per million too fast from now on.
    Drift { worker: usize, ppm: i64 },
    /// A worker dies with all its attempts, and starts again; with `journal_lost`, without what it had not reported.
    CrashWorker { worker: usize, down: Duration, journal_lost: bool },
    /// Somebody asks for another leader.
    Transfer { to: usize },
    /// A master is told to stop, and starts again when it has.
    StopMaster { which: Which },
    /// A worker is told to leave, with so much time for what it has, and starts again when it has left.
    StopWorker { worker: usize, wait: Duration, down: Duration },
}

struct Dice(SmallRng);

impl Dice {
    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.random_range(from..=to))
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_ratio(percent, 100)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }
}

impl Plan {
    /// Whether its history is pruned.
    pub fn is_pruned(&self) -> bool {
        is_few(self.history_runs_max)
    }

    /// The longest lease that any master grants.
    pub fn longest_lease(&self) -> Duration {
        self.leases.iter().copied().max().unwrap_or_default()
    }

    /// The plan of a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut dice = Dice(SmallRng::seed_from_u64(seed));
        let masters = if dice.chance(70) { 3 } else { 5 };
        let workers: Vec<_> = (0..2 + dice.below(3)).map(|_| worker(&mut dice)).collect();
        let heartbeat = dice.millis(100, 400);
        let lease = heartbeat * 3 + dice.millis(100, 1_500);
        let lasts = dice.millis(6_000, 14_000);
        let mut faults = faults(&mut dice, masters, workers.len(), lasts);
        let mut also = Dice(SmallRng::seed_from_u64(!seed));
        let (history_runs_max, history_look) = history(&mut also);
        faults.extend(stops(&mut also, masters, workers.len(), lasts));
        faults.extend(late_answers(&mut also, workers.len(), lasts));
        let mut stops = Dice(SmallRng::seed_from_u64(seed.rotate_left(48)));
        faults.extend(pauses(&mut stops, masters, workers.len(), lasts));
        faults.sort_by_key(|scheduled| scheduled.at);
        let mut time = Dice(SmallRng::seed_from_u64(seed.rotate_left(16)));
        let clocks_hold = time.chance(85);
        if clocks_hold {
            confine_clock_jumps(&mut time, masters, &mut faults);
        }
        let (mut mended_at, mut unit_secs) = (QUIET + lasts, 1);
        if time.chance(12) {
            // What came due in the last minute fires all at once, and must be over soon.
            unit_secs = 10;
            faults.push(blackout(&mut time, masters, mended_at));
            mended_at += BLACKOUT_MIN + time.millis(0, 40_000);
        }
        let clients = (0..2 + dice.below(2)).map(|_| steps::steps(&mut dice, workers.len(), lasts));
        let mut clients: Vec<Vec<Step>> = clients.collect();
        // In some seeds; the others keep what they drew.
        if workflow::by_hash((seed, "lists")).random_ratio(1, 5) {
            clients.iter_mut().flatten().for_each(Step::go_through_lists);
        }
        let mut dice_of_times = Dice(SmallRng::seed_from_u64(seed.rotate_left(32)));
        let times = (mended_at.as_secs(), unit_secs);
        clients.push(steps::timetable(&mut dice_of_times, lasts, times));
        clients.push(steps::operations(
            &mut Dice(SmallRng::seed_from_u64(seed.rotate_left(48))),
            lasts,
        ));
        approvals::add(seed, &mut clients);
        hooks::add(seed, &mut clients);
        quotas::add(seed, lasts, &mut clients);
        triggers::add(seed, lasts, &mut clients);
        groups::add(seed, lasts, &mut clients);
        sub_workflows::add(seed, &mut clients);
        let latency_max = *[2, 5, 20].choose(&mut dice.0).expect("it is not empty");
        // Who takes a snapshot must hear of what was pruned: there both happen often.
        let is_pruned = is_few(history_runs_max);
        let (seldom, often) = (dice.0.random_range(20..=300), also.0.random_range(10..=40));
        let leases = leases(&mut also, masters, lease);
        Self {
            seed,
            masters,
            workers,
            clients,
            leases,
            heartbeat,
            history_runs_max,
            history_look,
            snapshot_entries: if is_pruned { often } else { seldom },
            latency: (Duration::from_millis(1), Duration::from_millis(latency_max)),
            disk: Manners {
                sync_min: Duration::from_micros(100),
                sync_max: dice.millis(1, 8),
                ..Manners::default()
            },
            clocks_hold,
            faults,
            mended_at,
        }
    }
}

/// Whether a history is so short that it is pruned.
/// The namespace of all clients, with nothing said of it.
fn namespace() -> NamespaceSpec {
    NamespaceSpec::new(Name::parse("default").expect("it is a name"))
}

fn is_few(history_runs_max: u64) -> bool {
    history_runs_max < HISTORY_RUNS_MANY
}

fn worker(dice: &mut Dice) -> WorkerPlan {
    WorkerPlan {
        cpu_millis: dice.0.random_range(1..=4) * 1_000,
        drift_ppm: dice.0.random_range(-DRIFT_PPM_MAX..=DRIFT_PPM_MAX),
    }
}

/// Mostly the same for all.
fn leases(dice: &mut Dice, masters: usize, shortest: Duration) -> Vec<Duration> {
    if dice.chance(70) {
        return vec![shortest; masters];
    }
    let longest_ms = 2 * shortest.as_millis() as u64;
    (0..masters).map(|_| dice.millis(longest_ms / 2, longest_ms)).collect()
}

/// How many ended runs are kept: in half of all plans so few that some are pruned.
fn history(dice: &mut Dice) -> (u64, Duration) {
    let max = if dice.chance(50) { dice.0.random_range(3..=20) } else { HISTORY_RUNS_MANY };
    (max, dice.millis(300, 1_500))
}

/// What stops because it is told to.
fn stops(dice: &mut Dice, masters: usize, workers: usize, lasts: Duration) -> Vec<Scheduled> {
    let lasts = lasts.as_millis() as u64;
    let masters = (0..dice.below(3)).map(|_| {
        let which = one(dice, masters);
        Scheduled { at: QUIET + dice.millis(0, lasts), fault: Fault::StopMaster { which } }
    });
    let mut stops: Vec<_> = masters.collect();
    let workers = (0..dice.below(3)).map(|_| {
        let at = QUIET + dice.millis(0, lasts);
        let (wait, down) = (dice.millis(0, 2_000), dice.millis(50, 3_000));
        Scheduled { at, fault: Fault::StopWorker { worker: dice.below(workers), wait, down } }
    });
    stops.extend(workers);
    stops
}

/// Processes that stand still for a while: some for longer than any lease and its margin.
fn pauses(dice: &mut Dice, masters: usize, workers: usize, lasts: Duration) -> Vec<Scheduled> {
    let of_masters = dice.below(3);
    let pauses = (0..of_masters + dice.below(3)).map(|number| {
        let at = QUIET + dice.millis(0, lasts.as_millis() as u64);
        let (min, max) = if dice.chance(60) { (100, 2_500) } else { (2_500, 8_000) };
        let (parts, lasts) = (dice.0.random_range(0..=PAUSE_PARTS_MAX), dice.millis(min, max));
        let fault = if number < of_masters {
            Fault::Pause { which: which(dice, masters), parts, lasts }
        } else {
            Fault::PauseWorker { worker: dice.below(workers), parts, lasts }
        };
        Scheduled { at, fault }
    });
    pauses.collect()
}

/// A worker whose answers come late, and that then dies: what it was told last is what counts.
fn late_answers(dice: &mut Dice, workers: usize, lasts: Duration) -> Vec<Scheduled> {
    if dice.chance(60) {
        return Vec::new();
    }
    let worker = dice.below(workers);
    let at = QUIET + dice.millis(0, lasts.as_millis() as u64);
    let (latency, slow) = (dice.millis(300, 1_200), dice.millis(1_500, 5_000));
    let slows = Fault::SlowWorker { worker, latency, lasts: slow };
    let dies = Fault::CrashWorker { worker, down: dice.millis(50, 3_000), journal_lost: false };
    let end = (at + slow).min(QUIET + lasts);
    vec![Scheduled { at, fault: slows }, Scheduled { at: end, fault: dies }]
}

fn faults(dice: &mut Dice, masters: usize, workers: usize, lasts: Duration) -> Vec<Scheduled> {
    let mut faults = Vec::new();
    let mut wipes_left = masters.div_ceil(2) - 1;
    let mut at = QUIET;
    let calm = dice.millis(150, 1_200);
    loop {
        at += dice.millis(20, 2 * calm.as_millis() as u64);
        if at >= QUIET + lasts {
            return faults;
        }
        let fault = fault(dice, masters, workers);
        if matches!(fault, Fault::Wipe { .. }) {
            if wipes_left == 0 {
                continue;
            }
            wipes_left -= 1;
        }
        faults.push(Scheduled { at, fault });
    }
}

/// Lets clocks jump on a minority of masters alone, always the same ones.
fn confine_clock_jumps(dice: &mut Dice, masters: usize, faults: &mut [Scheduled]) {
    let first = dice.below(masters);
    for scheduled in faults {
        if let Fault::ClockJump { which, .. } = &mut scheduled.fault {
            let wrong = first + dice.below((masters - 1) / 2);
            *which = Which::Number(wrong % masters);
        }
    }
}

/// No master runs for so long that fire times are late.
fn blackout(dice: &mut Dice, masters: usize, at: Duration) -> Scheduled {
    let (which, power) = (Which::Several(0, masters), dice.chance(50));
    Scheduled { at, fault: Fault::Crash { which, power, down: 2 * BLACKOUT_MIN } }
}

fn fault(dice: &mut Dice, masters: usize, workers: usize) -> Fault {
    let which = which(dice, masters);
    let one = one(dice, masters);
    let worker = dice.below(workers);
    let direction = *[Direction::Both, Direction::Both, Direction::Out, Direction::In]
        .choose(&mut dice.0)
        .expect("it is not empty");
    match dice.below(100) {
        0..20 => Fault::Crash { which, power: dice.chance(60), down: dice.millis(50, 1_800) },
        // Some outlive the longest lease with its margin: only then another leader gives workers up.
        20..32 => Fault::Isolate { which: one, direction, lasts: dice.millis(200, 3_000) },
        32..36 => Fault::Isolate { which: one, direction, lasts: dice.millis(3_000, 8_000) },
        36..46 => Fault::CrashWorker {
            worker,
            down: dice.millis(50, 3_000),
            journal_lost: dice.chance(20),
        },
        46..60 => Fault::CutWorker {
            worker,
            master: dice.chance(20).then(|| dice.below(masters)),
            direction,
            lasts: dice.millis(300, 5_000),
        },
        60..66 => Fault::Freeze { which: one, lasts: dice.millis(300, 3_000) },
        66..70 => Fault::FreezeWorker { worker, lasts: dice.millis(500, 5_000) },
        70..74 => Fault::Slow {
            which: one,
            latency: dice.millis(20, 200),
            lasts: dice.millis(500, 4_000),
        },
        74..79 => Fault::DiskStalls {
            which: one,
            sync: dice.millis(20, 1_500),
            lasts: dice.millis(300, 2_000),
        },
        79..83 => Fault::SyncFails { which: one },
        83..85 => Fault::DiskFull { which: one, lasts: dice.millis(500, 3_000) },
        85..89 => Fault::Wipe { which: one, down: dice.millis(50, 1_000) },
        89..93 => {
            Fault::ClockJump { which: one, ahead_ms: dice.0.random_range(-3_600_000..=3_600_000) }
        }
        93..95 => Fault::Drift { worker, ppm: dice.0.random_range(-DRIFT_PPM_MAX..=DRIFT_PPM_MAX) },
        _ => Fault::Transfer { to: dice.below(masters) },
    }
}

fn which(dice: &mut Dice, masters: usize) -> Which {
    match dice.below(100) {
        0..15 => Which::Several(dice.below(masters), 2 + dice.below(masters - 1)),
        _ => one(dice, masters),
    }
}

fn one(dice: &mut Dice, masters: usize) -> Which {
    if dice.chance(60) { Which::Leader } else { Which::Number(dice.below(masters)) }
}
