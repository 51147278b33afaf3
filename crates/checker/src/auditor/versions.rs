//! The versions of workflows that a state keeps, compared with those that it should.

use std::collections::VecDeque;

use super::step::Step;
use crate::mix::spec_digest;
use crate::verdict::Invariant;

impl Step<'_> {
    /// An accepted workflow version stays until another takes its place, and then as long as it is kept.
    pub(super) fn compare_workflows(&mut self) {
        for (namespace, name) in std::mem::take(&mut self.touched_workflows) {
            let key = (namespace, name);
            let wanted = self.book.workflows.get(&key).and_then(|known| known.latest);
            let workflow = self.after.workflow(key.0.as_str(), key.1.as_str());
            let latest = workflow.and_then(|it| it.latest).and_then(|id| self.after.version(id));
            let actual = latest.map(|version| (version.number, spec_digest(&version.spec)));
            if wanted != actual {
                let what =
                    format!("workflow `{}` is at {actual:?}, should be at {wanted:?}", key.1);
                self.found(Invariant::I2, what);
            }
            let kept: VecDeque<(u32, u64)> = workflow
                .iter()
                .flat_map(|it| &it.earlier)
                .filter_map(|id| self.after.version(*id))
                .map(|version| (version.number, spec_digest(&version.spec)))
                .collect();
            let wanted = self.book.workflows.get(&key).map(|known| known.earlier.clone());
            if wanted.unwrap_or_default() != kept {
                let what = format!("workflow `{}` keeps {kept:?} of its earlier versions", key.1);
                self.found(Invariant::I2, what);
            }
            self.compare_schedules(&key);
            self.compare_triggers(&key);
        }
    }
}
