//! What the documentation shows must be what Muster understands.

use std::fs;
use std::path::Path;

use muster_core::spec;

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
fn whole_workflows_in_the_documentation_are_well_formed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for page in [
        "README.md",
        "docs/workflow-reference.md",
        "docs/array-tasks.md",
        "docs/approvals.md",
        "docs/hooks.md",
        "docs/sub-workflows.md",
    ] {
        let text = fs::read_to_string(root.join(page)).expect("the page is there");
        for (line, block) in blocks(&text).iter().filter(|(_, it)| it.starts_with("apiVersion")) {
            let read = spec::parse_with(block, &muster_calendar::check, &muster_expressions::check);
            let workflows = read.unwrap_or_else(|errors| panic!("{page}:{line}: {errors}"));
            assert!(!workflows.is_empty(), "{page}:{line}");
            count += 1;
        }
    }
    assert!(count >= 3, "{count} workflows were found");
}
