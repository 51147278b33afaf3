//! A small fuzzer that needs nothing but a seed: it changes known inputs, blindly.

/// Draws numbers, the same from the same seed (SplitMix64, by Steele, Lea and Flood).
#[derive(Clone, Copy, Debug)]
pub struct Draw(u64);

/// Values that are often a boundary.
const ODD: [u8; 8] = [0, 1, 2, 7, 0x7F, 0x80, 0xFE, 0xFF];
/// Most changes of one input.
const CHANGES_MAX: usize = 6;
/// Most bytes that one change moves.
const PIECE_BYTES_MAX: usize = 64;

impl Draw {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Draw(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }
}

/// `input` with a few changes, some of them pieces of `other`.
pub fn mutated(input: &[u8], other: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=draw.below(CHANGES_MAX) {
        change(&mut bytes, other, draw);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], draw: &mut Draw) {
    let at = draw.below(bytes.len() + 1);
    let end = (at + draw.below(PIECE_BYTES_MAX)).min(bytes.len());
    match draw.below(7) {
        0 => bytes.insert(at, ODD[draw.below(ODD.len())]),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        3 if !other.is_empty() => {
            let from = draw.below(other.len());
            let piece = &other[from..(from + draw.below(PIECE_BYTES_MAX)).min(other.len())];
            bytes.splice(at..end, piece.iter().copied());
        }
        _ if at == bytes.len() => bytes.push(draw.number() as u8),
        4 => bytes[at] ^= 1 << draw.below(8),
        5 => bytes[at] = ODD[draw.below(ODD.len())],
        _ => bytes[at] = draw.number() as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again_and_another_gives_others() {
        let inputs = |seed| {
            let mut draw = Draw::new(seed);
            let inputs = (0..200).map(|_| mutated(b"some bytes", b"others", &mut draw));
            inputs.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).len() > 150, "nearly all differ");
    }
}
