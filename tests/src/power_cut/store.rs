//! What the log store and the history store have in common: steps that are durable when they return.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// How much of a model a message shows.
const BRIEF_CHARS: usize = 600;

/// A store that is driven step by step, and its model.
pub trait Steps: Sized {
    /// What the store holds.
    type Model: Clone + PartialEq + Debug;
    /// One durable change.
    type Step;

    /// Opens the store in a folder, with names that are durable.
    ///
    /// # Errors
    /// Whatever the store says.
    fn open(dir: &Path) -> Result<Self, String>;

    /// Reads all of it.
    ///
    /// # Errors
    /// Whatever the store says, and contradictions within it.
    fn read(&self) -> Result<Self::Model, String>;

    /// Carries a step out; it is durable when this returns.
    ///
    /// # Errors
    /// Whatever the store says.
    fn carry_out(&mut self, step: &Self::Step) -> Result<(), String>;

    /// The next step.
    fn plan(model: &Self::Model, chance: &mut StdRng) -> Self::Step;

    /// What the step makes of the model.
    fn expect(model: &mut Self::Model, step: Self::Step);
}

/// The child's part: opens the store and goes on until the power is cut.
///
/// # Errors
/// Whatever the store says.
pub fn drive<S: Steps>(dir: &Path, seed: u64) -> Result<(), String> {
    let mut store = S::open(dir)?;
    let mut model = store.read()?;
    let mut chance = StdRng::seed_from_u64(seed);
    println!("open");
    loop {
        let step = S::plan(&model, &mut chance);
        store.carry_out(&step)?;
        println!("done");
        S::expect(&mut model, step);
    }
}

/// The parent's part: what the store holds after a round that began with `before`, if that is sound. It must hold
/// every step that was done, and may hold the one that was under way.
///
/// # Errors
/// What is wrong.
pub fn judge<S: Steps>(
    dir: &Path,
    before: &S::Model,
    seed: u64,
    said: &[String],
) -> Result<S::Model, String> {
    let found = S::open(dir)?.read()?;
    let mut expected = before.clone();
    if said.is_empty() {
        return same(&found, &[expected]);
    }
    let mut chance = StdRng::seed_from_u64(seed);
    for _ in &said[1..] {
        let step = S::plan(&expected, &mut chance);
        S::expect(&mut expected, step);
    }
    let mut next = expected.clone();
    let step = S::plan(&next, &mut chance);
    S::expect(&mut next, step);
    same(&found, &[expected, next])
}

fn same<M: Clone + PartialEq + Debug>(found: &M, allowed: &[M]) -> Result<M, String> {
    if allowed.contains(found) {
        return Ok(found.clone());
    }
    let brief = |model: &M| format!("{model:?}").chars().take(BRIEF_CHARS).collect::<String>();
    let allowed: Vec<String> = allowed.iter().map(brief).collect();
    Err(format!("found {}…\nexpected {}…", brief(found), allowed.join("…\nor ")))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The file system's.
pub fn sync_folder(dir: &Path) -> Result<(), String> {
    let sync = || -> io::Result<()> { File::open(dir)?.sync_all() };
    sync().map_err(|error| format!("{}: {error}", dir.display()))
}
