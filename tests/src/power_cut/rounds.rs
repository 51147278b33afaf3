//! Rounds, each cut at a step that follows from the seed.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::member::{self, Acknowledged};
use super::store::{Steps, judge};
use super::{Bench, EXIT_CUT, Failing, Said};

/// Which rounds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary that drives the stores.
    pub driver: &'static str,
    /// Everything random follows from it.
    pub seed: u64,
    /// How many rounds.
    pub rounds: u64,
    /// Whether each round begins with an empty disk; else they share one.
    pub is_fresh: bool,
    /// The latest step before which the power is cut.
    pub cut_at_max: u64,
    /// One in so many syncs only pretends.
    pub lie_one_in: Option<u64>,
}

/// What rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rounds, each with one cut.
    pub rounds: u64,
    /// Those that were cut before the store was open.
    pub cut_while_opening: u64,
    /// Steps that were acknowledged, all of which were found again.
    pub acknowledged: u64,
}

impl Plan {
    fn failing(&self, chance: &mut StdRng) -> Failing {
        // A third of the cuts comes early, where the recovery from the cut before is.
        let cut_at_max =
            if chance.random_ratio(1, 3) { self.cut_at_max.div_ceil(24) } else { self.cut_at_max };
        Failing {
            seed: chance.random(),
            tears: chance.random_bool(0.5),
            cut_at: Some(chance.random_range(1..=cut_at_max)),
            lie_one_in: self.lie_one_in,
        }
    }

    /// Runs the rounds with `round`, which gets what its rounds have in common, the failing disk, and a seed for its
    /// work, and returns how many steps were acknowledged.
    fn run<C>(
        &self,
        common: impl Fn() -> C,
        mut round: impl FnMut(&Bench, &mut C, &Failing, u64) -> Result<Said, String>,
    ) -> Result<Figures, String> {
        let mut chance = StdRng::seed_from_u64(self.seed);
        let (mut bench, mut shared) = (Bench::new(self.driver), common());
        let mut figures = Figures::default();
        for number in 0..self.rounds {
            if self.is_fresh {
                (bench, shared) = (Bench::new(self.driver), common());
            }
            let failing = self.failing(&mut chance);
            let said = round(&bench, &mut shared, &failing, chance.random());
            let said = said.map_err(|problem| {
                format!("seed {}, round {number}, {failing:?}: {problem}", self.seed)
            })?;
            figures.rounds += 1;
            figures.cut_while_opening += u64::from(said.lines.is_empty());
            let is_done =
                |line: &&String| ["done", "put", "end"].iter().any(|it| line.starts_with(it));
            figures.acknowledged += said.lines.iter().filter(is_done).count() as u64;
        }
        Ok(figures)
    }

    /// Cuts the power under the store that the driver calls `kind`.
    ///
    /// # Errors
    /// What was lost or is unsound, with its round.
    pub fn cut_under<S: Steps>(&self, kind: &str) -> Result<Figures, String>
    where
        S::Model: Default,
    {
        self.run(S::Model::default, |bench, model, failing, work| {
            let disk = bench.disk().display().to_string();
            let said = bench.run(&[kind.to_owned(), disk, work.to_string()], failing, None);
            was_cut(&said)?;
            let copy = bench.copy().map_err(|error| error.to_string())?;
            *model = judge::<S>(&copy, model, work, &said.lines)?;
            Ok(said)
        })
    }

    /// Cuts the power under a whole member.
    ///
    /// # Errors
    /// What was lost or is unsound, with its round.
    ///
    /// # Panics
    /// If there is no runtime to be had.
    pub fn cut_under_a_member(&self) -> Result<(Figures, u64), String> {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let mut snapshot_index = 0;
        let figures = self.run(
            || (Acknowledged::default(), 0_u64),
            |bench, (acknowledged, first), failing, work| {
                let disk = bench.disk().display().to_string();
                let args = ["member".to_owned(), disk, work.to_string(), first.to_string()];
                let said = bench.run(&args, failing, None);
                was_cut(&said)?;
                acknowledged.hear(&said.lines)?;
                snapshot_index = snapshot_index.max(acknowledged.snapshot_index());
                let copy = bench.copy().map_err(|error| error.to_string())?;
                let next = runtime.block_on(member::judge(&copy, acknowledged))?;
                *first = next.max(*first) + 1;
                Ok(said)
            },
        )?;
        Ok((figures, snapshot_index))
    }
}

/// The child was cut, and did not end in another way.
///
/// # Errors
/// What it said instead.
pub fn was_cut(said: &Said) -> Result<(), String> {
    if said.status.code() == Some(EXIT_CUT) {
        return Ok(());
    }
    Err(format!("the child ended with {}: {}", said.status, said.errors))
}
