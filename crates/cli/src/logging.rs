//! The program's own log, on stderr.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// What is logged unless something else is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usual {
    /// Warnings: for commands whose output is for people.
    Warnings,
    /// What happens: for processes that stay.
    Events,
}

/// Sets the log up. `MUSTER_LOG` (a filter such as `muster_master=debug`) wins over `verbose`, the number of `-v`.
/// `MUSTER_LOG_FORMAT=json` makes it one JSON object a line.
pub(crate) fn start(usual: Usual, verbose: u8) {
    let filter = match std::env::var("MUSTER_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::new(filter),
        _ => EnvFilter::new(directives(usual, verbose)),
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(
        anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never,
    );
    if std::env::var("MUSTER_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}

/// Our own crates at one level; the consensus library, which says much, only when everything is asked for.
fn directives(usual: Usual, verbose: u8) -> String {
    let ours = match (usual, verbose) {
        (Usual::Warnings, 0) => "warn",
        (Usual::Events, 0) | (_, 1) => "info",
        (_, 2) => "debug",
        (_, _) => return "trace,h2=info,hyper=info,tower=info".to_owned(),
    };
    // What the consensus library calls an error is often a peer that just went away; what concerns the user comes out
    // as the master's own error.
    let raft = if usual == Usual::Warnings && verbose == 0 { "off" } else { "error" };
    // `muster` is how the targets of all our crates begin.
    format!("warn,openraft={raft},muster={ours}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_well_formed_filters() {
        for usual in [Usual::Warnings, Usual::Events] {
            for verbose in 0..4 {
                let text = directives(usual, verbose);
                assert!(EnvFilter::try_new(&text).is_ok(), "{text}");
            }
        }
        assert!(directives(Usual::Warnings, 0).ends_with("muster=warn"));
        assert!(directives(Usual::Events, 0).ends_with("muster=info"));
        assert!(directives(Usual::Warnings, 2).ends_with("muster=debug"));
    }
}
