//! Lines that show the state without changing it.

use muster_core::ids::TaskIndex;
use muster_core::state::run::Run;
use muster_core::state::task::{Attempt, Awaited, LastAttempt, TaskState, Tries};
use muster_core::state::trail::Action;
use muster_core::state::workflow::{NextFire, Schedule, Trigger};
use muster_core::time::Timestamp;

use super::line::LEASE;
use super::world::World;

/// The output of a line that shows something; `None` if `verb` is not such a line.
pub(crate) fn show(world: &World, verb: &str, rest: &str) -> Option<String> {
    Some(match verb {
        "show" if rest.is_empty() => {
            let runs = world.state.runs().iter().map(|it| run(world, it));
            or_nothing(runs.collect(), "no live run")
        }
        "show" => match world.state.run(world.run_id(rest)) {
            Some(it) => run(world, it),
            None => run(world, &world.runs[&world.run_id(rest)]),
        },
        "schedules" => schedules(world, rest),
        "triggers" => triggers(world, rest),
        "task" => one_task(world, rest),
        "usage" => or_nothing(usage(world), "no live run"),
        "workers" => or_nothing(workers(world), "no worker"),
        "trail" => or_nothing(trail(world), "nobody asked for anything"),
        "queue" => or_nothing(queue(world), "nothing is ready"),
        "versions" => or_nothing(versions(world), "no version"),
        "deadline" => match world.state.next_deadline() {
            Some(at) => format!("next deadline at {}\n", time(at)),
            None => "no deadline\n".to_owned(),
        },
        "now" => format!("log time {}\n", time(world.state.now())),
        "meta" => format!("{:?}\n", world.state.meta()),
        _ => return None,
    })
}

fn trail(world: &World) -> String {
    let line = |number: u64, it: &Action| {
        let Action { at, by, deed, namespace, subject, run, detail } = it;
        let place = namespace.as_ref().map_or("the cluster", |it| it.as_str());
        let run = run.map(|run| format!(", run {run}")).unwrap_or_default();
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        let who =
            if by.who.len() > 50 { format!("{} bytes", by.who.len()) } else { by.who.to_string() };
        format!("{number} at {}: {who}: {deed:?} {subject} in {place}{run}{detail}\n", time(*at))
    };
    let latest_first = world.state.trail().actions().iter_below(u64::MAX);
    let lines: Vec<String> = latest_first.map(|(number, it)| line(number, it)).collect();
    lines.into_iter().rev().collect()
}

fn schedules(world: &World, workflow: &str) -> String {
    let workflow = world.state.workflow("default", workflow).expect("a known workflow");
    let line = |it: &Schedule| {
        let next = match it.next {
            NextFire::Unknown => "unknown".to_owned(),
            NextFire::Never => "never".to_owned(),
            NextFire::At { fire_time, due_at } if fire_time == due_at => time(fire_time),
            NextFire::At { fire_time, due_at } => {
                format!("{} at {}", time(fire_time), time(due_at))
            }
        };
        let off = if it.is_suspended { ", off" } else { "" };
        let last = it.last_fired.map_or_else(String::new, |at| format!(", last {}", time(at)));
        let counts =
            format!("{} fired, {} missed, {} passed over", it.fired, it.missed, it.passed_over);
        format!("{} until {}, next {next}{off}: {counts}{last}\n", it.name, time(it.decided_until))
    };
    or_nothing(workflow.schedules.iter().map(line).collect(), "no schedule")
}

fn triggers(world: &World, workflow: &str) -> String {
    let workflow = world.state.workflow("default", workflow).expect("a known workflow");
    let line = |it: &Trigger| {
        let off = if it.is_suspended { ", off" } else { "" };
        format!("{}{off}: {} fired, {} passed over\n", it.name, it.fired, it.passed_over)
    };
    or_nothing(workflow.triggers.iter().map(line).collect(), "no trigger")
}

/// Each range of one task, without times.
fn one_task(world: &World, text: &str) -> String {
    let (id, index, _) = world.task(text);
    let run = world.state.run(id).unwrap_or_else(|| &world.runs[&id]);
    let cells = run.task(index).expect("a named task is in its run").cells.iter();
    let line = |(range, state): (_, &TaskState)| {
        let words = words(world, state);
        let word = words.split(" since").next().unwrap_or_default();
        format!("{} {word}\n", world.label(id, index, range))
    };
    cells.map(line).collect()
}

