//! Attempts end. The fence is checked; success unblocks what is downstream, failure backs off or ends the task, and a
//! loss is followed by what the task says about losses.

use super::Step;
use super::advance::without_history;
use crate::command::{AttemptRef, Finish, FinishAttempts, Outcome};
use crate::ids::{RunId, TaskIndex, Text};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::reply::{ItemRefusal, Reply};
use crate::spec::{Backoff, OnLost, TaskSpec};
use crate::state::cells::IndexRange;
use crate::state::task::{
    Attempt, FailureReason, LastAttempt, Outputs, StopReason, TaskState, Tries,
};
use crate::time::{Millis, Timestamp};

/// What is said of outputs beyond [`limits::OUTPUT_BYTES_MAX`].
pub(super) const TOO_LARGE: &str = "the outputs are larger than 64 KiB together";

/// A live attempt that ended.
struct Ended<'a> {
    spec: &'a TaskSpec,
    attempt_ref: AttemptRef,
    tries: Tries,
    attempt: Attempt,
    last: LastAttempt,
    now: Timestamp,
}

impl Step<'_> {
    pub(super) fn finish_attempts(&mut self, command: &FinishAttempts) -> Reply {
        let mut refused = Vec::new();
        for (position, finish) in command.finishes.iter().enumerate() {
            if let Err(refusal) = self.finish(finish) {
                refused.push((position as u32, refusal));
            }
        }
        Reply::Items { refused }
    }

    /// Ends a live attempt whose worker is gone.
    pub(super) fn lose_attempt(&mut self, attempt: &AttemptRef) {
        let finish = Finish { attempt: *attempt, outcome: Outcome::Lost, duration: Millis(0) };
        // A refusal means that the attempt is not live any more, which is what is wanted.
        let _refused = self.finish(&finish);
    }

    fn finish(&mut self, finish: &Finish) -> Result<(), ItemRefusal> {
        let (run_id, task) = (finish.attempt.run, finish.attempt.task);
        let cells = self.live_cells(&finish.attempt);
        if cells.is_err() && mutant::is_on(Mutant::StaleReportKept) {
            let stale = Outcome::Failed { exit_code: None, message: Some("too late".into()) };
            self.keep_report(
                &Finish { outcome: stale, ..finish.clone() },
                false,
                &TaskState::Blocked,
            );
        }
        let cells = cells?;
        if finish.attempt.fence.0 == self.index.0 {
            self.ended_at_once.push((run_id, task));
        }
        for (range, state) in cells {
            let Some(run) = self.state.run(run_id) else { return Ok(()) };
            let (Some(spec), Some(attempt)) = (run.spec(task), state.attempt().copied()) else {
                continue;
            };
            let is_array = spec.is_array();
            let ended = Ended {
                spec,
                attempt_ref: AttemptRef { range, ..finish.attempt },
                tries: state.tries(),
                attempt,
                last: last_attempt(&state, &attempt, finish.duration, self.now),
                now: self.now,
            };
            let to = ended.next_state(&finish.outcome);
            let to = if is_array { without_history(to) } else { to };
            self.keep_report(finish, is_array, &to);
            self.change(run_id, task, range, to);
        }
        Ok(())
    }

    /// The cells of a live attempt, all of which must carry its fence (I4, I5).
    pub(super) fn live_cells(
        &self,
        attempt: &AttemptRef,
    ) -> Result<Vec<(IndexRange, TaskState)>, ItemRefusal> {
        let run = self.state.run(attempt.run).ok_or(ItemRefusal::RunNotLive)?;
        let task = run.task(attempt.task).ok_or(ItemRefusal::NoSuchTask)?;
        if attempt.range.first > attempt.range.last
            || task.cells.indices().intersect(attempt.range) != Some(attempt.range)
        {
            return Err(ItemRefusal::NoSuchTask);
        }
        let cells: Vec<_> =
            task.cells.within(attempt.range).map(|(range, state)| (range, *state)).collect();
        let is_current = |state: &TaskState| {
            let is_its = |fence| fence == attempt.fence || mutant::is_on(Mutant::FenceUnchecked);
            state.attempt().is_some_and(|live| is_its(live.fence))
        };
        if cells.iter().all(|(_, state)| is_current(state)) {
            Ok(cells)
        } else {
            Err(ItemRefusal::Stale)
        }
    }

    /// Keeps what an accepted report says beside its outcome: outputs, or why it failed.
    fn keep_report(&mut self, finish: &Finish, is_array: bool, to: &TaskState) {
        let Some(run) = self.state.runs.get_mut(finish.attempt.run.0) else { return };
        let Some(task) = run.tasks.get_mut(finish.attempt.task.0 as usize) else { return };
        match &finish.outcome {
            Outcome::Succeeded { outputs }
                if !is_array && matches!(to, TaskState::Succeeded { .. }) =>
            {
                task.outputs.clone_from(outputs);
            }
            Outcome::Succeeded { outputs: Some(_) } if matches!(to, TaskState::Failed { .. }) => {
                task.message = Some(TOO_LARGE.into());
            }
            Outcome::Failed { message: Some(message), .. }
                if !is_array || task.message.is_none() =>
            {
                task.message = Some(cut(message));
            }
            Outcome::Succeeded { .. }
            | Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::Cancelled
            | Outcome::Lost => {}
        }
    }
}

