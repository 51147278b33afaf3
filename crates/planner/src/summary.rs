//! The workers' answers to one request, counted.

use std::collections::BTreeMap;
use std::fmt;

use muster_core::spec::Request;
use muster_core::state::State;

use crate::class::Class;
use crate::obstacle::{self, ObstacleKind};
use crate::policy::Policy;
use crate::slot::Slots;
use crate::view::LiveView;

/// Whether and when a request could be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outlook {
    /// Some worker has room.
    Now,
    /// Some worker will have room once what it does ends.
    Busy,
    /// The only workers that could ever take it drain or are not connected.
    Away,
    /// No registered worker could take it, even with nothing else to do.
    Never,
}

/// See the module documentation. Lost workers are not counted.
///
/// - `able` plus all of `lacking` is `workers`: a worker that lacks several things counts under the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Workers there are.
    pub workers: u32,
    /// Workers that have room.
    pub able: u32,
    /// The other workers, by the first thing they lack.
    pub lacking: BTreeMap<ObstacleKind, u32>,
    /// What that comes to.
    pub outlook: Outlook,
}

impl Summary {
    /// Whether only a change of the cluster can help: another worker, or the return of one that is away.
    pub fn is_stuck(&self) -> bool {
        match self.outlook {
            Outlook::Never | Outlook::Away => true,
            Outlook::Now | Outlook::Busy => false,
        }
    }

    pub(crate) fn new(slots: &Slots<'_>, class: &Class, request: &Request) -> Summary {
        let mut lacking = class.tallies.clone();
        let mut able = 0;
        for index in &class.eligible {
            match obstacle::shortages(slots.at(*index), request).next() {
                None => able += 1,
                Some(shortage) => *lacking.entry(shortage.kind()).or_default() += 1,
            }
        }
        let could_hold = |of| Class::some_could_hold(slots, of, &request.resources);
        let outlook = if able > 0 {
            Outlook::Now
        } else if could_hold(&class.eligible) {
            Outlook::Busy
        } else if could_hold(&class.away) {
            Outlook::Away
        } else {
            Outlook::Never
        };
        Summary { workers: slots.len() as u32, able, lacking, outlook }
    }
}

/// What the workers say to each request, if one attempt of it were to be placed now.
pub fn forecast<'r>(
    state: &State,
    view: &LiveView,
    requests: impl IntoIterator<Item = &'r Request>,
) -> Vec<Summary> {
    // The policy only orders workers, and here none is chosen.
    let slots = Slots::new(state, view, &Policy::default());
    let requests = requests.into_iter();
    requests.map(|request| Summary::new(&slots, &Class::new(&slots, request), request)).collect()
}

impl fmt::Display for Summary {
    /// `0 of 5 workers can take it: 3 lack cpu, 2 do not match pool`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.workers == 0 {
            return f.write_str("There are no workers");
        }
        let plural = if self.workers == 1 { "worker" } else { "workers" };
        write!(f, "{} of {} {plural} can take it", self.able, self.workers)?;
        let mut counts: Vec<_> = self.lacking.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (position, (kind, count)) in counts.into_iter().enumerate() {
            write!(f, "{}{count} {kind}", if position == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Outlook {
    /// A sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outlook::Now => "It is placed in its turn.",
            Outlook::Busy => "Busy now: it is placed once a worker that is large enough has room.",
            Outlook::Away => "The only workers that could take it drain or are not connected.",
            Outlook::Never => "Never possible with the present workers.",
        })
    }
}
