//! The compiled form of a workflow's DAG: dependencies by task index instead of by name.
//!
//! A [`TaskSpec`] names its upstream tasks; everything that runs wants them as positions, in both directions, and in
//! an order that respects them. All of it is computed once for a workflow version, without recursion, in time
//! proportional to tasks plus dependencies (and one map look-up a name).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::DfsPostOrder;

use crate::ids::{Name, TaskIndex};
use crate::spec::TaskSpec;

/// Who waits for whom, by position in the file.
///
/// - `upstream`, `downstream` and `order` have one entry a task.
/// - `b` is upstream of `a` exactly if `a` is downstream of `b`; no pair stands twice.
/// - In `order` every task stands after all its upstream tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    upstream: Vec<Box<[TaskIndex]>>,
    downstream: Vec<Box<[TaskIndex]>>,
    order: Vec<TaskIndex>,
}

/// Why tasks do not form a DAG.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two tasks have the same id.
    #[error("task `{id}` is defined twice")]
    DuplicateId {
        /// The id.
        id: Name,
    },
    /// A task needs a task that does not exist.
    #[error("task `{task}` needs `{need}`, which is not a task of this workflow")]
    UnknownName {
        /// The task that names it.
        task: Name,
        /// The name that is not defined.
        need: Name,
    },
    /// Tasks wait for each other.
    #[error("tasks wait for each other: {}", display_cycle(names))]
    Cycle {
        /// Each task needs the one after it, and the last needs the first. A single name is a task that needs itself.
        names: Vec<Name>,
    },
}

/// `a -> b -> a`, where an arrow reads "needs".
fn display_cycle(names: &[Name]) -> String {
    let mut text = String::new();
    for name in names.iter().chain(names.first()) {
        if !text.is_empty() {
            text.push_str(" -> ");
        }
        text.push_str(name.as_str());
    }
    text
}

impl Graph {
    /// Compiles the dependencies of `tasks`, or says the first thing that is wrong with them. A need that is listed
    /// twice counts once.
    pub fn build(tasks: &[TaskSpec]) -> Result<Graph, GraphError> {
        let (graph, errors) = Graph::compile(tasks);
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(graph),
        }
    }

    /// Everything that keeps `tasks` from being a DAG, with one cycle for each set of tasks that wait for each other.
    /// Empty if nothing does.
    pub fn problems(tasks: &[TaskSpec]) -> Vec<GraphError> {
        Graph::compile(tasks).1
    }

    /// The graph of what could be resolved, with everything that could not. The graph holds its promises only if there
    /// is no error.
    fn compile(tasks: &[TaskSpec]) -> (Graph, Vec<GraphError>) {
        let mut errors = Vec::new();
        let upstream = resolve(tasks, &mut errors);
        let mut downstream = vec![Vec::new(); tasks.len()];
        for (task, needs) in upstream.iter().enumerate() {
            for need in needs {
                downstream[need.0 as usize].push(task_index(task));
            }
        }
        let order = upstream_first(&upstream);
        if !stands_after_its_needs(&upstream, &order) {
            for cycle in cycles(&upstream) {
                let names = cycle.iter().map(|task| tasks[task.0 as usize].id.clone()).collect();
                errors.push(GraphError::Cycle { names });
            }
        }
        let boxed =
            |lists: Vec<Vec<TaskIndex>>| lists.into_iter().map(Vec::into_boxed_slice).collect();
        (Graph { upstream: boxed(upstream), downstream: boxed(downstream), order }, errors)
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no task at all.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The tasks that `task` needs, as listed in the file.
    ///
    /// # Panics
    /// If `task` is not a task of this workflow.
    pub fn upstream(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.upstream[task.0 as usize]
    }

    /// The tasks that need `task`, in file order.
    ///
    /// # Panics
    /// If `task` is not a task of this workflow.
    pub fn downstream(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.downstream[task.0 as usize]
    }

    /// All tasks, each after the tasks it needs; file order wherever the dependencies leave a choice, so a file that
    /// lists its tasks in a possible order keeps it.
    pub fn order(&self) -> &[TaskIndex] {
        &self.order
    }

    /// The tasks that need nothing, in file order.
    pub fn roots(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        self.upstream
            .iter()
            .enumerate()
            .filter(|(_, needs)| needs.is_empty())
            .map(|(task, _)| task_index(task))
    }
}

