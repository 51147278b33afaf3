//! Log files of attempts: what their processes print, on the worker's own disk.
//!
//! ```text
//!   <root>/live/<run>.<task>.<index>.<attempt>.log    while the attempt runs; the process writes into it directly
//!   <root>/<run>/<task>/<index>-<attempt>.log         afterwards, if anything was printed
//! ```
//!
//! `<task>` is the task's position in its workflow. A process gets the file itself as standard output and error, opened
//! for appending, so a task that prints a gigabyte costs the worker nothing. The price is that the size cap is enforced
//! after the fact: a keeper thread looks every half second and cuts what is longer, so a file exceeds the cap by at
//! most what is printed in between. Run folders are removed, oldest first, past an age or a total size.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use muster_core::ids::{RunId, TaskIndex};
use muster_platform::Platform;
use parking_lot::Mutex;

/// How often live files are measured.
const CAP_PERIOD: Duration = Duration::from_millis(500);
/// How often ended runs are looked through, in periods of the above.
const RETENTION_PERIODS: u32 = 120;
/// What a file takes on disk at least.
const FILE_BYTES_MIN: u64 = 4096;
/// Most bytes one read returns.
pub const READ_BYTES_MAX: u64 = 1 << 20;

/// Bounds on what is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Most bytes kept of one attempt; the beginning is kept.
    pub attempt_bytes_max: u64,
    /// Most bytes kept of all ended runs.
    pub total_bytes_max: u64,
    /// How long an ended run's logs are kept.
    pub age_max: Duration,
}

impl Default for LogLimits {
    fn default() -> Self {
        LogLimits {
            attempt_bytes_max: 64 << 20,
            total_bytes_max: 4 << 30,
            age_max: Duration::from_secs(7 * 86_400),
        }
    }
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The run.
    pub run: RunId,
    /// The task's position in its workflow.
    pub task: TaskIndex,
    /// The index; 0 for a single task.
    pub index: u32,
    /// Number of the attempt.
    pub attempt: u32,
}

/// A log that is being written. To be given back to [`LogStore::finish`].
#[derive(Debug)]
pub struct LiveLog {
    key: LogKey,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes, at most as many as asked for; fewer do not mean the end.
    pub bytes: Vec<u8>,
    /// Where in the log they begin.
    pub offset: u64,
    /// How long the log is so far.
    pub total: u64,
    /// Whether the attempt still runs, so that more may come.
    pub is_live: bool,
}

/// All logs of a worker.
#[derive(Debug)]
pub struct LogStore {
    root: PathBuf,
    limits: LogLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeSet<LogKey>,
    /// Live files that were cut already.
    cut: BTreeSet<LogKey>,
}

impl LogStore {
    /// Opens the logs below `root`, puts what a killed worker left in place, and starts their keeper, which ends
    /// when the store is dropped.
    pub fn open(root: PathBuf, limits: LogLimits, platform: &Platform) -> io::Result<Arc<Self>> {
        let root = std::path::absolute(root)?;
        fs::create_dir_all(root.join("live"))?;
        let store = Arc::new(LogStore { root, limits, state: Mutex::default() });
        store.adopt_orphans()?;
        platform.dedicate("muster-logs", keep(Arc::downgrade(&store), platform.clone()))?;
        Ok(store)
    }

    /// Makes the log of an attempt about to start. The file is for the process.
    pub fn begin(&self, key: LogKey) -> io::Result<(LiveLog, File)> {
        let file = OpenOptions::new().append(true).create(true).open(self.live_path(key))?;
        self.state.lock().live.insert(key);
        Ok((LiveLog { key }, file))
    }

    /// The attempt ended: an empty log is removed, a long one cut, the rest put in place.
    pub fn finish(&self, log: LiveLog) {
        let key = log.key;
        let live = self.live_path(key);
        let was_cut = {
            let mut state = self.state.lock();
            state.cut.remove(&key)
        };
        if let Err(error) = self.put_in_place(key, &live, was_cut) {
            tracing::warn!(path = %live.display(), %error, "cannot keep the log of an attempt");
        }
        self.state.lock().live.remove(&key);
    }

