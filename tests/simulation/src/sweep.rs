//! Many seeds, each in a process of its own, and what they saw together.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_checker::Coverage;
use muster_core::mutant::Mutant;

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

/// Runs `program` (this binary) for each of `seeds`, so many at once. With `twice`, each seed runs twice, and a trace
/// that differs is a failure.
///
/// # Errors
/// A process cannot be started.
pub fn sweep(program: &Path, seeds: &[u64], threads: usize, twice: bool) -> io::Result<Sweep> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let result = Mutex::new(Sweep::default());
    let work = || -> io::Result<()> {
        loop {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied() else {
                return Ok(());
            };
            let output = run(program, seed)?;
            let again = if twice { Some(hash_of(&run(program, seed)?)) } else { None };
            let has_differed = again.is_some_and(|again| again != hash_of(&output));
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut result = result.lock().expect("no thread panics while it holds the lock");
            result.seeds += 1;
            result.take_in(&text);
            if has_differed {
                text.push_str("  the same seed gave two traces\n");
            }
            if has_differed || !output.status.success() {
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                result.failures.push((seed, text));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("workers do not panic"))
    })?;
    let mut result = result.into_inner().expect("no thread panics while it holds the lock");
    result.failures.sort();
    result.took = started.elapsed();
    Ok(result)
}

fn run(program: &Path, seed: u64) -> io::Result<Output> {
    let seed = seed.to_string();
    Command::new(program).args(["run", "--coverage", &seed]).stdin(Stdio::null()).output()
}

/// Runs `program` for each of `seeds` with a mutant awake, all at once. Returns what each printed, in the order given.
///
/// # Errors
/// A process cannot be started.
pub fn run_each(program: &Path, seeds: &[u64], mutant: Mutant) -> io::Result<Vec<(u64, String)>> {
    let start = |seed: &u64| {
        let mut command = Command::new(program);
        command.args(["run", "--mutant", mutant.name(), &seed.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok((*seed, command.spawn()?))
    };
    let started: Vec<_> = seeds.iter().map(start).collect::<io::Result<_>>()?;
    let finish = |(seed, child): (u64, Child)| {
        let output = child.wait_with_output()?;
        Ok((seed, String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    started.into_iter().map(finish).collect()
}

fn hash_of(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().find_map(|word| word.strip_prefix("hash=")).map(str::to_owned)
}

/// The seeds of a list: a number at the beginning of a line; what follows, and lines that begin with `#`, is for
/// people.
///
/// # Errors
/// A line begins with neither.
pub fn read_seeds(text: &str) -> Result<Vec<u64>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let seed = |line: &str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        word.parse().map_err(|_| format!("`{line}` does not begin with a seed"))
    };
    lines.map(seed).collect()
}

impl Sweep {
    /// Adds what one process printed: its first line tells the simulated time, lines that begin with two blanks and
    /// hold a counter are counters.
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
