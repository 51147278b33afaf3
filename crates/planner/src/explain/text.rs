//! Explanations as sentences.

use std::fmt;

use muster_core::ids::WorkerId;
use muster_core::spec::{Condition, DependencyRule, OnTimeout};
use muster_core::state::task::{
    Attempt, Awaited, FailureReason, StopReason, TaskState, TaskStatus, Tries,
};
use muster_core::time::Timestamp;

use super::{
    Ahead, Blocked, Contender, Explanation, Failures, Parallel, Part, SizedLate, Skipped,
    WorkerReport, WorkerVerdict,
};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_array {
            self.write_tally(f)?;
        }
        for part in &self.parts {
            f.write_str(&self.name)?;
            if self.is_array && part.range.count() == 1 {
                write!(f, "[{}]", part.range.first)?;
            } else if self.is_array {
                write!(f, "[{}-{}]", part.range.first, part.range.last)?;
            }
            writeln!(f, " {}.", Sentence { of: self, part })?;
        }
        if self.parts_left_out > 0 {
            writeln!(f, "{} more ranges are not listed.", self.parts_left_out)?;
        }
        if self.tally.of(TaskStatus::Held) > 0 {
            let name = &self.name;
            writeln!(f, "To run it again: muster release {name}")?;
            writeln!(f, "To let it fail: muster release {name} --fail")?;
        }
        self.write_approval(f)?;
        if let Some(of) = &self.sub_workflow {
            write!(f, "{of}")?;
        }
        if let Some(message) = self.message.as_deref().and_then(|it| it.lines().next())
            && !self.is_said(message)
        {
            let is_said_of = self.approval.is_some() || self.sub_workflow.is_some();
            let who = if is_said_of { "Reason" } else { "It said" };
            writeln!(f, "{who}: {message}")?;
        }
        if let Some(late) = &self.sized_late {
            write!(f, "{late}")?;
        }
        if let Some(skipped) = &self.skipped {
            write!(f, "{skipped}")?;
        }
        if let Some(hook) = &self.hook {
            write!(f, "{hook}")?;
        }
        self.write_run(f)?;
        if let Some(blocked) = &self.blocked {
            write!(f, "{blocked}")?;
        }
        if let Some(failures) = &self.failures {
            write!(f, "{failures}")?;
        }
        if let Some(parallel) = &self.parallel {
            write!(f, "{parallel}")?;
        }
        if let Some(quota) = &self.quota {
            write!(f, "{quota}")?;
        }
        if let Some(groups) = &self.groups {
            write!(f, "{groups}")?;
        }
        if let Some(ahead) = &self.ahead {
            write!(f, "{ahead}")?;
        }
        if let Some(report) = &self.workers {
            write!(f, "{report}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SizedLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = &self.list;
        if self.is_known {
            writeln!(f, "There was nothing to run: `{list}` has no items.")
        } else {
            writeln!(f, "How many indices it has is not known yet: it goes through `{list}`.")
        }
    }
}

impl Explanation {
    fn write_tally(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        let mut separator = " ";
        for status in TaskStatus::ALL {
            let count = self.tally.of(status);
            if count > 0 {
                write!(f, "{separator}{count} {}", status.word())?;
                separator = ", ";
            }
        }
        writeln!(f)
    }

    /// What a person is asked, and how to answer.
    fn write_approval(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(approval) = &self.approval else { return Ok(()) };
        if self.tally.of(TaskStatus::Awaiting) == 0 {
            return Ok(());
        }
        if let Some(question) = approval.message.as_deref().and_then(|it| it.lines().next()) {
            writeln!(f, "It asks: {question}")?;
        }
        let name = &self.name;
        writeln!(f, "To let it succeed: muster approve {name}")?;
        writeln!(f, "To let it fail: muster reject {name}")
    }

