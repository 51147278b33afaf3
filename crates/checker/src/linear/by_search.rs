//! A search for an order of calls that explains their answers (Wing and Gong, 1993), which never looks twice at the
//! same calls done with the same result (Lowe, 2017).

use std::collections::BTreeSet;

/// What calls do to something that answers one at a time.
pub trait Model {
    /// All that it remembers.
    type State: Clone + Ord;
    /// A call with its answer.
    type Call: PartialEq;

    /// Where it begins.
    fn begin(&self) -> Self::State;

    /// The states after a call, if in `state` it could have been answered as it was: several if something that no call
    /// shows may have happened in between.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Vec<Self::State>;
}

/// A call in time. Times are places in the order of observations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval<C> {
    /// When it began.
    pub invoked: usize,
    /// When it returned; `None` if nobody knows its answer: then it may have taken effect at any later time, or never.
    pub returned: Option<usize>,
    /// The call.
    pub call: C,
}

/// What the search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is such an order.
    Order,
    /// There is none. The most calls that any order explained, of those with a known answer.
    None {
        /// How many.
        explained: usize,
    },
    /// The search took more steps than it was given.
    GaveUp,
}

/// Looks for an order. `steps` bounds the work; each costs the number of calls at most.
pub fn search<M: Model>(model: &M, calls: &[Interval<M::Call>], steps: usize) -> Found {
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|at| calls[*at].invoked);
    let known = calls.iter().filter(|call| call.returned.is_some()).count();
    let mut explained = 0;
    let mut seen: BTreeSet<(Done, M::State)> = BTreeSet::new();
    let mut open = vec![(Done::none(calls.len()), model.begin())];
    let mut left = steps;
    while let Some((done, state)) = open.pop() {
        let done_known =
            calls.iter().enumerate().filter(|(at, it)| it.returned.is_some() && done.has(*at));
        let count = done_known.count();
        explained = explained.max(count);
        if count == known {
            return Found::Order;
        }
        if left == 0 {
            return Found::GaveUp;
        }
        left -= 1;
        for at in candidates(calls, &order, &done) {
            for next in model.step(&state, &calls[at].call) {
                if calls[at].returned.is_none() && next == state {
                    // Whether it took effect makes no difference.
                    continue;
                }
                let reached = (done.with(at), next);
                if !seen.contains(&reached) {
                    seen.insert(reached.clone());
                    open.push(reached);
                }
            }
        }
    }
    Found::None { explained }
}

/// The calls that may come next: those that began before any of the others that are not done returned. Of equal calls
/// only the one that returned first, since it can stand in for the others.
fn candidates<C: PartialEq>(calls: &[Interval<C>], order: &[usize], done: &Done) -> Vec<usize> {
    let end = |at: usize| calls[at].returned.unwrap_or(usize::MAX);
    let mut candidates: Vec<usize> = Vec::new();
    let mut first_return = usize::MAX;
    for at in order.iter().copied().filter(|at| !done.has(*at)) {
        if calls[at].invoked > first_return {
            break;
        }
        first_return = first_return.min(end(at));
        match candidates.iter_mut().find(|it| calls[**it].call == calls[at].call) {
            Some(equal) if end(*equal) > end(at) => *equal = at,
            Some(_) => {}
            None => candidates.push(at),
        }
    }
    // The search takes the last one first: those that began earlier are likelier to come next.
    candidates.reverse();
    candidates
}

/// A set of calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Done(Vec<u64>);

impl Done {
    fn none(calls: usize) -> Self {
        Done(vec![0; calls.div_ceil(u64::BITS as usize)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / u64::BITS as usize] >> (at % u64::BITS as usize) & 1 == 1
    }

    fn with(&self, at: usize) -> Self {
        let mut with = self.clone();
        with.0[at / u64::BITS as usize] |= 1 << (at % u64::BITS as usize);
        with
    }
}
