//! The things that lists show, and their columns.

use muster_client::v1;
use muster_client::v1::schedule_spec::Timing;
use muster_core::spec::quantity::{Cpu, Memory};
use muster_core::time::Millis;

use crate::names::label;
use crate::units::{between, clock, now_ms, short};

/// Something that stands in a list.
pub(crate) trait Shown: prost::Message {
    /// Full name of the message.
    const MESSAGE: &'static str;
    /// Name of the field that holds such things in the answer to a list call.
    const LIST: &'static str;

    /// The name that other commands take.
    fn name(&self) -> String;
    /// Heads of the columns.
    fn columns(is_wide: bool) -> &'static [&'static str];
    /// One cell a column; an empty one is shown as `-`.
    fn row(&self, is_wide: bool) -> Vec<String>;
}

/// A status in one word.
pub(crate) fn run_word(status: v1::RunStatus) -> &'static str {
    match status {
        v1::RunStatus::Unspecified => "unknown",
        v1::RunStatus::Queued => "queued",
        v1::RunStatus::Running => "running",
        v1::RunStatus::Paused => "paused",
        v1::RunStatus::Succeeded => "succeeded",
        v1::RunStatus::Failed => "failed",
        v1::RunStatus::Cancelled => "cancelled",
    }
}

/// The field of a hook; empty for a task that is none.
pub(crate) fn hook_word(hook: v1::Hook) -> &'static str {
    match hook {
        v1::Hook::Unspecified => "",
        v1::Hook::OnSuccess => "onSuccess",
        v1::Hook::OnFailure => "onFailure",
        v1::Hook::OnExit => "onExit",
    }
}

/// A status in one word.
pub(crate) fn task_word(status: v1::TaskStatus) -> &'static str {
    match status {
        v1::TaskStatus::Unspecified => "unknown",
        v1::TaskStatus::Blocked => "blocked",
        v1::TaskStatus::Undecided => "undecided",
        v1::TaskStatus::Ready => "ready",
        v1::TaskStatus::Placed => "placed",
        v1::TaskStatus::Running => "running",
        v1::TaskStatus::Backoff => "backoff",
        v1::TaskStatus::Held => "held",
        v1::TaskStatus::Awaiting => "awaiting",
        v1::TaskStatus::Succeeded => "succeeded",
        v1::TaskStatus::Failed => "failed",
        v1::TaskStatus::Skipped => "skipped",
        v1::TaskStatus::Cancelled => "cancelled",
    }
}

/// The task that a run was started for: `etl/42/load`.
pub(crate) fn parent(parent: &v1::ParentTask) -> String {
    format!("{}/{}/{}", parent.workflow, parent.number, parent.task)
}

/// The run that a task started: `load/7`.
pub(crate) fn child(child: &v1::ChildRun) -> String {
    format!("{}/{}", child.workflow, child.number)
}

fn worker_word(status: v1::WorkerStatus) -> &'static str {
    match status {
        v1::WorkerStatus::Unspecified => "unknown",
        v1::WorkerStatus::Active => "active",
        v1::WorkerStatus::Draining => "draining",
        v1::WorkerStatus::Lost => "lost",
    }
}

/// How long ago a point in time is.
pub(super) fn age(ms: u64) -> String {
    if ms == 0 { String::new() } else { short(between(ms, now_ms())) }
}

/// How long something took, or takes so far.
fn span(from_ms: u64, to_ms: u64) -> String {
    match (from_ms, to_ms) {
        (0, _) => String::new(),
        (from, 0) => short(between(from, now_ms())),
        (from, to) => short(between(from, to)),
    }
}

fn pairs(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

impl Shown for v1::Workflow {
    const MESSAGE: &'static str = "muster.v1.Workflow";
    const LIST: &'static str = "workflows";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["NAME", "VERSION", "RUNS", "LIVE", "APPLIED"],
            true => &["NAMESPACE", "NAME", "VERSION", "RUNS", "LIVE", "APPLIED AT (UTC)"],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let version = match self.latest_version {
            0 => String::new(),
            version => version.to_string(),
        };
        let (runs, live) = (self.runs.to_string(), self.live_runs.to_string());
        match is_wide {
            false => vec![self.name.clone(), version, runs, live, age(self.applied_at_ms)],
            true => {
                let applied = clock(self.applied_at_ms);
                vec![self.namespace.clone(), self.name.clone(), version, runs, live, applied]
            }
        }
    }
}

