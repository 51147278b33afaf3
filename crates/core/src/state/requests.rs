//! Request ids that were answered: same id and same body, same answer (I3).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block_map::BlockMap;
use crate::ids::Text;
use crate::limits;
use crate::reply::Reply;
use crate::time::Timestamp;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnsweredRequest {
    /// The caller's key.
    pub id: Text,
    /// A stable hash of the request's body.
    pub digest: u64,
    /// When it was answered.
    pub at: Timestamp,
    /// The answer.
    pub reply: Reply,
}

/// The answered requests, oldest first. Remembered for [`limits::REQUEST_ID_RETENTION`], at most
/// [`limits::REQUEST_IDS_MAX`] of them.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    answered: BlockMap<AnsweredRequest>,
    oldest: u64,
    next: u64,
    /// Derived: where each id stands.
    position: BTreeMap<Text, u64>,
}

impl Requests {
    /// The answered requests as they are kept.
    pub fn answered(&self) -> &BlockMap<AnsweredRequest> {
        &self.answered
    }

    /// Rebuilds from a snapshot.
    pub fn restore(answered: BlockMap<AnsweredRequest>) -> Self {
        let mut requests = Requests::default();
        for (number, request) in answered.iter_below(u64::MAX) {
            requests.next = requests.next.max(number.saturating_add(1));
            requests.oldest = number;
            requests.position.insert(request.id.clone(), number);
        }
        requests.answered = answered;
        requests
    }

    /// Whether every id is there once, and the numbers follow each other by age and stay below `bound`.
    pub(crate) fn is_well_formed(&self, bound: u64) -> bool {
        let ascends = self.answered.iter().is_sorted_by_key(|request| request.at);
        let is_whole = self.next.checked_sub(self.oldest) == Some(self.answered.len() as u64);
        self.position.len() == self.answered.len() && is_whole && ascends && self.next <= bound
    }

    /// What was answered to `id`.
    pub fn get(&self, id: &str) -> Option<&AnsweredRequest> {
        self.answered.get(*self.position.get(id)?).map(Arc::as_ref)
    }

    /// Remembers an answer.
    pub fn insert(&mut self, request: AnsweredRequest) {
        if self.answered.len() >= limits::REQUEST_IDS_MAX {
            self.forget_oldest();
        }
        self.position.insert(request.id.clone(), self.next);
        self.answered.insert(self.next, Arc::new(request));
        self.next += 1;
    }

    /// Forgets what is older than the retention.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some(oldest) = self.answered.get(self.oldest)
            && now.since(oldest.at) > limits::REQUEST_ID_RETENTION
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(request) = self.answered.remove(self.oldest) {
            self.position.remove(&request.id);
        }
        self.oldest += 1;
        if self.answered.is_empty() {
            // A snapshot does not say how many there ever were, so a replica without one must not know it either.
            (self.oldest, self.next) = (0, 0);
        }
    }
}
