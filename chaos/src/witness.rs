//! The tasks' own testimony: a file to which each process of a task appends what it does, under an exclusive lock on a
//! file named by the task.
//!
//! ```text
//! begin 42 extract 1017 1 8123 5012000000       run task fence attempt pid nanoseconds
//! end 42 extract 1017 1 8123 5312000000
//! conflict 42 extract 1020 2 8200 5100000000    another process of the task held the lock
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Name of the witness file in the folder that the tasks are told.
pub const FILE: &str = "witness";
/// Where the locks are, in the same folder.
pub const LOCKS: &str = "locks";

/// The clock of all testimonies: time since boot, the same in every process of a machine, and the one by which masters
/// and workers say in their logs when something was.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// What a process of a task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It got its lock and works from now on.
    Begin,
    /// It is about to let the lock go.
    End,
    /// Another process of the same task was alive.
    Conflict,
}

impl Deed {
    const ALL: [(Deed, &str); 3] =
        [(Deed::Begin, "begin"), (Deed::End, "end"), (Deed::Conflict, "conflict")];

    fn word(self) -> &'static str {
        Deed::ALL.iter().find(|(deed, _)| *deed == self).map_or("", |(_, word)| word)
    }
}

/// One line of the witness file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// What was done.
    pub deed: Deed,
    /// The run's id in the cluster.
    pub run: u64,
    /// The task's name, with its index if it is one of many.
    pub task: String,
    /// The fence of the attempt.
    pub fence: u64,
    /// The attempt's number.
    pub attempt: u32,
    /// The process.
    pub pid: u32,
    /// When, by [`now`].
    pub at: Duration,
}

impl fmt::Display for Testimony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Testimony { deed, run, task, fence, attempt, pid, at } = self;
        write!(f, "{} {run} {task} {fence} {attempt} {pid} {}", deed.word(), at.as_nanos())
    }
}

impl Testimony {
    fn parse(line: &str) -> Option<Testimony> {
        let words: Vec<&str> = line.split(' ').collect();
        let [deed, run, task, fence, attempt, pid, at] = words[..] else { return None };
        Some(Testimony {
            deed: Deed::ALL.iter().find(|(_, word)| *word == deed)?.0,
            run: run.parse().ok()?,
            task: task.to_owned(),
            fence: fence.parse().ok()?,
            attempt: attempt.parse().ok()?,
            pid: pid.parse().ok()?,
            at: Duration::from_nanos(at.parse().ok()?),
        })
    }
}

/// All testimonies of a folder, in the order they were written.
///
/// # Errors
/// The file cannot be read, or a line of it is not a testimony. A file that is not there has none.
pub fn read(folder: &Path) -> io::Result<Vec<Testimony>> {
    let text = match std::fs::read_to_string(folder.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let malformed = |line: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("not a testimony: `{line}`"))
    };
    text.lines().map(|line| Testimony::parse(line).ok_or_else(|| malformed(line))).collect()
}

/// What is wrong with the testimonies, in words: two live processes of one task, and fences that do not grow.
pub fn contradictions(testimonies: &[Testimony]) -> Vec<String> {
    let mut found = Vec::new();
    let mut last: BTreeMap<(u64, &str), &Testimony> = BTreeMap::new();
    for said in testimonies {
        let key = (said.run, said.task.as_str());
        match said.deed {
            Deed::Conflict => found.push(format!("two live processes of one task: {said}")),
            Deed::Begin => {
                if let Some(before) = last.insert(key, said).filter(|it| it.fence >= said.fence) {
                    found.push(format!("a fence that did not grow: {before}, then {said}"));
                }
            }
            Deed::End => {
                if let Some(before) = last.get(&key).filter(|it| it.pid != said.pid) {
                    found.push(format!("two processes of one task at once: {before}, then {said}"));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(FILE), lines).expect("it can be written");
        contradictions(&read(folder.path()).expect("testimonies"))
    }

    #[test]
    fn a_task_that_is_killed_and_runs_again_is_fine() {
        assert_eq!(told("begin 1 a 5 1 90 10\nbegin 1 a 9 2 91 20\nend 1 a 9 2 91 30\n"), [""; 0]);
    }

    #[test]
    fn two_processes_at_once_are_not() {
        assert_eq!(told("begin 1 a 5 1 90 10\nconflict 1 a 9 2 91 20\n").len(), 1);
        assert_eq!(told("begin 1 a 5 1 90 10\nbegin 1 a 9 2 91 20\nend 1 a 5 1 90 30\n").len(), 1);
    }

    #[test]
    fn fences_grow() {
        assert_eq!(told("begin 1 a 5 1 90 10\nbegin 1 a 5 2 91 20\n").len(), 1);
        assert_eq!(told("begin 1 a 5 1 90 10\nbegin 1 b 5 1 91 20\n"), [""; 0]);
    }

    #[test]
    fn what_is_no_testimony_is_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(FILE), "begin 1 a 5 1\n").expect("it can be written");
        assert!(read(folder.path()).is_err());
    }
}
