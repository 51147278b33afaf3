//! `muster cluster` and `muster completion`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;
use muster_client::{Client, v1};

use crate::args::Cli;
use crate::exit::{Exit, Outcome};
use crate::output::{self, Format, Table, note};
use crate::settings::Global;

/// A master that says nothing for so long is shown as one that does not answer.
const MEMBER_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the masters, who leads, and how far each has come
    Status,
    /// Have another master lead
    TransferLeader {
        /// Its name or id [default: the one that has come farthest]
        #[arg(value_name = "MASTER")]
        to: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) async fn cluster(command: ClusterCommand, global: &Global) -> Outcome {
    let client = global.client()?;
    match command {
        ClusterCommand::Status => {
            let mut status = best_view(&client).await?;
            status.members.sort_by(|a, b| a.name.cmp(&b.name));
            match global.format() {
                Format::Table | Format::Wide => {
                    for line in status_lines(&status) {
                        output::line(line)?;
                    }
                    let views = views(&client, &status).await;
                    if !status.members.is_empty() {
                        write!(output::stdout(), "\n{}", members(&status, &views))?;
                    }
                }
                Format::Name => {
                    for member in &status.members {
                        output::line(&member.name)?;
                    }
                }
                format => {
                    let value = output::json::value("muster.v1.GetClusterStatusResponse", &status);
                    output::data(format, &value)?;
                }
            }
            // Without a leader nothing can be changed: scripts want to know.
            Ok(if status.leader_id == 0 { Exit::Error } else { Exit::Ok })
        }
        ClusterCommand::TransferLeader { to } => transfer(&client, to.unwrap_or_default()).await,
    }
}

async fn transfer(client: &Client, to: String) -> Outcome {
    let transferred = client.transfer_leader(&to).await;
    let status = client.cluster_status().await?;
    let is_named = |member: &v1::Member| {
        member.name == to || member.id.to_string() == to || id_word(member.id) == to
    };
    let is_done = |member: &&v1::Member| member.is_leader && is_named(member);
    let name = match transferred {
        Ok(id) => name_of(&status, id),
        // It leads already; or it does since the first try, whose answer was lost with the old leader.
        Err(error) => match status.members.iter().find(is_done) {
            Some(leader) => leader.name.clone(),
            None => return Err(error.into()),
        },
    };
    note(format!("{name} leads"));
    Ok(Exit::Ok)
}

fn name_of(status: &v1::GetClusterStatusResponse, id: u64) -> String {
    let member = status.members.iter().find(|member| member.id == id);
    member.map_or_else(|| id_word(id), |member| member.name.clone())
}

/// A member's id as logs and errors write it.
fn id_word(id: u64) -> String {
    format!("{id:016x}")
}

/// What each member itself says, in the order of the members; `None` of one that does not answer.
async fn views(
    client: &Client,
    status: &v1::GetClusterStatusResponse,
) -> Vec<Option<v1::GetClusterStatusResponse>> {
    let asked = status.members.iter().map(async |member| {
        let asked = client.cluster_status_of(&member.api_address);
        let view = tokio::time::timeout(MEMBER_PATIENCE, asked).await.ok()?.ok()?;
        // Another master may have been given its address.
        Some(view).filter(|view| view.answering_member_id == member.id)
    });
    futures::future::join_all(asked).await
}

/// The leader's view if it can be had, since only the leader knows how far the others have come.
async fn best_view(client: &Client) -> Result<v1::GetClusterStatusResponse, muster_client::Error> {
    let status = client.cluster_status().await?;
    if status.answering_member_id == status.leader_id {
        return Ok(status);
    }
    let leader = status.members.iter().find(|member| member.id == status.leader_id);
    match leader {
        Some(leader) => Ok(client.cluster_status_of(&leader.api_address).await.unwrap_or(status)),
        None => Ok(status),
    }
}

fn status_lines(status: &v1::GetClusterStatusResponse) -> Vec<String> {
    if status.members.is_empty() {
        return vec![
            "The masters have not formed a cluster yet: for that all of --peers must be up together."
                .to_owned(),
        ];
    }
    let leader = match status.leader_id {
        0 => "none: an election is going on, or a majority of the masters is gone".to_owned(),
        id => name_of(status, id),
    };
    let counted = |count: u64, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    vec![
        format!("Cluster:  {}", status.cluster_id),
        format!("Leader:   {leader} (term {})", status.term),
        format!(
            "Seen by:  {} (muster {})",
            name_of(status, status.answering_member_id),
            status.version
        ),
        format!(
            "Log:      applied {}, committed {}, last {}, snapshot {}",
            status.applied_index,
            status.committed_index,
            status.last_log_index,
            status.snapshot_index
        ),
        format!(
            "Work:     {}, {}, {} (lost ones included)",
            counted(status.live_runs, "live run"),
            counted(status.ready_tasks, "ready task"),
            counted(status.workers, "worker")
        ),
    ]
}

fn members(
    status: &v1::GetClusterStatusResponse,
    views: &[Option<v1::GetClusterStatusResponse>],
) -> Table {
    let mut table =
        Table::new(&["MASTER", "ROLE", "ANSWERS", "APPLIED", "MATCHED", "API", "PEER", "ID"]);
    for (member, view) in status.members.iter().zip(views) {
        let role = match (member.is_leader, member.is_voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        let applied = view.as_ref().map(|view| view.applied_index.to_string());
        table.row(vec![
            member.name.clone(),
            role.to_owned(),
            if view.is_some() { "yes" } else { "no" }.to_owned(),
            applied.unwrap_or_default(),
            member.matched_index.map(|index| index.to_string()).unwrap_or_default(),
            member.api_address.clone(),
            member.peer_address.clone(),
            id_word(member.id),
        ]);
    }
    table
}

pub(crate) fn completion(args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "muster", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}
