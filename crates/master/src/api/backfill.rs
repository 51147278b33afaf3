//! Runs that are made for a fire time after the fact.

use muster_calendar::Schedule;
use muster_core::ids::Name;
use muster_core::state::State;
use muster_core::state::run::FireOrigin;
use muster_core::time::Timestamp;
use muster_proto::{convert, v1};
use tonic::{Code, Status};

use crate::faults;
use crate::replica::Replica;

impl Replica {
    /// The fire time that a run is asked for. It must be one of the schedule as it is now, unless the call `is_known`:
    /// was answered before.
    pub(super) fn fire_origin(
        &self,
        namespace: &Name,
        workflow: &str,
        asked: &v1::Backfill,
        is_known: bool,
    ) -> Result<FireOrigin, Status> {
        let schedule = convert::name("backfill.schedule", &asked.schedule)
            .map_err(|error| faults::bad_message(&error))?;
        let fire_time = Timestamp(asked.fire_time_ms);
        if is_known {
            return Ok(FireOrigin { schedule, fire_time });
        }
        let spec = self.cell.read(|state: &State| {
            let version = state.workflow(namespace.as_str(), workflow)?.latest?;
            let schedules = &state.version(version)?.spec.schedules;
            schedules.iter().find(|it| it.name == schedule).cloned()
        });
        let no_schedule = || {
            let text = format!("workflow `{workflow}` has no schedule `{schedule}`");
            faults::fault(Code::NotFound, "SCHEDULE_NOT_FOUND", text)
        };
        let fires = Schedule::new(&spec.ok_or_else(no_schedule)?)
            .map_err(|error| Status::internal(error.to_string()))?;
        let found = fires.next_after(Timestamp(fire_time.0.saturating_sub(1)));
        if found.is_none_or(|fire| fire.at != fire_time) {
            let text = format!(
                "schedule `{schedule}` never fires then; `muster schedule next` has its times"
            );
            return Err(faults::bad_field("backfill.fire_time_ms", text));
        }
        Ok(FireOrigin { schedule, fire_time })
    }
}
