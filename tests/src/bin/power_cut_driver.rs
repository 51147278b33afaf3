//! Drives one store until the power is cut under it; see `muster_tests::power_cut`.

use std::path::Path;
use std::process::ExitCode;

use muster_tests::power_cut::{history, journal, log, member, store};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match drive(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn drive(args: &[String]) -> Result<(), String> {
    let [kind, dir, numbers @ ..] = args else {
        return Err("usage: power_cut_driver KIND FOLDER NUMBER…".to_owned());
    };
    let dir = Path::new(dir);
    let number = |at: usize| -> Result<u64, String> {
        let text = numbers.get(at).ok_or("a number is missing")?;
        text.parse().map_err(|_| format!("`{text}` is not a number"))
    };
    match kind.as_str() {
        "log" => store::drive::<log::Log>(dir, number(0)?),
        "history" => store::drive::<history::History>(dir, number(0)?),
        "journal" => journal::drive(dir, number(0)?, number(1)?),
        "journal-check" => journal::check(dir, number(0)?),
        "member" => {
            let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
            runtime.block_on(member::drive(dir, number(0)?, number(1)?))
        }
        other => Err(format!("there is no store `{other}`")),
    }
}
