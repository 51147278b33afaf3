//! A picture for browsers, in light and dark.

use std::fmt::Write as _;

use super::layout::{Layout, layout};
use super::{Drawing, remarks};

/// Lengths in pixels.
const CHARACTER: f64 = 7.3;
const PADDING: f64 = 12.0;
const BOX_HEIGHT: f64 = 30.0;
const ROW: f64 = 44.0;
const GAP: f64 = 56.0;
const MARGIN: f64 = 16.0;

const STYLE: &str = "\
<style>
  text { font: 12px ui-monospace, monospace; fill: #1f2328; text-anchor: middle }
  tspan { fill: #59636e }
  rect { fill: #f6f8fa; stroke: #8c959f; rx: 6px }
  path { fill: none; stroke: #8c959f; stroke-width: 1.2 }
  marker path { fill: #8c959f; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    tspan { fill: #9198a1 }
    rect { fill: #161b22; stroke: #6e7681 }
    path { stroke: #6e7681 }
    marker path { fill: #6e7681 }
  }
</style>
<defs>
  <marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">
    <path d=\"M0 0L8 4L0 8z\"/>
  </marker>
</defs>
";

pub(crate) fn svg(drawing: &Drawing<'_>) -> String {
    let layout = layout(drawing);
    let labels: Vec<(String, String)> =
        drawing.workflow.tasks.iter().map(|it| (it.id.to_string(), remarks(it))).collect();
    let columns = columns(&layout, &labels);
    let width = columns.last().map_or(0.0, |(left, width)| left + width) + MARGIN;
    let height = layout.height * ROW + BOX_HEIGHT + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{}</title>\n{STYLE}",
        escaped(drawing.workflow.name.as_str())
    );
    for (from, to, between) in &layout.lines {
        let _infallible =
            writeln!(out, "<path d=\"{}\" {TIP}/>", path(&layout, &columns, *from, *to, between));
    }
    for ((layer, row), (name, remarks)) in layout.boxes.iter().zip(&labels) {
        let (left, width) = columns[*layer];
        let (top, middle) = (y(*row) - BOX_HEIGHT / 2.0, left + width / 2.0);
        let rest = match remarks.is_empty() {
            true => String::new(),
            false => format!(" <tspan>{}</tspan>", escaped(remarks)),
        };
        let _infallible = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BOX_HEIGHT}\"/>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" dy=\".35em\">{}{rest}</text>",
            y(*row),
            escaped(name)
        );
    }
    out.push_str("</svg>\n");
    out
}

const TIP: &str = "marker-end=\"url(#tip)\"";

/// Left edge and width of each layer.
fn columns(layout: &Layout, labels: &[(String, String)]) -> Vec<(f64, f64)> {
    let mut longest = vec![0; layout.layers];
    for ((layer, _), (name, remarks)) in layout.boxes.iter().zip(labels) {
        let space = usize::from(!remarks.is_empty());
        let characters = name.chars().count() + space + remarks.chars().count();
        longest[*layer] = characters.max(longest[*layer]);
    }
    let mut left = MARGIN;
    let place = |characters: usize| {
        let column = (left, characters as f64 * CHARACTER + 2.0 * PADDING);
        left += column.1 + GAP;
        column
    };
    longest.into_iter().map(place).collect()
}

fn y(row: f64) -> f64 {
    MARGIN + BOX_HEIGHT / 2.0 + row * ROW
}

/// From the right of one box to the left of another, level through the columns between.
fn path(
    layout: &Layout,
    columns: &[(f64, f64)],
    from: usize,
    to: usize,
    between: &[f64],
) -> String {
    let ((from_layer, from_row), (to_layer, to_row)) = (layout.boxes[from], layout.boxes[to]);
    let mut x = columns[from_layer].0 + columns[from_layer].1;
    let mut height = y(from_row);
    let mut path = format!("M{x:.1} {height:.1}");
    let mut bend = |path: &mut String, to_x: f64, to_height: f64| {
        let middle = f64::midpoint(x, to_x);
        let _infallible = write!(
            path,
            "C{middle:.1} {height:.1} {middle:.1} {to_height:.1} {to_x:.1} {to_height:.1}"
        );
        (x, height) = (to_x, to_height);
    };
    for (row, (left, width)) in between.iter().zip(&columns[from_layer + 1..]) {
        bend(&mut path, *left, y(*row));
        bend(&mut path, left + width, y(*row));
    }
    bend(&mut path, columns[to_layer].0, y(to_row));
    path
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
