//! Damage to files at random places: a store refuses by name, or holds all that it held. Nothing else.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

/// What disks lose at once.
const SECTOR_BYTES: usize = 512;
/// Longest run of bytes that become others.
const NOISE_BYTES_MAX: usize = 64;

/// One damage to one file.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What happens to it.
    pub kind: DamageKind,
}

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
pub enum DamageKind {
    /// One bit is another.
    Flip {
        /// Its byte.
        at: usize,
        /// Which of the byte's bits.
        bit: u8,
    },
    /// Some bytes are noise.
    Noise {
        /// The first one.
        at: usize,
        /// How many.
        bytes: usize,
        /// Which noise.
        seed: u64,
    },
    /// A sector is zero.
    Zero {
        /// Its first byte.
        at: usize,
    },
    /// The file ends early.
    Cut {
        /// After so many bytes.
        at: usize,
    },
}

impl Damage {
    /// A random damage to one of `files`, none of which is empty.
    ///
    /// # Errors
    /// The file system's.
    pub fn draw(files: &[PathBuf], chance: &mut StdRng) -> io::Result<Self> {
        let path = files[chance.random_range(0..files.len())].clone();
        let len = usize::try_from(fs::metadata(&path)?.len()).map_err(io::Error::other)?;
        let at = chance.random_range(0..len);
        let kind = match chance.random_range(0..10) {
            0..6 => DamageKind::Flip { at, bit: chance.random_range(0..8) },
            6 | 7 => {
                let bytes = chance.random_range(2..=NOISE_BYTES_MAX);
                DamageKind::Noise { at, bytes, seed: chance.random() }
            }
            8 => DamageKind::Zero { at: at / SECTOR_BYTES * SECTOR_BYTES },
            _ => DamageKind::Cut { at },
        };
        Ok(Self { path, kind })
    }

    /// Whether nothing but the fourth byte of a file changes, which carries nothing in records.
    pub fn is_at_reserved_byte(&self) -> bool {
        matches!(self.kind, DamageKind::Flip { at: 3, .. })
    }

    /// Does it. False if the file is what it was.
    ///
    /// # Errors
    /// The file system's.
    pub fn inflict(&self) -> io::Result<bool> {
        let before = fs::read(&self.path)?;
        let mut bytes = before.clone();
        let len = bytes.len();
        match self.kind {
            DamageKind::Flip { at, bit } => bytes[at] ^= 1 << bit,
            DamageKind::Noise { at, bytes: count, seed } => {
                StdRng::seed_from_u64(seed).fill_bytes(&mut bytes[at..len.min(at + count)]);
            }
            DamageKind::Zero { at } => bytes[at..len.min(at + SECTOR_BYTES)].fill(0),
            DamageKind::Cut { at } => bytes.truncate(at),
        }
        fs::write(&self.path, &bytes)?;
        Ok(bytes != before)
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// It was not noticed, and did no harm.
    Harmless,
    /// Refused, by name.
    Refused(String),
    /// Refused in a way that does not say which file.
    Nameless(String),
    /// Something else came out than went in.
    Wrong(String),
    /// It panicked.
    Panicked(String),
}

/// What `open` makes of a damaged folder, of which it must read `expected`.
pub fn consequence<T: PartialEq + Debug>(
    damaged: &Path,
    expected: &T,
    open: impl Fn() -> Result<T, String>,
) -> Consequence {
    match once(damaged, expected, &open) {
        // Whoever starts it again must not get another answer.
        refused @ Consequence::Refused(_) => match once(damaged, expected, &open) {
            Consequence::Refused(_) => refused,
            other => other,
        },
        other => other,
    }
}

fn once<T: PartialEq + Debug>(
    damaged: &Path,
    expected: &T,
    open: impl FnOnce() -> Result<T, String>,
) -> Consequence {
    match panic::catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(found)) if found == *expected => Consequence::Harmless,
        Ok(Ok(found)) => Consequence::Wrong(format!("{found:?}").chars().take(300).collect()),
        Ok(Err(problem)) => {
            let name = damaged.file_name().unwrap_or_default().to_string_lossy();
            if problem.contains(&*name) {
                Consequence::Refused(problem)
            } else {
                Consequence::Nameless(problem)
            }
        }
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Consequence::Panicked(text.unwrap_or_default())
        }
    }
}
