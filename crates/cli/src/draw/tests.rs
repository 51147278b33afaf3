//! Pictures of small workflows as they should be, and what holds of all layouts.

use muster_core::ids::Name;
use muster_core::spec::{ExecutorSpec, parse};

use super::layout::layout;
use super::*;

fn workflow(tasks: &str) -> WorkflowSpec {
    let text = format!("apiVersion: v1\nkind: Workflow\nname: w\ntasks:\n{tasks}");
    parse(&text).expect("a workflow").remove(0)
}

fn diamond() -> WorkflowSpec {
    workflow(
        "  get: {noop: {}}
  clean: {noop: {}, needs: [get], array: 100}
  count: {noop: {}, needs: [get]}
  store: {noop: {}, needs: [clean, count]}
  tell: {noop: {}, needs: [store], if: always()}
",
    )
}

#[test]
fn a_terminal_shows_a_line_a_task() {
    let workflow = diamond();
    let drawing = Drawing::of(&workflow).expect("it has no cycle");
    let boxes = "\
○    get
├─╮
○ │  clean  (×100)
│ ○  count
├─╯
○  store
○  tell  (always)
";
    assert_eq!(text(&drawing, Characters::Boxes).as_deref(), Ok(boxes));
    let ascii = text(&drawing, Characters::Ascii).expect("it is narrow");
    assert!(ascii.lines().all(|line| line.replace('×', "x").is_ascii()), "{ascii}");
}

#[test]
fn hooks_are_drawn_and_say_what_they_follow() {
    let workflow =
        workflow("  get: {noop: {}}\nhooks:\n  onExit: {noop: {}}\n  onFailure: {noop: {}}\n");
    let drawing = Drawing::of(&workflow).unwrap();
    let drawn = mermaid(&drawing);
    assert!(drawn.contains("on-exit<br>hook: once all ended\"]"), "{drawn}");
    assert!(drawn.contains("on-failure<br>hook: once all ended, if one failed\"]"), "{drawn}");
}

#[test]
fn an_approval_says_that_it_waits_for_a_person() {
    let workflow = workflow("  get: {noop: {}}\n  ask: {approval: {}, needs: [get]}\n");
    let drawing = Drawing::of(&workflow).expect("it has no cycle");
    let boxes = "○  get\n○  ask  (a person approves)\n";
    assert_eq!(text(&drawing, Characters::Boxes).as_deref(), Ok(boxes));
}

#[test]
fn languages_name_every_task_and_every_need() {
    let workflow = diamond();
    let drawing = Drawing::of(&workflow).expect("it has no cycle");
    let expected = "\
digraph \"w\" {
  rankdir=LR;
  \"get\" [shape=box];
  \"clean\" [shape=box, label=\"clean\\n×100\"];
  \"count\" [shape=box];
  \"store\" [shape=box];
  \"tell\" [shape=box, label=\"tell\\nalways\"];
  \"get\" -> \"clean\";
  \"get\" -> \"count\";
  \"clean\" -> \"store\";
  \"count\" -> \"store\";
  \"store\" -> \"tell\";
}
";
    assert_eq!(dot(&drawing), expected);
    let expected = "\
flowchart LR
  t0[\"get\"]
  t1[\"clean<br>×100\"]
  t2[\"count\"]
  t3[\"store\"]
  t4[\"tell<br>always\"]
  t0 --> t1
  t0 --> t2
  t1 --> t3
  t2 --> t3
  t3 --> t4
";
    assert_eq!(mermaid(&drawing), expected);
    let picture = svg(&drawing);
    assert_eq!(picture.matches("<rect ").count(), 5);
    assert_eq!(picture.matches("<path d=").count(), 5 + 1, "one is the tip of the arrows");
}

/// Random DAGs, the same on every machine.
fn random(tasks: usize, needs: usize, seed: u64) -> WorkflowSpec {
    let mut state = seed;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    };
    let name = |number: usize| Name::parse(&format!("t{number}")).expect("a name");
    let tasks = (0..tasks).map(|number| {
        let mut task = TaskSpec::new(name(number), ExecutorSpec::Noop);
        let near = number.min(30);
        task.needs = (0..needs.min(near)).map(|_| name(number - 1 - below(near))).collect();
        task.needs.sort();
        task.needs.dedup();
        task
    });
    WorkflowSpec::new(Name::parse("w").expect("a name"), tasks.collect())
}

#[test]
fn boxes_never_overlap_and_lines_go_forward() {
    for seed in 0..20 {
        let workflow = random(60, 3, seed);
        let drawing = Drawing::of(&workflow).expect("it has no cycle");
        let layout = layout(&drawing);
        let mut boxes = layout.boxes.clone();
        boxes.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for pair in boxes.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            assert!(pair[1].1 - pair[0].1 > 0.999, "{pair:?}");
        }
        for (from, to, between) in &layout.lines {
            let (first, last) = (layout.boxes[*from].0, layout.boxes[*to].0);
            assert_eq!(first + 1 + between.len(), last, "from {from} to {to}");
        }
        assert!(boxes.iter().all(|(layer, height)| {
            *layer < layout.layers && (0.0..=layout.height).contains(height)
        }));
    }
}

#[test]
fn the_text_has_each_task_after_all_that_it_waits_for() {
    let workflow = random(40, 2, 7);
    let drawing = Drawing::of(&workflow).expect("it has no cycle");
    let drawn = text(&drawing, Characters::Ascii).expect("it is narrow");
    let names: Vec<&str> = drawn.lines().filter_map(|line| line.split(' ').next_back()).collect();
    let place = |task: usize| names.iter().position(|it| *it == format!("t{task}"));
    for (from, to) in drawing.edges() {
        assert!(place(from).is_some() && place(from) < place(to), "t{from}, t{to}:\n{drawn}");
    }
}

#[test]
fn what_no_terminal_shows_is_refused_and_still_drawn_for_browsers() {
    let wide = (0..450).map(|number| format!("  t{number}: {{noop: {{}}, needs: [first]}}\n"));
    let workflow = workflow(&format!("  first: {{noop: {{}}}}\n{}", wide.collect::<String>()));
    let drawing = Drawing::of(&workflow).expect("it has no cycle");
    let refused = text(&drawing, Characters::Boxes).expect_err("it is too wide").to_string();
    assert!(refused.starts_with("450 lines"), "{refused}");
    assert_eq!(svg(&drawing).matches("<rect ").count(), 451);
}
