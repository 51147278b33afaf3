//! The worker's outcome journal. It promises less than the masters' stores: a power cut may cost it the outcomes of the
//! last half second. It must open again, keep what is older, and never give out what was not put in.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use muster_worker::journal::{Journal, RecordId, Redb};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{number_of, record};

/// Records span up to five pages of the store.
const RECORD_BYTES_MAX: u64 = 20_000;
const BATCH_MAX: u64 = 6;
const PAUSE_MAX: Duration = Duration::from_millis(10);
/// One record in so many stays for long: others are gone before they are half a second old.
const LASTING_ONE_IN: u64 = 64;
/// How old a record is that must be there after a power cut: well above the half second within which it is synced,
/// since the thread that does so may have to wait on a busy machine.
const OLD: Duration = Duration::from_secs(4);

fn is_lasting(number: u64) -> bool {
    number.is_multiple_of(LASTING_ONE_IN)
}

/// The child's part: puts records from `first` on and removes some, until the power is cut. Does what the worker does
/// when the journal refuses: goes on. Tells what it has put, before it removes a lasting record that it found when it
/// began, and which of its own lasting ones have become old.
///
/// # Errors
/// The journal cannot be opened, which would stop the worker.
pub fn drive(dir: &Path, seed: u64, first: u64) -> Result<(), String> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut journal = open(dir)?;
    let (mut held, mut lasting) = (Vec::new(), Vec::new());
    for (id, bytes) in pending(&journal)? {
        let lasts = number_of(&bytes, RECORD_BYTES_MAX).filter(|number| is_lasting(*number));
        match lasts {
            Some(_) if chance.random_bool(0.5) => {}
            Some(number) => {
                println!("removes {number}");
                held.push(id);
            }
            None => held.push(id),
        }
    }
    let mut next = first;
    loop {
        let numbers = next..next + chance.random_range(1..=BATCH_MAX);
        next = numbers.end;
        let records: Vec<Vec<u8>> =
            numbers.clone().map(|number| record(number, RECORD_BYTES_MAX)).collect();
        match journal.put(&records) {
            Ok(ids) => {
                let put = ids.into_iter().zip(numbers.clone());
                held.extend(put.filter(|(_, number)| !is_lasting(*number)).map(|(id, _)| id));
                let put_at = Instant::now();
                lasting.extend(numbers.clone().filter(|it| is_lasting(*it)).map(|it| (it, put_at)));
            }
            Err(error) => eprintln!("put: {error}"),
        }
        println!("put {}", numbers.end);
        for (number, _) in lasting.extract_if(.., |(_, put_at)| put_at.elapsed() > OLD) {
            println!("old {number}");
        }
        held.retain(|record| {
            let stays = chance.random_bool(0.7);
            if !stays && let Err(error) = journal.remove([*record]) {
                eprintln!("remove: {error}");
            }
            stays
        });
        thread::park_timeout(chance.random_range(Duration::ZERO..PAUSE_MAX));
    }
}

/// What a sound disk shows after a cut: opens the journal, checks every record, and goes on with it.
///
/// # Errors
/// The worker would stop, or report an outcome that never was.
pub fn check(dir: &Path, next: u64) -> Result<(), String> {
    let mut journal = open(dir)?;
    let before = pending(&journal)?;
    for (_, bytes) in &before {
        match number_of(bytes, RECORD_BYTES_MAX) {
            Some(number) if number < next => println!("has {number}"),
            _ => return Err(format!("a record of {} bytes that nobody put in", bytes.len())),
        }
    }
    let put = journal.put(&[record(next, RECORD_BYTES_MAX)]).map_err(|error| error.to_string())?;
    let after = pending(&journal)?;
    let newest = after.last().map(|(id, bytes)| (*id, number_of(bytes, RECORD_BYTES_MAX)));
    if newest != Some((put[0], Some(next))) || after.len() != before.len() + 1 {
        return Err("what was put in is not what comes out".to_owned());
    }
    Ok(())
}

fn open(dir: &Path) -> Result<Journal, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Journal::open(&Redb::default(), &dir.join("journal"), now).map_err(|error| error.to_string())
}

fn pending(journal: &Journal) -> Result<Vec<(RecordId, Vec<u8>)>, String> {
    journal.pending().map_err(|error| error.to_string())
}

/// The numbers that a child told in lines that begin with `word`.
pub fn told(lines: &[String], word: &str) -> BTreeSet<u64> {
    let number = |line: &String| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok();
    lines.iter().filter_map(number).collect()
}

/// Journals that were set aside on a disk.
///
/// # Errors
/// The file system's.
pub fn set_aside(disk: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let paths = fs::read_dir(disk)?.map(|entry| Ok(entry?.path()));
    let paths: Vec<PathBuf> = paths.collect::<io::Result<_>>()?;
    let is_aside = |path: &PathBuf| path.to_string_lossy().contains(".unreadable-");
    Ok(paths.into_iter().filter(is_aside).collect())
}

/// What must be there after the next cut, and what was there after those before.
#[derive(Debug, Default)]
pub struct Owed {
    /// Lasting records that the last cut left.
    left: BTreeSet<u64>,
    /// How many records were old, or had survived a cut before, when the power was cut …
    pub asked: u64,
    /// … and how many of these are gone.
    pub lost: u64,
    /// How many records were found after a cut.
    pub found: u64,
    /// Rounds after which something was found.
    pub rounds_with_some: u64,
}

impl Owed {
    /// Counts a round by what the child and the check said.
    pub fn round(&mut self, child: &[String], check: &[String]) {
        let found = told(check, "has");
        let mut old = std::mem::take(&mut self.left);
        old.extend(told(child, "old"));
        let removed = told(child, "removes");
        old.retain(|number| !removed.contains(number));
        self.asked += old.len() as u64;
        self.lost += old.difference(&found).count() as u64;
        self.found += found.len() as u64;
        self.rounds_with_some += u64::from(!found.is_empty());
        self.left = found.into_iter().filter(|number| is_lasting(*number)).collect();
    }
}
