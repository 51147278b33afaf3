//! What is known of a run that is followed: how many tasks are where, what is new, how fast it goes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use muster_client::{RunUpdate, v1};
use tokio::time::Instant;

use crate::output::{child, task_word};
use crate::units::{between, short};

/// The rate is that of this last while.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// No rate is told before this much was seen.
const RATE_SPAN_MIN: Duration = Duration::from_secs(1);
const BAR_WIDTH: u64 = 20;
/// A run of at most so many tasks is told from its beginning, also of what was over when the watch began.
const FIRST_NEWS_MAX: usize = 20;

/// How many indices are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) cancelled: u64,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) text: String,
    /// Bad news are told even when others have to be left out.
    pub(crate) is_bad: bool,
}

/// A run that is followed.
pub(crate) struct Board {
    /// The run as people name it, `etl/42`.
    run: String,
    tasks: BTreeMap<u32, v1::Task>,
    counts: Counts,
    /// Done indices at points in time, oldest first.
    samples: VecDeque<(Instant, u64)>,
    changed_at: Instant,
}

impl Counts {
    /// Those of one task, also of an array.
    fn of(task: &v1::Task) -> Counts {
        let tally = task.tally.unwrap_or_default();
        Counts {
            succeeded: tally.succeeded,
            failed: tally.failed,
            skipped: tally.skipped,
            cancelled: tally.cancelled,
            running: tally.placed + tally.running,
            waiting: tally.blocked
                + tally.undecided
                + tally.ready
                + tally.backoff
                + tally.held
                + tally.awaiting,
        }
    }

    fn add(&mut self, other: Counts) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.cancelled += other.cancelled;
        self.running += other.running;
        self.waiting += other.waiting;
    }

    fn remove(&mut self, other: Counts) {
        self.succeeded -= other.succeeded;
        self.failed -= other.failed;
        self.skipped -= other.skipped;
        self.cancelled -= other.cancelled;
        self.running -= other.running;
        self.waiting -= other.waiting;
    }

    pub(crate) fn done(&self) -> u64 {
        self.succeeded + self.failed + self.skipped + self.cancelled
    }

    pub(crate) fn total(&self) -> u64 {
        self.done() + self.running + self.waiting
    }

    /// `✓58 ✗1 ●2 ○59`, with what was skipped or cancelled if there is any, and without what is zero and of no
    /// interest.
    pub(crate) fn signs(&self) -> String {
        let always = [("✓", self.succeeded, true), ("✗", self.failed, true)];
        let others = [
            ("⊘", self.skipped + self.cancelled, false),
            ("●", self.running, self.running + self.waiting > 0),
            ("○", self.waiting, self.running + self.waiting > 0),
        ];
        let shown = always.into_iter().chain(others).filter(|(_, count, must)| *must || *count > 0);
        shown.map(|(sign, count, _)| format!("{sign}{count}")).collect::<Vec<_>>().join(" ")
    }
}

