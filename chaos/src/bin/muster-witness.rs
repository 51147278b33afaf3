//! What the tasks of a chaos run are: a process that holds an exclusive lock on a file named by its task for as long as
//! it lives, and writes down when it begins and ends.
//!
//! It is told everything by its environment: `WITNESS_FOLDER`, `WITNESS_MS` (how long it works), `WITNESS_FAILS` (with
//! how many first attempts it fails) and `WITNESS_KILLS` (if set to 1, it kills its worker instead of ending).

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use muster_chaos::witness::{self, Deed, FILE, LOCKS, Testimony};
use rustix::process::{Signal, getppid, kill_process};

/// Exit code of a task that fails because it was told to.
const TOLD_TO_FAIL: u8 = 3;
/// Exit code of a task that met another process of its own.
const CONFLICT: u8 = 99;

fn main() -> ExitCode {
    match testify() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("the witness cannot work: {error}");
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

fn number(name: &str) -> io::Result<u64> {
    variable(name)?.parse().map_err(|error| io::Error::other(format!("{name}: {error}")))
}

fn testify() -> io::Result<u8> {
    let folder = variable("WITNESS_FOLDER")?;
    let folder = Path::new(&folder);
    let mut task = variable("MUSTER_TASK")?;
    if let Ok(index) = env::var("MUSTER_ARRAY_INDEX") {
        task = format!("{task}.{index}");
    }
    let mut said = Testimony {
        deed: Deed::Begin,
        run: number("MUSTER_RUN_ID")?,
        task,
        fence: number("MUSTER_FENCE")?,
        attempt: number("MUSTER_ATTEMPT")?.try_into().unwrap_or(u32::MAX),
        pid: std::process::id(),
        at: Duration::ZERO,
    };
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCKS).join(format!("{}.{}", said.run, said.task)))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            append(folder, &mut said, Deed::Conflict)?;
            return Ok(CONFLICT);
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    append(folder, &mut said, Deed::Begin)?;
    rest(Duration::from_millis(number("WITNESS_MS")?));
    if env::var("WITNESS_KILLS").is_ok_and(|it| it == "1")
        && let Some(worker) = getppid()
    {
        kill_process(worker, Signal::KILL)?;
        rest(Duration::from_secs(60));
    }
    append(folder, &mut said, Deed::End)?;
    if env::var("WITNESS_FAILS").is_ok() && u64::from(said.attempt) <= number("WITNESS_FAILS")? {
        return Ok(TOLD_TO_FAIL);
    }
    if env::var("MUSTER_ARRAY_INDEX").is_err() {
        let path = variable("MUSTER_OUTPUT")?;
        let mut output = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(output, "fence={}", said.fence)?;
    }
    Ok(0)
}

#[expect(clippy::disallowed_methods, reason = "there is no runtime here whose thread could block")]
fn rest(span: Duration) {
    std::thread::sleep(span);
}

/// One write a line: lines of many processes do not mix.
fn append(folder: &Path, said: &mut Testimony, deed: Deed) -> io::Result<()> {
    said.deed = deed;
    said.at = witness::now();
    let line = format!("{said}\n");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(folder.join(FILE))?;
    file.write_all(line.as_bytes())
}
