//! How measured spans are shown: quantiles and a histogram, in Markdown.

use std::fmt;
use std::time::Duration;

/// Most rows of a histogram, and the widest bar.
const ROWS_MAX: u128 = 16;
const BAR_MAX: usize = 40;
/// Widths that a row may have, milliseconds.
const WIDTHS_MS: [u128; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// Spans of one kind.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    name: &'static str,
    /// What 99 % of them are not to exceed, if that is promised.
    goal: Option<Duration>,
    spans: Vec<Duration>,
}

impl Spread {
    pub(crate) fn new(name: &'static str) -> Spread {
        Spread { name, ..Spread::default() }
    }

    /// 99 % are to be no longer than this.
    pub(crate) fn within(mut self, span: Duration) -> Spread {
        self.goal = Some(span);
        self
    }

    pub(crate) fn add(&mut self, span: Duration) {
        self.spans.push(span);
        self.spans.sort_unstable();
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The smallest span that at least `percent` of all do not exceed; zero if there is none.
    fn quantile(&self, percent: usize) -> Duration {
        let rank = (self.spans.len() * percent).div_ceil(100).max(1);
        self.spans.get(rank - 1).copied().unwrap_or_default()
    }

    /// Whether the goal is met; true without one.
    pub(crate) fn is_met(&self) -> bool {
        self.goal.is_none_or(|span| self.quantile(99) <= span)
    }

    /// The head of a table of quantiles.
    pub(crate) fn head() -> &'static str {
        "| | count | p50 | p90 | p99 | longest | goal |\n|---|---|---|---|---|---|---|"
    }

    /// One row of it.
    pub(crate) fn row(&self) -> String {
        let ms = |span: Duration| format!("{} ms", span.as_millis());
        let goal = self.goal.map_or("–".to_owned(), |span| {
            let word = if self.is_met() { "met" } else { "**missed**" };
            format!("p99 ≤ {}: {word}", ms(span))
        });
        let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|it| ms(self.quantile(it)));
        format!("| {} | {} | {p50} | {p90} | {p99} | {longest} | {goal} |", self.name, self.len())
    }
}

impl fmt::Display for Spread {
    /// The histogram.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.quantile(100).as_millis();
        let fits = |width: &&u128| longest / **width < ROWS_MAX;
        let width = WIDTHS_MS.iter().find(fits).copied().unwrap_or(WIDTHS_MS[11]);
        let mut rows = vec![0_usize; usize::try_from(longest / width).unwrap_or(0) + 1];
        for span in &self.spans {
            rows[usize::try_from(span.as_millis() / width).unwrap_or(0)] += 1;
        }
        let most = rows.iter().max().copied().unwrap_or(1).max(1);
        writeln!(f, "{}, in rows of {width} ms:\n\n```text", self.name)?;
        for (row, count) in rows.iter().enumerate() {
            let from = row as u128 * width;
            let bar = "#".repeat((count * BAR_MAX).div_ceil(most));
            writeln!(f, "{from:>6} ms  {count:>4}  {bar}")?;
        }
        writeln!(f, "```")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(spans_ms: impl IntoIterator<Item = u64>) -> Spread {
        let mut spread = Spread::new("x");
        spans_ms.into_iter().for_each(|ms| spread.add(Duration::from_millis(ms)));
        spread
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let spread = spread((1..=200).rev());
        let ms = |percent| spread.quantile(percent).as_millis();
        assert_eq!((ms(50), ms(90), ms(99), ms(100)), (100, 180, 198, 200));
    }

    #[test]
    fn two_of_two_hundred_may_exceed_a_goal_and_three_may_not() {
        let goal = Duration::from_millis(10);
        let with = |late: u64| spread((0..200).map(|it| if it < late { 11 } else { 10 }));
        assert!(with(2).within(goal).is_met());
        assert!(!with(3).within(goal).is_met());
    }

    #[test]
    fn a_histogram_has_few_rows() {
        let text = spread([3, 4, 900]).to_string();
        assert!(text.lines().count() < 25 && text.contains(" 0 ms     2  ####"), "{text}");
    }
}
