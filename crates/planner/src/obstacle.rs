//! What keeps one worker from taking one task.

use std::fmt;

use muster_core::ids::Text;
use muster_core::spec::Request;

use crate::ATTEMPTS_PER_WORKER_MAX;
use crate::amount::{Bytes, Cores};
use crate::slot::{Presence, Slot};

/// One unmet condition, with what was wanted and what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The pools differ.
    Pool {
        /// What the task asks for.
        wants: Option<Text>,
        /// What the worker serves.
        has: Option<Text>,
    },
    /// A label is missing or has another value.
    Label {
        /// Its name.
        name: Text,
        /// What the task asks for.
        wants: Text,
        /// What the worker states.
        has: Option<Text>,
    },
    /// The worker finishes what it has and takes nothing new.
    Draining,
    /// The worker has no session with the leader.
    NotConnected,
    /// Too little cpu, in thousandths of a core.
    Cpu(Shortage),
    /// Too little memory, in bytes.
    Memory(Shortage),
    /// Too little of a named quantity.
    Named {
        /// Its name.
        name: Text,
        /// How much.
        shortage: Shortage,
    },
    /// The worker has [`ATTEMPTS_PER_WORKER_MAX`] live attempts.
    Attempts,
    /// The attempt before failed or was lost there. The worker is used all the same if no other has room.
    JustFailedHere,
}

/// A quantity of which a worker has too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What the task takes.
    pub needs: u64,
    /// What the worker has left.
    pub free: u64,
    /// What the worker has altogether.
    pub has: u64,
}

impl Shortage {
    /// Whether the worker would have too little even if it had nothing else to do.
    pub fn is_lasting(&self) -> bool {
        self.needs > self.has
    }

    fn find(needs: u64, free: u64, has: u64) -> Option<Shortage> {
        (needs > free).then_some(Shortage { needs, free, has })
    }
}

/// An [`Obstacle`] without its amounts, in the order in which they are named when a worker has several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObstacleKind {
    /// See [`Obstacle::Pool`].
    Pool,
    /// See [`Obstacle::Label`]: the label's name.
    Label(Text),
    /// See [`Obstacle::Draining`].
    Draining,
    /// See [`Obstacle::NotConnected`].
    NotConnected,
    /// See [`Obstacle::Cpu`].
    Cpu,
    /// See [`Obstacle::Memory`].
    Memory,
    /// See [`Obstacle::Named`]: the quantity's name.
    Named(Text),
    /// See [`Obstacle::Attempts`].
    Attempts,
    /// See [`Obstacle::JustFailedHere`].
    JustFailedHere,
}

impl Obstacle {
    /// The obstacle without its amounts.
    pub fn kind(&self) -> ObstacleKind {
        match self {
            Obstacle::Pool { .. } => ObstacleKind::Pool,
            Obstacle::Label { name, .. } => ObstacleKind::Label(name.clone()),
            Obstacle::Draining => ObstacleKind::Draining,
            Obstacle::NotConnected => ObstacleKind::NotConnected,
            Obstacle::Cpu(_) => ObstacleKind::Cpu,
            Obstacle::Memory(_) => ObstacleKind::Memory,
            Obstacle::Named { name, .. } => ObstacleKind::Named(name.clone()),
            Obstacle::Attempts => ObstacleKind::Attempts,
            Obstacle::JustFailedHere => ObstacleKind::JustFailedHere,
        }
    }

    /// Whether it keeps the task away; otherwise it only makes the worker the last choice.
    pub fn is_hard(&self) -> bool {
        !matches!(self, Obstacle::JustFailedHere)
    }
}

/// Pool and labels that `slot` lacks.
pub(crate) fn mismatches<'a>(
    slot: &'a Slot<'_>,
    request: &'a Request,
) -> impl Iterator<Item = Obstacle> + 'a {
    let worker = slot.worker;
    let pool = (worker.pool != request.pool)
        .then(|| Obstacle::Pool { wants: request.pool.clone(), has: worker.pool.clone() });
    let labels = request.selector.iter().filter_map(|(name, wants)| {
        let has = worker.labels.get(name);
        (has != Some(wants)).then(|| Obstacle::Label {
            name: name.clone(),
            wants: wants.clone(),
            has: has.cloned(),
        })
    });
    pool.into_iter().chain(labels)
}

/// Why `slot` takes nothing new at all.
pub(crate) fn absence(slot: &Slot<'_>) -> Option<Obstacle> {
    match slot.presence {
        Presence::Available => None,
        Presence::Draining => Some(Obstacle::Draining),
        Presence::NotConnected => Some(Obstacle::NotConnected),
    }
}

