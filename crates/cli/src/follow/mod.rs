//! Following a run: waiting for its end, with progress or logs, and saying how it ended.

mod board;
mod logs;
mod painter;
mod summary;

use std::io::Write;
use std::pin::Pin;
use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use muster_client::{Client, Error, RunKey, RunUpdate, v1};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::board::Board;
use self::logs::LogFollower;
use self::painter::Painter;
pub(crate) use self::summary::{exit_of, summarize};
use crate::commands::lookup::brief;
use crate::exit::{Exit, Failure, Outcome};
use crate::names::label;
use crate::output::{note, stdout};

/// How often the progress line is drawn.
const REDRAW: Duration = Duration::from_millis(200);
/// A run that stands still for so long is asked why.
const STALL: Duration = Duration::from_secs(5);
/// How long the last lines of logs may take after the run's end.
const LOGS_PATIENCE: Duration = Duration::from_secs(5);

/// Whether and how to stay until the run's end.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct FollowArgs {
    /// Wait until the run ends; the exit code tells how
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait, and show progress on stderr
    #[arg(long, visible_alias = "progress")]
    pub(crate) watch: bool,
    /// Wait, and print what the tasks print
    #[arg(long)]
    pub(crate) logs: bool,
    /// If the run failed, exit with the failed task's own exit code
    #[arg(long)]
    pub(crate) propagate_exit_code: bool,
}

/// What to show meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Nothing,
    Progress,
    Logs,
    Both,
}

impl FollowArgs {
    /// What to show, or `None` not to stay at all.
    pub(crate) fn show(&self) -> Option<Show> {
        match (self.watch, self.logs) {
            (true, true) => Some(Show::Both),
            (true, false) => Some(Show::Progress),
            (false, true) => Some(Show::Logs),
            (false, false) => (self.wait || self.propagate_exit_code).then_some(Show::Nothing),
        }
    }
}

/// How following a run ended.
pub(crate) enum End {
    /// The run ended, with these tasks.
    Run { run: v1::Run, tasks: Vec<v1::Task> },
    /// Ctrl-C.
    Interrupted,
    /// The time was over.
    Timeout,
}

/// Follows `run` to its end, at most for `limit`.
pub(crate) async fn follow(
    client: &Client,
    run: &v1::Run,
    show: Show,
    limit: Option<Duration>,
) -> Result<End, Failure> {
    let mut session = Session::new(client, run, show);
    let deadline = limit.map(|limit| Instant::now() + limit);
    let end = tokio::select! {
        end = session.run_to_end() => end?,
        () = interrupted() => End::Interrupted,
        () = sleep_until(deadline) => End::Timeout,
    };
    session.painter.clear();
    let left_out = session.painter.left_out();
    if left_out > 0 {
        note(format!("{left_out} changes were not shown one by one"));
    }
    Ok(end)
}

/// Follows a run to its end, and says on stderr how it ended.
pub(crate) async fn follow_and_tell(
    client: &Client,
    run: &v1::Run,
    show: Show,
    limit: Option<Duration>,
    propagate: bool,
) -> Result<(Exit, Option<v1::Run>), Failure> {
    match follow(client, run, show, limit).await? {
        End::Run { run, tasks } => {
            note(summarize(&run, &tasks));
            let exit = exit_of(&run, &tasks, propagate);
            Ok((exit, Some(run)))
        }
        End::Interrupted => {
            note(detached(run));
            Ok((Exit::Interrupted, None))
        }
        End::Timeout => Ok((timed_out(client, run).await?, None)),
    }
}

/// What to say when a user leaves a run to itself.
pub(crate) fn detached(run: &v1::Run) -> String {
    let name = label(run);
    format!("left {name}, which goes on; to cancel it: muster cancel {name}")
}

/// Says why the run has not ended, if it waits for workers that do not exist.
pub(crate) async fn timed_out(client: &Client, run: &v1::Run) -> Result<Exit, Failure> {
    let name = label(run);
    let explanation = client.explain(run, None).await?;
    note(format!("{name} has not ended in time and goes on; to cancel it: muster cancel {name}"));
    let stuck: Vec<_> = explanation.tasks.iter().filter(|task| task.is_infeasible).collect();
    for task in &stuck {
        note(brief(run, task));
    }
    Ok(if stuck.is_empty() { Exit::Timeout } else { Exit::CannotBePlaced })
}

/// Resolves with Ctrl-C.
pub(crate) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal ends the process by itself.
        std::future::pending::<()>().await;
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

type Updates = Pin<Box<dyn futures::Stream<Item = Result<RunUpdate, Error>> + Send>>;

/// One run that is followed.
struct Session {
    client: Client,
    run: v1::Run,
    shows_progress: bool,
    board: Board,
    painter: Painter,
    logs: Option<LogFollower>,
    lines: mpsc::Receiver<Vec<u8>>,
    is_stall_told: bool,
}

