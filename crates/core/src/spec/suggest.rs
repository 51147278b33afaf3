//! "Did you mean": the known word nearest to a misspelt one.

/// Longest word that is compared. Longer ones are rarely typing mistakes, and comparing costs their square.
const WORD_CHARS_MAX: usize = 64;

/// The candidate that `word` most likely stands for, if one is near enough.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let folded = fold(word);
    if folded.is_empty() || folded.len() > WORD_CHARS_MAX {
        return None;
    }
    let mut allowed = (folded.len() / 3).max(1);
    let mut best = None;
    for candidate in candidates {
        if candidate.len() > WORD_CHARS_MAX {
            continue;
        }
        let other = fold(candidate);
        if other == folded {
            return Some(candidate);
        }
        if folded.len().abs_diff(other.len()) > allowed {
            continue;
        }
        let distance = distance(&folded, &other);
        // A word that shares no letter with the other is no misspelling of it, however short both are.
        if distance <= allowed && distance < folded.len().min(other.len()) {
            best = Some(candidate);
            allowed = distance - 1;
        }
    }
    best
}

/// Help text for a misspelt word.
pub fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    nearest(word, candidates).map(|found| format!("did you mean `{found}`?"))
}

/// Letters alone, in lower case: `max_lost`, `max-lost` and `maxLost` are one word.
fn fold(word: &str) -> Vec<char> {
    let letters = word.chars().filter(|c| *c != '_' && *c != '-');
    letters.take(WORD_CHARS_MAX + 1).flat_map(char::to_lowercase).collect()
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 6] = ["needs", "retry", "resources", "maxLost", "run", "env"];

    #[test]
    fn finds_slips_of_the_finger() {
        let slips = [
            ("need", "needs"),
            ("rtery", "retry"),
            ("resource", "resources"),
            ("max_lost", "maxLost"),
            ("RUN", "run"),
        ];
        for (slip, meant) in slips {
            assert_eq!(nearest(slip, WORDS), Some(meant), "{slip}");
        }
    }

    #[test]
    fn says_nothing_for_another_word() {
        for other in ["x", "colour", "", "timeout", "be"] {
            assert_eq!(nearest(other, WORDS), None, "{other}");
        }
    }

    #[test]
    fn distances() {
        let distance = |a: &str, b: &str| distance(&fold(a), &fold(b));
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("abc", "abcd"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
