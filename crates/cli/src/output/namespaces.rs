//! Namespaces and concurrency groups as tables show them.

use muster_client::v1;
use muster_core::spec::quantity::{Cpu, Memory};

use super::Shown;
use crate::units::clock;

impl Shown for v1::Namespace {
    const MESSAGE: &'static str = "muster.v1.Namespace";
    const LIST: &'static str = "namespaces";

    fn name(&self) -> String {
        self.spec.clone().unwrap_or_default().name
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["NAME", "WEIGHT", "RUNS", "TASKS", "CPU", "MEMORY", "READY"],
            true => &[
                "NAME",
                "WEIGHT",
                "RUNS",
                "TASKS",
                "CPU",
                "MEMORY",
                "READY",
                "WORKFLOWS",
                "APPLIED AT (UTC)",
            ],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let spec = self.spec.clone().unwrap_or_default();
        let (quota, used) = (spec.quota.unwrap_or_default(), self.used.clone().unwrap_or_default());
        let mut row = vec![
            spec.name.clone(),
            spec.weight.unwrap_or(1).to_string(),
            of_most(self.live_runs, quota.runs),
            of_most(self.live_tasks, quota.tasks),
            of_most(Cpu(used.cpu_millis), quota.cpu_millis.map(Cpu)),
            of_most(Memory(used.memory_bytes), quota.memory_bytes.map(Memory)),
            self.ready_tasks.to_string(),
        ];
        if is_wide {
            row.extend([self.workflows.to_string(), clock(self.applied_at_ms)]);
        }
        row
    }
}

impl Shown for v1::GroupUse {
    const MESSAGE: &'static str = "muster.v1.GroupUse";
    const LIST: &'static str = "groups";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["NAME", "LIVE", "READY"],
            true => &["NAME", "LIVE", "READY", "HELD BY"],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        // Of a group that the namespace does not have nothing may be live.
        let live = of_most(self.live_tasks, Some(self.limit.unwrap_or(0)));
        let mut row = vec![self.name.clone(), live, self.ready_tasks.to_string()];
        if is_wide {
            let tasks: Vec<&str> = self.holders.iter().map(|it| it.task.as_str()).collect();
            row.push(tasks.join(","));
        }
        row
    }
}

/// `3/10`, or `3` where there is no bound.
fn of_most(has: impl std::fmt::Display, most: Option<impl std::fmt::Display>) -> String {
    most.map_or_else(|| has.to_string(), |most| format!("{has}/{most}"))
}
