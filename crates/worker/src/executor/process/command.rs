//! From an assignment to everything that [`spawn`] needs.
//!
//! A program and its arguments reach the operating system as they are; no shell of ours looks at them. A `run:` script
//! is a file whose path is the last argument of its shell. The environment is clean: what an allow-list takes from the
//! worker's own, what Muster says about the attempt, and what the user asked for.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use muster_core::spec::column::{self, AXIS_PREFIX, ITEM_VARIABLE, NoValue};
use muster_core::spec::template::ARRAY_INDEX_MARK;
use muster_core::spec::{ExecutorSpec, ProcessCommand};

use super::engine::Exit;
use super::folder::Folder;
use super::leftovers::TAG_KEY;
use crate::executor::{Assignment, TaskDefinition};
use crate::sys::spawn::{Birth, TOO_LATE, spawn};

/// Taken from the worker's own environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Where programs are looked for when neither the worker nor the user says.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Keys that begin so are Muster's.
const RESERVED: &str = "MUSTER_";
/// But these come with the assignment: the run's parameters.
const PARAMS: &str = "MUSTER_PARAM_";
/// Others that masters give.
const FROM_MASTERS: [&str; 8] = [
    "MUSTER_FIRE_TIME",
    "MUSTER_FIRE_DATE",
    "MUSTER_SCHEDULE",
    "MUSTER_TRIGGER_RUN",
    "MUSTER_TRIGGER_RESULT",
    "MUSTER_RUN_RESULT",
    "MUSTER_RUN_FAILED_TASKS",
    ITEM_VARIABLE,
];

type Environment = BTreeMap<OsString, OsString>;

/// What all attempts of a worker share.
#[derive(Debug)]
pub(super) struct Template {
    inherited: Environment,
    /// What processes read from: nothing.
    nothing: OwnedFd,
}

/// A process about to be started.
#[derive(Debug)]
pub(super) struct Prepared {
    found: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    output: OwnedFd,
    /// The program as the user wrote it, for messages.
    program: String,
    working_dir: PathBuf,
    /// Whether a script was written into the attempt's folder.
    pub(super) has_script: bool,
}

impl Template {
    /// Reads the worker's environment once.
    pub(super) fn from_environment(tag: &str) -> io::Result<Self> {
        let mut inherited: Environment = INHERITED
            .iter()
            .filter_map(|key| Some(((*key).into(), std::env::var_os(key)?)))
            .collect();
        inherited.entry("PATH".into()).or_insert_with(|| PATH_DEFAULT.into());
        inherited.insert(TAG_KEY.into(), tag.into());
        Ok(Template { inherited, nothing: above_standard(&File::open("/dev/null")?)? })
    }

    /// Everything needed to start index `index` of `assignment`. The error is for people.
    pub(super) fn prepare(
        &self,
        assignment: &Assignment,
        index: u32,
        folder: &Folder,
        log: File,
    ) -> Result<Prepared, String> {
        let ExecutorSpec::Process(spec) = &assignment.task.executor else {
            return Err("not a process task".to_owned());
        };
        let (argv, has_script) = argv(&spec.command, folder)?;
        let Some(program) = argv.first().cloned() else {
            return Err("the command is empty".to_owned());
        };
        let environment = self.environment(assignment, index, folder)?;
        let working_dir = spec
            .working_dir
            .as_deref()
            .map_or_else(|| folder.work.clone(), |dir| folder.work.join(dir));
        let path = environment.get(&OsString::from("PATH")).cloned().unwrap_or_default();
        let found = text(resolve(&program, &path, &working_dir)?.into())?;
        let variables = environment.into_iter().map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            text(variable)
        });
        let environment = variables.collect::<Result<_, _>>()?;
        let arguments = argv.into_iter().map(|word| text(word.into())).collect::<Result<_, _>>()?;
        let output =
            above_standard(&log).map_err(|error| format!("cannot share the log file: {error}"))?;
        Ok(Prepared { found, arguments, environment, output, program, working_dir, has_script })
    }

    fn environment(
        &self,
        assignment: &Assignment,
        index: u32,
        folder: &Folder,
    ) -> Result<Environment, String> {
        let mut environment = self.inherited.clone();
        environment.insert("TMPDIR".into(), folder.work.clone().into());
        for (key, value) in &assignment.task.env {
            let value = fill_in(value, index, &assignment.task)
                .map_err(|error| format!("the environment variable `{key}`: {error}"))?;
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!(
                    "the environment variable `{}` is malformed",
                    key.escape_debug()
                ));
            }
            let is_from_masters = key.starts_with(PARAMS)
                || key.starts_with(AXIS_PREFIX)
                || FROM_MASTERS.contains(&&**key);
            if !key.starts_with(RESERVED) || is_from_masters {
                environment.insert((&**key).into(), value.into());
            }
        }
        let mut say = |key: &str, value: OsString| environment.insert(key.into(), value);
        say("MUSTER_RUN_ID", assignment.run.to_string().into());
        say("MUSTER_RUN_NUMBER", assignment.task.run_number.to_string().into());
        say("MUSTER_WORKFLOW", (&*assignment.task.workflow).into());
        say("MUSTER_NAMESPACE", (&*assignment.task.namespace).into());
        say("MUSTER_TASK", (&*assignment.task.name).into());
        say("MUSTER_ATTEMPT", assignment.attempt.to_string().into());
        say("MUSTER_FENCE", assignment.fence.to_string().into());
        say("MUSTER_OUTPUT", folder.output.clone().into());
        if assignment.task.is_array {
            say("MUSTER_ARRAY_INDEX", index.to_string().into());
        }
        Ok(environment)
    }
}

