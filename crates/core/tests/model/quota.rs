//! The model's namespace: what it may have, and its concurrency groups, counted afresh each time.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::command::{ApplyNamespace, Command, RequestKey};
use muster_core::ids::Name;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use muster_core::spec::{Request, WorkflowSpec};

use proptest::prelude::*;

use super::naive::{Answered, Cell, Model};
use super::ops;

/// Mostly no quota, so that most sequences get on; and mostly all groups that tasks name.
pub(super) fn any() -> impl Strategy<Value = NamespaceSpec> {
    let some = |most| prop::option::weighted(0.2, 0..most);
    let quota = (some(9u32), some(9), some(9)).prop_map(|(runs, tasks, cores)| Quota {
        runs,
        tasks,
        cpu_millis: cores.map(|cores| u64::from(cores) * 1000),
        memory_bytes: None,
    });
    let limit = || prop::option::weighted(0.9, 0..4u32);
    (0..5u32, quota, limit(), limit()).prop_map(|(weight, quota, one, other)| {
        let limits = group_names().into_iter().zip([one, other]);
        let groups = limits.filter_map(|(name, limit)| Some((name, GroupSpec { limit: limit? })));
        NamespaceSpec { name: ops::namespace(), weight, quota, groups: groups.collect() }
    })
}

fn group_names() -> [Name; 2] {
    ["db", "licence"].map(|text| Name::parse(text).expect("a name"))
}

/// What a task names.
pub(super) fn named() -> impl Strategy<Value = BTreeSet<Name>> {
    let is_named = || prop::bool::weighted(0.05);
    (is_named(), is_named()).prop_map(|(one, other)| {
        let picked = group_names().into_iter().zip([one, other]);
        picked.filter_map(|(name, is_named)| is_named.then_some(name)).collect()
    })
}

pub(super) fn command(request: Option<RequestKey>, spec: &NamespaceSpec) -> Command {
    Command::ApplyNamespace(ApplyNamespace { request, spec: spec.clone() })
}

impl Model {
    pub(super) fn apply_namespace(&mut self, spec: &NamespaceSpec) -> Answered {
        if spec.weight == 0 || spec.weight > 1000 {
            return Err(Rejection::BadNamespace { problem: String::new() });
        }
        let is_changed = self.namespace.as_ref() != Some(spec);
        self.namespace = Some(spec.clone());
        Ok(Reply::NamespaceApplied { is_changed })
    }

    fn quota(&self) -> Quota {
        self.namespace.as_ref().map(|it| it.quota).unwrap_or_default()
    }

    /// What a group lets be live, if there is one of this name.
    fn limit(&self, group: &Name) -> Option<u32> {
        Some(self.namespace.as_ref()?.groups.get(group)?.limit)
    }

    /// Whether the tasks of a workflow name only groups that there are.
    pub(super) fn check_groups(&self, spec: &WorkflowSpec) -> Result<(), Rejection> {
        for task in &spec.tasks {
            if let Some(group) = task.request.groups.iter().find(|it| self.limit(it).is_none()) {
                let (task, namespace, group) = (task.id.clone(), ops::namespace(), group.clone());
                return Err(Rejection::NoSuchGroup { task, namespace, group });
            }
        }
        Ok(())
    }

    /// How many attempts are live of each group that has any.
    pub(crate) fn in_groups(&self) -> BTreeMap<Name, u32> {
        let mut live = BTreeMap::new();
        for run in self.runs.values() {
            let cells = run.cells.iter().filter(|(_, cell)| matches!(cell, Cell::Live(_)));
            for ((task, _), _) in cells {
                for group in &run.spec.tasks[*task as usize].request.groups {
                    *live.entry(group.clone()).or_default() += 1;
                }
            }
        }
        live
    }

    /// Whether the groups of a request let so many attempts more be live.
    pub(super) fn is_within_groups(&self, request: &Request, count: u32) -> bool {
        let live = self.in_groups();
        request.groups.iter().all(|group| {
            let live = live.get(group).copied().unwrap_or(0);
            live + count <= self.limit(group).unwrap_or(0)
        })
    }

    pub(super) fn check_runs(&self, namespace: &Name) -> Result<(), Rejection> {
        let live = self.runs.len() as u32;
        match self.quota().runs {
            Some(most) if most <= live => {
                Err(Rejection::QuotaReached { namespace: namespace.clone(), most, live })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How many attempts are live, and the cpu and the memory that they take.
    pub(crate) fn taken(&self) -> [u64; 3] {
        let mut taken = [0; 3];
        for run in self.runs.values() {
            for ((task, _), cell) in &run.cells {
                if matches!(cell, Cell::Live(_)) {
                    let part = &run.spec.tasks[*task as usize].request.resources;
                    taken[0] += 1;
                    taken[1] += part.cpu_millis;
                    taken[2] += part.memory_bytes;
                }
            }
        }
        taken
    }

    /// Whether so many attempts more may be live.
    pub(super) fn is_within_quota(&self, request: &Request, count: u64) -> bool {
        let Quota { tasks, cpu_millis, memory_bytes, .. } = self.quota();
        let part = &request.resources;
        let most = [tasks.map(u64::from), cpu_millis, memory_bytes];
        let adds = [1, part.cpu_millis, part.memory_bytes].map(|each| each * count);
        let mut all = most.into_iter().zip(self.taken()).zip(adds);
        all.all(|((most, has), adds)| adds == 0 || most.is_none_or(|most| has + adds <= most))
    }
}
