//! Reads what a task wrote to `$MUSTER_OUTPUT`: lines of `key=value`, and values of several lines as GitHub Actions has
//! them: `key<<END`, the lines, `END`.
//!
//! A task that promises outputs and does not keep the promise has failed, however its process ended: what depends on it
//! could not go on. So missing keys, keys nobody declared and too many bytes are failures with a reason.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use muster_core::ids::Text;
use muster_core::limits::OUTPUT_BYTES_MAX;

use crate::executor::Outputs;

/// Reads the file at `path`, absent meaning empty, against the `declared` keys. The error is for people.
pub(super) fn read(path: &Path, declared: &[Text]) -> Result<Outputs, String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            // Room for the line ends and `=` beside the keys and values themselves.
            let limit = 2 * OUTPUT_BYTES_MAX as u64;
            file.take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| format!("cannot read the outputs: {error}"))?;
            if bytes.len() as u64 > limit {
                return Err(too_large());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("cannot read the outputs: {error}")),
    }
    parse(&bytes, declared)
}

fn parse(bytes: &[u8], declared: &[Text]) -> Result<Outputs, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the outputs are not UTF-8".to_owned())?;
    let mut outputs = Outputs::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value): (_, Text) = match (line.split_once('='), line.split_once("<<")) {
            (Some((key, value)), _) if !key.contains("<<") => (key.trim(), value.into()),
            (_, Some((key, end))) => {
                let (key, end) = (key.trim(), end.trim());
                (key, until(end, &mut lines).ok_or_else(|| unended(number, key, end))?.into())
            }
            (_, None) => return Err(format!("line {number} of the outputs is not `key=value`")),
        };
        let Some(known) = declared.iter().find(|known| &***known == key) else {
            return Err(format!("output `{key}` is not declared"));
        };
        outputs.insert(known.clone(), value);
    }
    if let Some(missing) = declared.iter().find(|key| !outputs.contains_key(*key)) {
        return Err(format!("output `{missing}` is declared but was not written"));
    }
    let size: usize = outputs.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > OUTPUT_BYTES_MAX {
        return Err(too_large());
    }
    Ok(outputs)
}

/// The lines before the one that is `end`; `None` if there is no such line.
fn until<'t>(end: &str, lines: &mut impl Iterator<Item = (u32, &'t str)>) -> Option<String> {
    let mut value: Vec<&str> = Vec::new();
    loop {
        match lines.next()? {
            (_, line) if line == end && !end.is_empty() => return Some(value.join("\n")),
            (_, line) => value.push(line),
        }
    }
}

fn unended(number: u32, key: &str, end: &str) -> String {
    format!("output `{key}` begins on line {number}, and no line `{end}` ends it")
}

fn too_large() -> String {
    format!(
        "the outputs are larger than {OUTPUT_BYTES_MAX} bytes; write a file elsewhere and output its address"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(keys: &[&str]) -> Vec<Text> {
        keys.iter().map(|key| Text::from(*key)).collect()
    }

    #[test]
    fn keeps_values_whole_and_lets_the_last_line_win() {
        let outputs = parse(b"rows=1\n\nurl=a=b c\nrows=2\n", &declared(&["rows", "url"])).unwrap();
        assert_eq!(outputs.get("rows").map(|v| &**v), Some("2"));
        assert_eq!(outputs.get("url").map(|v| &**v), Some("a=b c"));
    }

    #[test]
    fn a_value_may_have_several_lines() {
        let text = b"rows=1\nfiles<<END\na b\nurl=x\n\nc\nEND\nurl=y<<z\n";
        let outputs = parse(text, &declared(&["rows", "files", "url"])).unwrap();
        assert_eq!(outputs.get("files").map(|v| &**v), Some("a b\nurl=x\n\nc"));
        assert_eq!(outputs.get("url").map(|v| &**v), Some("y<<z"));
        assert_eq!(&*parse(b"files<<E\nE\n", &declared(&["files"])).unwrap()["files"], "");
    }

    #[test]
    fn says_what_is_wrong() {
        let says = |bytes: &[u8], keys: &[&str]| parse(bytes, &declared(keys)).unwrap_err();
        assert_eq!(says(b"rows=1\nother=2\n", &["rows"]), "output `other` is not declared");
        assert_eq!(
            says(b"rows=1\n", &["rows", "url"]),
            "output `url` is declared but was not written"
        );
        assert_eq!(
            says(b"rows=1\nnonsense\n", &["rows"]),
            "line 2 of the outputs is not `key=value`"
        );
        assert_eq!(
            says(b"rows=1\nurl<<END\nx\n", &["rows", "url"]),
            "output `url` begins on line 2, and no line `END` ends it"
        );
        assert_eq!(
            says(b"rows<<\n\n", &["rows"]),
            "output `rows` begins on line 1, and no line `` ends it"
        );
        assert_eq!(says(b"rows=\xff\n", &["rows"]), "the outputs are not UTF-8");
        let long = format!("rows={}\n", "x".repeat(OUTPUT_BYTES_MAX));
        assert!(says(long.as_bytes(), &["rows"]).contains("larger than"));
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        assert!(
            read(Path::new("/dev/zero"), &declared(&["rows"])).unwrap_err().contains("larger than")
        );
        assert_eq!(read(Path::new("/nonexistent/file"), &[]), Ok(Outputs::new()));
    }
}
