//! Namespaces, gone through: what each may have, and what it has.

use muster_core::command::{ApplyNamespace, Placement};
use muster_core::ids::Name;
use muster_core::reply::{ItemRefusal, Reply};
use muster_core::spec::Request;
use muster_core::spec::namespace::Quota;
use muster_core::state::trail::Deed;

use super::load::Taking;
use super::step::{Step, place};
use crate::coverage::Rare;
use crate::verdict::Invariant;

impl Step<'_> {
    pub(super) fn apply_namespace(&mut self, command: &ApplyNamespace, reply: &Reply) {
        let spec = &command.spec;
        let before = self.book.namespaces.insert(spec.name.clone(), spec.clone());
        let is_changed = before.as_ref() != Some(spec);
        if *reply != (Reply::NamespaceApplied { is_changed }) {
            self.found(Invariant::I17, format!("namespace `{}` was told {reply:?}", spec.name));
        }
        if is_changed {
            self.owe(Deed::Apply, None);
        }
        self.touched_namespaces.insert(spec.name.clone());
        self.count(Rare::NamespaceApplied);
    }

    fn quota(&self, namespace: &Name) -> Quota {
        self.book.namespaces.get(namespace).map(|spec| spec.quota).unwrap_or_default()
    }

    /// Whether a run more may be made in a namespace.
    pub(super) fn may_have_run(&self, namespace: &Name) -> bool {
        let most = self.quota(namespace).runs;
        most.is_none_or(|most| self.book.live_runs(namespace) < most as usize)
    }

    /// A run that was refused for the quota of its namespace must have been one too many.
    pub(super) fn refused_for_quota(&mut self, namespace: &Name) {
        if self.may_have_run(namespace) {
            let live = self.book.live_runs(namespace);
            let what = format!("a run of `{namespace}` was refused for its quota beside {live}");
            self.found(Invariant::I11, what);
        } else {
            self.count(Rare::RunOverQuota);
        }
    }

    /// What so many attempts more would take, if the quota of their namespace does not let them be live.
    pub(super) fn over_quota(
        &self,
        namespace: &Name,
        request: &Request,
        count: u32,
    ) -> Option<Taking> {
        let quota = self.quota(namespace);
        let mut taking = self.book.takings.of(namespace);
        taking.add(request, count);
        (!taking.is_within(&quota, &request.resources)).then_some(taking)
    }

    /// A placement that was refused for the quota of its namespace must have been too much for it.
    pub(super) fn judge_over_quota(&mut self, placement: &Placement, refusal: ItemRefusal) {
        if refusal != ItemRefusal::QuotaReached {
            return;
        }
        let Some((namespace, request)) = self.asked_by(placement) else { return };
        if self.over_quota(&namespace, &request, placement.range.count()).is_none() {
            let at = place(placement.run, placement.task, placement.range);
            let has = self.book.takings.of(&namespace);
            self.found(Invariant::I11, format!("{at} was too much for a quota beside {has:?}"));
        }
    }

    /// The namespace and the request of a task that was placed, unless its run is doubtful.
    pub(super) fn asked_by(&mut self, placement: &Placement) -> Option<(Name, Request)> {
        let work = self.live_run(placement.run).filter(|work| !work.is_doubtful)?;
        let request = work.spec(placement.task)?.request.clone();
        Some((work.version.namespace.clone(), request))
    }

    /// Counts that a quota or a concurrency group lets nothing more like this be live.
    pub(super) fn count_full(&mut self, namespace: &Name, request: &Request) {
        if self.over_quota(namespace, request, 1).is_some() {
            self.count(Rare::QuotaFull);
        }
        if self.over_group(namespace, request, 1).is_some() {
            self.count(Rare::GroupFull);
        }
    }

    pub(super) fn compare_namespaces(&mut self) {
        for name in std::mem::take(&mut self.touched_namespaces) {
            let wanted = self.book.namespaces.get(&name);
            let actual = self.after.namespace(&name).map(|it| &it.spec);
            if wanted != actual {
                let what = format!("namespace `{name}` is {actual:?}, should be {wanted:?}");
                self.found(Invariant::I2, what);
            }
            let taking = self.book.takings.of(&name);
            let live = self.book.live_runs(&name);
            let counted = self.after.used_by(&name);
            let is_counted = match counted {
                Some(it) => taking.is(it) && it.runs as usize == live,
                None => taking == Taking::default() && live == 0,
            };
            if !is_counted {
                let what = format!(
                    "namespace `{name}` has {taking:?} in {live} runs, {counted:?} is counted"
                );
                self.found(Invariant::I16, what);
            }
        }
    }
}
