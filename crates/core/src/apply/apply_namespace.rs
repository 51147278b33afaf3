//! A namespace is applied: its weight and its quota are others from here on. What is live stays so.

use std::sync::Arc;

use super::Step;
use crate::command::ApplyNamespace;
use crate::event::Event;
use crate::ids::Name;
use crate::limits;
use crate::reply::{Rejection, Reply};
use crate::state::namespace::Namespace;

impl Step<'_> {
    pub(super) fn apply_namespace(&mut self, command: &ApplyNamespace) -> Result<Reply, Rejection> {
        let spec = &command.spec;
        spec.check().map_err(|error| Rejection::BadNamespace { problem: error.to_string() })?;
        let known = self.state.namespace(&spec.name);
        if known.is_some_and(|known| known.spec == *spec) {
            return Ok(Reply::NamespaceApplied { is_changed: false });
        }
        let id = match known {
            Some(known) => known.id,
            None if self.state.namespaces.len() >= limits::NAMESPACES_MAX => {
                let max = limits::NAMESPACES_MAX as u64;
                return Err(Rejection::LimitReached { what: "namespaces", max });
            }
            None => {
                self.state.meta.next_namespace += 1;
                self.state.meta.next_namespace - 1
            }
        };
        let namespace = Namespace { id, spec: spec.clone(), applied_at: self.now };
        self.state.namespaces.insert(id, Arc::new(namespace));
        self.state.namespace_by_name.insert(spec.name.clone(), id);
        self.note_namespace(&spec.name);
        self.events.push(Event::NamespaceApplied { name: spec.name.clone() });
        Ok(Reply::NamespaceApplied { is_changed: true })
    }

    /// Whether the quota of a namespace lets one more run be live. Asked before anything is changed.
    pub(super) fn check_run_quota(&self, namespace: &Name) -> Result<(), Rejection> {
        let most = self.state.quota_of(namespace).and_then(|quota| quota.runs);
        let live = self.state.used_by(namespace).map_or(0, |usage| usage.runs);
        match most {
            Some(most) if live >= most => {
                Err(Rejection::QuotaReached { namespace: namespace.clone(), most, live })
            }
            Some(_) | None => Ok(()),
        }
    }
}
