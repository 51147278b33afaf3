//! What the leader knows about workers beyond the state: sessions, heartbeats, load. Lost with the leader, on purpose.
//!
//! A worker's lease runs from the moment it *sent* a heartbeat that was acknowledged; the leader counts from the moment
//! it *received* it, adds a margin, and only then declares the worker lost. So the worker has stopped its attempts
//! before anybody else may start them, as long as
//!
//! `margin ≥ 2 % of the lease (clock rates) + QUORUM_AGE_MAX (a deposed leader's last acknowledgement)`.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_core::ids::WorkerId;
use muster_core::time::Millis;
use muster_planner::{LiveView, Load, WorkerView};
use muster_proto::internal::v1 as wire;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A heartbeat is acknowledged only by a leader that a quorum confirmed within this span.
pub(crate) const QUORUM_AGE_MAX: Duration = Duration::from_millis(500);
/// Beyond the lease before a worker is declared lost.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);
/// Messages that may wait for a slow worker before its session is cut.
pub(crate) const OUTBOX_MAX: usize = 4096;

/// A message to a worker, or the end of its session.
pub(crate) type Outbound = Result<wire::SessionResponse, tonic::Status>;

/// The way to one connected worker.
#[derive(Clone)]
pub(crate) struct SessionHandle {
    /// Distinguishes a worker's sessions from each other.
    pub(crate) serial: u64,
    pub(crate) outbox: mpsc::Sender<Outbound>,
}

struct LiveWorker {
    session: Option<SessionHandle>,
    load: Load,
    /// When the latest acknowledged sign of life came, or when this leader began or first heard of the worker.
    seen_at: Instant,
    /// The longest lease that it may have, of whatever leader.
    lease: Duration,
    /// Set once it was decided to declare the worker lost: from then on nothing is acknowledged.
    is_losing: bool,
}

impl LiveWorker {
    /// One that has a full lease from this moment.
    fn seen(now: Instant, lease: Duration) -> Self {
        LiveWorker { session: None, load: Load::default(), seen_at: now, lease, is_losing: false }
    }
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Live {
    workers: Mutex<BTreeMap<WorkerId, LiveWorker>>,
    fetches: Mutex<BTreeMap<u64, oneshot::Sender<wire::LogChunk>>>,
    next_serial: std::sync::atomic::AtomicU64,
}

impl Live {
    /// A number that was not given before.
    pub(crate) fn serial(&self) -> u64 {
        self.next_serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }

    /// A new leader begins: every known worker gets a full lease from this moment. Sessions of workers that were faster
    /// than the leader's duties go on.
    pub(crate) fn begin(&self, workers: impl Iterator<Item = (WorkerId, Duration)>) {
        let now = Instant::now();
        self.adopt(workers);
        let mut live = self.workers.lock();
        for entry in live.values_mut() {
            (entry.seen_at, entry.is_losing) = (now, false);
        }
    }

    /// Workers of the state with their leases, also those that this leader never heard of, such as one whose
    /// registration was committed after its session was gone: they too have a lease that must end.
    pub(crate) fn adopt(&self, workers: impl Iterator<Item = (WorkerId, Duration)>) {
        let (now, mut live) = (Instant::now(), self.workers.lock());
        for (worker, lease) in workers {
            let entry = live.entry(worker).or_insert_with(|| LiveWorker::seen(now, lease));
            entry.lease = entry.lease.max(lease);
        }
    }

    /// Leadership is over: sessions end, and workers look for the new leader.
    pub(crate) fn end(&self) {
        for worker in std::mem::take(&mut *self.workers.lock()).into_values() {
            if let Some(session) = worker.session {
                let _gone = session
                    .outbox
                    .try_send(Err(tonic::Status::unavailable("this master leads no more")));
            }
        }
    }

    /// A worker registered over a session. Refused while it is being declared lost; otherwise `greeting` is the first
    /// it hears. It grants a lease, so whoever is refused must not hear it.
    pub(crate) fn connect(
        &self,
        worker: WorkerId,
        lease: Duration,
        session: SessionHandle,
        greeting: Outbound,
    ) -> bool {
        let (now, mut live) = (Instant::now(), self.workers.lock());
        let entry = live.entry(worker).or_insert_with(|| LiveWorker::seen(now, lease));
        entry.lease = entry.lease.max(lease);
        if entry.is_losing || session.outbox.try_send(greeting).is_err() {
            return false;
        }
        entry.seen_at = now;
        if let Some(before) = entry.session.replace(session) {
            let _gone = before
                .outbox
                .try_send(Err(tonic::Status::aborted("the worker opened another session")));
        }
        true
    }

