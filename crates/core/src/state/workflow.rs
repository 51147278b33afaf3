//! Workflows and their immutable versions.

use std::sync::Arc;

use crate::graph::{Graph, GraphError};
use crate::ids::{Name, TaskIndex};
use crate::spec::{Request, WorkflowSpec};
use crate::time::Timestamp;

/// One immutable revision of a workflow, `etl@3`.
#[derive(Clone, Debug)]
pub struct WorkflowVersion {
    /// Serial number over all workflows; the key in the state.
    pub id: u64,
    /// Its namespace.
    pub namespace: Name,
    /// Its workflow.
    pub workflow: Name,
    /// 1, 2, 3… within the workflow; 0 for the one-off version of a `submit`.
    pub number: u32,
    /// When it was applied.
    pub applied_at: Timestamp,
    /// What the user wrote.
    pub spec: WorkflowSpec,
    /// Its edges, compiled.
    pub graph: Graph,
    /// Each task's request, equal ones shared.
    requests: Vec<Arc<Request>>,
    /// Each task's position in the graph's order.
    positions: Vec<u32>,
}

impl WorkflowVersion {
    /// Compiles a spec. Fails only for a spec that [`crate::spec::validate()`] refuses.
    pub fn compile(
        id: u64,
        namespace: Name,
        number: u32,
        applied_at: Timestamp,
        mut spec: WorkflowSpec,
    ) -> Result<Self, GraphError> {
        let graph = Graph::build(&spec.tasks)?;
        share_names(&mut spec, &graph);
        let mut shared: std::collections::BTreeSet<Arc<Request>> =
            std::collections::BTreeSet::new();
        let mut requests = Vec::with_capacity(spec.tasks.len());
        for task in &spec.tasks {
            let request = match shared.get(&task.request) {
                Some(request) => request.clone(),
                None => Arc::new(task.request.clone()),
            };
            shared.insert(request.clone());
            requests.push(request);
        }
        let mut positions = vec![0; graph.len()];
        for (position, task) in graph.order().iter().enumerate() {
            positions[task.0 as usize] = position as u32;
        }
        let workflow = spec.name.clone();
        Ok(WorkflowVersion {
            id,
            namespace,
            workflow,
            number,
            applied_at,
            spec,
            graph,
            requests,
            positions,
        })
    }

    /// What the task at `index` asks of a worker.
    pub fn request(&self, index: TaskIndex) -> Option<&Arc<Request>> {
        self.requests.get(index.0 as usize)
    }

    /// Where the task at `index` stands in the graph's order: after everything it needs. 0 if there is no such task.
    pub(crate) fn position(&self, index: TaskIndex) -> u32 {
        self.positions.get(index.0 as usize).copied().unwrap_or_default()
    }
}

/// Lets every need share the memory of the id it names.
fn share_names(spec: &mut WorkflowSpec, graph: &Graph) {
    let ids: Vec<Name> = spec.tasks.iter().map(|task| task.id.clone()).collect();
    for (position, task) in spec.tasks.iter_mut().enumerate() {
        let upstream = graph.upstream(TaskIndex(position as u32));
        if upstream.len() == task.needs.len() {
            task.needs = upstream.iter().map(|need| ids[need.0 as usize].clone()).collect();
        }
    }
}

/// A workflow: its name and its counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workflow {
    /// Serial number; the key in the state.
    pub id: u64,
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// The id of its latest version; `None` while only `submit` used the name.
    pub latest: Option<u64>,
    /// The ids of the versions before it, oldest first: at most
    /// [`EARLIER_VERSIONS_MAX`](crate::limits::EARLIER_VERSIONS_MAX), the latest of them.
    pub earlier: Vec<u64>,
    /// The number of the latest version.
    pub versions: u32,
    /// The number of its latest run.
    pub runs: u64,
    /// How far the schedules of its latest version have come, in their order there.
    pub schedules: Vec<Schedule>,
    /// What the triggers of its latest version came to, in their order there.
    pub triggers: Vec<Trigger>,
}

impl Workflow {
    /// Whether it keeps a version, by its id: the latest, and some before it.
    pub fn keeps(&self, version: u64) -> bool {
        self.latest == Some(version) || self.earlier.contains(&version)
    }
}

/// How far a schedule has come.
///
/// - `next` is after `decided_until`, which is not after the log's time.
/// - Nothing comes next while it is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// Its name within the workflow.
    pub name: Name,
    /// Fire times up to this one made their runs, or are missed for good.
    pub decided_until: Timestamp,
    /// What comes next.
    pub next: NextFire,
    /// Whether a user switched it off.
    pub is_suspended: bool,
    /// The latest fire time that made a run.
    pub last_fired: Option<Timestamp>,
    /// How many fire times made runs.
    pub fired: u64,
    /// How many passed while nothing could fire, and made none.
    pub missed: u64,
    /// How many made none because an earlier run was live, or because too many are.
    pub passed_over: u64,
}

/// What a trigger came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trigger {
    /// Its name within the workflow.
    pub name: Name,
    /// Whether a user switched it off.
    pub is_suspended: bool,
    /// How many ends made runs.
    pub fired: u64,
    /// How many made none because an earlier run was live, or because too many are.
    pub passed_over: u64,
}

impl Trigger {
    /// A trigger that has fired nothing yet.
    pub fn new(name: Name) -> Self {
        Trigger { name, is_suspended: false, fired: 0, passed_over: 0 }
    }
}

/// When a schedule fires next. Worked out by the leader: the core knows no calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextFire {
    /// Not worked out yet.
    Unknown,
    /// At a fire time, and by how much later its run begins.
    At {
        /// When it is meant to fire.
        fire_time: Timestamp,
        /// Its share of the jitter later.
        due_at: Timestamp,
    },
    /// Not any more.
    Never,
}

impl Schedule {
    /// A schedule that has fired nothing yet, and decides what comes after `now`.
    pub fn new(name: Name, now: Timestamp) -> Self {
        Schedule {
            name,
            decided_until: now,
            next: NextFire::Unknown,
            is_suspended: false,
            last_fired: None,
            fired: 0,
            missed: 0,
            passed_over: 0,
        }
    }

    /// The same one, which decides what comes after `now` and owes nothing for the time before. A fire time that has
    /// come and is not decided is missed.
    pub(crate) fn anew(&mut self, now: Timestamp) {
        if let NextFire::At { fire_time, .. } = self.next
            && fire_time <= now
        {
            self.missed = self.missed.saturating_add(1);
        }
        self.decided_until = now;
        self.next = NextFire::Unknown;
    }
}
