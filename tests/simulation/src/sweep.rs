//! Many seeds, each in a process of its own, and what they saw together.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_checker::linear::one_run::GIVEN_UP;
use muster_checker::{Coverage, Rare};
use muster_core::mutant::Mutant;

use crate::limited::output_within;

/// How much CPU time the process of one seed may take, or how long it may use none, before it is killed. A seed that
/// never returns would hold up a sweep for ever instead of failing it. Most take less than a second, or ten in the dev
/// profile.
pub const SEED_MAX: Duration = Duration::from_secs(300);
/// The search for an order of calls may be given up in one seed of so many: whoever gives up finds nothing.
const GIVEN_UP_ONE_IN: u64 = 20;

/// A sweep's result.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How many seeds were run.
    pub seeds: u64,
    /// Seeds that were not clean, with what they printed.
    pub failures: Vec<(u64, String)>,
    /// What happened over all seeds.
    pub coverage: Coverage,
    /// Seeds in which the search for an order of calls was given up at least once.
    pub given_up: u64,
    /// Simulated time of all seeds.
    pub simulated: Duration,
    /// True time.
    pub took: Duration,
}

/// How a sweep is carried out.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// Processes at once.
    pub threads: usize,
    /// Runs each seed twice: a trace that differs is a failure.
    pub twice: bool,
    /// Once it is set no further seed is begun. Those under way are finished, so that what was run is a beginning of
    /// the list.
    pub is_stopped: &'a AtomicBool,
    /// Told after each seed: all so far, and, if this seed failed, what it printed.
    pub told: &'a (dyn Fn(&Sweep, Option<&str>) + Sync),
}

/// Runs `program` (this binary) for each of `seeds`.
///
/// # Errors
/// A process cannot be started.
pub fn sweep(program: &Path, seeds: &[u64], manner: Manner<'_>) -> io::Result<Sweep> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let result = Mutex::new(Sweep::default());
    let work = || -> io::Result<()> {
        while !manner.is_stopped.load(Ordering::Relaxed) {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied() else {
                break;
            };
            let first = run(program, seed)?;
            // What did not return is not tried again.
            let is_again = manner.twice && first.is_some();
            let again = if is_again { Some(run(program, seed)?) } else { None };
            let mut result = result.lock().expect("no thread panics while it holds the lock");
            let failures = result.failures.len();
            result.add(seed, first.as_ref(), again.as_ref().map(Option::as_ref));
            (manner.told)(&result, result.failures.get(failures).map(|(_, text)| text.as_str()));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..manner.threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("workers do not panic"))
    })?;
    let mut result = result.into_inner().expect("no thread panics while it holds the lock");
    result.failures.sort();
    result.took = started.elapsed();
    Ok(result)
}

fn run(program: &Path, seed: u64) -> io::Result<Option<Output>> {
    let mut command = Command::new(program);
    // A group of its own: who stops the sweep from a terminal does not mean the seeds under way.
    command.args(["run", "--coverage", &seed.to_string()]).process_group(0);
    output_within(&mut command, SEED_MAX)
}

