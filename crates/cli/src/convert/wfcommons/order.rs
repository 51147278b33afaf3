//! Who waits for whom: declared parents, declared children, and who reads what another writes.
//!
//! Declared parents come first. What else the trace says is added as long as no cycle comes of it; the rest is left out
//! and remembered, so that the workflow can say so.

use std::collections::{BTreeMap, BTreeSet};

use super::ConvertError;
use super::trace::Trace;

/// The order of the tasks of a trace, by their positions.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The tasks that each task needs.
    pub(super) needs: Vec<BTreeSet<usize>>,
    /// The files that must exist when a task starts, because a task it needs wrote them.
    pub(super) required: Vec<Vec<String>>,
    /// What contradicts the rest, in words.
    pub(super) left_out: Vec<String>,
}

/// From the needed task to the one that needs it.
type Edge = (usize, usize);

/// Finds the order of a trace.
pub(super) fn order(trace: &Trace) -> Result<Order, ConvertError> {
    let count = trace.tasks.len();
    let mut order = Order { needs: vec![BTreeSet::new(); count], ..Order::default() };
    let tasks = || trace.tasks.iter().enumerate();
    for (task, record) in tasks() {
        order.needs[task] =
            record.parents.iter().copied().filter(|parent| *parent != task).collect();
    }
    let knot = waiting(&order.needs);
    if !knot.is_empty() {
        let tasks = knot.into_iter().take(10).map(|task| trace.tasks[task].id.clone()).collect();
        return Err(ConvertError::Cycle { tasks });
    }
    let children: BTreeMap<Edge, String> = tasks()
        .flat_map(|(task, record)| record.children.iter().map(move |child| (task, *child)))
        .map(|edge| (edge, "a declared child".to_owned()))
        .collect();
    add(&mut order, trace, children);

    let mut writers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (task, record) in tasks() {
        for file in &record.outputs {
            writers.entry(file).or_default().push(task);
        }
    }
    let mut files: BTreeMap<Edge, String> = BTreeMap::new();
    for (task, record) in tasks() {
        for file in &record.inputs {
            for writer in writers.get(file.as_str()).into_iter().flatten() {
                files.entry((*writer, task)).or_insert_with(|| format!("the file {file:?}"));
            }
        }
    }
    add(&mut order, trace, files);

    for (task, record) in tasks() {
        let needs = &order.needs[task];
        let is_written = |file: &&String| {
            writers
                .get(file.as_str())
                .is_some_and(|writers| writers.iter().any(|writer| needs.contains(writer)))
        };
        order.required.push(record.inputs.iter().filter(is_written).cloned().collect());
    }
    Ok(order)
}

/// Adds the edges that make no cycle.
fn add(order: &mut Order, trace: &Trace, edges: BTreeMap<Edge, String>) {
    let is_new =
        |needs: &[BTreeSet<usize>], (from, to): Edge| from != to && !needs[to].contains(&from);
    let mut together = order.needs.clone();
    for &(from, to) in edges.keys().filter(|edge| is_new(&order.needs, **edge)) {
        together[to].insert(from);
    }
    let knot = waiting(&together);
    if knot.is_empty() {
        order.needs = together;
        return;
    }
    // Only edges among the tasks that wait for each other, or for those that do, can be the wrong ones.
    for ((from, to), why) in edges {
        if !is_new(&order.needs, (from, to)) {
            continue;
        }
        if knot.contains(&from) && knot.contains(&to) && is_upstream(&order.needs, to, from) {
            let (from, to) = (&trace.tasks[from].id, &trace.tasks[to].id);
            order.left_out.push(format!("{to:?} after {from:?}, because of {why}"));
        } else {
            order.needs[to].insert(from);
        }
    }
}

/// The tasks that can never start because they wait for each other, directly or not. Empty if there is no cycle.
fn waiting(needs: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut open: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (task, needs) in needs.iter().enumerate() {
        for need in needs {
            needed_by[*need].push(task);
        }
    }
    let mut ready: Vec<usize> = (0..needs.len()).filter(|task| open[*task] == 0).collect();
    while let Some(task) = ready.pop() {
        for next in &needed_by[task] {
            open[*next] -= 1;
            if open[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    (0..needs.len()).filter(|task| open[*task] > 0).collect()
}

/// Whether `task` waits, directly or not, for `wanted`.
fn is_upstream(needs: &[BTreeSet<usize>], wanted: usize, task: usize) -> bool {
    let mut seen = BTreeSet::from([task]);
    let mut open = vec![task];
    while let Some(task) = open.pop() {
        if task == wanted {
            return true;
        }
        open.extend(needs[task].iter().copied().filter(|need| seen.insert(*need)));
    }
    false
}
