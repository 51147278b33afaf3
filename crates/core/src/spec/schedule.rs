//! When a workflow runs by itself.
//!
//! The core keeps what the user wrote and never works out a time: zone data and cron libraries change between versions,
//! so the leader evaluates schedules and the log carries the result.

use std::collections::BTreeMap;

use crate::ids::{Name, Text};
use crate::limits;
use crate::time::Millis;

/// One schedule of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleSpec {
    /// Its name within the workflow. A schedule that keeps its name goes on where it was when the workflow is applied
    /// again.
    pub name: Name,
    /// The times at which it is meant to fire.
    pub timing: Timing,
    /// IANA name of the zone whose wall clock counts.
    pub time_zone: Text,
    /// What becomes of fire times that passed while nothing could fire.
    pub catch_up: CatchUp,
    /// Most fire times that are caught up on at once; the oldest beyond it are missed for good.
    pub catch_up_max: u32,
    /// A fire time that could not fire for so long is missed for good.
    pub starting_deadline: Option<Millis>,
    /// Runs begin up to so much later than their fire time, each by an amount that follows from workflow and fire time.
    pub jitter: Millis,
    /// Days on which it does not fire: `2026-12-24`, or the first and the last of several, `2026-12-24/2026-12-26`.
    pub exclude: Vec<Text>,
    /// It does not fire before: `2026-12-01`, `2026-12-01T09:00`, or with an offset.
    pub start: Option<Text>,
    /// It does not fire from then on; written like `start`.
    pub end: Option<Text>,
    /// Whether it is switched off by the file. Nobody else can switch it on then.
    pub is_suspended: bool,
    /// Values for the parameters of its runs.
    pub params: BTreeMap<Name, Text>,
}

/// The times at which a schedule is meant to fire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Timing {
    /// Whenever the wall clock matches a line.
    Cron {
        /// Five to seven fields, or a name such as `@daily`.
        line: Text,
        /// How the line is read.
        dialect: Dialect,
    },
    /// At equal distances of real time, counted from `start`, or from the Unix epoch.
    Every(Millis),
    /// Once: `2026-12-01T09:00`, or with an offset.
    At(Text),
}

/// How a cron line is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// As POSIX has it: Sunday is 0 or 7, and if both fields of the day restrict, either is enough.
    #[default]
    Posix,
    /// As Quartz and DolphinScheduler have it: seconds first, Sunday is 1.
    Quartz,
}

/// What becomes of fire times that passed while nothing could fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatchUp {
    /// Nothing.
    #[default]
    None,
    /// Only the latest fires.
    Latest,
    /// All fire, the oldest first.
    All,
}

impl ScheduleSpec {
    /// Whether the other schedule has the same fire times but for days off and its end, so that what was decided for
    /// one holds for both.
    pub fn has_times_of(&self, other: &ScheduleSpec) -> bool {
        let times = |it: &ScheduleSpec| (it.timing.clone(), it.time_zone.clone(), it.start.clone());
        times(self) == times(other)
    }

    /// A schedule with this name and timing and every other field at its default.
    pub fn new(name: Name, timing: Timing) -> Self {
        ScheduleSpec {
            name,
            timing,
            time_zone: "Etc/UTC".into(),
            catch_up: CatchUp::default(),
            catch_up_max: limits::CATCH_UP_DEFAULT,
            starting_deadline: None,
            jitter: Millis(0),
            exclude: Vec::new(),
            start: None,
            end: None,
            is_suspended: false,
            params: BTreeMap::new(),
        }
    }
}

impl Timing {
    /// The field of a workflow file that says it.
    pub fn field(&self) -> &'static str {
        match self {
            Timing::Cron { .. } => "cron",
            Timing::Every(_) => "every",
            Timing::At(_) => "at",
        }
    }
}
