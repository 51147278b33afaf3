//! How runs, tasks and attempts are written on the command line, and which run is meant.
//!
//! ```text
//!  etl/42   etl/@latest   etl   @latest   et/42 (if no other workflow begins with `et`)
//!  etl/42/extract   etl/42/extract#2   etl/42/shard[7]   etl/42/shard[7]#2
//! ```

use std::fmt;
use std::str::FromStr;

use futures::TryStreamExt;
use muster_client::{Client, RunFilter, RunKey, v1};

use crate::exit::{Exit, Failure};

/// A run as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunName {
    /// `None`: the latest run of all workflows.
    workflow: Option<String>,
    /// `None`: the latest run.
    number: Option<u64>,
}

/// A run, perhaps with a task of it, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskName {
    pub(crate) run: RunName,
    pub(crate) task: Option<Part>,
}

/// A task of a run, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OneTask {
    pub(crate) run: RunName,
    pub(crate) part: Part,
}

/// A task, perhaps with an index and an attempt of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) task: String,
    pub(crate) index: Option<u32>,
    /// From 1.
    pub(crate) attempt: Option<u32>,
}

/// A run or task that is not written as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("a run is missing: write for example `etl/42`, `etl` (its latest run) or `@latest`")]
    Empty,
    #[error("`{0}` is not the number of a run: write for example `etl/42` or `etl/@latest`")]
    Number(String),
    #[error("`{0}` names more than a run; leave the task out")]
    MoreThanRun(String),
    #[error("`{0}` has too many parts: write WORKFLOW/NUMBER/TASK, for example `etl/42/extract`")]
    TooLong(String),
    #[error("`{0}` names no task: write RUN/TASK, for example `etl/42/extract`")]
    NoTask(String),
    #[error("`{0}` is not a task: write for example `extract`, `extract#2` or `shard[7]`")]
    Task(String),
}

impl FromStr for RunName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<RunName, NameError> {
        let name = TaskName::from_str(text)?;
        if name.task.is_some() {
            return Err(NameError::MoreThanRun(text.to_owned()));
        }
        Ok(name.run)
    }
}

impl FromStr for TaskName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<TaskName, NameError> {
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default();
        if first.is_empty() {
            return Err(NameError::Empty);
        }
        let run = if first == "@latest" {
            RunName { workflow: None, number: None }
        } else {
            let number = parts.next().map(number).transpose()?.flatten();
            RunName { workflow: Some(first.to_owned()), number }
        };
        let task = parts.next().map(part).transpose()?;
        if parts.next().is_some() {
            return Err(NameError::TooLong(text.to_owned()));
        }
        Ok(TaskName { run, task })
    }
}

impl FromStr for OneTask {
    type Err = NameError;

    fn from_str(text: &str) -> Result<OneTask, NameError> {
        let TaskName { run, task } = text.parse()?;
        let part = task.ok_or_else(|| NameError::NoTask(text.to_owned()))?;
        Ok(OneTask { run, part })
    }
}

/// A number, or `None` for the latest.
fn number(text: &str) -> Result<Option<u64>, NameError> {
    if text == "@latest" {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(NameError::Number(text.to_owned())),
    }
}

fn part(text: &str) -> Result<Part, NameError> {
    let malformed = || NameError::Task(text.to_owned());
    let (rest, attempt) = match text.split_once('#') {
        Some((rest, attempt)) => {
            let attempt = attempt.parse().ok().filter(|attempt| *attempt > 0);
            (rest, Some(attempt.ok_or_else(malformed)?))
        }
        None => (text, None),
    };
    let (task, index) = match rest.split_once('[') {
        Some((task, index)) => {
            let index = index.strip_suffix(']').and_then(|index| index.parse().ok());
            (task, Some(index.ok_or_else(malformed)?))
        }
        None => (rest, None),
    };
    if task.is_empty() || task.contains([']', ' ']) {
        return Err(malformed());
    }
    Ok(Part { task: task.to_owned(), index, attempt })
}

impl Part {
    /// The task, where one attempt or index of it cannot be meant.
    pub(crate) fn whole(&self) -> Result<String, Failure> {
        if self.index.is_none() && self.attempt.is_none() {
            return Ok(self.task.clone());
        }
        Err(Failure::usage(format!(
            "this is about the task `{0}` as a whole: leave the index and the attempt out; `muster logs` takes them",
            self.task
        )))
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.workflow, self.number) {
            (None, _) => f.write_str("@latest"),
            (Some(workflow), None) => write!(f, "{workflow}/@latest"),
            (Some(workflow), Some(number)) => write!(f, "{workflow}/{number}"),
        }
    }
}