fn task_index(position: usize) -> TaskIndex {
    TaskIndex(
        u32::try_from(position)
            .expect("a list of tasks that fits in memory has fewer than 2^32 of them"),
    )
}

/// Turns names into positions. A name that is defined twice means its first task.
fn resolve(tasks: &[TaskSpec], errors: &mut Vec<GraphError>) -> Vec<Vec<TaskIndex>> {
    let mut by_name = BTreeMap::new();
    for (position, task) in tasks.iter().enumerate() {
        if by_name.contains_key(&task.id) {
            errors.push(GraphError::DuplicateId { id: task.id.clone() });
        } else {
            by_name.insert(&task.id, task_index(position));
        }
    }
    let mut upstream = Vec::with_capacity(tasks.len());
    for task in tasks {
        let mut seen = BTreeSet::new();
        let mut needs = Vec::with_capacity(task.needs.len());
        for need in &task.needs {
            match by_name.get(need) {
                Some(&found) if seen.insert(found) => needs.push(found),
                Some(_) => {}
                None => errors
                    .push(GraphError::UnknownName { task: task.id.clone(), need: need.clone() }),
            }
        }
        upstream.push(needs);
    }
    upstream
}

/// The dependencies as petgraph sees them: an edge leads from a task to one that it needs.
fn digraph(upstream: &[Vec<TaskIndex>]) -> DiGraph<(), ()> {
    let dependencies = upstream.iter().map(Vec::len).sum();
    let mut graph = DiGraph::with_capacity(upstream.len(), dependencies);
    for _ in upstream {
        graph.add_node(());
    }
    for (task, needs) in upstream.iter().enumerate() {
        for need in needs {
            graph.add_edge(NodeIndex::new(task), NodeIndex::new(need.0 as usize), ());
        }
    }
    graph
}

/// All tasks in post-order of a walk from each task, in file order, to what it needs. Without cycles every task comes
/// after its needs.
fn upstream_first(upstream: &[Vec<TaskIndex>]) -> Vec<TaskIndex> {
    let graph = digraph(upstream);
    let mut walk = DfsPostOrder::empty(&graph);
    let mut order = Vec::with_capacity(upstream.len());
    for task in graph.node_indices() {
        walk.move_to(task);
        while let Some(next) = walk.next(&graph) {
            order.push(task_index(next.index()));
        }
    }
    order
}

/// Whether `order` is an order in which the tasks could run, which for a post-order means: there is no cycle.
fn stands_after_its_needs(upstream: &[Vec<TaskIndex>], order: &[TaskIndex]) -> bool {
    let mut is_past = vec![false; upstream.len()];
    order.iter().all(|task| {
        let is_after = upstream[task.0 as usize].iter().all(|need| is_past[need.0 as usize]);
        is_past[task.0 as usize] = true;
        is_after
    })
}

/// One cycle for each set of tasks that all wait for each other, in file order of their first tasks: the shortest one
/// through that first task. A task that needs itself is such a set of one.
fn cycles(upstream: &[Vec<TaskIndex>]) -> Vec<Vec<TaskIndex>> {
    let mut knots = kosaraju_scc(&digraph(upstream));
    let mut knot_of = vec![0; upstream.len()];
    for (number, knot) in knots.iter_mut().enumerate() {
        knot.sort_unstable();
        for task in knot {
            knot_of[task.index()] = number;
        }
    }
    knots.sort_unstable();
    let mut came_from = vec![None; upstream.len()];
    let mut cycles = Vec::new();
    for knot in knots {
        let first = task_index(knot[0].index());
        if upstream[first.0 as usize].contains(&first) {
            cycles.push(vec![first]);
        } else if knot.len() > 1 {
            cycles.extend(cycle_through(first, upstream, &knot_of, &mut came_from));
        }
    }
    cycles
}