    fn put_in_place(&self, key: LogKey, live: &Path, was_cut: bool) -> io::Result<()> {
        let size = fs::metadata(live)?.len();
        if size == 0 {
            return fs::remove_file(live);
        }
        if was_cut || size > self.limits.attempt_bytes_max {
            self.cut_with_notice(live)?;
        }
        let path = self.path(key);
        match fs::rename(live, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
                fs::rename(live, &path)
            }
            renamed => renamed,
        }
    }

    fn cut_with_notice(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(file.metadata()?.len().min(self.limits.attempt_bytes_max))?;
        file.seek(SeekFrom::End(0))?;
        writeln!(
            file,
            "\n[muster: the log was cut here, at {} bytes]",
            self.limits.attempt_bytes_max
        )
    }

    /// Up to `limit` bytes from `offset`; nothing beyond the end. `None` if there is no such log: the attempt printed
    /// nothing, never ran here, or its log was removed.
    pub fn read(&self, key: LogKey, offset: u64, limit: u64) -> io::Result<Option<LogChunk>> {
        let Some((file, is_live)) = self.open_log(key)? else { return Ok(None) };
        let total = file.metadata()?.len();
        let length = total.saturating_sub(offset).min(limit).min(READ_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(Some(LogChunk { bytes, offset, total, is_live }))
    }

    /// The last `limit` bytes.
    pub fn tail(&self, key: LogKey, limit: u64) -> io::Result<Option<LogChunk>> {
        let Some((file, _)) = self.open_log(key)? else { return Ok(None) };
        let limit = limit.min(READ_BYTES_MAX);
        let offset = file.metadata()?.len().saturating_sub(limit);
        self.read(key, offset, limit)
    }

    /// The highest attempt number that there is a log of.
    pub fn latest_attempt(&self, run: RunId, task: TaskIndex, index: u32) -> Option<u32> {
        let is_ours = |key: &&LogKey| (key.run, key.task, key.index) == (run, task, index);
        let live = self.state.lock().live.iter().filter(is_ours).map(|key| key.attempt).max();
        let ended = fs::read_dir(self.root.join(format!("{run}/{task}"))).into_iter().flatten();
        let names = ended.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let prefix = format!("{index}-");
        let attempt_of =
            |name: String| name.strip_prefix(&prefix)?.strip_suffix(".log")?.parse::<u32>().ok();
        names.filter_map(attempt_of).max().max(live)
    }

    /// The file moves when its attempt ends, so both places are tried, twice.
    fn open_log(&self, key: LogKey) -> io::Result<Option<(File, bool)>> {
        for _ in 0..2 {
            for (path, is_live) in [(self.live_path(key), true), (self.path(key), false)] {
                match File::open(path) {
                    Ok(file) => return Ok(Some((file, is_live))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    fn live_path(&self, key: LogKey) -> PathBuf {
        self.root.join(format!("live/{}.{}.{}.{}.log", key.run, key.task, key.index, key.attempt))
    }

    fn path(&self, key: LogKey) -> PathBuf {
        self.root.join(format!("{}/{}/{}-{}.log", key.run, key.task, key.index, key.attempt))
    }

    fn adopt_orphans(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("live"))? {
            let path = entry?.path();
            let adopted = match path.file_name().and_then(|name| parse_live(name.to_str()?)) {
                Some(key) => self.put_in_place(key, &path, false),
                None => fs::remove_file(&path),
            };
            if let Err(error) = adopted {
                tracing::warn!(path = %path.display(), %error, "cannot keep a log from before the restart");
            }
        }
        Ok(())
    }

    /// Cuts live files that grew past the cap.
    fn enforce_cap(&self) {
        let live: Vec<LogKey> = self.state.lock().live.iter().copied().collect();
        for key in live {
            let path = self.live_path(key);
            if !fs::metadata(&path).is_ok_and(|facts| facts.len() > self.limits.attempt_bytes_max) {
                continue;
            }
            let cut = OpenOptions::new().write(true).open(&path);
            match cut.and_then(|file| file.set_len(self.limits.attempt_bytes_max)) {
                Ok(()) => drop(self.state.lock().cut.insert(key)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot cut a log"),
            }
        }
        let mut state = self.state.lock();
        let State { live, cut } = &mut *state;
        cut.retain(|key| live.contains(key));
    }

    /// Removes the logs of the oldest ended runs past the bounds.
    fn enforce_retention(&self, now: SystemTime) -> io::Result<()> {
        let live: BTreeSet<RunId> = self.state.lock().live.iter().map(|key| key.run).collect();
        let mut runs = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok().map(RunId));
            if number.is_some_and(|run| !live.contains(&run)) {
                let mut usage = Usage { bytes: 0, newest: SystemTime::UNIX_EPOCH };
                usage.add(&entry.path())?;
                runs.push((usage.newest, usage.bytes, entry.path()));
            }
        }
        runs.sort_by_key(|(newest, ..)| std::cmp::Reverse(*newest));
        let mut total = 0_u64;
        for (newest, bytes, path) in runs {
            total = total.saturating_add(bytes);
            let is_old = now.duration_since(newest).is_ok_and(|age| age > self.limits.age_max);
            if is_old || total > self.limits.total_bytes_max {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}

struct Usage {
    bytes: u64,
    newest: SystemTime,
}

impl Usage {
    fn add(&mut self, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A file may be removed while we look.
            let Ok(facts) = entry.metadata() else { continue };
            self.newest = self.newest.max(facts.modified()?);
            if facts.is_dir() {
                self.add(&entry.path())?;
            } else {
                self.bytes += facts.len().max(FILE_BYTES_MIN);
            }
        }
        Ok(())
    }
}

fn parse_live(name: &str) -> Option<LogKey> {
    let mut numbers = name.strip_suffix(".log")?.split('.');
    let key = LogKey {
        run: RunId(numbers.next()?.parse().ok()?),
        task: TaskIndex(numbers.next()?.parse().ok()?),
        index: numbers.next()?.parse().ok()?,
        attempt: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(key)
}

async fn keep(store: Weak<LogStore>, platform: Platform) {
    for period in 0_u32.. {
        tokio::time::sleep(CAP_PERIOD).await;
        let now = SystemTime::UNIX_EPOCH + platform.wall_clock();
        let Some(store) = store.upgrade() else { return };
        store.enforce_cap();
        if period % RETENTION_PERIODS == 0
            && let Err(error) = store.enforce_retention(now)
        {
            tracing::warn!(%error, "cannot look through the logs of ended runs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &tempfile::TempDir, limits: LogLimits) -> Arc<LogStore> {
        LogStore::open(dir.path().join("logs"), limits, &Platform::system()).unwrap()
    }

    fn key(run: u64) -> LogKey {
        LogKey { run: RunId(run), task: TaskIndex(3), index: 7, attempt: 2 }
    }

    fn write(store: &LogStore, key: LogKey, text: &str) {
        let (log, mut file) = store.begin(key).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        store.finish(log);
    }

    #[test]
    fn is_read_in_pieces_while_it_grows_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, LogLimits::default());
        let (log, mut file) = store.begin(key(1)).unwrap();
        file.write_all(b"0123456789").unwrap();
        let chunk = store.read(key(1), 2, 3).unwrap().unwrap();
        assert_eq!(
            (chunk.bytes.as_slice(), chunk.offset, chunk.total, chunk.is_live),
            (&b"234"[..], 2, 10, true)
        );
        store.finish(log);
        let chunk = store.tail(key(1), 4).unwrap().unwrap();
        assert_eq!((chunk.bytes.as_slice(), chunk.offset, chunk.is_live), (&b"6789"[..], 6, false));
        let beyond = store.read(key(1), 50, 10).unwrap().unwrap();
        assert!(beyond.bytes.is_empty());
        assert_eq!(store.read(key(9), 0, 10).unwrap(), None);
        let (_live, _file) = store.begin(LogKey { attempt: 10, ..key(1) }).unwrap();
        let latest = |index| store.latest_attempt(RunId(1), TaskIndex(3), index);
        assert_eq!((latest(7), latest(8)), (Some(10), None));
    }

    #[test]
    fn logs_of_a_killed_worker_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(&dir, LogLimits::default());
        let (_log, mut file) = first.begin(key(1)).unwrap();
        file.write_all(b"last words").unwrap();
        let (_silent, _) = first.begin(key(2)).unwrap();
        drop(first);
        let second = store(&dir, LogLimits::default());
        assert_eq!(second.read(key(1), 0, 100).unwrap().unwrap().bytes, b"last words");
        assert_eq!(second.read(key(2), 0, 100).unwrap(), None);
    }

    #[test]
    fn old_runs_go_first_and_live_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let limits = LogLimits {
            total_bytes_max: 2 * FILE_BYTES_MIN,
            age_max: Duration::from_secs(60),
            ..LogLimits::default()
        };
        let store = store(&dir, limits);
        for run in 1..=4 {
            write(&store, key(run), "text");
            std::thread::sleep(Duration::from_millis(20));
        }
        let (_live, _file) = store.begin(LogKey { index: 8, ..key(1) }).unwrap();
        store.enforce_retention(SystemTime::now()).unwrap();
        let kept = |run| store.read(key(run), 0, 9).unwrap().is_some();
        assert_eq!([kept(1), kept(2), kept(3), kept(4)], [true, false, true, true]);
        store.enforce_retention(SystemTime::now() + Duration::from_secs(120)).unwrap();
        assert_eq!([kept(1), kept(3), kept(4)], [true, false, false]);
    }
}