impl Board {
    pub(crate) fn new(run: String, now: Instant) -> Board {
        Board {
            run,
            tasks: BTreeMap::new(),
            counts: Counts::default(),
            samples: VecDeque::new(),
            changed_at: now,
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = &v1::Task> {
        self.tasks.values()
    }

    /// Since when nothing has changed.
    pub(crate) fn changed_at(&self) -> Instant {
        self.changed_at
    }

    /// Takes an update in, and gives back what is new in it.
    pub(crate) fn absorb(&mut self, update: &RunUpdate, now: Instant) -> Vec<News> {
        let is_first = self.tasks.is_empty();
        let is_small = update.tasks.len() <= FIRST_NEWS_MAX;
        let mut news = Vec::new();
        for task in &update.tasks {
            let counts = Counts::of(task);
            let before = self.tasks.insert(task.index, task.clone());
            if let Some(before) = &before {
                self.counts.remove(Counts::of(before));
            }
            self.counts.add(counts);
            // Of what happened in a large run before the watch began only the failures are news.
            if !is_first || is_small || counts.failed > 0 {
                news.extend(what_is_new(&self.run, before.as_ref(), task));
            }
        }
        if !update.tasks.is_empty() {
            self.changed_at = now;
        }
        self.sample(now);
        news
    }

    fn sample(&mut self, now: Instant) {
        let done = self.counts.done();
        self.samples.push_back((now, done));
        // One sample from before the window stays, so that the window is covered.
        while self.samples.len() > 2 && now - self.samples[1].0 > RATE_WINDOW {
            self.samples.pop_front();
        }
    }

    /// Indices done a second, lately.
    fn rate(&self, now: Instant) -> Option<f64> {
        let (then, before) = *self.samples.front()?;
        let span = now - then;
        let done = self.counts.done().saturating_sub(before);
        if span < RATE_SPAN_MIN || done == 0 {
            return None;
        }
        Some(done as f64 / span.as_secs_f64())
    }

    /// The progress in one line of at most `width` characters.
    pub(crate) fn line(&self, width: usize, now: Instant) -> String {
        let (done, total) = (self.counts.done(), self.counts.total());
        let mut tail = format!("{done}/{total} {}", self.counts.signs());
        if let Some(rate) = self.rate(now) {
            let shown = if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
            tail.push_str(&format!(" · {shown}/s"));
            let left = total - done;
            if left > 0 {
                let eta = Duration::from_secs_f64((left as f64 / rate).min(1e9));
                tail.push_str(&format!(" · ETA {}", eta_words(eta)));
            }
        }
        let line = format!("{} {tail}", bar(done, total));
        if line.chars().count() > width { tail.chars().take(width).collect() } else { line }
    }
}

fn eta_words(span: Duration) -> String {
    if span < Duration::from_secs(60) { format!("{}s", span.as_secs().max(1)) } else { short(span) }
}

fn bar(done: u64, total: u64) -> String {
    let filled = (done * BAR_WIDTH).checked_div(total).unwrap_or(0).min(BAR_WIDTH) as usize;
    let rest = BAR_WIDTH as usize - filled;
    let head = if rest > 0 { ">" } else { "" };
    format!("[{}{head}{}]", "#".repeat(filled), "-".repeat(rest.saturating_sub(1)))
}

fn what_is_new(run: &str, before: Option<&v1::Task>, task: &v1::Task) -> Option<News> {
    let counted = |task: Option<&v1::Task>| task.map(Counts::of).unwrap_or_default();
    let (was, is) = (counted(before), Counts::of(task));
    let has_ended = is.total() > 0 && is.done() == is.total() && was.done() != was.total();
    let has_ended = has_ended || before.is_none() && is.total() > 0 && is.done() == is.total();
    if is.failed > was.failed {
        let text = if task.array_count.is_some() {
            // What is known is why the first one failed.
            format!("✗ {} ({} of {} failed), first {}", task.id, is.failed, is.total(), why(task))
        } else {
            format!("✗ {}: {}", task.id, why(task))
        };
        return Some(News { text, is_bad: true });
    }
    if has_ended {
        let sign = if is.succeeded > 0 { "✓" } else { "⊘" };
        return Some(News { text: format!("{sign} {}{}", task.id, detail(task)), is_bad: false });
    }
    let held = |task: Option<&v1::Task>| task.map_or(0, |it| it.tally.unwrap_or_default().held);
    if held(Some(task)) > held(before) {
        let name = format!("{run}/{}", task.id);
        let text = format!(
            "? {} is held: its attempt was lost; to go on: muster release {name} (or with --fail)",
            task.id
        );
        return Some(News { text, is_bad: true });
    }
    let awaits = |task: Option<&v1::Task>| task.map_or(0, |it| it.awaiting_since_ms);
    if let (true, Some(it)) = (awaits(Some(task)) > awaits(before), &task.child) {
        let text = format!("→ {}: run {} was started", task.id, child(it));
        return Some(News { text, is_bad: false });
    }
    if awaits(Some(task)) > awaits(before) {
        let name = format!("{run}/{}", task.id);
        let question = task.message.lines().next().unwrap_or_default();
        let question = if question.is_empty() { "it waits for a person" } else { question };
        let text =
            format!("? {}: {question}; to answer: muster approve {name} (or reject)", task.id);
        return Some(News { text, is_bad: true });
    }
    let failures = |task: &v1::Task| task.failures + task.losses;
    let has_failed_before = before.is_some_and(|before| failures(task) > failures(before));
    if has_failed_before && !task.is_array {
        let message =
            if task.message.is_empty() { String::new() } else { format!(": {}", task.message) };
        let is_lost = before.is_some_and(|before| task.losses > before.losses);
        let what = if is_lost { "was lost" } else { "failed" };
        let text = format!("↻ {} {what}{message}, attempt {} follows", task.id, task.attempts + 1);
        return Some(News { text, is_bad: true });
    }
    None
}

/// Why a task failed, in one line.
pub(crate) fn why(task: &v1::Task) -> String {
    let message = task.message.lines().next().unwrap_or_default();
    let mut text = if message.is_empty() { "failed".to_owned() } else { message.to_owned() };
    if task.attempts > 1 {
        text.push_str(&format!(" (attempt {})", task.attempts));
    }
    if !task.worker.is_empty() {
        text.push_str(&format!(" on {}", task.worker));
    }
    text
}

fn detail(task: &v1::Task) -> String {
    let counts = Counts::of(task);
    if task.is_array && task.array_count == Some(0) {
        return " (nothing to go through)".to_owned();
    }
    if task.array_count.is_some() {
        return format!(" ({} of {} succeeded)", counts.succeeded, counts.total());
    }
    if counts.succeeded == 0 {
        return format!(" {}", task_word(task.status()));
    }
    match (task.started_at_ms, task.ended_at_ms) {
        (0, _) | (_, 0) => String::new(),
        (from, to) => format!(" {}", short(between(from, to))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(index: u32, status: v1::TaskStatus) -> v1::Task {
        let mut tally = v1::Tally::default();
        match status {
            v1::TaskStatus::Succeeded => tally.succeeded = 1,
            v1::TaskStatus::Failed => tally.failed = 1,
            v1::TaskStatus::Skipped => tally.skipped = 1,
            v1::TaskStatus::Running => tally.running = 1,
            _ => tally.ready = 1,
        }
        v1::Task {
            id: format!("t{index}"),
            index,
            status: status.into(),
            tally: Some(tally),
            ..Default::default()
        }
    }

    fn array(succeeded: u64, failed: u64, running: u64, ready: u64) -> v1::Task {
        let tally = v1::Tally { succeeded, failed, running, ready, ..Default::default() };
        v1::Task {
            id: "many".into(),
            tally: Some(tally),
            is_array: true,
            array_count: Some((succeeded + failed + running + ready) as u32),
            message: "index 3: exit code 1".into(),
            ..Default::default()
        }
    }

    fn update(tasks: Vec<v1::Task>) -> RunUpdate {
        RunUpdate { revision: 1, run: None, tasks, is_fresh: false }
    }

    fn texts(news: Vec<News>) -> Vec<String> {
        news.into_iter().map(|news| news.text).collect()
    }

    #[test]
    fn the_line_shows_counts_rate_and_end() {
        let start = Instant::now();
        let mut board = Board::new("etl/1".into(), start);
        board.absorb(&update(vec![array(0, 0, 2, 118)]), start);
        assert_eq!(board.line(80, start), "[>-------------------] 0/120 ✓0 ✗0 ●2 ○118");
        let later = start + Duration::from_secs(2);
        board.absorb(&update(vec![array(58, 2, 2, 58)]), later);
        assert_eq!(
            board.line(80, later),
            "[##########>---------] 60/120 ✓58 ✗2 ●2 ○58 · 30/s · ETA 2s"
        );
        assert_eq!(board.line(20, later), "60/120 ✓58 ✗2 ●2 ○58");
        board.absorb(&update(vec![array(118, 2, 0, 0)]), start + Duration::from_secs(4));
        let end = board.line(80, start + Duration::from_secs(4));
        assert_eq!(end, "[####################] 120/120 ✓118 ✗2 · 30/s");
    }

    #[test]
    fn an_empty_board_has_a_line_too() {
        let now = Instant::now();
        assert_eq!(
            Board::new("etl/1".into(), now).line(80, now),
            "[>-------------------] 0/0 ✓0 ✗0"
        );
    }

    #[test]
    fn the_same_picture_twice_counts_once() {
        let now = Instant::now();
        let mut board = Board::new("etl/1".into(), now);
        for _ in 0..2 {
            let tasks = vec![task(0, v1::TaskStatus::Running), task(1, v1::TaskStatus::Blocked)];
            assert!(board.absorb(&update(tasks), now).is_empty());
        }
        assert_eq!((board.counts().running, board.counts().waiting), (1, 1));
    }

    #[test]
    fn tells_ends_and_failures() {
        let now = Instant::now();
        let mut board = Board::new("etl/1".into(), now);
        let running = |index| task(index, v1::TaskStatus::Running);
        board.absorb(&update((0..3).map(running).collect()), now);
        let done = v1::Task {
            started_at_ms: 1000,
            ended_at_ms: 2500,
            ..task(0, v1::TaskStatus::Succeeded)
        };
        let failed = v1::Task {
            message: "exit code 2".into(),
            attempts: 3,
            worker: "w1".into(),
            ..task(1, v1::TaskStatus::Failed)
        };
        let skipped = task(2, v1::TaskStatus::Skipped);
        let news = texts(board.absorb(&update(vec![done, failed, skipped]), now));
        assert_eq!(news, ["✓ t0 1.5s", "✗ t1: exit code 2 (attempt 3) on w1", "⊘ t2 skipped"]);
    }

    #[test]
    fn an_approval_says_what_it_asks_and_how_to_answer() {
        let now = Instant::now();
        let mut board = Board::new("etl/1".to_owned(), now);
        board.absorb(&update(vec![task(0, v1::TaskStatus::Blocked)]), now);
        let tally = v1::Tally { awaiting: 1, ..Default::default() };
        let asks = v1::Task {
            tally: Some(tally),
            message: "Ship it?".to_owned(),
            awaiting_since_ms: 7,
            ..task(0, v1::TaskStatus::Awaiting)
        };
        let news = texts(board.absorb(&update(vec![asks.clone()]), now));
        assert_eq!(news, ["? t0: Ship it?; to answer: muster approve etl/1/t0 (or reject)"]);
        assert!(board.absorb(&update(vec![asks]), now).is_empty(), "it is told once");
        assert_eq!(board.counts().waiting, 1);
    }

    #[test]
    fn a_sub_workflow_says_which_run_it_started() {
        let now = Instant::now();
        let mut board = Board::new("etl/1".to_owned(), now);
        board.absorb(&update(vec![task(0, v1::TaskStatus::Undecided)]), now);
        let child = v1::ChildRun { run_id: 9, workflow: "load".to_owned(), number: 7 };
        let waits = v1::Task {
            tally: Some(v1::Tally { awaiting: 1, ..Default::default() }),
            awaiting_since_ms: 7,
            child: Some(child),
            ..task(0, v1::TaskStatus::Awaiting)
        };
        let news = texts(board.absorb(&update(vec![waits.clone()]), now));
        assert_eq!(news, ["→ t0: run load/7 was started"]);
        assert!(board.absorb(&update(vec![waits]), now).is_empty(), "it is told once");
    }

    #[test]
    fn a_held_task_waits_for_a_person_and_is_not_tried_again() {
        let now = Instant::now();
        let mut board = Board::new("etl/1".into(), now);
        board.absorb(&update(vec![task(0, v1::TaskStatus::Running)]), now);
        let tally = v1::Tally { held: 1, ..Default::default() };
        let held = v1::Task {
            attempts: 1,
            losses: 1,
            tally: Some(tally),
            ..task(0, v1::TaskStatus::Held)
        };
        let news = texts(board.absorb(&update(vec![held.clone()]), now));
        assert_eq!(
            news,
            [
                "? t0 is held: its attempt was lost; to go on: muster release etl/1/t0 (or with --fail)"
            ]
        );
        assert!(board.absorb(&update(vec![held]), now).is_empty(), "it is told once");
        let lost = v1::Task { attempts: 2, losses: 2, ..task(0, v1::TaskStatus::Ready) };
        let news = texts(board.absorb(&update(vec![lost]), now));
        assert_eq!(news, ["↻ t0 was lost, attempt 3 follows"]);
    }

    #[test]
    fn an_array_is_told_as_a_whole() {
        let now = Instant::now();
        let mut board = Board::new("etl/1".into(), now);
        board.absorb(&update(vec![array(0, 0, 0, 1000)]), now);
        assert!(board.absorb(&update(vec![array(500, 0, 2, 498)]), now).is_empty());
        let news = texts(board.absorb(&update(vec![array(998, 1, 1, 0)]), now));
        assert_eq!(news, ["✗ many (1 of 1000 failed), first index 3: exit code 1"]);
        let news = texts(board.absorb(&update(vec![array(999, 1, 0, 0)]), now));
        assert_eq!(news, ["✓ many (999 of 1000 succeeded)"]);
    }

    #[test]
    fn a_watch_of_a_large_run_that_begins_late_tells_failures_only() {
        let now = Instant::now();
        let many = FIRST_NEWS_MAX as u32;
        let mut tasks: Vec<_> =
            (0..many).map(|index| task(index, v1::TaskStatus::Succeeded)).collect();
        let small = texts(Board::new("etl/1".into(), now).absorb(&update(tasks.clone()), now));
        assert_eq!(small.len(), FIRST_NEWS_MAX, "a small one is told from its beginning");
        tasks.push(task(many, v1::TaskStatus::Failed));
        let large = texts(Board::new("etl/1".into(), now).absorb(&update(tasks), now));
        assert_eq!(large, [format!("✗ t{many}: failed")]);
    }
}
