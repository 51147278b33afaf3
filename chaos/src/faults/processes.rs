//! Faults of processes: killed, stopped, restarted.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::Instant;

use super::{Stage, Target, names};
use crate::evidence::Evidence;
use crate::ground::Who;
use crate::scenario::Span;

/// How long a successor may take before the fault goes on without one.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(5);
/// How long a process that is asked to stop may take; workers wait for what they have.
const STOP_PATIENCE: Duration = Duration::from_secs(40);
/// How long one that was started may take to be of use again.
const RETURN_PATIENCE: Duration = Duration::from_secs(30);

impl Stage<'_> {
    pub(super) async fn kill(&mut self, target: Target, down: Span) -> Result<String> {
        let whom = self.aim(target).await?;
        for who in &whom {
            match *who {
                Who::Master(at) => self.lab.kill_master(at),
                Who::Worker(at) => self.lab.kill_worker(at),
            }
        }
        let down = down.draw(&mut self.chance);
        self.pass(down).await?;
        self.lab.start_all()?;
        Ok(format!("killed {} for {down:?}", names(&whom)))
    }

    pub(super) async fn kill_with_guardian(&mut self, down: Span) -> Result<String> {
        let whom = self.aim(Target::Worker).await?;
        for who in &whom {
            if let Who::Worker(at) = *who {
                self.lab.kill_worker_and_guardian(at)?;
            }
        }
        let down = down.draw(&mut self.chance);
        self.pass(down).await?;
        self.lab.start_all()?;
        Ok(format!("killed {} and its guardian for {down:?}", names(&whom)))
    }

    pub(super) async fn kill_during_fail_over(
        &mut self,
        after: Span,
        down: Span,
    ) -> Result<String> {
        let first = self.aim(Target::Leader).await?;
        let Some(Who::Master(leader)) = first.first().copied() else {
            return Ok("nobody leads".to_owned());
        };
        self.lab.kill_master(leader);
        let second = self.lab.wait_leader(Some(leader), SUCCESSOR_PATIENCE).await;
        let after = after.draw(&mut self.chance);
        tokio::time::sleep(after).await;
        if let Some(second) = second {
            self.lab.kill_master(second);
        }
        let down = down.draw(&mut self.chance);
        self.pass(down).await?;
        self.lab.start_all()?;
        let second = second.map_or("nobody".to_owned(), |at| format!("m{at}"));
        Ok(format!("killed m{leader}, then {second} {after:?} after it led, for {down:?}"))
    }

    pub(super) async fn kill_all(&mut self, down: Span, moved: bool) -> Result<String> {
        let masters = self.lab.masters.len();
        for at in 0..masters {
            self.lab.kill_master(at);
        }
        if moved {
            self.lab.ground.move_masters(masters)?;
        }
        let down = down.draw(&mut self.chance);
        self.pass(down).await?;
        self.lab.start_all()?;
        let place = if moved { ", back on other addresses" } else { "" };
        Ok(format!("killed all masters for {down:?}{place}"))
    }

    pub(super) async fn stop(&mut self, target: Target, span: Span) -> Result<String> {
        let whom = self.aim(target).await?;
        self.signal(&whom, Signal::STOP)?;
        let span = span.draw(&mut self.chance);
        self.pass(span).await?;
        self.signal(&whom, Signal::CONT)?;
        Ok(format!("stopped {} for {span:?}", names(&whom)))
    }

    fn signal(&self, whom: &[Who], signal: Signal) -> Result<()> {
        for who in whom {
            match *who {
                Who::Master(at) => self.lab.masters[at].process.signal(signal)?,
                Who::Worker(at) => self.lab.workers[at].process.signal(signal)?,
            }
        }
        Ok(())
    }

    pub(super) async fn rolling_restart(&mut self) -> Result<String> {
        let started = Instant::now();
        let mut slow = Vec::new();
        for at in 0..self.lab.masters.len() {
            self.lab.masters[at].is_wanted = false;
            if !self.lab.masters[at].process.terminate(STOP_PATIENCE).await? {
                slow.push(Who::Master(at));
            }
            self.lab.start_master(at)?;
            self.await_caught_up(at).await?;
        }
        for at in 0..self.lab.workers.len() {
            self.lab.workers[at].is_wanted = false;
            if !self.lab.workers[at].process.terminate(STOP_PATIENCE).await? {
                slow.push(Who::Worker(at));
            }
            self.lab.start_worker(at)?;
        }
        let slow = match slow.as_slice() {
            [] => String::new(),
            slow => format!("; {} had to be killed", names(slow)),
        };
        Ok(format!("restarted everybody in {:?}{slow}", started.elapsed()))
    }

    /// Waits until a master has applied what the leader had committed when it was asked.
    async fn await_caught_up(&mut self, at: usize) -> Result<()> {
        let until = Instant::now() + RETURN_PATIENCE;
        let mut goal = None;
        while Instant::now() < until {
            if goal.is_none()
                && let Some(leader) = self.lab.leader().await
            {
                goal = self.lab.view(leader).await.map(|view| view.committed_index);
            }
            let has = self.lab.view(at).await.map(|view| view.applied_index);
            if has.zip(goal).is_some_and(|(has, goal)| has >= goal) {
                return Ok(());
            }
            self.pass(Duration::from_millis(50)).await?;
        }
        Ok(())
    }

    pub(super) async fn transfer(&mut self) -> Result<String> {
        let before = self.aim(Target::Leader).await?;
        let started = Instant::now();
        let asking = self.lab.client.with_deadline(SUCCESSOR_PATIENCE);
        let outcome = match asking.transfer_leader("").await {
            Ok(leader) => {
                self.logbook.see(Evidence::LeadershipTransferred, 1);
                format!("to {leader:016x} in {:?}", started.elapsed())
            }
            Err(error) => format!("refused: {error}"),
        };
        Ok(format!("leadership of {} handed over {outcome}", names(&before)))
    }
}
