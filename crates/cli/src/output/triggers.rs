//! Triggers as tables show them.

use muster_client::v1;

use super::Shown;

impl Shown for v1::Trigger {
    const MESSAGE: &'static str = "muster.v1.Trigger";
    const LIST: &'static str = "triggers";

    fn name(&self) -> String {
        format!("{}/{}", self.workflow, self.name)
    }

    fn columns(_is_wide: bool) -> &'static [&'static str] {
        &["TRIGGER", "AFTER", "ON", "STATE", "FIRED", "PASSED OVER"]
    }

    fn row(&self, _is_wide: bool) -> Vec<String> {
        let spec = self.spec.clone().unwrap_or_default();
        let counted = |count: u64| if count > 0 { count.to_string() } else { String::new() };
        vec![
            self.name(),
            spec.after.clone(),
            on_word(spec.on()).to_owned(),
            if self.is_suspended { "suspended" } else { "active" }.to_owned(),
            counted(self.fired),
            counted(self.passed_over),
        ]
    }
}

/// The ends that a trigger follows, as files say it.
pub(crate) fn on_word(on: v1::TriggerOn) -> &'static str {
    match on {
        v1::TriggerOn::Unspecified => "",
        v1::TriggerOn::Success => "success",
        v1::TriggerOn::Failure => "failure",
        v1::TriggerOn::End => "end",
    }
}
