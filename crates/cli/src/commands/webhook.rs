//! `muster webhook`: what callers of webhooks need.

use clap::Subcommand;
use rand::RngCore;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::exit::{Exit, Outcome};
use crate::output::{self, Format, note};
use crate::settings::Global;

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Make a token: it is printed once, and workflow files hold its digest
    Token,
}

/// What begins a token, so that whoever finds one knows what it is.
const PREFIX: &str = "mwh_";

pub(crate) fn run(command: &WebhookCommand, global: &Global) -> Outcome {
    match command {
        WebhookCommand::Token => token(global.format()),
    }
}

fn token(format: Format) -> Outcome {
    let mut random = [0; 32];
    rand::rng().fill_bytes(&mut random);
    let token = format!("{PREFIX}{}", hex(&random));
    let digest = hex(&Sha256::digest(&token));
    match format {
        Format::Table | Format::Wide | Format::Name => {
            output::line(&token)?;
            note("give it to the caller, and this to the webhook in the workflow file:");
            note(format!("    token: {{sha256: {digest}}}"));
        }
        Format::Json | Format::Jsonl | Format::Yaml => {
            output::data(format, &json!({ "token": token, "sha256": digest }))?;
        }
    }
    Ok(Exit::Ok)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
