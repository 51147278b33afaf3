//! Reads what a task wrote to `$MUSTER_OUTPUT`: lines of `key=value`.
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
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("line {number} of the outputs is not `key=value`"));
        };
        let key = key.trim();
        let Some(known) = declared.iter().find(|known| &***known == key) else {
            return Err(format!("output `{key}` is not declared"));
        };
        outputs.insert(known.clone(), value.into());
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
