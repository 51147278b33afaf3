//! `muster approve` and `reject`: answers to approvals that wait for a person.

use clap::Args;

use super::operate::not_live;
use crate::exit::{Exit, Outcome};
use crate::names::{OneTask, label};
use crate::output::note;
use crate::settings::Global;

#[derive(Args, Debug)]
pub(crate) struct AnswerArgs {
    /// The approvals
    #[arg(value_name = "RUN/TASK", required = true)]
    tasks: Vec<OneTask>,
    /// Why; it stays with the task
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Answers approvals, in the order they are named, up to the first that waits for no answer.
pub(crate) async fn answer(args: AnswerArgs, is_given: bool, global: &Global) -> Outcome {
    let client = global.client()?;
    let word = if is_given { "approved" } else { "rejected" };
    for OneTask { run, part } in args.tasks {
        let task = part.whole()?;
        let run = run.find(&client).await?;
        let answered = client.answer_approval(&run, &task, is_given, &args.reason).await;
        answered.map_err(|error| not_live(&run, error))?;
        note(format!("{}/{task} is {word}", label(&run)));
    }
    Ok(Exit::Ok)
}
