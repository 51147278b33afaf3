//! Workers in a tournament by score: the best is known at once, and a changed score costs one way to the root.
//!
//! A heap would do, but a pass mostly asks for the best worker and then makes it worse, and sinking an entry costs a
//! heap twice as many comparisons, each waiting for the one before.

use crate::slot::{Score, SlotIndex};

/// Position of a worker in a [`Ranking`].
pub(crate) type Place = u32;

/// A score and whose it is. The greatest is the best.
///
/// A pass spends most of its time comparing these, so all of one is a single number that compares without a branch.
/// From the highest bit: points (64), attempts (16) and place (32), both negated so that fewer and earlier are
/// greater, and the generation (16), which never decides, since every place is there once. Zero stands for no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u128);

impl Candidate {
    const NONE: Candidate = Candidate(0);

    fn new(place: Place, score: Option<Score>) -> Candidate {
        let Some(score) = score else { return Candidate::NONE };
        // Minus zero, which a weight of zero makes, is no less than zero.
        let bits = (score.points + 0.0).to_bits();
        // The order of `f64::total_cmp`, as an unsigned number.
        let points = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        let attempts = u16::try_from(score.attempts).unwrap_or(u16::MAX);
        Candidate(
            u128::from(points) << 64
                | u128::from(!attempts) << 48
                | u128::from(!place) << 16
                | u128::from(score.generation),
        )
    }

    /// The greater of the two, without a branch: who wins cannot be predicted, and a wrong guess costs more than the
    /// rest.
    fn or_better(self, rival: Candidate) -> Candidate {
        let rival_wins = u128::from(self < rival).wrapping_neg();
        Candidate(self.0 ^ ((self.0 ^ rival.0) & rival_wins))
    }

    fn place(self) -> Place {
        !((self.0 >> 16) as u32)
    }

    fn generation(self) -> u16 {
        self.0 as u16
    }
}

/// See the module documentation.
pub(crate) struct Ranking {
    /// The workers, ascending; a worker's place is its position here.
    members: Vec<SlotIndex>,
    /// The first half from 1 on are winners: each the greater of the two at twice its position. The second half are the
    /// members.
    tree: Vec<Candidate>,
}

/// The best worker of a [`Ranking`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    pub(crate) place: Place,
    pub(crate) slot: SlotIndex,
    /// The slot's generation when its score was made.
    pub(crate) generation: u16,
}

impl Ranking {
    /// Ranks `members`, which must ascend.
    pub(crate) fn new(members: Vec<SlotIndex>, score: impl Fn(SlotIndex) -> Option<Score>) -> Self {
        let mut tree = vec![Candidate::NONE; members.len()];
        tree.extend((0..).zip(&members).map(|(place, slot)| Candidate::new(place, score(*slot))));
        let mut ranking = Ranking { members, tree };
        for spot in (1..ranking.members.len()).rev() {
            ranking.tree[spot] = ranking.tree[2 * spot].or_better(ranking.tree[2 * spot + 1]);
        }
        ranking
    }

    /// The best worker; `None` if none has room.
    pub(crate) fn best(&self) -> Option<Best> {
        // With a single member its leaf is the root.
        let best = *self.tree.get(1).filter(|best| **best != Candidate::NONE)?;
        let slot = self.members[best.place() as usize];
        Some(Best { place: best.place(), slot, generation: best.generation() })
    }

    /// Where a worker is, if it is here.
    pub(crate) fn find(&self, slot: SlotIndex) -> Option<Place> {
        self.members.binary_search(&slot).ok().map(|position| position as Place)
    }

    /// Changes the score of the worker at `place`.
    pub(crate) fn set(&mut self, place: Place, score: Option<Score>) {
        let mut spot = self.members.len() + place as usize;
        let mut winner = Candidate::new(place, score);
        self.tree[spot] = winner;
        while spot > 1 {
            let rival = self.tree[spot ^ 1];
            winner = winner.or_better(rival);
            spot /= 2;
            self.tree[spot] = winner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(points: f64, attempts: u32, generation: u16) -> Option<Score> {
        Some(Score { points, attempts, generation })
    }

    #[test]
    fn candidates_compare_by_points_then_attempts_then_place() {
        let points = [f64::NEG_INFINITY, -1e9, -0.5, -0.0, 1e-300, 0.5, 1e9, f64::INFINITY];
        for pair in points.windows(2) {
            let (worse, better) = (score(pair[0], 0, 9), score(pair[1], 7, 0));
            assert!(Candidate::new(0, worse) < Candidate::new(7, better));
            assert!(Candidate::NONE < Candidate::new(u32::MAX, worse));
        }
        assert_eq!(Candidate::new(1, score(-0.0, 4, 9)), Candidate::new(1, score(0.0, 4, 9)));
        assert!(Candidate::new(0, score(1.0, 4, 9)) < Candidate::new(7, score(1.0, 3, 0)));
        assert!(Candidate::new(1, score(1.0, 4, 9)) < Candidate::new(0, score(1.0, 4, 0)));
        let candidate = Candidate::new(19_999, score(-3.25, 4096, 4095));
        assert_eq!((candidate.place(), candidate.generation()), (19_999, 4095));
    }

    #[test]
    fn the_best_is_the_best_for_every_size() {
        for size in 0..40u32 {
            let mut points: Vec<Option<f64>> =
                (0..size).map(|slot| Some(f64::from(slot * 7 % 13))).collect();
            let members: Vec<u32> = (0..size).map(|slot| slot * 2).collect();
            let mut ranking = Ranking::new(members, |slot| {
                points[slot as usize / 2].and_then(|points| score(points, 0, 0))
            });
            for step in 0..200u32 {
                let naive = (0..size)
                    .filter_map(|place| Some((points[place as usize]?, std::cmp::Reverse(place))))
                    .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
                    .map(|(_, place)| place.0);
                assert_eq!(ranking.best().map(|best| best.place), naive);
                let Some(place) = naive else { break };
                assert_eq!(ranking.find(place * 2), Some(place));
                let after = (step % 5 != 0).then(|| f64::from(step * 31 % 17) - 20.0);
                points[place as usize] = after;
                ranking.set(place, after.and_then(|points| score(points, 0, 0)));
            }
            assert_eq!(ranking.find(1), None);
        }
    }
}
