//! One process that the harness started, and may kill, stop and start again.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(5);

/// See the module documentation. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Not started yet; whatever it says goes to `log`.
    pub(crate) fn new(log: PathBuf) -> Process {
        Process { child: None, log }
    }

    pub(crate) fn start(&mut self, command: &mut Command) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        self.child = Some(child);
        Ok(())
    }

    pub(crate) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it writes what it says.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { bail!("it does not run") };
        kill_process(Pid::from_child(child), signal)?;
        Ok(())
    }

    /// Ends it as a power cut would. Nothing of it is alive when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    /// How it ended, if it did so by itself since it was started.
    pub(crate) fn ended_by_itself(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.child = None;
        Ok(Some(match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "neither code nor signal".to_owned(),
        }))
    }

    /// Asks it to stop and waits; kills it if that takes longer than `patience`. Returns whether it stopped by itself.
    pub(crate) async fn terminate(&mut self, patience: Duration) -> Result<bool> {
        if self.child.is_none() {
            return Ok(true);
        }
        self.signal(Signal::TERM)?;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.ended_by_itself()?.is_some() {
                return Ok(true);
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill();
        Ok(false)
    }

    /// Memory it has, bytes; 0 if it does not run.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let Some(pid) = self.pid() else { return 0 };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or_default() << 10
    }
}

/// The processes that `pid` started and that live.
pub(crate) fn children(pid: u32) -> Result<Vec<i32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    Ok(children)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
