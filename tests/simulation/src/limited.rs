//! Processes that may not take for ever.

use std::fs;
use std::io::{self, Read};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Looks at its CPU time, in the time that it may use.
const CPU_LOOKS: u32 = 20;
/// What a tick of CPU time is in `/proc`: `USER_HZ`, the same on all architectures that the kernel supports.
const CPU_TICK: Duration = Duration::from_millis(10);
/// Where `/proc/PID/stat` has the CPU time of a process, counted from what follows its name: proc_pid_stat(5).
const UTIME_FIELD: usize = 11;

/// Runs a command without input. Returns how it ended and what it printed, or `None` if it was killed, which it is once
/// it has used `limit` of CPU time, or has not used any for that long: then what it printed counts for nothing. Time in
/// which others have the cores does not count.
///
/// # Errors
/// It cannot be started, or not be waited for.
pub fn output_within(command: &mut Command, limit: Duration) -> io::Result<Option<Output>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut patience = Patience::new(child.id(), limit);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // Both at once: a full pipe would stop the process.
        let stdout = scope.spawn(|| read(stdout));
        let stderr = scope.spawn(|| read(stderr));
        let status = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if !patience.is_over() => thread::park_timeout(LOOK),
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

/// How long a process is waited for.
struct Patience {
    process: u32,
    limit: Duration,
    /// CPU time that it has used, and when it was last seen to have used more.
    used: Duration,
    since: Instant,
    next_look: Instant,
}

impl Patience {
    fn new(process: u32, limit: Duration) -> Self {
        let now = Instant::now();
        let next_look = now + limit / CPU_LOOKS;
        Self { process, limit, used: Duration::ZERO, since: now, next_look }
    }

    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_look {
            return false;
        }
        self.next_look = now + self.limit / CPU_LOOKS;
        let used = cpu_time(self.process).unwrap_or_default();
        if used > self.used {
            (self.used, self.since) = (used, now);
        }
        self.used >= self.limit || now - self.since >= self.limit
    }
}

/// What all threads of a process have used.
fn cpu_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in brackets, and may hold any character.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(UTIME_FIELD).take(2).map(str::parse::<u32>);
    Some(CPU_TICK * ticks.sum::<Result<u32, _>>().ok()?)
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
    fn what_does_nothing_is_killed() {
        let limit = Duration::from_millis(50);
        let started = Instant::now();
        let mut sleep = shell(&format!("echo begun; exec sleep {FOR_EVER}"));
        let output = output_within(&mut sleep, limit).expect("there is a shell");
        assert!(output.is_none());
        assert!(started.elapsed() >= limit, "it had all of its time");
    }

    #[test]
    fn what_works_for_ever_is_killed() {
        let limit = Duration::from_millis(200);
        let mut busy = shell("while :; do :; done");
        let output = output_within(&mut busy, limit).expect("there is a shell");
        assert!(output.is_none());
    }

    #[test]
    fn time_that_others_have_does_not_count() {
        // It lasts twice as long as it may, and works in between.
        let limit = Duration::from_millis(1_000);
        let works = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        let mut shell = shell(&format!("for part in 1 2 3 4 5; do {works}; sleep 0.4; done"));
        let started = Instant::now();
        let output = output_within(&mut shell, limit).expect("there is a shell");
        assert!(output.is_some_and(|output| output.status.success()));
        assert!(started.elapsed() >= 2 * limit, "it lasted for {:?}", started.elapsed());
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
