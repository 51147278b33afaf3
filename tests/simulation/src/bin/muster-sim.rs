//! Runs one seed of the simulation and prints its verdict.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use muster_simulation::machine::entropy::{real_time, uses};
use muster_simulation::plan::Plan;
use muster_simulation::run::{Report, run};
use muster_simulation::trace::Trace;
use tracing_subscriber::EnvFilter;

/// A cluster of Muster with faults drawn from a seed. Equal seeds give equal traces.
#[derive(Parser)]
#[command(name = "muster-sim")]
struct Arguments {
    /// The seed.
    seed: u64,
    /// Writes everything that happens to this file; `-` for the standard output.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Prints what will happen and ends.
    #[arg(long)]
    plan: bool,
    /// Prints counters, too.
    #[arg(long)]
    coverage: bool,
    /// Prints what the masters and workers log, as RUST_LOG says.
    #[arg(long)]
    log: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan::from_seed(arguments.seed);
    if arguments.plan {
        println!("{plan:#?}");
        return ExitCode::SUCCESS;
    }
    if arguments.log {
        let filter = EnvFilter::from_default_env();
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        log.without_time().with_writer(io::stderr).init();
    }
    let out = match open(arguments.trace) {
        Ok(out) => out,
        Err(error) => {
            eprintln!("the trace cannot be written: {error}");
            return ExitCode::FAILURE;
        }
    };
    let started = real_time();
    // What happens before, such as reading arguments, must not change what the thread-locals hold.
    let simulation = std::thread::Builder::new().name("simulation".into());
    let thread = simulation.spawn(move || {
        let report = run(plan, Trace::new(out));
        (report, uses())
    });
    let joined = thread.map(|thread| thread.join());
    let Ok(Ok((report, (draws, readings)))) = joined else {
        eprintln!("seed={} the simulation's thread failed", arguments.seed);
        return ExitCode::FAILURE;
    };
    let took = real_time() - started;
    println!(
        "seed={} hash={:016x} lines={} simulated={:.1}s took={:.2}s draws={draws} readings={readings} {}",
        arguments.seed,
        report.hash,
        report.lines,
        report.simulated.as_secs_f64(),
        took.as_secs_f64(),
        if report.is_clean() { "clean" } else { "BROKEN" },
    );
    tell(&report, arguments.coverage);
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
            println!("  {line}");
        }
    }
}

fn open(path: Option<PathBuf>) -> io::Result<Option<Box<dyn Write + Send>>> {
    Ok(match path {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(Box::new(io::stdout())),
        Some(path) => Some(Box::new(BufWriter::new(File::create(path)?))),
    })
}
