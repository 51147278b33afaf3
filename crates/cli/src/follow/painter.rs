//! Puts progress on stderr: a line that is drawn anew on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use owo_colors::OwoColorize;
use tokio::time::Instant;

use super::board::{Board, News};

/// Elsewhere than on a terminal the whole picture is told this often while things change.
const SUMMARY_EVERY: Duration = Duration::from_secs(5);
/// Good news a second, at most; what is left out shows in the counts.
const NEWS_PER_S: u32 = 20;
/// Bad news in all, at most.
const BAD_NEWS_MAX: u32 = 100;
/// Width of a terminal that does not tell.
const WIDTH_DEFAULT: usize = 80;

/// Draws the progress of one run.
pub(crate) struct Painter {
    is_live: bool,
    /// A progress line stands at the cursor.
    is_drawn: bool,
    last_summary: (Instant, u64),
    second: Instant,
    told_this_second: u32,
    bad_told: u32,
    left_out: u32,
}

impl Painter {
    pub(crate) fn new(now: Instant) -> Painter {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_plain = anstream::AutoStream::choice(&io::stderr()) == anstream::ColorChoice::Never
            && std::env::var_os("NO_COLOR").is_none();
        Painter {
            is_live: io::stderr().is_terminal() && !is_dumb && !is_plain,
            is_drawn: false,
            last_summary: (now, u64::MAX),
            second: now,
            told_this_second: 0,
            bad_told: 0,
            left_out: 0,
        }
    }

    /// Tells what is new, and draws the progress line where there is one.
    pub(crate) fn paint(&mut self, news: &[News], board: &Board, now: Instant) {
        let told: Vec<&News> = news.iter().filter(|news| self.has_room(news, now)).collect();
        let mut err = anstream::stderr().lock();
        // If stderr is closed, nobody is there to be told.
        let _closed = self.write(&mut err, &told, board, now);
    }

    fn write(
        &mut self,
        err: &mut impl Write,
        news: &[&News],
        board: &Board,
        now: Instant,
    ) -> io::Result<()> {
        self.wipe(err)?;
        for news in news {
            match (news.is_bad, news.text.starts_with('✓')) {
                (true, _) => writeln!(err, "{}", news.text.red())?,
                (false, true) => writeln!(err, "{}", news.text.green())?,
                (false, false) => writeln!(err, "{}", news.text.dimmed())?,
            }
        }
        if board.counts().total() == 0 {
            // Nothing is known yet.
        } else if self.is_live {
            let line = board.line(width().saturating_sub(1), now);
            write!(err, "{line}")?;
            self.is_drawn = true;
        } else {
            self.summarize(err, board, now)?;
        }
        err.flush()
    }

    /// Tells the whole picture, if it changed and has not been told for a while.
    fn summarize(&mut self, err: &mut impl Write, board: &Board, now: Instant) -> io::Result<()> {
        let (at, done) = self.last_summary;
        let counts = board.counts();
        if now - at < SUMMARY_EVERY || counts.done() == done {
            return Ok(());
        }
        self.last_summary = (now, counts.done());
        writeln!(err, "{}", board.line(usize::MAX, now))
    }

    fn wipe(&mut self, err: &mut impl Write) -> io::Result<()> {
        if std::mem::take(&mut self.is_drawn) {
            write!(err, "\r\x1b[2K")?;
        }
        Ok(())
    }

    /// Takes the progress line away, so that other output can follow.
    pub(crate) fn clear(&mut self) {
        let mut err = anstream::stderr().lock();
        let _closed = self.wipe(&mut err).and_then(|()| err.flush());
    }

    /// How many news were left out.
    pub(crate) fn left_out(&self) -> u32 {
        self.left_out
    }

    fn has_room(&mut self, news: &News, now: Instant) -> bool {
        if now - self.second >= Duration::from_secs(1) {
            self.second = now;
            self.told_this_second = 0;
        }
        let has_room = if news.is_bad {
            self.bad_told += 1;
            self.bad_told <= BAD_NEWS_MAX
        } else {
            self.told_this_second += 1;
            self.told_this_second <= NEWS_PER_S
        };
        self.left_out += u32::from(!has_room);
        has_room
    }
}

/// Columns of the terminal that stderr is.
fn width() -> usize {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or(WIDTH_DEFAULT, |(width, _)| usize::from(width.0).max(20))
}

#[cfg(test)]
mod tests {
    use muster_client::{RunUpdate, v1};

    use super::*;

    fn plain(now: Instant) -> Painter {
        Painter { is_live: false, ..Painter::new(now) }
    }

    #[test]
    fn a_million_news_do_not_flood() {
        let now = Instant::now();
        let mut painter = plain(now);
        let good = News { text: "✓ a".into(), is_bad: false };
        let told = (0..1000).filter(|_| painter.has_room(&good, now)).count();
        assert_eq!(told, 20);
        assert!(painter.has_room(&good, now + Duration::from_secs(1)));
        let bad = News { text: "✗ a".into(), is_bad: true };
        let told = (0..1000).filter(|_| painter.has_room(&bad, now)).count();
        assert_eq!(told, 100);
        assert_eq!(painter.left_out(), 980 + 900);
    }

    #[test]
    fn elsewhere_than_on_a_terminal_lines_are_plain() {
        let start = Instant::now();
        let mut painter = plain(start);
        let mut board = Board::new("etl/1".into(), start);
        let mut out = Vec::new();
        painter.write(&mut out, &[], &board, start).unwrap();
        assert!(out.is_empty());
        painter.write(&mut out, &[], &board, start + SUMMARY_EVERY).unwrap();
        assert!(out.is_empty(), "nothing is known yet");
        let tally = v1::Tally { succeeded: 1, ready: 1, ..Default::default() };
        let task = v1::Task { tally: Some(tally), ..Default::default() };
        let update = RunUpdate { revision: 1, run: None, tasks: vec![task], is_fresh: true };
        board.absorb(&update, start);
        painter.write(&mut out, &[], &board, start + SUMMARY_EVERY).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with('\n') && !text.contains(['\r', '\u{1b}']), "{text:?}");
    }
}
