//! Three masters that fall behind, restart and take snapshots from each other, in any order: honest ones are clean, and
//! one that differs is found.

use muster_checker::Invariant::*;
use muster_checker::{Applying, Auditor, Rare, Verdict};
use muster_core::apply::Applied;
use muster_core::command::{Command, Entry};
use muster_core::ids::LogIndex;
use muster_core::state::State;
use muster_core::time::Timestamp;
use proptest::prelude::*;

use crate::log::*;
use crate::named;

const MASTERS: u64 = 3;

/// A log with a bit of everything.
fn commands() -> Vec<Vec<Command>> {
    let mut spec = workflow(&["a", "b: a", "c: a", "d: b c"]);
    spec.tasks[1].retry.limit = 2;
    spec.tasks[1].retry.backoff.initial = muster_core::time::Millis(STEP);
    let one = |command| vec![command];
    vec![
        one(register("alpha", 7, 2)),
        one(register("beta", 8, 2)),
        vec![submit("r1", &spec), submit("r2", &spec)],
        vec![place(1, 0, 1), place(2, 0, 2)],
        vec![finish(1, 0, 4, succeeded()), finish(2, 0, 4, failed())],
        vec![place(1, 1, 1), place(1, 2, 2)],
        one(finish(1, 1, 6, failed())),
        one(Command::Tick),
        vec![place(1, 1, 1), submit("r1", &spec)],
        one(lose(1)),
        vec![finish(1, 1, 9, succeeded()), register("alpha", 9, 2)],
        vec![place(1, 1, 3), submit("r3", &spec)],
        vec![finish(1, 1, 12, succeeded()), finish(1, 2, 6, succeeded())],
        vec![cancel("c3", 3), place(1, 3, 2)],
        one(finish(1, 3, 14, succeeded())),
    ]
}

/// What one master does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// Applies its next entry.
    Step,
    /// Starts again: from nothing, or from what it had at an earlier entry.
    Restart { back: u64 },
    /// Takes the state that a master has which is further.
    Install { from: u64 },
}

fn moves() -> impl Strategy<Value = Vec<(u64, Move)>> {
    let step = prop_oneof![
        12 => Just(Move::Step),
        1 => (0..20u64).prop_map(|back| Move::Restart { back }),
        1 => (1..=MASTERS).prop_map(|from| Move::Install { from }),
    ];
    prop::collection::vec((1..=MASTERS, step), 1..120)
}

/// The log as it is applied: the state and the effects after each entry, from the empty state on.
struct Story {
    entries: Vec<Entry>,
    states: Vec<State>,
    effects: Vec<Applied>,
}

impl Story {
    fn new() -> Self {
        let (mut entries, mut states, mut effects) =
            (Vec::new(), vec![State::default()], Vec::new());
        for (index, commands) in (1..).zip(commands()) {
            let entry = Entry { at: Timestamp(index * STEP), commands };
            let mut state = states.last().cloned().expect("there is always one");
            effects.push(state.apply(LogIndex(index), &entry));
            (entries, states) = (pushed(entries, entry), pushed(states, state));
        }
        Story { entries, states, effects }
    }

    /// Goes through the moves. `twist` is asked for each step whether that master sees another state there.
    fn play(&self, moves: &[(u64, Move)], twist: impl Fn(u64, u64) -> bool) -> Verdict {
        let mut auditor = Auditor::default();
        let (mut at, mut lives) = ([0u64; MASTERS as usize + 1], [0u64; MASTERS as usize + 1]);
        for (master, step) in moves {
            let me = *master as usize;
            match *step {
                Move::Step if at[me] < self.entries.len() as u64 => {
                    let place = at[me] as usize;
                    let is_twisted = twist(*master, at[me]);
                    at[me] += 1;
                    auditor.observe(&Applying {
                        replica: *master,
                        incarnation: lives[me],
                        index: LogIndex(at[me]),
                        term: Some(at[me] / 4),
                        at: None,
                        entry: &self.entries[place],
                        after: &self.states[if is_twisted { place } else { place + 1 }],
                        applied: &self.effects[place],
                    });
                }
                Move::Step => {}
                Move::Restart { back } => {
                    lives[me] += 1;
                    at[me] = at[me].saturating_sub(back);
                    if at[me] > 0 {
                        self.restore(&mut auditor, *master, lives[me], at[me]);
                    }
                }
                Move::Install { from } if at[from as usize] > at[me] => {
                    at[me] = at[from as usize];
                    self.restore(&mut auditor, *master, lives[me], at[me]);
                }
                Move::Install { .. } => {}
            }
        }
        auditor.finish().0
    }

    fn restore(&self, auditor: &mut Auditor, master: u64, life: u64, at: u64) {
        let snapshot = self.states[at as usize].snapshot();
        let state = State::restore(snapshot).expect("it is whole");
        auditor.restored(master, life, LogIndex(at), &state);
    }
}

fn pushed<T>(mut list: Vec<T>, item: T) -> Vec<T> {
    list.push(item);
    list
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..Default::default() })]

    #[test]
    fn honest_masters_are_clean_in_any_order(moves in moves()) {
        let verdict = Story::new().play(&moves, |_, _| false);
        prop_assert!(verdict.is_clean(), "{}", verdict);
        // However they take turns, each entry is audited once, by whoever shows it first.
        let steps = moves.iter().filter(|(_, it)| matches!(it, Move::Step)).count() as u64;
        let audited = verdict.coverage.of(Rare::EntryAudited);
        prop_assert!(audited <= steps.min(commands().len() as u64));
    }

    #[test]
    fn one_that_misses_an_entry_is_found(moves in moves(), liar in 1..=MASTERS, place in 0..15u64) {
        let has_lied = std::cell::Cell::new(false);
        let verdict = Story::new().play(&moves, |master, at| {
            let lies = master == liar && at == place;
            has_lied.set(has_lied.get() || lies);
            lies
        });
        prop_assert_eq!(verdict.is_clean(), !has_lied.get(), "{}", verdict);
    }
}

#[test]
fn masters_that_take_turns_are_audited_whole() {
    let story = Story::new();
    let turns: Vec<(u64, Move)> = (0..60).map(|turn| (turn % MASTERS + 1, Move::Step)).collect();
    let verdict = story.play(&turns, |_, _| false);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.coverage.of(Rare::EntryAudited), 15);
    assert_eq!(verdict.coverage.of(Rare::IndexCompared), 30);
    for liar in 1..=MASTERS {
        let verdict = story.play(&turns, |master, at| master == liar && at == 8);
        assert!(named(&verdict).contains(&I1), "master {liar} misses entry 9: {verdict}");
    }
}
