//! Many seeds, each in a process of its own, and what they saw together.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster_checker::Coverage;

/// A sweep's result.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How many seeds were run.
    pub seeds: u64,
    /// Seeds that were not clean, with what they printed.
    pub failures: Vec<(u64, String)>,
    /// What happened over all seeds.
    pub coverage: Coverage,
    /// Simulated time of all seeds.
    pub simulated: Duration,
    /// True time.
    pub took: Duration,
}

/// Runs `program` (this binary) for each of `seeds`, so many at once, with `arguments` besides.
///
/// # Errors
/// A process cannot be started.
pub fn sweep(
    program: &Path,
    seeds: std::ops::Range<u64>,
    jobs: usize,
    arguments: &[&str],
) -> io::Result<Sweep> {
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let result = Mutex::new(Sweep::default());
    let work = || -> io::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            let output = Command::new(program)
                .args(["run", "--coverage", &seed.to_string()])
                .args(arguments)
                .stdin(Stdio::null())
                .output()?;
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut result = result.lock().expect("no thread panics while it holds the lock");
            result.seeds += 1;
            result.take_in(&text);
            if !output.status.success() {
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                result.failures.push((seed, text));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("workers do not panic"))
    })?;
    let mut result = result.into_inner().expect("no thread panics while it holds the lock");
    result.failures.sort();
    result.took = started.elapsed();
    Ok(result)
}

impl Sweep {
    /// Adds what one process printed: its first line tells the simulated time, lines that begin with two blanks and hold
    /// a counter are counters.
    fn take_in(&mut self, text: &str) {
        let seconds = text.split_whitespace().find_map(|word| {
            word.strip_prefix("simulated=")?.strip_suffix('s')?.parse::<f64>().ok()
        });
        self.simulated += Duration::from_secs_f64(seconds.unwrap_or_default());
        for line in text.lines().filter_map(|line| line.strip_prefix(COUNTER_PREFIX)) {
            if let Ok(counter) = line.parse::<Coverage>() {
                self.coverage.merge(&counter);
            }
        }
    }
}

/// What stands before a counter in the output of a run.
pub const COUNTER_PREFIX: &str = "  # ";