/// The run as people name it: `etl/42`.
pub(crate) fn label(run: &v1::Run) -> String {
    format!("{}/{}", run.workflow, run.number)
}

impl RunName {
    /// The run that is meant, as it is at the moment.
    pub(crate) async fn find(&self, client: &Client) -> Result<v1::Run, Failure> {
        let Some(workflow) = &self.workflow else {
            return latest_of_all(client).await;
        };
        let key = |workflow: &str| match self.number {
            Some(number) => RunKey::number(workflow, number),
            None => RunKey::latest(workflow),
        };
        let missing = match client.get_run(key(workflow)).await {
            Err(error) if error.is_not_found() => error,
            found => return Ok(found?),
        };
        let mut candidates: Vec<String> = client
            .list_workflows()
            .try_filter_map(async |known| {
                Ok(Some(known.name).filter(|name| name.starts_with(workflow.as_str())))
            })
            .try_collect()
            .await?;
        if candidates.contains(workflow) {
            return Err(missing.into());
        }
        match (candidates.pop(), candidates.is_empty()) {
            (None, _) => Err(missing.into()),
            (Some(only), true) => Ok(client.get_run(key(&only)).await?),
            (Some(other), false) => {
                candidates.push(other);
                let message =
                    format!("`{workflow}` could be any of the workflows {}", candidates.join(", "));
                Err(Failure::usage(message))
            }
        }
    }
}

async fn latest_of_all(client: &Client) -> Result<v1::Run, Failure> {
    let filter = RunFilter { page_size: 1, ..RunFilter::default() };
    let latest = client.list_runs(filter).try_next().await?;
    latest.ok_or_else(|| Failure::new(Exit::NotFound, "there are no runs yet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(workflow: &str, number: Option<u64>) -> RunName {
        RunName { workflow: Some(workflow.into()), number }
    }

    #[test]
    fn runs() {
        assert_eq!("etl/42".parse(), Ok(run("etl", Some(42))));
        assert_eq!("etl/@latest".parse(), Ok(run("etl", None)));
        assert_eq!("etl".parse(), Ok(run("etl", None)));
        assert_eq!("@latest".parse(), Ok(RunName { workflow: None, number: None }));
        for (text, shown) in [("etl", "etl/@latest"), ("etl/7", "etl/7"), ("@latest", "@latest")] {
            assert_eq!(text.parse::<RunName>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn tasks() {
        let part = |text: &str| text.parse::<TaskName>().unwrap().task.unwrap();
        assert_eq!(
            part("etl/42/extract#2"),
            Part { task: "extract".into(), index: None, attempt: Some(2) }
        );
        assert_eq!(
            part("etl/@latest/shard[7]"),
            Part { task: "shard".into(), index: Some(7), attempt: None }
        );
        assert_eq!(
            part("@latest/shard[7]#3"),
            Part { task: "shard".into(), index: Some(7), attempt: Some(3) }
        );
        assert_eq!("etl/42".parse::<TaskName>().unwrap().task, None);
    }

    #[test]
    fn a_task_as_a_whole_has_no_index() {
        let whole = |text: &str| text.parse::<OneTask>().unwrap().part.whole();
        assert_eq!(whole("etl/1/shard").unwrap(), "shard");
        for text in ["etl/1/shard[3]", "etl/1/shard#2"] {
            assert_eq!(whole(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }

    #[test]
    fn what_is_neither() {
        for (text, error) in [
            ("", NameError::Empty),
            ("/1", NameError::Empty),
            ("etl/x", NameError::Number("x".into())),
            ("etl/0", NameError::Number("0".into())),
            ("etl/", NameError::Number(String::new())),
            ("etl/1/", NameError::Task(String::new())),
            ("etl/1/a#0", NameError::Task("a#0".into())),
            ("etl/1/a[x]", NameError::Task("a[x]".into())),
            ("etl/1/a[3", NameError::Task("a[3".into())),
            ("etl/1/[3]", NameError::Task("[3]".into())),
            ("etl/1/a/b", NameError::TooLong("etl/1/a/b".into())),
        ] {
            assert_eq!(text.parse::<TaskName>(), Err(error), "{text}");
        }
        assert_eq!("etl/1".parse::<OneTask>(), Err(NameError::NoTask("etl/1".into())));
        assert_eq!("etl/1/a".parse::<RunName>(), Err(NameError::MoreThanRun("etl/1/a".into())));
    }
}