fn or_nothing(text: String, nothing: &str) -> String {
    if text.is_empty() { format!("{nothing}\n") } else { text }
}

fn time(at: Timestamp) -> String {
    at.since(Timestamp(0)).to_string()
}

fn run(world: &World, run: &Run) -> String {
    let version = match run.version.number {
        0 => "one-off".to_owned(),
        number => format!("version {number}"),
    };
    let stop = run.stop.map_or_else(String::new, |(at, why)| format!(", {why:?} at {}", time(at)));
    let priority =
        if run.priority == 0 { String::new() } else { format!(", priority {}", run.priority) };
    let params: String =
        run.params.iter().map(|(name, value)| format!(", {name}={value}")).collect();
    let about = run
        .schedule()
        .filter(|_| run.origin.is_none())
        .map_or_else(String::new, |it| format!(", about {} of {it}", time(run.fire_time())));
    let about = match &run.parent {
        Some(parent) => format!("{about}, for {} at depth {}", parent.label(), parent.depth),
        None => about,
    };
    let status = run.status().word();
    let hooks = run.result.map_or_else(String::new, |it| format!(", tasks {}", it.word()));
    let label = run.label();
    let mut text = format!("{label} {status}: {version}{priority}{params}{about}{stop}{hooks}\n");
    for (position, task) in run.tasks.iter().enumerate() {
        let index = TaskIndex(position as u32);
        for (range, state) in task.cells.iter() {
            let label = world.label(run.id, index, range);
            text += &format!("  {label} {}\n", words(world, state));
        }
        if let Some(items) = &task.items {
            let items: Vec<&str> = items.iter().take(9).collect();
            let items = if items.is_empty() { "none".to_owned() } else { items.join(" ") };
            text += &format!("    items: {items}\n");
        }
        for (key, value) in task.outputs.iter().flat_map(|outputs| outputs.iter()) {
            let value: String = value.chars().take(60).collect();
            text += &format!("    output {key}={value}\n");
        }
        if let Some(child) = &task.child {
            let workflow = run.spec(index).and_then(|spec| spec.executor.sub_workflow());
            let workflow = workflow.expect("only a sub-workflow starts runs");
            text += &format!("    started {}/{}\n", workflow.name, child.number);
        }
        if let Some(message) = &task.message {
            let short: String = message.chars().take(60).collect();
            text += &format!("    says {short:?}, {} bytes\n", message.len());
        }
    }
    text
}

fn tries(tries: Tries) -> String {
    match tries {
        Tries { failures: 0, losses: 0, .. } => String::new(),
        Tries { failures, losses, .. } => format!(", {failures} failed, {losses} lost"),
    }
}

