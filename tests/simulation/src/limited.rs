//! Processes that may not take for ever.

use std::io::{self, Read};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a command without input. Returns how it ended and what it printed, or `None` if it did not end within `limit`:
/// then it is killed, and what it printed counts for nothing.
///
/// # Errors
/// It cannot be started, or not be waited for.
pub fn output_within(command: &mut Command, limit: Duration) -> io::Result<Option<Output>> {
    let started = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // Both at once: a full pipe would stop the process.
        let stdout = scope.spawn(|| read(stdout));
        let stderr = scope.spawn(|| read(stderr));
        let status = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if started.elapsed() < limit => thread::park_timeout(LOOK),
                None => {
                    child.kill()?;
                    child.wait()?;
                    break None;
                }
            }
        };
        let printed =
            |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("it does not panic");
        let (stdout, stderr): (io::Result<_>, io::Result<_>) = (printed(stdout), printed(stderr));
        let (stdout, stderr) = (stdout?, stderr?);
        Ok(status.map(|status| Output { status, stdout, stderr }))
    })
}

fn read(from: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test run.
    const FOR_EVER: &str = "100000";

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_does_not_return_is_killed() {
        let limit = Duration::from_millis(50);
        let started = Instant::now();
        let mut sleep = shell(&format!("echo begun; exec sleep {FOR_EVER}"));
        let output = output_within(&mut sleep, limit).expect("there is a shell");
        assert!(output.is_none());
        assert!(started.elapsed() >= limit, "it had all of its time");
    }

    #[test]
    fn what_returns_is_told_with_all_that_it_printed() {
        // More than a pipe holds, on both.
        let mut shell = shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; exit 3");
        let limit = Duration::from_secs(100_000);
        let output = output_within(&mut shell, limit).expect("there is a shell");
        let output = output.expect("it ends");
        let lengths = (output.stdout.len(), output.stderr.len());
        assert_eq!((lengths, output.status.code()), ((1_000_000, 1_000_000), Some(3)));
    }
}