impl Ended<'_> {
    fn next_state(&self, outcome: &Outcome) -> TaskState {
        let told_to_stop = self.attempt.stop.map(|stop| stop.reason);
        let told_to_stop = told_to_stop.filter(|_| !mutant::is_on(Mutant::CancelRetried));
        let (tries, last) = (self.tries, Some(self.last));
        match (outcome, told_to_stop) {
            (Outcome::Succeeded { outputs: Some(outputs) }, _)
                if output_bytes(outputs) > limits::OUTPUT_BYTES_MAX =>
            {
                TaskState::Failed { tries, reason: FailureReason::Rejected, last }
            }
            (Outcome::Succeeded { .. }, _) => TaskState::Succeeded { tries, last },
            (
                Outcome::Failed { .. } | Outcome::TimedOut | Outcome::Cancelled | Outcome::Lost,
                Some(
                    StopReason::Cancelled
                    | StopReason::Replaced
                    | StopReason::FailFast
                    | StopReason::RunTimedOut
                    | StopReason::ByParent,
                ),
            ) => TaskState::Cancelled,
            (
                Outcome::Failed { .. } | Outcome::TimedOut | Outcome::Cancelled | Outcome::Lost,
                Some(StopReason::AttemptTimedOut),
            )
            | (Outcome::TimedOut, None) => {
                self.after_failure(FailureReason::TimedOut, self.spec.retry.on_timeout)
            }
            (Outcome::Failed { exit_code: Some(code), .. }, None) => {
                self.after_failure(FailureReason::Exit(*code), self.spec.retry.on_failure)
            }
            (Outcome::Failed { exit_code: None, .. }, None) => {
                self.after_failure(FailureReason::Rejected, self.spec.retry.on_failure)
            }
            (Outcome::Cancelled | Outcome::Lost, None) => self.after_loss(),
        }
    }

    fn after_failure(&self, reason: FailureReason, may_retry: bool) -> TaskState {
        let tries = Tries { failures: self.tries.failures.saturating_add(1), ..self.tries };
        let AttemptRef { run, task, range, .. } = self.attempt_ref;
        let avoid = Some(self.attempt.worker);
        match wait_after_failure(self.spec, tries, may_retry, (run, task, range.first)) {
            None => TaskState::Failed { tries, reason, last: Some(self.last) },
            Some(Millis(0)) => TaskState::Ready { tries, since: self.now, avoid },
            Some(wait) => TaskState::Backoff { tries, until: self.now + wait, avoid },
        }
    }

    fn after_loss(&self) -> TaskState {
        let cost = if mutant::is_on(Mutant::LossCountedTwice) { 2 } else { 1 };
        let mut tries = Tries { losses: self.tries.losses.saturating_add(cost), ..self.tries };
        tries.failures += u16::from(mutant::is_on(Mutant::LossSpendsRetry));
        let is_poison = u32::from(tries.losses) >= self.spec.max_lost;
        match self.spec.on_lost {
            OnLost::Rerun if !is_poison => {
                TaskState::Ready { tries, since: self.now, avoid: Some(self.attempt.worker) }
            }
            OnLost::Hold if !is_poison => TaskState::Held { tries },
            OnLost::Rerun | OnLost::Hold | OnLost::Fail => {
                TaskState::Failed { tries, reason: FailureReason::Lost, last: Some(self.last) }
            }
        }
    }
}

