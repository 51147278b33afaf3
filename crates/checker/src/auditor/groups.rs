//! Concurrency groups: which there are, and that no more of each is live than its limit.

use muster_core::command::Placement;
use muster_core::ids::Name;
use muster_core::reply::ItemRefusal;
use muster_core::spec::{Request, WorkflowSpec};

use super::step::{Step, place};
use crate::coverage::Rare;
use crate::verdict::Invariant;

impl Step<'_> {
    fn limit(&self, namespace: &Name, group: &Name) -> Option<u64> {
        let spec = self.book.namespaces.get(namespace)?;
        spec.groups.get(group).map(|group| u64::from(group.limit))
    }

    /// A group of which so many attempts more would be too many, and how many there would be.
    pub(super) fn over_group(
        &self,
        namespace: &Name,
        request: &Request,
        count: u32,
    ) -> Option<(Name, u64)> {
        if request.groups.is_empty() {
            return None;
        }
        let mut taking = self.book.takings.of(namespace);
        taking.add(request, count);
        let live = request.groups.iter().map(|group| (group, taking.of_group(group)));
        // A group that the namespace has no longer lets nothing begin.
        let mut over =
            live.filter(|(group, live)| *live > self.limit(namespace, group).unwrap_or(0));
        over.next().map(|(group, live)| (group.clone(), live))
    }

    /// A placement that was refused for a group must have been too much for it.
    pub(super) fn judge_group_full(&mut self, placement: &Placement, refusal: ItemRefusal) {
        if refusal != ItemRefusal::GroupFull {
            return;
        }
        let Some((namespace, request)) = self.asked_by(placement) else { return };
        if self.over_group(&namespace, &request, placement.range.count()).is_none() {
            let at = place(placement.run, placement.task, placement.range);
            let has = self.book.takings.of(&namespace);
            self.found(Invariant::I11, format!("{at} was too much for a group beside {has:?}"));
        }
    }

    /// A version that was made must name only groups that its namespace has.
    pub(super) fn judge_named_groups(&mut self, namespace: &Name, spec: &WorkflowSpec) {
        let mut named = spec.tasks.iter().flat_map(|task| &task.request.groups);
        if let Some(group) = named.find(|group| self.limit(namespace, group).is_none()) {
            let what = format!("`{}` names group `{group}`, which there is not", spec.name);
            self.found(Invariant::I17, what);
        }
    }

    /// A workflow that was refused for a group must name it, and the namespace must not have it.
    pub(super) fn refused_for_group(
        &mut self,
        namespace: &Name,
        spec: &WorkflowSpec,
        group: &Name,
    ) {
        let is_named = spec.tasks.iter().any(|task| task.request.groups.contains(group));
        if !is_named || self.limit(namespace, group).is_some() {
            let what = format!("`{}` was refused for group `{group}`, which there is", spec.name);
            self.found(Invariant::I17, what);
        } else {
            self.count(Rare::GroupUnknown);
        }
    }
}
