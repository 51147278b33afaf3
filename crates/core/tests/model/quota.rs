//! The model's namespace: what it may have, counted afresh each time.

use muster_core::command::{ApplyNamespace, Command, RequestKey};
use muster_core::ids::Name;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::Request;
use muster_core::spec::namespace::{NamespaceSpec, Quota};

use proptest::prelude::*;

use super::naive::{Answered, Cell, Model};
use super::ops;

/// Mostly none, so that most sequences get on.
pub(super) fn any() -> impl Strategy<Value = Quota> {
    let some = |most| prop::option::weighted(0.2, 0..most);
    (some(9u32), some(9), some(9)).prop_map(|(runs, tasks, cores)| Quota {
        runs,
        tasks,
        cpu_millis: cores.map(|cores| u64::from(cores) * 1000),
        memory_bytes: None,
    })
}

pub(super) fn command(request: Option<RequestKey>, weight: u8, quota: Quota) -> Command {
    let spec = NamespaceSpec { name: ops::namespace(), weight: u32::from(weight), quota };
    Command::ApplyNamespace(ApplyNamespace { request, spec })
}

impl Model {
    pub(super) fn apply_namespace(&mut self, spec: &NamespaceSpec) -> Answered {
        if spec.weight == 0 || spec.weight > 1000 {
            return Err(Rejection::BadNamespace { problem: String::new() });
        }
        let new = Some((spec.weight, spec.quota));
        let is_changed = self.namespace != new;
        self.namespace = new;
        Ok(Reply::NamespaceApplied { is_changed })
    }

    fn quota(&self) -> Quota {
        self.namespace.map(|(_, quota)| quota).unwrap_or_default()
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
