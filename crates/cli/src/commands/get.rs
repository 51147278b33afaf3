//! `muster get`: lists.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use futures::{Stream, TryStreamExt};
use muster_client::{ActionFilter, Client, Error, RunFilter, v1};

use super::lookup;
use crate::exit::{Exit, Failure, Outcome};
use crate::names::{NameError, RunName};
use crate::output::{self, Shown, note};
use crate::settings::Global;
use crate::units::{self, now_ms};

#[derive(Debug, Subcommand)]
pub(crate) enum GetCommand {
    /// Workflows that were applied or run
    #[command(visible_aliases = ["workflow", "wf"])]
    Workflows(WorkflowsArgs),
    /// Runs, newest first
    #[command(visible_alias = "run")]
    Runs(RunsArgs),
    /// Tasks of a run
    #[command(visible_alias = "task")]
    Tasks(TasksArgs),
    /// Schedules of workflows
    #[command(visible_alias = "schedule")]
    Schedules(SchedulesArgs),
    /// Triggers of workflows: which follow the ends of others' runs
    #[command(visible_alias = "trigger")]
    Triggers(SchedulesArgs),
    /// Versions of a workflow that are kept, the latest first
    #[command(visible_alias = "version")]
    Versions {
        /// The workflow
        workflow: String,
    },
    /// Namespaces, with what each may have and has
    #[command(visible_aliases = ["namespace", "ns"])]
    Namespaces,
    /// Concurrency groups of the namespace, with what each lets be live and what is
    #[command(visible_aliases = ["group"])]
    Groups,
    /// Workers
    #[command(visible_alias = "worker")]
    Workers(WorkersArgs),
    /// Who asked for what in the last 30 days, the latest first
    #[command(visible_aliases = ["action", "audit"])]
    Actions(ActionsArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ActionsArgs {
    /// Only those on this run and its tasks; or on this workflow with all that is of it, this namespace, or this worker
    #[arg(value_name = "RUN|NAME")]
    what: Option<String>,
    /// Only those that this user asked for, as `user@host`
    #[arg(long, value_name = "USER")]
    by: Option<String>,
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How many at most; 0: all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

#[derive(Args, Debug)]
pub(crate) struct WorkflowsArgs {
    /// Only those whose name begins like this
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct SchedulesArgs {
    /// Only of this workflow
    #[arg(value_name = "WORKFLOW")]
    workflow: Option<String>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct WorkersArgs {
    /// Only those whose name begins like this
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,
    /// Only with one of these statuses
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATUS,…")]
    status: Vec<WorkerStatusArg>,
    /// Only with this label
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = units::pair)]
    selector: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub(crate) struct RunsArgs {
    /// Only of this workflow, or this one run
    #[arg(value_name = "WORKFLOW|RUN")]
    workflow: Option<String>,
    /// Only with one of these statuses
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATUS,…")]
    status: Vec<RunStatusArg>,
    /// Only with this label
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = units::pair)]
    selector: Vec<(String, String)>,
    /// Only submitted in this last while
    #[arg(long, value_name = "DURATION", value_parser = units::span)]
    since: Option<Duration>,
    /// How many at most; 0: all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

#[derive(Args, Debug)]
pub(crate) struct TasksArgs {
    /// The run
    #[arg(default_value = "@latest")]
    run: RunName,
    /// Only with one of these statuses
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATUS,…")]
    status: Vec<TaskStatusArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RunStatusArg {
    Queued,
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TaskStatusArg {
    Blocked,
    Undecided,
    Ready,
    Placed,
    Running,
    Backoff,
    Held,
    Awaiting,
    Succeeded,
    Failed,
    Skipped,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorkerStatusArg {
    Active,
    Draining,
    Lost,
}

impl From<WorkerStatusArg> for v1::WorkerStatus {
    fn from(status: WorkerStatusArg) -> Self {
        match status {
            WorkerStatusArg::Active => v1::WorkerStatus::Active,
            WorkerStatusArg::Draining => v1::WorkerStatus::Draining,
            WorkerStatusArg::Lost => v1::WorkerStatus::Lost,
        }
    }
}

impl From<RunStatusArg> for v1::RunStatus {
    fn from(status: RunStatusArg) -> Self {
        match status {
            RunStatusArg::Queued => v1::RunStatus::Queued,
            RunStatusArg::Running => v1::RunStatus::Running,
            RunStatusArg::Paused => v1::RunStatus::Paused,
            RunStatusArg::Succeeded => v1::RunStatus::Succeeded,
            RunStatusArg::Failed => v1::RunStatus::Failed,
            RunStatusArg::Cancelled => v1::RunStatus::Cancelled,
        }
    }
}

impl From<TaskStatusArg> for v1::TaskStatus {
    fn from(status: TaskStatusArg) -> Self {
        match status {
            TaskStatusArg::Blocked => v1::TaskStatus::Blocked,
            TaskStatusArg::Undecided => v1::TaskStatus::Undecided,
            TaskStatusArg::Ready => v1::TaskStatus::Ready,
            TaskStatusArg::Placed => v1::TaskStatus::Placed,
            TaskStatusArg::Running => v1::TaskStatus::Running,
            TaskStatusArg::Backoff => v1::TaskStatus::Backoff,
            TaskStatusArg::Held => v1::TaskStatus::Held,
            TaskStatusArg::Awaiting => v1::TaskStatus::Awaiting,
            TaskStatusArg::Succeeded => v1::TaskStatus::Succeeded,
            TaskStatusArg::Failed => v1::TaskStatus::Failed,
            TaskStatusArg::Skipped => v1::TaskStatus::Skipped,
            TaskStatusArg::Cancelled => v1::TaskStatus::Cancelled,
        }
    }
}

pub(crate) async fn run(command: GetCommand, global: &Global) -> Outcome {
    let client = global.client()?;
    match command {
        GetCommand::Workflows(args) => {
            let prefix = args.prefix.unwrap_or_default();
            let wanted = client
                .list_workflows()
                .try_filter(|workflow| std::future::ready(workflow.name.starts_with(&prefix)));
            print(global, wanted, 0, "no workflows").await
        }
        GetCommand::Runs(args) => {
            if let Some(name) = args.workflow.as_deref().filter(|name| name.contains(['/', '@'])) {
                let name: RunName =
                    name.parse().map_err(|error: NameError| Failure::usage(error.to_string()))?;
                output::list(global.format(), &[name.find(&client).await?])?;
                return Ok(Exit::Ok);
            }
            let filter = RunFilter {
                workflow: args.workflow.clone().unwrap_or_default(),
                statuses: args.status.iter().map(|status| (*status).into()).collect(),
                page_size: u32::try_from(args.limit).unwrap_or(0).min(1000),
            };
            let oldest = args.since.map_or(0, |since| {
                now_ms().saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            });
            let selector = args.selector;
            if let Some(workflow) = &args.workflow {
                // A name that is mistyped is told from a workflow without runs.
                client.get_workflow(workflow).await?;
            }
            let wanted = client
                .list_runs(filter)
                // Newest first: the first that is too old ends the list.
                .try_take_while(|run| std::future::ready(Ok(run.submitted_at_ms >= oldest)))
                .try_filter(|run| std::future::ready(has_labels(&run.labels, &selector)));
            print(global, wanted, args.limit, "no runs").await
        }
        GetCommand::Tasks(args) => {
            let run = args.run.find(&client).await?;
            let statuses: Vec<v1::TaskStatus> =
                args.status.iter().map(|status| (*status).into()).collect();
            print(global, client.list_tasks(&run, &statuses), 0, "no tasks").await
        }
        GetCommand::Schedules(args) => {
            if let Some(workflow) = &args.workflow {
                // A name that is mistyped is told from a workflow without a schedule.
                client.get_workflow(workflow).await?;
            }
            let wanted = client.list_schedules(args.workflow.as_deref());
            print(global, wanted, 0, "no schedules").await
        }
        GetCommand::Triggers(args) => {
            if let Some(workflow) = &args.workflow {
                client.get_workflow(workflow).await?;
            }
            let wanted = client.list_triggers(args.workflow.as_deref());
            print(global, wanted, 0, "no triggers").await
        }
        GetCommand::Actions(args) => list_actions(&client, args, global).await,
        GetCommand::Namespaces => print(global, client.list_namespaces(), 0, "no namespaces").await,
        GetCommand::Groups => {
            let groups = lookup::groups(&client).await?.into_iter().map(Ok);
            print(global, futures::stream::iter(groups), 0, "no concurrency groups").await
        }
        GetCommand::Versions { workflow } => {
            let versions = client.get_workflow(workflow).await?.versions;
            let versions = futures::stream::iter(versions.into_iter().map(Ok));
            print(global, versions, 0, "no versions: only one-off runs used the name").await
        }
        GetCommand::Workers(args) => list_workers(&client, &args, global).await,
    }
}

async fn list_actions(client: &Client, args: ActionsArgs, global: &Global) -> Outcome {
    let is_run = |what: &&String| what.contains(['/', '@']);
    let run = match args.what.as_ref().filter(is_run) {
        Some(name) => {
            let name = name.parse::<RunName>();
            let name = name.map_err(|error: NameError| Failure::usage(error.to_string()))?;
            Some((&name.find(client).await?).into())
        }
        None => None,
    };
    let of_name = args.what.filter(|what| !is_run(&what));
    let is_of = move |action: &v1::Action| {
        of_name.as_ref().is_none_or(|name| {
            let rest = action.subject.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let filter = ActionFilter { run, who: args.by, all_namespaces: args.all_namespaces };
    let wanted = client.list_actions(filter).try_filter(|it| std::future::ready(is_of(it)));
    print(global, wanted, args.limit, "no actions").await
}

async fn list_workers(client: &Client, args: &WorkersArgs, global: &Global) -> Outcome {
    let all: Vec<v1::Worker> = client
        .list_workers()
        .try_filter(|worker| std::future::ready(args.wants(worker)))
        .try_collect()
        .await?;
    let before = all.len();
    let shown = if global.format() == output::Format::Table { present(all) } else { all };
    let hidden = before - shown.len();
    let shown = futures::stream::iter(shown.into_iter().map(Ok));
    let exit = print(global, shown, 0, "no workers").await?;
    if hidden > 0 {
        note(format!("{hidden} earlier lives of these workers are left out; -o wide has them"));
    }
    Ok(exit)
}

impl WorkersArgs {
    fn wants(&self, worker: &v1::Worker) -> bool {
        let is_status =
            |wanted: &WorkerStatusArg| v1::WorkerStatus::from(*wanted) == worker.status();
        worker.name.starts_with(self.prefix.as_deref().unwrap_or_default())
            && (self.status.is_empty() || self.status.iter().any(is_status))
            && has_labels(&worker.labels, &self.selector)
    }
}

/// Lists workers; also `muster worker list`.
pub(crate) async fn workers(global: &Global) -> Outcome {
    run(GetCommand::Workers(WorkersArgs::default()), global).await
}

/// Without the lost workers in whose place another one of the same name stands.
fn present(workers: Vec<v1::Worker>) -> Vec<v1::Worker> {
    let mut latest = BTreeMap::new();
    for worker in &workers {
        let id = latest.entry(worker.name.clone()).or_insert(worker.id);
        *id = worker.id.max(*id);
    }
    let is_present = |worker: &v1::Worker| {
        worker.status() != v1::WorkerStatus::Lost || latest.get(&worker.name) == Some(&worker.id)
    };
    workers.into_iter().filter(is_present).collect()
}

pub(super) fn has_labels(labels: &BTreeMap<String, String>, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Prints at most `limit` items (0: all) and says if there are none, or more.
async fn print<T: Shown>(
    global: &Global,
    items: impl Stream<Item = Result<T, Error>>,
    limit: usize,
    none: &str,
) -> Outcome {
    let mut items = std::pin::pin!(items);
    let mut shown = Vec::new();
    let mut has_more = false;
    while let Some(item) = items.try_next().await.map_err(Failure::from)? {
        if limit > 0 && shown.len() == limit {
            has_more = true;
            break;
        }
        shown.push(item);
    }
    let format = global.format();
    let is_table = matches!(format, output::Format::Table | output::Format::Wide);
    if shown.is_empty() && is_table {
        note(none);
    } else {
        output::list(format, &shown)?;
    }
    if has_more {
        note(format!("there are more than {limit}; --limit 0 lists all"));
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_wanted_by_name_status_and_label() {
        let worker = v1::Worker {
            name: "gpu-1".to_owned(),
            status: v1::WorkerStatus::Draining.into(),
            labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            ..Default::default()
        };
        let wants = |prefix: &str, status: &[WorkerStatusArg], label: Option<&str>| {
            let selector = label.map(|zone| ("zone".to_owned(), zone.to_owned()));
            let args = WorkersArgs {
                prefix: Some(prefix.to_owned()),
                status: status.to_vec(),
                selector: selector.into_iter().collect(),
            };
            args.wants(&worker)
        };
        assert!(WorkersArgs::default().wants(&worker));
        assert!(wants("gpu", &[WorkerStatusArg::Lost, WorkerStatusArg::Draining], Some("a")));
        assert!(!wants("cpu", &[], None));
        assert!(!wants("gpu", &[WorkerStatusArg::Active], None));
        assert!(!wants("gpu", &[], Some("b")));
    }

    #[test]
    fn earlier_lives_of_a_worker_are_left_out() {
        let worker = |id, name: &str, status: v1::WorkerStatus| v1::Worker {
            id,
            name: name.to_owned(),
            status: status.into(),
            ..Default::default()
        };
        let shown = present(vec![
            worker(1, "a", v1::WorkerStatus::Lost),
            worker(2, "b", v1::WorkerStatus::Lost),
            worker(3, "a", v1::WorkerStatus::Lost),
            worker(4, "b", v1::WorkerStatus::Active),
            worker(5, "c", v1::WorkerStatus::Draining),
            worker(6, "c", v1::WorkerStatus::Active),
        ]);
        let ids: Vec<u64> = shown.iter().map(|worker| worker.id).collect();
        assert_eq!(ids, [3, 4, 5, 6]);
    }
}
