//! Which fire times fire now, which are missed, and which comes next.
//!
//! ```text
//!  decided │  late                              │ on time  │ not due
//!  ────────┼────────────────────────────────────┼──────────┼──────────►
//!        after                            now - ON_TIME   now
//!           none: missed                         all fire
//!           latest: the newest, unless one is on time
//!           all: the newest `maxCatchup`
//! ```
//!
//! What is older than `startingDeadline` is missed in any case. With jitter, each is due later by its share of it, and
//! never before the one that came before it: runs begin in the order of their fire times.

use std::collections::VecDeque;

use muster_core::spec::schedule::CatchUp;
use muster_core::time::{Millis, Timestamp};

use crate::schedule::Schedule;

/// A fire time that could fire within this span is on time: a new leader needs a moment, and so does a full log.
pub const ON_TIME: Millis = Millis::from_secs(60);
/// After so many fire times in one outage, those that will not fire in any case are passed over without being counted.
const COUNTED_MAX: u64 = 10_000;

/// What is to be decided at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Fire times that fire now, the oldest first.
    pub fire: Vec<Timestamp>,
    /// How many do not fire any more. Exact up to ten thousand in one outage, and at least so many beyond.
    pub missed: u64,
    /// Everything up to here is decided; what was asked for, if nothing is due.
    pub until: Timestamp,
    /// The first fire time after that, and when it is to fire: later by its share of the jitter.
    pub next: Option<(Timestamp, Timestamp)>,
}

impl Schedule {
    /// What becomes, at `now`, of the fire times after `after`, none of which is decided yet. `key` spreads the jitter,
    /// see [`Schedule::delay`].
    pub fn due(&self, key: u64, after: Timestamp, now: Timestamp) -> Due {
        let bound = self.lateness.starting_deadline.map_or(ON_TIME, |it| it.min(ON_TIME));
        let mut found = Found::new(self.late_max());
        let (mut at, mut until, mut due_at) = (after, after, Timestamp(0));
        while let Some(fire) = self.next_after(at).filter(|fire| fire.at > at) {
            due_at = due_at.max(fire.at + self.delay(key, fire.at));
            if due_at > now {
                found.next = Some((fire.at, due_at));
                break;
            }
            (at, until) = (fire.at, fire.at);
            found.add(at, now.since(due_at), bound, self.lateness.starting_deadline);
            if found.counted == COUNTED_MAX {
                at = self.before_newest(at, now - bound - self.jitter);
            }
        }
        found.decided(until, self.lateness.catch_up)
    }

    /// How many late fire times may fire at once.
    fn late_max(&self) -> usize {
        match self.lateness.catch_up {
            CatchUp::None => 0,
            CatchUp::Latest => 1,
            CatchUp::All => usize::try_from(self.lateness.catch_up_max).unwrap_or(usize::MAX),
        }
    }

    /// A moment from `at` on, between which and `end` lie all fire times that can still matter.
    fn before_newest(&self, at: Timestamp, end: Timestamp) -> Timestamp {
        let wanted = self.late_max() + 1;
        let is_enough_from = |start: Timestamp| {
            let times =
                std::iter::successors(self.next_after(start), |fire| self.next_after(fire.at));
            times.take_while(|fire| fire.at < end).take(wanted).count() == wanted
        };
        let mut span = ON_TIME;
        while end - span > at && !is_enough_from(end - span) {
            span = Millis(span.0.saturating_mul(2));
        }
        if end - span <= at {
            return at;
        }
        // The latest such moment, or nearly: fire times may be dense in the earlier half.
        let (mut first, mut last) = (end - span, end - Millis(span.0 / 2));
        while last.since(first) > ON_TIME {
            let middle = first + Millis(last.since(first).0 / 2);
            match is_enough_from(middle) {
                true => first = middle,
                false => last = middle,
            }
        }
        first
    }
}

/// Fire times that are due, as far as they were looked at.
struct Found {
    on_time: Vec<Timestamp>,
    /// The newest of the late ones, at most `late_max`.
    late: VecDeque<Timestamp>,
    late_max: usize,
    missed: u64,
    counted: u64,
    next: Option<(Timestamp, Timestamp)>,
}

impl Found {
    fn new(late_max: usize) -> Self {
        Self {
            on_time: Vec::new(),
            late: VecDeque::new(),
            late_max,
            missed: 0,
            counted: 0,
            next: None,
        }
    }

    fn add(&mut self, at: Timestamp, lateness: Millis, bound: Millis, deadline: Option<Millis>) {
        self.counted += 1;
        if lateness <= bound {
            self.on_time.push(at);
        } else if deadline.is_some_and(|deadline| lateness > deadline) {
            self.missed += 1;
        } else {
            self.late.push_back(at);
            if self.late.len() > self.late_max {
                self.late.pop_front();
                self.missed += 1;
            }
        }
    }

    fn decided(mut self, until: Timestamp, catch_up: CatchUp) -> Due {
        if catch_up == CatchUp::Latest && !self.on_time.is_empty() {
            self.missed += self.late.len() as u64;
            self.late.clear();
        }
        let fire = self.late.into_iter().chain(self.on_time).collect();
        Due { fire, missed: self.missed, until, next: self.next }
    }
}
