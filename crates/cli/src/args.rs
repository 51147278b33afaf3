//! The command line as a whole.

use clap::{Parser, Subcommand};

use crate::bench;
use crate::commands::{
    admin, apply, approve, convert, dev, diff, get, graph, logs, lookup, operate, plan, process,
    retry, rollback, run, schedule, stay, submit, validate, webhook,
};
use crate::logging::Usual;
use crate::settings::Global;

/// Paragraphs are one line each: they are wrapped to the width of the terminal.
const AFTER_HELP: &str = "\
A RUN is WORKFLOW/NUMBER (etl/42), WORKFLOW or WORKFLOW/@latest (its latest run), or @latest; the \
workflow may be shortened as long as no other begins like that. A task of it is RUN/TASK, with an \
index RUN/TASK[7], with an attempt RUN/TASK#2.

Exit codes: 0 ok, 1 error, 2 wrong usage or file, 3 the run failed, 4 it was cancelled or timed \
out, 5 not found, 6 cannot be placed, 124 --timeout reached, 130 Ctrl-C.

Settings: flag, else MUSTER_SERVER, MUSTER_NAMESPACE, MUSTER_LOG, else \
~/.config/muster/config.toml (server, namespace). MUSTER_USER is who you are in the audit trail, \
else your user and host.";

/// Runs workflows on many machines, and goes on when some of them fail.
#[derive(Debug, Parser)]
#[command(name = "muster", version, after_help = AFTER_HELP, max_term_width = 120)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster in this process, to try things out
    Dev(dev::DevArgs),
    /// Run a master
    #[command(subcommand)]
    Master(process::MasterCommand),
    /// Run a worker, or look after workers
    #[command(subcommand)]
    Worker(process::WorkerCommand),
    /// Run a workflow that was applied, or one in a file
    Run(run::RunArgs),
    /// Run one command
    Submit(submit::SubmitArgs),
    /// Store workflows in the cluster, as new versions if they changed; and what namespaces may have
    Apply(apply::ApplyArgs),
    /// Show what applying files would change
    Diff(diff::DiffArgs),
    /// Show what applying files would change, and which workers could take the tasks
    Plan(plan::PlanArgs),
    /// Apply an earlier version of a workflow again
    Rollback(rollback::RollbackArgs),
    /// Check workflow files, without a cluster
    Validate(validate::ValidateArgs),
    /// Draw a workflow's tasks and what they wait for
    Graph(graph::GraphArgs),
    /// List workflows, their versions, runs, tasks, schedules, triggers, namespaces, groups, workers or actions
    #[command(subcommand)]
    Get(get::GetCommand),
    /// Show one run, task, workflow, namespace, group or worker in full
    #[command(subcommand)]
    Describe(lookup::DescribeCommand),
    /// Say why a run or a task is where it is
    Explain(lookup::ExplainArgs),
    /// Print what tasks print
    Logs(logs::LogsArgs),
    /// Follow a run's progress until it ends
    Watch(stay::WatchArgs),
    /// Wait until runs end
    Wait(stay::WaitArgs),
    /// End runs, or tasks of a run
    Cancel(operate::CancelArgs),
    /// Start nothing more of runs until they are resumed; what runs goes on
    Pause(operate::PauseArgs),
    /// Let paused runs go on
    Resume(operate::PauseArgs),
    /// Give a run another priority
    Priority(operate::PriorityArgs),
    /// Let tasks count as skipped, without running them
    Skip(operate::EndArgs),
    /// Let tasks count as succeeded, without running them
    Succeed(operate::EndArgs),
    /// Let approvals succeed that wait for a person
    Approve(approve::AnswerArgs),
    /// Let approvals fail that wait for a person
    Reject(approve::AnswerArgs),
    /// Run again what failed, or from a task on: in place if the run is live, else in a new run
    Retry(retry::RetryArgs),
    /// Run all of a run again, in a new run
    Rerun(retry::RerunArgs),
    /// Let a held task go on
    Release(operate::ReleaseArgs),
    /// When workflows run by themselves
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Make tokens for the callers of webhooks
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Look after the masters
    #[command(subcommand)]
    Cluster(admin::ClusterCommand),
    /// Make workflow files from those of other systems
    #[command(subcommand)]
    Convert(convert::ConvertCommand),
    /// Measure Muster on this machine
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Print a script that completes commands in a shell
    Completion(admin::CompletionArgs),
    /// Print the version
    Version,
    /// Ends what a dead worker left behind; started by workers
    #[command(hide = true)]
    Guardian,
}