    /// A session ended; the lease runs on.
    pub(crate) fn disconnect(&self, worker: WorkerId, serial: u64) {
        if let Some(entry) = self.workers.lock().get_mut(&worker)
            && entry.session.as_ref().is_some_and(|session| session.serial == serial)
        {
            entry.session = None;
        }
    }

    /// A heartbeat came over a session. Returns whether it may be acknowledged: not if the worker is being declared
    /// lost, nor if this is not its session any more.
    pub(crate) fn heartbeat(&self, worker: WorkerId, serial: u64, load: Load) -> bool {
        let mut live = self.workers.lock();
        let is_current = |entry: &&mut LiveWorker| {
            !entry.is_losing
                && entry.session.as_ref().is_some_and(|session| session.serial == serial)
        };
        let Some(entry) = live.get_mut(&worker).filter(is_current) else { return false };
        entry.seen_at = Instant::now();
        entry.load = load;
        true
    }

    /// Workers that were silent for longer than the `patience` with their lease, which adds [`MARGIN`]; from now on
    /// nothing of them is acknowledged.
    pub(crate) fn lapse(&self, patience: impl Fn(Duration) -> Duration) -> Vec<WorkerId> {
        let now = Instant::now();
        let mut lapsed = Vec::new();
        for (id, worker) in self.workers.lock().iter_mut() {
            let is_over = now.duration_since(worker.seen_at) > patience(worker.lease);
            if is_over {
                // Once: it stays on the list until its loss is committed, which may take many looks.
                if !worker.is_losing {
                    tracing::warn!(worker = %id, "no heartbeat for a full lease and its margin");
                }
                worker.is_losing = true;
                lapsed.push(*id);
            }
        }
        lapsed
    }

    /// A worker is gone from the state. Its session, if any, is told and ends.
    pub(crate) fn forget(&self, worker: WorkerId, reason: &str) {
        let Some(entry) = self.workers.lock().remove(&worker) else { return };
        if let Some(session) = entry.session {
            let lost = wire::Lost { reason: reason.to_owned() };
            let message = wire::SessionResponse {
                message: Some(wire::session_response::Message::Lost(lost)),
            };
            let _gone = session.outbox.try_send(Ok(message));
        }
    }

    /// Sends to a worker; `false` if it has no session, or is too slow, in which case the session ends.
    pub(crate) fn send(&self, worker: WorkerId, message: wire::session_response::Message) -> bool {
        let mut live = self.workers.lock();
        let Some(entry) = live.get_mut(&worker) else { return false };
        let Some(session) = &entry.session else { return false };
        let is_sent =
            session.outbox.try_send(Ok(wire::SessionResponse { message: Some(message) })).is_ok();
        if !is_sent {
            tracing::warn!(%worker, "worker takes its messages too slowly; its session ends");
            entry.session = None;
        }
        is_sent
    }

    /// Whether the worker has a session.
    pub(crate) fn is_connected(&self, worker: WorkerId) -> bool {
        self.workers.lock().get(&worker).is_some_and(|entry| entry.session.is_some())
    }

    /// All workers that have a session.
    pub(crate) fn connected(&self) -> Vec<WorkerId> {
        let live = self.workers.lock();
        live.iter().filter(|(_, entry)| entry.session.is_some()).map(|(id, _)| *id).collect()
    }