/// What `slot` has too little of.
pub(crate) fn shortages<'a>(
    slot: &'a Slot<'_>,
    request: &'a Request,
) -> impl Iterator<Item = Obstacle> + 'a {
    let (part, free, has) = (&request.resources, &slot.free, &slot.worker.capacity);
    let cpu = Shortage::find(part.cpu_millis, free.cpu_millis, has.cpu_millis).map(Obstacle::Cpu);
    let memory = Shortage::find(part.memory_bytes, free.memory_bytes, has.memory_bytes)
        .map(Obstacle::Memory);
    let named = part.custom.iter().filter_map(|(name, needs)| {
        let (free, has) = (free.custom.get(name), has.custom.get(name));
        let shortage =
            Shortage::find(*needs, free.copied().unwrap_or(0), has.copied().unwrap_or(0))?;
        Some(Obstacle::Named { name: name.clone(), shortage })
    });
    // Late, because counting the attempts walks over what the worker holds.
    let crowded = std::iter::once_with(|| slot.is_crowded().then_some(Obstacle::Attempts));
    cpu.into_iter().chain(memory).chain(named).chain(crowded.flatten())
}

/// Everything that keeps `slot` from taking one attempt of `request`, in the order of [`ObstacleKind`].
pub(crate) fn obstacles<'a>(
    slot: &'a Slot<'_>,
    request: &'a Request,
) -> impl Iterator<Item = Obstacle> + 'a {
    mismatches(slot, request).chain(absence(slot)).chain(shortages(slot, request))
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Pool { wants, has } => {
                write!(f, "pool is {}, task wants {}", Quoted(has), Quoted(wants))
            }
            Obstacle::Label { name, wants, has: Some(has) } => {
                write!(f, "label {name}={wants}, has {name}={has}")
            }
            Obstacle::Label { name, wants, has: None } => {
                write!(f, "label {name}={wants}, has no {name}")
            }
            Obstacle::Draining => f.write_str("draining"),
            Obstacle::NotConnected => f.write_str("not connected"),
            Obstacle::Cpu(shortage) => write_shortage(f, "cpu", shortage, Cores),
            Obstacle::Memory(shortage) => {
                // Rounded amounts that look alike would explain nothing.
                let seen = if shortage.is_lasting() { shortage.has } else { shortage.free };
                if Bytes(shortage.needs).to_string() == Bytes(seen).to_string() {
                    write_shortage(f, "memory in bytes", shortage, |amount| amount)
                } else {
                    write_shortage(f, "memory", shortage, Bytes)
                }
            }
            Obstacle::Named { name, shortage } => write_shortage(f, name, shortage, |it| it),
            Obstacle::Attempts => {
                write!(f, "has {ATTEMPTS_PER_WORKER_MAX} attempts, the most a worker gets")
            }
            Obstacle::JustFailedHere => {
                f.write_str("just failed here (allowed only if nobody else can)")
            }
        }
    }
}

impl fmt::Display for ObstacleKind {
    /// A clause that continues `3 of the workers …` or `3 …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObstacleKind::Pool => f.write_str("do not match pool"),
            ObstacleKind::Label(name) => write!(f, "do not match label {name}"),
            ObstacleKind::Draining => f.write_str("draining"),
            ObstacleKind::NotConnected => f.write_str("not connected"),
            ObstacleKind::Cpu => f.write_str("lack cpu"),
            ObstacleKind::Memory => f.write_str("lack memory"),
            ObstacleKind::Named(name) => write!(f, "lack {name}"),
            ObstacleKind::Attempts => f.write_str("have too many attempts"),
            ObstacleKind::JustFailedHere => f.write_str("just failed it"),
        }
    }
}

struct Quoted<'a>(&'a Option<Text>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, "\"{text}\""),
            None => f.write_str("none"),
        }
    }
}

fn write_shortage<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    shortage: &Shortage,
    show: impl Fn(u64) -> T,
) -> fmt::Result {
    let (needs, free, has) = (show(shortage.needs), show(shortage.free), show(shortage.has));
    if shortage.has == 0 {
        write!(f, "{what}: needs {needs}, offers none")
    } else if shortage.is_lasting() {
        write!(f, "{what}: needs {needs}, has {has}")
    } else {
        write!(f, "{what}: needs {needs}, {free} of {has} free")
    }
}
