//! Workflow files: finding, reading and checking them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use muster_core::ids::Name;
use muster_core::limits;
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::spec::{self, Manifest, WorkflowSpec};

use crate::exit::{Exit, Failure};
use crate::output::note;

/// What stands for the standard input.
const STDIN: &str = "-";

/// A file that was read and is well-formed.
pub(crate) struct WorkflowFile {
    pub(crate) name: String,
    pub(crate) workflows: Vec<WorkflowSpec>,
    pub(crate) namespaces: Vec<NamespaceSpec>,
}

impl WorkflowFile {
    /// Whether it gives a namespace this concurrency group.
    pub(crate) fn has_group(&self, namespace: &str, group: &str) -> bool {
        let mut of_it = self.namespaces.iter().filter(|it| it.name.as_str() == namespace);
        of_it.any(|it| it.groups.keys().any(|name| name.as_str() == group))
    }
}

/// Reads all files; of a folder every `.yaml` and `.yml` in it. What is wrong is told on stderr, of all files at once.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<WorkflowFile>, Failure> {
    let mut files = Vec::new();
    let mut is_bad = false;
    for path in expand(paths)? {
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(failure) => {
                note(format!("error: {}", failure.message.unwrap_or_default()));
                is_bad = true;
                continue;
            }
        };
        let name = path.display().to_string();
        match spec::parse_manifest(&text, &muster_calendar::check, &muster_expressions::check) {
            Ok(Manifest { workflows, namespaces }) => {
                files.push(WorkflowFile { name, workflows, namespaces });
            }
            Err(errors) => {
                note(errors.render_in(&name, &text).trim_end());
                is_bad = true;
            }
        }
    }
    for twice in defined_twice(&files) {
        note(format!("error: {twice}"));
        is_bad = true;
    }
    if is_bad { Err(Failure::silent(Exit::Usage)) } else { Ok(files) }
}

/// What is wrong with files that are well-formed each: one name would stand for two things of a kind, and which of
/// them the cluster ends up with would hang on the order of the files.
fn defined_twice(files: &[WorkflowFile]) -> Vec<String> {
    let mut seen: BTreeMap<(&str, &Name), &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for file in files {
        let workflows = file.workflows.iter().map(|it| ("workflow", &it.name));
        let namespaces = file.namespaces.iter().map(|it| ("namespace", &it.name));
        for (kind, name) in workflows.chain(namespaces) {
            let Some(first) = seen.insert((kind, name), &file.name) else { continue };
            problems.push(match first == file.name {
                true => format!("{first} is given twice, and with it {kind} `{name}`"),
                false => format!(
                    "{kind} `{name}` is defined in {first} and in {}; rename or remove one of them",
                    file.name
                ),
            });
        }
    }
    problems
}

/// The one workflow in a file.
pub(crate) fn read_one(path: &Path) -> Result<WorkflowSpec, Failure> {
    let mut workflows: Vec<WorkflowSpec> =
        read_all(&[path.to_owned()])?.into_iter().flat_map(|file| file.workflows).collect();
    match (workflows.pop(), workflows.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => {
            let message = format!(
                "{} holds no workflow; `muster apply -f` stores what it holds",
                path.display()
            );
            Err(Failure::usage(message))
        }
        (Some(_), others) => Err(Failure::usage(format!(
            "{} holds {} workflows; one is run at a time: `muster apply -f` stores them all, then run one by name",
            path.display(),
            others + 1
        ))),
    }
}

/// The text of a file or of the standard input.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let name = path.display();
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too large, however large it is.
    let most = limits::SPEC_BYTES_MAX as u64 + 1;
    let read = if path.as_os_str() == STDIN {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        return Err(Failure::usage(format!("cannot read {name}: {}", words(&error))));
    }
    if bytes.len() > limits::SPEC_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{name} has more than {} MiB, the most that a workflow file may have; split it, or keep long scripts in \
             files of their own",
            limits::SPEC_BYTES_MAX >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("{name} is not text: byte {at} is not UTF-8"))
    })
}

fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |error: std::io::Error| {
            Failure::usage(format!("cannot read {}: {}", path.display(), words(&error)))
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") && file.is_file() {
                found.push(file);
            }
        }
        if found.is_empty() {
            let message = format!("{} holds no .yaml or .yml file", path.display());
            return Err(Failure::usage(message));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// The system's error without its number.
pub(crate) fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "apiVersion: v1\nkind: Workflow\nname: NAME\ntasks: {only: {run: \"true\"}}\n";

    #[test]
    fn a_folder_stands_for_its_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.yaml"), GOOD.replace("NAME", "beta")).unwrap();
        std::fs::write(dir.path().join("a.yml"), GOOD.replace("NAME", "alpha")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no workflow").unwrap();
        let files = read_all(&[dir.path().to_owned()]).unwrap();
        let names: Vec<&str> =
            files.iter().flat_map(|file| &file.workflows).map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["alpha", "beta"]);
    }

    #[test]
    fn only_one_workflow_is_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.yaml");
        let two = format!("{}---\n{}", GOOD.replace("NAME", "a"), GOOD.replace("NAME", "b"));
        std::fs::write(&path, two).unwrap();
        let failure = read_one(&path).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.unwrap().contains("holds 2 workflows"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.yaml");
        let failure = read_text(&missing).unwrap_err();
        assert!(failure.message.unwrap().contains("none.yaml: there is no such file"));
        let binary = dir.path().join("binary.yaml");
        std::fs::write(&binary, [b'a', 0xff]).unwrap();
        assert!(read_text(&binary).unwrap_err().message.unwrap().contains("byte 1 is not UTF-8"));
        assert!(read_all(&[dir.path().join("sub")]).is_err());
    }
}
