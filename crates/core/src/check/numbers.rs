//! Serial numbers, and names: each is there once, and below the next one that will be given.

use super::{Violation, violated};
use crate::limits;
use crate::state::State;
use crate::state::workflow::Workflow;

/// No serial number comes near to this in the life of a cluster, so that counting on never overflows.
const NUMBER_MAX: u64 = 1 << 62;
/// The same for the versions of one workflow.
const VERSION_NUMBER_MAX: u32 = 1 << 30;

impl State {
    pub(super) fn check_numbers(&self) -> Result<(), Violation> {
        let meta = self.meta;
        let counters = [
            ("run", meta.next_run, self.runs.iter().next_back().map(|it| it.id.0)),
            ("version", meta.next_version, self.versions.iter().next_back().map(|it| it.id)),
            ("workflow", meta.next_workflow, self.workflows.iter().next_back().map(|it| it.id)),
            ("worker", meta.next_worker, self.workers.iter().next_back().map(|it| it.id.0)),
            ("namespace", meta.next_namespace, self.namespaces.iter().next_back().map(|it| it.id)),
        ];
        for (what, next, last) in counters {
            if next > NUMBER_MAX || last.is_some_and(|last| last >= next) {
                return violated("I2", format!("the next {what} is {next}, there is {last:?}"));
            }
        }
        let names: usize = self.workflow_by_name.values().map(|names| names.len()).sum();
        if names != self.workflows.len() {
            return violated("I16", "two workflows have one name".to_owned());
        }
        if self.namespace_by_name.len() != self.namespaces.len() {
            return violated("I16", "two namespaces have one name".to_owned());
        }
        if let Some(bad) = self.namespaces.iter().find(|it| it.spec.check().is_err()) {
            return violated("I17", format!("namespace `{}` is out of bounds", bad.spec.name));
        }
        self.workflows.iter().try_for_each(|workflow| self.check_latest(workflow))?;
        self.check_run_numbers()?;
        if !self.trail.is_well_formed(self.meta.next_action, NUMBER_MAX) {
            return violated("I1", "the audit trail is not in order".to_owned());
        }
        if !self.requests.is_well_formed(NUMBER_MAX) {
            return violated("I3", "the answered requests are not in order".to_owned());
        }
        Ok(())
    }

    /// The latest version is one of the workflow's own, and carries its number.
    fn check_latest(&self, workflow: &Workflow) -> Result<(), Violation> {
        let is_latest = match workflow.latest {
            None => workflow.versions == 0,
            Some(id) => self.versions.get(id).is_some_and(|version| {
                version.number == workflow.versions
                    && version.workflow == workflow.name
                    && version.namespace == workflow.namespace
            }),
        };
        let earlier = workflow.earlier.iter().map(|id| self.versions.get(*id).map(|it| it.number));
        let first = u64::from(workflow.versions).saturating_sub(workflow.earlier.len() as u64);
        let are_kept = workflow.earlier.len() <= limits::EARLIER_VERSIONS_MAX
            && earlier.zip(first..).all(|(is, wanted)| is.map(u64::from) == Some(wanted));
        if is_latest
            && are_kept
            && workflow.versions < VERSION_NUMBER_MAX
            && workflow.runs < NUMBER_MAX
        {
            return Ok(());
        }
        violated("I16", format!("workflow {} has a wrong latest version or counter", workflow.id))
    }

    fn check_run_numbers(&self) -> Result<(), Violation> {
        if self.run_by_number.len() != self.runs.len() {
            return violated("I2", "two runs have one number, or no workflow".to_owned());
        }
        for run in self.runs.iter() {
            let workflow = self.workflow_id(&run.version).and_then(|id| self.workflows.get(id));
            if workflow.is_none_or(|workflow| run.number > workflow.runs) {
                return violated("I2", format!("run {} has a number yet to be given", run.id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::{Command, Entry, RequestKey, RunSource, SubmitRun};
    use crate::ids::{LogIndex, Name};
    use crate::snapshot::Snapshot;
    use crate::spec;
    use crate::spec::namespace::NamespaceSpec;
    use crate::state::namespace::Namespace;
    use crate::time::Timestamp;

    const FILE: &str = "apiVersion: v1\nkind: Workflow\nname: w\ntasks: {t: {run: x}}\n";

    /// Two runs of one workflow, each with a request id.
    fn state() -> State {
        let mut state = State::default();
        let spec = spec::parse(FILE).expect("the file is well-formed").remove(0);
        for index in 1..=2 {
            let command = Command::SubmitRun(SubmitRun {
                request: Some(RequestKey { id: format!("r{index}").into(), digest: 0 }),
                namespace: Name::parse("n").expect("a name"),
                source: RunSource::Apply(Box::new(spec.clone())),
                params: Arc::default(),
                priority: None,
                backfill: None,
            });
            let entry = Entry { at: Timestamp(index), commands: vec![command] };
            assert!(state.apply(LogIndex(index), &entry).replies[0].is_ok());
        }
        state
    }

    fn refused(change: impl FnOnce(&mut Snapshot)) -> Option<&'static str> {
        let mut snapshot = state().snapshot();
        change(&mut snapshot);
        State::restore(snapshot).err().map(|violation| violation.invariant)
    }

    #[test]
    fn numbers_that_would_be_given_twice_are_found() {
        assert_eq!(refused(|_| {}), None);
        assert_eq!(refused(|it| it.meta.next_run = 2), Some("I2"));
        assert_eq!(refused(|it| it.meta.next_version = 1), Some("I2"));
        assert_eq!(refused(|it| it.meta.next_workflow = 1), Some("I2"));
        assert_eq!(refused(|it| it.meta.next_worker = u64::MAX), Some("I2"));
        assert_eq!(refused(|it| it.meta.next_namespace = u64::MAX), Some("I2"));
        let workflow = |it: &mut Snapshot, change: fn(&mut Workflow)| {
            change(it.workflows.get_mut(1).expect("the first workflow"));
        };
        assert_eq!(refused(|it| workflow(it, |it| it.runs = 1)), Some("I2"));
        assert_eq!(refused(|it| workflow(it, |it| it.versions = 2)), Some("I16"));
        assert_eq!(refused(|it| workflow(it, |it| it.latest = None)), Some("I16"));
    }

    #[test]
    fn namespaces_that_are_two_or_out_of_bounds_are_found() {
        let namespace = |it: &mut Snapshot, id, weight| {
            let name = Name::parse("n").expect("a name");
            let spec = NamespaceSpec { weight, ..NamespaceSpec::new(name) };
            it.namespaces.insert(id, Arc::new(Namespace { id, spec, applied_at: Timestamp(0) }));
            it.meta.next_namespace = 3;
        };
        assert_eq!(refused(|it| namespace(it, 1, 2)), None);
        assert_eq!(refused(|it| namespace(it, 3, 2)), Some("I2"));
        assert_eq!(refused(|it| namespace(it, 1, 0)), Some("I17"));
        let two = |it: &mut Snapshot| [1, 2].into_iter().for_each(|id| namespace(it, id, 2));
        assert_eq!(refused(two), Some("I16"));
    }

    #[test]
    fn requests_out_of_order_are_found() {
        let request = |it: &Snapshot, number| it.requests.get(number).expect("answered").clone();
        let twice = |it: &mut Snapshot| {
            let first = request(it, 0);
            it.requests.insert(1, first);
        };
        assert_eq!(refused(twice), Some("I3"));
        let gap = |it: &mut Snapshot| {
            let last = it.requests.remove(1).expect("answered");
            it.requests.insert(2, last);
        };
        assert_eq!(refused(gap), Some("I3"));
    }
}