fn words(world: &World, state: &TaskState) -> String {
    let avoid = |worker: Option<_>| {
        worker.map_or_else(String::new, |it| format!(", rather not {}", world.worker_label(it)))
    };
    let live = |word: &str, found: &Attempt, tried: Tries| {
        let stop = found.stop.map_or_else(String::new, |stop| {
            let force =
                stop.force_at.map_or_else(String::new, |at| format!(", by force at {}", time(at)));
            format!(", must stop ({:?}{force})", stop.reason)
        });
        let worker = world.worker_label(found.worker);
        format!("{word} on {worker} #{}{}{stop}", tried.attempts, tries(tried))
    };
    let last = |last: &Option<LastAttempt>| {
        last.map_or_else(String::new, |it| {
            let (from, to) = (time(it.started_at), time(it.ended_at));
            format!(", on {} from {from} to {to}", world.worker_label(it.worker))
        })
    };
    match state {
        TaskState::Blocked => "blocked".to_owned(),
        TaskState::Undecided { since, tries: tried } => {
            format!("undecided at index {since}{}", tries(*tried))
        }
        TaskState::Ready { tries: tried, since, avoid: worker } => {
            format!("ready since {}{}{}", time(*since), tries(*tried), avoid(*worker))
        }
        TaskState::Placed { tries, attempt } => live("placed", attempt, *tries),
        TaskState::Running { tries, attempt, started_at } => {
            format!("{} since {}", live("running", attempt, *tries), time(*started_at))
        }
        TaskState::Backoff { tries: tried, until, avoid: worker } => {
            format!("backs off until {}{}{}", time(*until), tries(*tried), avoid(*worker))
        }
        TaskState::Held { tries: tried } => format!("held{}", tries(*tried)),
        TaskState::Awaiting { since, what: Awaited::Person } => {
            format!("awaits a person since {}", time(*since))
        }
        TaskState::Awaiting { since, what: Awaited::Run { run, tries: tried, stop } } => {
            let label = world.runs.get(run).map_or_else(|| run.to_string(), |it| it.label());
            let stop = stop.map_or_else(String::new, |why| format!(", must stop ({why:?})"));
            format!(
                "awaits {label} #{} since {}{}{stop}",
                tried.attempts,
                time(*since),
                tries(*tried)
            )
        }
        TaskState::Succeeded { tries: tried, last: it } => {
            format!("succeeded{}{}", tries(*tried), last(it))
        }
        TaskState::Failed { tries: tried, reason, last: it } => {
            format!("failed ({reason:?}){}{}", tries(*tried), last(it))
        }
        TaskState::Skipped { by_failure: true } => "skipped by a failure".to_owned(),
        TaskState::Skipped { by_failure: false } => "skipped".to_owned(),
        TaskState::Cancelled => "cancelled".to_owned(),
    }
}

fn workers(world: &World) -> String {
    let mut text = String::new();
    for worker in world.state.workers().iter() {
        let label = world.worker_label(worker.id);
        text += &format!("{label} {}", worker.status.word());
        if worker.lease != LEASE {
            text += &format!(", lease {} ms", worker.lease.0);
        }
        if let Some(held) = world.state.held_by(worker.id) {
            let custom: String = held
                .used
                .custom
                .iter()
                .map(|(name, amount)| format!(", {name} {amount}"))
                .collect();
            let (cpu, memory) = (held.used.cpu_millis, held.used.memory_bytes);
            text += &format!(", holds cpu {cpu}m, memory {memory}{custom}");
        }
        text += "\n";
        for attempt in world.state.attempts_of(worker.id) {
            let number =
                world.attempt_number(attempt.run, attempt.task, attempt.range.first, attempt.fence);
            let label = world.label(attempt.run, attempt.task, attempt.range);
            text += &format!("  {label}#{number}\n");
        }
    }
    text
}

fn usage(world: &World) -> String {
    let names = world.state.namespace_names();
    let line = |name| {
        let it = world.state.used_by(name)?;
        let (cpu, memory) = (it.used.cpu_millis, it.used.memory_bytes);
        let (runs, attempts) = (it.runs, it.attempts);
        let groups: String =
            it.groups.iter().map(|(name, live)| format!(", {name} {live}")).collect();
        let taken = format!("{attempts} attempts, cpu {cpu}m, memory {memory}{groups}");
        Some(format!("{name}: {runs} runs, {taken}\n"))
    };
    names.filter_map(line).collect()
}

fn queue(world: &World) -> String {
    let mut ready: Vec<_> = world
        .state
        .queue()
        .groups()
        .flat_map(|(_, group)| group.iter().map(|(key, count)| (*key, *count)))
        .collect();
    ready.sort();
    let line = |(key, count): &(muster_core::state::queue::ReadyKey, u32)| {
        let it = &world.runs[&key.run];
        let task = &it.spec(key.task).expect("a ready task is in its spec").id;
        let priority = world.state.run(key.run).map_or(0, |run| run.task_priority(key.task));
        format!("{}/{task} x{count}, priority {priority}\n", it.label())
    };
    ready.iter().map(line).collect()
}

fn versions(world: &World) -> String {
    let line = |it: &std::sync::Arc<muster_core::state::workflow::WorkflowVersion>| {
        format!("{}/{}@{}, {} tasks\n", it.namespace, it.workflow, it.number, it.spec.tasks.len())
    };
    world.state.versions().iter().map(line).collect()
}