impl Shown for v1::Run {
    const MESSAGE: &'static str = "muster.v1.Run";
    const LIST: &'static str = "runs";

    fn name(&self) -> String {
        label(self)
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["RUN", "STATUS", "DONE", "FAILED", "AGE", "TOOK"],
            true => &[
                "RUN",
                "STATUS",
                "DONE",
                "FAILED",
                "AGE",
                "TOOK",
                "ID",
                "VERSION",
                "PRIORITY",
                "SUBMITTED (UTC)",
                "AFTER",
                "STARTED FOR",
                "PARAMS",
                "LABELS",
            ],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let tally = self.tally.unwrap_or_default();
        let done = tally.succeeded + tally.failed + tally.skipped + tally.cancelled;
        let open = tally.blocked + tally.undecided + tally.ready + tally.placed + tally.running;
        let total = done + open + tally.backoff + tally.held + tally.awaiting;
        let mut row = vec![
            label(self),
            run_word(self.status()).to_owned(),
            format!("{done}/{total}"),
            if tally.failed > 0 { tally.failed.to_string() } else { String::new() },
            age(self.submitted_at_ms),
            span(self.begun_at_ms, self.ended_at_ms),
        ];
        if is_wide {
            let version = if self.version > 0 { self.version.to_string() } else { String::new() };
            row.extend([
                self.id.to_string(),
                version,
                self.priority.to_string(),
                clock(self.submitted_at_ms),
                self.trigger.as_ref().map(upstream).unwrap_or_default(),
                self.parent.as_ref().map(parent).unwrap_or_default(),
                pairs(&self.params),
                pairs(&self.labels),
            ]);
        }
        row
    }
}

/// The run that a run followed.
pub(crate) fn upstream(origin: &v1::TriggerOrigin) -> String {
    format!("{}/{}", origin.workflow, origin.number)
}

impl Shown for v1::Schedule {
    const MESSAGE: &'static str = "muster.v1.Schedule";
    const LIST: &'static str = "schedules";

    fn name(&self) -> String {
        format!("{}/{}", self.workflow, self.name)
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["SCHEDULE", "WHEN", "ZONE", "NEXT", "LAST", "FIRED", "MISSED"],
            true => &[
                "SCHEDULE",
                "WHEN",
                "ZONE",
                "NEXT (UTC)",
                "LAST (UTC)",
                "FIRED",
                "MISSED",
                "PASSED OVER",
                "CATCHUP",
                "JITTER",
            ],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let spec = self.spec.clone().unwrap_or_default();
        let when = match &spec.timing {
            Some(Timing::Cron(cron)) => cron.line.clone(),
            Some(Timing::EveryMs(interval)) => format!("every {}", Millis(*interval)),
            Some(Timing::At(time)) => format!("at {time}"),
            None => String::new(),
        };
        let next = match (self.is_suspended, self.next_fire_time_ms) {
            (true, _) => "suspended".to_owned(),
            (false, Some(at)) if is_wide => clock(at),
            (false, Some(at)) => format!("in {}", short(between(now_ms(), at))),
            (false, None) if self.is_over => "never".to_owned(),
            (false, None) => String::new(),
        };
        let last = self.last_fire_time_ms.unwrap_or(0);
        let last = match is_wide {
            true if last > 0 => clock(last),
            true => String::new(),
            false => age(last),
        };
        let catch_up = match spec.catch_up() {
            v1::CatchUp::Unspecified | v1::CatchUp::None => "none",
            v1::CatchUp::Latest => "latest",
            v1::CatchUp::All => "all",
        };
        let counted = |count: u64| if count > 0 { count.to_string() } else { String::new() };
        let mut row = vec![
            self.name(),
            when,
            spec.time_zone,
            next,
            last,
            counted(self.fired),
            counted(self.missed),
        ];
        if is_wide {
            row.extend([
                counted(self.passed_over),
                catch_up.to_owned(),
                if spec.jitter_ms > 0 { Millis(spec.jitter_ms).to_string() } else { String::new() },
            ]);
        }
        row
    }
}

/// Whether nothing more of a task will run.
pub(crate) fn has_ended(task: &v1::Task) -> bool {
    use v1::TaskStatus::{Cancelled, Failed, Skipped, Succeeded};
    matches!(task.status(), Succeeded | Failed | Skipped | Cancelled)
}

