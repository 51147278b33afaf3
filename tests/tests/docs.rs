//! What the documentation shows must be what Muster understands.

use std::fs;
use std::path::Path;

use muster_core::spec::{self, Manifest};

/// The blocks of YAML in a page, each with the line on which it begins.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.trim()) {
            (None, "```yaml") => open = Some((at + 2, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn whole_files_in_the_documentation_are_well_formed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = fs::read_dir(root.join("docs")).expect("there are documents");
    let pages = pages.map(|entry| entry.expect("it is listed").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut count = 0;
    for page in pages.chain([root.join("README.md")]) {
        let text = fs::read_to_string(&page).expect("the page is there");
        let page = page.display();
        for (line, block) in blocks(&text).iter().filter(|(_, it)| it.starts_with("apiVersion")) {
            let read =
                spec::parse_manifest(block, &muster_calendar::check, &muster_expressions::check);
            let read = read.unwrap_or_else(|errors| panic!("{page}:{line}: {errors}"));
            assert!(read != Manifest::default(), "{page}:{line}");
            count += 1;
        }
    }
    assert!(count >= 10, "{count} files were found");
}
