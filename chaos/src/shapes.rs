//! The shapes of the runs that clients submit, as workflows that are applied once.

use std::path::Path;

use muster_client::Submission;
use rand::Rng;
use rand::rngs::StdRng;

use crate::scenario::{Mix, Scenario};

/// How a run of a shape must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeds,
    Fails,
    /// It is cancelled at some time.
    Either,
}

/// One shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Also the name of its workflow.
    pub(crate) name: &'static str,
    pub(crate) end: End,
    tasks: &'static str,
    /// When it runs by itself; such a shape is never drawn.
    schedule: Option<Scheduled>,
}

/// A schedule, and how long its runs work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scheduled {
    lines: &'static str,
    ms: u64,
}

const fn shape(name: &'static str, end: End, tasks: &'static str) -> Shape {
    Shape { name, end, tasks, schedule: None }
}

const fn scheduled(name: &'static str, lines: &'static str, ms: u64) -> Shape {
    let schedule = Some(Scheduled { lines, ms });
    Shape { name, end: End::Succeeds, tasks: "  a: {WITNESS}\n", schedule }
}

/// `WITNESS` stands for what makes a task a witness, `FAILING` for one that fails as often as the run says, `ARRAY` for
/// one with indices.
pub(crate) const SHAPES: [Shape; 13] = [
    shape(
        "short",
        End::Succeeds,
        "  a: {WITNESS}\n  b: {needs: [a], WITNESS}\n  c: {needs: [a], WITNESS}\n  d: {needs: [b, c], WITNESS}\n",
    ),
    shape("long", End::Succeeds, "  a: {WITNESS}\n  b: {needs: [a], WITNESS}\n"),
    shape(
        "flaky",
        End::Succeeds,
        "  a: {retry: {limit: 3, backoff: 200ms}, FAILING}\n  b: {needs: [a], WITNESS}\n",
    ),
    shape(
        "failing",
        End::Fails,
        "  a: {FAILING}\n  b: {needs: [a], WITNESS}\n  c: {needs: [b], if: failure(), noop: {}}\n",
    ),
    shape("array", End::Succeeds, "  a: {array: 0-7, ARRAY}\n  b: {needs: [a], WITNESS}\n"),
    shape(
        "noop",
        End::Succeeds,
        "  a: {noop: {}, resources: {cpu: 0}}\n  b: {noop: {}, needs: [a], resources: {cpu: 0}}\n",
    ),
    shape("cancelled", End::Either, "  a: {WITNESS}\n  b: {needs: [a], WITNESS}\n"),
    shape("poison", End::Fails, "  a: {maxLost: 2, WITNESS}\n"),
    shape(
        "crowd",
        End::Succeeds,
        "  a: {array: 0-199, pool: herd, noop: {}, resources: {cpu: 100m}}\n",
    ),
    shape("probe", End::Succeeds, "  a: {WITNESS}\n"),
    shape("endless", End::Either, "  a: {WITNESS}\n"),
    scheduled("tick", "schedule: {every: 1s}\n", 10),
    // Each run outlasts the next fire time, which is passed over.
    scheduled("tock", "schedule: {every: 2s}\nconcurrencyPolicy: Forbid\n", 2_600),
];

/// A share of a short task's work is at least this, milliseconds.
const SHORT_MS: std::ops::RangeInclusive<u64> = 10..=150;
/// Long tasks work this many leases, in percent.
const LONG_LEASES_PERCENT: std::ops::RangeInclusive<u64> = 120..=250;
/// What is cancelled would work so many leases.
const CANCELLED_LEASES: u64 = 10;

impl Shape {
    pub(crate) fn named(name: &str) -> Option<&'static Shape> {
        SHAPES.iter().find(|shape| shape.name == name)
    }

    /// Whether it runs by itself.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.schedule.is_some()
    }

    /// Draws one by the shares of `mix`.
    pub(crate) fn draw(mix: &Mix, chance: &mut StdRng) -> &'static Shape {
        let shares = [
            mix.short,
            mix.long,
            mix.flaky,
            mix.failing,
            mix.array,
            mix.noop,
            mix.cancelled,
            mix.poison,
            mix.crowd,
            mix.probe,
            mix.endless,
        ];
        let all: u32 = shares.iter().sum();
        let mut left = chance.random_range(0..all.max(1));
        for (shape, share) in SHAPES.iter().zip(shares) {
            if left < share {
                return shape;
            }
            left -= share;
        }
        &SHAPES[0]
    }

    /// The workflow file. The tasks are processes of `program`, which testify in `folder`.
    pub(crate) fn manifest(&self, program: &Path, folder: &Path) -> String {
        let command = format!("command: [{}]", program.display());
        let witness = format!("{command}, outputs: [fence]");
        let failing = format!("{witness}, env: {{WITNESS_FAILS: '${{{{ params.fails }}}}'}}");
        let words = [("FAILING", &failing), ("WITNESS", &witness), ("ARRAY", &command)];
        let tasks = words.iter().fold(self.tasks.to_owned(), |tasks, (word, means)| {
            tasks.replace(&format!("{word}}}"), &format!("{means}}}"))
        });
        let (name, folder) = (self.name, folder.display());
        let kills = u8::from(name == "poison");
        let (when, ms) = self.schedule.map_or(("", 10), |it| (it.lines, it.ms));
        format!(
            "apiVersion: v1\nkind: Workflow\nname: {name}\n{when}params: {{ms: '{ms}', fails: '0'}}\ndefaults:\n  \
             resources: {{cpu: 100m}}\n  gracePeriod: 200ms\n  maxLost: 50\n  env:\n    WITNESS_FOLDER: {folder}\n    \
             WITNESS_MS: '${{{{ params.ms }}}}'\n    WITNESS_KILLS: '{kills}'\ntasks:\n{tasks}"
        )
    }

    /// The wish for a run, the same for the same draws.
    pub(crate) fn submission(&self, scenario: &Scenario, chance: &mut StdRng) -> Submission {
        let lease = scenario.lease_ms;
        let ms = match self.name {
            "long" => lease * chance.random_range(LONG_LEASES_PERCENT) / 100,
            "cancelled" | "endless" => lease * CANCELLED_LEASES,
            "probe" => 0,
            _ => chance.random_range(SHORT_MS),
        };
        let fails = match self.name {
            "flaky" => chance.random_range(1..=2),
            "failing" => u32::MAX,
            _ => 0,
        };
        Submission::workflow(self.name)
            .param("ms", ms.to_string())
            .param("fails", fails.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_drawn_by_its_share() {
        use rand::SeedableRng;
        let mut chance = StdRng::seed_from_u64(1);
        let mix = Mix { short: 1, poison: 2, noop: 3, ..Mix::default() };
        let mut drawn = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            *drawn.entry(Shape::draw(&mix, &mut chance).name).or_insert(0) += 1;
        }
        let near = |name: &str, count: i32| (drawn[name] - count).abs() < 300;
        assert!(near("short", 1_000) && near("poison", 2_000) && near("noop", 3_000), "{drawn:?}");
        assert_eq!(drawn.len(), 3);
    }
}
