//! A client that asks every master by itself about the newest runs of all, in one seed of eight.
//!
//! Other clients stay with the master that answers them. So a leader that was deposed, and does not know it, is rarely
//! asked for anything: its peers know better, and so do their clients. This client asks it all the same.

use std::time::Duration;

use muster_checker::Observed;
use muster_checker::history::{Answer, Call};
use muster_client::{Client, Error, RunKey};
use muster_core::ids::{LogIndex, RunId};
use muster_platform::Platform;

use crate::client::{refusal, status_of};
use crate::witness::Witness;

/// One in so many seeds has it, and which one; the others mean what they meant before there was any.
const SEEDS: (u64, u64) = (8, 5);
/// A master that does not answer in this time is left for the next.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(60);

/// See the module documentation.
pub struct Inquirer {
    number: u64,
    /// One that knows this master alone, for each.
    masters: Vec<Client>,
    witness: Witness,
}

impl Inquirer {
    /// Whether a seed has one.
    pub fn is_in(seed: u64) -> bool {
        seed % SEEDS.0 == SEEDS.1
    }

    /// One that asks the masters at `addresses`.
    ///
    /// # Errors
    /// An address is none.
    pub fn new(
        number: u64,
        addresses: &[String],
        platform: &Platform,
        witness: Witness,
    ) -> Result<Self, Error> {
        let alone = |address: &String| {
            let builder = Client::builder().endpoint(address).deadline(PATIENCE);
            builder.platform(platform.clone()).build()
        };
        let masters = addresses.iter().map(alone).collect::<Result<_, _>>()?;
        Ok(Self { number, masters, witness })
    }

    /// Asks each master once.
    pub async fn ask_all(&self) {
        for master in &self.masters {
            if let Some(run) = self.witness.runs().last().copied() {
                self.ask(master, run).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, master: &Client, run: RunId) {
        let call = self.witness.next_call();
        let what = Call::Get { run, is_stale: false, min_index: None };
        self.witness.observed(Observed::Invoked { call, client: self.number, what });
        let seen = master.applied_index();
        let answer = match master.get_run(RunKey::id(run.0)).await {
            Ok(run) => Answer::Run { status: status_of(run.status()) },
            Err(error) if error.is_not_found() => Answer::NoRun {},
            Err(error) => refusal(&error),
        };
        // The highest index of all answers of this master: this answer's own only if it is news.
        let index = Some(LogIndex(master.applied_index())).filter(|index| index.0 > seen);
        self.witness.observed(Observed::Returned { call, answer, index });
    }
}
