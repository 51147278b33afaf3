//! Schedules: as users write them, and how far they have come.

use muster_core::command::{FireSchedule, SuspendSchedule};
use muster_core::ids::Text;
use muster_core::spec::ConcurrencyPolicy;
use muster_core::spec::schedule::{CatchUp, Dialect, ScheduleSpec, Timing};
use muster_core::state::run::FireOrigin;
use muster_core::state::workflow::{NextFire, Schedule};
use muster_core::time::{Millis, Timestamp};

use super::error::DecodeError;
use super::log::{key_from_proto, key_to_proto};
use super::read::{known, name, params_from_proto, required, strings, texts};
use crate::internal::v1::next_fire::{FireTime, Never, Next};
use crate::internal::v1::{self as stored};
use crate::v1;
use crate::v1::schedule_spec::Timing as Kind;

pub(super) fn fire_origin_to_proto(origin: &FireOrigin) -> stored::FireOrigin {
    stored::FireOrigin { schedule: origin.schedule.to_string(), fire_time_ms: origin.fire_time.0 }
}

pub(super) fn fire_origin_from_proto(it: stored::FireOrigin) -> Result<FireOrigin, DecodeError> {
    let schedule = name("schedule", &it.schedule)?;
    Ok(FireOrigin { schedule, fire_time: Timestamp(it.fire_time_ms) })
}

