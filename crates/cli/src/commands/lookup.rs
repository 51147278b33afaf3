//! `muster describe` and `muster explain`: one thing in full, and why it is as it is.

use clap::{Args, Subcommand};
use futures::{StreamExt, TryStreamExt};
use muster_client::{ActionFilter, Client, Code, v1};
use serde_json::{Value, json};

use super::portrait;
use crate::exit::{Exit, Failure, Outcome};
use crate::follow::summarize;
use crate::names::{OneTask, RunName, TaskName, label};
use crate::output::{self, Format, task_word};
use crate::settings::Global;

/// Actions that are shown with a run at most; `muster get actions RUN` has all.
const ACTIONS_SHOWN: usize = 20;

#[derive(Debug, Subcommand)]
pub(crate) enum DescribeCommand {
    /// A run with its tasks
    Run {
        /// The run
        #[arg(default_value = "@latest")]
        run: RunName,
    },
    /// A task of a run
    Task {
        /// The task
        #[arg(value_name = "RUN/TASK")]
        task: OneTask,
    },
    /// A workflow with its latest version, or an earlier one
    Workflow {
        /// Its name; `NAME@VERSION` for another version than the latest
        name: String,
    },
    /// A namespace, with what it may have and has
    Namespace {
        /// Its name
        name: String,
    },
    /// A concurrency group of the namespace, with what it lets be live and who has a place
    Group {
        /// Its name
        name: String,
    },
    /// A worker
    Worker {
        /// Its name
        name: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The run or task
    #[arg(value_name = "RUN[/TASK]", default_value = "@latest")]
    what: TaskName,
}

pub(crate) async fn describe(command: DescribeCommand, global: &Global) -> Outcome {
    let client = global.client()?;
    let format = global.format();
    match command {
        DescribeCommand::Run { run } => describe_run(&client, &run, format).await?,
        DescribeCommand::Task { task } => {
            let id = task.part.whole()?;
            let run = task.run.find(&client).await?;
            describe_task(&client, &run, &id, format).await?;
        }
        DescribeCommand::Workflow { name } => {
            let (name, version) = versioned(&name)?;
            let workflow = client.get_workflow_version(name, version).await?;
            output::one(format, &workflow, portrait::workflow)?;
        }
        DescribeCommand::Namespace { name } => {
            let namespace = client.get_namespace(name).await?;
            output::one(format, &namespace, portrait::namespace)?;
        }
        DescribeCommand::Group { name } => {
            let group = groups(&client).await?.into_iter().find(|group| group.name == name);
            let group = group.ok_or_else(|| Failure::not_found(no_group(&client, &name)))?;
            output::one(format, &group, portrait::group)?;
        }
        DescribeCommand::Worker { name } => {
            let worker = client.get_worker(name).await?;
            output::one(format, &worker, portrait::worker)?;
        }
    }
    Ok(Exit::Ok)
}

/// The concurrency groups of the client's namespace, by name. A namespace that is not there has none.
pub(super) async fn groups(client: &Client) -> Result<Vec<v1::GroupUse>, Failure> {
    match client.get_namespace(client.namespace()).await {
        Ok(namespace) => Ok(namespace.groups),
        Err(error) if error.code() == Code::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn no_group(client: &Client, name: &str) -> String {
    let namespace = Some(client.namespace()).filter(|it| !it.is_empty()).unwrap_or("default");
    format!("namespace `{namespace}` has no concurrency group `{name}`")
}

async fn describe_task(
    client: &Client,
    run: &v1::Run,
    id: &str,
    format: Format,
) -> Result<(), Failure> {
    let found = find_task(client, run, id).await?;
    let mut why = String::new();
    let mut needs = Vec::new();
    if matches!(format, Format::Table | Format::Wide) {
        if needs_reason(found.status()) {
            // Why it waits, or never ran, is worth a line; that it cannot be found out is not worth a failure.
            let explanation = client.explain(run, Some(id)).await.ok();
            let first = explanation.and_then(|it| it.tasks.into_iter().next());
            why = first.map(|task| task.summary).unwrap_or_default();
        }
        let mut upstream = client.list_tasks(run, &[]);
        while let Some(task) = upstream.try_next().await? {
            if found.needs.contains(&task.id) {
                needs.push(format!("{} ({})", task.id, task_word(task.status())));
            }
        }
    }
    output::one(format, &found, |task| portrait::task(run, task, &why, &needs))?;
    Ok(())
}

/// Whether what is told of an attempt leaves open why the task is where it is.
fn needs_reason(status: v1::TaskStatus) -> bool {
    use v1::TaskStatus::{Failed, Succeeded};
    !matches!(status, Succeeded | Failed)
}

/// `NAME`, or `NAME@VERSION`; 0 is the latest.
fn versioned(text: &str) -> Result<(&str, u32), Failure> {
    let Some((name, version)) = text.split_once('@') else { return Ok((text, 0)) };
    let number = version.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| {
        Failure::usage(format!("`{version}` is no version: they are 1, 2, 3…, as in {name}@3"))
    })?;
    Ok((name, number))
}

async fn describe_run(client: &Client, run: &RunName, format: Format) -> Result<(), Failure> {
    let run = run.find(client).await?;
    let is_for_people = matches!(format, Format::Table | Format::Wide);
    let tasks: Vec<v1::Task> = if is_for_people || format != Format::Name {
        client.list_tasks(&run, &[]).try_collect().await?
    } else {
        Vec::new()
    };
    let actions: Vec<v1::Action> = if format == Format::Name {
        Vec::new()
    } else {
        let filter = ActionFilter { run: Some((&run).into()), ..ActionFilter::default() };
        client.list_actions(filter).take(ACTIONS_SHOWN).try_collect().await?
    };
    match format {
        Format::Table | Format::Wide | Format::Name => {
            let is_wide = format == Format::Wide;
            output::one(format, &run, |run| portrait::run(run, &tasks, &actions, is_wide))?;
        }
        Format::Json | Format::Jsonl | Format::Yaml => {
            let tasks: Vec<Value> =
                tasks.iter().map(|task| output::json::value("muster.v1.Task", task)).collect();
            let run = output::json::value("muster.v1.Run", &run);
            let actions: Vec<Value> = actions
                .iter()
                .map(|action| output::json::value("muster.v1.Action", action))
                .collect();
            output::data(format, &json!({ "run": run, "tasks": tasks, "actions": actions }))?;
        }
    }
    Ok(())
}

/// A task of a run by its id.
pub(crate) async fn find_task(
    client: &Client,
    run: &v1::Run,
    id: &str,
) -> Result<v1::Task, Failure> {
    let mut tasks = client.list_tasks(run, &[]);
    let mut known = Vec::new();
    while let Some(task) = tasks.try_next().await? {
        if task.id == id {
            return Ok(task);
        }
        known.push(task.id);
    }
    known.truncate(10);
    let message = format!("{} has no task `{id}`; it has {}", label(run), known.join(", "));
    Err(Failure::new(Exit::NotFound, message))
}

pub(crate) async fn explain(args: ExplainArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let task = args.what.task.map(|part| part.whole()).transpose()?;
    let run = args.what.run.find(&client).await?;
    let explanation = client.explain(&run, task.as_deref()).await?;
    match global.format() {
        // Of a run that has ended nothing waits; what failed is what is asked for then.
        Format::Table | Format::Wide if explanation.tasks.is_empty() => {
            let failed = [v1::TaskStatus::Failed];
            let failed: Vec<v1::Task> = client.list_tasks(&run, &failed).try_collect().await?;
            output::line(ended_or_not(&run, &failed))?;
        }
        Format::Table | Format::Wide => {
            for line in explained(&run, &explanation, global.format() == Format::Wide) {
                output::line(line)?;
            }
        }
        Format::Name => {
            for task in &explanation.tasks {
                output::line(format!("{}/{}", label(&run), task.task))?;
            }
        }
        format => {
            let value = output::json::value("muster.v1.ExplainRunResponse", &explanation);
            output::data(format, &value)?;
        }
    }
    let is_stuck = explanation.tasks.iter().any(|task| task.is_infeasible);
    Ok(if is_stuck { Exit::CannotBePlaced } else { Exit::Ok })
}

/// A run of which no task waits.
fn ended_or_not(run: &v1::Run, failed: &[v1::Task]) -> String {
    if muster_client::is_ended(run) {
        return summarize(run, failed);
    }
    format!("{}: {}", label(run), output::run_word(run.status()))
}

fn explained(run: &v1::Run, explanation: &v1::ExplainRunResponse, is_wide: bool) -> Vec<String> {
    const WORKERS_MAX: usize = 5;
    let mut lines = Vec::new();
    for task in &explanation.tasks {
        lines.extend(summary_lines(run, task));
        // A summary of several lines has the workers in it.
        if task.summary.lines().count() > 1 {
            continue;
        }
        let most = if is_wide { usize::MAX } else { WORKERS_MAX };
        for worker in task.workers.iter().take(most) {
            let verdict = match worker.unmet.is_empty() {
                true => "could take it".to_owned(),
                false => worker.unmet.join(", "),
            };
            lines.push(format!("  {}: {verdict}", worker.worker));
        }
        if task.workers.len() > most {
            let more = task.workers.len() - most;
            lines.push(format!("  and {more} more workers (-o wide shows all)"));
        }
    }
    lines
}

/// The reasons, below the task's name unless they begin with it.
fn summary_lines(run: &v1::Run, task: &v1::TaskExplanation) -> Vec<String> {
    let name = format!("{}/{}", label(run), task.task);
    let mut lines = task.summary.lines();
    let first = lines.next().unwrap_or_default();
    let first = if first.starts_with(&name) {
        first.to_owned()
    } else {
        format!("{name} {}: {first}", task_word(task.status()))
    };
    std::iter::once(first).chain(lines.map(|line| format!("  {line}"))).collect()
}

/// The reasons without what each worker lacks.
pub(crate) fn brief(run: &v1::Run, task: &v1::TaskExplanation) -> String {
    const LINES_MAX: usize = 3;
    let lines = summary_lines(run, task);
    let brief = lines.iter().filter(|line| !line.trim_start().starts_with("worker "));
    brief.take(LINES_MAX).cloned().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_reason_leaves_the_workers_out() {
        let run = v1::Run { workflow: "etl".into(), number: 3, ..Default::default() };
        let task = v1::TaskExplanation {
            task: "train".into(),
            summary:
                "etl/3/train has been ready for 5s.\n0 of 1 workers can take it: 1 lack gpu.\n\
                      worker w1: gpu: needs 1, offers none"
                    .into(),
            ..Default::default()
        };
        assert_eq!(
            brief(&run, &task),
            "etl/3/train has been ready for 5s.\n  0 of 1 workers can take it: 1 lack gpu."
        );
    }

    #[test]
    fn says_what_each_worker_lacks() {
        let run = v1::Run { workflow: "etl".into(), number: 3, ..Default::default() };
        let verdict = |name: &str, unmet: &[&str]| v1::WorkerVerdict {
            worker: name.into(),
            unmet: unmet.iter().map(|it| (*it).to_owned()).collect(),
            ..Default::default()
        };
        let task = v1::TaskExplanation {
            task: "train".into(),
            status: v1::TaskStatus::Ready.into(),
            summary: "no worker has 2 gpu".into(),
            is_infeasible: true,
            workers: vec![verdict("w1", &["needs 2 gpu, has 0"]), verdict("w2", &[])],
        };
        let explanation = v1::ExplainRunResponse { run: None, tasks: vec![task] };
        assert_eq!(
            explained(&run, &explanation, false),
            [
                "etl/3/train ready: no worker has 2 gpu",
                "  w1: needs 2 gpu, has 0",
                "  w2: could take it"
            ]
        );
    }
}