    /// What is to be said of the run.
    fn write_run(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = &self.parent {
            writeln!(f, "The run was started for {parent}.")?;
        }
        match (self.run_ended, self.run_stop) {
            (Some(status), Some((_, reason))) => {
                writeln!(f, "The run ended as {}: {}.", status.word(), stop_words(reason))?;
            }
            (Some(status), None) => writeln!(f, "The run ended as {}.", status.word())?,
            (None, Some((since, reason))) => {
                let span = self.at.since(since);
                writeln!(f, "The run has been stopping for {span}: {}.", stop_words(reason))?;
            }
            (None, None) => {}
        }
        if let Some(since) = self.run_paused {
            let span = self.at.since(since);
            writeln!(f, "The run has been paused for {span}; `muster resume` lets it go on.")?;
        }
        if let [first, others @ ..] = &self.waits_for[..] {
            write!(f, "The run is queued behind {first}")?;
            if !others.is_empty() {
                write!(f, " and {} more", others.len())?;
            }
            writeln!(f, ": `concurrencyPolicy` lets it begin when no other is left.")?;
            writeln!(f, "To end the one before it: muster cancel {first}")?;
        }
        Ok(())
    }

    /// Whether a sentence has the message in it already: workers put the exit code into words too.
    fn is_said(&self, message: &str) -> bool {
        self.parts.iter().any(|part| match part.state {
            TaskState::Failed { reason: FailureReason::Exit(code), .. } => {
                message == format!("exit code {code}")
                    || message == format!("killed by signal {}", code.unsigned_abs())
            }
            _ => false,
        })
    }

    fn worker(&self, id: WorkerId) -> String {
        match self.worker_names.get(&id) {
            Some(name) => name.to_string(),
            None => format!("a worker that is gone (number {id})"),
        }
    }

    fn ago(&self, since: Timestamp) -> String {
        self.at.since(since).to_string()
    }

    fn ahead(&self, until: Timestamp) -> String {
        until.since(self.at).to_string()
    }
}

/// What happens to a part, as the rest of a sentence that begins with its name.
struct Sentence<'a> {
    of: &'a Explanation,
    part: &'a Part,
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of;
        match self.part.state {
            TaskState::Blocked => f.write_str("is blocked"),
            TaskState::Undecided { .. } => f.write_str(
                "is undecided: its dependencies hold, and the leader evaluates its expressions next",
            ),
            TaskState::Ready { since, .. } => {
                write!(f, "has been ready for {}", of.ago(since))?;
                match self.part.waits_until {
                    Some(at) => write!(f, "; it fails if no worker takes it in {}", of.ahead(at)),
                    None => Ok(()),
                }
            }
            TaskState::Placed { tries, attempt } => {
                self.write_attempt(f, "was placed on", tries, attempt, attempt.placed_at)?;
                match attempt.stop {
                    Some(_) => Ok(()),
                    None => f.write_str("; the worker has not reported its start"),
                }
            }
            TaskState::Running { tries, attempt, started_at } => {
                self.write_attempt(f, "is running on", tries, attempt, started_at)
            }
            TaskState::Backoff { tries, until, .. } => {
                let (failures, limit) = (tries.failures, of.retry_limit);
                write!(f, "failed (retry {failures} of {limit} comes in {})", of.ahead(until))
            }
            TaskState::Held { .. } => f.write_str(
                "is held: its attempt was lost, and `onLost: hold` lets a person decide",
            ),
            TaskState::Awaiting { since, what: Awaited::Run { tries, stop, .. } } => {
                self.write_child(f, since, tries, stop)
            }
            TaskState::Awaiting { since, what: Awaited::Person } => {
                let since = of.ago(since);
                write!(f, "has been waiting for {since} for a person to approve or reject it")?;
                self.write_silence(f)
            }
            TaskState::Succeeded { last, tries } => {
                f.write_str("succeeded")?;
                self.write_last(f, last.map(|last| last.worker))?;
                write_tries(f, tries)
            }
            TaskState::Failed { reason, last, .. } => {
                write_failure(f, reason)?;
                self.write_last(f, last.map(|last| last.worker))
            }
            TaskState::Skipped { by_failure: true } => {
                f.write_str("was skipped because a task before it failed")
            }
            TaskState::Skipped { by_failure: false } => {
                f.write_str("was skipped, by a person or because its rule or condition did not hold")
            }
            TaskState::Cancelled => f.write_str("was cancelled"),
        }
    }
}

