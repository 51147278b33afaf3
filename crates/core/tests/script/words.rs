//! Replies and events in words.

use muster_core::command::Command;
use muster_core::event::Event;
use muster_core::ids::{RunId, TaskIndex};
use muster_core::reply::{Rejection, Reply};
use muster_core::state::cells::IndexRange;
use muster_core::state::task::TaskStatus;
use muster_core::time::Timestamp;

use super::world::World;

pub(crate) fn reply(
    world: &World,
    line: &str,
    command: &Command,
    reply: &Result<Reply, Rejection>,
) -> String {
    match reply {
        Ok(Reply::Done) => String::new(),
        Ok(Reply::WorkflowApplied { version, is_new }) => {
            let word = if *is_new { "new" } else { "unchanged" };
            format!("version {version}, {word}\n")
        }
        Ok(Reply::NamespaceApplied { is_changed: true }) => "changed\n".to_owned(),
        Ok(Reply::NamespaceApplied { is_changed: false }) => "unchanged\n".to_owned(),
        Ok(Reply::RunSubmitted { run, workflow, number }) => {
            format!("run {workflow}/{number} is run#{run}\n")
        }
        Ok(Reply::WorkerRegistered { worker }) => format!("worker #{worker}\n"),
        Ok(Reply::Items { refused }) => {
            let refusal = |(at, refusal): &(u32, _)| {
                format!("refused {}: {refusal}\n", item(world, line, command, *at as usize))
            };
            refused.iter().map(refusal).collect()
        }
        Err(rejection) => {
            let text = rejection.to_string();
            let short: String = text.chars().take(300).collect();
            format!("rejected: {}\n", short.trim_end().replace('\n', "\n  "))
        }
    }
}

/// The item at `position` as the line names it.
fn item(world: &World, line: &str, command: &Command, position: usize) -> String {
    if let Command::PlaceAttempts(it) = command {
        let placement = &it.placements[position];
        return world.label(placement.run, placement.task, placement.range);
    }
    let items = line.split_once(' ').map_or("", |(_, items)| items);
    let item = items.split(',').nth(position).unwrap_or("").trim();
    item.split(' ').next().unwrap_or(item).to_owned()
}

fn run(world: &World, run: RunId) -> String {
    world.runs.get(&run).map_or_else(|| format!("run#{run}"), |it| it.label())
}

pub(crate) fn event(world: &World, event: &Event) -> String {
    let attempt = |run: &RunId, task: &TaskIndex, range: &IndexRange, fence, worker, what: &str| {
        let label = world.label(*run, *task, *range);
        let number = world.attempt_number(*run, *task, range.first, fence);
        format!("{label}#{number} {what} {}\n", world.worker_label(worker))
    };
    match event {
        Event::WorkflowApplied { .. } | Event::NamespaceApplied { .. } => String::new(),
        // The answer to a submission says it too.
        Event::RunSubmitted { run: id } => {
            match (&world.runs[id].origin, &world.runs[id].trigger) {
                (_, Some(trigger)) => {
                    let (run, ended) = (run(world, *id), trigger.result.word());
                    let upstream = format!("{}/{}", trigger.workflow, trigger.number);
                    format!("{run} is run#{id}, after {upstream} {ended}\n")
                }
                (Some(origin), None) => {
                    let time = origin.fire_time.since(Timestamp(0));
                    format!("{} is run#{id}, for {time} of {}\n", run(world, *id), origin.schedule)
                }
                (None, None) => match &world.runs[id].parent {
                    Some(parent) => {
                        format!("{} is run#{id}, for {}\n", run(world, *id), parent.label())
                    }
                    None => String::new(),
                },
            }
        }
        Event::RunBegun { run: id } => format!("{} begins\n", run(world, *id)),
        Event::SchedulesChanged { missed: 0, passed_over: 0, .. } => String::new(),
        Event::SchedulesChanged { missed, passed_over, .. } => {
            format!("{missed} missed, {passed_over} passed over\n")
        }
        Event::TriggerFired { is_passed_over: false, .. } => String::new(),
        Event::TriggerFired { workflow, is_passed_over: true } => {
            let workflow = world.state.workflows().get(*workflow).expect("it has a trigger");
            format!("{} passes the end over\n", workflow.name)
        }
        Event::RunChanged { run: id } => {
            let found = world.state.run(*id).expect("it changed, so it is live");
            format!("{} {}, priority {}\n", found.label(), found.status().word(), found.priority)
        }
        Event::RunStopping { run: id } => format!("{} must stop\n", run(world, *id)),
        Event::RunEnded { run } => format!("{} {}\n", run.label(), run.status().word()),
        // `AttemptPlaced` says it better.
        Event::TaskChanged { status: TaskStatus::Placed, .. } => String::new(),
        Event::TaskChanged { run, task, range, status } => {
            format!(
                "{} {}\n",
                world.label(*run, *task, *range),
                format!("{status:?}").to_lowercase()
            )
        }
        Event::AttemptPlaced { run, task, range, worker, fence } => {
            attempt(run, task, range, *fence, *worker, "placed on")
        }
        Event::AttemptStopping { run, task, range, worker, fence } => {
            attempt(run, task, range, *fence, *worker, "must stop on")
        }
        Event::WorkerChanged { worker } => {
            let word = world.state.worker(*worker).map_or("forgotten", |it| it.status.word());
            format!("{} {word}\n", world.worker_label(*worker))
        }
        Event::WorkerLost { worker } => format!("{} lost\n", world.worker_label(*worker)),
        Event::HistoryPruned { ended_before } => {
            format!("runs ended before {ended_before} pruned\n")
        }
    }
}