impl Command {
    /// What the command logs unless told otherwise.
    pub(crate) fn usual_log(&self) -> Usual {
        match self {
            Command::Master(_) | Command::Worker(process::WorkerCommand::Start(_)) => Usual::Events,
            _ => Usual::Warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_accepted_anywhere() {
        for line in [
            "muster --server a:1 -o json get runs",
            "muster get --server a:1 runs -o json",
            "muster get runs --server a:1 -o json",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.global.server.as_deref(), Some("a:1"), "{line}");
            assert_eq!(cli.global.format(), crate::output::Format::Json, "{line}");
        }
    }

    #[test]
    fn commands_take_what_the_manual_says() {
        for line in [
            "muster dev --masters 3 --workers 2 --run f.yaml",
            "muster run etl -p a=b -p c=d --wait --timeout 5m --request-id x --priority -3",
            "muster run -f f.yaml --watch --propagate-exit-code",
            "muster submit -- echo hi",
            "muster submit --cpu 500m --memory 1Gi --env A=b --array 0-9 --pool gpu --retries 2 --progress -- ls -l",
            "muster submit --each-line hosts.txt --progress -- ./probe.sh",
            "muster submit --each-json - -- ./probe.sh",
            "muster apply -f f.yaml -f g.yaml",
            "muster diff -f f.yaml -f g.yaml --exit-code -o json",
            "muster validate --schema",
            "muster get tasks etl/42 -o wide",
            "muster get workers --status active,draining -l zone=a -o name",
            "muster describe task etl/42/extract",
            "muster get namespaces -o wide",
            "muster describe namespace team",
            "muster get groups -o wide",
            "muster describe group db-prod",
            "muster explain etl/42/extract",
            "muster explain",
            "muster logs etl/42/shard[3]#2 -f --tail 10",
            "muster wait etl/1 etl/2 --timeout 1m",
            "muster release etl/42/load --fail",
            "muster cancel etl/42 etl/43 --wait",
            "muster pause -l team=data --status running --yes",
            "muster resume etl/42",
            "muster priority etl/42 -7",
            "muster retry etl/42 --failed",
            "muster retry etl/42 --from load -p day=monday",
            "muster retry --status failed --workflow etl -y",
            "muster rerun etl/42 -p a=b",
            "muster cancel etl/42/load",
            "muster skip etl/42/load etl/42/report",
            "muster succeed etl/42/load",
            "muster approve etl/42/gate etl/43/gate --reason fine",
            "muster reject etl/42/gate",
            "muster schedule next etl/nightly -c 3 --from 2026-12-01T09:00",
            "muster schedule next -f f.yaml -o json",
            "muster webhook token -o json",
            "muster schedule suspend etl",
            "muster schedule trigger etl/nightly -p day=monday",
            "muster schedule backfill etl/nightly --from 2026-11-01 --reprocess failed --reverse",
            "muster schedule backfill etl --from 2026-11-01 --to 2026-11-30 --parallel 3 --priority -5",
            "muster get schedules etl",
            "muster get triggers report",
            "muster worker drain w1",
            "muster worker start --name w1 --data-dir /d --cpu 2 --label a=b --resource gpu=1 --master a:7070,b:7070",
            "muster cluster transfer-leader muster-1",
            "muster convert wfcommons t.json --time-scale 0.01",
            "muster convert dolphinscheduler e.json --dir flows --report left.json --strict",
            "muster completion bash",
            "muster version",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn a_wrong_format_is_told_what_the_command_can_print() {
        let told = |line| parse(line).expect_err(line).to_string();
        let graph = told("muster graph etl -o png");
        assert!(graph.contains("svg, dot, mermaid") && !graph.contains("wide"), "{graph}");
        let runs = told("muster get runs -o png");
        assert!(runs.contains("wide") && !runs.contains("svg"), "{runs}");
        assert!(runs.contains("'png'") && runs.contains("--output"), "{runs}");
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "muster",
            "muster fly",
            "muster run",
            "muster run etl -f f.yaml",
            "muster run etl -p novalue",
            "muster run etl --timeout 30",
            "muster dev --masters 2",
            "muster submit",
            "muster submit --array 9-3 -- ls",
            "muster get runs --frobnicate",
            "muster schedule next",
            "muster schedule next etl -f f.yaml",
            "muster schedule next etl --from soon",
            "muster schedule backfill etl --from soon",
            "muster retry etl/42 --from a --only b",
            "muster logs etl/x",
            "muster cancel",
            "muster pause etl/1 --all",
            "muster priority etl/1 1000001",
            "muster approve",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
