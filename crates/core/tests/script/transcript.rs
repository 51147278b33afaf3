//! The format of a transcript file.

/// Runs every input line of `text` and returns the file with the output that was found.
pub(crate) fn run(text: &str, mut run: impl FnMut(&str) -> String) -> String {
    let mut found = Vec::new();
    for step in text.trim_end().split("\n\n") {
        let mut lines = Vec::new();
        let mut output = String::new();
        let mut is_comment = true;
        for line in step.lines().take_while(|line| *line != "---") {
            lines.push(line);
            if !line.trim().is_empty() && !line.starts_with('#') {
                is_comment = false;
                output += &run(line);
            }
        }
        let input = lines.join("\n");
        found.push(match (is_comment, output.trim_end()) {
            (true, _) | (false, "") => input,
            (false, output) => format!("{input}\n---\n{output}"),
        });
    }
    found.join("\n\n") + "\n"
}

/// The lines in which two versions of a file differ, by position.
pub(crate) fn difference(expected: &str, found: &str) -> String {
    const SHOWN: usize = 12;
    let (expected, found): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), found.lines().collect());
    let start = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let part = |lines: &[&str], mark: &str| {
        let part = lines.iter().skip(start).take(SHOWN);
        part.map(|line| format!("  {mark} {line}\n")).collect::<String>()
    };
    let before = expected[..start].iter().rev().take(4).rev();
    let before: String = before.map(|line| format!("    {line}\n")).collect();
    format!("line {}:\n{before}{}{}", start + 1, part(&expected, "-"), part(&found, "+"))
}
