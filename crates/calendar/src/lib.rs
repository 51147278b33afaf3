//! When a schedule fires: cron lines, intervals and single times, on the wall clock of any zone.
//!
//! ```text
//!  ScheduleSpec (text) ──► Schedule ──► next_after(time) ──► Fire (time, wall clock, remark)
//!                             │
//!                             └──► delay(key, fire time)
//! ```
//!
//! The core keeps schedules as they were written, and the log carries fire times. This crate turns the one into the
//! other: on the leader, and in the command line for files that no master has seen. It reads no clock. Zone data comes
//! with the binary and cron lines are read by `croner`; neither is known anywhere else.
//!
//! # Where the wall clock jumps
//!
//! A cron line is **fixed** if its second, minute and hour are numbers, lists or ranges, and **running** if one of them
//! is a `*` or has a step.
//!
//! | | a time that the clock skips | a time that comes twice |
//! |---|---|---|
//! | fixed: `0,30 9-17 * * *` | fires once, at the moment the clock goes on | fires the first time |
//! | running: `*/20 * * * *` | does not fire | fires both times, so that real intervals stay equal |
//!
//! A fixed time that stands for a day thus fires once on every such day, and something that runs every twenty minutes
//! does so all night. `every` counts real time and knows no wall clock. A single time is treated as a fixed one.

mod cron;
mod days;
mod due;
mod error;
mod moment;
mod schedule;
mod wall;

pub use days::{bound, moment_in_utc as moment};
pub use due::{Due, ON_TIME};
pub use error::ScheduleError;
pub use moment::Moment;
pub use schedule::{Fire, Schedule, check};
pub use wall::Remark;
