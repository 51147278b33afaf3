//! `muster submit -- CMD…`: one command as a run of its own.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use muster_client::Submission;
use muster_core::ids::{Name, Text};
use muster_core::spec::{
    ArraySpec, ExecutorSpec, ProcessCommand, ProcessSpec, Resources, TaskSpec, WorkflowSpec,
    validate,
};
use muster_core::time::Millis;

use super::each;
use super::run::submit_and_follow;
use crate::exit::{Failure, Outcome};
use crate::follow::FollowArgs;
use crate::settings::Global;
use crate::units;

/// What a run is called whose command gives no name.
const NAME_DEFAULT: &str = "command";

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    /// Name of the run's workflow [default: the command's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Cores to take: `2`, `500m` [default: 1]
    #[arg(long, value_name = "CORES", value_parser = units::cpu)]
    cpu: Option<u64>,
    /// Memory to take: `256Mi`
    #[arg(long, value_name = "BYTES", value_parser = units::memory)]
    memory: Option<u64>,
    /// Something else to take: `gpu=1`
    #[arg(long, value_name = "NAME=COUNT", value_parser = units::count)]
    resource: Vec<(String, u64)>,
    /// Set an environment variable
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = units::pair)]
    env: Vec<(String, String)>,
    /// Run once for each index, which the command finds in $MUSTER_ARRAY_INDEX: `0-999`, or a count
    #[arg(long, value_name = "FIRST-LAST", value_parser = units::range)]
    array: Option<(u32, u32)>,
    /// Run once for each line of a file that is not empty, which the command finds in $MUSTER_ITEM; `-` reads the input
    #[arg(long, value_name = "FILE", conflicts_with = "array")]
    each_line: Option<PathBuf>,
    /// Run once for each item of a JSON array, or each of several JSON values, which the command finds in $MUSTER_ITEM
    #[arg(long, value_name = "FILE", conflicts_with_all = ["array", "each_line"])]
    each_json: Option<PathBuf>,
    /// Run on the workers of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Run on workers with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = units::pair)]
    selector: Vec<(String, String)>,
    /// Attempts after a failure
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// End an attempt that takes longer
    #[arg(long, value_name = "DURATION", value_parser = units::span)]
    timeout: Option<Duration>,
    /// Folder to run in [default: an empty one of its own]
    #[arg(long, value_name = "DIR")]
    working_dir: Option<String>,
    /// Larger first
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
    /// Submitting the same id again gives the same run
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    follow: FollowArgs,
    /// Stop waiting after this long, with exit code 124; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = units::span)]
    wait_timeout: Option<Duration>,
    /// The command and its arguments, not interpreted by any shell
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(args: SubmitArgs, global: &Global) -> Outcome {
    let spec = spec(&args)?;
    let mut submission = Submission::one_off(&spec);
    if let Some(id) = &args.request_id {
        submission = submission.request_id(id);
    }
    let client = global.client()?;
    submit_and_follow(&client, submission, args.follow, args.wait_timeout, global.format()).await
}

/// A workflow with one task.
fn spec(args: &SubmitArgs) -> Result<WorkflowSpec, Failure> {
    let name = match &args.name {
        Some(name) => Name::parse(name).map_err(|error| Failure::usage(error.to_string()))?,
        None => name_of(&args.command[0]),
    };
    let command = args.command.iter().map(|word| Text::from(word.as_str())).collect();
    let working_dir = args.working_dir.as_deref().map(Text::from);
    let process = ProcessSpec { command: ProcessCommand::Argv(command), working_dir };
    let mut task = TaskSpec::new(name.clone(), ExecutorSpec::Process(process));
    let texts = |pairs: &[(String, String)]| {
        pairs.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
    };
    task.env = texts(&args.env);
    task.array = args.array.map(|(first, last)| ArraySpec { first, last });
    task.fan_out = each::items(args.each_line.as_deref(), args.each_json.as_deref())?;
    task.request.pool = args.pool.as_deref().map(Text::from);
    task.request.selector = texts(&args.selector);
    task.request.resources = Resources {
        cpu_millis: args.cpu.unwrap_or(Resources::default().cpu_millis),
        memory_bytes: args.memory.unwrap_or_default(),
        custom: args.resource.iter().map(|(name, count)| (name.as_str().into(), *count)).collect(),
    };
    task.retry.limit = args.retries;
    task.timeout =
        args.timeout.map(|span| Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)));
    let spec = WorkflowSpec {
        priority: args.priority.unwrap_or(0),
        ..WorkflowSpec::new(name, vec![task])
    };
    validate(&spec).map_err(|errors| Failure::usage(errors.to_string()))?;
    Ok(spec)
}

/// The name of the program as far as a name can have it: `/usr/bin/Python3.12` gives `python3-12`.
fn name_of(program: &str) -> Name {
    let base = program.rsplit('/').next().unwrap_or_default().to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let cleaned: String = base.chars().map(|c| if allowed(c) { c } else { '-' }).take(60).collect();
    let cleaned =
        cleaned.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    Name::parse(cleaned)
        .unwrap_or_else(|_| Name::parse(NAME_DEFAULT).expect("it is a well-formed name"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SubmitArgs,
    }

    fn spec_of(line: &str) -> Result<WorkflowSpec, Failure> {
        spec(&Line::try_parse_from(line.split_whitespace()).unwrap().args)
    }

    #[test]
    fn programs_give_names() {
        for (program, name) in [
            ("echo", "echo"),
            ("/usr/bin/Python3.12", "python3-12"),
            ("./a.out", "a-out"),
            ("7z", "z"),
            ("…", "command"),
            ("", "command"),
        ] {
            assert_eq!(name_of(program).as_str(), name, "{program}");
        }
    }

    #[test]
    fn flags_become_a_task() {
        let spec = spec_of(
            "submit --cpu 500m --memory 1Gi --resource gpu=2 -e A=b --array 3 --pool p --selector z=a \
             --retries 4 --timeout 90s --priority 5 -- sleep 1",
        )
        .unwrap();
        let task = &spec.tasks[0];
        assert_eq!((spec.name.as_str(), spec.priority), ("sleep", 5));
        assert_eq!(task.array, Some(ArraySpec { first: 0, last: 2 }));
        assert_eq!(task.request.resources.cpu_millis, 500);
        assert_eq!(task.request.resources.memory_bytes, 1 << 30);
        assert_eq!(task.request.resources.custom.get("gpu"), Some(&2));
        assert_eq!(task.request.pool.as_deref(), Some("p"));
        assert_eq!((task.retry.limit, task.timeout), (4, Some(Millis::from_secs(90))));
        let ExecutorSpec::Process(process) = &task.executor else { panic!("a process") };
        assert_eq!(process.command, ProcessCommand::Argv(vec!["sleep".into(), "1".into()]));
    }

    #[test]
    fn one_core_unless_said_otherwise() {
        assert_eq!(
            spec_of("submit -- ls").unwrap().tasks[0].request.resources,
            Resources::default()
        );
    }

    #[test]
    fn what_the_rules_refuse_is_refused_here() {
        let failure = spec_of("submit --retries 100000 -- ls").unwrap_err();
        assert!(failure.message.unwrap().contains("retry"), "names the field");
        assert!(spec_of("submit --name Ärger -- ls").is_err());
    }
}
