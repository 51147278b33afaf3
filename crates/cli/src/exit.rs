//! How the program ends: one exit code for each kind of end, and what is said about it.

use std::fmt;

use muster_client::{Code, v1};

/// Exit codes. Scripts rely on them, so they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Ok,
    /// Something went wrong that no other code names.
    Error,
    /// `diff --exit-code` found a difference.
    Differs,
    /// The command line or a file is wrong.
    Usage,
    /// The run failed.
    RunFailed,
    /// The run was cancelled or timed out.
    RunStopped,
    /// What was named does not exist.
    NotFound,
    /// No worker could ever take a task.
    CannotBePlaced,
    /// `--timeout` was reached while the run goes on.
    Timeout,
    /// Ctrl-C.
    Interrupted,
    /// The failed task's own code (`--propagate-exit-code`), never 0.
    Task(u8),
}

impl Exit {
    /// The number that the operating system sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Error | Exit::Differs => 1,
            Exit::Usage => 2,
            Exit::RunFailed => 3,
            Exit::RunStopped => 4,
            Exit::NotFound => 5,
            Exit::CannotBePlaced => 6,
            Exit::Timeout => 124,
            Exit::Interrupted => 130,
            Exit::Task(code) => code,
        }
    }

    /// The code of a run that has ended.
    pub(crate) fn of_run(run: &v1::Run) -> Exit {
        match run.status() {
            v1::RunStatus::Succeeded => Exit::Ok,
            v1::RunStatus::Cancelled => Exit::RunStopped,
            v1::RunStatus::Failed if matches!(&*run.stop_reason, "" | "failFast") => {
                Exit::RunFailed
            }
            // The only other reasons to stop a run are a cancel and the run's own timeout.
            v1::RunStatus::Failed => Exit::RunStopped,
            v1::RunStatus::Queued
            | v1::RunStatus::Running
            | v1::RunStatus::Paused
            | v1::RunStatus::Unspecified => Exit::Error,
        }
    }
}

/// A command that did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What to say on stderr after `error: `; nothing if it was said before.
    pub(crate) message: Option<String>,
}

/// What a command gives back.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: Some(message.into()) }
    }

    /// The command line or a file is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Something went wrong that no other code names.
    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(Exit::NotFound, message)
    }

    pub(crate) fn error(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Error, message.to_string())
    }

    /// All was said before.
    pub(crate) fn silent(exit: Exit) -> Failure {
        Failure { exit, message: None }
    }
}

impl From<muster_client::Error> for Failure {
    fn from(error: muster_client::Error) -> Failure {
        let exit = match error.code() {
            Code::NotFound => Exit::NotFound,
            Code::InvalidArgument => Exit::Usage,
            _ => Exit::Error,
        };
        let mut message = error.to_string();
        if error.is_unreachable() {
            message.push_str(
                "\n`muster dev` starts a cluster on this machine; --server or MUSTER_SERVER names another",
            );
        }
        Failure::new(exit, message)
    }
}

impl From<std::io::Error> for Failure {
    /// Writing to stdout failed. Whoever closed it has seen enough.
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::silent(Exit::Ok);
        }
        Failure::error(format!("writing the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: v1::RunStatus, stop_reason: &str) -> v1::Run {
        v1::Run { status: status.into(), stop_reason: stop_reason.into(), ..Default::default() }
    }

    #[test]
    fn codes_are_those_that_are_documented() {
        let table = [
            (Exit::Ok, 0),
            (Exit::Error, 1),
            (Exit::Differs, 1),
            (Exit::Usage, 2),
            (Exit::RunFailed, 3),
            (Exit::RunStopped, 4),
            (Exit::NotFound, 5),
            (Exit::CannotBePlaced, 6),
            (Exit::Timeout, 124),
            (Exit::Interrupted, 130),
            (Exit::Task(17), 17),
        ];
        for (exit, code) in table {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn a_run_ends_with_its_code() {
        for (run, exit) in [
            (run(v1::RunStatus::Succeeded, ""), Exit::Ok),
            (run(v1::RunStatus::Failed, ""), Exit::RunFailed),
            (run(v1::RunStatus::Failed, "failFast"), Exit::RunFailed),
            (run(v1::RunStatus::Failed, "timed out"), Exit::RunStopped),
            (run(v1::RunStatus::Cancelled, "cancelled"), Exit::RunStopped),
            (run(v1::RunStatus::Running, ""), Exit::Error),
        ] {
            assert_eq!(Exit::of_run(&run), exit, "{run:?}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let failure = Failure::from(closed);
        assert_eq!((failure.exit, failure.message), (Exit::Ok, None));
    }
}
