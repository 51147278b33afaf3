//! The worker's outcome journal. It promises less than the masters' stores: a power cut may cost it outcomes, and a
//! journal that cannot be read is set aside. It must never stop the worker, and never give out what was not put in.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_worker::journal::{Journal, RecordId, Sled};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{number_of, record};

/// Records span up to five values of the store.
const RECORD_BYTES_MAX: u64 = 20_000;
const BATCH_MAX: u64 = 6;
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// The child's part: puts records from `first` on and removes some, until the power is cut. Does what the worker does
/// when the journal refuses: goes on.
///
/// # Errors
/// The journal cannot be opened, which would stop the worker.
pub fn drive(dir: &Path, seed: u64, first: u64) -> Result<(), String> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut journal = open(dir)?;
    let mut held = pending(&mut journal)?;
    let mut next = first;
    loop {
        let numbers = next..next + chance.random_range(1..=BATCH_MAX);
        next = numbers.end;
        let records: Vec<Vec<u8>> =
            numbers.clone().map(|number| record(number, RECORD_BYTES_MAX)).collect();
        match journal.put(&records) {
            Ok(ids) => held.extend(ids.into_iter().zip(records.iter().map(Vec::len))),
            Err(error) => eprintln!("put: {error}"),
        }
        println!("put {}", numbers.end);
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
    let before = pending(&mut journal)?;
    for (_, bytes) in journal.pending().map_err(|error| error.to_string())? {
        let number = number_of(&bytes, RECORD_BYTES_MAX);
        if number.is_none_or(|number| number >= next) {
            return Err(format!("a record of {} bytes that nobody put in", bytes.len()));
        }
    }
    println!("pending {}", before.len());
    let put = journal.put(&[record(next, RECORD_BYTES_MAX)]).map_err(|error| error.to_string())?;
    let after = journal.pending().map_err(|error| error.to_string())?;
    let newest = after.last().map(|(id, bytes)| (*id, number_of(bytes, RECORD_BYTES_MAX)));
    if newest != Some((put[0], Some(next))) || after.len() != before.len() + 1 {
        return Err("what was put in is not what comes out".to_owned());
    }
    Ok(())
}

fn open(dir: &Path) -> Result<Journal, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Journal::open(&Sled, &dir.join("journal"), now).map_err(|error| error.to_string())
}

fn pending(journal: &mut Journal) -> Result<Vec<(RecordId, usize)>, String> {
    let records = journal.pending().map_err(|error| error.to_string())?;
    Ok(records.into_iter().map(|(id, bytes)| (id, bytes.len())).collect())
}
