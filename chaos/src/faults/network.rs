//! Faults of links: cut one way or both, slow, silent.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use rand::Rng;

use super::{From, Stage, Target, Way, masters, names};
use crate::evidence::Evidence;
use crate::ground::Who;
use crate::proxy::{Proxy, Weather};
use crate::scenario::Span;

impl Stage<'_> {
    pub(super) async fn cut(
        &mut self,
        target: Target,
        from: From,
        way: Way,
        span: Span,
    ) -> Result<String> {
        let whom = self.aim(target).await?;
        let way = match way {
            Way::Any => [Way::Both, Way::Out, Way::In][self.chance.random_range(0..3)],
            way => way,
        };
        let others = match from {
            From::Masters => (0..self.lab.masters.len()).map(Who::Master).collect(),
            From::Leader => self.aim(Target::Leader).await?,
        };
        let links = links(&whom, &others, way);
        for (from, to) in &links {
            self.lab.ground.cut(*from, *to)?;
        }
        let span = span.draw(&mut self.chance);
        self.pass(span).await?;
        let unanswered = links.iter().filter(|(from, to)| self.goes_unanswered(*from, *to)).count();
        self.logbook.see(Evidence::LinkCut, unanswered as u64);
        let alone = if from == From::Leader { unanswered } else { 0 };
        self.logbook.see(Evidence::LeaderLinkCut, alone as u64);
        for (from, to) in &links {
            self.lab.ground.heal(*from, *to)?;
        }
        let way = match way {
            Way::Both | Way::Any => "off",
            Way::Out => "off on its way out",
            Way::In => "off on its way in",
        };
        let from = match from {
            From::Masters => String::new(),
            From::Leader => format!(" from {} alone", names(&others)),
        };
        let (whom, count) = (names(&whom), links.len());
        Ok(format!(
            "cut {whom} {way}{from} for {span:?}: {unanswered} of {count} links were in use"
        ))
    }

    /// Whether the kernel still repeats what `from` sent to `to`.
    fn goes_unanswered(&self, from: Who, to: Who) -> bool {
        let member = match from {
            Who::Master(at) => &self.lab.masters[at],
            Who::Worker(at) => &self.lab.workers[at],
        };
        let pid = member.process.pid().unwrap_or_default();
        // It may have ended.
        let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        is_repeated(&sockets, self.lab.ground.address(to))
    }

    pub(super) async fn slow_link(
        &mut self,
        target: Target,
        delay: Span,
        jitter: Span,
        span: Span,
    ) -> Result<String> {
        let whom = self.aim(target).await?;
        let delay = delay.draw(&mut self.chance);
        let jitter = jitter.draw(&mut self.chance);
        let weather = Weather { delay, jitter, is_silent: false };
        for at in masters(&whom) {
            let Some(proxy) = self.lab.proxies.get(at) else {
                bail!("a scenario with slow links needs `proxies = true`");
            };
            proxy.set(weather);
        }
        let span = span.draw(&mut self.chance);
        let before: u64 = self.lab.proxies.iter().map(Proxy::delayed).sum();
        self.pass(span).await?;
        let after: u64 = self.lab.proxies.iter().map(Proxy::delayed).sum();
        self.logbook.see(Evidence::LinkSlowed, after - before);
        for at in masters(&whom) {
            self.lab.proxies[at].set(Weather::default());
        }
        Ok(format!(
            "the link to {} took {delay:?} and up to {jitter:?} more for {span:?}",
            names(&whom)
        ))
    }
}

/// The links, each in one direction, between those who are cut off and the others.
fn links(whom: &[Who], others: &[Who], way: Way) -> Vec<(Who, Who)> {
    let mut links = Vec::new();
    for one in whom {
        for other in others.iter().filter(|other| !whom.contains(other)) {
            if way != Way::In {
                links.push((*one, *other));
            }
            if way != Way::Out {
                links.push((*other, *one));
            }
        }
    }
    links
}

/// Whether this table of TCP sockets has one to `address` whose data, or whose opening, was sent more than once and is
/// not acknowledged.
fn is_repeated(sockets: &str, address: Ipv4Addr) -> bool {
    sockets.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, remote, _, _, _, repeats, ..] = words[..] else { return false };
        let remote =
            remote.split_once(':').and_then(|(address, _)| u32::from_str_radix(address, 16).ok());
        // The kernel prints the bytes of the address as a number of this machine.
        let is_there = remote.is_some_and(|remote| Ipv4Addr::from(remote.to_ne_bytes()) == address);
        is_there && u32::from_str_radix(repeats, 16).is_ok_and(|repeats| repeats > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKETS: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
        0: 6400630A:8CA0 0A00630A:1B9E 01 00000012:00000000 01:00000014 00000003     0        0 1\n   \
        1: 6400630A:8CA2 0B00630A:1B9E 01 00000000:00000000 02:00000014 00000000     0        0 1\n";

    #[test]
    fn what_is_not_acknowledged_is_seen() {
        assert!(is_repeated(SOCKETS, Ipv4Addr::new(10, 99, 0, 10)));
        assert!(!is_repeated(SOCKETS, Ipv4Addr::new(10, 99, 0, 11)), "all of it was");
        assert!(!is_repeated(SOCKETS, Ipv4Addr::new(10, 99, 0, 12)), "there is no socket");
    }

    #[test]
    fn one_way_is_half_of_both() {
        let (worker, masters) = (Who::Worker(0), [Who::Master(0), Who::Master(1)]);
        assert_eq!(links(&[worker], &masters, Way::Both).len(), 4);
        assert_eq!(links(&[worker], &masters[..1], Way::Out), [(worker, masters[0])]);
        assert_eq!(links(&[worker], &masters[..1], Way::In), [(masters[0], worker)]);
        assert_eq!(links(&masters[..1], &masters, Way::Out), [(masters[0], masters[1])]);
    }
}