/// A schedule as a message.
pub fn schedule_to_proto(schedule: &ScheduleSpec) -> v1::ScheduleSpec {
    let timing = match &schedule.timing {
        Timing::Cron { line, dialect } => {
            let dialect = match dialect {
                Dialect::Posix => v1::CronDialect::Posix,
                Dialect::Quartz => v1::CronDialect::Quartz,
            };
            Kind::Cron(v1::CronTiming { line: line.to_string(), dialect: dialect.into() })
        }
        Timing::Every(interval) => Kind::EveryMs(interval.0),
        Timing::At(time) => Kind::At(time.to_string()),
    };
    let catch_up = match schedule.catch_up {
        CatchUp::None => v1::CatchUp::None,
        CatchUp::Latest => v1::CatchUp::Latest,
        CatchUp::All => v1::CatchUp::All,
    };
    let params = schedule.params.iter();
    v1::ScheduleSpec {
        name: schedule.name.to_string(),
        timing: Some(timing),
        time_zone: schedule.time_zone.to_string(),
        catch_up: catch_up.into(),
        catch_up_max: Some(schedule.catch_up_max),
        starting_deadline_ms: schedule.starting_deadline.map(|span| span.0),
        jitter_ms: schedule.jitter.0,
        exclude: strings(&schedule.exclude),
        start: schedule.start.as_ref().map(Text::to_string),
        end: schedule.end.as_ref().map(Text::to_string),
        suspend: schedule.is_suspended,
        params: params.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}

/// A schedule from a message.
pub fn schedule_from_proto(schedule: v1::ScheduleSpec) -> Result<ScheduleSpec, DecodeError> {
    let timing = match required("timing", schedule.timing)? {
        Kind::Cron(cron) => Timing::Cron {
            line: cron.line.into(),
            dialect: match known("cron.dialect", cron.dialect)? {
                v1::CronDialect::Unspecified => return Err(DecodeError::missing("cron.dialect")),
                v1::CronDialect::Posix => Dialect::Posix,
                v1::CronDialect::Quartz => Dialect::Quartz,
            },
        },
        Kind::EveryMs(interval) => Timing::Every(Millis(interval)),
        Kind::At(time) => Timing::At(time.into()),
    };
    let catch_up = match known("catch_up", schedule.catch_up)? {
        v1::CatchUp::Unspecified => return Err(DecodeError::missing("catch_up")),
        v1::CatchUp::None => CatchUp::None,
        v1::CatchUp::Latest => CatchUp::Latest,
        v1::CatchUp::All => CatchUp::All,
    };
    Ok(ScheduleSpec {
        name: name("name", &schedule.name)?,
        timing,
        time_zone: schedule.time_zone.into(),
        catch_up,
        catch_up_max: required("catch_up_max", schedule.catch_up_max)?,
        starting_deadline: schedule.starting_deadline_ms.map(Millis),
        jitter: Millis(schedule.jitter_ms),
        exclude: texts(schedule.exclude),
        start: schedule.start.map(Text::from),
        end: schedule.end.map(Text::from),
        is_suspended: schedule.suspend,
        params: params_from_proto(schedule.params)?,
    })
}

pub(super) fn policy_to_proto(policy: ConcurrencyPolicy) -> v1::ConcurrencyPolicy {
    match policy {
        // As it was before there were policies.
        ConcurrencyPolicy::Allow => v1::ConcurrencyPolicy::Unspecified,
        ConcurrencyPolicy::Forbid => v1::ConcurrencyPolicy::Forbid,
        ConcurrencyPolicy::Replace => v1::ConcurrencyPolicy::Replace,
        ConcurrencyPolicy::Queue => v1::ConcurrencyPolicy::Queue,
    }
}

pub(super) fn policy_from_proto(
    field: &str,
    number: i32,
) -> Result<ConcurrencyPolicy, DecodeError> {
    if number == v1::ConcurrencyPolicy::Unspecified.into() {
        return Ok(ConcurrencyPolicy::Allow);
    }
    Ok(match known(field, number)? {
        v1::ConcurrencyPolicy::Unspecified | v1::ConcurrencyPolicy::Allow => {
            ConcurrencyPolicy::Allow
        }
        v1::ConcurrencyPolicy::Forbid => ConcurrencyPolicy::Forbid,
        v1::ConcurrencyPolicy::Replace => ConcurrencyPolicy::Replace,
        v1::ConcurrencyPolicy::Queue => ConcurrencyPolicy::Queue,
    })
}

pub(super) fn fire_to_proto(it: &FireSchedule) -> stored::FireSchedule {
    stored::FireSchedule {
        workflow_id: it.workflow,
        version_id: it.version,
        schedule: it.schedule.to_string(),
        after_ms: it.after.0,
        until_ms: it.until.0,
        fire_times_ms: it.fire_times.iter().map(|at| at.0).collect(),
        missed: it.missed,
        next: Some(next_to_proto(it.next)),
    }
}

pub(super) fn fire_from_proto(it: stored::FireSchedule) -> Result<FireSchedule, DecodeError> {
    Ok(FireSchedule {
        workflow: it.workflow_id,
        version: it.version_id,
        schedule: name("schedule", &it.schedule)?,
        after: Timestamp(it.after_ms),
        until: Timestamp(it.until_ms),
        fire_times: it.fire_times_ms.into_iter().map(Timestamp).collect(),
        missed: it.missed,
        next: next_from_proto(&required("next", it.next)?),
    })
}

pub(super) fn suspend_to_proto(it: &SuspendSchedule) -> stored::SuspendSchedule {
    stored::SuspendSchedule {
        request: key_to_proto(it.request.as_ref()),
        namespace: it.namespace.to_string(),
        workflow: it.workflow.to_string(),
        schedule: it.schedule.as_ref().map(|schedule| schedule.to_string()),
        is_suspended: it.is_suspended,
    }
}

pub(super) fn suspend_from_proto(
    it: stored::SuspendSchedule,
) -> Result<SuspendSchedule, DecodeError> {
    Ok(SuspendSchedule {
        request: it.request.map(key_from_proto),
        namespace: name("namespace", &it.namespace)?,
        workflow: name("workflow", &it.workflow)?,
        schedule: it.schedule.map(|schedule| name("schedule", &schedule)).transpose()?,
        is_suspended: it.is_suspended,
    })
}

pub(super) fn state_to_proto(schedule: &Schedule) -> stored::StoredSchedule {
    stored::StoredSchedule {
        name: schedule.name.to_string(),
        decided_until_ms: schedule.decided_until.0,
        next: Some(next_to_proto(schedule.next)),
        is_suspended: schedule.is_suspended,
        last_fired_ms: schedule.last_fired.map(|at| at.0),
        fired: schedule.fired,
        missed: schedule.missed,
        passed_over: schedule.passed_over,
    }
}

pub(super) fn state_from_proto(schedule: stored::StoredSchedule) -> Result<Schedule, DecodeError> {
    Ok(Schedule {
        name: name("name", &schedule.name)?,
        decided_until: Timestamp(schedule.decided_until_ms),
        next: next_from_proto(&required("next", schedule.next)?),
        is_suspended: schedule.is_suspended,
        last_fired: schedule.last_fired_ms.map(Timestamp),
        fired: schedule.fired,
        missed: schedule.missed,
        passed_over: schedule.passed_over,
    })
}

fn next_to_proto(next: NextFire) -> stored::NextFire {
    let next = match next {
        NextFire::Unknown => None,
        NextFire::At { fire_time, due_at } => {
            Some(Next::At(FireTime { fire_time_ms: fire_time.0, due_at_ms: due_at.0 }))
        }
        NextFire::Never => Some(Next::Never(Never {})),
    };
    stored::NextFire { next }
}

fn next_from_proto(next: &stored::NextFire) -> NextFire {
    match &next.next {
        None => NextFire::Unknown,
        Some(Next::At(at)) => {
            NextFire::At { fire_time: Timestamp(at.fire_time_ms), due_at: Timestamp(at.due_at_ms) }
        }
        Some(Next::Never(Never {})) => NextFire::Never,
    }
}