impl Prepared {
    /// Starts the process, as the leader of a process group of its own, and returns its id. It dies with the thread
    /// that calls.
    ///
    /// # Errors
    /// Why it was not started: it was too late, see [`Birth::too_late_ms`], or something for people.
    pub(super) fn spawn(self, template: &Template, too_late_ms: &AtomicU64) -> Result<u32, Exit> {
        let working_dir = text(self.working_dir.clone().into()).map_err(Exit::NotStarted)?;
        let birth = Birth {
            program: &self.found,
            arguments: &self.arguments,
            environment: &self.environment,
            working_dir: &working_dir,
            stdin: template.nothing.as_fd(),
            output: self.output.as_fd(),
            too_late_ms,
        };
        spawn(&birth).map_err(|error| match error.raw_os_error() {
            Some(TOO_LATE) => Exit::Refused,
            _ => Exit::NotStarted(self.explain(&error)),
        })
    }

    /// The operating system names neither the program nor the folder it did not find.
    fn explain(&self, error: &io::Error) -> String {
        let program = &self.program;
        if !self.working_dir.is_dir() {
            return format!("the working folder `{}` is not there", self.working_dir.display());
        }
        match error.raw_os_error() {
            Some(libc::ENOENT) => format!(
                "`{program}` cannot be started: it, or the interpreter it names, is not there"
            ),
            Some(libc::EACCES) => format!("`{program}` cannot be started: permission denied"),
            Some(libc::ENOEXEC) => {
                format!("`{program}` is neither a program for this machine nor a script with `#!`")
            }
            Some(libc::E2BIG) => {
                format!("`{program}` cannot be started: arguments and environment are too large")
            }
            Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
                format!(
                    "`{program}` cannot be started: the worker's machine is exhausted ({error})"
                )
            }
            _ => format!("`{program}` cannot be started: {error}"),
        }
    }
}

/// As C wants it.
fn text(text: OsString) -> Result<CString, String> {
    CString::new(text.into_vec())
        .map_err(|_| "the command holds a zero byte, which no program can be given".to_owned())
}

/// The same file, under a number that is not one of standard input, output and error.
fn above_standard(file: &File) -> io::Result<OwnedFd> {
    const FIRST: i32 = 3;
    Ok(rustix::io::fcntl_dupfd_cloexec(file, FIRST)?)
}

/// `value` with what differs between indices where the leader marked it. Everything else was resolved by the leader:
/// what looks like a reference is text of the user's.
fn fill_in(value: &str, index: u32, task: &TaskDefinition) -> Result<String, NoValue> {
    if !task.columns.is_empty() {
        column::fill_in(value, index, &task.columns)
    } else if task.is_array && value.contains(ARRAY_INDEX_MARK) {
        Ok(value.replace(ARRAY_INDEX_MARK, &index.to_string()))
    } else {
        Ok(value.to_owned())
    }
}

fn argv(command: &ProcessCommand, folder: &Folder) -> Result<(Vec<String>, bool), String> {
    match command {
        ProcessCommand::Argv(words) => {
            Ok((words.iter().map(|word| word.to_string()).collect(), false))
        }
        ProcessCommand::Script { text, shell } => {
            fs::write(&folder.script, text.as_bytes())
                .map_err(|error| format!("cannot write the script: {error}"))?;
            let script = folder
                .script
                .to_str()
                .ok_or("the worker's data folder has a name that is not UTF-8")?;
            let words = shell.iter().map(|word| word.to_string()).chain([script.to_owned()]);
            Ok((words.collect(), true))
        }
    }
}

/// The absolute path of `program`. Looking it up here makes for a better message.
fn resolve(program: &str, path: &OsString, working_dir: &Path) -> Result<PathBuf, String> {
    if program.is_empty() {
        return Err("the command is empty".to_owned());
    }
    if program.contains('/') {
        return Ok(working_dir.join(program));
    }
    let mut denied = None;
    for dir in std::env::split_paths(path) {
        let candidate = working_dir.join(dir).join(program);
        let Ok(facts) = fs::metadata(&candidate) else { continue };
        if facts.is_file() {
            if facts.permissions().mode() & 0o111 != 0 {
                return Ok(candidate);
            }
            denied.get_or_insert(candidate);
        }
    }
    Err(match denied {
        Some(candidate) => format!("`{}` is not executable", candidate.display()),
        None => format!("`{program}` was not found in PATH ({})", path.to_string_lossy()),
    })
}
