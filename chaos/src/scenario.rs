//! What a scenario file may hold. Spans are in milliseconds, ranges are `[least, most]`, and every value that is drawn
//! is drawn from the seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use rand::rngs::StdRng;
use serde::Deserialize;

use crate::evidence::Evidence;
use crate::faults::Fault;

/// More than the log of any scenario has.
pub(crate) const SNAPSHOT_ENTRIES_NEVER: u64 = 10_000_000;

/// What the masters wait behind a lease before they declare a worker lost.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);
/// For so long at most a leader that was deposed confirms leases.
pub(crate) const QUORUM_AGE: Duration = Duration::from_millis(500);

/// A range of which a value is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Span([u64; 2]);

impl Span {
    /// A span of time, drawn.
    pub(crate) fn draw(self, chance: &mut StdRng) -> Duration {
        Duration::from_millis(self.draw_number(chance))
    }

    pub(crate) fn draw_number(self, chance: &mut StdRng) -> u64 {
        chance.random_range(self.0[0]..=self.0[1])
    }
}

/// See the module documentation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// What happens, in one line.
    pub(crate) summary: String,
    #[serde(default = "three")]
    pub(crate) masters: usize,
    #[serde(default = "three")]
    pub(crate) workers: usize,
    #[serde(default = "lease_default")]
    pub(crate) lease_ms: u64,
    /// Never by default. One master never makes snapshots by itself, so that a whole log is there to be judged.
    #[serde(default = "snapshot_entries_default")]
    pub(crate) snapshot_entries: u64,
    /// How long faults go on.
    pub(crate) duration_s: u64,
    /// How long everything may take to be well afterwards.
    #[serde(default = "calm_default")]
    pub(crate) calm_s: u64,
    /// What the faults must have brought about. They go on until all of it was seen, though not for ever; a scenario
    /// whose faults did nothing fails.
    #[serde(default)]
    pub(crate) evidence: Vec<Evidence>,
    /// Whose processes may end by themselves. Anybody else's end is a violation.
    #[serde(default)]
    pub(crate) may_end: Vec<Kind>,
    /// Masters get volumes of their own with this many MiB.
    pub(crate) volume_mib: Option<u64>,
    /// Masters stand on the disk of `muster-faultdisk`.
    pub(crate) faultdisk: Option<Faultdisk>,
    /// Masters reach each other through proxies.
    #[serde(default)]
    pub(crate) proxies: bool,
    pub(crate) load: Load,
    #[serde(default)]
    pub(crate) fault: Vec<Weighted>,
    /// Between two faults.
    #[serde(default = "gap_default")]
    pub(crate) gap_ms: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Masters,
    Workers,
}

/// What the disk between a master and its real disk can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Faultdisk {
    /// Fail, stall, and shift the clock.
    Faults,
    /// Lose its power as well, and with it all that was not synced.
    Cut,
}

/// What clients do meanwhile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Load {
    /// How many at once; each waits for its run to end before it submits the next.
    #[serde(default = "clients_default")]
    pub(crate) clients: usize,
    /// Between the end of a run and the next submission.
    #[serde(default = "pause_default")]
    pub(crate) pause_ms: Span,
    /// Shares of the shapes of runs.
    #[serde(default = "Mix::usual")]
    pub(crate) mix: Mix,
    /// Whether the workflows with schedules run as well.
    #[serde(default = "yes")]
    pub(crate) schedules: bool,
    /// Simulated workers that hold a session and carry nothing out.
    #[serde(default)]
    pub(crate) herd: usize,
    /// Instead of clients: submissions so many times as fast as the cluster can carry them out.
    pub(crate) overload: Option<f64>,
}

/// Shares of the shapes of runs, in any unit.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Mix {
    pub(crate) short: u32,
    pub(crate) long: u32,
    pub(crate) flaky: u32,
    pub(crate) failing: u32,
    pub(crate) array: u32,
    pub(crate) noop: u32,
    pub(crate) cancelled: u32,
    pub(crate) poison: u32,
    pub(crate) crowd: u32,
    pub(crate) probe: u32,
    pub(crate) endless: u32,
}

impl Mix {
    /// Something of everything that harms nobody.
    fn usual() -> Mix {
        Mix {
            short: 8,
            long: 2,
            flaky: 2,
            failing: 1,
            array: 1,
            noop: 4,
            cancelled: 1,
            ..Mix::default()
        }
    }
}

/// A fault and how often it is chosen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weighted {
    #[serde(default = "one")]
    pub(crate) weight: u32,
    #[serde(rename = "do")]
    pub(crate) fault: Fault,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn three() -> usize {
    3
}

fn lease_default() -> u64 {
    2_000
}

fn snapshot_entries_default() -> u64 {
    SNAPSHOT_ENTRIES_NEVER
}

fn calm_default() -> u64 {
    60
}

fn clients_default() -> usize {
    6
}

fn pause_default() -> Span {
    Span([0, 200])
}

fn gap_default() -> Span {
    Span([1_000, 3_000])
}

impl Scenario {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// Whether masters come back on other addresses.
    pub(crate) fn moves_masters(&self) -> bool {
        self.fault.iter().any(|it| matches!(it.fault, Fault::KillAll { moved: true, .. }))
    }

    /// How long the masters wait for a silent worker before they declare it lost.
    pub(crate) fn lease_and_margin(&self) -> Duration {
        self.lease() + MARGIN
    }

    pub(crate) fn load(folder: &Path, name: &str) -> Result<Scenario> {
        let path = folder.join(format!("{name}.toml"));
        if !path.exists() {
            bail!("there is no scenario `{name}`; `muster-chaos list` names all");
        }
        let text = fs::read_to_string(&path)?;
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    /// All scenarios by name.
    pub(crate) fn all(folder: &Path) -> Result<Vec<(String, Scenario)>> {
        let mut names = Vec::new();
        let entries = fs::read_dir(folder)
            .with_context(|| format!("there are no scenarios in {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "toml")
                && let Some(name) = path.file_stem()
            {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        names.sort();
        names.into_iter().map(|name| Ok((name.clone(), Scenario::load(folder, &name)?))).collect()
    }
}

/// The scenarios of this checkout.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_be_read() {
        let all = Scenario::all(&folder()).expect("all are well-formed");
        assert!(all.len() >= 25, "{} scenarios", all.len());
        let silent = all.iter().filter(|(_, scenario)| scenario.evidence.is_empty());
        let silent: Vec<&str> = silent.map(|(name, _)| name.as_str()).collect();
        assert_eq!(silent, [""; 0], "each says what its faults must bring about");
    }

    #[test]
    fn a_field_that_nobody_reads_is_an_error() {
        let wrong = "summary = \"x\"\nduration-s = 1\nload = {}\nsurprise = 1\n";
        assert!(toml::from_str::<Scenario>(wrong).is_err());
    }
}