impl Sentence<'_> {
    /// What becomes of an approval if nobody answers it.
    fn write_silence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(until) = self.part.waits_until else { return Ok(()) };
        let end = match self.of.approval.as_ref().map(|it| it.on_timeout) {
            Some(OnTimeout::Approve) => "counts as approved",
            Some(OnTimeout::Fail) | None => "fails",
        };
        write!(f, "; it {end} if nobody does in {}", self.of.ahead(until))
    }

    /// The run that a sub-workflow waits for.
    fn write_child(
        &self,
        f: &mut fmt::Formatter<'_>,
        since: Timestamp,
        tries: Tries,
        stop: Option<StopReason>,
    ) -> fmt::Result {
        let (span, number) = (self.of.ago(since), tries.attempts);
        write!(f, "has been waiting for {span} for its run (attempt {number})")?;
        match (stop, self.part.waits_until) {
            (Some(reason), _) => write!(f, "; that was told to stop: {}", stop_words(reason)),
            (None, Some(until)) => write!(f, "; its timeout is over in {}", self.of.ahead(until)),
            (None, None) => Ok(()),
        }
    }

    fn write_attempt(
        &self,
        f: &mut fmt::Formatter<'_>,
        verb: &str,
        tries: Tries,
        attempt: Attempt,
        since: Timestamp,
    ) -> fmt::Result {
        let (worker, span) = (self.of.worker(attempt.worker), self.of.ago(since));
        let number = tries.attempts;
        match verb {
            "was placed on" => write!(f, "{verb} {worker} {span} ago (attempt {number})")?,
            _ => write!(f, "{verb} {worker} for {span} (attempt {number})")?,
        }
        match attempt.stop {
            Some(stop) => write!(f, "; it was told to stop: {}", stop_words(stop.reason)),
            None => Ok(()),
        }
    }

    fn write_last(&self, f: &mut fmt::Formatter<'_>, worker: Option<WorkerId>) -> fmt::Result {
        match worker {
            Some(worker) => write!(f, " on {}", self.of.worker(worker)),
            None => Ok(()),
        }
    }
}

/// Why an attempt, or the task, failed.
fn write_failure(f: &mut fmt::Formatter<'_>, reason: FailureReason) -> fmt::Result {
    f.write_str(match reason {
        FailureReason::Exit(code) if code < 0 => {
            return write!(f, "was killed by signal {}", code.unsigned_abs());
        }
        FailureReason::Exit(code) => return write!(f, "failed with exit code {code}"),
        FailureReason::Rejected => "could not be carried out",
        FailureReason::TimedOut => "ran out of time",
        FailureReason::QueueTimedOut => "found no worker in time",
        FailureReason::Lost => "was lost",
        FailureReason::NotApproved => "was rejected by a person",
        FailureReason::RunFailed => "failed with its run",
        FailureReason::Undecidable => "failed, since an expression of it could not be evaluated",
    })
}

/// What went before a success.
fn write_tries(f: &mut fmt::Formatter<'_>, tries: Tries) -> fmt::Result {
    let number = tries.attempts;
    match (tries.failures, tries.losses) {
        (0, 0) => Ok(()),
        (failed, 0) => write!(f, " (attempt {number}; {failed} failed before)"),
        (0, lost) => write!(f, " (attempt {number}; {lost} lost before)"),
        (failed, lost) => {
            write!(f, " (attempt {number}; {failed} failed and {lost} lost before)")
        }
    }
}

