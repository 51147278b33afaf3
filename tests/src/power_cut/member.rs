//! A whole member, alone in its cluster: log, history and snapshots as in production, through proposals.
//!
//! The machine keeps numbers. `put N` adds one, `end N` moves it to the history; so every number that was acknowledged
//! is in the state or in the history, and in one of them only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use muster_platform::{Disk as _, Files};
use muster_raft::testing;
use muster_raft::{
    Applied, HistoryItem, Machine, PeerAddress, Position, RaftConfig, RaftMember, Shard, Timing,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{number_of, record};

const RUN_BYTES_MAX: u64 = 3_000;
const SHARDS: u64 = 8;
/// Proposals under way at once.
const IN_FLIGHT: usize = 6;
const NAMESPACE: &str = "default";
const WORKFLOW: &str = "numbers";
const NAME: &str = "muster-0";
/// How long a member may take to lead.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a lock.
const POLL: Duration = Duration::from_millis(5);
/// Entries between snapshots, and those kept behind one: few, so that every round has some.
const SNAPSHOT_ENTRIES: u64 = 40;
const KEEP_ENTRIES: u64 = 10;

type Numbers = BTreeMap<u64, Bytes>;

/// The machine.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Mutex<Vec<Arc<Numbers>>>>);

impl Default for Ledger {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((0..SHARDS).map(|_| Arc::default()).collect())))
    }
}

impl Ledger {
    fn shards(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Numbers>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Numbers {
        self.shards().iter().flat_map(|shard| (**shard).clone()).collect()
    }
}

fn item(number: u64, end_index: u64, bytes: Bytes) -> HistoryItem {
    let (namespace, workflow) = (NAMESPACE.to_owned(), WORKFLOW.to_owned());
    HistoryItem { run_id: number, end_index, namespace, workflow, number, bytes }
}

impl Machine for Ledger {
    fn apply(&mut self, at: Position, entry: &Bytes) -> io::Result<Applied> {
        let wrong = || io::Error::other("not an entry of this test");
        let (verb, bytes) = entry.split_first().ok_or_else(wrong)?;
        let number = number_of(bytes, RUN_BYTES_MAX).ok_or_else(wrong)?;
        let mut shards = self.shards();
        let shard = Arc::make_mut(&mut shards[(number % SHARDS) as usize]);
        match verb {
            b'p' => {
                shard.insert(number, entry.slice(1..));
                Ok(Applied::default())
            }
            b'e' => {
                let ended = shard.remove(&number).map(|bytes| item(number, at.index, bytes));
                Ok(Applied { ended: ended.into_iter().collect(), ..Applied::default() })
            }
            _ => Err(wrong()),
        }
    }

    fn snapshot(&self) -> Vec<Shard> {
        let shards = self.shards();
        let encode = |numbers: &Numbers| -> Vec<u8> {
            let keys = numbers.keys();
            keys.flat_map(|number| number.to_be_bytes()).collect()
        };
        let shards = (0..).zip(shards.iter()).map(|(id, shard)| Shard::of(id, shard, encode));
        shards.collect()
    }

