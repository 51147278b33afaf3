//! Runs one seed of the simulation, or many, and prints the verdict.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser, Subcommand};
use muster_checker::Rare;
use muster_core::mutant::{self, Mutant};
use muster_simulation::machine::entropy::{real_time, uses};
use muster_simulation::mutants::{TRIALS, Trial, hunt};
use muster_simulation::plan::Plan;
use muster_simulation::run::{Report, run};
use muster_simulation::sweep::{COUNTER_PREFIX, Manner, Sweep, read_seeds, sweep};
use muster_simulation::trace::Trace;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How often a sweep says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// A cluster of Muster in one thread, with faults drawn from a seed. Equal seeds give equal traces.
#[derive(Parser)]
#[command(name = "muster-sim")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs one seed.
    Run(One),
    /// Prints what a seed means.
    Plan {
        /// The seed.
        seed: u64,
    },
    /// Runs many seeds, each in a process of its own.
    Sweep(Many),
    /// Checks that deliberate bugs are noticed: runs each until a seed names the promise that it breaks.
    Mutants(Hunt),
    /// Runs the seeds that ever found something.
    Regress {
        /// The list.
        #[arg(default_value = "tests/simulation/seeds.txt")]
        list: PathBuf,
    },
}

#[derive(Args)]
struct One {
    /// The seed.
    seed: u64,
    /// Writes everything that happens to this file; `-` for the standard output.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Prints counters, too.
    #[arg(long)]
    coverage: bool,
    /// Prints what the masters and workers log, as RUST_LOG says.
    #[arg(long)]
    log: bool,
    /// Wakes a deliberate bug.
    #[arg(long, value_parser = mutant_named)]
    mutant: Option<Mutant>,
}

#[derive(Args)]
struct Hunt {
    /// Which; all if absent.
    #[arg(value_parser = mutant_named)]
    names: Vec<Mutant>,
    /// Seeds after which a mutant has escaped.
    #[arg(long, default_value_t = 200)]
    seeds_max: u64,
    /// Processes at once; as many as there are cores if absent.
    #[arg(long)]
    threads: Option<usize>,
}

fn mutant_named(name: &str) -> Result<Mutant, String> {
    let names = || Mutant::ALL.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
    Mutant::named(name).ok_or_else(|| format!("there is none of that name; there are {}", names()))
}

