//! Chances that follow from a seed: SplitMix64.

/// A stream of random numbers.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to `max`, both included.
    pub(crate) fn up_to(&mut self, max: usize) -> usize {
        let bound = max as u128 + 1;
        // The high half of the product is spread evenly enough.
        ((u128::from(self.next()) * bound) >> 64) as usize
    }

    /// True once in `n` times; `n` is at least 1.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_all_values_come() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (0..100).map(|_| chance.up_to(3)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..=3).all(|value| draw(1).contains(&value)));
        assert!(draw(1).iter().all(|value| *value <= 3));
    }
}