    fn restore(&mut self, _index: u64, encoded: Vec<(u64, Bytes)>) -> io::Result<u64> {
        let mut shards: Vec<Arc<Numbers>> = (0..SHARDS).map(|_| Arc::default()).collect();
        for (id, content) in encoded {
            let numbers = content.chunks(8).map(|bytes| {
                let number = bytes.try_into().map(u64::from_be_bytes).map_err(io::Error::other)?;
                Ok((number, Bytes::from(record(number, RUN_BYTES_MAX))))
            });
            shards[id as usize] = Arc::new(numbers.collect::<io::Result<_>>()?);
        }
        *self.shards() = shards;
        Ok(0)
    }
}

/// Opens the member in `dir`, and waits until it leads.
async fn open(dir: &Path) -> Result<(RaftMember, Ledger), String> {
    // Freed at once; nobody else but other tests takes ports at random.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = address.map_err(|error| error.to_string())?;
    let peer = PeerAddress { name: NAME.to_owned(), address: address.to_string() };
    let mut config = RaftConfig::new(dir.join("data"), NAME, address, vec![peer]);
    config.limits.disk_free_bytes_min = 0;
    config.timing = Timing { election_min_ms: 40, election_max_ms: 80, heartbeat_ms: 20 };
    config.snapshots.every_entries = SNAPSHOT_ENTRIES;
    config.snapshots.keep_entries = KEEP_ENTRIES;
    let ledger = Ledger::default();
    let member = RaftMember::open(config, Box::new(ledger.clone())).await;
    let member = member.map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    // Once it leads, it has applied everything that was committed before.
    loop {
        if let Ok(index) = member.linearizable().await {
            member.wait_applied(index).await.map_err(|error| error.to_string())?;
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("no leader: {:?}", member.status()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok((member, ledger))
}

fn entry(verb: u8, number: u64) -> Bytes {
    let mut entry = vec![verb];
    entry.extend(record(number, RUN_BYTES_MAX));
    entry.into()
}

/// The child's part: proposes numbers from `first` on until the power is cut.
///
/// # Errors
/// Whatever the member says.
pub async fn drive(dir: &Path, seed: u64, first: u64) -> Result<(), String> {
    let (member, _) = open(dir).await?;
    println!("member {}", member.member_id());
    let status = member.status();
    println!("term {}", status.term);
    let mut chance = StdRng::seed_from_u64(seed);
    let proposals = (first..).map(|number| {
        let (member, ends) = (member.clone(), chance.random_bool(0.5));
        async move {
            member.propose(entry(b'p', number)).await.map_err(|error| error.to_string())?;
            println!("put {number}");
            if ends {
                member.propose(entry(b'e', number)).await.map_err(|error| error.to_string())?;
                println!("end {number}");
            }
            println!("snapshot {}", member.status().snapshot_index);
            Ok::<(), String>(())
        }
    });
    let mut done = stream::iter(proposals).buffer_unordered(IN_FLIGHT);
    while let Some(result) = done.next().await {
        result?;
    }
    Ok(())
}

/// Fills a new member in `dir` with numbers until it has a snapshot, and stops it.
///
/// # Errors
/// Whatever the member says.
pub async fn grow(dir: &Path) -> Result<(), String> {
    let (member, _) = open(dir).await?;
    for number in 0.. {
        member.propose(entry(b'p', number)).await.map_err(|error| error.to_string())?;
        if member.status().snapshot_index > SNAPSHOT_ENTRIES {
            break;
        }
    }
    member.stop().await;
    drop(member);
    await_closed(dir)
}

/// Waits until nobody has one of the files open: whoever has holds the lock.
fn await_closed(dir: &Path) -> Result<(), String> {
    let lock = dir.join("data/LOCK");
    let deadline = Instant::now() + PATIENCE;
    while Files.lock(&lock).map_err(|error| error.to_string())?.is_none() {
        if Instant::now() > deadline {
            return Err(format!("{} is still held", lock.display()));
        }
        thread::park_timeout(POLL);
    }
    Ok(())
}

/// The numbers in the newest snapshot of a member that has stopped.
///
/// # Errors
/// Whatever the store says.
pub fn snapshot_of(dir: &Path) -> Result<Vec<u64>, String> {
    let ledger = Ledger::default();
    let opened = testing::open_storage(&dir.join("data"), 0, Box::new(ledger.clone()));
    let opened = opened.map(drop).map_err(|error| error.to_string());
    await_closed(dir)?;
    opened?;
    Ok(ledger.all().into_keys().collect())
}

/// What was acknowledged so far.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    member_id: Option<u64>,
    term: u64,
    snapshot_index: u64,
    put: BTreeSet<u64>,
    ended: BTreeSet<u64>,
}

impl Acknowledged {
    /// The newest snapshot that a child saw.
    pub fn snapshot_index(&self) -> u64 {
        self.snapshot_index
    }

    /// Adds what a child said.
    ///
    /// # Errors
    /// It contradicts what an earlier one said.
    pub fn hear(&mut self, lines: &[String]) -> Result<(), String> {
        for line in lines {
            let parsed = line.split_once(' ');
            let Some((what, Ok(value))) = parsed.map(|(what, text)| (what, text.parse())) else {
                return Err(format!("the child said `{line}`"));
            };
            match what {
                "member" => {
                    if *self.member_id.get_or_insert(value) != value {
                        return Err("the member lost its identity".to_owned());
                    }
                }
                "term" if value < self.term => {
                    return Err(format!("term {value} after {}", self.term));
                }
                "term" => self.term = value,
                "snapshot" => self.snapshot_index = self.snapshot_index.max(value),
                "put" => _ = self.put.insert(value),
                "end" => _ = self.ended.insert(value),
                _ => return Err(format!("the child said `{line}`")),
            }
        }
        Ok(())
    }
}

/// The parent's part: all that was acknowledged must be there, whole. Returns the first number that is free.
///
/// # Errors
/// What is lost or wrong.
pub async fn judge(dir: &Path, acknowledged: &Acknowledged) -> Result<u64, String> {
    let (member, ledger) = open(dir).await?;
    let found = compare(&member, &ledger, acknowledged);
    member.stop().await;
    found
}

fn compare(
    member: &RaftMember,
    ledger: &Ledger,
    acknowledged: &Acknowledged,
) -> Result<u64, String> {
    let status = member.status();
    if acknowledged.member_id.is_some_and(|id| id != member.member_id()) {
        return Err("the member lost its identity".to_owned());
    }
    // It was elected anew, in a term of its own.
    if status.term <= acknowledged.term {
        return Err(format!("term {} again, after {}", status.term, acknowledged.term));
    }
    if status.snapshot_index < acknowledged.snapshot_index {
        let (found, seen) = (status.snapshot_index, acknowledged.snapshot_index);
        return Err(format!("the snapshot at {found} is older than the one seen at {seen}"));
    }
    if status.purged_index > status.snapshot_index {
        return Err(format!("{status:?}: purged past the snapshot"));
    }
    let live = ledger.all();
    let history = member.history();
    let page = history.page(None, usize::MAX - 1_000_000).map_err(|error| error.to_string())?;
    let ended: BTreeMap<u64, &HistoryItem> = page.iter().map(|item| (item.run_id, item)).collect();
    for (number, bytes) in
        live.iter().chain(ended.iter().map(|(number, item)| (number, &item.bytes)))
    {
        if number_of(bytes, RUN_BYTES_MAX) != Some(*number) {
            return Err(format!("number {number} is damaged"));
        }
    }
    if let Some(number) = live.keys().find(|number| ended.contains_key(number)) {
        return Err(format!("number {number} is both live and ended"));
    }
    let is_lost = |number: &&u64| !live.contains_key(number) && !ended.contains_key(number);
    if let Some(number) = acknowledged.put.iter().find(is_lost) {
        return Err(format!("number {number} was acknowledged and is lost"));
    }
    if let Some(number) = acknowledged.ended.iter().find(|number| !ended.contains_key(number)) {
        return Err(format!("the end of {number} was acknowledged and is lost"));
    }
    let last = live.last_key_value().map(|(number, _)| *number);
    let last = last.max(ended.last_key_value().map(|(number, _)| *number));
    Ok(last.map_or(0, |number| number + 1))
}