/// Runs `program` for each of `seeds` with a mutant awake, all at once. Returns what each printed, in the order given.
///
/// # Errors
/// A process cannot be started.
pub fn run_each(program: &Path, seeds: &[u64], mutant: Mutant) -> io::Result<Vec<(u64, String)>> {
    let run = |seed: u64| {
        let mut command = Command::new(program);
        command.args(["run", "--mutant", mutant.name(), &seed.to_string()]);
        let output = output_within(&mut command, SEED_MAX)?;
        Ok((seed, output.map_or_else(overdue, |it| String::from_utf8_lossy(&it.stdout).into())))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = seeds.iter().map(|seed| scope.spawn(move || run(*seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

/// What is said of a seed that was killed. It begins as lines about what is broken do.
pub fn overdue() -> String {
    format!("  did not return in {} s of CPU time\n", SEED_MAX.as_secs())
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
    /// What can be wrong with all seeds together, in words: `wanted` events that never happened, and a search that is
    /// given up too often.
    pub fn doubts(&self, wanted: &[Rare]) -> Vec<String> {
        let mut doubts = Vec::new();
        let never = self.coverage.never(wanted);
        if !never.is_empty() {
            let never = never.join(", ");
            doubts.push(format!("never happened, so nothing is known about it: {never}"));
        }
        if self.given_up * GIVEN_UP_ONE_IN > self.seeds {
            let Sweep { given_up, seeds, .. } = self;
            doubts.push(format!("{GIVEN_UP} in {given_up} of {seeds} seeds: too many"));
        }
        doubts
    }

    /// Adds one seed: what its process printed, or nothing if it was killed; and the same of a second one, if there was
    /// one.
    fn add(&mut self, seed: u64, first: Option<&Output>, again: Option<Option<&Output>>) {
        self.seeds += 1;
        let mut text = first.map_or_else(
            || format!("seed={seed} BROKEN\n{}", overdue()),
            |it| String::from_utf8_lossy(&it.stdout).into_owned(),
        );
        self.take_in(&text);
        let is_success = first.is_some_and(|it| it.status.success());
        let differs = match again {
            None => "",
            Some(None) => "  the second time it did not return\n",
            Some(again) if again.and_then(hash_of) == first.and_then(hash_of) => "",
            Some(Some(_)) => "  the same seed gave two traces\n",
        };
        text.push_str(differs);
        if !is_success || !differs.is_empty() {
            text.extend(first.map(|it| String::from_utf8_lossy(&it.stderr)));
            self.failures.push((seed, text));
        }
    }

    /// Adds what one process printed: its first line tells the simulated time, lines that begin with two blanks and
    /// hold a counter are counters.
    fn take_in(&mut self, text: &str) {
        let seconds = text.split_whitespace().find_map(|word| {
            word.strip_prefix("simulated=")?.strip_suffix('s')?.parse::<f64>().ok()
        });
        self.simulated += Duration::from_secs_f64(seconds.unwrap_or_default());
        for line in text.lines().filter_map(|line| line.strip_prefix(COUNTER_PREFIX)) {
            if let Ok(counter) = line.parse::<Coverage>() {
                self.given_up += u64::from(counter.of_own(GIVEN_UP) > 0);
                self.coverage.merge(&counter);
            }
        }
    }
}

/// What stands before a counter in the output of a run.
pub const COUNTER_PREFIX: &str = "  # ";

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, text: &str) -> Output {
        let status = ExitStatus::from_raw(code << 8);
        Output { status, stdout: text.into(), stderr: b"said aloud\n".to_vec() }
    }

    #[test]
    fn a_seed_that_did_not_return_is_broken() {
        let mut sweep = Sweep::default();
        sweep.add(3, None, None);
        let told = "seed=3 BROKEN\n  did not return in 300 s of CPU time\n".to_owned();
        assert_eq!(sweep.failures, [(3, told)]);
    }

    #[test]
    fn so_is_one_that_ends_otherwise_the_second_time() {
        let (one, other) = (output(0, "hash=1 clean\n"), output(0, "hash=2 clean\n"));
        let mut sweep = Sweep::default();
        sweep.add(1, Some(&one), None);
        sweep.add(2, Some(&one), Some(Some(&one)));
        assert_eq!((sweep.seeds, sweep.failures.len()), (2, 0));
        sweep.add(3, Some(&one), Some(Some(&other)));
        sweep.add(4, Some(&one), Some(None));
        sweep.add(5, Some(&output(1, "hash=1 BROKEN\n")), None);
        let seeds: Vec<u64> = sweep.failures.iter().map(|(seed, _)| *seed).collect();
        assert_eq!((sweep.seeds, seeds), (5, vec![3, 4, 5]));
        assert!(sweep.failures[2].1.ends_with("BROKEN\nsaid aloud\n"));
    }

    #[test]
    fn what_never_happened_and_searches_given_up_too_often_raise_doubts() {
        let mut sweep = Sweep::default();
        let clean = output(0, "seed=0 hash=1 simulated=2.0s clean\n  # task held: 1\n");
        let doubtful = output(0, "hash=1 clean\n  # search given up: 7\n  # voters replaced: 0\n");
        (0..19).for_each(|seed| sweep.add(seed, Some(&clean), None));
        sweep.add(19, Some(&doubtful), None);
        assert_eq!(sweep.simulated, Duration::from_secs(38));
        let never = "never happened, so nothing is known about it: voters replaced";
        assert_eq!(sweep.doubts(&[Rare::Held]), [never], "one in twenty may be given up");
        sweep.add(20, Some(&doubtful), None);
        let given_up = "search given up in 2 of 21 seeds: too many";
        assert_eq!(sweep.doubts(&[Rare::Held]), [never, given_up]);
    }
}