fn stop_words(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Cancelled => "a user cancelled it",
        StopReason::Replaced => "a later run took its place (`concurrencyPolicy: Replace`)",
        StopReason::FailFast => "something failed, and `failFast` cancels the rest",
        StopReason::RunTimedOut => "the run's timeout is over",
        StopReason::AttemptTimedOut => "the attempt's timeout is over",
        StopReason::ByParent => "the task that it was started for must stop",
    }
}

/// When a task starts.
fn start_words(condition: &Condition, rule: DependencyRule) -> &'static str {
    match (condition, rule) {
        (Condition::Success, DependencyRule::AllSucceeded) => {
            "It starts once every upstream task succeeded"
        }
        (Condition::Success, DependencyRule::AnySucceeded) => {
            "It starts with the first upstream task that succeeds"
        }
        (Condition::Success, DependencyRule::AllDone) | (Condition::Always, _) => {
            "It starts once every upstream task ended"
        }
        (Condition::Failure, _) => {
            "It starts once every upstream task ended, if one of them failed"
        }
        (Condition::Cancelled, _) => {
            "It starts once every upstream task ended, if one of them was cancelled"
        }
        (Condition::Expression(_), DependencyRule::AllSucceeded) => {
            "It starts once every upstream task succeeded, if its condition holds then"
        }
        (Condition::Expression(_), _) => {
            "It starts once every upstream task ended, if its condition holds then"
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(start_words(&self.condition, self.rule))?;
        let mut separator = "; it saw";
        for upstream in &self.upstream {
            write!(f, "{separator} {} ({})", upstream.name, upstream.status.word())?;
            separator = ",";
        }
        if self.upstream_left_out > 0 {
            write!(f, " and {} more", self.upstream_left_out)?;
        }
        writeln!(f, ".")
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(start_words(&self.condition, self.rule))?;
        let mut separator = "; it waits for";
        for upstream in &self.upstream {
            write!(f, "{separator} {} ({})", upstream.name, upstream.status.word())?;
            separator = ",";
        }
        writeln!(f, ".")
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failures { failed, max, is_fast } = self;
        match (failed > max, is_fast) {
            (false, _) => writeln!(f, "{failed} failed, and `maxFailures: {max}` lets so many."),
            (true, false) => writeln!(f, "{failed} failed, and `maxFailures: {max}` lets no more."),
            (true, true) => writeln!(f, "{failed} failed, so `failFast` cancels the others."),
        }
    }
}

impl fmt::Display for Parallel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parallel { max, live, waiting } = self;
        writeln!(
            f,
            "`maxParallel: {max}` lets no more be live at once: {live} are, and {waiting} ready ones wait."
        )
    }
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ahead { own, less, left_out } = self;
        // Weights are worth a word where somebody gave one.
        let is_weighed = less.iter().chain([own]).any(|it| it.weight != 1);
        let weight = |it: &Contender| match is_weighed {
            true => format!(" (weight {})", it.weight),
            false => String::new(),
        };
        write!(f, "Namespace `{}`{} ", own.namespace, weight(own))?;
        write!(f, "has {} % of the cluster. ", own.share)?;
        let measure = if is_weighed { "less for their weight" } else { "less" };
        write!(f, "Others with {measure} come first: ")?;
        for (position, it) in less.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}`{}`{} with {} %", it.namespace, weight(it), it.share)?;
        }
        match left_out {
            0 => writeln!(f, "."),
            more => writeln!(f, ", and {more} more."),
        }
    }
}

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}.", self.summary)?;
        writeln!(f, "{}", self.summary.outlook)?;
        for worker in &self.workers {
            writeln!(f, "{worker}")?;
        }
        Ok(())
    }
}

impl fmt::Display for WorkerVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}: ", self.name)?;
        if self.obstacles.is_empty() {
            return f.write_str("has room");
        }
        for (position, obstacle) in self.obstacles.iter().enumerate() {
            write!(f, "{}{obstacle}", if position == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