/// The shortest cycle through `start`. It stays within `start`'s knot, so `came_from` can be shared by all searches.
fn cycle_through(
    start: TaskIndex,
    upstream: &[Vec<TaskIndex>],
    knot_of: &[usize],
    came_from: &mut [Option<TaskIndex>],
) -> Option<Vec<TaskIndex>> {
    let mut queue = VecDeque::from([start]);
    while let Some(task) = queue.pop_front() {
        for &need in &upstream[task.0 as usize] {
            if need == start {
                let mut cycle = vec![task];
                let mut at = task;
                while at != start {
                    at = came_from[at.0 as usize]
                        .expect("every queued task but the start was reached from one");
                    cycle.push(at);
                }
                cycle.reverse();
                return Some(cycle);
            }
            let is_inside = knot_of[need.0 as usize] == knot_of[start.0 as usize];
            if is_inside && came_from[need.0 as usize].is_none() {
                came_from[need.0 as usize] = Some(task);
                queue.push_back(need);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ExecutorSpec;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("test names are well-formed")
    }

    /// Reads `a: b c, b:, c: b`.
    fn tasks(text: &str) -> Vec<TaskSpec> {
        let task = |part: &str| {
            let (id, needs) = part.split_once(':').expect("every part has a colon");
            let mut task = TaskSpec::new(name(id.trim()), ExecutorSpec::Noop);
            task.needs = needs.split_whitespace().map(name).collect();
            task
        };
        text.split(',').map(task).collect()
    }

    fn numbers(tasks: &[TaskIndex]) -> Vec<u32> {
        tasks.iter().map(|task| task.0).collect()
    }

    #[test]
    fn both_directions_and_roots() {
        let graph = Graph::build(&tasks("a:, b: a, c: a, d: c b")).unwrap();
        assert_eq!(numbers(graph.upstream(TaskIndex(3))), [2, 1]);
        assert_eq!(numbers(graph.downstream(TaskIndex(0))), [1, 2]);
        assert_eq!(numbers(&graph.roots().collect::<Vec<_>>()), [0]);
        assert_eq!(graph.len(), 4);
    }

    #[test]
    fn a_possible_file_order_is_kept() {
        let graph = Graph::build(&tasks("a:, z:, b: a, y: z, c: y b")).unwrap();
        assert_eq!(numbers(graph.order()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn needs_come_first_whatever_the_file_order() {
        let graph = Graph::build(&tasks("d: c b, c: a, b: a, a:")).unwrap();
        let order = numbers(graph.order());
        assert_eq!(order[0], 3);
        assert_eq!(order[3], 0);
    }

    #[test]
    fn a_need_listed_twice_counts_once() {
        let graph = Graph::build(&tasks("a:, b: a a")).unwrap();
        assert_eq!(numbers(graph.upstream(TaskIndex(1))), [0]);
        assert_eq!(numbers(graph.downstream(TaskIndex(0))), [1]);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let text = |file: &str| Graph::build(&tasks(file)).unwrap_err().to_string();
        assert_eq!(text("a:, a:"), "task `a` is defined twice");
        assert_eq!(text("a: b"), "task `a` needs `b`, which is not a task of this workflow");
        assert_eq!(text("a: a"), "tasks wait for each other: a -> a");
        assert_eq!(
            text("x:, a: x b, b: c, c: x a d, d: c"),
            "tasks wait for each other: a -> b -> c -> a"
        );
    }

    #[test]
    fn every_cycle_follows_edges() {
        let file = "a: b, b: c d, c: e, d: e, e: f b, f:";
        let Err(GraphError::Cycle { names }) = Graph::build(&tasks(file)) else {
            panic!("there is a cycle")
        };
        let specs = tasks(file);
        for (at, task) in names.iter().enumerate() {
            let next = &names[(at + 1) % names.len()];
            let spec = specs.iter().find(|spec| spec.id == *task).unwrap();
            assert!(spec.needs.contains(next), "{task} does not need {next}");
        }
    }

    #[test]
    fn all_problems_at_once() {
        assert_eq!(Graph::problems(&tasks("a: nope, a:, b: c, c: b, d: d, e: f, f: e b")).len(), 5);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let chain = |closed: bool| {
            let mut specs = Vec::new();
            for number in 0..100_000 {
                let mut task = TaskSpec::new(name(&format!("t{number}")), ExecutorSpec::Noop);
                if number < 99_999 || closed {
                    task.needs = vec![name(&format!("t{}", (number + 1) % 100_000))];
                }
                specs.push(task);
            }
            specs
        };
        assert_eq!(Graph::build(&chain(false)).unwrap().order()[0], TaskIndex(99_999));
        let Err(GraphError::Cycle { names }) = Graph::build(&chain(true)) else {
            panic!("there is a cycle")
        };
        assert_eq!(names.len(), 100_000);
    }
}
