//! What a namespace lets not be live: its quota, and the concurrency groups of a task.

use std::fmt;

use muster_core::ids::Name;
use muster_core::spec::Request;
use muster_core::state::namespace::{QuotaBound, QuotaKind};
use muster_core::state::{State, Usage};

use crate::amount::{Bytes, Cores};

/// Holders of a concurrency group that an explanation names.
const HOLDERS_MAX: usize = 4;

/// What the quota of a namespace says to ready tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    /// Whose it is.
    pub namespace: Name,
    /// Every bound that lets no further attempt be live.
    pub bounds: Vec<QuotaBound>,
}

impl OverQuota {
    /// Whether not one attempt could be live if the namespace had nothing else: only another quota can help.
    pub fn is_lasting(&self) -> bool {
        self.bounds.iter().any(QuotaBound::is_lasting)
    }
}

/// What full concurrency groups say to ready tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullGroups {
    /// Whose they are.
    pub namespace: Name,
    /// Every group of the task that lets no further attempt be live.
    pub groups: Vec<FullGroup>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullGroup {
    /// Its name.
    pub name: Name,
    /// What it lets be live; `None` if the namespace does not have it.
    pub limit: Option<u32>,
    /// What is.
    pub live: u32,
    /// Tasks with live attempts, as `etl/42/extract`, and how many each has; of older runs first. At most 4.
    pub holders: Vec<(String, u32)>,
    /// How many more such tasks there are.
    pub left_out: usize,
}

impl FullGroups {
    /// Whether not one attempt could be live if nothing else were: only another limit can help.
    pub fn is_lasting(&self) -> bool {
        self.groups.iter().any(FullGroup::is_shut)
    }
}

impl FullGroup {
    /// Whether it lets nothing be live at all.
    fn is_shut(&self) -> bool {
        self.limit.unwrap_or(0) == 0
    }
}

/// Whether a quota and the concurrency groups let an attempt more be live.
pub(super) fn may_be_live(state: &State, namespace: &Name, request: &Request) -> bool {
    let unused = Usage::default();
    let usage = state.used_by(namespace).unwrap_or(&unused);
    over_quota(state, namespace, request).is_none()
        && state.group_room(namespace, usage, request) > 0
}

/// What of the namespace's quota lets no further attempt of the request be live.
pub(super) fn over_quota(state: &State, namespace: &Name, request: &Request) -> Option<OverQuota> {
    let unused = Usage::default();
    let usage = state.used_by(namespace).unwrap_or(&unused);
    let bounds = state.quota_of(namespace)?.bounds(usage, &request.resources);
    let bounds: Vec<QuotaBound> = bounds.filter(|bound| bound.room() == 0).collect();
    (!bounds.is_empty()).then(|| OverQuota { namespace: namespace.clone(), bounds })
}

/// The concurrency groups of a request that let no further attempt be live, if there are any.
pub(super) fn full_groups(
    state: &State,
    namespace: &Name,
    request: &Request,
) -> Option<FullGroups> {
    let unused = Usage::default();
    let usage = state.used_by(namespace).unwrap_or(&unused);
    let full = state.group_bounds(namespace, usage, request).filter(|bound| bound.room() == 0);
    let full = full.map(|bound| {
        let all = state.group_holders(namespace, bound.name);
        let named = all.iter().take(HOLDERS_MAX).filter_map(|((run, task), count)| {
            let run = state.run(*run)?;
            Some((format!("{}/{}", run.label(), run.spec(*task)?.id), *count))
        });
        FullGroup {
            name: bound.name.clone(),
            limit: bound.limit,
            live: bound.live,
            holders: named.collect(),
            left_out: all.len().saturating_sub(HOLDERS_MAX),
        }
    });
    let groups: Vec<FullGroup> = full.collect();
    (!groups.is_empty()).then(|| FullGroups { namespace: namespace.clone(), groups })
}

impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for QuotaBound { kind, most, used, needs } in &self.bounds {
            let of = &self.namespace;
            match kind {
                QuotaKind::Tasks => {
                    writeln!(f, "The task quota of namespace `{of}` is {most}: {used} are live.")?;
                }
                QuotaKind::Cpu => {
                    let [most, used, needs] = [*most, *used, *needs].map(Cores);
                    write!(f, "The cpu quota of namespace `{of}` is {most}: ")?;
                    writeln!(f, "{used} are taken, and the task asks for {needs}.")?;
                }
                QuotaKind::Memory => {
                    let [most, used, needs] = [*most, *used, *needs].map(Bytes);
                    write!(f, "The memory quota of namespace `{of}` is {most}: ")?;
                    writeln!(f, "{used} are taken, and the task asks for {needs}.")?;
                }
            }
        }
        match self.is_lasting() {
            true => writeln!(f, "Never possible with this quota."),
            false => writeln!(f, "It waits until others of the namespace end."),
        }
    }
}

impl fmt::Display for FullGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.namespace;
        for group in &self.groups {
            let (name, live) = (&group.name, group.live);
            match group.limit {
                Some(limit) => {
                    write!(f, "The concurrency group `{name}` of namespace `{of}` has the limit ")?;
                    write!(f, "{limit}: {live} are live")?;
                }
                None => {
                    write!(
                        f,
                        "Namespace `{of}` does not have the concurrency group `{name}` any "
                    )?;
                    write!(f, "more: {live} are live")?;
                }
            }
            for (position, (task, count)) in group.holders.iter().enumerate() {
                let separator = if position == 0 { ", of" } else { "," };
                write!(f, "{separator} {task}")?;
                if *count > 1 {
                    write!(f, " ({count})")?;
                }
            }
            match group.left_out {
                0 => writeln!(f, ".")?,
                more => writeln!(f, ", and of {more} more tasks.")?,
            }
        }
        match self.groups.iter().find(|group| group.is_shut()).map(|group| group.limit) {
            Some(Some(_)) => writeln!(f, "Never possible with this limit."),
            Some(None) => writeln!(f, "Nothing of it begins until the group is applied again."),
            None => writeln!(f, "It waits until others of the group end."),
        }
    }
}
