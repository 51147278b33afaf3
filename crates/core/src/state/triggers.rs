//! Which workflows follow which, by the latest version of each. Derived.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::ids::Name;
use crate::limits;
use crate::reply::Rejection;
use crate::spec::WorkflowSpec;

/// A trigger: its workflow, and its position in the latest version.
type Follower = (Name, u32);

/// By namespace and workflow that is followed: the triggers, by the name of their workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    followers: BTreeMap<(Name, Name), BTreeSet<Follower>>,
}

impl Triggers {
    /// The triggers that follow a workflow: the workflow of each, and its position in the latest version of that.
    pub fn after(&self, namespace: &Name, workflow: &Name) -> impl Iterator<Item = &Follower> {
        self.followers.get(&(namespace.clone(), workflow.clone())).into_iter().flatten()
    }
}

impl State {
    /// Which workflows follow which.
    pub fn triggers(&self) -> &Triggers {
        &self.triggers
    }

    /// Forgets whom the latest version of a workflow follows.
    pub(crate) fn forget_triggers_of(&mut self, workflow_id: u64) {
        for (key, follower) in self.triggers_of(workflow_id) {
            let Some(followers) = self.triggers.followers.get_mut(&key) else { continue };
            followers.remove(&follower);
            if followers.is_empty() {
                self.triggers.followers.remove(&key);
            }
        }
    }

    /// Notes whom the latest version of a workflow follows.
    pub(crate) fn derive_triggers_of(&mut self, workflow_id: u64) {
        for (key, follower) in self.triggers_of(workflow_id) {
            self.triggers.followers.entry(key).or_default().insert(follower);
        }
    }

    pub(super) fn derive_triggers(&mut self) {
        self.triggers = Triggers::default();
        let ids: Vec<u64> = self.workflows.iter().map(|workflow| workflow.id).collect();
        ids.into_iter().for_each(|id| self.derive_triggers_of(id));
    }

    fn triggers_of(&self, workflow_id: u64) -> Vec<((Name, Name), Follower)> {
        let Some(workflow) = self.workflows.get(workflow_id) else { return Vec::new() };
        let version = workflow.latest.and_then(|id| self.versions.get(id));
        let specs = version.map(|version| version.spec.triggers.as_slice()).unwrap_or_default();
        let key = |after: &Name| (workflow.namespace.clone(), after.clone());
        let triggers = (0..).zip(specs);
        triggers.map(|(at, spec)| (key(&spec.after), (workflow.name.clone(), at))).collect()
    }

    /// Whether the triggers of a workflow can be applied.
    ///
    /// No workflow follows itself, over others or not, for its runs would never come to an end, and so many follow one
    /// at most. Looks at each workflow of the namespace once at most.
    ///
    /// # Errors
    /// The rejection that applying the workflow would meet.
    pub fn check_triggers(&self, namespace: &Name, spec: &WorkflowSpec) -> Result<(), Rejection> {
        let workflow = &spec.name;
        // Who is to be looked at, and by which workflow it is followed.
        let mut followed_by: BTreeMap<Name, Name> = BTreeMap::new();
        let mut ahead: Vec<Name> = Vec::new();
        for name in spec.triggers.iter().map(|trigger| &trigger.after) {
            let others = self.triggers.after(namespace, name).filter(|(it, _)| it != workflow);
            if others.count() >= limits::FOLLOWERS_MAX {
                return Err(Rejection::LimitReached {
                    what: "workflows that follow the same one",
                    max: limits::FOLLOWERS_MAX as u64,
                });
            }
            if followed_by.insert(name.clone(), workflow.clone()).is_none() {
                ahead.push(name.clone());
            }
        }
        while let Some(name) = ahead.pop() {
            if name == *workflow {
                return Err(Rejection::TriggerCycle { way: way(&followed_by, workflow) });
            }
            let found = self.workflow(namespace.as_str(), name.as_str());
            let version = found.and_then(|it| self.versions.get(it.latest?));
            for trigger in version.iter().flat_map(|version| &version.spec.triggers) {
                if !followed_by.contains_key(&trigger.after) {
                    followed_by.insert(trigger.after.clone(), name.clone());
                    ahead.push(trigger.after.clone());
                }
            }
        }
        Ok(())
    }
}

/// The circle from `last` to itself: `a after b after a`.
fn way(followed_by: &BTreeMap<Name, Name>, last: &Name) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<&str> = Vec::new();
    let mut at = last;
    while let Some(follower) = followed_by.get(at) {
        names.push(follower.as_str());
        at = follower;
        if at == last {
            break;
        }
    }
    names.reverse();
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        names.push("…");
    }
    names.push(last.as_str());
    names.join(" after ")
}
