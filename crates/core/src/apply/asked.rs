//! Who asked for a command is kept: with the run that it makes, or in the audit trail.

use super::Step;
use super::finish_attempts::head;
use crate::command::{Asked, Command, WantedEnd};
use crate::ids::{Name, RunId, TaskIndex, Text};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::state::trail::{Action, Asker, Deed};

/// What a command does to what, found out before it is carried out: afterwards the run may have left the state.
pub(super) struct Intent {
    deed: Deed,
    namespace: Option<Name>,
    subject: Text,
    run: Option<RunId>,
    detail: Text,
}

impl Step<'_> {
    pub(super) fn asked(&mut self, asked: &Asked) -> Result<Reply, Rejection> {
        let Asker { who, from } = &asked.by;
        let cut = |text| Text::from(head(text, limits::ASKER_BYTES_MAX));
        self.asker = Some(Asker { who: cut(who), from: cut(from) });
        self.intent = self.intent(&asked.command);
        let reply = self.carry_out(&asked.command);
        self.intent = None;
        self.asker = None;
        reply
    }

    /// Adds what was asked for to the trail, now that it was carried out.
    pub(super) fn note(&mut self) {
        if let Some(intent) = self.intent.take() {
            self.note_that(intent);
        }
    }

    /// Adds that somebody applied a version, if somebody did.
    pub(super) fn note_version(&mut self, namespace: &Name, workflow: &Name, version: u32) {
        self.note_that(Intent {
            deed: Deed::Apply,
            namespace: Some(namespace.clone()),
            subject: workflow.text(),
            run: None,
            detail: format!("version {version}").into(),
        });
    }

    /// Adds that somebody applied a namespace, if somebody did.
    pub(super) fn note_namespace(&mut self, namespace: &Name) {
        self.note_that(Intent {
            deed: Deed::Apply,
            namespace: None,
            subject: namespace.text(),
            run: None,
            detail: "namespace".into(),
        });
    }

    fn note_that(&mut self, intent: Intent) {
        let is_forgotten = mutant::is_on(Mutant::ActionForgotten) && intent.deed == Deed::Cancel;
        let Some(by) = self.asker.clone().filter(|_| !is_forgotten) else { return };
        let Intent { deed, namespace, subject, run, detail } = intent;
        let action = Action { at: self.now, by, deed, namespace, subject, run, detail };
        let number = self.state.meta.next_action;
        self.state.meta.next_action += 1;
        self.state.trail.add(number, action);
    }

    /// What to note once `command` was carried out. Nothing of commands that make runs, which keep their askers, nor of
    /// those that no person asks for; and applying is noted where it is known whether a version was made.
    fn intent(&self, command: &Command) -> Option<Intent> {
        match command {
            Command::CancelRun(it) => self.on_run(Deed::Cancel, it.run, ""),
            Command::PauseRun(it) => {
                self.on_run(if it.is_paused { Deed::Pause } else { Deed::Resume }, it.run, "")
            }
            Command::PrioritizeRun(it) => {
                self.on_run(Deed::Prioritize, it.run, &format!("priority {}", it.priority))
            }
            Command::ReleaseTask(it) => {
                let detail = if it.rerun { "runs again" } else { "fails" };
                self.on_task(Deed::Release, it.run, it.task, detail)
            }
            Command::EndTask(it) => {
                let deed = match it.end {
                    WantedEnd::Succeeded => Deed::Succeed,
                    WantedEnd::Skipped => Deed::Skip,
                    WantedEnd::Cancelled => Deed::CancelTask,
                    WantedEnd::Approved => Deed::Approve,
                    WantedEnd::Rejected => Deed::Reject,
                };
                self.on_task(deed, it.run, it.task, it.reason.as_deref().unwrap_or_default())
            }
            Command::ReopenTasks(it) => match it.from {
                Some(task) => self.on_task(Deed::Rerun, it.run, task, ""),
                None => self.on_run(Deed::Rerun, it.run, "what failed or was cancelled"),
            },
            Command::SuspendSchedule(it) => {
                let subject = match &it.schedule {
                    Some(schedule) => format!("{}/{schedule}", it.workflow).into(),
                    None => it.workflow.text(),
                };
                let deed = if it.is_suspended { Deed::Suspend } else { Deed::Resume };
                let (namespace, detail) = (Some(it.namespace.clone()), "".into());
                Some(Intent { deed, namespace, subject, run: None, detail })
            }
            Command::DrainWorker(it) => {
                let subject = self.state.worker(it.worker)?.name.clone();
                let deed = if it.is_draining { Deed::Drain } else { Deed::Undrain };
                Some(Intent { deed, namespace: None, subject, run: None, detail: "".into() })
            }
            Command::Tick
            | Command::ApplyWorkflow(_)
            | Command::ApplyNamespace(_)
            | Command::SubmitRun(_)
            | Command::RetryRun(_)
            | Command::FireSchedule(_)
            | Command::RegisterWorker(_)
            | Command::LoseWorker(_)
            | Command::DecideTasks(_)
            | Command::PlaceAttempts(_)
            | Command::StartAttempts(_)
            | Command::FinishAttempts(_)
            | Command::PruneHistory(_)
            | Command::UpgradeCluster(_)
            | Command::Asked(_) => None,
        }
    }

    fn on_run(&self, deed: Deed, run: RunId, detail: &str) -> Option<Intent> {
        let run = self.state.run(run)?;
        Some(Intent {
            deed,
            namespace: Some(run.version.namespace.clone()),
            subject: run.label().into(),
            run: Some(run.id),
            detail: head(detail, limits::REASON_BYTES_MAX).into(),
        })
    }

    fn on_task(&self, deed: Deed, run: RunId, task: TaskIndex, detail: &str) -> Option<Intent> {
        let intent = self.on_run(deed, run, detail)?;
        let name = &self.state.run(run)?.spec(task)?.id;
        Some(Intent { subject: format!("{}/{name}", intent.subject).into(), ..intent })
    }
}
