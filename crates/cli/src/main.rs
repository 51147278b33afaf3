//! `muster`, the one binary: masters, workers, and everything that people do with them.
//!
//! ```text
//!  main ─► args ─► commands/* ──► client ──► a cluster
//!                     │   └─► follow  progress and logs of a run, on stderr and stdout
//!                     └─► embedded    masters and workers in this process
//! ```
//!
//! stdout carries data and nothing else; everything for people's eyes goes to stderr.

mod args;
mod bench;
mod commands;
mod convert;
mod draw;
mod embedded;
mod exit;
mod files;
mod follow;
mod logging;
mod manifest;
mod names;
mod output;
mod settings;
mod units;

use std::process::ExitCode;

use clap::Parser;
use owo_colors::OwoColorize;

use self::args::{Cli, Command};
use self::exit::{Exit, Failure, Outcome};
use self::output::note;
use self::settings::Color;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If even the message cannot be written there is nothing left to say.
            let _closed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Command::Guardian = cli.command {
        return muster_worker::executor::process::guardian::run();
    }
    if let Some(color) = cli.global.color {
        match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
    logging::start(cli.command.usual_log(), cli.global.verbose);
    ExitCode::from(tell(run(cli)).code())
}

fn run(cli: Cli) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(commands::run(cli));
    // What still runs in the background (a closed stream, a name being resolved) must not delay the end.
    runtime.shutdown_background();
    outcome
}

/// Says what went wrong, if anything did.
fn tell(outcome: Outcome) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(Failure { exit, message }) => {
            if let Some(message) = message {
                note(format!("{} {}", "error:".red().bold(), message.trim_end()));
            }
            exit
        }
    }
}
