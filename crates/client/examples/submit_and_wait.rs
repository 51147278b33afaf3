//! Submits a small workflow, follows it to its end, and prints what its tasks printed.
//!
//! ```text
//! muster dev &
//! cargo run -p muster-client --example submit_and_wait -- http://127.0.0.1:7070
//! ```

use std::io::Write;

use anyhow::ensure;
use futures::TryStreamExt;
use muster_client::{Client, LogTail, RunKey, Submission, v1};

const WORKFLOW: &str = "
apiVersion: v1
kind: Workflow
name: greet
params:
  who: {default: world}
tasks:
  hello:
    run: echo \"hello $MUSTER_PARAM_WHO\"
  goodbye:
    needs: [hello]
    run: echo goodbye
";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut masters: Vec<String> = std::env::args().skip(1).collect();
    if masters.is_empty() {
        masters.push("http://127.0.0.1:7070".to_owned());
    }
    let client = Client::connect(masters)?;

    let run = client.submit(Submission::source(WORKFLOW).param("who", "Ada")).await?;
    println!("{}", RunKey::from(&run));

    let mut updates = client.watch_run(&run);
    while let Some(update) = updates.try_next().await? {
        for task in update.tasks {
            println!("{} {}", task.id, task.status().as_str_name());
        }
    }
    let ended = client.wait_run(&run, None).await?;

    for task in ["hello", "goodbye"] {
        let tail = LogTail { task: task.to_owned(), ..LogTail::default() };
        let mut log = client.tail_log(&run, tail);
        while let Some(chunk) = log.try_next().await? {
            std::io::stdout().write_all(&chunk.data)?;
        }
    }
    ensure!(ended.status() == v1::RunStatus::Succeeded, "the run did not succeed");
    Ok(())
}
