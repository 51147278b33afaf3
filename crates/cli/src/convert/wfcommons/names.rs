//! Names from traces as names that Muster and the shell take.

use std::collections::BTreeMap;

use crate::convert::names::{Unique, sanitize};

/// Longest file name that is kept; file systems take 255 bytes.
const FILE_BYTES_MAX: usize = 180;

/// A workflow's name from a trace's.
pub(super) fn workflow(name: &str) -> String {
    sanitize(name.strip_suffix(".json").unwrap_or(name), "trace")
}

/// Task names, one for each id, all different even where `-` is read as `_`.
pub(super) fn tasks<'i>(ids: impl Iterator<Item = &'i str>) -> Vec<String> {
    let mut unique = Unique::default();
    ids.map(|id| unique.name(sanitize(id, "task"))).collect()
}

/// File names by the ids of files: letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`, and all different,
/// so that a script may write them without quotes and no path leaves its folder.
pub(super) fn files<'i>(ids: impl Iterator<Item = &'i str>) -> BTreeMap<&'i str, String> {
    let mut unique = Unique::default();
    let mut names = BTreeMap::new();
    for id in ids {
        names.entry(id).or_insert_with(|| unique.take(file(id), str::to_owned));
    }
    names
}

fn file(id: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut name: String =
        id.trim_start_matches('/').chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    name.truncate(FILE_BYTES_MAX);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        name
    } else {
        format!("_{name}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn task_names_are_names_and_differ() {
        let ids = ["A.B_1", "a-b_1", "a_b-1", "9lives", "", "///", "é", "a-b_1"];
        let names = tasks(ids.into_iter());
        assert_eq!(names[..4], ["a-b_1", "a-b_1-2", "a_b-1-3", "task-9lives"]);
        let keys: BTreeSet<String> = names.iter().map(|name| name.replace('-', "_")).collect();
        assert_eq!(keys.len(), ids.len(), "{names:?}");
        for name in names {
            assert!(muster_core::ids::Name::parse(&name).is_ok(), "{name}");
        }
    }

    #[test]
    fn file_names_stay_in_their_folder_and_differ() {
        let ids = [
            "/a/b.txt",
            "a/b.txt",
            "a_b.txt",
            "../../etc/passwd",
            "-rf",
            "x; rm -rf $HOME",
            "'",
            "\"",
            "",
            ".",
        ];
        let names = files(ids.into_iter());
        assert_eq!(names["/a/b.txt"], "a_b.txt");
        assert_eq!(names["../../etc/passwd"], "_.._.._etc_passwd");
        assert_eq!(names.values().collect::<BTreeSet<_>>().len(), ids.len());
        for name in names.values() {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name}");
            assert!(!name.starts_with(['.', '-']) && !name.is_empty(), "{name}");
        }
    }
}