impl Session {
    fn new(client: &Client, run: &v1::Run, show: Show) -> Session {
        let now = Instant::now();
        let is_alone = run.tally.is_some_and(|tally| count(&tally) == 1);
        let (follower, lines) = LogFollower::new(client, run, !is_alone);
        let shows_logs = matches!(show, Show::Logs | Show::Both);
        Session {
            client: client.clone(),
            run: run.clone(),
            shows_progress: matches!(show, Show::Progress | Show::Both),
            board: Board::new(label(run), now),
            painter: Painter::new(now),
            logs: shows_logs.then_some(follower),
            lines,
            is_stall_told: false,
        }
    }

    async fn run_to_end(&mut self) -> Result<End, Failure> {
        let mut updates: Updates = self.client.watch_run(&self.run);
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                update = updates.try_next() => match update? {
                    Some(update) => self.take(update),
                    None => break,
                },
                Some(line) = self.lines.recv() => self.print(&line)?,
                _ = ticks.tick() => self.tick().await,
            }
        }
        self.drain_logs().await?;
        let tasks = self.board.tasks().cloned().collect();
        Ok(End::Run { run: self.run.clone(), tasks })
    }

    fn take(&mut self, update: RunUpdate) {
        let now = Instant::now();
        let news = self.board.absorb(&update, now);
        if let Some(logs) = &mut self.logs {
            for task in &update.tasks {
                logs.see(task);
            }
        }
        if let Some(run) = update.run {
            self.run = run;
        }
        self.is_stall_told = false;
        if self.shows_progress {
            self.painter.paint(&news, &self.board, now);
        }
    }

    fn print(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.painter.clear();
        let mut out = stdout();
        out.write_all(line)?;
        out.flush()?;
        Ok(())
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.shows_progress {
            self.painter.paint(&[], &self.board, now);
        }
        let counts = self.board.counts();
        let is_still = counts.running == 0
            && counts.waiting > 0
            && now - self.board.changed_at() >= STALL
            && !self.is_stall_told;
        if is_still {
            self.is_stall_told = true;
            self.tell_stall().await;
        }
    }

    /// Says why nothing happens. That it cannot be found out is no reason to stop following.
    async fn tell_stall(&mut self) {
        let Ok(explanation) = self.client.explain(&self.run, None).await else { return };
        self.painter.clear();
        // Who asked for no progress is told only what will never be.
        let waits = |task: &&v1::TaskExplanation| {
            task.status() != v1::TaskStatus::Blocked && (self.shows_progress || task.is_infeasible)
        };
        for task in explanation.tasks.iter().filter(waits).take(3) {
            note(format!("○ {}", brief(&self.run, task)));
        }
    }

    /// Prints what is still to come of the logs.
    async fn drain_logs(&mut self) -> Result<(), Failure> {
        let Some(mut logs) = self.logs.take() else { return Ok(()) };
        let patience = tokio::time::sleep(LOGS_PATIENCE);
        let mut patience = std::pin::pin!(patience);
        let mut is_finished = false;
        loop {
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => self.print(&line)?,
                () = logs.finish(), if !is_finished => is_finished = true,
                () = &mut patience => return Ok(()),
                else => return Ok(()),
            }
            if is_finished && self.lines.is_empty() {
                return Ok(());
            }
        }
    }
}

/// How many indices there are.
fn count(tally: &v1::Tally) -> u64 {
    tally.blocked
        + tally.undecided
        + tally.ready
        + tally.placed
        + tally.running
        + tally.backoff
        + tally.held
        + tally.awaiting
        + tally.succeeded
        + tally.failed
        + tally.skipped
        + tally.cancelled
}

/// Waits for several runs together, without progress, and adds each to `ended`. The worst end counts.
pub(crate) async fn wait_all(
    client: &Client,
    runs: &[v1::Run],
    limit: Option<Duration>,
    ended: &mut Vec<v1::Run>,
) -> Outcome {
    let mut worst = Exit::Ok;
    let deadline = limit.map(|limit| Instant::now() + limit);
    for run in runs {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let waited = tokio::select! {
            waited = client.wait_run(RunKey::from(run), left) => waited,
            () = interrupted() => {
                note(detached(run));
                return Ok(Exit::Interrupted);
            }
        };
        let exit = match waited {
            Ok(run) => {
                let tasks: Vec<v1::Task> =
                    client.list_tasks(&run, &[v1::TaskStatus::Failed]).try_collect().await?;
                note(summarize(&run, &tasks));
                let exit = Exit::of_run(&run);
                ended.push(run);
                exit
            }
            Err(error) if error.is_deadline() => return timed_out(client, run).await,
            Err(error) => return Err(error.into()),
        };
        if worst == Exit::Ok {
            worst = exit;
        }
    }
    Ok(worst)
}
