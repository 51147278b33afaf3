//! Which runs a command is about: those that are named, or those that a selector finds. What was found is counted and
//! confirmed before anything is changed, and each run is then changed by a call of its own.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use futures::TryStreamExt;
use muster_client::{Client, RunFilter, v1};

use super::get::{RunStatusArg, has_labels};
use crate::exit::{Exit, Failure, Outcome};
use crate::names::{TaskName, label};
use crate::output::note;
use crate::units;

/// Runs that a question names, at most.
const NAMED_MAX: usize = 5;

#[derive(Args, Debug)]
pub(crate) struct RunsArgs {
    /// The runs
    #[arg(value_name = "RUN", required_unless_present = "found", conflicts_with = "found")]
    pub(crate) runs: Vec<TaskName>,
    #[command(flatten)]
    found: Selection,
}

/// Which runs are meant that nobody names.
#[derive(Args, Debug)]
#[group(id = "found", multiple = true)]
pub(crate) struct Selection {
    /// All runs with this label that the command can change
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = units::pair)]
    selector: Vec<(String, String)>,
    /// All runs with one of these statuses
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATUS,…")]
    status: Vec<RunStatusArg>,
    /// All runs of this workflow that the command can change
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,
    /// All runs that the command can change
    #[arg(long)]
    all: bool,
}

/// Whether to ask first.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct YesArg {
    /// Change what was found without asking; must be given where there is no terminal to ask on
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// What a command does to the runs it is about.
pub(crate) struct Wish<'a> {
    /// In the imperative: `pause`.
    pub(crate) verb: &'a str,
    /// The statuses of runs to which it can be done.
    pub(crate) statuses: &'a [v1::RunStatus],
    /// Whether it can be done to a run with such a status.
    pub(crate) is_possible: fn(&v1::Run) -> bool,
}

impl RunsArgs {
    /// The runs that are meant, the newest first if nobody named them.
    ///
    /// # Errors
    /// If a run is named that is not there, or the user does not confirm what was found.
    pub(crate) async fn find(
        &self,
        client: &Client,
        wish: &Wish<'_>,
        yes: YesArg,
    ) -> Result<Vec<v1::Run>, Failure> {
        if !self.runs.is_empty() {
            let mut runs = Vec::new();
            for TaskName { run, task } in &self.runs {
                if task.is_some() {
                    return Err(Failure::usage(format!("{} takes runs, not tasks", wish.verb)));
                }
                runs.push(run.find(client).await?);
            }
            return Ok(runs);
        }
        let runs = self.found.runs(client, wish).await?;
        if runs.is_empty() {
            note(format!("no runs to {}", wish.verb));
        } else {
            confirm(wish.verb, &runs, yes)?;
        }
        Ok(runs)
    }
}

impl Selection {
    async fn runs(&self, client: &Client, wish: &Wish<'_>) -> Result<Vec<v1::Run>, Failure> {
        if let Some(workflow) = &self.workflow {
            // A name that is mistyped is told from a workflow without runs.
            client.get_workflow(workflow).await?;
        }
        let asked: Vec<v1::RunStatus> = self.status.iter().map(|status| (*status).into()).collect();
        let is_wanted = |status: &&v1::RunStatus| asked.is_empty() || asked.contains(status);
        let statuses: Vec<_> = wish.statuses.iter().filter(is_wanted).copied().collect();
        if statuses.is_empty() {
            return Ok(Vec::new());
        }
        let workflow = self.workflow.clone().unwrap_or_default();
        let filter = RunFilter { workflow, statuses, page_size: 1000 };
        let is_meant =
            |run: &v1::Run| has_labels(&run.labels, &self.selector) && (wish.is_possible)(run);
        let found = client.list_runs(filter).try_filter(|run| std::future::ready(is_meant(run)));
        Ok(found.try_collect().await?)
    }
}

/// `etl/3, etl/2 and 4 more`.
fn some_names(runs: &[v1::Run]) -> String {
    let names: Vec<String> = runs.iter().take(NAMED_MAX).map(label).collect();
    match runs.len().saturating_sub(NAMED_MAX) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn confirm(verb: &str, runs: &[v1::Run], yes: YesArg) -> Result<(), Failure> {
    let count = match runs.len() {
        1 => "1 run".to_owned(),
        many => format!("{many} runs"),
    };
    let what = format!("{verb} {count}: {}", some_names(runs));
    if yes.yes {
        note(what);
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!("this would {what}\nrepeat it with --yes to do so")));
    }
    // A question, not a message: it goes to the terminal without an end of line.
    let mut stderr = io::stderr().lock();
    let asked = write!(stderr, "{what}\ngo on? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    asked.and_then(|()| io::stdin().read_line(&mut answer).map(drop)).map_err(Failure::from)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Error, "nothing was changed")),
    }
}

/// Does something to each run. One that cannot be changed is told of and does not keep the others from it; a single one
/// ends the command as its error says.
pub(crate) async fn each<Fut>(runs: &[v1::Run], change: impl Fn(v1::Run) -> Fut) -> Outcome
where
    Fut: Future<Output = Result<(), Failure>>,
{
    let mut failed = 0;
    for run in runs {
        match change(run.clone()).await {
            Ok(()) => {}
            Err(failure) if runs.len() == 1 => return Err(failure),
            Err(Failure { message, .. }) => {
                failed += 1;
                note(format!("{}: {}", label(run), message.unwrap_or_default()));
            }
        }
    }
    if failed > 0 {
        let message = format!("{failed} of {} runs were left as they were", runs.len());
        return Err(Failure::new(Exit::Error, message));
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        runs: RunsArgs,
    }

    fn run(number: u64) -> v1::Run {
        v1::Run { workflow: "etl".to_owned(), number, ..Default::default() }
    }

    #[test]
    fn runs_are_named_or_found_and_not_both() {
        let parse = |line: &str| Line::try_parse_from(line.split_whitespace());
        for line in ["x etl/1 etl/2", "x -l a=b", "x --status failed -l a=b -l c=d", "x --all"] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in ["x", "x etl/1 --all", "x etl/1 -l a=b", "x --status done"] {
            parse(line).expect_err(line);
        }
    }

    #[test]
    fn a_question_names_some() {
        let runs: Vec<_> = (1..=7).map(run).collect();
        assert_eq!(some_names(&runs[..2]), "etl/1, etl/2");
        assert_eq!(some_names(&runs), "etl/1, etl/2, etl/3, etl/4, etl/5 and 2 more");
    }

    #[tokio::test]
    async fn one_that_fails_does_not_keep_the_others_from_it() {
        let done = std::cell::RefCell::new(Vec::new());
        let change = async |run: v1::Run| {
            if run.number == 2 {
                return Err(Failure::not_found("gone"));
            }
            done.borrow_mut().push(run.number);
            Ok(())
        };
        let outcome = each(&[run(1), run(2), run(3)], &change).await;
        assert_eq!(outcome.unwrap_err().exit, Exit::Error);
        assert_eq!(*done.borrow(), [1, 3]);
        assert_eq!(each(&[run(2)], &change).await.unwrap_err().exit, Exit::NotFound);
        assert_eq!(each(&[], &change).await.unwrap(), Exit::Ok);
    }
}
