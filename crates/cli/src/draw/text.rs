//! One line a task, in an order in which each comes after all that it waits for, with lines down to those that wait for
//! it.

use renderdag::{Ancestor, GraphRowRenderer, Renderer};

use super::{Drawing, remarks};

/// Lines beside each other that a picture may have: more are of no use to eyes, also in a pager.
const LINES_MAX: usize = 400;

/// What lines are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Characters {
    Boxes,
    Ascii,
}

/// So many lines would run beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} lines would run beside each other, which no terminal shows; draw it with `-o svg`, or let Graphviz draw what \
     `-o dot` prints"
)]
pub(crate) struct TooWide(usize);

pub(crate) fn text(drawing: &Drawing<'_>, characters: Characters) -> Result<String, TooWide> {
    let order = depth_first(drawing);
    let lines = lines_max(drawing, &order);
    if lines > LINES_MAX {
        return Err(TooWide(lines));
    }
    let rows = GraphRowRenderer::new().output().with_min_row_height(1);
    Ok(match characters {
        Characters::Boxes => draw(drawing, &order, "○", rows.build_box_drawing()),
        Characters::Ascii => draw(drawing, &order, "o", rows.build_ascii()),
    })
}

fn draw(
    drawing: &Drawing<'_>,
    order: &[usize],
    glyph: &str,
    mut renderer: impl Renderer<usize, Output = String>,
) -> String {
    let rows = order.iter().map(|at| {
        let task = &drawing.workflow.tasks[*at];
        let remarks = remarks(task);
        let label = match remarks.is_empty() {
            true => task.id.to_string(),
            false => format!("{}  ({remarks})", task.id),
        };
        let next = drawing.downstream(*at).map(Ancestor::Parent).collect();
        renderer.next_row(*at, next, glyph.to_owned(), label)
    });
    rows.collect()
}

/// Each task after all that it waits for, and otherwise as soon as the last of those was there, so that chains stay
/// together.
fn depth_first(drawing: &Drawing<'_>) -> Vec<usize> {
    let count = drawing.workflow.tasks.len();
    let mut missing: Vec<usize> = (0..count).map(|task| drawing.upstream(task).count()).collect();
    let mut ready: Vec<usize> = (0..count).rev().filter(|task| missing[*task] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(task) = ready.pop() {
        order.push(task);
        let begin = ready.len();
        for next in drawing.downstream(task) {
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.push(next);
            }
        }
        ready[begin..].reverse();
    }
    order
}

/// The most tasks that are pointed at and not there yet, at any place.
fn lines_max(drawing: &Drawing<'_>, order: &[usize]) -> usize {
    let mut is_open = vec![false; order.len()];
    let (mut open, mut most) = (0, 0);
    for task in order {
        open -= usize::from(is_open[*task]);
        for next in drawing.downstream(*task) {
            open += usize::from(!is_open[next]);
            is_open[next] = true;
        }
        most = most.max(open);
    }
    most
}
