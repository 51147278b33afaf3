//! What was before, in lists: earlier versions of workflows, and who did what.

use muster_client::v1;

use super::shown::{Shown, age};
use crate::units::clock;

impl Shown for v1::WorkflowVersion {
    const MESSAGE: &'static str = "muster.v1.WorkflowVersion";
    const LIST: &'static str = "versions";

    fn name(&self) -> String {
        format!("{}@{}", self.workflow, self.number)
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["VERSION", "TASKS", "APPLIED", "LATEST"],
            true => &["VERSION", "TASKS", "APPLIED AT (UTC)", "LATEST"],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let at = if is_wide { clock(self.applied_at_ms) } else { age(self.applied_at_ms) };
        let latest = if self.is_latest { "yes" } else { "" };
        vec![self.name(), self.tasks.to_string(), at, latest.to_owned()]
    }
}

impl Shown for v1::Action {
    const MESSAGE: &'static str = "muster.v1.Action";
    const LIST: &'static str = "actions";

    fn name(&self) -> String {
        self.number.to_string()
    }

    fn columns(is_wide: bool) -> &'static [&'static str] {
        match is_wide {
            false => &["AGE", "WHO", "DID", "TO", "DETAIL"],
            true => &["AT (UTC)", "WHO", "FROM", "DID", "NAMESPACE", "TO", "DETAIL"],
        }
    }

    fn row(&self, is_wide: bool) -> Vec<String> {
        let by = self.by.clone().unwrap_or_default();
        let did = deed_word(self.deed()).to_owned();
        let (subject, detail) = (self.subject.clone(), self.detail.replace(['\n', '\r'], " "));
        match is_wide {
            false => vec![age(self.at_ms), asker(&by), did, subject, detail],
            true => {
                let (at, namespace) = (clock(self.at_ms), self.namespace.clone());
                vec![at, by.who, by.from, did, namespace, subject, detail]
            }
        }
    }
}

/// Who asked for something, by the name that it gives itself, or else by its address.
pub(crate) fn asker(by: &v1::Asker) -> String {
    if by.who.is_empty() { format!("somebody at {}", by.from) } else { by.who.clone() }
}

fn deed_word(deed: v1::Deed) -> &'static str {
    match deed {
        v1::Deed::Unspecified => "",
        v1::Deed::Apply => "apply",
        v1::Deed::Cancel | v1::Deed::CancelTask => "cancel",
        v1::Deed::Pause => "pause",
        v1::Deed::Resume => "resume",
        v1::Deed::Prioritize => "prioritize",
        v1::Deed::Succeed => "succeed",
        v1::Deed::Skip => "skip",
        v1::Deed::Approve => "approve",
        v1::Deed::Reject => "reject",
        v1::Deed::Release => "release",
        v1::Deed::Rerun => "retry",
        v1::Deed::Suspend => "suspend",
        v1::Deed::Drain => "drain",
        v1::Deed::Undrain => "undrain",
    }
}
