//! The items of `muster submit --each-line` and `--each-json`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use muster_core::limits;
use muster_core::spec::{FanOut, Items, template};

use crate::exit::Failure;

/// More of a file is not read. JSON is longer than what it stands for, but not by that much.
const FILE_BYTES_MAX: u64 = 8 * limits::ITEMS_BYTES_MAX as u64;

/// What is to be gone through, from the one file that is given.
pub(super) fn items(lines: Option<&Path>, json: Option<&Path>) -> Result<Option<FanOut>, Failure> {
    let (path, items) = match (lines, json) {
        (Some(path), _) => (path, Ok(template::lines(&read(path)?).collect())),
        (None, Some(path)) => (path, muster_expressions::json_items(&read(path)?)),
        (None, None) => return Ok(None),
    };
    let checked = items.and_then(|items: Items| match items.check() {
        Ok(()) if items.is_empty() => Err("there is nothing to go through".to_owned()),
        Ok(()) => Ok(items),
        Err(error) => Err(format!(
            "{error}; for more use `--array`, and let the command read its part of the file by $MUSTER_ARRAY_INDEX"
        )),
    });
    match checked {
        Ok(items) => Ok(Some(FanOut::Items(items))),
        Err(problem) => Err(Failure::usage(format!("{}: {problem}", name(path)))),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |problem: String| Failure::usage(format!("{}: {problem}", name(path)));
    let source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(File::open(path).map_err(|error| failed(error.to_string()))?),
    };
    let mut text = String::new();
    let read = source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(format!(
            "this has more than {FILE_BYTES_MAX} bytes; let the command read its part of it by $MUSTER_ARRAY_INDEX, \
             with `--array`"
        )));
    }
    Ok(text)
}

fn name(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "the input".to_owned(),
        _ => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: Option<&str>, json: Option<&str>) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(&file, lines.or(json).unwrap()).unwrap();
        let path = Some(file.as_path());
        match items(lines.and(path), json.and(path)) {
            Ok(Some(FanOut::Items(items))) => Ok(items.iter().map(str::to_owned).collect()),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.message.unwrap()),
        }
    }

    #[test]
    fn lines_and_json_are_items() {
        assert_eq!(found(Some("a b\n\n[1]\n"), None).unwrap(), ["a b", "[1]"]);
        assert_eq!(
            found(None, Some("[\"a b\", {\"k\": 1}, 2.0]")).unwrap(),
            ["a b", "{\"k\":1}", "2.0"]
        );
        assert_eq!(found(None, Some("{\"k\": 1}\n\"x\"\n")).unwrap(), ["{\"k\":1}", "x"]);
        assert!(items(None, None).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_gone_through_is_refused() {
        assert!(found(Some(" \n"), None).unwrap_err().contains("nothing to go through"));
        assert!(found(None, Some("[1,")).unwrap_err().contains("not a JSON array"));
        assert!(found(None, Some("{} x")).unwrap_err().contains("not JSON"));
        let many = "x\n".repeat(limits::ITEMS_MAX + 1);
        let problem = found(Some(&many), None).unwrap_err();
        assert!(problem.contains("100001 items are too many; at most 100000"), "{problem}");
        assert!(problem.contains("--array"), "{problem}");
        let large = "x".repeat(FILE_BYTES_MAX as usize + 1);
        assert!(found(Some(&large), None).unwrap_err().contains("more than 8388608 bytes"));
        let missing = items(Some(Path::new("/nonexistent/list")), None).unwrap_err();
        assert!(missing.message.unwrap().contains("/nonexistent/list"));
    }
}
