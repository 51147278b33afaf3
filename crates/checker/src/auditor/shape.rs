//! A workflow's edges, worked out from the names in its file: not the graph that the core compiled.

use std::collections::BTreeMap;

use muster_core::spec::WorkflowSpec;

/// Who needs whom, by position in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    upstream: Vec<Vec<usize>>,
    downstream: Vec<Vec<usize>>,
    /// Where each task stands in an order in which the tasks could run.
    position: Vec<usize>,
}

impl Shape {
    pub(super) fn of(spec: &WorkflowSpec) -> Self {
        let by_name: BTreeMap<&str, usize> =
            spec.tasks.iter().enumerate().rev().map(|(at, task)| (task.id.as_str(), at)).collect();
        let count = spec.tasks.len();
        let mut upstream = vec![Vec::new(); count];
        let mut downstream = vec![Vec::new(); count];
        for (at, task) in spec.tasks.iter().enumerate() {
            for need in task.needs.iter().filter_map(|need| by_name.get(need.as_str())) {
                if !upstream[at].contains(need) {
                    upstream[at].push(*need);
                    downstream[*need].push(at);
                }
            }
        }
        let position = possible_order(&upstream, &downstream);
        Shape { upstream, downstream, position }
    }

    /// The tasks that `task` needs.
    pub(super) fn upstream(&self, task: usize) -> &[usize] {
        self.upstream.get(task).map_or(&[], Vec::as_slice)
    }

    /// The tasks that need `task`.
    pub(super) fn downstream(&self, task: usize) -> &[usize] {
        self.downstream.get(task).map_or(&[], Vec::as_slice)
    }

    /// Larger than that of everything the task needs.
    pub(super) fn position(&self, task: usize) -> usize {
        self.position.get(task).copied().unwrap_or_default()
    }
}

/// Takes tasks out of the graph one by one, each when nothing that it needs is left (Kahn, 1962).
fn possible_order(upstream: &[Vec<usize>], downstream: &[Vec<usize>]) -> Vec<usize> {
    let mut left: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut free: Vec<usize> = (0..left.len()).filter(|task| left[*task] == 0).collect();
    let mut position = vec![0; left.len()];
    let mut next = 0;
    while let Some(task) = free.get(next).copied() {
        position[task] = next;
        next += 1;
        for needing in &downstream[task] {
            left[*needing] -= 1;
            if left[*needing] == 0 {
                free.push(*needing);
            }
        }
    }
    position
}

#[cfg(test)]
mod tests {
    use muster_core::ids::Name;
    use muster_core::spec::{ExecutorSpec, TaskSpec};

    use super::*;

    #[test]
    fn edges_and_order_follow_names() {
        let name = |text: &str| Name::parse(text).expect("a name");
        let task = |id: &str, needs: &[&str]| {
            let mut task = TaskSpec::new(name(id), ExecutorSpec::Noop);
            task.needs = needs.iter().map(|need| name(need)).collect();
            task
        };
        let tasks =
            vec![task("d", &["b", "c", "b"]), task("b", &["a"]), task("c", &["a"]), task("a", &[])];
        let spec = WorkflowSpec::new(name("w"), tasks);
        let shape = Shape::of(&spec);
        assert_eq!(shape.upstream(0), [1, 2]);
        assert_eq!(shape.downstream(3), [1, 2]);
        assert_eq!(shape.position(3), 0);
        assert!(shape.position(0) > shape.position(1) && shape.position(0) > shape.position(2));
        assert_eq!(shape.upstream(9), [0; 0]);
    }
}