#[derive(Args)]
struct Many {
    /// How many.
    count: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Processes at once; as many as there are cores if absent.
    #[arg(long)]
    threads: Option<usize>,
    /// Runs every seed twice, and fails if the traces differ.
    #[arg(long)]
    twice: bool,
    /// Does not fail for rare events that never happened, or searches given up too often: for a few seeds.
    #[arg(long)]
    few: bool,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().what {
        What::Run(one) => run_one(one),
        What::Plan { seed } => {
            println!("{:#?}", Plan::from_seed(seed));
            Ok(true)
        }
        What::Sweep(many) => {
            let seeds: Vec<u64> = (many.from..many.from + many.count).collect();
            run_many(&seeds, &many)
        }
        What::Mutants(wanted) => hunt_all(&wanted),
        What::Regress { list } => regress(&list),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_one(one: One) -> Result<bool> {
    if one.log {
        let filter = EnvFilter::from_default_env();
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        log.without_time().with_writer(io::stderr).init();
    }
    if let Some(mutant) = one.mutant {
        mutant::set(mutant);
    }
    let plan = Plan::from_seed(one.seed);
    let out = open(one.trace).context("the trace cannot be written")?;
    let started = real_time();
    // A thread of its own: what happened before, such as reading arguments, must not change its thread-locals.
    let simulation = std::thread::Builder::new().name("simulation".into());
    let thread = simulation.spawn(move || (run(plan, Trace::new(out)), uses()))?;
    let joined = thread.join().map_err(|_| anyhow!("seed {}: its thread panicked", one.seed));
    let (report, (draws, readings)) = joined?;
    let took = real_time() - started;
    println!(
        "seed={} hash={:016x} lines={} simulated={:.1}s took={:.2}s draws={draws} readings={readings} {}",
        one.seed,
        report.hash,
        report.lines,
        report.simulated.as_secs_f64(),
        took.as_secs_f64(),
        if report.is_clean() { "clean" } else { "BROKEN" },
    );
    tell(&report, one.coverage);
    Ok(report.is_clean())
}

fn tell(report: &Report, coverage: bool) {
    if let Some(broken) = &report.broken {
        println!("  {broken}");
    }
    for violation in &report.verdict.violations {
        println!("  {violation}");
    }
    if coverage {
        for line in report.verdict.coverage.to_string().lines() {
            println!("{COUNTER_PREFIX}{line}");
        }
    }
}

fn hunt_all(wanted: &Hunt) -> Result<bool> {
    let program = std::env::current_exe()?;
    let threads = wanted.threads.unwrap_or_else(cores);
    let is_wanted = |it: &&Trial| wanted.names.is_empty() || wanted.names.contains(&it.mutant);
    let (mut tried, mut escaped) = (0, 0);
    for trial in TRIALS.iter().filter(is_wanted) {
        let outcome = hunt(&program, *trial, wanted.seeds_max, threads)?;
        println!("{outcome}");
        tried += 1;
        escaped += u32::from(outcome.caught.is_none());
    }
    println!("{tried} mutants, {escaped} not caught by what they break");
    Ok(escaped == 0)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

fn regress(list: &Path) -> Result<bool> {
    let text = fs::read_to_string(list).with_context(|| list.display().to_string())?;
    let seeds = read_seeds(&text).map_err(|error| anyhow!("{}: {error}", list.display()))?;
    run_many(&seeds, &Many { count: 0, from: 0, threads: None, twice: false, few: true })
}

fn run_many(seeds: &[u64], many: &Many) -> Result<bool> {
    let program = std::env::current_exe()?;
    let (is_stopped, last_told) = (stopped_by_signals()?, Mutex::new(Instant::now()));
    let told = |so_far: &Sweep, failed: Option<&str>| {
        if let Some(text) = failed {
            let words = text.lines().filter(|line| !line.starts_with(COUNTER_PREFIX));
            words.for_each(|line| println!("{line}"));
        }
        let mut last_told = last_told.lock();
        if last_told.elapsed() >= TELL_EVERY {
            *last_told = Instant::now();
            let Sweep { seeds: done, failures, .. } = so_far;
            eprintln!("{done} of {} seeds, {} broken", seeds.len(), failures.len());
        }
    };
    let threads = many.threads.unwrap_or_else(cores);
    let manner = Manner { threads, twice: many.twice, is_stopped: &is_stopped, told: &told };
    let result = sweep(&program, seeds, manner)?;
    Ok(conclude(seeds, many, &result))
}

/// Prints what came of all seeds together. Returns whether all is well.
fn conclude(seeds: &[u64], many: &Many, result: &Sweep) -> bool {
    print!("{}", result.coverage);
    for (seed, _) in &result.failures {
        println!("again: cargo run --release -p muster-simulation -- run {seed}");
    }
    println!(
        "{} seeds, {} broken; {:.0} s simulated in {:.0} s",
        result.seeds,
        result.failures.len(),
        result.simulated.as_secs_f64(),
        result.took.as_secs_f64(),
    );
    let left = &seeds[result.seeds as usize..];
    if let Some(next) = left.first() {
        println!("stopped: {} seeds were not run, from {next} on", left.len());
    }
    let is_judged_whole = !many.few && left.is_empty();
    let doubts = if is_judged_whole { result.doubts(Rare::ALL) } else { Vec::new() };
    doubts.iter().for_each(|doubt| println!("{doubt}"));
    result.failures.is_empty() && doubts.is_empty() && left.is_empty()
}

/// Becomes true with the first SIGINT or SIGTERM. Further ones change nothing.
fn stopped_by_signals() -> Result<Arc<AtomicBool>> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let stops = Arc::clone(&is_stopped);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        eprintln!("stopping after the seeds under way");
        stops.store(true, Ordering::Relaxed);
    })?;
    Ok(is_stopped)
}

fn open(path: Option<PathBuf>) -> io::Result<Option<Box<dyn Write + Send>>> {
    Ok(match path {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(Box::new(io::stdout())),
        Some(path) => Some(Box::new(BufWriter::new(File::create(path)?))),
    })
}
