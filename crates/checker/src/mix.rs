//! A fast hash whose result depends neither on the process nor on addresses.

use std::hash::{Hash, Hasher};

use muster_core::spec::WorkflowSpec;

/// The golden ratio in 64 bits, as in Fibonacci hashing: odd, and without a pattern.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const WORD_BYTES: usize = 8;

/// Mixes words. Not for keys that somebody chooses to collide.
#[derive(Clone, Debug)]
pub(crate) struct Mixer(u64);

impl Default for Mixer {
    /// Begins at a number, so that leading zeros count.
    fn default() -> Self {
        Mixer(GOLDEN)
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(WORD_BYTES) {
            let mut word = [0; WORD_BYTES];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(GOLDEN);
        self.0 ^= self.0 >> 29;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(GOLDEN);
        mixed ^ (mixed >> 29)
    }
}

/// The hash of anything that can be hashed.
pub(crate) fn mix(value: &(impl Hash + ?Sized)) -> u64 {
    let mut mixer = Mixer::default();
    value.hash(&mut mixer);
    mixer.finish()
}

/// A digest of a workflow, by which a run's workflow version is known again. Equal for equal workflows, in any process
/// of one build.
pub fn spec_digest(spec: &WorkflowSpec) -> u64 {
    mix(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_change_the_hash() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..10_000u64 {
            assert!(seen.insert(mix(&number)) && seen.insert(mix(&(number, 1u8))), "{number}");
        }
        assert_ne!(mix("ab"), mix("ba"));
        assert_ne!(mix(&("a", "bc")), mix(&("ab", "c")));
        assert_ne!(mix(&[0u8; 8]), mix(&[0u8; 9]));
    }
}
