//! Chaos with real processes: starts masters and workers, harms them, and judges what clients and tasks saw.
//!
//! ```text
//!  scenario ──► lab: masters and workers, each in its namespace
//!                ▲ faults              ▲ load: clients            ▲ tasks: witnesses with a lock each
//!                │                     │                          │
//!                └── stage, seed       └── history ──► judge ◄────┘ testimony, aftermath
//! ```

mod account;
mod audit;
mod calm;
mod enter;
mod evidence;
mod faults;
mod figures;
mod fires;
mod ground;
mod herd;
mod history;
mod judge;
mod lab;
mod lag;
mod load;
mod logbook;
mod overload;
mod process;
mod proxy;
mod scenario;
mod scene;
mod shapes;
mod stand;
mod violations;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::enter::{Entered, Inside};
use crate::figures::{Figure, Measuring};
use crate::scenario::Scenario;
use crate::scene::{Outcome, Play};

/// Exit code of a scenario that could not be played here.
const SKIPPED: u8 = 77;
/// Exit code of a set of scenarios of which one failed.
const FAILED: u8 = 1;

/// Real masters and workers under real faults, and a verdict.
#[derive(Debug, Parser)]
#[command(name = "muster-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a scenario and print its verdict
    Run(Run),
    /// Name all scenarios
    List,
    /// Measure something for docs/reliability.md
    Figures(Figures),
    /// Play a short set, for every change
    Ci(Ci),
}

