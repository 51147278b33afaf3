//! Runs the transcripts in `tests/scripts`: commands as people would say them, and what the core answers.
//!
//! A file is a list of steps with blank lines between them. A step is input lines, `---`, and the expected output;
//! lines with `#` are comments. `UPDATE=1 cargo test -p muster-core --test scripts` writes what was found as what is
//! expected; read the difference before committing it. The language is explained in [`script::line`].

mod script;

use std::path::{Path, PathBuf};

use script::transcript;
use script::world::World;

fn files_in(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("the folder of scripts is readable");
    let mut paths: Vec<PathBuf> = entries.map(|it| it.expect("readable").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files_in(&path, found);
        } else if path.extension().is_some_and(|it| it == "txt") {
            found.push(path);
        }
    }
}

/// Says where a panic happened.
struct Place<'a> {
    path: &'a Path,
    line: &'a str,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at `{}` in {}", self.line, self.path.display());
        }
    }
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let is_update = std::env::var_os("UPDATE").is_some();
    let mut files = Vec::new();
    files_in(&folder, &mut files);
    assert!(!files.is_empty(), "there are scripts in {}", folder.display());
    let mut differences = String::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a script is readable text");
        let mut world = World::default();
        let found = transcript::run(&text, |line| {
            let _place = Place { path: &path, line };
            world.run(line)
        });
        if found == text {
            continue;
        }
        if is_update {
            std::fs::write(&path, found).expect("a script is writable");
        } else {
            let name = path.strip_prefix(&folder).unwrap_or(&path).display();
            differences += &format!("== {name}\n{}", transcript::difference(&text, &found));
        }
    }
    assert!(differences.is_empty(), "scripts differ (UPDATE=1 accepts):\n{differences}");
}