    /// What the planner sees.
    pub(crate) fn view(&self) -> LiveView {
        let now = Instant::now();
        let live = self.workers.lock();
        let workers = live.iter().map(|(id, worker)| {
            let age = now.duration_since(worker.seen_at);
            let view = WorkerView {
                load: worker.load,
                is_connected: worker.session.is_some() && !worker.is_losing,
                heartbeat_age: Millis(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            };
            (*id, view)
        });
        LiveView { workers: workers.collect::<BTreeMap<_, _>>() }
    }

    /// Asks a worker for a piece of a log.
    pub(crate) fn fetch_log(
        &self,
        worker: WorkerId,
        fetch: wire::FetchLog,
    ) -> Option<oneshot::Receiver<wire::LogChunk>> {
        let fetch_id = self.serial();
        let (sender, receiver) = oneshot::channel();
        self.fetches.lock().insert(fetch_id, sender);
        let message =
            wire::session_response::Message::FetchLog(wire::FetchLog { fetch_id, ..fetch });
        if self.send(worker, message) {
            return Some(receiver);
        }
        self.fetches.lock().remove(&fetch_id);
        None
    }

    /// A worker answered a fetch.
    pub(crate) fn log_chunk(&self, chunk: wire::LogChunk) {
        if let Some(waiting) = self.fetches.lock().remove(&chunk.fetch_id) {
            let _gone = waiting.send(chunk);
        }
    }

    /// Gives up on fetches nobody waits for.
    pub(crate) fn drop_stale_fetches(&self) {
        self.fetches.lock().retain(|_, waiting| !waiting.is_closed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId(1);
    const LEASE: Duration = Duration::from_secs(5);

    fn session(live: &Live) -> (u64, SessionHandle, mpsc::Receiver<Outbound>) {
        let (outbox, messages) = mpsc::channel(4);
        let serial = live.serial();
        (serial, SessionHandle { serial, outbox }, messages)
    }

    fn greeting() -> Outbound {
        Ok(wire::SessionResponse { message: None })
    }

    #[test]
    fn a_session_from_before_the_leaders_duties_goes_on() {
        let live = Live::default();
        let (serial, handle, _messages) = session(&live);
        assert!(live.connect(WORKER, LEASE, handle, greeting()));
        live.begin([(WORKER, LEASE), (WorkerId(2), LEASE)].into_iter());
        assert!(live.heartbeat(WORKER, serial, Load::default()));
        assert_eq!(live.connected(), [WORKER]);
        assert!(live.lapse(|lease| lease).is_empty(), "all begin with a full lease");
    }

    #[test]
    fn a_displaced_session_renews_nothing() {
        let live = Live::default();
        let (first, handle, mut told) = session(&live);
        assert!(live.connect(WORKER, LEASE, handle, greeting()));
        let (second, handle, _messages) = session(&live);
        assert!(live.connect(WORKER, LEASE, handle, greeting()));
        assert!(!live.heartbeat(WORKER, first, Load::default()));
        assert!(live.heartbeat(WORKER, second, Load::default()));
        assert!(told.try_recv().is_ok_and(|message| message.is_ok()), "it was greeted");
        assert!(told.try_recv().is_ok_and(|message| message.is_err()), "it is told of its end");
        live.disconnect(WORKER, first);
        assert!(live.is_connected(WORKER), "the end of the old one is not the end of the new one");
    }

    #[test]
    fn who_cannot_be_greeted_has_a_lease_all_the_same() {
        let live = Live::default();
        let (_, handle, messages) = session(&live);
        drop(messages);
        assert!(!live.connect(WORKER, LEASE, handle, greeting()), "its session is gone");
        assert!(live.lapse(|lease| lease).is_empty(), "it is registered: nobody rushes");
    }

    #[test]
    fn a_longer_lease_of_another_leader_is_waited_for() {
        let live = Live::default();
        live.begin([(WORKER, LEASE * 3)].into_iter());
        let (_, handle, _messages) = session(&live);
        assert!(live.connect(WORKER, LEASE, handle, greeting()));
        let set_back = LEASE * 2;
        live.workers.lock().get_mut(&WORKER).unwrap().seen_at =
            Instant::now().checked_sub(set_back).expect("it was booted before");
        assert!(live.lapse(|lease| lease).is_empty(), "the greeting may not have arrived");
        assert_eq!(live.lapse(|lease| lease / 2), [WORKER]);
    }

    #[test]
    fn nobody_in_the_state_is_without_a_lease() {
        let live = Live::default();
        live.adopt([(WORKER, LEASE)].into_iter());
        let since = live.workers.lock()[&WORKER].seen_at;
        live.adopt([(WORKER, LEASE)].into_iter());
        assert_eq!(live.workers.lock()[&WORKER].seen_at, since, "and nobody gets one twice");
        live.workers.lock().get_mut(&WORKER).unwrap().seen_at =
            Instant::now().checked_sub(Duration::from_secs(60)).expect("it was booted before");
        assert_eq!(live.lapse(|lease| lease), [WORKER]);
        let (_, handle, mut messages) = session(&live);
        assert!(
            !live.connect(WORKER, LEASE, handle, greeting()),
            "whoever is being lost cannot come back under this id"
        );
        assert!(messages.try_recv().is_err(), "nor does it hear of a lease");
    }
}