#[derive(Args, Debug)]
struct Ci {
    /// Draws the seed of each scenario [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// The muster binary [default: the one beside this one]
    #[arg(long, value_name = "FILE")]
    muster: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Figures {
    /// What to measure
    figure: Figure,
    /// How often, or for the overload how many seconds [default: as published]
    #[arg(long)]
    count: Option<u64>,
    /// Draws everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The muster binary [default: the one beside this one]
    #[arg(long, value_name = "FILE")]
    muster: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Run {
    /// The name of a file in chaos/scenarios
    scenario: String,
    /// Draws everything that is drawn [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults go on, seconds [default: as the scenario says]
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Keep the folder with logs and history whatever the verdict
    #[arg(long)]
    keep: bool,
    /// The muster binary [default: the one beside this one]
    #[arg(long, value_name = "FILE")]
    muster: Option<PathBuf>,
}

/// What `ci` plays: scenarios, and for how many seconds faults go on in each at least.
const SHORT_SET: [(&str, u64); 7] = [
    ("leader-kill", 12),
    ("stop-worker", 14),
    ("partition", 12),
    ("partition-worker", 12),
    ("power-cut", 10),
    ("all-moved", 8),
    ("wiped-volume", 8),
];

/// How one scenario of a set ended.
struct Ended {
    name: &'static str,
    code: Option<i32>,
    took: Duration,
    /// The arguments that play it again.
    again: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        Command::List => {
            for (name, scenario) in Scenario::all(&scenario::folder())? {
                println!("{name:24} {}", scenario.summary);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Ci(options) => ci(&options),
        Command::Run(run) => within(|inside| async move {
            let outcome = play(&run, &inside).await?;
            Ok(code(outcome))
        }),
        Command::Figures(figures) => within(|inside| async move {
            let binary = binary(figures.muster)?;
            let measuring = Measuring {
                inside: &inside,
                binary: &binary,
                count: figures.count,
                seed: figures.seed,
            };
            Ok(code(figures.figure.measure(&measuring).await?))
        }),
    }
}

/// Plays the short set, each scenario in a process of its own, and names all seeds. `.ci/run` reads the line that
/// begins with SKIPPED.
fn ci(options: &Ci) -> Result<ExitCode> {
    let mut chance = StdRng::seed_from_u64(options.seed.unwrap_or_else(rand::random));
    let mut ended = Vec::new();
    for (name, seconds) in SHORT_SET {
        let (seed, seconds) = (chance.random::<u64>().to_string(), seconds.to_string());
        let again = ["run", name, "--seed", &seed, "--duration", &seconds].map(str::to_owned);
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.args(&again);
        if let Some(muster) = &options.muster {
            command.arg("--muster").arg(muster);
        }
        let started = Instant::now();
        let code = command.status()?.code();
        ended.push(Ended { name, code, took: started.elapsed(), again: again.to_vec() });
    }
    let (summary, code) = sum_up(&ended);
    print!("{summary}");
    Ok(ExitCode::from(code))
}

/// What is said of scenarios that ended so, and the exit code of all together: a failure if one failed, skipped only if
/// all were.
fn sum_up(ended: &[Ended]) -> (String, u8) {
    let those = |is_wanted: fn(Option<i32>) -> bool| {
        let names = ended.iter().filter(|it| is_wanted(it.code)).map(|it| it.name);
        names.collect::<Vec<_>>()
    };
    let skipped = those(|code| code == Some(SKIPPED.into()));
    let failed = those(|code| code != Some(SKIPPED.into()) && code != Some(0));
    let mut summary = String::new();
    for Ended { took, again, .. } in ended {
        summary += &format!("{:3} s: muster-chaos {}\n", took.as_secs(), again.join(" "));
    }
    for (word, names) in [("SKIPPED", &skipped), ("FAILED", &failed)] {
        if !names.is_empty() {
            summary += &format!("{word}: {}\n", names.join(" "));
        }
    }
    let code = match (failed.is_empty(), skipped.len() == ended.len()) {
        (false, _) => FAILED,
        (true, true) => SKIPPED,
        (true, false) => 0,
    };
    (summary, code)
}

/// Does something where nothing of it can be seen from outside.
fn within<F: Future<Output = Result<ExitCode>>>(
    work: impl FnOnce(Inside) -> F,
) -> Result<ExitCode> {
    match enter::enter()? {
        Entered::Done(code) => Ok(code),
        Entered::Here(inside) => {
            let folder = inside.folder.clone();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let result = runtime.block_on(work(inside));
            if result.is_err() {
                enter::keep(&folder)?;
            }
            result
        }
    }
}

async fn play(run: &Run, inside: &Inside) -> Result<Outcome> {
    let mut scenario = Scenario::load(&scenario::folder(), &run.scenario)?;
    if let Some(duration) = run.duration {
        scenario.duration_s = duration;
    }
    let binary = binary(run.muster.clone())?;
    if run.keep {
        enter::keep(&inside.folder)?;
    }
    let play = Play {
        name: &run.scenario,
        scenario: &scenario,
        seed: run.seed.unwrap_or_else(rand::random),
        inside,
        binary: &binary,
    };
    play.run().await
}

/// The binary that was given, or the one beside this one.
fn binary(given: Option<PathBuf>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("muster"),
    };
    if !path.exists() {
        bail!(
            "{} is not there; build it with `cargo build --release -p muster-cli`",
            path.display()
        );
    }
    Ok(path)
}

fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Pass => ExitCode::SUCCESS,
        Outcome::Fail => ExitCode::FAILURE,
        Outcome::Skip => ExitCode::from(SKIPPED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_named_and_no_success() {
        let of = |codes: [Option<i32>; 3]| {
            let ended = ["kill", "cut", "full"].into_iter().zip(codes).map(|(name, code)| {
                let again = vec!["run".to_owned(), name.to_owned()];
                Ended { name, code, took: Duration::from_secs(7), again }
            });
            let (summary, code) = sum_up(&ended.collect::<Vec<_>>());
            let played = "  7 s: muster-chaos run kill\n  7 s: muster-chaos run cut\n  7 s: muster-chaos run full\n";
            let judged = summary.strip_prefix(played).expect("each can be played again");
            (judged.to_owned(), code)
        };
        let (ok, skipped) = (Some(0), Some(SKIPPED.into()));
        assert_eq!(of([ok; 3]), (String::new(), 0));
        assert_eq!(of([ok, skipped, skipped]), ("SKIPPED: cut full\n".to_owned(), 0));
        assert_eq!(of([skipped; 3]), ("SKIPPED: kill cut full\n".to_owned(), SKIPPED));
        let failed = "SKIPPED: full\nFAILED: kill cut\n".to_owned();
        assert_eq!(of([None, Some(2), skipped]), (failed, FAILED));
    }
}
