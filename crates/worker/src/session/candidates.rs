//! Which master to try next, and how long to wait before.

use std::collections::VecDeque;
use std::time::Duration;

/// The wait after the first failure of a round.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// No wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Redirects followed at once before they count as a failure: two masters may each take the other for the leader.
const REDIRECTS_MAX: u32 = 3;

/// Addresses of masters, in the order to try them.
#[derive(Debug)]
pub(super) struct Candidates {
    /// Given at start; never forgotten, since all learnt addresses may have become wrong.
    seeds: Vec<String>,
    learnt: Vec<String>,
    queue: VecDeque<String>,
    /// Named by another master: tried first.
    leader: Option<String>,
    /// Where the last try failed: tried after all others.
    unreachable: Option<String>,
    failures: u32,
    redirects: u32,
}

impl Candidates {
    pub(super) fn new(seeds: &[String]) -> Self {
        let seeds = seeds.iter().map(|seed| url_of(seed)).collect();
        Candidates {
            seeds,
            learnt: Vec::new(),
            queue: VecDeque::new(),
            leader: None,
            unreachable: None,
            failures: 0,
            redirects: 0,
        }
    }

    /// The address to try now.
    pub(super) fn next(&mut self) -> String {
        if let Some(leader) = self.leader.take() {
            return leader;
        }
        if self.queue.is_empty() {
            self.queue.extend(self.learnt.iter().cloned());
            for seed in &self.seeds {
                if !self.queue.contains(seed) {
                    self.queue.push_back(seed.clone());
                }
            }
        }
        if self.queue.len() > 1 && self.queue.front() == self.unreachable.as_ref() {
            self.queue.rotate_left(1);
        }
        self.queue.pop_front().unwrap_or_default()
    }

    /// The master at `address` could not be reached, or is gone. Returns the wait before the next try.
    pub(super) fn broken(&mut self, address: &str) -> Duration {
        self.unreachable = Some(address.to_owned());
        self.failed()
    }

    /// The API address of the master that could not be reached, as masters name it; empty if none.
    pub(super) fn unreachable(&self) -> &str {
        let address = self.unreachable.as_deref().unwrap_or_default();
        address.split_once("://").map_or(address, |(_, rest)| rest)
    }

    /// A master named the others, and the leader if it knows one. Returns the wait before the next try.
    pub(super) fn redirected(&mut self, leader: &str, masters: &[String]) -> Duration {
        self.learn(masters);
        self.redirects += 1;
        if leader.is_empty() || self.redirects > REDIRECTS_MAX {
            self.redirects = 0;
            return self.failed();
        }
        self.leader = Some(url_of(leader));
        Duration::ZERO
    }

    /// A try failed. Returns the wait before the next one: exponential, and jittered so that workers that lost the same
    /// leader do not come back in step.
    pub(super) fn failed(&mut self) -> Duration {
        let wait = WAIT_MIN.saturating_mul(1 << self.failures.min(10)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(rand::random_range(0.5..1.5))
    }

    /// The leader was found, at `address`: it is the first to come back to.
    pub(super) fn registered(&mut self, address: &str, masters: &[String]) {
        self.learn(masters);
        self.failures = 0;
        self.redirects = 0;
        self.unreachable = None;
        self.queue.clear();
        self.leader = Some(address.to_owned());
    }

    fn learn(&mut self, masters: &[String]) {
        if !masters.is_empty() {
            self.learnt = masters.iter().map(|master| url_of(master)).collect();
        }
    }
}

fn url_of(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Candidates {
        Candidates::new(&["a:1".to_owned(), "http://b:2".to_owned()])
    }

    #[test]
    fn takes_turns_and_never_forgets_the_seeds() {
        let mut candidates = candidates();
        let tried: Vec<_> = (0..3).map(|_| candidates.next()).collect();
        assert_eq!(tried, ["http://a:1", "http://b:2", "http://a:1"]);
        candidates.redirected("", &["c:3".to_owned(), "a:1".to_owned()]);
        let tried: Vec<_> = (0..4).map(|_| candidates.next()).collect();
        assert_eq!(tried, ["http://b:2", "http://c:3", "http://a:1", "http://b:2"]);
    }

    #[test]
    fn follows_a_redirect_at_once_but_not_for_ever() {
        let mut candidates = candidates();
        for _ in 0..REDIRECTS_MAX {
            assert_eq!(candidates.redirected("l:9", &[]), Duration::ZERO);
            assert_eq!(candidates.next(), "http://l:9");
        }
        assert!(candidates.redirected("l:9", &[]) > Duration::ZERO);
        assert_eq!(candidates.next(), "http://a:1");
    }

    #[test]
    fn comes_back_last_to_where_it_failed() {
        let mut candidates = candidates();
        assert_eq!((candidates.next(), candidates.unreachable()), ("http://a:1".to_owned(), ""));
        candidates.broken("http://b:2");
        assert_eq!(candidates.unreachable(), "b:2");
        let tried: Vec<_> = (0..3).map(|_| candidates.next()).collect();
        assert_eq!(
            tried,
            ["http://b:2", "http://a:1", "http://b:2"],
            "it is the only one left of the round"
        );
        candidates.broken("http://a:1");
        assert_eq!(candidates.next(), "http://b:2");
        candidates.registered("http://b:2", &[]);
        assert_eq!(candidates.unreachable(), "");
    }

    #[test]
    fn waits_longer_and_longer_until_it_registers() {
        let mut candidates = candidates();
        let waits: Vec<_> = (0..20).map(|_| candidates.failed()).collect();
        assert!(waits[0] < Duration::from_millis(80));
        assert!(waits[19] >= WAIT_MAX / 2 && waits[19] <= WAIT_MAX.mul_f64(1.5));
        candidates.registered("http://l:9", &[]);
        assert_eq!(candidates.next(), "http://l:9", "the last leader first");
        assert!(candidates.failed() < Duration::from_millis(80));
    }
}
