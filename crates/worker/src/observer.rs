//! What a worker tells whoever watches it from within its process. For tests and simulations, which compare it with
//! what the masters recorded; nothing in Muster depends on it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_core::command::{AttemptRef, Outcome};
use muster_core::ids::WorkerId;

/// Watches a worker.
pub trait Observer: Send + Sync + 'static {
    /// Told where and when it happens, on any of the worker's threads and with locks held: must neither block nor call
    /// the worker.
    fn observe(&self, event: Event);
}

/// Something that happened in a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A leader took the worker in.
    Registered {
        /// The id it was given.
        worker: WorkerId,
        /// Under which incarnation it registered.
        incarnation: u64,
    },
    /// A leader confirmed a renewal, and the end of the lease moved.
    LeaseConfirmed {
        /// Of the worker at that moment.
        incarnation: u64,
        /// When killing begins unless it is renewed, in time since boot.
        stop_at: Duration,
        /// When the leader may give the attempts to others, in time since boot.
        end: Duration,
    },
    /// The lease is over or was given up: nothing is taken from here on, and killing begins.
    LeaseLapsed {
        /// Of the worker at that moment.
        incarnation: u64,
    },
    /// Indices that were not known under this fence were taken from a dispatch.
    Accepted {
        /// Which.
        attempt: AttemptRef,
        /// Of the worker at that moment.
        incarnation: u64,
    },
    /// An executor is about to be given a unit: a range, or a single index.
    Started {
        /// Which.
        attempt: AttemptRef,
        /// Of the worker at that moment.
        incarnation: u64,
    },
    /// Nothing of a unit runs any more. Not told of what is dropped with the runtime.
    Ended {
        /// Which.
        attempt: AttemptRef,
        /// Of the worker when the unit was started.
        incarnation: u64,
        /// How, in the executor's words.
        outcome: Outcome,
    },
    /// An outcome was given to a stream; it may be given to several, one after the other.
    Reported {
        /// Which.
        attempt: AttemptRef,
        /// Of the worker at that moment.
        incarnation: u64,
        /// How, in the words of the report.
        outcome: muster_proto::internal::v1::OutcomeKind,
        /// Whether the journal has it.
        is_kept: bool,
    },
    /// The leader acknowledged an outcome: it is decided, accepted or refused for good. The protocol does not tell
    /// which.
    Acknowledged {
        /// Which.
        attempt: AttemptRef,
        /// Of the worker at that moment.
        incarnation: u64,
    },
}

/// Who is told, if anybody, and under which incarnation. Costs nothing while nobody watches.
#[derive(Default)]
pub struct Witness {
    observer: Option<Arc<dyn Observer>>,
    incarnation: AtomicU64,
}

impl Witness {
    /// Tells `observer`.
    pub fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Witness { observer, incarnation: AtomicU64::new(0) }
    }

    /// The worker's incarnation from here on.
    pub fn set_incarnation(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Ordering::SeqCst);
    }

    /// The worker's incarnation; 0 before the first.
    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::SeqCst)
    }

    /// Tells what `event` makes of the incarnation, which is only asked if somebody watches.
    pub fn tell(&self, event: impl FnOnce(u64) -> Event) {
        if let Some(observer) = &self.observer {
            observer.observe(event(self.incarnation()));
        }
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}
