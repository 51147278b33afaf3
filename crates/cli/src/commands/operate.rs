//! `muster cancel`, `pause`, `resume`, `priority`, `skip`, `succeed` and `release`: changing runs that are live.

use clap::Args;
use muster_client::{Client, v1};

use super::select::{RunsArgs, Wish, YesArg, each};
use super::stay::print_data;
use crate::exit::{Exit, Failure, Outcome};
use crate::follow::wait_all;
use crate::names::{OneTask, RunName, label};
use crate::output::note;
use crate::settings::Global;

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    runs: RunsArgs,
    #[command(flatten)]
    yes: YesArg,
    /// Wait until the runs have ended
    #[arg(long)]
    wait: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EndArgs {
    /// The tasks
    #[arg(value_name = "RUN/TASK", required = true)]
    tasks: Vec<OneTask>,
}

#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    runs: RunsArgs,
    #[command(flatten)]
    yes: YesArg,
}

#[derive(Args, Debug)]
pub(crate) struct PriorityArgs {
    /// The run
    run: RunName,
    /// Larger first; at most 1,000,000 on either side of 0
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1_000_000..=1_000_000))]
    priority: i32,
}

#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    /// The held task
    #[arg(value_name = "RUN/TASK")]
    task: OneTask,
    /// Let it fail instead of running it again
    #[arg(long)]
    fail: bool,
}

const CANCEL: Wish<'_> = Wish {
    verb: "cancel",
    statuses: &[v1::RunStatus::Queued, v1::RunStatus::Running, v1::RunStatus::Paused],
    // A second cancel would end the hooks too: for that a run must be named.
    is_possible: |run| run.stop_reason.is_empty() && run.cancels == 0,
};
const PAUSE: Wish<'_> = Wish {
    verb: "pause",
    statuses: &[v1::RunStatus::Queued, v1::RunStatus::Running],
    is_possible: |run| run.stop_reason.is_empty() && run.paused_at_ms == 0,
};
const RESUME: Wish<'_> = Wish {
    verb: "resume",
    statuses: &[v1::RunStatus::Queued, v1::RunStatus::Paused],
    is_possible: |run| run.stop_reason.is_empty() && run.paused_at_ms > 0,
};

pub(crate) async fn cancel(args: CancelArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let tasks = args.runs.runs.iter().filter_map(|name| {
        let (run, part) = (name.run.clone(), name.task.clone()?);
        Some(OneTask { run, part })
    });
    let tasks: Vec<OneTask> = tasks.collect();
    if !tasks.is_empty() {
        if tasks.len() < args.runs.runs.len() || args.wait {
            return Err(Failure::usage(
                "cancel tasks by themselves: without runs, and without --wait",
            ));
        }
        return end(EndArgs { tasks }, v1::TaskStatus::Cancelled, global).await;
    }
    let runs = args.runs.find(&client, &CANCEL, args.yes).await?;
    let cancelled = std::cell::RefCell::new(Vec::new());
    let outcome = each(&runs, async |run| {
        if client.cancel(&run).await? {
            note(format!("cancelling {}", label(&run)));
            cancelled.borrow_mut().push(run);
        } else {
            note(format!("{} had ended before", label(&run)));
        }
        Ok(())
    })
    .await;
    let cancelled = cancelled.into_inner();
    if !args.wait {
        print_data(global.format(), &cancelled)?;
        return outcome;
    }
    let mut ended = Vec::new();
    let waited = wait_all(&client, &cancelled, None, &mut ended).await;
    print_data(global.format(), &ended)?;
    outcome?;
    match waited? {
        // That the runs end as cancelled is what was asked for.
        Exit::RunStopped => Ok(Exit::Ok),
        other => Ok(other),
    }
}

pub(crate) async fn pause(args: PauseArgs, is_paused: bool, global: &Global) -> Outcome {
    let client = global.client()?;
    let wish = if is_paused { PAUSE } else { RESUME };
    let runs = args.runs.find(&client, &wish, args.yes).await?;
    let outcome = each(&runs, async |run| {
        client.pause(&run, is_paused).await.map_err(|error| not_live(&run, error))?;
        note(format!("{} {}", label(&run), if is_paused { "is paused" } else { "goes on" }));
        Ok(())
    })
    .await;
    print_now(&client, &runs, global).await?;
    outcome
}

/// Prints for programs how the runs are after a change.
async fn print_now(client: &Client, runs: &[v1::Run], global: &Global) -> Result<(), Failure> {
    let mut changed = Vec::new();
    for run in runs {
        changed.push(client.get_run(run).await?);
    }
    print_data(global.format(), &changed)
}

pub(crate) async fn priority(args: PriorityArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let run = args.run.find(&client).await?;
    let (name, priority) = (label(&run), args.priority);
    client.prioritize(&run, priority).await.map_err(|error| not_live(&run, error))?;
    note(format!("{name} has priority {priority}"));
    print_now(&client, &[run], global).await?;
    Ok(Exit::Ok)
}

/// Gives tasks an end, in the order they are named, up to the first that cannot have it.
pub(crate) async fn end(args: EndArgs, end: v1::TaskStatus, global: &Global) -> Outcome {
    let client = global.client()?;
    let word = match end {
        v1::TaskStatus::Cancelled => "is cancelled, once what runs of it has ended",
        v1::TaskStatus::Skipped => "is skipped",
        _ => "counts as succeeded",
    };
    for OneTask { run, part } in args.tasks {
        let task = part.whole()?;
        let run = run.find(&client).await?;
        client.end_task(&run, &task, end).await.map_err(|error| not_live(&run, error))?;
        note(format!("{}/{task} {word}", label(&run)));
    }
    Ok(Exit::Ok)
}

pub(crate) async fn release(args: ReleaseArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let OneTask { run, part } = args.task;
    let task = part.whole()?;
    let run = run.find(&client).await?;
    client.release(&run, &task, !args.fail).await.map_err(|error| not_live(&run, error))?;
    let what = if args.fail { "fails" } else { "runs again" };
    note(format!("{}/{task} {what}", label(&run)));
    Ok(Exit::Ok)
}

/// The cluster knows an ended run by its id only; its user knows it by its name.
pub(super) fn not_live(run: &v1::Run, error: muster_client::Error) -> Failure {
    match error.reason() {
        Some("RUN_NOT_LIVE") => Failure::new(Exit::NotFound, format!("{} has ended", label(run))),
        Some("RUN_STOPPING") => Failure::error(format!("{} is being stopped", label(run))),
        _ => error.into(),
    }
}