/// How long a task waits after a try of it failed, which `tries` counts; `None` if no other may follow. `of` names the
/// run, the task and its index: the jitter is equal on all replicas, and different for every try.
pub(super) fn wait_after_failure(
    spec: &TaskSpec,
    tries: Tries,
    may_retry: bool,
    of: (RunId, TaskIndex, u32),
) -> Option<Millis> {
    let is_spent = u32::from(tries.failures) > spec.retry.limit;
    if !may_retry || is_spent && !mutant::is_on(Mutant::RetryLimitIgnored) {
        return None;
    }
    let (RunId(run), TaskIndex(task), first) = of;
    let parts = [run, u64::from(task), u64::from(first), u64::from(tries.attempts)];
    let seed = parts.into_iter().fold(0, |seed, part| scramble(seed ^ part));
    Some(backoff(&spec.retry.backoff, tries.failures, seed))
}

fn last_attempt(
    state: &TaskState,
    attempt: &Attempt,
    duration: Millis,
    now: Timestamp,
) -> LastAttempt {
    let started_at = match state {
        TaskState::Running { started_at, .. } => *started_at,
        _ => (now - duration).max(attempt.placed_at),
    };
    LastAttempt { worker: attempt.worker, fence: attempt.fence, started_at, ended_at: now }
}

fn output_bytes(outputs: &Outputs) -> usize {
    outputs.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// The wait after the `failures`-th failure: exponential, capped, then jittered.
fn backoff(policy: &Backoff, failures: u16, seed: u64) -> Millis {
    let mut wait = policy.initial.0;
    for _ in 1..failures {
        if wait >= policy.cap.0 {
            break;
        }
        wait = wait.saturating_mul(u64::from(policy.factor_millis)) / 1000;
    }
    wait = wait.min(policy.cap.0);
    let spread = wait.saturating_mul(u64::from(policy.jitter_millis.min(1000))) / 1000;
    let offset = scramble(seed) % spread.saturating_mul(2).saturating_add(1);
    Millis(wait.saturating_sub(spread).saturating_add(offset))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The message, cut to [`limits::REASON_BYTES_MAX`] at a character boundary.
pub(super) fn cut(message: &Text) -> Text {
    if message.len() <= limits::REASON_BYTES_MAX {
        return message.clone();
    }
    head(message, limits::REASON_BYTES_MAX).into()
}

/// As much of a text as fits into `bytes_max`, to a character boundary.
pub(super) fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(jitter_millis: u32) -> Backoff {
        let (initial, cap) = (Millis(1000), Millis(60_000));
        Backoff { initial, factor_millis: 2000, cap, jitter_millis }
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let waits: Vec<u64> = (1..=9).map(|it| backoff(&policy(0), it, u64::from(it)).0).collect();
        assert_eq!(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(backoff(&policy(0), u16::MAX, 0), Millis(60_000));
        let endless = Backoff { initial: Millis(u64::MAX), cap: Millis(u64::MAX), ..policy(1000) };
        assert!(backoff(&endless, u16::MAX, 3) <= Millis(u64::MAX));
    }

    #[test]
    fn jitter_uses_its_whole_range_and_stays_within_it() {
        let waits: Vec<u64> = (0..4000).map(|seed| backoff(&policy(200), 1, seed).0).collect();
        assert!(waits.iter().all(|wait| (800..=1200).contains(wait)));
        for start in (800..1200).step_by(50) {
            let share = waits.iter().filter(|wait| (start..start + 50).contains(*wait)).count();
            assert!((350..650).contains(&share), "{share} of 4000 waits from {start} ms");
        }
    }
}
