//! `muster cluster` and `muster completion`.

use std::io::Write;

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;
use muster_client::{Client, v1};

use crate::args::Cli;
use crate::exit::{Exit, Outcome};
use crate::output::{self, Format, Table, note};
use crate::settings::Global;

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
            let status = best_view(&client).await?;
            match global.format() {
                Format::Table | Format::Wide | Format::Name => {
                    for line in status_lines(&status) {
                        output::line(line)?;
                    }
                    write!(output::stdout(), "\n{}", members(&status))?;
                }
                format => {
                    let value = output::json::value("muster.v1.GetClusterStatusResponse", &status);
                    output::data(format, &value)?;
                }
            }
            // Without a leader nothing can be changed: scripts want to know.
            Ok(if status.leader_id == 0 { Exit::Error } else { Exit::Ok })
        }
        ClusterCommand::TransferLeader { to } => {
            let id = client.transfer_leader(to.unwrap_or_default()).await?;
            let status = client.cluster_status().await?;
            let name = status.members.iter().find(|member| member.id == id);
            let name = name.map_or_else(|| id.to_string(), |member| member.name.clone());
            note(format!("{name} leads"));
            Ok(Exit::Ok)
        }
    }
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
    let name = |id: u64| {
        let member = status.members.iter().find(|member| member.id == id);
        member.map_or_else(|| id.to_string(), |member| member.name.clone())
    };
    let leader = match status.leader_id {
        0 => "none: an election is going on, or a majority of the masters is gone".to_owned(),
        id => name(id),
    };
    vec![
        format!("Cluster:  {}", status.cluster_id),
        format!("Leader:   {leader} (term {})", status.term),
        format!("Asked:    {} (muster {})", name(status.answering_member_id), status.version),
        format!(
            "Log:      applied {}, committed {}, last {}, snapshot {}",
            status.applied_index,
            status.committed_index,
            status.last_log_index,
            status.snapshot_index
        ),
        format!(
            "Work:     {} live runs, {} ready tasks, {} workers",
            status.live_runs, status.ready_tasks, status.workers
        ),
    ]
}

fn members(status: &v1::GetClusterStatusResponse) -> Table {
    let mut table = Table::new(&["MASTER", "ROLE", "API", "PEER", "MATCHED", "ID"]);
    for member in &status.members {
        let role = match (member.is_leader, member.is_voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        table.row(vec![
            member.name.clone(),
            role.to_owned(),
            member.api_address.clone(),
            member.peer_address.clone(),
            member.matched_index.map(|index| index.to_string()).unwrap_or_default(),
            member.id.to_string(),
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
