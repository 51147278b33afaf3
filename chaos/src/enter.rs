//! Getting into namespaces of the harness's own, so that nothing it does can be seen from outside or outlive it.
//!
//! ```text
//!  muster-chaos             outside: makes the folder, prints where it is, removes it
//!    └─ unshare             new network, mounts and process ids; kills everything in them when it dies
//!         └─ muster-chaos   the first process: reaps what others leave behind
//!              └─ muster-chaos   the harness
//! ```
//!
//! Where namespaces cannot be made (no root and no user namespaces) the harness runs as it is, on loopback addresses,
//! and says so.

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// Set for the processes inside: `first` for the one that reaps, `namespaces` or `loopback` for the harness.
const INSIDE: &str = "MUSTER_CHAOS_INSIDE";
/// The folder of this run.
const FOLDER: &str = "MUSTER_CHAOS_FOLDER";
/// Begins the names of all folders of ours.
const FOLDER_PREFIX: &str = "muster-chaos-";
/// A file with this name saves a folder from being removed by a later run.
const KEEP: &str = "KEEP";
/// Exit code of a process that was ended by a signal, as shells have it: this and the signal's number.
const SIGNALLED: i32 = 128;

/// Ways to get namespaces: as root, and as anybody.
const WAYS: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
const NAMESPACES: [&str; 8] = [
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
];

/// Where the harness runs.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    /// Whether it has a network and mounts of its own.
    pub(crate) has_namespaces: bool,
    /// Everything that is written goes here.
    pub(crate) folder: PathBuf,
}

/// Either this is the harness itself, or it was run inside and this is how it ended.
pub(crate) enum Entered {
    Here(Inside),
    Done(ExitCode),
}

/// Gets inside.
pub(crate) fn enter() -> Result<Entered> {
    match env::var(INSIDE).as_deref() {
        Ok("first") => reap().map(Entered::Done),
        Ok(word) => {
            let folder = env::var_os(FOLDER).context("the folder is not set")?;
            end_with_the_one_outside()?;
            let has_namespaces = word == "namespaces";
            Ok(Entered::Here(Inside { has_namespaces, folder: folder.into() }))
        }
        Err(_) => outside().map(Entered::Done),
    }
}

fn outside() -> Result<ExitCode> {
    remove_leftovers()?;
    let folder = tempfile::Builder::new()
        .prefix(&format!("{FOLDER_PREFIX}{}-", std::process::id()))
        .tempdir()
        .context("cannot make a temporary folder")?;
    let own = env::current_exe()?;
    let mut command = match WAYS.iter().find(|way| works(way)) {
        Some(way) => {
            let mut command = Command::new("unshare");
            command.args(*way).args(NAMESPACES).arg("--").arg(own).env(INSIDE, "first");
            command
        }
        None => {
            let mut command = Command::new(own);
            command.env(INSIDE, "loopback");
            command
        }
    };
    let mut inside = command
        .args(env::args_os().skip(1))
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start the harness inside")?;
    // Nothing is ever written. It ends with this process, whatever ends that.
    let _lifeline = inside.stdin.take();
    let status = inside.wait()?;
    if fs::exists(folder.path().join(KEEP))? {
        println!("kept: {}", folder.keep().display());
    }
    Ok(exit_code(status))
}

/// The one outside holds the other end of standard input: when it is gone, there is nobody to hear the verdict.
fn end_with_the_one_outside() -> Result<()> {
    let watch = || {
        let _end = io::copy(&mut io::stdin(), &mut io::sink());
        let _dead = kill_process(getpid(), Signal::KILL);
    };
    thread::Builder::new().name("lifeline".to_owned()).spawn(watch)?;
    Ok(())
}

fn works(way: &[&str]) -> bool {
    let tried = Command::new("unshare")
        .args(way)
        .args(NAMESPACES)
        .args(["--", "ip", "link", "add", "probe", "type", "bridge"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// Marks the folder as worth keeping.
pub(crate) fn keep(folder: &Path) -> Result<()> {
    fs::write(folder.join(KEEP), "not to be removed by later runs\n")?;
    Ok(())
}

/// What an earlier run that was killed left behind: everything else of it died with its namespaces.
fn remove_leftovers() -> Result<()> {
    for entry in fs::read_dir(env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(FOLDER_PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let is_in_use = Path::new("/proc").join(owner.to_string()).exists();
        if !is_in_use && !entry.path().join(KEEP).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The first process in a process namespace inherits the orphans of all others. It starts the harness and waits for
/// everybody.
fn reap() -> Result<ExitCode> {
    let harness = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "namespaces")
        .spawn()
        .context("cannot start the harness")?;
    let harness = Pid::from_child(&harness);
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty())? else { continue };
        if pid == harness {
            return Ok(exit_code(ExitStatus::from_raw(status.as_raw())));
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| SIGNALLED + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
