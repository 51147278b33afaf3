//! Random workflows, and how their tasks behave.
//!
//! A task's behaviour is written into its command, where the simulated executor reads it: `[sim, "400", "1"]` takes
//! 400 ms and fails at its first attempt.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use muster_core::spec::WorkflowSpec;
use muster_core::spec::schedule::{ScheduleSpec, Timing};
use muster_core::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The program that simulated tasks name.
pub const PROGRAM: &str = "sim";
/// A task that takes so many milliseconds is a long one.
const LONG_MS: u64 = 1_500;

/// Most tasks of a workflow.
pub const TASKS_MAX: u32 = 6;

/// The id of a task.
pub fn task(number: u32) -> String {
    format!("t{number}")
}

/// A workflow file with what else a client must know of it.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// The file.
    pub text: String,
}

impl Workflow {
    /// What the file says.
    pub fn parse(&self) -> WorkflowSpec {
        let parsed = muster_core::spec::parse(&self.text);
        let specs = parsed.unwrap_or_else(|errors| panic!("{errors}\n{}", self.text));
        specs.into_iter().next().expect("a file holds at least one workflow")
    }
}

/// Lists of none to nine items, as lines or in JSON, and now and then one that nobody can read.
fn list(chance: &mut SmallRng) -> String {
    let items = (0..chance.random_range(0..10)).map(|item| format!("i{item}"));
    match chance.random_range(0..8) {
        0 => "[broken".to_owned(),
        1..4 => items.collect::<Vec<_>>().join("\\n"),
        _ => {
            let items: Vec<String> = items.map(|item| format!("\\\"{item}\\\"")).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

impl Workflow {
    /// The same workflow, but some of its short tasks go through lists that a leader reads, so that their size comes
    /// late. Only of what [`draw`] drew.
    pub fn with_lists(&self) -> Workflow {
        let (mut text, mut params) = (String::new(), Vec::new());
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            let _ = writeln!(text, "{line}");
            let Some(command) = line.strip_prefix("    command: ") else { continue };
            let millis = command.split('"').nth(1).and_then(|millis| millis.parse::<u64>().ok());
            let is_short = millis.is_some_and(|millis| millis < LONG_MS);
            let is_array = lines.peek().is_some_and(|next| next.starts_with("    array:"));
            let mut chance = by_hash((command, text.len()));
            if !is_short || is_array || chance.random_ratio(1, 2) {
                continue;
            }
            let param = format!("l{}", params.len());
            let _ = writeln!(text, "    foreach: \"${{{{ params.{param} }}}}\"");
            let _ = writeln!(text, "{}", fan_out(4, chance.clone()));
            params.push(format!("{param}: {{default: \"{}\"}}", list(&mut chance)));
        }
        if !params.is_empty() {
            let _ = writeln!(text, "params: {{{}}}", params.join(", "));
        }
        Workflow { name: self.name.clone(), text }
    }
}

/// Draws a workflow of one to six tasks.
pub fn draw(chance: &mut SmallRng, name: &str) -> Workflow {
    let mut text = format!("apiVersion: v1\nkind: Workflow\nname: {name}\n");
    if chance.random_ratio(1, 12) {
        let _ = writeln!(text, "timeout: {}ms", chance.random_range(500..4_000));
    }
    text.push_str("tasks:\n");
    for task in 0..chance.random_range(1..=TASKS_MAX) {
        draw_task(chance, &mut text, task);
    }
    // Where one failure ends the run, no task may wait for one.
    let is_handled = text.contains("if: failure()\n");
    if !is_handled && by_hash(&text).random_ratio(1, 8) {
        text.push_str("failFast: true\n");
    }
    Workflow { name: name.into(), text }
}

/// Draws a workflow in which several tasks wait for the leader's decision at once, soon after it is submitted.
pub fn draw_conditional(chance: &mut SmallRng, name: &str) -> Workflow {
    let mut text = format!("apiVersion: v1\nkind: Workflow\nname: {name}\ntasks:\n");
    let last = TASKS_MAX - 1;
    for number in 0..TASKS_MAX {
        let (millis, failures) = (chance.random_range(0..120), chance.random_range(0..=1));
        let needs = match number {
            0 => String::new(),
            // All but the first begin when that has ended, the last one after the others.
            _ if number == last => {
                ", needs: [t1, t2, t3], if: \"always() and run.number > 0\"".into()
            }
            _ => ", needs: [t0], if: \"needs.t0.result != 'skipped' or failure()\"".into(),
        };
        let _ = writeln!(
            text,
            "  {}: {{command: [{PROGRAM}, \"{millis}\", \"{failures}\"]{needs}, resources: {{cpu: 100m}}}}",
            task(number)
        );
    }
    Workflow { name: name.into(), text }
}

/// The times of a schedule that [`draw_scheduled`] drew: multiples of some seconds, until it ends.
pub fn times(spec: &ScheduleSpec, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let millis = match &spec.timing {
        Timing::Every(interval) => interval.0,
        Timing::Cron { line, .. } => {
            let seconds = line.trim_start_matches("*/").split(' ').next();
            1_000 * seconds.and_then(|it| it.parse::<u64>().ok()).expect("a step of seconds")
        }
        Timing::At(_) => unreachable!("none is drawn"),
    };
    let end = spec.end.as_deref().map(muster_calendar::moment);
    let end = end.expect("each ends").expect("a time");
    let last = until.min(Timestamp(end.0 - 1)).0 / millis;
    (after.0 / millis + 1..=last).map(|count| Timestamp(count * millis)).collect()
}

/// Draws a workflow that runs by itself until so many seconds after the beginning, every one to three units of so many
/// seconds, which must divide a minute; and is soon over each time. Only one
/// that nobody submits may take the place of others: a client takes a run that is cancelled for one that it cancelled.
pub fn draw_scheduled(
    chance: &mut SmallRng,
    name: &str,
    (until_secs, unit_secs): (u64, u64),
    may_replace: bool,
) -> Workflow {
    let mut text = format!("apiVersion: v1\nkind: Workflow\nname: {name}\n");
    let policies = ["Allow", "Forbid", "Queue", "Replace"];
    let policies = if may_replace { &policies[..] } else { &policies[..3] };
    let policy = policies[chance.random_range(0..policies.len())];
    let _ = writeln!(text, "concurrencyPolicy: {policy}\nschedule:");
    for number in 0..chance.random_range(1..=2) {
        let seconds = unit_secs * chance.random_range(1..=3);
        let when = match chance.random_range(0..3) {
            0 => format!("cron: \"*/{seconds} * * * * *\""),
            _ => format!("every: {seconds}s"),
        };
        let _ = write!(
            text,
            "  - {{name: s{number}, {when}, end: \"2026-01-01T00:{:02}:{:02}Z\"",
            until_secs / 60,
            until_secs % 60
        );
        let catch_up = ["none", "latest", "all"][chance.random_range(0..3)];
        let _ = write!(text, ", catchup: {catch_up}, maxCatchup: {}", chance.random_range(1..5));
        if chance.random_ratio(1, 2) {
            // Where outages are long, some deadlines are longer than what is on time.
            let scale = if unit_secs > 1 { 80 } else { 1 };
            let deadline = scale * chance.random_range(200..2_000);
            let _ = write!(text, ", startingDeadline: {deadline}ms");
        }
        if chance.random_ratio(1, 4) {
            let _ = write!(text, ", jitter: {}ms", chance.random_range(100..1_500));
        }
        if chance.random_ratio(1, 10) {
            text.push_str(", suspend: true");
        }
        text.push_str("}\n");
    }
    text.push_str("tasks:\n");
    for task in 0..chance.random_range(1..=2) {
        let millis = if chance.random_ratio(1, 4) { 1_200 } else { chance.random_range(0..200) };
        let needs = if task > 0 { ", needs: [t0]" } else { "" };
        let _ = writeln!(
            text,
            "  t{task}: {{command: [{PROGRAM}, \"{millis}\", \"0\"]{needs}, resources: {{cpu: 100m}}}}"
        );
    }
    Workflow { name: name.into(), text }
}

/// Draws a workflow that follows the ends of others' runs, and is soon over each time.
pub fn draw_following(chance: &mut SmallRng, name: &str, after: &[&str]) -> Workflow {
    let mut text = format!("apiVersion: v1\nkind: Workflow\nname: {name}\n");
    let policy = ["Allow", "Forbid", "Queue", "Replace"][chance.random_range(0..4)];
    let _ = writeln!(text, "concurrencyPolicy: {policy}\nparams: {{p: none}}\ntriggers:");
    for (number, after) in after.iter().enumerate() {
        let on = ["success", "failure", "end", "end"][chance.random_range(0..4)];
        let _ = write!(text, "  - {{name: t{number}, after: {after}, on: {on}");
        if chance.random_ratio(1, 4) {
            text.push_str(", params: {p: some}");
        }
        if chance.random_ratio(1, 10) {
            text.push_str(", suspend: true");
        }
        text.push_str("}\n");
    }
    if after.is_empty() {
        text.push_str("  []\n");
    }
    let (millis, failures) = (chance.random_range(0..400), chance.random_range(0..2));
    let _ = writeln!(
        text,
        "tasks:\n  t0: {{command: [{PROGRAM}, \"{millis}\", \"{failures}\"], resources: {{cpu: 100m}}}}"
    );
    Workflow { name: name.into(), text }
}

fn draw_task(chance: &mut SmallRng, text: &mut String, task: u32) {
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("  t{task}:"));
    // Most are short; some outlive every lease.
    let millis = match chance.random_range(0..10) {
        0 => 0,
        1..7 => chance.random_range(1..200),
        7..9 => chance.random_range(200..LONG_MS),
        _ => chance.random_range(LONG_MS..6_000),
    };
    let failures = if chance.random_ratio(1, 5) { chance.random_range(1..4) } else { 0 };
    if chance.random_ratio(1, 12) {
        line("    noop: {}".into());
    } else {
        line(format!("    command: [{PROGRAM}, \"{millis}\", \"{failures}\"]"));
    }
    if chance.random_ratio(1, 6) {
        // Not of long ones: with their retries they would take minutes on a small worker.
        let width = chance.random_range(2..12);
        if millis < LONG_MS {
            line(format!("    array: {width}"));
            line(fan_out(width, by_hash((task, millis, failures, width))));
        }
    }
    let needs: Vec<String> =
        (0..task).filter(|_| chance.random_ratio(2, 5)).map(|t| format!("t{t}")).collect();
    if !needs.is_empty() {
        line(format!("    needs: [{}]", needs.join(", ")));
        match chance.random_range(0..10) {
            0 => line("    rule: all_done".into()),
            1 => line("    rule: any_succeeded".into()),
            2 => line("    if: failure()".into()),
            3 => line("    if: always()".into()),
            // What a leader evaluates: by what came before, by the run, and what nobody can evaluate.
            4 => line(format!("    if: needs.{}.result != 'skipped'", needs[0])),
            5 => line("    if: failure() or run.number % 3 > 0".into()),
            6 if task == 5 => line("    if: always() and task.id | int > 0".into()),
            _ => {}
        }
    }
    if chance.random_ratio(2, 5) {
        let limit = chance.random_range(1..4);
        let backoff = chance.random_range(10..400);
        line(format!("    retry: {{limit: {limit}, backoff: {{duration: {backoff}ms}}}}"));
    }
    match chance.random_range(0..12) {
        0 => line("    onLost: fail".into()),
        1 => line("    onLost: hold".into()),
        2 => line(format!("    maxLost: {}", chance.random_range(1..3))),
        _ => {}
    }
    if chance.random_ratio(1, 8) {
        line(format!("    timeout: {}ms", chance.random_range(50..2_000)));
    }
    if chance.random_ratio(1, 10) {
        line(format!("    queueTimeout: {}ms", chance.random_range(200..5_000)));
    }
    line(format!("    resources: {{cpu: {}m}}", [0, 250, 500, 1_000][chance.random_range(0..4)]));
}

/// What is said of the indices of an array task together.
fn fan_out(width: u32, mut chance: SmallRng) -> String {
    let mut fields = Vec::new();
    if chance.random_ratio(1, 2) {
        fields.push(format!("    maxParallel: {}", chance.random_range(1..=width)));
    }
    if chance.random_ratio(1, 3) {
        fields.push(format!("    maxFailures: {}", chance.random_range(1..=width)));
    }
    if chance.random_ratio(1, 3) {
        fields.push("    failFast: true".into());
    }
    fields.join("\n")
}

/// The id of the approval in a workflow [`with_approval`].
pub const APPROVAL: &str = "ask";

/// The workflow with an approval in it, which some of its tasks come before, and one comes after.
pub fn with_approval(chance: &mut SmallRng, workflow: &Workflow) -> Workflow {
    let mut fields = Vec::new();
    match chance.random_range(0..4) {
        0 => fields.push("needs: [t0]".to_owned()),
        1 => fields.push("needs: [t0], if: \"always() and run.number > 0\"".to_owned()),
        2 => fields.push("needs: [t0], rule: all_done".to_owned()),
        _ => {}
    }
    if chance.random_ratio(1, 2) {
        let on_timeout = ["fail", "approve"][chance.random_range(0..2)];
        fields.push(format!("timeout: {}ms", chance.random_range(100..3_000)));
        fields.push(format!("approval: {{message: All well?, onTimeout: {on_timeout}}}"));
    } else {
        fields.push("approval: {}".to_owned());
    }
    let after = if chance.random_ratio(1, 2) { ", rule: all_done" } else { "" };
    let tasks = format!(
        "tasks:\n  {APPROVAL}: {{{}}}\n  after: {{command: [{PROGRAM}, \"20\", \"0\"], needs: [{APPROVAL}]{after}}}\n",
        fields.join(", ")
    );
    Workflow { name: workflow.name.clone(), text: workflow.text.replacen("tasks:\n", &tasks, 1) }
}

/// The workflow with some hooks behind its tasks, most of which soon succeed.
pub fn with_hooks(chance: &mut SmallRng, workflow: &Workflow) -> Workflow {
    let mut text = format!("{}hooks:\n", workflow.text);
    let first = chance.random_range(0..3);
    for (number, hook) in ["onExit", "onFailure", "onSuccess"].into_iter().enumerate() {
        if number != first && chance.random_ratio(1, 3) {
            continue;
        }
        let millis = chance.random_range(0..600);
        let failures = if chance.random_ratio(1, 4) { chance.random_range(1..3) } else { 0 };
        let retry =
            if chance.random_ratio(1, 2) { ", retry: {limit: 1, backoff: 50ms}" } else { "" };
        let timeout = if chance.random_ratio(1, 4) { ", timeout: 300ms" } else { "" };
        let _ = writeln!(
            text,
            "  {hook}: {{command: [{PROGRAM}, \"{millis}\", \"{failures}\"]{retry}{timeout}, resources: {{cpu: 100m}}}}"
        );
    }
    Workflow { name: workflow.name.clone(), text }
}

/// The concurrency groups that tasks name in workflows [`with_groups`].
pub const GROUPS: [&str; 2] = ["db", "licence"];

/// The workflow with concurrency groups of which some of its tasks are. Only of what [`draw`] drew.
pub fn with_groups(chance: &mut SmallRng, workflow: &Workflow) -> Workflow {
    let mut text = String::new();
    for line in workflow.text.lines() {
        let _ = writeln!(text, "{line}");
        // Each task has one such line.
        if !line.starts_with("    resources:") {
            continue;
        }
        match chance.random_range(0..5) {
            0 | 1 => text.push_str("    concurrency: db\n"),
            2 => text.push_str("    concurrency: [licence]\n"),
            3 => text.push_str("    concurrency: [db, licence]\n"),
            _ => {}
        }
    }
    Workflow { name: workflow.name.clone(), text }
}

/// The name of the workflow that [`draw_child`] draws.
const CHILD: &str = "child";

/// Draws a workflow for others to run, which is soon over and gives something.
pub fn draw_child(chance: &mut SmallRng) -> Workflow {
    let policy = ["Allow", "Allow", "Queue", "Forbid"][chance.random_range(0..4)];
    let (millis, failures) = (chance.random_range(0..400), chance.random_range(0..=1));
    let text = format!(
        "apiVersion: v1\nkind: Workflow\nname: {CHILD}\nconcurrencyPolicy: {policy}\nparams: {{n: \"0\"}}\n\
         outputs: {{fence: \"${{{{ tasks.t0.outputs.fence }}}}\", n: \"${{{{ params.n }}}}\"}}\ntasks:\n  \
         t0: {{command: [{PROGRAM}, \"{millis}\", \"{failures}\"], outputs: [fence], resources: {{cpu: 100m}}}}\n  \
         t1: {{command: [{PROGRAM}, \"{millis}\", \"0\"], needs: [t0], resources: {{cpu: 100m}}}}\n"
    );
    Workflow { name: CHILD.into(), text }
}

/// The workflow with a task in it that runs another, and one behind that.
pub fn with_sub_workflow(chance: &mut SmallRng, workflow: &Workflow) -> Workflow {
    let name = [CHILD, CHILD, CHILD, "alpha", "nobody"][chance.random_range(0..5)];
    let params = if name == CHILD { ", params: {n: \"${{ run.number }}\"}" } else { "" };
    let mut fields = format!("workflow: {{name: {name}{params}}}, outputs: [fence, n]");
    match chance.random_range(0..4) {
        0 => fields.push_str(", needs: [t0]"),
        1 => fields.push_str(", needs: [t0], if: \"always() and run.number > 0\""),
        _ => {}
    }
    if chance.random_ratio(1, 2) {
        let backoff = chance.random_range(0..300);
        let _ = write!(fields, ", retry: {{limit: 2, backoff: {backoff}ms}}");
    }
    if chance.random_ratio(1, 3) {
        let _ = write!(fields, ", timeout: {}ms", chance.random_range(100..3_000));
    }
    let tasks = format!(
        "tasks:\n  sub: {{{fields}}}\n  behind: {{command: [{PROGRAM}, \"20\", \"0\"], needs: [sub]}}\n"
    );
    Workflow { name: workflow.name.clone(), text: workflow.text.replacen("tasks:\n", &tasks, 1) }
}

/// Draws by what was drawn already, so that what a seed drew before stays as it was.
pub(crate) fn by_hash(of: impl Hash) -> SmallRng {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    SmallRng::seed_from_u64(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workflow_that_is_drawn_is_a_good_one() {
        let (mut sized_late, mut in_groups) = (0, 0);
        for seed in 0..500 {
            let drawn = draw(&mut SmallRng::seed_from_u64(seed), "w");
            let spec = drawn.parse();
            assert_eq!(spec.name.as_str(), "w");
            assert_eq!(muster_expressions::check(&spec), [], "{}", drawn.text);
            let asks = with_approval(&mut SmallRng::seed_from_u64(seed), &drawn);
            let spec = asks.parse();
            assert!(spec.tasks[0].is_approval(), "{}", asks.text);
            assert_eq!(muster_expressions::check(&spec), [], "{}", asks.text);
            let hooked = with_hooks(&mut SmallRng::seed_from_u64(seed), &drawn);
            assert!(hooked.parse().tasks.iter().any(|task| task.hook.is_some()), "{}", hooked.text);
            let grouped = with_groups(&mut SmallRng::seed_from_u64(seed), &drawn).parse();
            in_groups += grouped.tasks.iter().filter(|it| !it.request.groups.is_empty()).count();
            let chance = &mut SmallRng::seed_from_u64(seed);
            let parent = with_sub_workflow(chance, &drawn);
            assert!(parent.parse().tasks.iter().any(|task| task.is_sub_workflow()));
            assert!(!draw_child(chance).parse().outputs.is_empty());
            let late = drawn.with_lists();
            let spec = late.parse();
            assert_eq!(muster_expressions::check(&spec), [], "{}", late.text);
            sized_late += spec.tasks.iter().filter(|task| task.is_sized_late()).count();
            let drawn = draw_conditional(&mut SmallRng::seed_from_u64(seed), "c");
            assert_eq!(muster_expressions::check(&drawn.parse()), [], "{}", drawn.text);
            let after = [&[][..], &["v", "u"]][seed as usize % 2];
            let drawn = draw_following(&mut SmallRng::seed_from_u64(seed), "f", after);
            assert_eq!(drawn.parse().triggers.len(), after.len(), "{}", drawn.text);
            let drawn = draw_scheduled(&mut SmallRng::seed_from_u64(seed), "s", (20, 10), true);
            let spec = drawn.parse();
            assert_eq!(spec.name.as_str(), "s");
            for schedule in &spec.schedules {
                muster_calendar::check(schedule).unwrap_or_else(|error| panic!("{error:?}"));
            }
        }
        assert!(sized_late > 100 && in_groups > 100, "{sized_late} {in_groups}");
    }
}