impl Shown for v1::Task {
    const MESSAGE: &'static str = "muster.v1.Task";
    const LIST: &'static str = "tasks";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["TASK", "STATUS", "ATTEMPTS", "WORKER", "TOOK", "MESSAGE"],
            true => &[
                "TASK", "STATUS", "ATTEMPTS", "WORKER", "TOOK", "MESSAGE", "FAILURES", "LOSSES",
                "FENCE", "NEEDS", "OUTPUTS",
            ],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let number = |number: u64| if number > 0 { number.to_string() } else { String::new() };
        let status = match (&self.tally, self.is_array) {
            (Some(tally), true) => {
                let done = tally.succeeded + tally.failed + tally.skipped + tally.cancelled;
                let word = task_word(self.status());
                match self.array_count {
                    Some(count) => format!("{word} {}/{count}", done.min(count.into())),
                    None if has_ended(self) => word.to_owned(),
                    None => format!("{word} 0/?"),
                }
            }
            _ => task_word(self.status()).to_owned(),
        };
        // What an earlier attempt ended with is no news about a task that succeeded.
        let message = match (self.status(), &self.child) {
            (v1::TaskStatus::Succeeded | v1::TaskStatus::Awaiting, Some(it)) => {
                format!("run {}", child(it))
            }
            (v1::TaskStatus::Succeeded, None) => String::new(),
            _ => self.message.lines().next().unwrap_or_default().to_owned(),
        };
        let mut row = vec![
            self.id.clone(),
            status,
            number(self.attempts.into()),
            self.worker.clone(),
            span(self.started_at_ms, self.ended_at_ms),
            message.to_owned(),
        ];
        if is_wide {
            row.extend([
                number(self.failures.into()),
                number(self.losses.into()),
                number(self.fence),
                match self.hook() {
                    v1::Hook::Unspecified => self.needs.join(","),
                    it => hook_word(it).to_owned(),
                },
                pairs(&self.outputs),
            ]);
        }
        row
    }
}

impl Shown for v1::Worker {
    const MESSAGE: &'static str = "muster.v1.Worker";
    const LIST: &'static str = "workers";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["NAME", "STATUS", "POOL", "ATTEMPTS", "CPU", "MEMORY", "HEARTBEAT"],
            true => &[
                "NAME",
                "STATUS",
                "POOL",
                "ATTEMPTS",
                "CPU",
                "MEMORY",
                "HEARTBEAT",
                "ID",
                "LABELS",
                "REGISTERED (UTC)",
            ],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let capacity = self.capacity.clone().unwrap_or_default();
        let used = self.used.clone().unwrap_or_default();
        let heartbeat = if self.is_connected {
            format!("{} ago", short(std::time::Duration::from_millis(self.heartbeat_age_ms)))
        } else {
            "not connected".to_owned()
        };
        let mut row = vec![
            self.name.clone(),
            worker_word(self.status()).to_owned(),
            self.pool.clone(),
            self.attempts.to_string(),
            format!("{}/{}", Cpu(used.cpu_millis), Cpu(capacity.cpu_millis)),
            format!("{}/{}", Memory(used.memory_bytes), rounded(capacity.memory_bytes)),
            heartbeat,
        ];
        if is_wide {
            row.extend([self.id.to_string(), pairs(&self.labels), clock(self.registered_at_ms)]);
        }
        row
    }
}

/// Bytes to three digits or so: what a machine has is seldom a round number.
pub(crate) fn rounded(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes >= size {
            let tenths = bytes.saturating_mul(10) / size;
            return match tenths % 10 {
                0 => format!("{}{unit}", tenths / 10),
                tenth => format!("{}.{tenth}{unit}", tenths / 10),
            };
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_a_cell_for_each_column() {
        fn check<T: Shown + Default>() {
            for is_wide in [false, true] {
                assert_eq!(T::default().row(is_wide).len(), T::columns(is_wide).len());
            }
        }
        check::<v1::Workflow>();
        check::<v1::Run>();
        check::<v1::Task>();
        check::<v1::Worker>();
    }

    #[test]
    fn memory_is_rounded() {
        assert_eq!(rounded(16 << 30), "16Gi");
        assert_eq!(rounded(24_583_274_496), "22.8Gi");
        assert_eq!(rounded(512), "512");
    }
}
